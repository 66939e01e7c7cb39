//! Ends that come while data is on its way: kills in the middle of a transaction, aborts and deletes of facets whose commits
//! are in flight, `deleteAll` against the writes of facets.
//!
//! The supervisor runs the races itself, where no HTTP slows them down, and reports what contradicts what it was told.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Project, Random, Request, Server};

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";

const APP = `
import { DurableObject } from "cloudflare:workers";
export class App extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS born (life TEXT)");
    sql.exec("CREATE TABLE IF NOT EXISTS log (n INTEGER)");
    sql.exec("INSERT INTO born VALUES (?)", ctx.props.life ?? "");
  }
  write(n) {
    const { sql, kv } = this.ctx.storage;
    sql.exec("INSERT INTO log VALUES (?)", n);
    kv.put("last", n);
    return n;
  }
  read() {
    const { sql, kv } = this.ctx.storage;
    return {
      born: sql.exec("SELECT life FROM born").toArray().map((row) => row.life),
      log: sql.exec("SELECT n FROM log ORDER BY rowid").toArray().map((row) => row.n),
      last: kv.get("last") ?? null,
    };
  }
  // Ways to be killed, each after half of a write.
  #half() { this.ctx.storage.sql.exec("INSERT INTO log VALUES (-1)"); }
  #end(how) {
    if (how === "cpu") for (;;);
    const kept = [];
    for (;;) kept.push(new Array(1e6).fill(kept.length));
  }
  inTurn(how) { this.#half(); this.#end(how); }
  inSync(how) { this.ctx.storage.transactionSync(() => { this.#half(); this.#end(how); }); }
  inTransaction(how) { return this.ctx.storage.transaction(async () => { this.#half(); this.#end(how); }); }
  inLaterTurn(how) {
    return this.ctx.storage.transaction(async () => { this.#half(); await scheduler.wait(1); this.#half(); this.#end(how); });
  }
  inSavepoint(how) {
    return this.ctx.storage.transaction(async () => {
      this.ctx.storage.transactionSync(() => this.#half());
      await scheduler.wait(1);
      this.ctx.storage.transactionSync(() => { this.#half(); this.#end(how); });
    });
  }
  inSql() {
    this.#half();
    this.ctx.storage.sql.exec("INSERT INTO log WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT -n FROM c WHERE n < 0");
  }
  afterSection() {
    return this.ctx.blockConcurrencyWhile(async () => { this.#half(); await Promise.resolve(); for (;;); });
  }
  nested(name, method, ...args) {
    return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.App }))[method](...args);
  }
}`;

export class Supervisor extends DurableObject {
  // `life`: the code comes from an isolate of this name, and the facet notes it when it is constructed.
  facet(name, life = "one", limits = undefined) {
    return this.ctx.facets.get(name, () => {
      const code = () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": APP }, globalOutbound: null, limits });
      return { class: this.env.LOADER.get(`app-${life.split(":")[0]}`, code).getDurableObjectClass("App", { props: { life } }) };
    });
  }
  async one(name, method, args, limits) {
    try {
      return { ok: (await this.facet(name, "one", limits)[method](...args)) ?? null };
    } catch (error) {
      return { error: error.message, code: error.code };
    }
  }

  // Aborts a facet while its writes are under way. What it answered must be there in its next life.
  async abortRace(name, rounds, random) {
    const next = (below) => (random = (random * 48271) % 2147483647) % below;
    let answered = [], under = new Set(), n = 0;
    for (let round = 0; round < rounds; round++) {
      const facet = this.facet(name, `${["one", "two"][next(2)]}`);
      const writes = [];
      for (let i = next(4); i >= 0; i--) {
        const value = ++n;
        under.add(value);
        writes.push(facet.write(value).then(() => { under.delete(value); answered.push(value); }, () => {}));
      }
      if (next(2)) await scheduler.wait(next(3));
      if (next(3)) this.ctx.facets.abort(name, new Error("aborted"));
      await Promise.all(writes);
      const { log, last } = await this.facet(name, "one").read();
      for (const value of answered) if (!log.includes(value)) return `answered ${value}, and found ${log}`;
      for (const value of log) if (!answered.includes(value) && !under.has(value)) return `nobody wrote ${value}: ${log}`;
      if (new Set(log).size !== log.length) return `written twice: ${log}`;
      if (last !== (log.at(-1) ?? null)) return `torn: ${last} after ${log}`;
      answered = [...log];
    }
    return "";
  }

  // Deletes a facet again and again while it starts, writes and is asked by others. Each life finds nothing of the one before.
  async deleteRace(name, rounds, random) {
    const next = (below) => (random = (random * 48271) % 2147483647) % below;
    for (let round = 1; round <= rounds; round++) {
      const life = `${["one", "two", "three"][next(3)]}:${round}`;
      const facet = this.facet(name, life);
      const under = [];
      for (let i = next(4); i > 0; i--) under.push(facet.write(round).catch(() => {}));
      if (next(4) === 0) under.push(facet.nested("below", "write", round).catch(() => {}));
      if (next(2)) await scheduler.wait(next(4));
      this.ctx.facets.delete(name);
      const after = this.facet(name, `${life}+`);
      const { born, log } = await after.read();
      if (born.length !== 1 || born[0] !== `${life}+`) return `born more than once: ${born}, in round ${round}`;
      if (log.length !== 0) return `${log} is left in round ${round}`;
      const below = await after.nested("below", "read");
      if (below.born.length !== 1 || below.log.length !== 0) return `below is left: ${JSON.stringify(below)}, in round ${round}`;
      await Promise.all(under);
      const late = await after.read();
      if (late.born.length !== 1 || late.log.length !== 0) return `came late: ${JSON.stringify(late)}, in round ${round}`;
      this.ctx.facets.delete(name);
    }
    return "";
  }

  // Empties the whole object while its facets write.
  async wipeRace(names, rounds, random) {
    const next = (below) => (random = (random * 48271) % 2147483647) % below;
    for (let round = 1; round <= rounds; round++) {
      this.ctx.storage.kv.put("own", round);
      const under = [];
      for (const name of names) {
        const facet = this.facet(name, `${["one", "two"][next(2)]}:${round}`);
        for (let i = next(3); i >= 0; i--) under.push(facet.write(round).catch(() => {}));
        under.push(facet.nested("below", "write", round).catch(() => {}));
      }
      if (next(2)) await scheduler.wait(next(5));
      await this.ctx.storage.deleteAll();
      if (this.ctx.storage.kv.get("own") !== undefined) return `its own data is left in round ${round}`;
      for (const name of names) {
        const after = this.facet(name, `one:${round}+`);
        const [own, below] = await Promise.all([after.read(), after.nested("below", "read")]);
        if (own.born.length !== 1 || own.log.length !== 0) return `${name} keeps ${JSON.stringify(own)} in round ${round}`;
        if (below.born.length !== 1 || below.log.length !== 0) return `below ${name}: ${JSON.stringify(below)} in round ${round}`;
      }
      await Promise.all(under);
      for (const name of names) {
        const late = await this.facet(name, "never").read();
        if (late.born.length !== 1 || late.log.length !== 0) return `${name} got ${JSON.stringify(late)} late, in round ${round}`;
      }
    }
    return "";
  }

  // A clone is one state of its source: never a mixture, never half a turn.
  async cloneRace(rounds, random) {
    const next = (below) => (random = (random * 48271) % 2147483647) % below;
    const answered = [];
    let n = 0;
    for (let round = 0; round < rounds; round++) {
      const source = this.facet("source", "one");
      const under = [];
      for (let i = next(6); i >= 0; i--) {
        const value = ++n;
        under.push(source.write(value).then(() => answered.push(value)));
      }
      if (next(2)) await scheduler.wait(next(3));
      const before = answered.length;
      this.ctx.facets.clone("source", "copy");
      const [copy] = await Promise.all([this.facet("copy", "two").read(), ...under]);
      if (copy.last !== (copy.log.at(-1) ?? null)) return `torn: ${JSON.stringify(copy)}`;
      for (const [at, value] of copy.log.entries()) if (value !== at + 1) return `a mixture: ${copy.log}`;
      if (copy.log.length < before) return `${before} were answered before the clone has ${copy.log.length}`;
    }
    return "";
  }
}
export default {
  async fetch(request, env) {
    const { object, method, args } = await request.json();
    return Response.json({ ok: await env.SUPERVISOR.getByName(object)[method](...args) });
  },
};
"#;
const CONFIG: &str = r#"{ "name": "races", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
    "durable_objects": { "bindings": [{ "name": "SUPERVISOR", "class_name": "Supervisor" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Supervisor"] }] }"#;

fn server() -> (Project, Server) {
    let project = Project::of(&[("wrangler.jsonc", CONFIG), ("worker.js", WORKER)]);
    let server = Server::of(project.path()).arg("--durability").arg("fsync");
    let server = server.start().unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

fn call(server: &Server, object: &str, method: &str, args: Value) -> Value {
    let body = json!({ "object": object, "method": method, "args": args }).to_string();
    let answer = Request::new("POST", "/")
        .body(body)
        .send_within(server.address(), Duration::from_secs(120))
        .unwrap_or_else(|error| panic!("{method}: {error}\n{}", server.stderr()));
    assert_eq!(
        answer.status,
        200,
        "{method}: {}\n{}",
        answer.text(),
        server.stderr()
    );
    answer.json().expect("JSON")["ok"].clone()
}

/// Several objects at the same time, so that isolates are busy when something ends in them.
fn race(default_seed: u64, objects: usize, method: &str, args: impl Fn(&str, u64) -> Value + Sync) {
    let mut random = Random::from_env(default_seed);
    let (_project, server) = server();
    let seeds: Vec<u64> = (0..objects)
        .map(|_| 1 + random.next() % 1_000_000)
        .collect();
    thread::scope(|scope| {
        for (number, seed) in seeds.into_iter().enumerate() {
            let (server, args) = (&server, &args);
            scope.spawn(move || {
                let object = format!("o{number}");
                let found = call(server, &object, method, args(&object, seed));
                assert_eq!(found, "", "{method} on {object}, random {seed}");
            });
        }
    });
}

#[test]
fn what_a_facet_answered_before_an_abort_is_there_in_its_next_life() {
    race(1, 4, "abortRace", |_, seed| json!(["f", 60, seed]));
}

#[test]
fn a_facet_that_is_deleted_while_it_starts_and_writes_leaves_nothing() {
    race(2, 4, "deleteRace", |_, seed| json!(["f", 60, seed]));
}

#[test]
fn delete_all_leaves_nothing_of_facets_that_write_meanwhile() {
    race(3, 3, "wipeRace", |_, seed| {
        json!([["a", "b", "c"], 25, seed])
    });
}

#[test]
fn a_clone_of_a_writing_facet_is_one_of_its_states() {
    race(4, 3, "cloneRace", |_, seed| json!([60, seed]));
}

#[test]
fn a_kill_in_the_middle_of_a_transaction_leaves_what_was_answered() {
    let (_project, server) = server();
    let cpu = [
        "inTurn",
        "inSync",
        "inTransaction",
        "inLaterTurn",
        "inSavepoint",
        "inSql",
        "afterSection",
    ];
    let memory = ["inSync", "inLaterTurn"];
    let ways = cpu.map(|way| (way, "cpu")).into_iter();
    for (number, (way, how)) in ways.chain(memory.map(|way| (way, "memory"))).enumerate() {
        let object = format!("o{number}");
        let limits = json!({ "cpuMs": if how == "cpu" { 150 } else { 5000 }, "memoryMb": 48 });
        let one = |method: &str, args: Value| {
            let answer = call(&server, &object, "one", json!(["f", method, args, limits]));
            answer.as_object().cloned().unwrap_or_default()
        };
        for n in 1..=3 {
            assert_eq!(one("write", json!([n]))["ok"], n, "{way} {how}");
        }
        let killed = one(way, json!([how]));
        let code = if how == "cpu" {
            "EXCEEDED_CPU"
        } else {
            "EXCEEDED_MEMORY"
        };
        assert_eq!(
            killed.get("code"),
            Some(&json!(code)),
            "{way} {how}: {killed:?}"
        );
        let found = one("read", json!([]));
        assert_eq!(
            found["ok"]["log"],
            json!([1, 2, 3]),
            "{way} {how}: all that was answered, and no more"
        );
        assert_eq!(
            one("write", json!([4]))["ok"],
            4,
            "{way} {how}: and it goes on"
        );
    }
}
