//! The ends of objects: what was aborted does not come back, nothing of it runs on, and nobody is left waiting for it.

use std::io::Read;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::house::House;
use crate::harness::{Request, wait_for};

const SOON: Duration = Duration::from_secs(20);

/// A facet that notes who wrote what, and can keep its isolate busy until a file of its log says so.
const NOTES: &str = r#"import { DurableObject } from "cloudflare:workers";
export class App extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.me = globalThis.lives = (globalThis.lives ?? 0) + 1;
    console.log(`life ${this.me} of TAG`);
  }
  write(what) { const { kv } = this.ctx.storage; kv.put("notes", `${kv.get("notes") ?? ""}${what};`); return kv.get("notes"); }
  read() { return this.ctx.storage.kv.get("notes") ?? ""; }
  spin(ms) { console.log("it spins"); const until = Date.now() + ms; while (Date.now() < until); return "spun"; }
  spinAndAbort(ms) { this.spin(ms); this.ctx.abort("myself"); }
}"#;

fn ask(facet: &str, isolate: &str, method: &str, args: Value) -> Value {
    let module = NOTES.replace("TAG", isolate);
    json!({ "facet": facet, "id": isolate, "module": module, "method": method, "args": args })
}

/// Posts from a thread of its own; the answer comes when it comes.
fn later(house: &House, body: Value) -> thread::JoinHandle<Value> {
    let address = house.server.address();
    thread::spawn(move || {
        let request = Request::new("POST", "/facet").body(body.to_string());
        let answer = request.send_within(address, Duration::from_secs(30));
        answer.expect("an answer").json().expect("JSON")
    })
}

fn gone_for_good(end: &str) {
    let house = House::new();
    assert_eq!(
        house.post("/facet", &ask("busy", "one", "read", json!([])))["ok"],
        "",
        "it runs"
    );
    let busy = later(&house, ask("busy", "one", "spin", json!([2_000])));
    wait_for("the isolate is busy", SOON, || {
        house.server.stderr().contains("it spins")
    });
    let queued = later(&house, ask("target", "one", "write", json!(["old"])));
    // The call is in the busy isolate's mailbox when its facet ends: the abort answers it.
    wait_for("the call is answered by the abort", SOON, || {
        house.post(end, &json!({ "facet": "target" }));
        queued.is_finished()
    });
    let told = queued.join().expect("no panic");
    assert!(
        told.get("error").is_some(),
        "its caller is told that it failed: {told}"
    );
    let write = |what: &str| house.post("/facet", &ask("target", "two", "write", json!([what])));
    assert_eq!(
        write("new1")["ok"],
        "new1;",
        "the successor starts at once, elsewhere"
    );
    assert_eq!(
        busy.join().expect("no panic")["ok"],
        "spun",
        "the neighbour was not disturbed"
    );
    assert_eq!(
        house.post("/facet", &ask("busy", "one", "read", json!([])))["ok"],
        "",
        "and has read on"
    );
    assert_eq!(
        write("new2")["ok"],
        "new1;new2;",
        "nothing of the old life was written"
    );
    house.assert_unharmed();
}

#[test]
fn calls_queued_behind_an_abort_do_not_bring_the_facet_back() {
    gone_for_good("/abort");
}

#[test]
fn calls_queued_behind_a_delete_do_not_write_into_the_next_database() {
    gone_for_good("/delete");
}

#[test]
fn calls_queued_behind_a_facets_own_abort_do_not_bring_it_back() {
    let house = House::new();
    assert_eq!(
        house.post("/facet", &ask("a", "one", "write", json!(["first"])))["ok"],
        "first;"
    );
    let aborting = later(&house, ask("a", "one", "spinAndAbort", json!([1_000])));
    wait_for("it spins", SOON, || {
        house.server.stderr().contains("it spins")
    });
    let queued: Vec<_> = (0..3)
        .map(|n| {
            later(
                &house,
                ask("a", "one", "write", json!([format!("queued{n}")])),
            )
        })
        .collect();
    assert_eq!(
        aborting.join().expect("no panic")["error"]["message"],
        "myself"
    );
    for call in queued {
        let answer = call.join().expect("no panic");
        let failed = answer["error"]["message"] == "myself";
        let succeeded = answer["ok"]
            .as_str()
            .is_some_and(|notes| notes.starts_with("first;"));
        assert!(failed || succeeded, "told the truth: {answer}");
        let notes = house.post("/facet", &ask("a", "one", "read", json!([])));
        let written = notes["ok"]
            .as_str()
            .expect("text")
            .matches("queued")
            .count();
        assert!(
            !failed || written < 3,
            "a call that failed wrote nothing: {notes}"
        );
    }
    house.assert_unharmed();
}

#[test]
fn tampered_built_ins_do_not_run_when_an_object_ends() {
    for tampering in [
        "Set.prototype[Symbol.iterator] = function () { for (;;); };",
        "Map.prototype.get = Map.prototype.delete = function () { for (;;); };",
        "Array.prototype[Symbol.iterator] = function () { for (;;); };",
        "Set.prototype.forEach = Set.prototype.clear = function () { for (;;); };",
    ] {
        let house = House::new();
        let answer = house.facet_limited(
            &format!("{tampering} this.ctx.abort('ended');"),
            &json!({ "cpuMs": 200 }),
        );
        assert!(answer.get("error").is_some(), "{tampering}: {answer}");
        let again = house.facet("return 1;");
        assert_eq!(again["ok"], 1, "{tampering}: another facet starts");
        house.assert_unharmed();
    }
}

#[test]
fn fetches_of_an_aborted_facet_are_given_up() {
    for end in ["abort", "kill"] {
        let house = House::with_private_egress();
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = silent.local_addr().expect("bound");
        // Takes connections, never answers; the thread ends when ten of them were closed by the other side.
        let closed = thread::spawn(move || {
            let connections: Vec<_> = (0..10)
                .map(|_| silent.accept().expect("it connects").0)
                .collect();
            for mut connection in connections {
                connection.set_read_timeout(Some(SOON)).expect("a timeout");
                let mut rest = Vec::new();
                connection
                    .read_to_end(&mut rest)
                    .expect("closed, not left open");
            }
        });
        let body = format!(
            "for (let i = 0; i < 10; i++) fetch('http://{address}/' + i).catch(() => {{}}); await scheduler.wait(500); {} return 1;",
            if end == "kill" { "for (;;);" } else { "" }
        );
        let ask = json!({ "facet": "f", "outbound": "inherit", "body": body, "limits": { "cpuMs": 500 } });
        let _answer = house.post("/facet", &ask);
        if end == "abort" {
            house.post("/abort", &json!({ "facet": "f" }));
        }
        closed
            .join()
            .unwrap_or_else(|_| panic!("{end}: connections are left open"));
    }
}
