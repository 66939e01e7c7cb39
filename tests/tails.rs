//! Tail workers: `tail_consumers` of the config, and loaded workers' `tails` that do harm.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{facetd, run};
use crate::harness::{Project, Server, wait_for};

const SOON: Duration = Duration::from_secs(60);

const SHOP_CONFIG: &str = r#"{
  "name": "shop", "main": "worker.js", "compatibility_date": "2026-09-01",
  "tail_consumers": [{ "service": "watch" }],
  "services": [{ "binding": "WATCH", "service": "watch" }],
  "durable_objects": { "bindings": [{ "name": "CART", "class_name": "Cart" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Cart"] }],
  "worker_loaders": [{ "binding": "LOADER" }],
  "limits": { "cpu_ms": 300 }
}"#;

const SHOP: &str = r#"
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
export class Cart extends DurableObject {
  add(what) { console.log("added", what); return 1; }
  remind() { return this.ctx.storage.setAlarm(Date.now()); }
  alarm() { console.warn("reminded"); throw new Error("no mail"); }
  reset() { console.log("resets"); this.ctx.abort(new Error("reset")); }
}
export class Tail extends WorkerEntrypoint {
  tail([item]) {
    globalThis.loaded = { outcome: item.outcome, truncated: item.truncated, lines: item.logs.length, bytes: JSON.stringify(item).length, script: item.scriptName };
  }
}
const MAIN = `export default {
  flood(n) { for (let i = 0; i < n; i++) console.log("line " + i); return n; },
  huge(n) { const text = "x".repeat(n); console.log(text, text); return n; },
  tampered(n) {
    Object.prototype.toJSON = () => "gone"; String.prototype.toJSON = () => 5; Array.prototype.toJSON = () => 6;
    JSON.stringify = () => "{"; Array.prototype.join = () => "}"; globalThis.Error = undefined; console.log("still", { a: 1 }); return n;
  },
}`;
export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const cart = env.CART.getByName("c");
    switch (url.pathname) {
      case "/seen": return Response.json(await env.WATCH.seen());
      case "/hello": console.log("hello", { n: 1 }); return new Response("hello");
      case "/throws": throw new RangeError("on purpose");
      case "/loops": console.log("before"); for (;;);
      case "/add": return Response.json(await cart.add("book"));
      case "/remind": await cart.remind(); return new Response("ok");
      case "/reset": return new Response(await cart.reset().catch((error) => error.message));
      case "/later": ctx.waitUntil(scheduler.wait(20).then(() => console.log("later"))); return new Response("ok");
      case "/loaded": {
        globalThis.loaded = null;
        const worker = env.LOADER.load({ compatibilityDate: "2026-09-01", mainModule: "m.js", modules: { "m.js": MAIN }, tails: [ctx.exports.Tail] });
        return Response.json(await worker.getEntrypoint()[url.searchParams.get("call")](Number(url.searchParams.get("n"))));
      }
      case "/loadedSeen": return Response.json(globalThis.loaded);
    }
    return new Response("unknown", { status: 404 });
  },
  scheduled(controller) { console.log("cron", controller.cron); if (controller.cron === "bad") throw new Error("bad cron"); },
};
"#;

const WATCH_CONFIG: &str = r#"{ "name": "watch", "main": "watch.js", "compatibility_date": "2026-09-01", "tail_consumers": [{ "service": "watch" }], "services": [{ "binding": "SELF", "service": "watch" }], "limits": { "cpu_ms": 300 } }"#;

/// Notes what it is told of the other worker, and of itself how often.
const WATCH: &str = r#"
import { WorkerEntrypoint } from "cloudflare:workers";
const items = [];
let own = 0;
export default class extends WorkerEntrypoint {
  tail(events) {
    for (const item of events) {
      if (item.scriptName === "watch") own++;
      else items.push(item);
    }
  }
  seen() {
    return items.map((item) => [
      item.scriptName, item.executionModel, item.entrypoint ?? null, item.outcome,
      item.event.request?.url.replace(/^http:\/\/[^/]*/, "") ?? item.event.rpcMethod ?? item.event.cron ?? item.event.constructor.name,
      item.event.response?.status ?? null,
      item.logs.map(({ level, message }) => [level, ...message]), item.exceptions.map(({ name, message }) => `${name}: ${message}`),
    ]);
  }
}
"#;

fn projects(watch: &str) -> [Project; 2] {
    [
        Project::of(&[("wrangler.jsonc", SHOP_CONFIG), ("worker.js", SHOP)]),
        Project::of(&[("wrangler.jsonc", WATCH_CONFIG), ("watch.js", watch)]),
    ]
}

fn serve(watch: &str) -> ([Project; 2], Server) {
    let projects = projects(watch);
    let server = Server::of(projects[0].path())
        .project(projects[1].path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (projects, server)
}

/// The item of the event that is called `what`, once it has come.
#[track_caller]
fn item(server: &Server, what: &str) -> Value {
    let mut found = None;
    wait_for(what, SOON, || {
        let seen = server.get_json("/seen");
        let mut items = seen.as_array().into_iter().flatten();
        found = items.find(|item| item[4] == what).cloned();
        found.is_some()
    });
    found.expect("it was waited for")
}

#[test]
fn a_tail_consumer_is_told_of_each_event() {
    let (_projects, server) = serve(WATCH);
    assert_eq!(server.get("/hello").text(), "hello");
    assert_eq!(
        item(&server, "/hello"),
        json!(["shop", "stateless", null, "ok", "/hello", 200, [["log", "hello", { "n": 1 }]], []])
    );
    assert_eq!(server.get("/throws").status, 500);
    assert_eq!(
        item(&server, "/throws"),
        json!([
            "shop",
            "stateless",
            null,
            "exception",
            "/throws",
            null,
            [],
            ["RangeError: on purpose"]
        ])
    );
    assert_eq!(server.get("/add").text(), "1");
    assert_eq!(
        item(&server, "add"),
        json!([
            "shop",
            "durableObject",
            "Cart",
            "ok",
            "add",
            null,
            [["log", "added", "book"]],
            []
        ])
    );
    assert_eq!(server.get("/later").text(), "ok");
    assert_eq!(
        item(&server, "/later")[6],
        json!([["log", "later"]]),
        "it is not over before what waitUntil holds"
    );
    assert_eq!(server.get("/remind").text(), "ok");
    assert_eq!(
        item(&server, "AlarmEventInfo"),
        json!([
            "shop",
            "durableObject",
            "Cart",
            "exception",
            "AlarmEventInfo",
            null,
            [["warn", "reminded"]],
            ["Error: no mail"]
        ])
    );
    for (cron, status, outcome, thrown) in [
        ("good", 200, "ok", json!([])),
        ("bad", 500, "exception", json!(["Error: bad cron"])),
    ] {
        let path = format!("/cdn-cgi/handler/scheduled?cron={cron}");
        assert_eq!(server.get(&path).status, status);
        assert_eq!(
            item(&server, cron),
            json!([
                "shop",
                "stateless",
                null,
                outcome,
                cron,
                null,
                [["log", "cron", cron]],
                thrown
            ])
        );
    }
}

#[test]
fn what_a_limit_or_an_abort_ends_is_told_of_too() {
    let (_projects, server) = serve(WATCH);
    assert_eq!(server.get("/loops").status, 500);
    assert_eq!(
        item(&server, "/loops"),
        json!([
            "shop",
            "stateless",
            null,
            "exceededCpu",
            "/loops",
            null,
            [["log", "before"]],
            ["Error: Worker exceeded CPU time limit."]
        ])
    );
    assert_eq!(server.get("/reset").text(), "reset");
    let reset = item(&server, "reset");
    assert_eq!(
        (&reset[3], &reset[6]),
        (&json!("exception"), &json!([["log", "resets"]]))
    );
}

#[test]
fn a_tail_that_does_harm_changes_nothing_for_the_traced_worker() {
    for handler in [
        "tail() { throw new Error('the tail throws'); }",
        "tail() { for (;;); }",
        "tail() { return new Promise(() => {}); }",
        "get tail() { throw new Error('no'); }",
        "notail() {}",
        "async tail() { await this.env.SELF.seen(); throw 1; }",
    ] {
        let watch = format!(
            r#"import {{ WorkerEntrypoint }} from "cloudflare:workers";
            export default class extends WorkerEntrypoint {{ {handler} seen() {{ return ["still there"]; }} }}"#
        );
        let (_projects, mut server) = serve(&watch);
        for _ in 0..5 {
            assert_eq!(server.get("/hello").text(), "hello", "{handler}");
            assert_eq!(server.get("/throws").status, 500, "{handler}");
        }
        // Each question is an event, so a tail that loops takes itself away again and again.
        if !handler.contains("for (;;)") {
            wait_for(handler, SOON, || {
                server.get("/seen").text() == r#"["still there"]"#
            });
        }
        assert_eq!(server.get("/hello").text(), "hello", "{handler}");
        assert_eq!(server.sigterm(), Some(0), "{handler}: {}", server.stderr());
    }
}

#[test]
fn what_a_tail_causes_is_told_to_no_tail() {
    let (_projects, server) = serve(
        r#"import { WorkerEntrypoint } from "cloudflare:workers";
        let [told, pings] = [0, 0];
        export default class extends WorkerEntrypoint {
          async tail([item]) {
            if (item.event.rpcMethod === "ping") pings++;
            await this.env.SELF.ping();
            await this.env.SELF.ping();
            told++;
          }
          ping() {}
          seen() { return { told, pings }; }
        }"#,
    );
    let mut seen = Value::Null;
    wait_for("it was told often", SOON, || {
        seen = server.get_json("/seen");
        seen["told"].as_u64().is_some_and(|told| told >= 20)
    });
    assert_eq!(seen["pings"], 0, "it would never end: {seen}");
}

#[test]
fn what_a_loaded_worker_makes_its_tail_keep_is_limited() {
    let (_projects, server) = serve(WATCH);
    let told = |call: &str, n: u32| {
        let answer = server.get(&format!("/loaded?call={call}&n={n}"));
        assert_eq!(answer.text(), n.to_string(), "the call is as ever");
        wait_for("the tail is told", SOON, || {
            server.get("/loadedSeen").text() != "null"
        });
        server.get_json("/loadedSeen")
    };
    let flood = told("flood", 20_000);
    assert_eq!(
        (&flood["truncated"], &flood["lines"], &flood["outcome"]),
        (&json!(true), &json!(1024), &json!("ok"))
    );
    let huge = told("huge", 1 << 20);
    assert_eq!(
        (&huge["truncated"], &huge["lines"]),
        (&json!(true), &json!(0))
    );
    assert!(huge["bytes"].as_u64().expect("a number") < 1 << 18);
    let tampered = told("tampered", 3);
    assert_eq!(
        (&tampered["lines"], &tampered["script"]),
        (&json!(1), &Value::Null),
        "what user code does to its intrinsics hides nothing"
    );
}

#[test]
fn a_tail_consumer_that_is_not_loaded_is_named() {
    let [shop, _watch] = projects(WATCH);
    shop.write(
        "wrangler.jsonc",
        SHOP_CONFIG.replace(
            "\"services\": [{ \"binding\": \"WATCH\", \"service\": \"watch\" }],",
            "",
        ),
    );
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = facetd(["serve", "--port", "0"]);
    command.arg(shop.path()).arg("--data").arg(data.path());
    let ended = run(&mut command, SOON);
    assert_eq!(ended.code, Some(3), "{}", ended.both());
    for word in ["tail_consumers[0].service", "\"watch\""] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}
