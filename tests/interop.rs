//! State made by the real workerd opens here, and state made here opens in workerd, every value equal.
//! See interop/workerd.mjs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::{run, tool};
use crate::harness::{Project, Server};

const WORKERD_MAX: Duration = Duration::from_secs(240);

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// `write` or `read` by workerd over `data`.
pub fn workerd(command: &str, data: &Path, kill: bool) -> Value {
    workerd_with("state", command, data, kill)
}

fn workerd_with(project: &str, command: &str, data: &Path, kill: bool) -> Value {
    let _npm = tool(
        "npm",
        "npm, which comes with Node (or set WORKERD to the workerd binary)",
    );
    let mut node = tool("node", "Node 20 or newer");
    node.arg(tests().join("workerd.mjs"))
        .arg(command)
        .arg("--data")
        .arg(data)
        .arg("--project")
        .arg(tests().join(project));
    if kill {
        node.arg("--kill");
    }
    let ended = run(&mut node, WORKERD_MAX);
    assert_eq!(ended.code, Some(0), "workerd {command}\n{}", ended.both());
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("workerd {command}: {error}\n{}", ended.both()))
}

fn serve(data: &Path) -> (Project, Server) {
    serve_with("state", data)
}

fn serve_with(project: &str, data: &Path) -> (Project, Server) {
    let project = Project::new().copy_of(&tests().join(project), &[]);
    let server = Server::of(project.path())
        .data(data)
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

fn facetd(server: &Server, path: &str) -> Value {
    server.get_json(path)
}

/// The paths at which two answers differ: both are long.
fn differences(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let (ours, theirs) = (
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                );
                differences(&format!("{at}.{key}"), ours, theirs, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (ours, theirs)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{index}]"), ours, theirs, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{at}: facetd {ours}, workerd {theirs}")),
    }
}

#[track_caller]
fn assert_same(ours: &Value, theirs: &Value, what: &str) {
    let mut found = Vec::new();
    differences("", ours, theirs, &mut found);
    assert!(
        found.is_empty(),
        "{what}: {} differences\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn state_made_by_workerd_opens_here_with_every_value_equal() {
    for kill in [false, true] {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let theirs = workerd("write", data.path(), kill);
        let (_project, server) = serve(data.path());
        assert_same(
            &facetd(&server, "/read"),
            &theirs,
            if kill {
                "after a kill of workerd"
            } else {
                "after a clean end of workerd"
            },
        );
    }
}

#[test]
fn state_made_here_opens_in_workerd_with_every_value_equal() {
    for kill in [false, true] {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let (_project, mut server) = serve(data.path());
        let ours = facetd(&server, "/write");
        if kill {
            server.kill9();
        } else {
            assert_eq!(server.sigterm(), Some(0), "a clean end");
        }
        let theirs = workerd("read", data.path(), false);
        assert_same(
            &ours,
            &theirs,
            if kill {
                "after a kill of facetd"
            } else {
                "after a clean end of facetd"
            },
        );
    }
}

#[test]
fn state_goes_there_and_back_again() {
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let (_project, mut server) = serve(data.path());
    let before = facetd(&server, "/write");
    server.sigterm();
    assert_same(&before, &workerd("read", data.path(), true), "there");
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_same(&facetd(&server, "/read"), &before, "and back");
}

#[track_caller]
fn assert_fired_elsewhere(written: &Value, read: &Value, what: &str) {
    let fired = &read["fired"];
    assert_eq!(fired["name"], "soon", "{what}: {read}");
    assert_eq!(fired["scheduled"], written["scheduled"], "{what}: {read}");
    assert_eq!(
        fired["process"], read["here"],
        "{what}: fired by the reader"
    );
    assert_ne!(
        fired["process"], written["process"],
        "{what}: not by the writer"
    );
    assert_eq!(
        read["far"], 4_000_000_000_000_u64,
        "{what}: the far one waits"
    );
}

#[test]
fn an_alarm_set_in_one_program_fires_in_the_other() {
    for kill in [false, true] {
        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let written = workerd_with("alarms", "write", data.path(), kill);
        let (_project, server) = serve_with("alarms", data.path());
        assert_fired_elsewhere(&written, &facetd(&server, "/read"), "from workerd");

        let data = tempfile::tempdir().expect("a temporary folder can be made");
        let (_project, mut server) = serve_with("alarms", data.path());
        let written = facetd(&server, "/write");
        if kill {
            server.kill9();
        } else {
            assert_eq!(server.sigterm(), Some(0), "a clean end");
        }
        let read = workerd_with("alarms", "read", data.path(), false);
        assert_fired_elsewhere(&written, &read, "from facetd");
    }
}
