//! Requests and what they leave behind: work after the answer, bodies that are still written, things of one request in
//! another's hands. What a worker can see of it by itself is in `conformance/worker`.

use std::time::Duration;

use crate::harness::{Project, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(20);

const WORKER: &str = r#"
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

const seen = { ticks: 0, late: 0 };
const kept = {};
const bytes = (text) => new TextEncoder().encode(text);

/** A body of `count` chunks, written one by one. */
function slowly(count, ms, after = () => {}) {
  const { readable, writable } = new IdentityTransformStream();
  const write = async () => {
    const writer = writable.getWriter();
    for (let n = 0; n < count; n++) {
      await scheduler.wait(ms);
      await writer.write(bytes(`chunk ${n}\n`));
      after(n);
    }
    await writer.close();
  };
  write().catch(() => {});
  return readable;
}

export class Obj extends DurableObject {
  async slow() { await scheduler.wait(60_000); }
  body() { return slowly(100, 5); }
}

export class Other extends WorkerEntrypoint {
  /** Gives out a function, and ends while somebody waits for it. */
  callback() {
    return () => {
      setTimeout(() => this.ctx.abort(new Error("enough")), 1);
      return scheduler.wait(60_000);
    };
  }
}

const routes = {
  "/seen": () => Response.json(seen),
  "/long": (request, env, ctx) => {
    setInterval(() => { seen.ticks += 1; }, 1);
    ctx.waitUntil(scheduler.wait(60_000).then(() => { seen.late += 1; }));
    return new Response("answered");
  },
  "/streams": () => new Response(slowly(40, 10)),
  "/streams-and-aborts": (request, env, ctx) => new Response(slowly(40, 1, (n) => { if (n === 2) ctx.abort(new Error("enough")); })),
  "/called-back": async (request, env, ctx) => {
    const callback = await ctx.exports.Other.callback();
    const told = await callback().then(() => "done", (error) => error.message);
    const later = await callback().then(() => "done", (error) => error.message);
    return Response.json([told, later]);
  },
  "/keep": () => { kept.response = new Response("kept"); kept.stream = new Response("kept").body; return new Response("kept"); },
  "/answer-kept": () => kept.response,
  "/wrap-kept": () => new Response(kept.stream),
  "/read-kept": () => kept.response.text().then(() => new Response("read"), (error) => new Response(error.message.slice(0, 67))),
  /** Starts all kinds of things and waits for none of them. */
  "/floats": async (request, env, ctx) => {
    const object = env.OBJ.getByName("o");
    setTimeout(() => {}, 60_000);
    setInterval(() => {}, 60_000);
    object.slow().catch(() => {});
    ctx.exports.default.fetch("http://x/streams").catch(() => {});
    await ctx.exports.default.fetch("http://x/streams");
    const [half] = (await ctx.exports.default.fetch("http://x/streams")).body.tee();
    half.getReader().read().catch(() => {});
    (await object.body()).getReader().read().catch(() => {});
    const [, socket] = Object.values(new WebSocketPair());
    crypto.subtle.digest("SHA-256", bytes("x")).then(() => object.slow()).catch(() => {});
    new Blob(["x"]).stream().pipeThrough(new CompressionStream("gzip")).getReader().read().catch(() => {});
    return new Response("floating");
  },
};

export default {
  fetch(request, env, ctx) {
    return routes[new URL(request.url).pathname](request, env, ctx);
  },
};
"#;

fn start(wait_until_ms: u64) -> (Project, Server) {
    let config = format!(
        r#"{{ "name": "contexts", "main": "worker.js", "compatibility_date": "2026-09-01",
        "durable_objects": {{ "bindings": [{{ "name": "OBJ", "class_name": "Obj" }}] }},
        "migrations": [{{ "tag": "v1", "new_sqlite_classes": ["Obj"] }}],
        "facetd": {{ "limits": {{ "wait_until_ms": {wait_until_ms} }} }} }}"#
    );
    let project = Project::of(&[("wrangler.jsonc", &config), ("worker.js", WORKER)]);
    let server = Server::of(project.path()).start().expect("it starts");
    (project, server)
}

const CUT: &str = "waitUntil() tasks did not complete within 0.1 seconds";

#[test]
fn what_wait_until_holds_is_cut_off_in_time_and_logged() {
    let (_project, server) = start(100);
    assert_eq!(
        server.get("/long").text(),
        "answered",
        "the answer comes first"
    );
    wait_for("the warning", SOON, || server.stderr().contains(CUT));
    let ticks = |server: &Server| server.get_json("/seen")["ticks"].clone();
    let before = ticks(&server);
    assert_ne!(before, 0, "it had its time");
    assert_eq!(server.get("/streams").status, 200, "some time passes");
    assert_eq!(
        ticks(&server),
        before,
        "its timers are gone, not only its promise"
    );
}

#[test]
fn a_body_that_is_still_written_is_no_wait_until() {
    let (_project, server) = start(100);
    let answer = server.get("/streams");
    let text = answer.text();
    assert!(text.ends_with("chunk 39\n"), "all of it came: {text}");
    assert!(
        !server.stderr().contains("waitUntil"),
        "{}",
        server.stderr()
    );
}

#[test]
fn an_abort_breaks_the_body_that_is_being_written() {
    let (_project, server) = start(30_000);
    let answer = server.send(&Request::get("/streams-and-aborts"));
    assert!(answer.is_err(), "it must not look complete: {answer:?}");
    assert_eq!(
        server.get("/streams").status,
        200,
        "nobody else noticed anything"
    );
}

#[test]
fn a_call_into_a_request_that_is_cut_off_is_told() {
    let (_project, server) = start(30_000);
    const GONE: &str = "The execution context which hosts this callback is no longer running.";
    assert_eq!(
        server.get_json("/called-back"),
        serde_json::json!([GONE, GONE]),
        "the call that ran, and the next one"
    );
}

#[test]
fn a_body_of_another_request_cannot_be_the_answer() {
    let (_project, server) = start(30_000);
    assert_eq!(server.get("/keep").status, 200);
    for path in ["/answer-kept", "/wrap-kept"] {
        assert_eq!(server.get(path).status, 500, "{path}");
    }
    assert_eq!(
        server.get("/read-kept").text(),
        "Cannot perform I/O on behalf of a different request. I/O objects (s"
    );
    wait_for("the log says why", SOON, || {
        server
            .stderr()
            .contains("(I/O type: ReadableStreamSource>)")
    });
}

/// A debug build of the isolate asserts, whenever no event runs, that its tables have nothing of those that ran.
#[test]
fn nothing_of_ended_requests_stays() {
    let (_project, server) = start(30_000);
    for _ in 0..20 {
        assert_eq!(server.get("/floats").text(), "floating");
    }
    assert_eq!(server.get("/streams").status, 200);
    assert_eq!(server.get_json("/seen")["late"], 0, "it still answers");
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}
