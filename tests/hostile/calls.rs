//! Calls made of calls: pipelined without end, recursing, watching, taking what belongs to another request.

use std::time::Duration;

use serde_json::json;

use super::house::House;
use crate::harness::{Request, wait_for};

#[test]
fn a_flood_of_pipelined_calls_is_paid_for_by_its_sender() {
    let house = House::new();
    let before = house.rss_mib();
    let answer = house.ok(
        "const { RpcStub } = await import('cloudflare:workers');
         const p = new RpcStub(() => new Promise(() => {}))();
         let sent = 0, refused;
         for (; sent < 2000 && refused === undefined; sent++) p.take('x'.repeat(1 << 20)).catch((e) => (refused ??= [e.name, e.message]));
         await scheduler.wait(1);
         return [sent, refused];",
    );
    assert_eq!(
        answer[1],
        json!([
            "RangeError",
            "Too much data is on its way from this isolate and has not been received yet."
        ]),
        "what waits for a result that never comes is on its way: {answer}"
    );
    house.assert_unharmed();
    let after = house.rss_mib();
    assert!(
        after < before + 900,
        "resident memory went from {before} to {after} MiB"
    );
}

#[test]
fn small_pipelined_calls_are_bounded_too() {
    let house = House::new();
    let answer = house.facet_limited(
        "const { RpcStub } = await import('cloudflare:workers');
         const p = new RpcStub(() => new Promise(() => {}))();
         let refused = 0;
         for (let i = 0; i < 400000; i++) p.x().catch(() => refused++);
         await scheduler.wait(1);
         return refused > 0;",
        &json!({ "cpuMs": 30000, "memoryMb": 512 }),
    );
    let bounded = answer["ok"] == json!(true)
        || answer["error"]["code"] == json!("EXCEEDED_MEMORY")
        || answer["error"]["code"] == json!("EXCEEDED_CPU");
    assert!(bounded, "one of the limits ends it: {answer}");
    house.assert_unharmed();
}

#[test]
fn a_call_that_is_given_up_takes_what_was_pipelined_on_it_along() {
    let house = House::new();
    // Each event pipelines more than half of what an isolate may have on its way, and ends without an answer to it.
    let ask = json!({ "id": "given up", "body":
        "const { RpcStub } = await import('cloudflare:workers');
         const p = new RpcStub(() => new Promise(() => {}))();
         let refused = 0;
         const calls = [];
         for (let i = 0; i < 20; i++) calls.push(p.take(new Uint8Array(7 << 20)).catch(() => refused++));
         await scheduler.wait(1);
         return refused;"
    });
    for round in 0..4 {
        let answer = house.post("/worker", &ask);
        assert_eq!(
            answer["ok"],
            json!(0),
            "round {round} has all of the budget: {answer}"
        );
    }
    house.assert_unharmed();
}

#[test]
fn recursion_without_end_is_refused_before_it_costs_anything() {
    let house = House::new();
    for (what, body) in [
        (
            "a function that calls its own stub",
            "const { RpcStub } = await import('cloudflare:workers');
             const go = new RpcStub(() => go());
             return go().catch((e) => e.message);",
        ),
        (
            "through what it gets as an argument",
            "const { RpcStub } = await import('cloudflare:workers');
             const go = new RpcStub((again) => again(again));
             return go(go).catch((e) => e.message);",
        ),
        (
            "pipelined",
            "const { RpcStub } = await import('cloudflare:workers');
             const go = new RpcStub(() => ({ go: () => go().go() }));
             return go().go().catch((e) => e.message);",
        ),
        (
            "facet after facet of its own",
            "const up = () => this.ctx.facets.get('f', () => ({ class: this.ctx.exports.App }));
             return up().run().catch((e) => e.message);",
        ),
    ] {
        let answer = house.ok(body);
        let text = answer.to_string();
        assert!(
            text.contains("Subrequest depth limit exceeded")
                || text.contains("Facet nesting depth limit exceeded"),
            "{what}: {answer}"
        );
    }
    house.assert_unharmed();
}

#[test]
fn recursion_that_branches_ends_at_a_limit_of_its_own_isolate() {
    let house = House::new();
    let answer = house.facet_limited(
        "const { RpcStub } = await import('cloudflare:workers');
         const go = new RpcStub(() => Promise.all([go(), go()]));
         return go().catch((e) => e.message);",
        &json!({ "cpuMs": 1000, "memoryMb": 64 }),
    );
    assert!(
        answer.get("ok").is_some() || answer.get("error").is_some(),
        "it ends somehow: {answer}"
    );
    house.assert_unharmed();
}

#[test]
fn a_promise_of_another_request_cannot_be_pipelined_on() {
    let house = House::new();
    let module = "import { RpcStub, WorkerEntrypoint } from 'cloudflare:workers';
        let open, theirs;
        export default class extends WorkerEntrypoint {
          async run(what) {
            if (what === 'hold') {
              const secret = new RpcStub(() => new Promise((resolve) => (open = () => resolve({ read: () => 'secret' }))));
              theirs = secret();
              return (await theirs).read();
            }
            for (let i = 0; i < 1000 && open === undefined; i++) await scheduler.wait(5);
            const tried = await theirs.read().then((x) => x, (e) => e.message);
            open();
            return tried;
          }
        }";
    let ask = |what: &str| json!({ "id": "shared", "module": module, "args": [what] });
    let address = house.server.address();
    let body = ask("hold").to_string();
    let held = std::thread::spawn(move || Request::new("POST", "/worker").body(body).send(address));
    let tried = house.post("/worker", &ask("take"));
    let held = held.join().expect("no panic").expect("an answer");
    let held: serde_json::Value = held.json().expect("JSON");
    assert_eq!(held["ok"], json!("secret"), "its owner reads it: {held}");
    let text = tried["ok"].as_str().unwrap_or_default();
    assert!(
        text.starts_with("Cannot perform I/O on behalf of a different request."),
        "{tried}"
    );
    house.assert_unharmed();
}

#[test]
fn disposing_in_the_middle_of_a_pipeline_harms_nobody() {
    let house = House::new();
    for body in [
        "const { RpcStub, RpcTarget } = await import('cloudflare:workers');
         class T extends RpcTarget { next() { return new T(); } [Symbol.dispose]() { throw new Error('disposer'); } }
         const s = new RpcStub(new T());
         for (let i = 0; i < 200; i++) { const p = s.next(); p.next().next().next(); p[Symbol.dispose](); }
         s[Symbol.dispose]();
         return 'done';",
        "const { RpcStub, RpcTarget } = await import('cloudflare:workers');
         class T extends RpcTarget { next() { return new T(); } }
         const stubs = [];
         for (let i = 0; i < 200; i++) { const t = await new RpcStub(new T()).next(); stubs.push(t, t.dup()); }
         for (const s of stubs) { s.next(); s[Symbol.dispose](); s[Symbol.dispose](); }
         return 'done';",
        "const { RpcStub } = await import('cloudflare:workers');
         const s = new RpcStub(() => 1);
         for (let i = 0; i < 5000; i++) s.onRpcBroken(() => { throw new Error('told'); });
         this.ctx.abort(new Error('gone'));",
        "const { RpcStub } = await import('cloudflare:workers');
         const p = new RpcStub(() => ({ get x() { this.y(); return 1; } }))();
         p.x.y.z; p.then = 5; p[Symbol.dispose] = 5;
         Object.setPrototypeOf(Object.getPrototypeOf(p), { get then() { throw new Error('then'); } });
         return p.x.then((x) => x, (e) => e.message);",
        "const { RpcPromise, RpcProperty, RpcStub } = await import('cloudflare:workers');
         for (const C of [RpcPromise, RpcProperty]) { C.prototype.then = 5; delete C.prototype.constructor; Reflect.construct(C, []); }
         Promise.prototype.then = function () { throw new Error('then'); };
         return 1;",
    ] {
        let _either = house.facet(body);
        house.assert_unharmed();
    }
}

#[test]
fn stubs_that_nobody_disposes_of_are_let_go_with_their_request() {
    let house = House::new();
    let module = "import { RpcTarget, WorkerEntrypoint } from 'cloudflare:workers';
        let alive = 0;
        class T extends RpcTarget { constructor() { super(); alive++; } [Symbol.dispose]() { alive--; } }
        export class Maker extends WorkerEntrypoint { make() { return new T(); } }
        export default class extends WorkerEntrypoint {
          async run(what) {
            if (what === 'leak') { for (let i = 0; i < 100; i++) await this.ctx.exports.Maker.make(); return alive; }
            for (let i = 0; i < 1000 && alive > 0; i++) await scheduler.wait(5);
            return alive;
          }
        }";
    let ask = |what: &str| json!({ "id": "leaks", "module": module, "args": [what] });
    let leaked = house.post("/worker", &ask("leak"));
    assert_eq!(
        leaked["ok"],
        json!(100),
        "they live as long as their request: {leaked}"
    );
    let left = house.post("/worker", &ask("count"));
    assert_eq!(left["ok"], json!(0), "and not longer: {left}");
}

#[test]
fn the_log_says_whose_event_failed_and_where_without_our_own_frames() {
    let house = House::new();
    house.facet("throw new RangeError('find me');");
    let mut log = String::new();
    wait_for("it is in the log", Duration::from_secs(10), || {
        log = house.server.stderr();
        log.contains("find me")
    });
    assert!(
        log.contains("Uncaught in run() of App main: RangeError: find me"),
        "the event, the class and the object:\n{log}"
    );
    assert!(log.contains("app.js"), "the place in their code:\n{log}");
    assert!(!log.contains("ext:"), "none of ours:\n{log}");
}
