//! Random sequences of storage calls get the same answers from facetd and from the real workerd, and random values arrive
//! alike along every kind of hop. See differential/compare.mjs; what is left out on purpose is listed in
//! differential/generate.mjs and differential/values/generate.mjs.
//!
//! `FACETD_SEED`, `FACETD_SEQUENCES` and `FACETD_VALUES` say which ones and how many; a failure prints its seed and a short
//! sequence, which `compare.mjs --steps` runs again and which can become a conformance case.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::process::{Ended, run, tool};
use crate::harness::{Project, Server};

const SEQUENCES: u32 = 10_000;
const SEQUENCES_PLANTED: u32 = 300;
/// Of the seed that never changes, and of one that always does.
const VALUES: u32 = 4_000;
const VALUES_FRESH: u32 = 2_000;
const VALUES_PLANTED: u32 = 300;
const COMPARE_MAX: Duration = Duration::from_secs(900);

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn from_env(name: &str, default: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

fn project() -> Project {
    let probe = std::fs::read(tests().join("conformance/probe.js")).expect("the file is there");
    Project::new()
        .copy_of(&tests().join("differential/project"), &[])
        .file("probe.js", probe)
}

/// workerd over the same project, until it is dropped.
struct Workerd {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Workerd {
    fn start(projects: &[&Path]) -> Self {
        let _npm = tool(
            "npm",
            "npm, which comes with Node (or set WORKERD to the workerd binary)",
        );
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let mut child = tool("node", "Node 20 or newer")
            .arg(tests().join("interop/workerd.mjs"))
            .args(["serve", "--data"])
            .arg(data.path())
            .args(
                projects
                    .iter()
                    .flat_map(|project| [Path::new("--project"), project]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        // Ends at the latest when the script gives up.
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("stdout can be read");
        let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
        match url {
            Some(url) => Self {
                child,
                url,
                _data: data,
            },
            None => {
                let _ = child.kill();
                panic!(
                    "workerd did not start: {line:?}, {:?}",
                    child.wait().map(|status| status.code())
                );
            }
        }
    }
}

impl Drop for Workerd {
    fn drop(&mut self) {
        // Not SIGKILL: the script ends workerd and removes its files.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

/// The first of `projects` answers HTTP.
fn serve(projects: &[&Project], planted: &str) -> Server {
    let (main, others) = projects.split_first().expect("at least one project");
    let server = others
        .iter()
        .fold(Server::of(main.path()), |server, other| {
            server.arg(other.path().display().to_string())
        });
    server
        .relaxed()
        .arg("--var")
        .arg(format!("PLANTED={planted}"))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

const STORAGE: &str = "generate.mjs";
const VALUES_ALONG_HOPS: &str = "values/generate.mjs";

fn compare(of: &str, ours: &Server, theirs: &Workerd, seed: u32, count: u32) -> Ended {
    let mut node = tool("node", "Node 20 or newer");
    node.arg(tests().join("differential/compare.mjs"))
        .args(["--of", of])
        .args(["--ours", &ours.url("/"), "--theirs", &theirs.url])
        .args(["--seed", &seed.to_string(), "--count", &count.to_string()]);
    run(&mut node, COMPARE_MAX)
}

#[test]
fn random_storage_calls_answer_as_in_workerd() {
    let project = project();
    let workerd = Workerd::start(&[project.path()]);
    let facetd = serve(&[&project], "");
    let seed = from_env("FACETD_SEED", 1);
    let count = from_env("FACETD_SEQUENCES", SEQUENCES);
    let ended = compare(STORAGE, &facetd, &workerd, seed, count);
    eprintln!("{}", ended.stdout);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.both(), facetd.stderr());
}

#[test]
fn a_planted_difference_is_found_and_its_sequence_is_short() {
    let project = project();
    let workerd = Workerd::start(&[project.path()]);
    for planted in ["answer", "error", "state"] {
        let facetd = serve(&[&project], planted);
        let ended = compare(STORAGE, &facetd, &workerd, 1, SEQUENCES_PLANTED);
        assert_eq!(ended.code, Some(1), "{planted}: {}", ended.both());
        let steps: Vec<u32> = ended
            .stdout
            .lines()
            .filter_map(|line| {
                let (_, rest) = line.split_once("shortest found, ")?;
                rest.split(' ').next()?.parse().ok()
            })
            .collect();
        assert!(!steps.is_empty(), "{planted}: {}", ended.both());
        assert!(
            steps.iter().all(|steps| *steps <= 3),
            "{planted}: not short: {}",
            ended.both()
        );
    }
}

/// The worker that sends values, and the other one that it sends some to.
struct Senders {
    main: Project,
    other: Project,
}

impl Senders {
    fn new() -> Self {
        let folder = tests().join("differential/values");
        let read = |name: &str| std::fs::read(folder.join(name)).expect("the file is there");
        let mut main = Project::new();
        for name in ["worker.js", "receiver.js", "values.js", "wrangler.jsonc"] {
            main = main.file(name, read(name));
        }
        // Once more as texts, to be loaded.
        for name in ["receiver.js", "values.js"] {
            main = main.file(&format!("{name}.txt"), read(name));
        }
        let config = r#"{"name": "values-other", "main": "receiver.js", "compatibility_date": "2026-09-01"}"#;
        let other = Project::new()
            .file("receiver.js", read("receiver.js"))
            .file("values.js", read("values.js"))
            .file("wrangler.jsonc", config);
        Self { main, other }
    }

    fn on_workerd(&self) -> Workerd {
        Workerd::start(&[self.main.path(), self.other.path()])
    }

    fn on_facetd(&self, planted: &str) -> Server {
        serve(&[&self.main, &self.other], planted)
    }
}

#[test]
fn random_values_arrive_as_in_workerd() {
    let senders = Senders::new();
    let workerd = senders.on_workerd();
    let facetd = senders.on_facetd("");
    let fresh = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.subsec_nanos());
    let count = from_env("FACETD_VALUES", VALUES);
    for (seed, count) in [
        (from_env("FACETD_SEED", 1), count),
        (fresh, count.min(VALUES_FRESH)),
    ] {
        let ended = compare(VALUES_ALONG_HOPS, &facetd, &workerd, seed, count);
        eprintln!("{}", ended.stdout);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.both(), facetd.stderr());
    }
}

#[test]
fn a_planted_difference_of_values_is_found() {
    let senders = Senders::new();
    let workerd = senders.on_workerd();
    for planted in ["Map", "RangeError", "callable", "DataCloneError"] {
        let facetd = senders.on_facetd(planted);
        let ended = compare(VALUES_ALONG_HOPS, &facetd, &workerd, 1, VALUES_PLANTED);
        assert_eq!(ended.code, Some(1), "{planted}: {}", ended.both());
        assert!(
            ended.stdout.contains("(planted)"),
            "{planted}: {}",
            ended.both()
        );
    }
}
