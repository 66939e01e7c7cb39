//! Code that takes what it is not given: time, heap, memory outside the heap. It gets a typed error; its supervisor,
//! its neighbour and the process go on.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Request, wait_for};
use crate::hostile::house::{ANSWER_MAX, House, RSS_SLACK_MIB};

/// Long enough that the others can be asked meanwhile.
const CPU_MS: u64 = 1_500;
const ANSWERS_MEANWHILE: usize = 5;

#[track_caller]
fn assert_cpu_error(answer: &Value, limit_ms: u64) {
    let error = &answer["error"];
    assert_eq!(
        error["message"], "Worker exceeded CPU time limit.",
        "{answer}"
    );
    assert_eq!(error["name"], "Error", "{answer}");
    assert_eq!(error["code"], "EXCEEDED_CPU", "{answer}");
    assert_eq!(error["limit"], limit_ms, "{answer}");
    let used = error["used"].as_u64().unwrap_or(0);
    assert!(
        used >= limit_ms && used < limit_ms + 1_000,
        "used is what was used, in ms: {answer}"
    );
}

#[track_caller]
fn assert_memory_error(answer: &Value) {
    let error = &answer["error"];
    assert_eq!(
        error["message"], "Worker exceeded memory limit.",
        "{answer}"
    );
    assert_eq!(error["code"], "EXCEEDED_MEMORY", "{answer}");
    assert_eq!(
        error["limit"], 128,
        "the default of loaded workers: {answer}"
    );
}

/// Runs `ask` while asking the supervisor and the neighbour again and again.
#[track_caller]
fn loops_while_others_answer(ask: &Value) {
    let house = House::new();
    house.assert_unharmed(); // everybody is up: what follows measures answers, not starts
    let address = house.server.address();
    let request = Request::new("POST", "/facet").body(ask.to_string());
    let runaway = thread::spawn(move || request.send_within(address, ANSWER_MAX));
    let mut meanwhile = 0;
    while !runaway.is_finished() {
        for path in ["/supervisor", "/neighbour", "/ping"] {
            let answer = Request::get(path).send_within(address, Duration::from_secs(5));
            let answer =
                answer.unwrap_or_else(|error| panic!("{path} while a facet loops: {error}"));
            assert_eq!(
                answer.status,
                200,
                "{path} while a facet loops: {}",
                answer.text()
            );
        }
        meanwhile += 1;
    }
    let answer = runaway
        .join()
        .expect("the client does not panic")
        .expect("the caller gets an answer");
    assert_cpu_error(&answer.json().expect("the answer is JSON"), CPU_MS);
    assert!(
        meanwhile >= ANSWERS_MEANWHILE,
        "only {meanwhile} rounds of answers while the facet looped"
    );
    house.assert_unharmed();
}

fn looping(body: &str) -> Value {
    json!({ "body": body, "limits": { "cpuMs": CPU_MS } })
}

#[test]
fn a_sync_loop_ends_in_a_typed_error_while_others_answer() {
    loops_while_others_answer(&looping("for (;;) {}"));
}

#[test]
fn a_microtask_loop_ends_in_a_typed_error_while_others_answer() {
    loops_while_others_answer(&looping(
        "(function f() { Promise.resolve().then(f); })(); await new Promise(() => {});",
    ));
}

#[test]
fn an_await_loop_ends_in_a_typed_error_while_others_answer() {
    loops_while_others_answer(&looping("for (;;) await null;"));
}

#[test]
fn a_loop_in_a_constructor_ends_in_a_typed_error_while_others_answer() {
    let module = "import { DurableObject } from 'cloudflare:workers';
        export class App extends DurableObject { constructor(ctx, env) { super(ctx, env); for (;;) {} } run() {} }";
    loops_while_others_answer(&json!({ "module": module, "limits": { "cpuMs": CPU_MS } }));
}

#[test]
fn a_loop_in_sql_ends_in_a_typed_error_while_others_answer() {
    let sql =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    loops_while_others_answer(&looping(&format!(
        "return this.ctx.storage.sql.exec('{sql}').one();"
    )));
}

#[test]
fn a_loop_in_a_regexp_ends_in_a_typed_error_while_others_answer() {
    loops_while_others_answer(&looping("return /^(a+)+$/.test('a'.repeat(50) + 'b');"));
}

#[test]
fn a_loop_in_a_getter_called_by_the_runtime_ends_in_a_typed_error() {
    let house = House::new();
    let limits = json!({ "cpuMs": 300 });
    for body in [
        "return { get x() { for (;;) {} } };",
        "this.ctx.storage.kv.put('k', { get x() { for (;;) {} } });",
        "return { then() { for (;;) {} } };",
        "const e = new Error('x'); Object.defineProperty(e, 'message', { get() { for (;;) {} } }); throw e;",
        "Error.prepareStackTrace = () => { for (;;) {} }; throw new Error('x');",
        "this.ctx.storage.sql.exec('SELECT ?', { toString() { for (;;) {} } });",
        "console.log({ get x() { for (;;) {} }, toString() { for (;;) {} } }, new Proxy({}, { ownKeys() { for (;;) {} } }), { [Symbol.for('nodejs.util.inspect.custom')]() { for (;;) {} }, [Symbol.for('Deno.customInspect')]() { for (;;) {} } }); for (;;) {}",
    ] {
        assert_cpu_error(&house.facet_limited(body, &limits), 300);
    }
    house.assert_unharmed();
}

#[test]
fn a_loop_at_the_top_level_of_a_module_ends_in_a_typed_error() {
    let house = House::new();
    for body in [
        "for (;;) {}",
        "(function f() { Promise.resolve().then(f); })(); await new Promise(() => {});",
    ] {
        let module = format!(
            "{body}\nimport {{ DurableObject }} from 'cloudflare:workers'; export class App extends DurableObject {{ run() {{}} }}"
        );
        let answer = house.post(
            "/facet",
            &json!({ "facet": body, "module": module, "limits": { "cpuMs": 300 } }),
        );
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("exceeded CPU time limit"), "{answer}");
    }
    house.assert_unharmed();
}

#[test]
fn cpu_time_adds_up_over_the_turns_of_one_event() {
    let house = House::new();
    let body = "for (let i = 0; i < 100; i++) { for (let j = 0, t = performance.now(); j < 3e6; j++) t += j; await scheduler.wait(0); } return 'got away';";
    let answer = house.facet_limited(body, &json!({ "cpuMs": 200 }));
    assert_eq!(
        answer["error"]["message"], "Worker exceeded CPU time limit.",
        "{answer}"
    );
    house.assert_unharmed();
}

#[test]
fn every_waiting_caller_of_a_killed_isolate_is_told() {
    let house = House::new();
    let module = "import { DurableObject } from 'cloudflare:workers';
        export class App extends DurableObject { async run(kind) { if (kind === 'loop') for (;;) {} await scheduler.wait(60_000); } }";
    let ask = |kind: &str| json!({ "id": "one", "module": module, "args": [kind], "limits": { "cpuMs": 500 } });
    let address = house.server.address();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let request = Request::new("POST", "/facet").body(ask("wait").to_string());
            thread::spawn(move || request.send_within(address, ANSWER_MAX))
        })
        .collect();
    assert_cpu_error(&house.post("/facet", &ask("loop")), 500);
    for waiting in waiting {
        let answer = waiting
            .join()
            .expect("no panic")
            .expect("a waiting caller gets an answer");
        let answer = answer.json().expect("JSON");
        assert_eq!(
            answer["error"]["message"], "Worker exceeded CPU time limit.",
            "{answer}"
        );
    }
    house.assert_unharmed();
}

#[test]
fn a_killed_turn_is_rolled_back_also_inside_transaction_sync() {
    let house = House::new();
    let module = "import { DurableObject } from 'cloudflare:workers';
        export class App extends DurableObject {
          constructor(ctx, env) { super(ctx, env); this.sql = ctx.storage.sql; this.sql.exec('CREATE TABLE IF NOT EXISTS t (x)'); }
          add(x) { this.sql.exec('INSERT INTO t VALUES (?)', x); }
          loopAfterWrite(x) { this.add(x); for (;;) {} }
          loopInTransaction(x) { this.ctx.storage.transactionSync(() => { this.add(x); this.ctx.storage.transactionSync(() => this.add(x)); for (;;) {} }); }
          async loopInAsyncTransaction(x) { await this.ctx.storage.transaction(async () => { this.add(x); await scheduler.wait(1); for (;;) {} }); }
          all() { return this.sql.exec('SELECT x FROM t ORDER BY rowid').toArray().map((row) => row.x); }
        }";
    let ask = |method: &str, args: Value| json!({ "id": "one", "module": module, "method": method, "args": args, "limits": { "cpuMs": 300 } });
    assert_eq!(
        house.post("/facet", &ask("add", json!(["kept"])))["ok"],
        Value::Null,
        "a plain write"
    );
    for method in [
        "loopAfterWrite",
        "loopInTransaction",
        "loopInAsyncTransaction",
    ] {
        assert_cpu_error(&house.post("/facet", &ask(method, json!([method]))), 300);
        let all = house.post("/facet", &ask("all", json!([])));
        assert_eq!(
            all["ok"],
            json!(["kept"]),
            "{method} left nothing behind: {all}"
        );
    }
    assert_eq!(
        house.post("/facet", &ask("add", json!(["after"])))["ok"],
        Value::Null,
        "the database can be written again"
    );
    assert_eq!(
        house.post("/facet", &ask("all", json!([])))["ok"],
        json!(["kept", "after"]),
        "and was"
    );
}

#[test]
fn a_killed_isolate_is_never_used_again() {
    let house = House::new();
    let module = "import { DurableObject } from 'cloudflare:workers'; globalThis.seen ??= 0; let inModule = 0;
        export class App extends DurableObject { run(loop) { globalThis.seen += 1; inModule += 1; if (loop) for (;;) {} return [globalThis.seen, inModule]; } }";
    let ask = |loops: bool| json!({ "id": "one", "module": module, "args": [loops], "limits": { "cpuMs": 200 } });
    for _ in 0..3 {
        assert_eq!(
            house.post("/facet", &ask(false))["ok"],
            json!([1, 1]),
            "a fresh isolate has fresh globals"
        );
        assert_eq!(
            house.post("/facet", &ask(false))["ok"],
            json!([2, 2]),
            "and keeps them while it lives"
        );
        assert_cpu_error(&house.post("/facet", &ask(true)), 200);
    }
}

#[test]
fn the_lower_of_two_cpu_limits_wins() {
    let house = House::new();
    let answer = house.facet_limited("for (;;) {}", &json!({ "cpuMs": 600_000 }));
    assert_cpu_error(&answer, 5_000); // the default of loaded workers is below what was asked for
}

/// Built-ins of V8 that run long without looking whether they should stop.
#[test]
fn a_builtin_that_ignores_termination_does_not_hold_its_caller() {
    let house = House::new();
    let mut held: Vec<String> = Vec::new();
    house.assert_unharmed();
    for body in [
        "return Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1);",
        "return Array.prototype.lastIndexOf.call({ length: 2 ** 53 - 1 }, 1);",
        "return Array.prototype.reverse.call({ length: 2 ** 53 - 1 });",
        "return Array.prototype.includes.call({ length: 2 ** 53 - 1 }, 1);",
    ] {
        let ask = json!({ "facet": body, "body": body, "limits": { "cpuMs": 300 } });
        match house.try_post("/facet", &ask) {
            Ok(answer) if answer["error"]["message"] == "Worker exceeded CPU time limit." => {}
            other => held.push(format!("{body}: {other:?}")),
        }
    }
    house.assert_unharmed();
    assert!(
        held.is_empty(),
        "no error within {} s for\n{}",
        ANSWER_MAX.as_secs(),
        held.join("\n")
    );
}

#[test]
fn atomics_wait_cannot_block_an_isolate() {
    let house = House::new();
    let body = "return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);";
    let ask = json!({ "body": body, "limits": { "cpuMs": 300 } });
    let answer = house
        .try_post("/facet", &ask)
        .unwrap_or_else(|error| panic!("no answer to {body}: {error}"));
    assert!(
        answer.get("error").is_some(),
        "waiting is refused: {answer}"
    );
    house.assert_unharmed();
}

/// Starts `body`, waits until it says that it loops, aborts it, and returns the answer of its caller.
#[track_caller]
fn abort_while_it_loops(house: &House, ask: &Value) -> Value {
    let address = house.server.address();
    let request = Request::new("POST", "/facet").body(ask.to_string());
    let runaway = thread::spawn(move || request.send_within(address, Duration::from_secs(30)));
    wait_for("the facet loops", Duration::from_secs(30), || {
        house.server.stderr().contains("the loop begins")
    });
    house.post("/abort", &json!({}));
    let answer = runaway.join().expect("no panic").expect("an answer");
    answer.json().expect("JSON")
}

#[track_caller]
fn gets_rid_of_a_facet_that_blocks(module: &str) {
    let house = House::new();
    // No limit ends this within the test: only the abort does.
    let limits = json!({ "cpuMs": 120_000 });
    let answer = abort_while_it_loops(&house, &json!({ "module": module, "limits": limits }));
    assert_eq!(
        answer["error"]["message"], "aborted by the test",
        "in-flight calls reject with the reason, they do not wait for the loop: {answer}"
    );
    let next = "return this.ctx.storage.kv.get('written') ?? 'nothing';";
    let again = house.post("/facet", &json!({ "body": next }));
    assert_eq!(
        again["ok"], "nothing",
        "a new class runs under the same name, and the interrupted turn was rolled back: {again}"
    );
    house.assert_unharmed();
}

#[test]
fn a_supervisor_gets_rid_of_a_facet_that_blocks() {
    gets_rid_of_a_facet_that_blocks(
        r#"import { DurableObject } from "cloudflare:workers";
        export class App extends DurableObject {
          run() {
            this.ctx.storage.kv.put("written", true);
            console.log("the loop begins");
            for (;;) {}
          }
        }"#,
    );
}

#[test]
fn a_supervisor_gets_rid_of_a_facet_that_blocks_in_its_constructor() {
    gets_rid_of_a_facet_that_blocks(
        r#"import { DurableObject } from "cloudflare:workers";
        export class App extends DurableObject {
          constructor(ctx, env) {
            super(ctx, env);
            ctx.storage.kv.put("written", true);
            console.log("the loop begins");
            for (;;) {}
          }
          run() {}
        }"#,
    );
}

#[test]
fn a_supervisor_gets_rid_of_a_facet_that_blocks_in_sql() {
    gets_rid_of_a_facet_that_blocks(
        r#"import { DurableObject } from "cloudflare:workers";
        export class App extends DurableObject {
          run() {
            this.ctx.storage.kv.put("written", true);
            console.log("the loop begins");
            this.ctx.storage.sql.exec(
              "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n");
          }
        }"#,
    );
}

#[test]
fn a_supervisor_gets_rid_of_a_facet_that_blocks_in_a_timer() {
    gets_rid_of_a_facet_that_blocks(
        r#"import { DurableObject } from "cloudflare:workers";
        export class App extends DurableObject {
          async run() {
            await scheduler.wait(1);
            this.ctx.storage.kv.put("written", true);
            console.log("the loop begins");
            try { for (;;) {} } finally { for (;;) {} }
          }
        }"#,
    );
}

#[test]
fn the_abort_of_a_facet_that_blocks_spares_the_others_in_its_isolate() {
    let house = House::new();
    let module = r#"import { DurableObject } from "cloudflare:workers";
        export class App extends DurableObject {
          calls = 0;
          run(loop) {
            if (!loop) return ++this.calls;
            console.log("the loop begins");
            for (;;) {}
          }
        }"#;
    let sibling = json!({ "facet": "sibling", "id": "shared", "module": module, "args": [false] });
    assert_eq!(house.post("/facet", &sibling)["ok"], 1, "it runs");
    let looping = json!({
        "id": "shared", "module": module, "args": [true], "limits": { "cpuMs": 120_000 },
    });
    let answer = abort_while_it_loops(&house, &looping);
    assert_eq!(
        answer["error"]["message"], "aborted by the test",
        "{answer}"
    );
    assert_eq!(
        house.post("/facet", &sibling)["ok"],
        2,
        "the same instance in the same isolate goes on"
    );
}

// ---- memory

#[track_caller]
fn memory_bomb(body: &str) {
    let house = House::new();
    house.assert_unharmed();
    let answer = house.facet(body);
    assert_memory_error(&answer);
    house.assert_unharmed();
    assert_eq!(
        house.post("/facet", &json!({ "body": "return 1;" }))["ok"],
        1,
        "the facet starts again"
    );
}

#[test]
fn a_growing_array_ends_in_a_typed_error() {
    memory_bomb("const a = []; for (;;) a.push({ a: 1 });");
}

#[test]
fn growing_strings_end_in_a_typed_error() {
    memory_bomb("const a = []; for (let i = 0; ; i++) a.push(('x' + i).repeat(1e5) + i);");
}

#[test]
fn a_growing_map_ends_in_a_typed_error() {
    memory_bomb("const m = new Map(); for (let i = 0; ; i++) m.set(i, [i]);");
}

#[test]
fn a_promise_bomb_ends_in_a_typed_error() {
    memory_bomb("const a = []; for (;;) a.push(new Promise((resolve) => a.push(resolve)));");
}

#[test]
fn a_heap_bomb_in_microtasks_ends_in_a_typed_error() {
    memory_bomb(
        "const a = []; const grow = () => { a.push(new Array(1000).fill(a.length)); queueMicrotask(grow); queueMicrotask(grow); }; grow(); await new Promise(() => {});",
    );
}

#[test]
fn a_heap_bomb_at_the_top_level_of_a_module_is_a_start_failure() {
    let house = House::new();
    let module = "const a = []; for (;;) a.push({ a: 1 });\nexport class App {}";
    let answer = house.post("/facet", &json!({ "module": module }));
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("exceeded memory limit"), "{answer}");
    house.assert_unharmed();
}

/// One allocation far above the limit: V8 has no room to ask for more, and by default it ends the process.
#[track_caller]
fn one_huge_allocation(body: &str) {
    let house = House::new();
    house.assert_unharmed();
    let answer = house.try_post("/facet", &json!({ "body": body }));
    house.assert_unharmed();
    let answer = answer.unwrap_or_else(|error| panic!("the caller is told: {error}"));
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    let told = message.starts_with("Worker exceeded ")
        || answer["error"]["name"] == "RangeError"
        || answer.get("ok").is_some();
    assert!(told, "{answer}");
}

#[test]
fn one_huge_array_does_not_end_the_process() {
    one_huge_allocation("return new Array(1e8).fill(0).length;");
}

#[test]
fn one_huge_error_message_does_not_end_the_process() {
    one_huge_allocation("throw new Error('x'.repeat(1e8));");
}

#[test]
fn one_huge_array_from_does_not_end_the_process() {
    one_huge_allocation("return Array.from({ length: 1e9 }).length;");
}

#[test]
fn one_huge_flat_string_does_not_end_the_process() {
    one_huge_allocation(
        "const keep = []; for (let i = 0; i < 6; i++) { const s = 'x'.repeat(2 ** 29 - 30 - i); keep.push(s, s.charCodeAt(i)); } return keep.length;",
    );
}

#[test]
fn one_huge_typed_array_copy_does_not_end_the_process() {
    one_huge_allocation("return Array.from(new Uint8Array(1e8)).length;");
}

#[test]
fn one_huge_spread_does_not_end_the_process() {
    one_huge_allocation(
        "const a = new Array(3e7).fill(0); return [...a, ...a, ...a, ...a].length;",
    );
}

#[test]
fn one_huge_json_text_does_not_end_the_process() {
    one_huge_allocation(
        "const a = new Array(1e6).fill('y'.repeat(400)); return JSON.stringify(a).length;",
    );
}

#[test]
fn one_huge_bigint_does_not_end_the_process() {
    one_huge_allocation(
        "const keep = []; for (let i = 0; ; i++) keep.push(1n << BigInt(2 ** 30 - 64 - i));",
    );
}

#[test]
fn one_huge_sql_result_does_not_end_the_process() {
    one_huge_allocation(
        "return this.ctx.storage.sql.exec('WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000000) SELECT x, x AS y, x AS z FROM c').toArray().length;",
    );
}

#[test]
fn recursion_is_a_range_error_and_nothing_else() {
    let house = House::new();
    for body in [
        "const f = () => f() + 1; try { f(); } catch (e) { return e.name; }",
        "const p = new Proxy({}, { get: (t, k, r) => r[k] }); try { p.x; } catch (e) { return e.name; }",
        "let a = []; for (let i = 0; i < 1e6; i++) a = [a]; try { structuredClone(a); } catch (e) { return e.name; }",
        "let a = []; for (let i = 0; i < 1e6; i++) a = [a]; try { this.ctx.storage.kv.put('deep', a); } catch (e) { return e.name; }",
        "let a = () => 1; for (let i = 0; i < 1e6; i++) a = [a]; try { a.flat(Infinity); } catch (e) { return e.name; }",
    ] {
        assert_eq!(house.ok(body), "RangeError", "{body}");
    }
    // Nested too deeply to cross: the caller gets an error, of whatever class.
    let answer = house.facet("let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a;");
    assert!(answer.get("error").is_some(), "{answer}");
    let answer = house.facet("let a = () => 1; for (let i = 0; i < 1e5; i++) a = [a]; return a;");
    assert!(answer.get("error").is_some(), "{answer}");
    house.assert_unharmed();
}

/// Takes ten times 100 MB in a way that V8's heap limit does not see.
#[track_caller]
fn off_heap_bomb(body: &str) {
    let house = House::new();
    house.assert_unharmed();
    let before = house.rss_mib();
    let answer = house.facet(&format!("const keep = globalThis.keep = []; for (let i = 0; i < 10; i++) {{ {body} }} return keep.length;"));
    let after = house.rss_mib();
    assert!(
        answer.get("error").is_some(),
        "1000 MB are more than the limit of 128 MiB allows: {answer}; {before} -> {after} MiB"
    );
    assert!(
        after < before + RSS_SLACK_MIB,
        "resident memory went from {before} to {after} MiB"
    );
    house.assert_unharmed();
}

#[test]
fn array_buffers_count_against_the_limit() {
    off_heap_bomb("keep.push(new Uint8Array(1e8).fill(1));");
}

#[test]
fn shared_array_buffers_count_against_the_limit() {
    off_heap_bomb("keep.push(new Uint8Array(new SharedArrayBuffer(1e8)).fill(1));");
}

#[test]
fn resizable_array_buffers_count_against_the_limit() {
    off_heap_bomb(
        "const b = new ArrayBuffer(0, { maxByteLength: 1e8 }); b.resize(1e8); keep.push(new Uint8Array(b).fill(1));",
    );
}

#[test]
#[ignore = "known hole: memory that V8 reserves beside the allocator is not counted yet"]
fn growable_shared_array_buffers_count_against_the_limit() {
    off_heap_bomb(
        "const b = new SharedArrayBuffer(0, { maxByteLength: 1e8 }); b.grow(1e8); keep.push(new Uint8Array(b).fill(1));",
    );
}

#[test]
#[ignore = "known hole: memory that V8 reserves beside the allocator is not counted yet"]
fn wasm_memories_count_against_the_limit() {
    off_heap_bomb(
        "const m = new WebAssembly.Memory({ initial: 1 }); m.grow(1525); keep.push(m); new Uint8Array(m.buffer).fill(1);",
    );
}

#[test]
fn blobs_count_against_the_limit() {
    off_heap_bomb(
        "keep.push(new Blob([new Uint8Array(5e7).fill(1), new Uint8Array(5e7).fill(2)]));",
    );
}

#[test]
fn blobs_that_nobody_holds_are_collected() {
    let house = House::new();
    house.assert_unharmed();
    let before = house.rss_mib();
    // 3.6 GB in all, never much at a time; slices share the bytes of the whole.
    let answer = house.facet(
        "const whole = new Blob([new Uint8Array(2e7).fill(1)]);
        for (let i = 0; i < 180; i++) { const b = new Blob([new Uint8Array(2e7).fill(2)]); whole.slice(i); await scheduler.wait(1); if (b.size !== 2e7) return 'short'; }
        return (await whole.slice(5, 8).bytes()).join();",
    );
    assert_eq!(answer["ok"], "1,1,1", "{answer}");
    let after = house.rss_mib();
    assert!(
        after < before + 3 * 128 + RSS_SLACK_MIB,
        "resident memory went from {before} to {after} MiB"
    );
}

#[test]
fn sql_values_count_against_the_limit() {
    off_heap_bomb(
        "keep.push(this.ctx.storage.sql.exec('SELECT randomblob(1000000) AS b FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100) SELECT x FROM c)').toArray());",
    );
}

#[test]
fn streams_count_against_the_limit() {
    off_heap_bomb(
        "const s = new TransformStream({}, undefined, { highWaterMark: Infinity }); const w = s.writable.getWriter(); for (let j = 0; j < 10; j++) w.write(new Uint8Array(1e7).fill(j)); keep.push(s);",
    );
}

/// Sends 6 GB in one turn; each send of 30 MB may be refused. The worker, or its isolate, pays, not the host.
#[track_caller]
fn outgoing_flood(send: &str) {
    let house = House::new();
    house.assert_unharmed();
    let before = house.rss_mib();
    let module = format!(
        r#"import {{ DurableObject, WorkerEntrypoint }} from "cloudflare:workers";
        export class Entry extends WorkerEntrypoint {{ take(bytes) {{ return bytes.length; }} give() {{ return new Uint8Array(3e7); }} async fetch(request) {{ await scheduler.wait(10_000); return new Response("late"); }} }}
        export class App extends DurableObject {{
          async run() {{
            const large = new Uint8Array(3e7).fill(1);
            const self = this.ctx.exports.Entry;
            const stream = () => new ReadableStream({{ start(c) {{ for (let i = 0; i < 10; i++) c.enqueue(large); }} }});
            const refusals = [];
            for (let i = 0; i < 200; i++) {{
              try {{ {send}.catch((e) => refusals.push(e)); }} catch (e) {{ refusals.push(e); }}
            }}
            await scheduler.wait(100);
            return refusals.length;
          }}
        }}"#
    );
    let _answer = house.try_post(
        "/facet",
        &json!({ "facet": house.new_name(), "module": module }),
    );
    let after = house.rss_mib();
    assert!(
        after < before + 900,
        "resident memory went from {before} to {after} MiB"
    );
    house.assert_unharmed();
}

#[test]
fn arguments_on_their_way_count_against_a_limit() {
    outgoing_flood("self.take(large)");
}

#[test]
fn bodies_on_their_way_count_against_a_limit() {
    outgoing_flood(r#"self.fetch("http://x/", { method: "POST", body: large })"#);
}

#[test]
fn headers_on_their_way_count_against_a_limit() {
    outgoing_flood(r#"self.fetch("http://x/", { headers: { a: "h".repeat(3e7) } })"#);
}

#[test]
fn streams_on_their_way_count_against_a_limit() {
    outgoing_flood(
        r#"self.fetch("http://x/", { method: "POST", body: stream(), duplex: "half" })"#,
    );
}

#[test]
fn fetches_that_go_nowhere_count_against_a_limit() {
    outgoing_flood(r#"fetch("http://x/", { method: "POST", body: large })"#);
}

#[test]
fn answers_on_their_way_count_against_a_limit() {
    outgoing_flood("self.give()");
}

#[test]
fn messages_behind_a_loop_end_with_their_isolate_and_not_the_process() {
    let house = House::new();
    let answer = house.facet_limited(
        "const [a, b] = Object.values(new WebSocketPair()); a.accept(); b.accept(); b.onmessage = () => { for (;;); }; for (let i = 0; i < 50_000; i++) a.send(''); await scheduler.wait(60_000);",
        &json!({ "cpuMs": 500 }),
    );
    assert_cpu_error(&answer, 500);
    house.assert_unharmed();
}

/// What a socket that nobody reads may hold is bounded, whatever is sent.
#[track_caller]
fn socket_flood(flood: &str) {
    let house = House::new();
    house.assert_unharmed();
    let before = house.rss_mib();
    let module = format!(
        r#"import {{ DurableObject }} from "cloudflare:workers";
        export class App extends DurableObject {{
          async run() {{
            const keep = globalThis.keep = [];
            const pair = () => {{ const [a, b] = Object.values(new WebSocketPair()); a.accept(); keep.push(a, b); return a; }};
            try {{ {flood} }} catch (e) {{ return e.message; }}
            await scheduler.wait(100);
          }}
        }}"#
    );
    let _answer = house.try_post("/facet", &json!({ "facet": "flood", "module": module }));
    let after = house.rss_mib();
    assert!(
        after < before + RSS_SLACK_MIB + 256,
        "resident memory went from {before} to {after} MiB"
    );
    house.assert_unharmed();
}

#[test]
fn reasons_of_closes_count_too() {
    socket_flood("for (let i = 0; i < 200; i++) pair().close(1000, 'x'.repeat(10 << 20));");
}

#[test]
fn a_socket_that_was_cut_off_costs_nothing_more() {
    socket_flood(
        "const a = pair(); a.send(new Uint8Array(17 << 20)); for (let i = 0; i < 1_500_000; i++) a.send('x');",
    );
}

#[test]
fn many_sockets_that_nobody_reads_share_one_limit() {
    socket_flood(
        "const large = new Uint8Array(8 << 20); for (let i = 0; i < 300; i++) pair().send(large);",
    );
}

/// SQLite looks at an interrupt between the steps of a statement only, and one call of a function is one step.
#[test]
fn an_sql_function_over_long_texts_ends_in_a_typed_error_while_others_answer() {
    for (call, first, second) in [
        ("instr(?1, ?2)", "'a'.repeat(8e6)", "'a'.repeat(4e6) + 'b'"),
        (
            "replace(?1, ?2, ?1)",
            "'a'.repeat(8e6)",
            "'a'.repeat(4e6) + 'b'",
        ),
        ("trim(?1, ?2)", "'a'.repeat(8e6)", "'b'.repeat(8e6) + 'a'"),
        ("unhex(?1, ?2)", "'-'.repeat(8e6)", "'b'.repeat(8e6) + '-'"),
    ] {
        loops_while_others_answer(&looping(&format!(
            "return this.ctx.storage.sql.exec('SELECT length({call}) AS n', {first}, {second}).one();"
        )));
    }
}

/// What cannot be stopped is given up: its callers are answered, its thread runs on.
#[test]
fn an_sql_function_that_never_looks_is_answered_for() {
    let house = House::new();
    house.assert_unharmed();
    let body = "const keys = Array.from({ length: 400000 }, (_, i) => '\"' + i + '\":1').join(); const all = '{' + keys + '}'; \
        return this.ctx.storage.sql.exec('SELECT length(json_patch(?1, ?1)) AS n', all).one();";
    let answer = house.facet_limited(body, &json!({ "cpuMs": 500 }));
    assert_eq!(answer["error"]["code"], "EXCEEDED_CPU", "{answer}");
    assert_eq!(answer["error"]["limit"], 500, "{answer}");
    house.assert_unharmed();
}

#[test]
fn a_full_database_is_a_typed_error_and_its_object_goes_on() {
    let house = House::new();
    let body = r#"
        const { storage } = this.ctx;
        const { kv, sql } = storage;
        const told = [];
        const full = (how) => (e) => told.push([how, e.name, e.message, e.code, e.limit, e.used <= 2.2]);
        const attempt = (how, run) => { try { run(); told.push([how, "no error"]); } catch (e) { full(how)(e); } };
        let n = 0;
        try { for (; n < 1000; n++) kv.put(`key ${n}`, "x".repeat(10_000)); } catch (e) { full("fill")(e); }
        attempt("kv", () => kv.put("more", "x".repeat(100_000)));
        attempt("sql", () => sql.exec("CREATE TABLE t AS SELECT zeroblob(100000) AS b"));
        await storage.put("more", "x".repeat(100_000)).catch(full("async"));
        await storage.put({ a: 1, more: "x".repeat(100_000) }).catch(full("entries"));
        attempt("transactionSync", () => storage.transactionSync(() => { kv.delete("key 0"); kv.put("more", "x".repeat(100_000)); }));
        await storage.transaction(async (txn) => { await txn.delete("key 1"); await txn.put("more", "x".repeat(100_000)); }).catch(full("transaction"));
        const there = ["key 0", "key 1", "a", "more"].map((key) => kv.get(key) !== undefined);
        for (let i = 0; i < 50; i++) kv.delete(`key ${i}`);
        kv.put("more", "x".repeat(100_000));
        await storage.sync();
        return { n, told, there, more: kv.get("more").length };
    "#;
    let answer = house.facet_limited(body, &json!({ "storageMb": 2 }));
    let ok = &answer["ok"];
    let n = ok["n"].as_u64().unwrap_or(0);
    assert!(
        (120..=210).contains(&n),
        "two megabytes, ten kilobytes each: {answer}"
    );
    let expected: Vec<Value> = [
        "fill",
        "kv",
        "sql",
        "async",
        "entries",
        "transactionSync",
        "transaction",
    ]
    .iter()
    .map(|how| {
        json!([
            how,
            "Error",
            "database or disk is full: SQLITE_FULL",
            "EXCEEDED_STORAGE",
            2,
            true
        ])
    })
    .collect();
    assert_eq!(ok["told"], json!(expected), "{answer}");
    assert_eq!(
        ok["there"],
        json!([true, true, false, false]),
        "what failed left no trace: {answer}"
    );
    assert_eq!(ok["more"], 100_000, "deleting makes room: {answer}");
    house.assert_unharmed();
}

#[test]
fn one_statement_that_fills_the_database_resets_its_object_at_most() {
    let house = House::new();
    let flood = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT zeroblob(9000) FROM n";
    let module = format!(
        "import {{ DurableObject }} from 'cloudflare:workers';
        export class App extends DurableObject {{
          begin() {{ this.ctx.storage.sql.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)'); }}
          flood() {{ this.ctx.storage.sql.exec('{flood}'); }}
          count() {{ return this.ctx.storage.sql.exec('SELECT count(*) AS n FROM t').one().n; }}
        }}"
    );
    let ask = |method: &str| {
        house.post(
            "/facet",
            &json!({ "facet": "flooded", "id": "flooded", "module": module, "method": method, "limits": { "storageMb": 2 } }),
        )
    };
    assert_eq!(ask("begin")["ok"], Value::Null);
    let answer = ask("flood");
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("SQLITE_FULL") || message.contains("earlier SQL critical error"),
        "{answer}"
    );
    assert_eq!(ask("count")["ok"], 1, "what was committed is there");
    house.assert_unharmed();
}

#[test]
fn rows_and_entries_that_are_looked_at_one_by_one_need_no_memory() {
    let house = House::new();
    house.assert_unharmed();
    let before = house.rss_mib();
    let limits = json!({ "memoryMb": 64, "cpuMs": 60_000 });
    for body in [
        // One gigabyte of text.
        "let bytes = 0; for (const { x } of this.ctx.storage.sql.exec(`SELECT printf('%.*c', 1000000, 'x') AS x FROM \
         (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n)`)) bytes += x.length; return bytes === 1e9;",
        "const { kv } = this.ctx.storage; for (let i = 0; i < 64; i++) kv.put(`key ${i}`, String(i % 10).repeat(4_000_000)); \
         let bytes = 0; for (const [, value] of kv.list()) bytes += value.length; return bytes === 256e6;",
    ] {
        let answer = house.facet_limited(body, &limits);
        assert_eq!(answer["ok"], true, "{answer}");
    }
    let after = house.rss_mib();
    assert!(
        after < before + RSS_SLACK_MIB,
        "resident memory went from {before} to {after} MiB"
    );
    house.assert_unharmed();
}
