//! The admin socket: how `facetd db` reaches a running server.
//!
//! Owns: `facetd.sock` in the data directory and every connection to it. Called by: `serve`.
//! Always true: only the user who runs facetd (and root) is listened to. Requests, connections and waiting are bounded; a
//! client that is slow, silent or gone costs a slot and is dropped. What a client asked for stops when it goes, except
//! for a change that is being committed.

use crate::db::error::DbError;
use crate::db::operations::{Out, perform};
use crate::db::place::{Owner, Place, STAGING, Staged};
use crate::db::request::{Envelope, Greeting, Line, PROTOCOL, REQUEST_BYTES_MAX, Request};
use facetd_host::Host;
use facetd_store::Interrupt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// In the data directory.
pub const SOCKET: &str = "facetd.sock";
/// What the kernel takes: `sun_path` without its NUL.
const PATH_BYTES_MAX: usize = 107;
/// More clients at once are told to come back.
const CONNECTIONS_MAX: usize = 16;
/// Lines of an answer that wait for a slow client, and their KiB; then its query waits. A larger line waits alone.
const LINES_WAITING_MAX: usize = 64;
const KIB_WAITING_MAX: u32 = 8 << 10;
/// How long a client may say nothing between requests, or take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long operations may go on after SIGTERM; then they are interrupted.
const DRAIN: Duration = Duration::from_secs(5);
/// An interrupted one ends soon, but a copy of a large database is finished first.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// A path to the socket that is short enough, whatever the data directory is called.
pub struct SocketPath {
    path: PathBuf,
    /// What the path leads through.
    _folder: Option<File>,
}

impl SocketPath {
    pub fn of(data_dir: &Path) -> io::Result<Self> {
        Self::below(data_dir, SOCKET)
    }

    fn below(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(name);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self {
                path,
                _folder: None,
            });
        }
        let folder = File::open(folder)?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())),
            _folder: Some(folder),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The open socket.
pub struct Admin {
    listener: UnixListener,
    place: Arc<Place>,
    socket: PathBuf,
}

impl Admin {
    /// Replaces whatever socket is there: the data directory is locked, so it is a dead one's. Within a runtime.
    pub fn open(host: Arc<Host>) -> Result<Self, DbError> {
        let socket = host.data_dir().join(SOCKET);
        let failed = |error| {
            DbError::data(format!(
                "the admin socket {} could not be made: {error}",
                socket.display()
            ))
        };
        let place = Place::new(Owner::Server(host.clone()))?;
        // Made where nobody else may enter, so that it never has a moment of wider permissions.
        let staging = host.data_dir().join(STAGING);
        let hidden = SocketPath::below(&staging, SOCKET).map_err(failed)?;
        let listener = UnixListener::bind(hidden.path()).map_err(failed)?;
        fs::set_permissions(hidden.path(), fs::Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(staging.join(SOCKET), &socket).map_err(failed)?;
        Ok(Self {
            listener,
            place: Arc::new(place),
            socket,
        })
    }

    /// Answers until told to stop; then lets what runs finish, for a while.
    pub async fn serve(self, mut stopping: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                // The sender only goes away when the process ends.
                _ = stopping.wait_for(|stop| *stop) => break,
                accepted = self.listener.accept() => accepted,
            };
            while connections.try_join_next().is_some() {}
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the admin socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors, most likely
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                connections.spawn(turn_away(stream));
                continue;
            };
            let (place, stopping) = (self.place.clone(), stopping.clone());
            connections.spawn(async move {
                if let Err(error) = talk(stream, place, stopping).await {
                    tracing::debug!(%error, "admin connection ended");
                }
                drop(slot);
            });
        }
        let _already_gone = fs::remove_file(&self.socket);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(DRAIN + END_TIME_MAX, all).await.is_err() {
            tracing::warn!("an admin operation does not end yet and is waited for");
        }
    }
}

async fn turn_away(mut stream: UnixStream) {
    let line = Line::Error(DbError::refused(format!(
        "{CONNECTIONS_MAX} commands are at work on this data directory already: try again when one has finished"
    )));
    let _gone = say(&mut stream, &line).await;
}

async fn say(to: &mut (impl AsyncWrite + Unpin), line: &impl serde::Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    write(to, &text).await
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.chunks(64 << 10) {
        timeout(PATIENCE, to.write_all(chunk)).await??;
    }
    Ok(())
}

/// One connection, from the greeting to its end.
async fn talk(
    stream: UnixStream,
    place: Arc<Place>,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    // SAFETY: getuid always succeeds and touches no memory.
    let own = unsafe { libc::getuid() };
    if peer.uid() != own && peer.uid() != 0 {
        return Err(io::Error::other("a stranger"));
    }
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let greeting = Greeting {
        facetd: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        pid: std::process::id(),
    };
    say(&mut writer, &greeting).await?;
    loop {
        let read = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
            read = timeout(PATIENCE, read_request(&mut reader)) => read?,
        };
        let outcome = match read {
            Ok(None) => return Ok(()),
            Ok(Some(request)) => {
                answer(&mut reader, &mut writer, &place, request, &mut stopping).await?
            }
            Err(refused) => {
                say(&mut writer, &Line::Error(refused)).await?;
                return Ok(()); // where the next request starts is not known
            }
        };
        match outcome {
            Ok(()) => say(&mut writer, &Line::Done {}).await?,
            Err(error) => say(&mut writer, &Line::Error(error)).await?,
        }
    }
}

/// The next request; `None` when the client has no more.
async fn read_request(
    reader: &mut (impl AsyncRead + AsyncBufReadExt + Unpin),
) -> Result<Option<Request>, DbError> {
    let mut line = Vec::new();
    let read = reader
        .take(REQUEST_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)
        .await;
    if read.is_err() || line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(DbError::usage(format!(
            "a request is one line of at most {REQUEST_BYTES_MAX} bytes"
        )));
    }
    let value: serde_json::Value = serde_json::from_slice(&line)
        .map_err(|error| DbError::usage(format!("the request is not JSON: {error}")))?;
    if value["protocol"] != PROTOCOL {
        return Err(DbError::data(format!(
            "this facetd (version {}) speaks version {PROTOCOL} of the admin protocol, the request is of version {}",
            env!("CARGO_PKG_VERSION"),
            value["protocol"]
        )));
    }
    let envelope: Envelope = serde_json::from_value(value)
        .map_err(|error| DbError::usage(format!("the request is not understood: {error}")))?;
    Ok(Some(envelope.request))
}

/// The outer error ends the connection, the inner one is the answer.
async fn answer(
    reader: &mut (impl AsyncBufReadExt + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    place: &Arc<Place>,
    request: Request,
    stopping: &mut watch::Receiver<bool>,
) -> io::Result<Result<(), DbError>> {
    let mut uploads = Vec::new();
    for bytes in request.uploads() {
        uploads.push(receive(reader, place, bytes).await?);
    }
    let gone = Arc::new(AtomicBool::new(false));
    let (told, mut parts) = mpsc::channel::<(Out, OwnedSemaphorePermit)>(LINES_WAITING_MAX);
    let space = Arc::new(Semaphore::new(KIB_WAITING_MAX as usize));
    let mut working = {
        let (place, gone) = (place.clone(), gone.clone());
        let flag = gone.clone();
        let interrupt: Interrupt = Arc::new(move || flag.load(Ordering::Relaxed));
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Handle::current();
            let mut emit = |out: Out| {
                let kib = u32::try_from(out.bytes() >> 10).map_or(KIB_WAITING_MAX, |kib| {
                    kib.saturating_add(1).min(KIB_WAITING_MAX)
                });
                let space = space.clone().acquire_many_owned(kib);
                !gone.load(Ordering::Relaxed)
                    && runtime
                        .block_on(space)
                        .is_ok_and(|space| told.blocking_send((out, space)).is_ok())
            };
            perform(&place, request, uploads, &interrupt, &mut emit)
        })
    };
    let _stop_when_dropped = SetOnDrop(gone.clone());
    let mut listening = true;
    let mut interrupted = false;
    let stop = async {
        drop(stopping.wait_for(|stop| *stop).await); // a guard
        tokio::time::sleep(DRAIN).await;
    };
    tokio::pin!(stop);
    let passed_on = loop {
        let passed_on = tokio::select! {
            part = parts.recv() => match part {
                Some((Out::Line(line), _space)) => say(writer, &line).await,
                Some((Out::Content(file, bytes), _space)) => send(writer, file, bytes).await,
                None => break Ok(()),
            },
            () = &mut stop, if !interrupted => {
                // It ends with an error, which the client is told.
                interrupted = true;
                gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            // A client that has asked says nothing until it has its answer: what comes is its end.
            seen = reader.fill_buf(), if listening => match seen {
                Ok(bytes) if !bytes.is_empty() => {
                    listening = false;
                    Ok(())
                }
                _ => Err(io::ErrorKind::ConnectionAborted.into()),
            },
        };
        if passed_on.is_err() {
            gone.store(true, Ordering::Relaxed);
            parts.close();
            break passed_on;
        }
    };
    // Also when nobody is there to hear of it: it holds a slot, and perhaps seats.
    let done = (&mut working).await;
    passed_on?;
    Ok(match done {
        Ok(Err(_)) if interrupted => Err(DbError::failed(
            "facetd stops: try again when it runs again, or has ended",
        )),
        Ok(done) => done,
        Err(_) => Err(DbError::failed("the operation broke off")),
    })
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes so many bytes from the client into a file.
async fn receive(
    reader: &mut (impl AsyncBufReadExt + Unpin),
    place: &Place,
    bytes: u64,
) -> io::Result<Staged> {
    let staged = place.staging().reserve();
    let mut file = tokio::fs::File::create_new(staged.path()).await?;
    let mut left = bytes;
    while left > 0 {
        let chunk = timeout(PATIENCE, reader.fill_buf()).await??;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let take = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        file.write_all(&chunk[..take]).await?;
        reader.consume(take);
        left -= take as u64;
    }
    file.flush().await?;
    Ok(staged)
}

/// Exactly so many bytes of the file: it may have grown.
async fn send(writer: &mut (impl AsyncWrite + Unpin), file: File, bytes: u64) -> io::Result<()> {
    let mut file = tokio::fs::File::from_std(file).take(bytes);
    let mut buffer = vec![0; 256 << 10];
    let mut sent = 0;
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        write(writer, &buffer[..read]).await?;
        sent += read as u64;
    }
    if sent < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into()); // the client was promised more
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_reached_through_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let short = SocketPath::of(dir.path()).unwrap();
        assert_eq!(short.path(), dir.path().join(SOCKET));
        let long = dir.path().join("x".repeat(200));
        fs::create_dir(&long).unwrap();
        let socket = SocketPath::of(&long).unwrap();
        assert!(socket.path().as_os_str().len() <= PATH_BYTES_MAX);
        let _listener = std::os::unix::net::UnixListener::bind(socket.path()).unwrap();
        assert!(long.join(SOCKET).exists());
        std::os::unix::net::UnixStream::connect(socket.path()).unwrap();
    }

    #[tokio::test]
    async fn requests_are_bounded_and_versioned() {
        let refused = |line: Vec<u8>| async move {
            let mut reader = BufReader::new(&line[..]);
            read_request(&mut reader)
                .await
                .map(|request| request.is_some())
        };
        assert_eq!(refused(Vec::new()).await, Ok(false));
        let good = br#"{"protocol":1,"do":"list"}"#;
        assert_eq!(refused([&good[..], b"\n"].concat()).await, Ok(true));
        for (line, words) in [
            (vec![b'x'; REQUEST_BYTES_MAX + 5], "at most"),
            (good.to_vec(), "at most"),
            (b"hello\n".to_vec(), "not JSON"),
            (b"[]\n".to_vec(), "version null"),
            (b"{\"protocol\":2,\"do\":\"list\"}\n".to_vec(), "version 2"),
            (
                b"{\"protocol\":1,\"do\":\"dance\"}\n".to_vec(),
                "not understood",
            ),
        ] {
            let error = refused(line).await.unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }
}
