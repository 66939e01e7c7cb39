//! `facetd.instances`: several isolates share one worker, and nobody can tell but by its globals.

use std::collections::HashSet;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Project, Request, Server};

/// `isolate()` names the isolate it runs in: made when first asked, so that it is another one after a crash.
const WORKER: &str = r#"
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";

let mine;
const isolate = () => (mine ??= crypto.randomUUID());

class Counter extends RpcTarget {
  #n = 0;
  add(by) { this.#n += by; return [isolate(), this.#n]; }
}

export class Obj extends DurableObject {
  #memory = 0;
  isolate() { return isolate(); }
  count() {
    const stored = (this.ctx.storage.kv.get("n") ?? 0) + 1;
    this.ctx.storage.kv.put("n", stored);
    return [isolate(), ++this.#memory, stored];
  }
  facet() { return this.ctx.facets.get("f", () => ({ class: this.ctx.exports.Obj })).isolate(); }
  loop() { for (;;); }
  make() { return { counter: new Counter(), double: (n) => [isolate(), n * 2], text: new Response("streamed").body }; }
  async use(name) {
    const made = await this.env.OBJ.getByName(name).make();
    const text = await new Response(made.text).text();
    return { here: isolate(), first: await made.counter.add(2), second: await made.counter.add(3), doubled: await made.double(4), text };
  }
  async back(call) { return [isolate(), await call(isolate())]; }
  fetch(request) {
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.addEventListener("message", ({ data }) => server.send(`${isolate()} ${data}`));
    return new Response(null, { status: 101, webSocket: client });
  }
  async talk(name) {
    const { webSocket } = await this.env.OBJ.getByName(name).fetch("http://o/", { headers: { upgrade: "websocket" } });
    webSocket.accept();
    const { promise, resolve } = Promise.withResolvers();
    webSocket.addEventListener("message", ({ data }) => resolve(data));
    webSocket.send("hello");
    const data = await promise;
    webSocket.close();
    return [isolate(), data];
  }
}

export class Self extends WorkerEntrypoint {
  isolate() { return isolate(); }
}

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const [, what, name, ...args] = url.pathname.split("/");
    if (what === "object") return Response.json((await env.OBJ.getByName(name)[args[0]](...args.slice(1))) ?? null);
    if (what === "back") {
      const here = isolate();
      return Response.json([here, ...(await env.OBJ.getByName(name).back((there) => [isolate(), there]))]);
    }
    // Waits until as many requests as `name` says are in this worker, wherever they run.
    if (what === "meet") {
      const own = [await ctx.exports.Self.isolate(), await ctx.exports.Self({ props: {} }).isolate()];
      await env.DOOR.getByName("door").enter(Number(name));
      own.push(await ctx.exports.Self.isolate());
      return Response.json({ here: isolate(), own });
    }
    return Response.json(isolate());
  },
};

/** Lets nobody through before `count` have come. */
export class Door extends DurableObject {
  #inside = [];
  async enter(count) {
    const { promise, resolve } = Promise.withResolvers();
    this.#inside.push(resolve);
    if (this.#inside.length === count) for (const open of this.#inside.splice(0)) open();
    await promise;
  }
}
"#;

fn project(facetd: &str) -> Project {
    let config = format!(
        r#"{{ "name": "several", "main": "worker.js", "compatibility_date": "2026-09-01", "facetd": {facetd},
        "durable_objects": {{ "bindings": [{{ "name": "OBJ", "class_name": "Obj" }}, {{ "name": "DOOR", "class_name": "Door" }}] }},
        "migrations": [{{ "tag": "v1", "new_sqlite_classes": ["Obj", "Door"] }}] }}"#
    );
    Project::of(&[("worker.js", WORKER), ("wrangler.jsonc", &config)])
}

fn serve(facetd: &str) -> (Project, Server) {
    let project = project(facetd);
    let server = Server::of(project.path())
        .relaxed()
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

fn isolate_of(server: &Server, name: &str) -> String {
    let isolate = server.get_json(&format!("/object/{name}/isolate"));
    isolate.as_str().expect("a name").to_owned()
}

const NAMES: usize = 60;

fn homes(server: &Server) -> Vec<String> {
    (0..NAMES)
        .map(|at| isolate_of(server, &format!("o{at}")))
        .collect()
}

/// Two objects that live in different isolates.
fn apart(server: &Server) -> (String, String) {
    let homes = homes(server);
    let other = homes.iter().position(|home| *home != homes[0]);
    (
        "o0".into(),
        format!("o{}", other.expect("several isolates")),
    )
}

#[test]
fn an_object_stays_in_one_isolate_and_objects_are_spread() {
    let (_project, server) = serve(r#"{ "instances": 3 }"#);
    let first = homes(&server);
    assert_eq!(homes(&server), first, "each is where it was");
    let distinct: HashSet<&String> = first.iter().collect();
    assert_eq!(distinct.len(), 3, "60 objects use all of three isolates");
    for (at, home) in first.iter().enumerate().take(12) {
        let facet = server.get_json(&format!("/object/o{at}/facet"));
        assert_eq!(
            facet,
            json!(home),
            "a facet of the same worker is with its parent"
        );
    }
}

#[test]
fn one_isolate_is_the_default() {
    let (_project, server) = serve("{}");
    let distinct: HashSet<String> = homes(&server).into_iter().collect();
    assert_eq!(distinct.len(), 1, "objects of a worker share its globals");
    assert_eq!(
        server.get_json("/"),
        json!(distinct.iter().next()),
        "requests too"
    );
}

/// `count` requests that are in the worker at the same time.
fn meet(server: &Server, count: usize) -> Vec<Value> {
    let address = server.address();
    let asked: Vec<_> = (0..count)
        .map(|_| thread::spawn(move || Request::get(&format!("/meet/{count}")).send(address)))
        .collect();
    let answers = asked.into_iter().map(|asked| {
        let answer = asked.join().expect("no panic").expect("an answer");
        answer
            .json()
            .unwrap_or_else(|_| panic!("{}", answer.text()))
    });
    answers.collect()
}

#[test]
fn requests_go_to_the_isolate_with_the_least_to_do_and_calls_to_itself_stay() {
    let (_project, server) = serve(r#"{ "instances": 3 }"#);
    let answers = meet(&server, 9);
    let mut used: Vec<&Value> = answers.iter().map(|answer| &answer["here"]).collect();
    used.sort_by_key(|here| here.to_string());
    let mut counts: Vec<usize> = used.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    counts.sort_unstable();
    assert_eq!(counts.len(), 3, "nine at once use all three: {counts:?}");
    assert!(counts[0] >= 2, "and evenly, but for races: {counts:?}");
    for answer in &answers {
        let here = &answer["here"];
        assert_eq!(
            answer["own"],
            json!([here, here, here]),
            "ctx.exports stays at home"
        );
    }
}

#[test]
fn what_is_passed_between_isolates_of_a_worker_works() {
    let (_project, server) = serve(r#"{ "instances": 4 }"#);
    let (one, two) = apart(&server);
    let (home, other) = (isolate_of(&server, &one), isolate_of(&server, &two));
    assert_eq!(
        server.get_json(&format!("/object/{one}/use/{two}")),
        json!({ "here": home, "first": [other, 2], "second": [other, 5], "doubled": [other, 8], "text": "streamed" }),
        "an RpcTarget, a function and a stream run where they were made"
    );
    assert_eq!(
        server.get_json(&format!("/object/{one}/talk/{two}")),
        json!([home, format!("{other} hello")]),
        "a socket connects them"
    );
    let back = server.get_json(&format!("/back/{two}"));
    let caller = &back[0];
    assert_eq!(
        back,
        json!([caller, other, [caller, other]]),
        "a function is called back at its home"
    );
}

#[test]
fn a_condemned_isolate_takes_only_its_own_objects_with_it() {
    let (_project, server) = serve(r#"{ "instances": 3, "limits": { "cpu_ms": 200 } }"#);
    let count = |name: &str| server.get_json(&format!("/object/{name}/count"));
    let before: Vec<Value> = (0..NAMES).map(|at| count(&format!("o{at}"))).collect();
    let lost = &before[0][0];
    for round in 0..3 {
        let answer = server.get("/object/o0/loop");
        assert_eq!(answer.status, 500, "round {round}: {}", answer.text());
    }
    let mut reborn = HashSet::new();
    for (at, before) in before.iter().enumerate() {
        let now = count(&format!("o{at}"));
        assert_eq!(now[2], 2, "o{at} has its storage");
        if before[0] == *lost {
            assert_ne!(now[0], *lost, "o{at} is in a new isolate");
            assert_eq!(now[1], 1, "o{at} lost its memory with the old one");
            reborn.insert(now[0].to_string());
        } else {
            assert_eq!(
                (&now[0], &now[1]),
                (&before[0], &json!(2)),
                "o{at} noticed nothing"
            );
        }
    }
    assert_eq!(reborn.len(), 1, "they are together again");
}

const FRONT: &str = r#"
export default {
  async fetch(request, env) {
    const [, name, method] = new URL(request.url).pathname.split("/");
    return Response.json((await env.OBJ.getByName(name)[method]()) ?? null);
  },
};
"#;

#[test]
fn an_isolate_that_crashes_while_others_answer_disturbs_none_of_them() {
    // Requests come through a worker of their own: those in the isolate that crashes are lost, as they must be.
    let config = r#"{ "name": "front", "main": "worker.js", "compatibility_date": "2026-09-01",
        "durable_objects": { "bindings": [{ "name": "OBJ", "class_name": "Obj", "script_name": "several" }] } }"#;
    let front = Project::of(&[("worker.js", FRONT), ("wrangler.jsonc", config)]);
    let several = project(r#"{ "instances": 2, "limits": { "cpu_ms": 100 } }"#);
    let server = Server::of(front.path())
        .project(several.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let isolate = |name: &str| server.get_json(&format!("/{name}/isolate"));
    let crashing = "o0";
    let home = isolate(crashing);
    let steady = (1..NAMES)
        .map(|at| format!("o{at}"))
        .find(|name| isolate(name) != home)
        .expect("two isolates");
    let address = server.address();
    let crashes = thread::spawn(move || {
        for _ in 0..5 {
            let answer = Request::get(&format!("/{crashing}/loop")).send(address);
            assert_eq!(answer.expect("an answer").status, 500);
        }
    });
    let mut counted = 0;
    while !crashes.is_finished() {
        let answer = server.get_json(&format!("/{steady}/count"));
        counted += 1;
        assert_eq!(
            (&answer[1], &answer[2]),
            (&json!(counted), &json!(counted)),
            "it never restarted"
        );
    }
    crashes.join().expect("no panic");
    assert_ne!(
        isolate(crashing),
        home,
        "the other one did, and works again"
    );
}
