//! Starts every example and asks it one question.
//!
//! An example is a folder under `examples/` with an `example.json`:
//! `{"request": "/path", "method": "GET", "body": "...", "expect_status": 200, "expect_contains": "text"}`,
//! of which only `request` is required. Always true: a facetd started here is gone when its example is over.

use crate::cargo::{Checkout, Profile};
use crate::tally::Tally;
use crate::v8::{self, Archive};
use crate::{exit_code, http, one_filter};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

const START_WAIT: Duration = Duration::from_secs(60);
const STOP_WAIT: Duration = Duration::from_secs(10);
const LOG_LINES_SHOWN: usize = 40;

/// `cargo xtask examples [FILTER]`
pub fn run(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let filter = one_filter(args)?;
    let archive = v8::ensure(checkout, false)?;
    let tally = run_all(checkout, &archive, filter)?;
    println!("{tally}");
    Ok(exit_code(tally.is_good()))
}

/// Runs the examples whose names contain `filter`; builds nothing if there is none.
pub fn run_all(checkout: &Checkout, archive: &Archive, filter: Option<&str>) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut names = names(checkout)?;
    names.retain(|name| filter.is_none_or(|filter| name.contains(filter)));
    if names.is_empty() {
        return Ok(tally);
    }
    let binary = match checkout.build_facetd(archive, Profile::Dev) {
        Ok(binary) => binary,
        Err(error) => {
            println!("FAIL examples: {error:#}");
            tally.count(false);
            return Ok(tally);
        }
    };
    println!("\nrunning {} examples", names.len());
    for name in names {
        let began = Instant::now();
        let result = run_one(&binary, &checkout.path("examples").join(&name));
        let seconds = began.elapsed().as_secs_f64();
        match &result {
            Ok(()) => println!("ok   example {name} ({seconds:.1} s)"),
            Err(error) => println!("FAIL example {name} ({seconds:.1} s): {error:#}"),
        }
        tally.count(result.is_ok());
    }
    Ok(tally)
}

/// Every folder under `examples/`, in order.
pub fn names(checkout: &Checkout) -> Result<Vec<String>> {
    let folder = checkout.path("examples");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .ok()
            .context("an example's name is not UTF-8")?;
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The one question, and what its answer must be.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    request: String,
    method: String,
    body: Option<String>,
    status: u16,
    contains: String,
}

impl Question {
    fn parse(text: &str) -> Result<Self> {
        let Value::Object(fields) = serde_json::from_str(text)? else {
            bail!("not a JSON object")
        };
        let mut question = Self {
            request: String::new(),
            method: "GET".into(),
            body: None,
            status: 200,
            contains: String::new(),
        };
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("request", Value::String(path)) if path.starts_with('/') => {
                    question.request = path
                }
                ("method", Value::String(method)) => question.method = method,
                ("body", Value::String(body)) => question.body = Some(body),
                ("expect_status", Value::Number(status)) => {
                    let status = status.as_u64().and_then(|status| status.try_into().ok());
                    question.status = status.context("`expect_status` is not a status")?;
                }
                ("expect_contains", Value::String(text)) => question.contains = text,
                (name, value) => bail!("`{name}` is not a field, or {value} not a value for it"),
            }
        }
        if question.request.is_empty() {
            bail!("`request` is missing");
        }
        Ok(question)
    }
}

fn run_one(binary: &Path, project: &Path) -> Result<()> {
    let text =
        fs::read_to_string(project.join("example.json")).context("cannot read example.json")?;
    let question = Question::parse(&text).context("example.json")?;
    let folder = Folder::new()?;
    let mut server = Server::start(binary, project, &folder.0)?;
    let result = ask(&mut server, &question);
    if result.is_err() {
        server.show_log();
    }
    result
}

fn ask(server: &mut Server, question: &Question) -> Result<()> {
    let port = server.wait_until_it_listens()?;
    let answer = http::ask(
        port,
        &question.method,
        &question.request,
        question.body.as_deref(),
    )?;
    if answer.status != question.status {
        bail!(
            "status {}, expected {}: {}",
            answer.status,
            question.status,
            shortened(&answer.body)
        );
    }
    if !answer.body.contains(&question.contains) {
        bail!(
            "{:?} is not in the answer: {}",
            question.contains,
            shortened(&answer.body)
        );
    }
    let status = server.stop()?;
    if !status.success() {
        bail!("facetd ended after SIGTERM with {status}, expected exit code 0");
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(300).collect();
    if short.len() < text.len() {
        short.push_str(" ...");
    }
    format!("{short:?}")
}

/// A running facetd; dropped, it is killed.
struct Server {
    child: Child,
    stdout: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Server {
    fn start(binary: &Path, project: &Path, folder: &Path) -> Result<Self> {
        // Free a moment ago. Another program can take it before facetd does; then facetd says so and the example fails.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = folder.join("stderr");
        let mut child = Command::new(binary)
            .arg("serve")
            .arg(project)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--admin",
                "off",
                "--data",
            ])
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stdout = child.stdout.take().context("facetd has no stdout")?;
        let (sender, receiver) = mpsc::channel();
        // Reads to the end, so that facetd never blocks on a full pipe; ends with facetd.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                let _ = sender.send(line);
            }
        });
        Ok(Self {
            child,
            stdout: receiver,
            log,
        })
    }

    fn wait_until_it_listens(&mut self) -> Result<u16> {
        match self.stdout.recv_timeout(START_WAIT) {
            Ok(line) => {
                port_of(&line).with_context(|| format!("the first line on stdout is {line:?}"))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("not ready after {} s", START_WAIT.as_secs())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("facetd ended at once: {}", self.child.wait()?)
            }
        }
    }

    /// Asks facetd to stop. `Child::kill` would be SIGKILL; the shell's own `kill` saves an unsafe call.
    fn stop(&mut self) -> Result<ExitStatus> {
        let kill = format!("kill -TERM {}", self.child.id());
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .context("cannot start sh")?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_WAIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("facetd still runs {} s after SIGTERM", STOP_WAIT.as_secs())
    }

    fn show_log(&self) {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..] {
            println!("     | {line}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended, or it is of no more use: both may fail and need no answer.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port_of(line: &str) -> Option<u16> {
    line.strip_prefix("facetd listening on http://127.0.0.1:")?
        .trim_end()
        .parse()
        .ok()
}

/// A folder of its own for one run, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        for number in 0..1000 {
            let path =
                env::temp_dir().join(format!("facetd-example-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
            }
        }
        bail!("no free name for a temporary folder")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A stand-in for facetd: prints the line, answers one request, ends with `exit_code` on SIGTERM.
    fn stand_in(folder: &Folder, exit_code: u8) -> PathBuf {
        let path = folder.0.join("facetd");
        let script = format!(
            "#!/usr/bin/env python3
import http.server, signal, sys, os
port = int(sys.argv[sys.argv.index('--port') + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ('you asked ' + self.path).encode()
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(('127.0.0.1', port), Handler)
signal.signal(signal.SIGTERM, lambda *_: os._exit({exit_code}))
print(f'facetd listening on http://127.0.0.1:{{port}}', flush=True)
server.serve_forever()
"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn example(folder: &Folder, json: &str) -> PathBuf {
        let path = folder.0.join("project");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("example.json"), json).unwrap();
        path
    }

    #[test]
    fn an_example_passes_only_with_its_answer_and_a_clean_end() {
        let folder = Folder::new().unwrap();
        let good = stand_in(&folder, 0);
        let project = example(
            &folder,
            r#"{"request": "/x", "expect_contains": "asked /x"}"#,
        );
        run_one(&good, &project).unwrap();

        example(
            &folder,
            r#"{"request": "/x", "expect_contains": "something else"}"#,
        );
        let error = format!("{:#}", run_one(&good, &project).unwrap_err());
        assert!(
            error.contains("something else") && error.contains("asked /x"),
            "{error}"
        );

        example(&folder, r#"{"request": "/x", "expect_status": 404}"#);
        let error = format!("{:#}", run_one(&good, &project).unwrap_err());
        assert!(error.contains("status 200, expected 404"), "{error}");

        example(&folder, r#"{"request": "/x"}"#);
        let bad = stand_in(&folder, 3);
        let error = format!("{:#}", run_one(&bad, &project).unwrap_err());
        assert!(error.contains("exit code 0"), "{error}");

        let error = format!(
            "{:#}",
            run_one(Path::new("/bin/true"), &project).unwrap_err()
        );
        assert!(error.contains("ended at once"), "{error}");

        fs::remove_file(project.join("example.json")).unwrap();
        assert!(
            run_one(&good, &project).is_err(),
            "an example must have its question"
        );
    }

    #[test]
    fn a_question_needs_a_path_and_known_fields() {
        let full = r#"{"request": "/p", "method": "POST", "body": "b", "expect_status": 201, "expect_contains": "c"}"#;
        let question = Question::parse(full).unwrap();
        let expected = Question {
            request: "/p".into(),
            method: "POST".into(),
            body: Some("b".into()),
            status: 201,
            contains: "c".into(),
        };
        assert_eq!(question, expected, "every field is read");
        for wrong in [
            "[]",
            "{}",
            r#"{"request": "p"}"#,
            r#"{"request": "/p", "expected_status": 1}"#,
            r#"{"request": "/p", "expect_status": "200"}"#,
        ] {
            assert!(Question::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_documented_first_line_counts() {
        assert_eq!(
            port_of("facetd listening on http://127.0.0.1:8787"),
            Some(8787),
            "the documented line"
        );
        assert_eq!(
            port_of("listening on http://127.0.0.1:8787"),
            None,
            "anything else is a failure"
        );
    }
}
