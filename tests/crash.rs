//! Kill it at any moment: every answered write is there. Ask it to stop: what runs is finished.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::{files_below, run, tool};
use crate::harness::{Connection, Project, Random, Request, Server, wait_for};

const ROUNDS: usize = 15;
const TARGETS: [&str; 3] = ["object", "one", "two"];
const WRITERS_PER_TARGET: usize = 2;
const SOON: Duration = Duration::from_secs(30);

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
// The same counter three times: in SQL, in key-value storage, and as the number of rows of a log.
class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS counter (n INTEGER); CREATE TABLE IF NOT EXISTS log (n INTEGER PRIMARY KEY, pad TEXT)");
  }
  #sql() { return this.ctx.storage.sql.exec("SELECT coalesce(max(n), 0) AS n FROM counter").one().n; }
  async write() {
    const n = this.#sql() + 1;
    const { storage } = this.ctx;
    storage.sql.exec("DELETE FROM counter");
    storage.sql.exec("INSERT INTO counter VALUES (?)", n);
    storage.kv.put("n", n);
    storage.sql.exec("INSERT INTO log VALUES (?, ?)", n, "x".repeat(n * 37 % 3000));
    return n;
  }
  async read() {
    return { sql: this.#sql(), kv: this.ctx.storage.kv.get("n") ?? 0, rows: this.ctx.storage.sql.exec("SELECT count(*) AS n FROM log").one().n };
  }
}
// Loaded code is the same class, as text.
const LOADED = `import { DurableObject } from "cloudflare:workers"; ${Counter}; export { Counter as App };`;
export class Supervisor extends Counter {
  #target(name) {
    if (name === "object") return this;
    return this.ctx.facets.get(name, () => ({
      class: this.env.LOADER.get("counter", () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": LOADED }, globalOutbound: null })).getDurableObjectClass("App"),
    }));
  }
  writeTo(name) { return this.#target(name).write(); }
  readFrom(name) { return this.#target(name).read(); }
  async slow() { const n = await this.write(); await scheduler.wait(1500); return n; }
}
export default {
  async fetch(request, env) {
    const [, method, name] = new URL(request.url).pathname.split("/");
    return Response.json(await env.SUPERVISOR.getByName("main")[method](name));
  },
};
"#;

fn project() -> Project {
    let config = r#"{ "name": "crash", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
        "durable_objects": { "bindings": [{ "name": "SUPERVISOR", "class_name": "Supervisor" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Supervisor"] }] }"#;
    Project::of(&[("wrangler.jsonc", config), ("worker.js", WORKER)])
}

/// Every database passes SQLite's own check, read by another program.
fn assert_databases_are_whole(server: &Server, at: &str) {
    let databases = files_below(server.data_folder(), ".sqlite");
    assert!(!databases.is_empty(), "{at}: there are databases");
    let script = "import sqlite3, sys\nfor path in sys.argv[1:]:\n print(sqlite3.connect(path).execute('PRAGMA integrity_check').fetchall()[0][0])";
    let mut python = tool("python3", "python3 with its sqlite3 module");
    let ended = run(python.args(["-c", script]).args(&databases), SOON);
    let expected = "ok\n".repeat(databases.len());
    assert_eq!(
        ended.stdout, expected,
        "{at}: integrity_check of {databases:?}\n{}",
        ended.stderr
    );
}

#[track_caller]
fn number(answer: &Value) -> u64 {
    answer
        .as_u64()
        .unwrap_or_else(|| panic!("a number, not {answer}"))
}

/// Writes until the server is gone. Asserts at the write: what one writer is answered only ever grows.
fn write_until_killed(
    to: std::net::SocketAddr,
    target: &'static str,
    answers: &AtomicUsize,
    answered: &Mutex<HashMap<&str, u64>>,
) {
    let request = Request::new("POST", &format!("/writeTo/{target}"));
    let mut last = answered
        .lock()
        .expect("no panic")
        .get(target)
        .copied()
        .unwrap_or(0);
    while let Ok(answer) = request.send(to) {
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let value = number(&answer.json().expect("a number"));
        assert!(value > last, "{target} answered {value} after {last}");
        last = value;
        let mut answered = answered.lock().expect("no panic");
        let highest = answered.entry(target).or_insert(0);
        *highest = (*highest).max(value);
        drop(answered);
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_answered_write_survives_kill_9() {
    let project = project();
    let mut server = Server::of(project.path())
        .arg("--durability")
        .arg("fsync")
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let mut random = Random::from_env(20_260_901);
    // The highest value that was ever answered, by target.
    let answered: Mutex<HashMap<&str, u64>> = Mutex::default();
    for round in 0..ROUNDS {
        let (address, answers) = (server.address(), AtomicUsize::new(0));
        let kill_after = 1 + random.below(80);
        thread::scope(|scope| {
            for target in TARGETS {
                for _ in 0..WRITERS_PER_TARGET {
                    scope.spawn(|| write_until_killed(address, target, &answers, &answered));
                }
            }
            wait_for("the writers get answers", SOON, || {
                answers.load(Ordering::Relaxed) >= kill_after
            });
            server.kill9();
        });
        if round % 5 == 4 {
            assert_databases_are_whole(&server, &format!("after kill {round}"));
        }
        server
            .start_again()
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        for target in TARGETS {
            let found: Value = server
                .get(&format!("/readFrom/{target}"))
                .json()
                .expect("JSON");
            let highest = answered
                .lock()
                .expect("no panic")
                .get(target)
                .copied()
                .unwrap_or(0);
            let (sql, kv, rows) = (
                number(&found["sql"]),
                number(&found["kv"]),
                number(&found["rows"]),
            );
            assert!(
                sql >= highest,
                "round {round}: {target} answered {highest}, and {sql} is there"
            );
            assert_eq!(
                (kv, rows),
                (sql, sql),
                "round {round}: the writes of one turn of {target} are there together or not at all"
            );
            // At most one unanswered write per writer may be there on top.
            assert!(
                sql <= highest + WRITERS_PER_TARGET as u64,
                "round {round}: {target} answered {highest}, and {sql} is there"
            );
            answered.lock().expect("no panic").insert(target, sql);
        }
    }
    assert_eq!(server.sigterm(), Some(0), "a clean end");
    assert_databases_are_whole(&server, "after SIGTERM");
}

#[test]
fn sigterm_lets_a_running_request_finish_and_exits_0() {
    let project = project();
    let mut server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let before = number(&server.get("/readFrom/object").json().expect("JSON")["sql"]);
    let mut idle = Connection::open(server.address());
    idle.write("GET /readFrom/object HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    idle.answer().expect("an answer"); // kept open: an idle connection must not hold the end up
    let address = server.address();
    let slow = thread::spawn(move || Request::get("/slow").send(address));
    // The write of the slow request is visible before its answer: then it runs.
    wait_for("the slow request runs", SOON, || {
        number(&server.get("/readFrom/object").json().expect("JSON")["sql"]) > before
    });
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
    let written = number(&answer.json().expect("JSON"));
    assert!(
        Request::get("/").send(address).is_err(),
        "nobody listens any more"
    );
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    let found = number(&server.get("/readFrom/object").json().expect("JSON")["sql"]);
    assert_eq!(found, written, "what it answered is there");
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
