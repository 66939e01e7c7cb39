//! A connection written to and read from piece by piece: for slow readers, clients that go away, and keep-alive.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::client::{ANSWER_TIME_MAX, Response};

pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub fn open(to: SocketAddr) -> Self {
        Self::try_open(to).expect("the server listens")
    }

    /// For a server that may be gone.
    pub fn try_open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, ANSWER_TIME_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Reads one whole answer; the connection can be used again if the server keeps it open.
    pub fn answer(&mut self) -> io::Result<Response> {
        Response::read(&mut self.0, false)
    }

    /// The answer to a HEAD request: no body follows, whatever the headers say.
    pub fn answer_to_head(&mut self) -> io::Result<Response> {
        Response::read(&mut self.0, true)
    }

    /// Reads exactly this many bytes of whatever comes.
    pub fn read(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        self.0.read_exact(&mut buffer)?;
        Ok(buffer)
    }

    /// Whatever comes until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes);
        bytes
    }

    /// The same connection for another thread: one writes while the other reads.
    pub fn second_half(&self) -> Self {
        Self(BufReader::new(
            self.0
                .get_ref()
                .try_clone()
                .expect("a socket can be shared"),
        ))
    }

    /// Writes that block for so long fail.
    pub fn limit_writes(&self, at_most: Duration) {
        self.0
            .get_ref()
            .set_write_timeout(Some(at_most))
            .expect("a timeout can be set");
    }

    /// True if the server has closed its side and sent nothing more.
    pub fn is_at_end(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0))
    }
}
