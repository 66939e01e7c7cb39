//! One HTTP/1.1 question and its answer, for asking an example: no keep-alive, no TLS, no redirects.
//!
//! Dropped: an HTTP crate, which would be most of what xtask compiles.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const ANSWER_WAIT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Asks 127.0.0.1:`port`. `path` begins with `/`.
pub fn ask(port: u16, method: &str, path: &str, body: Option<&str>) -> Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT).context("cannot connect")?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAccept: */*\r\n"
    );
    if let Some(body) = body {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    request += body.unwrap_or("");
    stream
        .write_all(request.as_bytes())
        .context("cannot send the request")?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .context("cannot read the answer")?;
    parse(&answer)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = find(bytes, b"\r\n\r\n").context("the answer has no end of headers")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let rest = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("`{status_line}` is not a status line"))?;
    let mut chunked = false;
    let mut length = None;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.to_ascii_lowercase().ends_with("chunked");
        } else if name.eq_ignore_ascii_case("content-length") {
            length = Some(
                value
                    .parse::<usize>()
                    .context("content-length is not a number")?,
            );
        }
    }
    let body = match (chunked, length) {
        (true, _) => unchunk(rest)?,
        (false, Some(length)) if rest.len() < length => {
            bail!("the body ends after {} of {length} bytes", rest.len())
        }
        (false, Some(length)) => rest[..length].to_vec(),
        (false, None) => rest.to_vec(),
    };
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").context("the body ends in a chunk's size")?;
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .with_context(|| format!("`{size}` is not a chunk's size"))?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body); // trailers, if any, say nothing we ask for
        }
        let chunk = rest.get(..size).context("the body ends in a chunk")?;
        body.extend_from_slice(chunk);
        rest = rest
            .get(size + 2..)
            .context("the body ends after a chunk")?;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn bodies_are_read_by_length_by_chunks_and_to_the_end() {
        for (answer, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nA;x=y\r\nlo chunked\r\n0\r\n\r\n",
                "hello chunked",
            ),
            ("HTTP/1.0 200 OK\r\n\r\nto the end", "to the end"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        ] {
            let parsed = parse(answer.as_bytes()).unwrap();
            assert_eq!(
                (parsed.status, parsed.body.as_str()),
                (200, body),
                "{answer:?}"
            );
        }
        assert_eq!(
            parse(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap().status,
            404,
            "the status is the second word"
        );
    }

    #[test]
    fn an_answer_cut_short_is_an_error() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
        ] {
            assert!(parse(answer.as_bytes()).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn a_question_reaches_a_server() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\nbody") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
            stream
                .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
                .unwrap();
            String::from_utf8(seen).unwrap()
        });
        let answer = ask(port, "POST", "/x?y=1", Some("body")).unwrap();
        let seen = server.join().unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (201, "ok"),
            "the answer comes back"
        );
        assert!(
            seen.starts_with("POST /x?y=1 HTTP/1.1\r\n"),
            "the request line is as asked: {seen}"
        );
        assert!(
            seen.contains("Content-Length: 4\r\n") && seen.contains("Connection: close\r\n"),
            "{seen}"
        );
    }
}
