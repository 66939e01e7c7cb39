//! Too many, too deep, too loud: what loaded code can pile up without breaking a single rule.

use std::time::Duration;

use serde_json::json;

use super::house::House;
use crate::harness::process::{files_below, open_files, status_of};
use crate::harness::{Random, Request, wait_for};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_setter_on_array_prototype_cannot_reenter_a_running_statement() {
    let (mut house, mut holes) = (House::new(), Vec::new());
    for body in [
        // Each re-enters storage while the runtime builds a result.
        "const { sql } = this.ctx.storage; sql.exec('CREATE TABLE t (x)'); for (let i = 0; i < 5; i++) sql.exec('INSERT INTO t VALUES (?)', i); const open = sql.exec('SELECT x FROM t'); let n = 0; Object.defineProperty(Array.prototype, 0, { configurable: true, set(v) { n++; try { open.next(); sql.exec('INSERT INTO t VALUES (9)'); sql.exec('SELECT * FROM t').toArray(); } catch {} } }); const rows = sql.exec('SELECT x FROM t').toArray(); delete Array.prototype[0]; return rows.length;",
        "const { sql } = this.ctx.storage; sql.exec('CREATE TABLE t (x)'); for (let i = 0; i < 5; i++) sql.exec('INSERT INTO t VALUES (?)', i); let c; Object.defineProperty(Array.prototype, 1, { configurable: true, set(v) { try { c.toArray(); } catch {} } }); c = sql.exec('SELECT x FROM t'); const rows = c.toArray(); delete Array.prototype[1]; return rows.length;",
        "const { kv } = this.ctx.storage; for (let i = 0; i < 5; i++) kv.put('k' + i, { i }); Object.defineProperty(Array.prototype, 0, { configurable: true, set(v) { try { kv.put('again', 1); [...kv.list()]; } catch {} } }); const map = await this.ctx.storage.list(); delete Array.prototype[0]; return 'done';",
        "const { sql } = this.ctx.storage; Object.defineProperty(Object.prototype, 'x', { configurable: true, set(v) { try { sql.exec('SELECT 1 AS x').toArray(); } catch {} } }); const rows = sql.exec('SELECT 1 AS x UNION SELECT 2').toArray(); delete Object.prototype.x; return rows.length;",
        "const { kv, sql } = this.ctx.storage; kv.put('k', { get a() { kv.put('k', 2); sql.exec('CREATE TABLE IF NOT EXISTS z (x)'); this.constructor; return kv.get('k'); } }); return kv.get('k').a;",
        "const { kv } = this.ctx.storage; const list = kv.list(); kv.put('a', { get a() { return [...list]; } }); return 'done';",
        "const { storage } = this.ctx; storage.transactionSync(() => { try { storage.transactionSync(() => { storage.sql.exec('CREATE TABLE t (x)'); throw 1; }); } catch {} storage.deleteAll(); }); return 'done';",
        "const { storage } = this.ctx; const c = storage.sql.exec('WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100) SELECT x FROM c'); c.next(); await storage.deleteAll(); try { c.next(); } catch {} return 'done';",
        "const { storage } = this.ctx; storage.sql.exec('CREATE TABLE t (x)'); const c = storage.sql.exec('SELECT x FROM t'); storage.sql.exec('DROP TABLE t'); try { c.next(); } catch {} return 'done';",
        "const { facets, exports } = this.ctx; Object.defineProperty(Array.prototype, 0, { configurable: true, set(v) { try { facets.get('x', () => ({ class: exports.App })).run(); } catch {} } }); const p = facets.get('y', () => { delete Array.prototype[0]; return { class: exports.App }; }).nothing(); await p.catch(() => {}); delete Array.prototype[0]; return 'done';",
        "this.ctx.abort(new Error('self')); this.ctx.storage.kv.put('a', 1);",
        "const { ctx } = this; ctx.storage.kv.put('a', { get x() { ctx.abort(new Error('in the middle of a clone')); } }); for (;;) {}",
        "const { ctx } = this; ctx.storage.transactionSync(() => { ctx.storage.kv.put('a', 1); ctx.abort(new Error('in a transaction')); });",
    ] {
        harm_of(&mut house, body, &mut holes);
    }
    assert!(holes.is_empty(), "harmed others:\n{}", holes.join("\n"));
}

/// Runs `body` as a facet and notes what it did to the others; after harm the house is a new one.
fn harm_of(house: &mut House, body: &str, holes: &mut Vec<String>) {
    let facet = body.get(..200).unwrap_or(body);
    let ask = json!({ "facet": facet, "body": body, "limits": { "cpuMs": 1000 } });
    let _answer = house.try_post("/facet", &ask);
    if let Some(harm) = house.harm() {
        holes.push(format!("{harm} after: {body}"));
        *house = House::new();
    }
}

#[test]
fn detached_and_shrunken_buffers_are_read_as_empty_or_refused() {
    let (mut house, mut holes) = (House::new(), Vec::new());
    for body in [
        "const b = new Uint8Array(1000); structuredClone(b, { transfer: [b.buffer] }); this.ctx.storage.sql.exec('SELECT ?', b).toArray(); return 1;",
        "const b = new ArrayBuffer(1000, { maxByteLength: 2000 }); const v = new Uint8Array(b, 500); b.resize(100); this.ctx.storage.sql.exec('SELECT ?', v).toArray(); return 1;",
        "const b = new Uint8Array(1000); b.buffer.transfer(); this.ctx.storage.kv.put('a', b); return 1;",
        "const b = new Uint8Array(1000); const s = new ReadableStream({ pull(c) { c.enqueue(b); b.buffer.transfer(); c.close(); } }); return (await new Response(s).text()).length;",
        "const b = new Uint8Array(1000); b.buffer.transfer(); return new Response(b);",
        "const b = new SharedArrayBuffer(8); this.ctx.storage.kv.put('a', b); return 1;",
        "return new SharedArrayBuffer(8);",
        "const b = new Uint8Array(8); const o = { get first() { b.buffer.transfer(); return 1; }, b }; return o;",
        "crypto.getRandomValues(new Uint8Array(new ArrayBuffer(8).transfer ? 8 : 8)); const b = new Uint8Array(8); b.buffer.transfer(); return crypto.getRandomValues(b).length;",
        "const b = new Uint8Array(8); const p = crypto.subtle.digest('SHA-256', b); b.buffer.transfer(); return (await p).byteLength;",
        "return new TextDecoder().decode(new Uint8Array(new SharedArrayBuffer(8)));",
    ] {
        harm_of(&mut house, body, &mut holes);
    }
    assert!(holes.is_empty(), "harmed others:\n{}", holes.join("\n"));
}

#[test]
fn structured_clone_bombs_stop_at_a_limit() {
    let (mut house, mut holes) = (House::new(), Vec::new());
    for body in [
        "const a = []; a.a = a; a.push(a); return a;",
        "const a = []; a.length = 2 ** 32 - 1; return a;",
        "const a = []; a[2 ** 32 - 2] = 1; return a;",
        "return new Array(3e7);",
        "return 'x'.repeat(2 ** 28);",
        "return new Uint8Array(1e8);",
        "const a = []; for (let i = 0; i < 1e6; i++) a.push({}); return a;",
        "const m = new Map(); m.set(m, m); return m;",
        "const s = new Set(); for (let i = 0; i < 2e6; i++) s.add(i); return s;",
        "return Object.fromEntries(Array.from({ length: 3e5 }, (_, i) => ['k' + i, i]));",
        "throw Object.assign(new Error('x'.repeat(2 ** 27)), { big: 'y'.repeat(2 ** 25) });",
        "return Array.from({ length: 20000 }, () => () => 1);",
    ] {
        harm_of(&mut house, body, &mut holes);
    }
    assert!(holes.is_empty(), "harmed others:\n{}", holes.join("\n"));
}

#[test]
fn an_answer_of_ten_million_objects_does_not_end_its_supervisor() {
    let house = House::new();
    assert_eq!(house.server.get("/supervisor").text(), "1");
    let answer = house.try_post("/facet", &json!({ "body": "const o = []; for (let i = 0; i < 2e6; i++) o.push([]); return [o, o.map(() => []), o.map(() => []), o.map(() => [])];" }));
    let _either = answer;
    house.assert_unharmed();
}

#[test]
fn an_error_flood_leaves_the_log_and_the_neighbours_usable() {
    let house = House::new();
    let before = house.rss_mib();
    house.facet("for (let i = 0; i < 20000; i++) Promise.reject(new Error('flood ' + i)); for (let i = 0; i < 5000; i++) { setTimeout(() => { throw new Error('late ' + i); }, 0); } await scheduler.wait(50); return 1;");
    house.assert_unharmed();
    let after = house.rss_mib();
    assert!(
        after < before + 300,
        "resident memory went from {before} to {after} MiB"
    );
}

#[test]
fn a_log_flood_leaves_the_neighbours_usable() {
    let house = House::new();
    let address = house.server.address();
    let flood = std::thread::spawn(move || {
        let body = json!({ "body": "for (let i = 0; ; i++) console.log('y'.repeat(10000), i);", "limits": { "cpuMs": 1000 } });
        Request::new("POST", "/facet")
            .body(body.to_string())
            .send(address)
    });
    while !flood.is_finished() {
        house.assert_unharmed();
    }
    flood.join().expect("no panic").expect("an answer");
    let log = house.server.stderr().len();
    assert!(
        log < 64 << 20,
        "one event of 1 s wrote {log} bytes into the operator's log"
    );
}

#[test]
fn log_lines_cannot_be_forged() {
    let house = House::new();
    house.facet("console.log('first\\n2026-01-01T00:00:00Z ERROR facetd: forged line\\u001b[2J\\u001b]0;title\\u0007'); return 1;");
    wait_for("it is logged somehow", SOON, || {
        house.server.stderr().contains("forged line")
    });
    let log = house.server.stderr();
    assert!(
        !log.lines()
            .any(|line| line.starts_with("2026-01-01T00:00:00Z ERROR")),
        "a line break of the worker starts no line of the log:\n{log}"
    );
    assert!(
        !log.contains("\u{1b}[2J") && !log.contains("\u{1b}]0;"),
        "control sequences do not reach the operator's terminal:\n{log:?}"
    );
}

const TREE: &str = r#"import { DurableObject } from "cloudflare:workers";
export class App extends DurableObject {
  #child(name) { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.App })); }
  async deep(n) { try { return 1 + await this.#child("deep").deep(n + 1); } catch (e) { return e.message.includes("depth") ? 1 : "failed: " + e.message; } }
  async put(v) { this.ctx.storage.kv.put("v", v); return v; }
  async get() { return this.ctx.storage.kv.get("v") ?? null; }
  async fill(n, keep) { let made = 0; try { for (let i = 0; i < n; i++) { await this.#child("c" + i).put(i); made++; } } catch (e) { return [made, e.message]; } return [made, null]; }
  async check(n) { let same = 0; for (let i = 0; i < n; i++) if (await this.#child("c" + i).get() === i) same++; return same; }
  remove(names) { for (const name of names) this.ctx.facets.delete(name); }
  async tree(n) { if (n === 0) return 1; let sum = 1; for (let i = 0; i < 4; i++) sum += await this.#child("t" + i).tree(n - 1); await this.put("x"); return sum; }
  clone(a, b) { this.ctx.facets.clone(a, b); }
}"#;

#[test]
fn a_tree_of_facets_ends_at_its_depth() {
    let house = House::new();
    let ask = |method: &str, args: serde_json::Value| json!({ "id": "tree", "module": TREE, "method": method, "args": args });
    // The supervisor is 1, the facet 2: two more levels fit.
    assert_eq!(
        house.post("/facet", &ask("deep", json!([0])))["ok"],
        3,
        "depth 4 with the root"
    );
    assert_eq!(
        house.post("/facet", &ask("tree", json!([2])))["ok"],
        21,
        "1 + 4 + 16 facets"
    );
    for (from, to) in [("t0", "t1"), ("t0", "deep"), ("t0", "t0")] {
        let answer = house.post("/facet", &ask("clone", json!([from, to])));
        assert!(
            answer.get("ok").is_some(),
            "clone {from} over {to}: {answer}"
        );
    }
    house.post("/delete", &json!({}));
    assert_eq!(
        house.post("/facet", &ask("get", json!([])))["ok"],
        serde_json::Value::Null,
        "deleted with all below"
    );
    house.assert_unharmed();
}

#[test]
fn two_hundred_facets_are_made_checked_and_deleted_in_random_order() {
    let house = House::new();
    let ask = |method: &str, args: serde_json::Value| json!({ "id": "tree", "module": TREE, "method": method, "args": args });
    let mut random = Random::from_env(7);
    house.assert_unharmed();
    let before = open_files(house.server.pid());
    for round in 0..2 {
        assert_eq!(
            house.post("/facet", &ask("fill", json!([200])))["ok"],
            json!([200, null]),
            "round {round}"
        );
        assert_eq!(
            house.post("/facet", &ask("check", json!([200])))["ok"],
            200,
            "round {round}: each has its own data"
        );
        let mut names: Vec<String> = (0..200).map(|at| format!("c{at}")).collect();
        random.shuffle(&mut names);
        let (first, second) = names.split_at(100);
        house.post("/facet", &ask("remove", json!([first])));
        assert_eq!(
            house.post("/facet", &ask("check", json!([200])))["ok"],
            100,
            "round {round}: half of them are left"
        );
        house.post("/facet", &ask("remove", json!([second])));
        assert_eq!(
            house.post("/facet", &ask("check", json!([200])))["ok"],
            0,
            "round {round}: none is left"
        );
        house.post("/facet", &ask("remove", json!([names])));
    }
    wait_for("deleted facets close their files", SOON, || {
        open_files(house.server.pid()) < before + 40
    });
    let files = files_below(house.server.data_folder(), ".sqlite").len();
    assert!(
        files < 20,
        "{files} databases are left of 200 deleted facets"
    );
    house.assert_unharmed();
}

#[test]
fn loaded_code_cannot_use_up_the_file_descriptors_of_the_process() {
    let house = House::new();
    let pid = house.server.pid();
    // As `ulimit -n 512` would: three files per open database.
    let limit = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), "--nofile=512:512"])
        .status();
    assert!(
        limit.is_ok_and(|status| status.success()),
        "this test needs `prlimit`: install util-linux"
    );
    let ask = |method: &str, args: serde_json::Value| json!({ "id": "tree", "module": TREE, "method": method, "args": args });
    let answer = house.try_post("/facet", &ask("fill", json!([400])));
    house.assert_unharmed();
    let answer = answer.unwrap_or_else(|error| panic!("the flood gets an answer: {error}"));
    assert_eq!(
        answer["ok"],
        json!([400, null]),
        "each facet got its turn: idle ones gave up their files"
    );
    let check = house.post("/facet", &ask("check", json!([400])));
    assert_eq!(check["ok"], 400, "and each has its data");
    assert!(open_files(pid) < 400, "{} files are open", open_files(pid));
}

#[test]
fn many_loaded_workers_do_not_use_up_the_threads() {
    let house = House::new();
    house.assert_unharmed();
    let before = status_of(house.server.pid(), "Threads");
    for round in 0..30 {
        let answer = house.post("/worker", &json!({ "body": format!("return {round};") }));
        assert_eq!(answer["ok"], round);
    }
    wait_for("workers nobody holds any more end", SOON, || {
        status_of(house.server.pid(), "Threads") < before + 10
    });
}

#[test]
fn storage_stops_growing_at_its_limit() {
    let house = House::new();
    let body = "const { sql } = this.ctx.storage; sql.exec('CREATE TABLE IF NOT EXISTS t (x)'); try { for (let i = 0; i < 100; i++) sql.exec('INSERT INTO t VALUES (zeroblob(1000000))'); return 'no end'; } catch (e) { return e.message; }";
    let answer = house.facet_limited(body, &json!({ "storageMb": 8 }));
    let message = answer["ok"]
        .as_str()
        .or(answer["error"]["message"].as_str())
        .unwrap_or_default();
    assert!(
        message.contains("full") || message.contains("critical error"),
        "{answer}"
    );
    let files = files_below(house.server.data_folder(), "")
        .iter()
        .filter_map(|path| path.metadata().ok())
        .map(|file| file.len())
        .sum::<u64>();
    assert!(
        files < 32 << 20,
        "{files} bytes are on disk for a limit of 8 MiB"
    );
    house.assert_unharmed();
}

#[test]
fn huge_sql_texts_and_values_are_refused() {
    let house = House::new();
    let mut taken: Vec<String> = Vec::new();
    for body in [
        "return this.ctx.storage.sql.exec('SELECT zeroblob(1000000000)').toArray().length;",
        "return this.ctx.storage.sql.exec(\"SELECT printf('%1000000000d', 1)\").toArray().length;",
        "return this.ctx.storage.sql.exec('SELECT replace(hex(zeroblob(1000000)), \\'0\\', hex(zeroblob(1000)))').toArray().length;",
        "return this.ctx.storage.sql.exec('SELECT ' + '('.repeat(100000) + '1' + ')'.repeat(100000)).toArray().length;",
        "return this.ctx.storage.sql.exec('SELECT 1' + ' UNION ALL SELECT 1'.repeat(100000)).toArray().length;",
        "return this.ctx.storage.sql.exec('SELECT ' + '1,'.repeat(100000) + '1').toArray().length;",
        "return this.ctx.storage.sql.exec('SELECT ?' + ', ?'.repeat(40000), ...new Array(40001).fill(1)).toArray().length;",
        "this.ctx.storage.kv.put('k', 'v'.repeat(5e7)); return 1;",
        "return this.ctx.storage.sql.exec('SELECT ' + \"'\" + 'x'.repeat(5e7) + \"'\").toArray().length;",
    ] {
        let answer = house.facet(&format!(
            "try {{ {body} }} catch (e) {{ return 'refused: ' + e.message.slice(0, 80); }}"
        ));
        let text = answer["ok"].as_str().unwrap_or_default();
        if !text.starts_with("refused") && answer.get("error").is_none() {
            taken.push(format!("{body}: {answer}"));
        }
        house.assert_unharmed();
    }
    assert!(
        taken.is_empty(),
        "taken all the same:\n{}",
        taken.join("\n")
    );
}

#[test]
fn a_like_pattern_cannot_run_past_the_cpu_limit() {
    let house = House::new();
    let body = "return this.ctx.storage.sql.exec(\"SELECT ? LIKE ?\", 'a'.repeat(40000), '%a'.repeat(20) + '%b').toArray();";
    let answer = house.facet_limited(
        &format!("try {{ {body} }} catch (e) {{ return 'refused'; }}"),
        &json!({ "cpuMs": 500 }),
    );
    assert!(
        answer["error"].is_null()
            || answer["error"]["message"] == "Worker exceeded CPU time limit.",
        "{answer}"
    );
    house.assert_unharmed();
}
