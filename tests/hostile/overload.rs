//! More than an object or isolate can do: who asks too much is told so, nobody else is.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Project, Request, Response, Server, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// `Room` counts its visits and can be closed: while it is, whoever comes waits at its input gate. `Door` is what keeps it
/// closed, until `/open`.
const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";

const told = (error) => ({ name: error.name, message: error.message, overloaded: error.overloaded });
const counted = async (calls) => {
  const done = await Promise.allSettled(calls);
  const errors = done.filter((one) => one.status === "rejected").map((one) => told(one.reason));
  return { ok: done.length - errors.length, refused: errors.length, error: errors[0] };
};

export class Door extends DurableObject {
  #waiting = [];
  wait() {
    const { promise, resolve } = Promise.withResolvers();
    this.#waiting.push(resolve);
    return promise;
  }
  count() { return this.#waiting.length; }
  #asked = 0;
  ask() { this.#asked++; }
  asked() { return this.#asked; }
  open() { for (const open of this.#waiting.splice(0)) open(); }
}

export class Room extends DurableObject {
  #alarm = [];
  visit() {
    const n = (this.ctx.storage.kv.get("n") ?? 0) + 1;
    this.ctx.storage.kv.put("n", n);
    return n;
  }
  close() { return this.ctx.storage.transaction(() => this.env.DOOR.getByName("door").wait()); }
  alarmIn(ms) { return this.ctx.storage.setAlarm(Date.now() + ms); }
  alarm(info) { this.#alarm.push([info.retryCount, info.isRetry]); }
  alarms() { return this.#alarm; }
  async startFacet() { return this.ctx.facets.get("never", () => new Promise(() => {})).fetch("http://f/"); }
}

const GUEST = `
import { WorkerEntrypoint } from "cloudflare:workers";
const told = ${told};
const counted = ${counted};
export default class extends WorkerEntrypoint {
  flood(count) { return counted(Array.from({ length: count }, () => this.env.ROOM.visit())); }
  visit() { return this.env.ROOM.visit(); }
  requests(count) { return counted(Array.from({ length: count }, () => this.env.SELF.fetch("http://s/at-the-door"))); }
}`;
const guest = (env, ctx, name) => env.LOADER.get(name, () => ({
  compatibilityDate: "2026-09-01", mainModule: "g.js", modules: { "g.js": GUEST }, globalOutbound: null,
  env: { ROOM: env.ROOM.getByName("room"), SELF: ctx.exports.default({ props: {} }) },
})).getEntrypoint();

export default {
  async fetch(request, env, ctx) {
    const [, what, number, name] = new URL(request.url).pathname.split("/");
    const room = env.ROOM.getByName("room");
    const door = env.DOOR.getByName("door");
    const count = Number(number);
    const answer = await ({
      close: () => room.close(),
      open: () => door.open(),
      waiting: () => door.count(),
      visit: () => room.visit(),
      visits: async () => {
        const visits = counted(Array.from({ length: count }, () => room.visit()));
        await door.ask(); // it comes after them
        return visits;
      },
      asked: () => door.asked(),
      "at-the-door": () => door.wait(),
      alarm: () => room.alarmIn(count),
      alarms: () => room.alarms(),
      facet: () => room.startFacet().then(() => "started", told),
      "guest-flood": () => guest(env, ctx, name).flood(count),
      "guest-visit": () => guest(env, ctx, name).visit(),
      "guest-requests": () => guest(env, ctx, name).requests(count),
    })[what]();
    return Response.json(answer ?? null);
  },
};
"#;

fn serve(facetd: &str) -> (Project, Server) {
    let config = format!(
        r#"{{ "name": "overload", "main": "worker.js", "compatibility_date": "2026-09-01", "facetd": {facetd}, "worker_loaders": [{{ "binding": "LOADER" }}],
        "durable_objects": {{ "bindings": [{{ "name": "ROOM", "class_name": "Room" }}, {{ "name": "DOOR", "class_name": "Door" }}] }},
        "migrations": [{{ "tag": "v1", "new_sqlite_classes": ["Room", "Door"] }}] }}"#
    );
    let project = Project::of(&[("worker.js", WORKER), ("wrangler.jsonc", &config)]);
    let server = Server::of(project.path())
        .relaxed()
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

/// A request that is answered some other time.
struct Asked(thread::JoinHandle<std::io::Result<Response>>);

impl Asked {
    fn of(server: &Server, path: &str) -> Self {
        let (address, request) = (server.address(), Request::get(path));
        Self(thread::spawn(move || request.send(address)))
    }

    fn answer(self) -> Response {
        self.0.join().expect("no panic").expect("an answer")
    }

    #[track_caller]
    fn json(self) -> Value {
        let answer = self.answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json().expect("JSON")
    }
}

/// Closes the room; the returned request is answered when it is open again.
fn close(server: &Server) -> Asked {
    let closed = Asked::of(server, "/close");
    wait_until_waiting(server, 1);
    closed
}

fn wait_until_waiting(server: &Server, count: u64) {
    wait_for("they are at the door", SOON, || {
        server.get_json("/waiting") == json!(count)
    });
}

/// The visits of `/visits/N` have all arrived at the room.
fn wait_until_asked(server: &Server) {
    wait_for("they have arrived", SOON, || {
        server.get_json("/asked") == json!(1)
    });
}

const TOO_MANY: &str = "Durable Object is overloaded. Too many requests queued.";
const TOO_LONG: &str = "Durable Object is overloaded. Requests queued for too long.";

fn overloaded(message: &str) -> Value {
    json!({ "name": "Error", "message": message, "overloaded": true })
}

#[test]
fn a_full_queue_refuses_and_works_off_what_it_has() {
    let (_project, server) = serve(r#"{ "mailbox": { "length": 10 } }"#);
    let closed = close(&server);
    let visits = Asked::of(&server, "/visits/15");
    wait_until_asked(&server);
    let refused = server.get("/visit");
    assert_eq!(refused.status, 500, "the worker passes on what it is told");
    server.get_json("/open");
    closed.json();
    assert_eq!(
        visits.json(),
        json!({ "ok": 10, "refused": 5, "error": overloaded(TOO_MANY) })
    );
    assert_eq!(server.get_json("/visit"), 11, "those refused never ran");
    assert_eq!(
        server.get_json("/visits/10")["refused"],
        0,
        "all places are free again"
    );
}

#[test]
fn what_waits_for_too_long_at_the_gate_is_refused_and_never_runs() {
    let (_project, server) = serve(r#"{ "mailbox": { "wait_ms": 300 } }"#);
    assert_eq!(server.get_json("/visit"), 1);
    let closed = close(&server);
    let late = server.get_json("/visits/3");
    assert_eq!(
        late,
        json!({ "ok": 0, "refused": 3, "error": overloaded(TOO_LONG) }),
        "answered while the gate is closed"
    );
    server.get_json("/open");
    closed.json();
    assert_eq!(server.get_json("/visit"), 2, "they did not run later");
}

#[test]
fn what_waits_for_too_long_for_a_start_is_refused() {
    let (_project, server) = serve(r#"{ "mailbox": { "wait_ms": 300 } }"#);
    assert_eq!(server.get_json("/facet"), overloaded(TOO_LONG));
    assert_eq!(server.get_json("/visit"), 1, "its parent is fine");
}

#[test]
fn an_alarm_is_not_refused() {
    let (_project, server) = serve(r#"{ "mailbox": { "length": 5, "wait_ms": 60000 } }"#);
    // Set before the room closes; due, or not, when it is full: it waits beside the others.
    server.get_json("/alarm/100");
    let closed = close(&server);
    let full = Asked::of(&server, "/visits/8");
    wait_until_asked(&server);
    assert_eq!(server.get("/visit").status, 500, "the queue is full");
    server.get_json("/open");
    closed.json();
    assert_eq!(full.json()["ok"], 5);
    wait_for("the alarm runs", SOON, || {
        server.get_json("/alarms") != json!([])
    });
    assert_eq!(
        server.get_json("/alarms"),
        json!([[0, false]]),
        "once, and not as a retry"
    );
}

#[test]
fn a_full_isolate_says_so_to_http_and_recovers() {
    let (_project, server) = serve(r#"{ "mailbox": { "in_flight": 6 } }"#);
    let waiting: Vec<Asked> = (0..5).map(|_| Asked::of(&server, "/at-the-door")).collect();
    wait_until_waiting(&server, 5);
    let mut last = Vec::new();
    wait_for("another takes the last place", SOON, || {
        // The question may have the place when one comes, which is refused then.
        last.push(Asked::of(&server, "/at-the-door"));
        server.get("/waiting").status == 503
    });
    let refused = server.get("/waiting");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1")),
        "{}",
        refused.text()
    );
    drop((waiting, last));
    // Nobody can ask the worker to open the door, as in life: the clients give up, or the server stops.
    let mut server = server;
    server.kill9();
}

#[test]
fn guests_of_a_full_isolate_leave_room_for_others() {
    let (_project, server) = serve(r#"{ "mailbox": { "in_flight": 20 } }"#);
    let guest = Asked::of(&server, "/guest-requests/15/a");
    wait_until_waiting(&server, 10);
    assert_eq!(server.get_json("/visit"), 1, "HTTP has the other half");
    let other = server.get_json("/guest-requests/1/b");
    let full = json!({ "name": "Error", "message": "Worker is overloaded. Too many requests are in flight.", "overloaded": true });
    assert_eq!(other["error"], full, "guests share theirs");
    server.get_json("/open");
    assert_eq!(
        guest.json(),
        json!({ "ok": 10, "refused": 5, "error": full })
    );
}

#[test]
fn a_flood_from_one_loaded_worker_does_not_make_others_fail() {
    let (_project, server) = serve("{}");
    let address = server.address();
    let floods: Vec<_> = (0..3)
        .map(|_| Asked::of(&server, "/guest-flood/6000/hostile"))
        .collect();
    let mut asked = 0;
    let is_over = |floods: &[Asked]| floods.iter().all(|flood| flood.0.is_finished());
    while !is_over(&floods) || asked < 5 {
        for path in ["/guest-visit/0/neighbour", "/visit", "/visits/100"] {
            let answer = Request::get(path).send(address).expect("an answer");
            assert_eq!(answer.status, 200, "{path}: {}", server.stderr());
            if path == "/visits/100" {
                let answer = answer.json().expect("JSON");
                assert_eq!(answer["refused"], 0, "{answer}");
            }
        }
        asked += 1;
    }
    let mut refused = 0;
    for flood in floods {
        let flood = flood.json();
        assert_eq!(
            flood["ok"].as_u64().unwrap_or(0) + flood["refused"].as_u64().unwrap_or(0),
            6000
        );
        refused += flood["refused"].as_u64().unwrap_or(0);
        if flood["refused"] != 0 {
            assert_eq!(flood["error"]["overloaded"], true, "{flood}");
        }
    }
    assert!(refused > 0, "18,000 calls at once are a flood");
}
