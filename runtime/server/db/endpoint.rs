//! Whom the commands ask: the facetd that owns the data directory, through its socket, or themselves.
//!
//! Always true: one of the two. Who neither gets the lock nor an answer does nothing.

use super::error::DbError;
use super::operations::{Out, perform};
use super::place::{Owner, Place};
use super::request::{Envelope, Greeting, Line, PROTOCOL, REQUEST_BYTES_MAX, Request};
use crate::admin::{SOCKET, SocketPath};
use facetd_store::{StoreError, admin::OfflineStore, inspect};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A facetd that is starting or ending needs this long at most until it answers, or lets go of the data directory.
const REACH_TIME_MAX: Duration = Duration::from_secs(5);
/// Nothing but an operation in progress takes longer, and that says something now and then.
const SILENCE_MAX: Duration = Duration::from_secs(3700);
const GREETING_TIME_MAX: Duration = Duration::from_secs(10);

pub enum Endpoint {
    Offline(Place),
    Server(Connection),
}

pub struct Connection {
    stream: BufReader<UnixStream>,
    data_dir: PathBuf,
}

/// A part of an answer, as commands get it.
pub enum Received<'a> {
    Line(Line),
    /// Of this many bytes. What is not read is skipped.
    Content(&'a mut dyn Read, u64),
}

/// What a command makes of an answer. An error ends the command.
pub type Receive<'a> = &'a mut dyn FnMut(Received<'_>) -> Result<(), DbError>;

impl Endpoint {
    pub fn open(data_dir: &Path) -> Result<Self, DbError> {
        let deadline = Instant::now() + REACH_TIME_MAX;
        loop {
            let pid = match OfflineStore::open(data_dir) {
                Ok(store) => return Ok(Self::Offline(Place::new(Owner::Offline(store))?)),
                Err(StoreError::DataDirInUse { pid, .. }) => pid,
                Err(error) => return Err(error.into()),
            };
            match connect(data_dir) {
                Ok(stream) => return Connection::greet(stream, data_dir).map(Self::Server),
                Err(error) if Instant::now() >= deadline => {
                    let owner =
                        pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
                    return Err(DbError::data(format!(
                        "{owner} owns {} but does not answer at {SOCKET} in it ({error}). If it is another `facetd db`, wait for it; \
                         if it is a facetd that cannot be reached, stop it and try again",
                        data_dir.display()
                    )));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Asks, and hands the answer over part by part.
    pub fn ask(
        &mut self,
        request: Request,
        uploads: &[&Path],
        receive: Receive<'_>,
    ) -> Result<(), DbError> {
        match self {
            Self::Offline(place) => ask_offline(place, request, uploads, receive),
            Self::Server(connection) => connection.ask(request, uploads, receive),
        }
    }
}

fn ask_offline(
    place: &Place,
    request: Request,
    uploads: &[&Path],
    receive: Receive<'_>,
) -> Result<(), DbError> {
    let mut staged = Vec::new();
    for upload in uploads {
        let copy = place.staging().reserve();
        fs::copy(upload, copy.path()).map_err(DbError::io("copy", upload))?;
        staged.push(copy);
    }
    let mut refused = None;
    let mut emit = |out: Out| {
        let received = match out {
            Out::Line(line) => receive(Received::Line(line)),
            Out::Content(file, bytes) => receive(Received::Content(&mut file.take(bytes), bytes)),
        };
        refused = received.err();
        refused.is_none()
    };
    let done = perform(place, request, staged, &inspect::never(), &mut emit);
    // Why nobody listened says more than that nobody did.
    refused.map_or(done, Err)
}

fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    let path = SocketPath::of(data_dir)?;
    UnixStream::connect(path.path())
}

impl Connection {
    fn greet(stream: UnixStream, data_dir: &Path) -> Result<Self, DbError> {
        stream
            .set_read_timeout(Some(GREETING_TIME_MAX))
            .map_err(|error| DbError::failed(format!("the admin socket: {error}")))?;
        let mut connection = Self {
            stream: BufReader::new(stream),
            data_dir: data_dir.to_owned(),
        };
        let line = connection.line()?;
        let other_version = |text: String| {
            DbError::data(format!(
                "the facetd that owns {} {text}. Use the same version for both, or stop it first",
                data_dir.display()
            ))
        };
        if let Ok(Line::Error(error)) = serde_json::from_str::<Line>(&line) {
            return Err(error);
        }
        let greeting: Greeting = serde_json::from_str(&line)
            .map_err(|_| other_version("speaks in a way that this one does not know".to_owned()))?;
        if greeting.protocol != PROTOCOL {
            return Err(other_version(format!(
                "(process {}, version {}) speaks version {} of the admin protocol; this one speaks version {PROTOCOL}",
                greeting.pid, greeting.facetd, greeting.protocol
            )));
        }
        let _default_otherwise = connection
            .stream
            .get_ref()
            .set_read_timeout(Some(SILENCE_MAX));
        Ok(connection)
    }

    fn lost(&self, error: &io::Error) -> DbError {
        DbError::failed(format!(
            "the facetd that owns {} went away before it had answered ({error}). What was asked may or may not have happened",
            self.data_dir.display()
        ))
    }

    fn line(&mut self) -> Result<String, DbError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(bytes) if bytes > 0 && line.ends_with('\n') => Ok(line),
            Ok(_) => Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn ask(
        &mut self,
        request: Request,
        uploads: &[&Path],
        receive: Receive<'_>,
    ) -> Result<(), DbError> {
        let envelope = Envelope {
            protocol: PROTOCOL,
            request,
        };
        let mut text = serde_json::to_string(&envelope)
            .map_err(|error| DbError::failed(format!("the request cannot be written: {error}")))?;
        if text.len() >= REQUEST_BYTES_MAX {
            return Err(DbError::usage(format!(
                "the request is larger than {REQUEST_BYTES_MAX} bytes: split the SQL, or import a dump"
            )));
        }
        text.push('\n');
        self.upload(text.as_bytes(), uploads)?;
        loop {
            let line = self.line()?;
            let line: Line = serde_json::from_str(&line).map_err(|error| {
                DbError::failed(format!("the answer of facetd is not understood: {error}"))
            })?;
            match line {
                Line::Done {} => return Ok(()),
                Line::Error(error) => return Err(error),
                Line::Content { bytes } => {
                    receive(Received::Line(Line::Content { bytes }))?;
                    let mut content = self.stream.by_ref().take(bytes);
                    receive(Received::Content(&mut content, bytes))?;
                    let rest = io::copy(&mut content, &mut io::sink());
                    if content.limit() > 0 {
                        let error = rest.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                        return Err(self.lost(&error));
                    }
                }
                line => receive(Received::Line(line))?,
            }
        }
    }

    fn upload(&mut self, request: &[u8], uploads: &[&Path]) -> Result<(), DbError> {
        let mut stream = self.stream.get_ref();
        let mut sent = stream.write_all(request);
        for upload in uploads {
            if sent.is_ok() {
                let mut file = File::open(upload).map_err(DbError::io("open", upload))?;
                sent = io::copy(&mut file, &mut stream).map(drop);
            }
        }
        match sent {
            Ok(()) => Ok(()),
            // It refused the upload, and says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                match self.line().map(|line| serde_json::from_str(&line)) {
                    Ok(Ok(Line::Error(refused))) => Err(refused),
                    _ => Err(self.lost(&error)),
                }
            }
            Err(error) => Err(self.lost(&error)),
        }
    }
}
