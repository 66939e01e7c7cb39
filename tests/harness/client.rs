//! A blocking HTTP/1.1 client of one request per connection.
//!
//! Hand-written because tests look at what a client library hides: chunking, the exact path sent, header order,
//! answers that break off. Never follows redirects, never decodes content.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than the slowest conformance case (idle eviction) and its probes' own limit.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query, sent as it is: tests of odd paths need that.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the request and reads the whole answer.
    pub fn send(&self, to: SocketAddr) -> io::Result<Response> {
        self.send_within(to, ANSWER_TIME_MAX)
    }

    /// As `send`; gives up when the server says nothing for so long.
    pub fn send_within(&self, to: SocketAddr, at_most: Duration) -> io::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&to, at_most)?;
        stream.set_read_timeout(Some(at_most))?;
        stream.set_write_timeout(Some(at_most))?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body)?;
        Response::read(&mut BufReader::new(stream), self.method == "HEAD")
    }
}

impl Response {
    pub(super) fn read(from: &mut impl BufRead, without_body: bool) -> io::Result<Self> {
        let (status, headers) = loop {
            let line = read_line(from)?;
            let status: u16 = line
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .ok_or_else(|| bad(&format!("not a status line: {line:?}")))?;
            let mut headers = Vec::new();
            loop {
                let line = read_line(from)?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| bad(&format!("not a header: {line:?}")))?;
                headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
            }
            // 1xx answers (100 Continue) come before the one that counts; 101 is final.
            if status >= 200 || status == 101 {
                break (status, headers);
            }
        };
        let mut response = Self {
            status,
            headers,
            body: Vec::new(),
        };
        if without_body || matches!(status, 101 | 204 | 304) {
            return Ok(response);
        }
        let chunked = response
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = response
            .header("content-length")
            .map(|value| value.parse::<u64>());
        match (chunked, length) {
            (true, _) => response.body = read_chunks(from)?,
            (false, Some(Ok(length))) => {
                from.take(length).read_to_end(&mut response.body)?;
                if (response.body.len() as u64) < length {
                    return Err(bad(&format!(
                        "body ends after {} of {length} bytes",
                        response.body.len()
                    )));
                }
            }
            (false, Some(Err(_))) => return Err(bad("content-length is no number")),
            (false, None) => {
                from.read_to_end(&mut response.body)?;
            }
        }
        Ok(response)
    }

    /// The first value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
    }
}

fn read_chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16)
            .map_err(|_| bad(&format!("not a chunk length: {line:?}")))?;
        if length == 0 {
            while !read_line(from)?.is_empty() {} // trailers
            return Ok(body);
        }
        let before = body.len() as u64;
        from.take(length).read_to_end(&mut body)?;
        if body.len() as u64 - before < length || !read_line(from)?.is_empty() {
            return Err(bad("a chunk breaks off"));
        }
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection was closed without an answer",
        ));
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    // Header values may be any bytes; tests compare those they care about as text.
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
