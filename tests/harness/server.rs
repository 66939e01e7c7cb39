//! The real binary as a child process: started, asked, stopped, killed, started again over the same data.
//!
//! Always true: the child is gone when the `Server` is dropped, and its port was chosen by the system.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{Request, Response};

/// A debug build on a busy machine takes seconds; more than this is a hang.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
const READY: &str = "facetd listening on http://";

pub struct Builder {
    binary: PathBuf,
    projects: Vec<PathBuf>,
    data: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

pub struct Server {
    builder: Builder,
    data: PathBuf,
    _own_data: Option<TempDir>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    address: SocketAddr,
    stdout: Output,
    stderr: Output,
}

/// What a stream said so far, filled by a thread of its own so that the child never blocks on it.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<String>>);

impl Output {
    fn text(&self) -> String {
        self.0
            .lock()
            .expect("no thread panics while it holds this")
            .clone()
    }

    fn push(&self, text: &str) {
        self.0
            .lock()
            .expect("no thread panics while it holds this")
            .push_str(text);
    }
}

/// `facetd serve` did not get as far as listening.
#[derive(Debug)]
pub struct StartError {
    pub why: String,
    /// `None`: it was still running and has been killed.
    pub exit_code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (exit code {:?})\n{}{}",
            self.why, self.exit_code, self.stdout, self.stderr
        )
    }
}

impl std::error::Error for StartError {}

impl Builder {
    /// Another project in the same process (the first answers HTTP).
    pub fn project(mut self, path: impl AsRef<Path>) -> Self {
        self.projects.push(path.as_ref().to_path_buf());
        self
    }

    /// Uses this data folder and leaves it behind; without it a temporary one is made and removed.
    pub fn data(mut self, path: impl AsRef<Path>) -> Self {
        self.data = Some(path.as_ref().to_path_buf());
        self
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Answers do not wait for the disk.
    pub fn relaxed(self) -> Self {
        self.arg("--durability").arg("relaxed")
    }

    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another binary than the one built by this package (the harness's own checks use a script).
    pub fn binary(mut self, path: impl AsRef<Path>) -> Self {
        self.binary = path.as_ref().to_path_buf();
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Result<Server, Box<StartError>> {
        let (own_data, data) = match &self.data {
            Some(path) => (None, path.clone()),
            None => {
                let folder = tempfile::Builder::new()
                    .prefix("facetd-data-")
                    .tempdir()
                    .expect("a temporary folder can be made");
                let path = folder.path().to_path_buf();
                (Some(folder), path)
            }
        };
        let mut server = Server {
            builder: self,
            data,
            _own_data: own_data,
            running: None,
        };
        server.start_again()?;
        Ok(server)
    }
}

impl Server {
    /// A server of the project at `path`, not started yet.
    pub fn of(path: impl AsRef<Path>) -> Builder {
        Builder {
            binary: PathBuf::from(env!("CARGO_BIN_EXE_facetd")),
            projects: vec![path.as_ref().to_path_buf()],
            data: None,
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.running().address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    pub fn data_folder(&self) -> &Path {
        &self.data
    }

    /// The JSON that a path answers with; anything but a 200 fails the test.
    #[track_caller]
    pub fn get_json(&self, path: &str) -> serde_json::Value {
        let answer = self.get(path);
        assert_eq!(
            answer.status,
            200,
            "{path}: {}\n{}",
            answer.text(),
            self.stderr()
        );
        answer.json().expect("JSON")
    }

    pub fn send(&self, request: &Request) -> io::Result<Response> {
        request.send(self.address())
    }

    /// `GET path`; panics if there is no answer at all.
    pub fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path))
            .unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.stderr()))
    }

    pub fn stdout(&self) -> String {
        self.running
            .as_ref()
            .map(|running| running.stdout.text())
            .unwrap_or_default()
    }

    pub fn stderr(&self) -> String {
        self.running
            .as_ref()
            .map(|running| running.stderr.text())
            .unwrap_or_default()
    }

    /// As a crash would: no warning, no clean-up.
    pub fn kill9(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().expect("our own child can be killed");
            running
                .child
                .wait()
                .expect("our own child can be waited for");
        }
    }

    /// Asks it to stop and waits until it has. Returns the exit code, `None` if a signal ended it.
    pub fn sigterm(&mut self) -> Option<i32> {
        let mut running = self.running.take().expect("the server runs");
        let status = Command::new("kill")
            .args(["-TERM", &running.child.id().to_string()])
            .status()
            .expect("`kill` exists");
        assert!(status.success(), "SIGTERM could not be sent");
        match wait(&mut running.child, STOP_TIME_MAX) {
            Some(status) => status.code(),
            None => {
                let _ = running.child.kill();
                let _ = running.child.wait();
                panic!(
                    "still running {} s after SIGTERM\n{}",
                    STOP_TIME_MAX.as_secs(),
                    running.stderr.text()
                );
            }
        }
    }

    /// Stops it cleanly if it runs, and starts it again over the same data (on another port).
    pub fn restart(&mut self) -> Result<(), Box<StartError>> {
        if self.running.is_some() {
            self.sigterm();
        }
        self.start_again()
    }

    /// Starts it again after `kill9` or `sigterm`.
    pub fn start_again(&mut self) -> Result<(), Box<StartError>> {
        assert!(
            self.running.is_none(),
            "stop the server before starting it again"
        );
        let builder = &self.builder;
        let mut child = Command::new(&builder.binary)
            .arg("serve")
            .args(&builder.projects)
            .args(["--port", "0", "--data"])
            .arg(&self.data)
            .args(&builder.args)
            .envs(builder.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} cannot be started: {error}", builder.binary.display())
            });
        let (stdout, stderr) = (Output::default(), Output::default());
        let (first_line, first) = mpsc::channel();
        follow(
            child.stdout.take().expect("stdout is piped"),
            stdout.clone(),
            Some(first_line),
        );
        let errors = follow(
            child.stderr.take().expect("stderr is piped"),
            stderr.clone(),
            None,
        );
        let why = match first.recv_timeout(START_TIME_MAX) {
            Ok(line) => match line.trim_end().strip_prefix(READY).map(str::parse) {
                Some(Ok(address)) => {
                    self.running = Some(Running {
                        child,
                        address,
                        stdout,
                        stderr,
                    });
                    return Ok(());
                }
                _ => format!("the first line on stdout should be `{READY}ADDRESS`, not {line:?}"),
            },
            Err(RecvTimeoutError::Timeout) => {
                format!("not listening after {} s", START_TIME_MAX.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => "ended before it listened".to_string(),
        };
        let exit_code = wait(&mut child, Duration::from_secs(5)).and_then(|status| status.code());
        let _ = child.kill();
        let _ = child.wait();
        let _ = errors.join();
        Err(Box::new(StartError {
            why,
            exit_code,
            stdout: stdout.text(),
            stderr: stderr.text(),
        }))
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Reads a stream to its end into `output`; tells the first line to `first_line`.
fn follow(
    stream: impl Read + Send + 'static,
    output: Output,
    mut first_line: Option<mpsc::Sender<String>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            output.push(&text);
            if let Some(first_line) = first_line.take() {
                let _ = first_line.send(text);
            }
            line.clear();
        }
    })
}

/// Polls because the standard library has no wait with a limit.
fn wait(child: &mut Child, at_most: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + at_most;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
