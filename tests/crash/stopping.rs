//! Asked to stop: what runs is finished, and the exit code is 0.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Connection, Project, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(30);

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  read() { return this.ctx.storage.kv.get("n") ?? 0; }
  async slow() {
    const n = this.read() + 1;
    this.ctx.storage.kv.put("n", n);
    await scheduler.wait(1500);
    return n;
  }
}
export default {
  async fetch(request, env) {
    const [, method] = new URL(request.url).pathname.split("/");
    return Response.json(await env.COUNTER.getByName("main")[method]());
  },
};
"#;

fn project() -> Project {
    let config = r#"{ "name": "stopping", "main": "worker.js", "compatibility_date": "2026-09-01",
        "durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }] }"#;
    Project::of(&[("wrangler.jsonc", config), ("worker.js", WORKER)])
}

fn read(server: &Server) -> u64 {
    let answer: Value = server.get("/read").json().expect("JSON");
    answer.as_u64().expect("a number")
}

#[test]
fn sigterm_lets_a_running_request_finish_and_exits_0() {
    let project = project();
    let mut server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let before = read(&server);
    let mut idle = Connection::open(server.address());
    idle.write("GET /read HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    idle.answer().expect("an answer"); // kept open: an idle connection must not hold the end up
    let address = server.address();
    let slow = thread::spawn(move || Request::get("/slow").send(address));
    // The write of the slow request is visible before its answer: then it runs.
    wait_for("the slow request runs", SOON, || read(&server) > before);
    assert!(!slow.is_finished(), "and has no answer yet");
    assert_eq!(
        server.sigterm(),
        Some(0),
        "the exit code of a drained server"
    );
    let answer = slow
        .join()
        .expect("no panic")
        .expect("the running request is answered");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let written: Value = answer.json().expect("JSON");
    assert!(
        Request::get("/").send(address).is_err(),
        "nobody listens any more"
    );
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    let found = read(&server);
    assert_eq!(Value::from(found), written, "what it answered is there");
}

#[test]
fn sigterm_while_a_worker_loops_still_ends() {
    let project = Project::of(&[("worker.js", "export default { fetch() { for (;;) {} } };")]);
    let mut server = Server::of(project.join("worker.js"))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let address = server.address();
    let looping = thread::spawn(move || Request::get("/").send(address));
    let pid = server.pid();
    let cpu = move || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default().to_owned();
        after_name
            .split_whitespace()
            .nth(11)
            .and_then(|ticks| ticks.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let before = cpu();
    wait_for("the worker loops", SOON, || cpu() > before + 20);
    let code = server.sigterm();
    assert_eq!(
        code,
        Some(0),
        "a drain that takes too long is cut off, and that is a clean end"
    );
    let _ = looping.join();
}
