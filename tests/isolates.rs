//! Two hundred isolates at once, used, dropped in random order, again and again: nothing stays behind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{open_files, rss_mib, status_of};
use crate::harness::{Project, Random, Request, Server, wait_for};

const ISOLATES: usize = 200;
const ROUNDS: usize = 3;
const AT_ONCE: usize = 20;
const SETTLED: Duration = Duration::from_secs(60);
/// Ready isolates in the pool, blocking threads of the runtime that idle for a while.
const THREADS_SLACK: u64 = 12;
const FILES_SLACK: usize = 20;
/// What an allocator may keep of half a GiB that was in use.
const RSS_SLACK_MIB: u64 = 150;

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
const codeOf = (name) => ({
  compatibilityDate: "2026-09-01", mainModule: "app.js", globalOutbound: null,
  modules: { "app.js": `import { DurableObject } from "cloudflare:workers"; const mine = ${JSON.stringify(name)}; let calls = 0;
    export class App extends DurableObject { call(given) { calls += 1; const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return [mine, given, calls, n]; } }` },
});
export class Supervisor extends DurableObject {
  #facet(name) {
    return this.ctx.facets.get(name, () => ({ class: this.env.LOADER.load(codeOf(name)).getDurableObjectClass("App") }));
  }
  use(names) { return Promise.all(names.map((name) => this.#facet(name).call(name))); }
  drop(names) { for (const name of names) this.ctx.facets.abort(name, new Error("dropped")); }
}
export default {
  async fetch(request, env) {
    const { method, names } = await request.json();
    return Response.json((await env.SUPERVISOR.getByName("main")[method](names)) ?? null);
  },
};
"#;

fn ask(server: &Server, method: &str, names: &[String]) -> Value {
    let body = json!({ "method": method, "names": names }).to_string();
    let answer = server
        .send(&Request::new("POST", "/").body(body))
        .unwrap_or_else(|error| panic!("{method}: {error}"));
    assert_eq!(
        answer.status,
        200,
        "{method}: {}\n{}",
        answer.text(),
        server.stderr()
    );
    answer.json().expect("JSON")
}

#[test]
fn two_hundred_isolates_leave_no_thread_no_file_and_no_memory_behind() {
    let config = r#"{ "name": "isolates", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
        "durable_objects": { "bindings": [{ "name": "SUPERVISOR", "class_name": "Supervisor" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Supervisor"] }] }"#;
    let project = Project::of(&[("worker.js", WORKER), ("wrangler.jsonc", config)]);
    let server = Server::of(project.path())
        .relaxed()
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let pid = server.pid();
    let mut random = Random::from_env(200);
    let warm_up = ["warm".to_owned()];
    ask(&server, "use", &warm_up);
    ask(&server, "drop", &warm_up);
    let (threads, files, rss) = (status_of(pid, "Threads"), open_files(pid), rss_mib(pid));
    for round in 0..ROUNDS {
        let mut names: Vec<String> = (0..ISOLATES).map(|at| format!("facet {at}")).collect();
        // Each is used twice while all are alive: its globals are its own, its database goes on.
        for call in 1..=2 {
            random.shuffle(&mut names);
            for some in names.chunks(AT_ONCE) {
                let answers = ask(&server, "use", some);
                let stored = round * 2 + call;
                let expected: Value = some
                    .iter()
                    .map(|name| json!([name, name, call, stored]))
                    .collect();
                assert_eq!(answers, expected, "round {round}, call {call}");
            }
        }
        let most = status_of(pid, "Threads");
        assert!(
            most >= ISOLATES as u64,
            "all are alive at once, one thread each: {most} threads"
        );
        random.shuffle(&mut names);
        for some in names.chunks(7) {
            ask(&server, "drop", some);
        }
        wait_for(&format!("round {round}: the threads end"), SETTLED, || {
            status_of(pid, "Threads") <= threads + THREADS_SLACK
        });
        wait_for(
            &format!("round {round}: the files are closed"),
            SETTLED,
            || open_files(pid) <= files + FILES_SLACK,
        );
        let mut now = 0;
        let settled = crate::harness::wait::until(SETTLED, || {
            now = rss_mib(pid);
            (now <= rss + RSS_SLACK_MIB).then_some(())
        });
        assert!(
            settled.is_some(),
            "round {round}: resident memory was {rss} MiB and stays at {now} MiB"
        );
    }
    assert_eq!(server.pid(), pid, "it is the same process");
}
