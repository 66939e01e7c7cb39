//! Several workers of one project: service bindings both ways, entry points with props, objects of another worker.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{Ended, facetd, run};
use crate::harness::{Project, Server};

const SOON: Duration = Duration::from_secs(60);

const FRONT_CONFIG: &str = r#"{
  "name": "front", "main": "worker.js", "compatibility_date": "2026-09-01", "vars": { "WHO": "front" },
  "services": [
    { "binding": "API", "service": "api" },
    { "binding": "ADMIN", "service": "api", "entrypoint": "Admin", "props": { "role": "admin", "list": [1] } },
    { "binding": "HANDLERS", "service": "api", "entrypoint": "handlers" },
    { "binding": "SELF", "service": "front", "entrypoint": "Helper" }
  ],
  "durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter", "script_name": "store" }] },
  "facetd": { "durable_object_classes": [] }
}"#;

const FRONT: &str = r#"
import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
globalThis.loaded = "front";
export class Helper extends WorkerEntrypoint {
  who() { return [this.env.WHO, this.ctx.props]; }
  back(n) { return n > 0 ? this.env.API.again(n - 1) : "the end"; }
}
class Target extends RpcTarget { get name() { return "target of front"; } }
const caught = (run) => run().then((value) => ["ok", value], (error) => [error.name, error.message, error.remote ?? false]);
const probes = {
  fetch: async (env) => { const r = await env.API.fetch("http://any/path?q", { method: "POST", body: "body", headers: { "x-a": "1" } }); return [r.status, r.headers.get("x-b"), await r.text()]; },
  rpc: (env) => env.API.add(1, 2),
  env: (env) => env.API.who(),
  noProps: (env) => env.API.props(),
  props: (env) => env.ADMIN.props(),
  propsAreFresh: async (env) => [await env.ADMIN.change(), await env.ADMIN.props()],
  handlers: async (env) => [await env.HANDLERS.one("a"), await (await env.HANDLERS.fetch("http://x/")).text()],
  self: (env) => env.SELF.who(),
  globals: async (env) => [globalThis.loaded, await env.API.globals()],
  throws: (env) => caught(() => env.API.throws()),
  missing: (env) => caught(() => env.API.nothing()),
  callback: (env) => env.API.calls(() => "called"),
  target: (env) => env.API.nameOf(new Target()),
  passesItself: (env, ctx) => env.API.asks(ctx.exports.Helper({ props: { from: "front" } })),
  passesBinding: (env) => env.API.asksProps(env.ADMIN),
  stream: async (env) => new Response(await env.API.stream()).text(),
  circle: (env) => env.SELF.back(6),
  object: async (env) => { const o = env.COUNTER.getByName("shared"); return [await o.add("front"), await env.API.addThere("shared"), await o.worker()]; },
  exports: (env, ctx) => Object.keys(ctx.exports).sort(),
};
export default {
  async fetch(request, env, ctx) {
    const results = {};
    for (const [name, probe] of Object.entries(probes)) {
      results[name] = await caught(async () => probe(env, ctx)).then(([ok, ...rest]) => (ok === "ok" ? rest[0] : [ok, ...rest]));
    }
    return Response.json(results);
  },
};
"#;

const API_CONFIG: &str = r#"{
  "name": "api", "main": "api.js", "compatibility_date": "2026-09-01", "vars": { "WHO": "api" },
  "services": [{ "binding": "FRONT", "service": "front", "entrypoint": "Helper" }],
  "durable_objects": { "bindings": [{ "name": "THERE", "class_name": "Counter", "script_name": "store" }] }
}"#;

const API: &str = r#"
import { WorkerEntrypoint } from "cloudflare:workers";
export default class extends WorkerEntrypoint {
  async fetch(request) {
    return new Response(`${request.method} ${request.url} ${request.headers.get("x-a")} ${await request.text()}`, { status: 201, headers: { "x-b": "2" } });
  }
  add(a, b) { return a + b; }
  who() { return this.env.WHO; }
  props() { return this.ctx.props; }
  globals() { return globalThis.loaded ?? null; }
  throws() { throw new RangeError("out of range"); }
  calls(callback) { return callback(); }
  async nameOf(target) { return target.name; }
  async asks(stub) { return stub.who(); }
  asksProps(stub) { return stub.props(); }
  stream() { return new Response("streamed").body; }
  again(n) { return this.env.FRONT.back(n); }
  addThere(name) { return this.env.THERE.getByName(name).add("api"); }
}
export class Admin extends WorkerEntrypoint {
  props() { return this.ctx.props; }
  change() { this.ctx.props.list.push(2); return this.ctx.props; }
}
export const handlers = { fetch: () => new Response("handlers"), one: (x, env, ctx) => [x, env.WHO, typeof ctx.waitUntil] };
"#;

const STORE_CONFIG: &str = r#"{
  "name": "store", "main": "store.js", "compatibility_date": "2026-09-01", "vars": { "WHO": "store" },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }]
}"#;

const STORE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  add(by) {
    const all = this.ctx.storage.kv.get("all") ?? [];
    all.push(by);
    this.ctx.storage.kv.put("all", all);
    return all;
  }
  worker() { return this.env.WHO; }
}
export default {};
"#;

fn projects() -> [Project; 3] {
    [
        Project::of(&[("wrangler.jsonc", FRONT_CONFIG), ("worker.js", FRONT)]),
        Project::of(&[("wrangler.jsonc", API_CONFIG), ("api.js", API)]),
        Project::of(&[("wrangler.jsonc", STORE_CONFIG), ("store.js", STORE)]),
    ]
}

#[test]
fn workers_of_one_project_reach_each_other() {
    let [front, api, store] = projects();
    let mut server = Server::of(front.path())
        .project(api.path())
        .project(store.path())
        .start()
        .expect("it starts");
    let answers = server.get_json("/");
    let expected = json!({
        "fetch": [201, "2", "POST http://any/path?q 1 body"],
        "rpc": 3,
        "env": "api",
        "noProps": {},
        "props": { "role": "admin", "list": [1] },
        "propsAreFresh": [{ "role": "admin", "list": [1, 2] }, { "role": "admin", "list": [1] }],
        "handlers": [["a", "api", "function"], "handlers"],
        "self": ["front", {}],
        "globals": ["front", null],
        "throws": ["RangeError", "out of range", true],
        "missing": ["TypeError", "The RPC receiver does not implement the method \"nothing\".", true],
        "callback": "called",
        "target": "target of front",
        "passesItself": ["front", { "from": "front" }],
        "passesBinding": { "role": "admin", "list": [1] },
        "stream": "streamed",
        "circle": "the end",
        "object": [["front"], ["front", "api"], "store"],
        "exports": ["Helper", "default"],
    });
    for (name, want) in expected.as_object().expect("an object") {
        assert_eq!(&answers[name], want, "{name}");
    }
    // Objects belong to the worker that has the class: the others find them again by its name.
    assert_eq!(server.sigterm(), Some(0));
    server.start_again().expect("it starts again");
    let Value::Array(object) = server.get_json("/")["object"].take() else {
        panic!("an array");
    };
    assert_eq!(object[0], json!(["front", "api", "front"]));
}

#[track_caller]
fn refused(projects: &[&Path], code: i32, words: &[&str]) -> Ended {
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = facetd(["serve", "--port", "0"]);
    command.args(projects).arg("--data").arg(data.path());
    let ended = run(&mut command, SOON);
    assert_eq!(ended.code, Some(code), "{}", ended.both());
    for word in words {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    ended
}

#[test]
fn a_service_that_is_not_loaded_is_named() {
    let [front, api, _store] = projects();
    refused(
        &[api.path(), front.path()],
        3,
        &["\"THERE\"", "\"store\"", "not loaded", "api, front"],
    );
}

#[test]
fn an_entry_point_that_is_not_exported_is_named() {
    let [front, api, store] = projects();
    for (exported, words) in [
        ("export class Admin {}", "\"Admin\""),
        ("export const Admins = {};", "\"Admin\""),
    ] {
        api.write(
            "api.js",
            format!("{exported}\nexport const handlers = {{}};\nexport default {{}};\n"),
        );
        refused(
            &[front.path(), api.path(), store.path()],
            4,
            &["\"ADMIN\"", "\"front\"", words, "\"api\"", "handlers"],
        );
    }
}

#[test]
fn an_object_class_of_another_worker_must_be_declared_there() {
    let [front, api, store] = projects();
    store.write(
        "wrangler.jsonc",
        STORE_CONFIG.replace("\"Counter\"", "\"Other\""),
    );
    refused(
        &[front.path(), api.path(), store.path()],
        3,
        &["\"store\"", "\"Counter\"", "new_sqlite_classes"],
    );
}

#[test]
fn two_workers_of_one_name_are_refused() {
    let [front, _api, store] = projects();
    store.write(
        "wrangler.jsonc",
        STORE_CONFIG.replace("\"store\"", "\"front\""),
    );
    refused(
        &[front.path(), store.path()],
        3,
        &["two workers", "\"front\""],
    );
}
