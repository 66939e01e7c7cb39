//! Objects through their lives: ten thousand of them, eviction, memory pressure, a server that stops.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{files_below, open_files, rss_mib};
use crate::harness::{Project, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Each object knows its name three ways: as its id says, as it was told when it was made, and as it is stored.
const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";

export class Obj extends DurableObject {
  #calls = 0;
  #kept;
  visit(name) {
    const { kv } = this.ctx.storage;
    if (kv.get("name") === undefined) kv.put("name", name);
    kv.put("visits", (kv.get("visits") ?? 0) + 1);
    this.#kept ??= name;
    return [this.ctx.id.name, this.#kept, kv.get("name"), kv.get("visits"), ++this.#calls];
  }
  fill(mb) { this.filled = Array.from({ length: mb * 128 }, (_, at) => Array(1024).fill(at)); return mb; }
  waits() { return scheduler.wait(600_000); }
  slow(ms) { return scheduler.wait(ms).then(() => "answered"); }
}

export default {
  async fetch(request, env) {
    const [, what, from, count] = new URL(request.url).pathname.split("/");
    const number = Number(count);
    if (what === "visit") {
      const names = Array.from({ length: number }, (_, at) => `object ${Number(from) + at}`);
      const seen = await Promise.all(names.map((name) => env.OBJ.getByName(name).visit(name)));
      const wrong = seen.filter(([id, kept, stored], at) => id !== names[at] || kept !== names[at] || stored !== names[at]);
      const distinct = (at) => [...new Set(seen.map((one) => one[at]))];
      return Response.json({ wrong, visits: distinct(3), calls: distinct(4) });
    }
    return Response.json(await env.OBJ.getByName(from)[what](number));
  },
};
"#;

fn project(facetd: &str) -> Project {
    let config = format!(
        r#"{{ "name": "objects", "main": "worker.js", "compatibility_date": "2026-09-01", "facetd": {facetd},
        "durable_objects": {{ "bindings": [{{ "name": "OBJ", "class_name": "Obj" }}] }},
        "migrations": [{{ "tag": "v1", "new_sqlite_classes": ["Obj"] }}] }}"#
    );
    Project::of(&[("worker.js", WORKER), ("wrangler.jsonc", &config)])
}

fn serve(project: &Project) -> Server {
    Server::of(project.path())
        .relaxed()
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

const OBJECTS: usize = 10_000;
const AT_ONCE: usize = 200;

/// Visits every object once; all have had `visits` visits then.
fn visit_all(server: &Server, visits: u64) {
    for from in (0..OBJECTS).step_by(AT_ONCE) {
        let answer = server.get_json(&format!("/visit/{from}/{AT_ONCE}"));
        assert_eq!(
            answer["wrong"],
            json!([]),
            "each is who it was, from {from}"
        );
        assert_eq!(
            answer["visits"],
            json!([visits]),
            "each has its data, from {from}"
        );
    }
}

/// As `ulimit -n` would.
fn limit_files(server: &Server, most: usize) {
    let limit = std::process::Command::new("prlimit")
        .args(["--pid", &server.pid().to_string()])
        .arg(format!("--nofile={most}:{most}"))
        .status();
    assert!(
        limit.is_ok_and(|status| status.success()),
        "this test needs `prlimit`: install util-linux"
    );
}

#[test]
fn ten_thousand_objects_remember_who_they_are() {
    let project = project(r#"{ "history": false }"#);
    let mut server = serve(&project);
    visit_all(&server, 1);
    let rss = rss_mib(server.pid());
    limit_files(&server, 600);
    // Whoever does not fit into the descriptors of the process has left memory meanwhile, and goes when others come.
    visit_all(&server, 2);
    let grown = rss_mib(server.pid()).saturating_sub(rss);
    assert!(
        grown < 200,
        "a second round needs no more memory: {grown} MiB"
    );
    let open = open_files(server.pid());
    assert!(open < 600, "{open} files are open");
    assert_eq!(server.sigterm(), Some(0), "a clean end");
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    visit_all(&server, 3);
    server.kill9();
    let databases = files_below(server.data_folder(), ".sqlite").len();
    assert_eq!(databases, OBJECTS, "one each");
}

#[test]
fn an_idle_object_leaves_memory_and_comes_back_with_its_data() {
    let project = project(r#"{ "evict_after_ms": 100 }"#);
    let server = serve(&project);
    let visit = || server.get_json("/visit/1/1");
    assert_eq!(visit(), json!({ "wrong": [], "visits": [1], "calls": [1] }));
    // Looking keeps it alive, so nobody looks at it: its descriptors tell.
    wait_for("the object leaves memory", SOON, || {
        open_databases(server.pid()) == 0
    });
    assert_eq!(
        visit(),
        json!({ "wrong": [], "visits": [2], "calls": [1] }),
        "memory is lost, data is not"
    );
}

/// Descriptors of databases: those of connections come and go.
fn open_databases(pid: u32) -> usize {
    let names = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    let names = names.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names
        .filter(|path| path.parent().is_some_and(|folder| !folder.ends_with("do")))
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind.as_encoded_bytes().starts_with(b"sqlite"))
        })
        .count()
}

#[test]
fn when_memory_gets_tight_idle_objects_leave_it() {
    let project = project(r#"{ "limits": { "memory_mb": 256 } }"#);
    let server = serve(&project);
    assert_eq!(server.get_json("/visit/0/1")["calls"], json!([1]));
    // Three times what fits, well within the time an idle object stays.
    for at in 0..32 {
        let filled = server.get_json(&format!("/fill/big {at}/24").replace(' ', "%20"));
        assert_eq!(filled, 24, "object {at}");
    }
    let first = server.get_json("/visit/0/1");
    assert_eq!(
        first,
        json!({ "wrong": [], "visits": [2], "calls": [1] }),
        "it left memory with the others"
    );
    assert!(
        !server.stderr().contains("memory limit"),
        "nobody was killed"
    );
}

#[test]
fn instances_of_a_worker_share_the_descriptors() {
    let project = project(r#"{ "instances": 4, "history": false }"#);
    let server = serve(&project);
    limit_files(&server, 512);
    for visits in 1..=2 {
        for from in (0..1000).step_by(20) {
            let answer = server.get_json(&format!("/visit/{from}/20"));
            assert_eq!(
                (&answer["wrong"], &answer["visits"]),
                (&json!([]), &json!([visits])),
                "from {from}"
            );
        }
    }
    assert!(open_files(server.pid()) < 512);
}

#[test]
fn a_server_that_stops_lets_requests_end_and_takes_no_new_ones() {
    let project = project("{}");
    let mut server = serve(&project);
    let address = server.address();
    let slow = std::thread::spawn(move || Request::get("/slow/s/1500").send(address));
    server.get_json("/visit/1/1");
    wait_for("the slow one runs", SOON, || {
        open_files(server.pid()) > 0 && server.get_json("/visit/1/1")["wrong"] == json!([])
    });
    let pid = server.pid();
    let stopped = std::thread::spawn(move || (server.sigterm(), server));
    let answer = slow.join().expect("no panic").expect("it is answered");
    assert_eq!(
        (answer.status, answer.text()),
        (200, "\"answered\"".to_owned())
    );
    let (code, mut server) = stopped.join().expect("no panic");
    assert_eq!(code, Some(0), "{pid} ends as asked");
    assert!(
        Request::get("/visit/1/1").send(address).is_err(),
        "nobody listens any more"
    );
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    let again: Value = server.get_json("/visit/1/1");
    assert_eq!(
        again["calls"],
        json!([1]),
        "what was written is there: {again}"
    );
}
