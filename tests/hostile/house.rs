//! A server with a supervisor, a neighbour and room for one hostile facet. See worker.js.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Project, Request, Server, process};

/// Nothing asked here takes longer, unless it hangs.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);
/// What a server uses on top of the memory its isolates are allowed.
pub const RSS_SLACK_MIB: u64 = 400;

pub struct House {
    pub server: Server,
    pid: u32,
    names: Cell<u32>,
    _project: Project,
}

impl House {
    pub fn new() -> Self {
        Self::configured(include_str!("wrangler.jsonc"))
    }

    /// Workers may connect to servers of the test.
    pub fn with_private_egress() -> Self {
        let config = include_str!("wrangler.jsonc");
        let end = config.rfind('}').expect("an object");
        let egress = r#", "facetd": { "egress": { "allow": ["private"] } } }"#;
        Self::configured(&format!(
            "{}{egress}",
            config[..end].trim_end().trim_end_matches(',')
        ))
    }

    fn configured(config: &str) -> Self {
        let project = Project::of(&[
            ("worker.js", include_str!("worker.js")),
            ("wrangler.jsonc", config),
        ]);
        let server = Server::of(project.path())
            .relaxed()
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        let pid = server.pid();
        Self {
            server,
            pid,
            names: Cell::new(0),
            _project: project,
        }
    }

    pub fn try_post(&self, path: &str, ask: &Value) -> io::Result<Value> {
        let request = Request::new("POST", path).body(ask.to_string());
        let answer = request.send_within(self.server.address(), ANSWER_MAX)?;
        if answer.status != 200 {
            return Err(io::Error::other(format!(
                "status {}: {}",
                answer.status,
                answer.text()
            )));
        }
        Ok(answer.json()?)
    }

    #[track_caller]
    pub fn post(&self, path: &str, ask: &Value) -> Value {
        self.try_post(path, ask).unwrap_or_else(|error| {
            panic!(
                "POST {path} of {ask}: {error}\n{}\n{}",
                self.state(),
                tail(&self.server.stderr())
            )
        })
    }

    /// Runs `body` as the method of a facet that nobody else uses: one that runs keeps its code.
    #[track_caller]
    pub fn facet(&self, body: &str) -> Value {
        self.post("/facet", &json!({ "facet": self.new_name(), "body": body }))
    }

    #[track_caller]
    pub fn facet_limited(&self, body: &str, limits: &Value) -> Value {
        self.post(
            "/facet",
            &json!({ "facet": self.new_name(), "body": body, "limits": limits }),
        )
    }

    pub fn new_name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("facet {}", self.names.get())
    }

    /// `ok` of an answer; panics if the code threw.
    #[track_caller]
    pub fn ok(&self, body: &str) -> Value {
        let answer = self.facet(body);
        assert!(
            answer.get("ok").is_some(),
            "the code should not throw: {answer}"
        );
        answer["ok"].clone()
    }

    /// The same process, and the three who did nothing wrong answer.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        assert_eq!(
            self.state(),
            "runs",
            "the process survives\n{}",
            tail(&self.server.stderr())
        );
        for path in ["/ping", "/supervisor", "/neighbour"] {
            let answer = Request::get(path).send_within(self.server.address(), ANSWER_MAX);
            let answer = answer.unwrap_or_else(|error| {
                panic!("GET {path}: {error}\n{}", tail(&self.server.stderr()))
            });
            assert_eq!(
                answer.status,
                200,
                "{path} answers as usual: {}",
                answer.text()
            );
        }
        assert_eq!(self.server.pid(), self.pid, "nothing was restarted");
    }

    /// What is wrong with those who did nothing wrong; `None` if they all answer.
    pub fn harm(&self) -> Option<String> {
        if self.state() != "runs" {
            return Some(self.state());
        }
        for path in ["/ping", "/supervisor", "/neighbour"] {
            match Request::get(path).send_within(self.server.address(), ANSWER_MAX) {
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) => return Some(format!("{path} answers {}", answer.status)),
                Err(error) => return Some(format!("{path}: {error}")),
            }
        }
        None
    }

    /// `runs`, or how it is not.
    fn state(&self) -> String {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        match status.lines().find_map(|line| line.strip_prefix("State:")) {
            Some(state) if !state.trim().starts_with('Z') => "runs".into(),
            _ => "the facetd process is dead".into(),
        }
    }

    pub fn rss_mib(&self) -> u64 {
        process::rss_mib(self.pid)
    }
}

/// The end of a log: V8's own last words are long.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| !line.trim_start().starts_with("./") && !line.contains("(+0x"))
        .collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
