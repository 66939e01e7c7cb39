//! Loaded code looks for a way out: to our internals, the host, the network, another's data, by tampering with
//! everything it can reach while the runtime works for it.

use serde_json::{Value, json};

use super::house::House;
use crate::harness::{Project, Request, Server};

/// Runs before the snippet in many tests: things our own code must not be tricked by.
const TAMPER: &str = r#"
const stolen = new Set(); const { apply } = Reflect; const { add } = Set.prototype; const { defineProperty } = Object;
let keeping = false; const undo = [];
const keep = (value) => { if (keeping || ((typeof value !== "object" && typeof value !== "function") || value === null) || value === stolen) return; keeping = true; try { apply(add, stolen, [value]); } catch {} keeping = false; };
for (const [holder, names] of [
  [Function.prototype, ["call", "apply", "bind"]], [Promise.prototype, ["then", "catch", "finally"]], [Promise, ["resolve", "reject", "all", "withResolvers"]],
  [Array.prototype, ["push", "map", "filter", "slice", "at", "flat", "indexOf", "forEach", "join", "includes", "splice", "shift", "values"]], [Array, ["from", "of", "isArray"]],
  [Map.prototype, ["get", "set", "has", "delete", "entries", "values", "forEach", "clear"]], [Set.prototype, ["add", "has", "delete", "values"]],
  [WeakMap.prototype, ["get", "set", "has"]], [String.prototype, ["startsWith", "endsWith", "slice", "toLowerCase", "split", "replace", "trim"]], [RegExp.prototype, ["test", "exec"]],
  [Reflect, ["get", "set", "apply", "construct", "has", "ownKeys"]], [Object, ["defineProperty", "defineProperties", "assign", "create", "keys", "entries", "getPrototypeOf", "hasOwn"]],
  [JSON, ["parse", "stringify"]], [globalThis, ["structuredClone", "queueMicrotask", "String", "Number", "Boolean"]],
]) {
  for (const name of names) {
    const base = holder[name];
    const replacement = function (...args) { keep(this); for (let i = 0; i < args.length; i++) keep(args[i]); const result = new.target ? new base(...args) : apply(base, this, args); keep(result); return result; };
    try { holder[name] = replacement; undo[undo.length] = () => { holder[name] = base; }; } catch {}
  }
}
for (const key of ["then", "value", "context", "io", "number", "cause", "0", "1", "id", "class", "props", "signal", "headers", "done", "next", "return", "limits", "env", "modules"]) {
  try {
    undo[undo.length] = () => { delete Object.prototype[key]; };
    defineProperty(Object.prototype, key, { __proto__: null, configurable: true, get() { keep(this); return undefined; }, set(value) { keep(this); keep(value); defineProperty(this, key, { __proto__: null, value, writable: true, configurable: true, enumerable: true }); } });
  } catch {}
}
const iterate = Array.prototype[Symbol.iterator];
undo[undo.length] = () => { Array.prototype[Symbol.iterator] = iterate; };
Array.prototype[Symbol.iterator] = function () { keep(this); for (let i = 0; i < this.length; i++) keep(this[i]); return apply(iterate, this, []); };
Object.defineProperty(Symbol, "species", { value: Symbol.species });
Error.prepareStackTrace = (error, sites) => { for (const site of sites) { try { keep(site.getThis()); keep(site.getFunction()); } catch {} } return "stack"; };
const use = async () => {
  const { storage, facets } = this.ctx;
  const tries = [
    () => storage.kv.put("a", { b: [1, new Map([[1, 2]])] }), () => storage.kv.get("a"), () => [...storage.kv.list()], () => storage.put("c", 1), () => storage.list(), () => storage.transaction((t) => t.put("d", 1)),
    () => storage.transactionSync(() => storage.sql.exec("CREATE TABLE IF NOT EXISTS t (x)")), () => storage.sql.exec("INSERT INTO t VALUES (?), (?)", 1, "x"), () => storage.sql.exec("SELECT * FROM t").toArray(), () => [...storage.sql.exec("SELECT * FROM t").raw()], () => storage.sql.exec("SELECT * FROM t LIMIT 1").one(),
    () => facets.get("child", () => ({ class: this.ctx.exports.App })).child({ f: () => 1 }), () => facets.abort("child", new Error("x")), () => facets.delete("child"),
    () => fetch("http://nowhere.example/"), () => new Response("x").text(), () => new Request("http://x/", { method: "POST", body: "y" }).text(), () => crypto.subtle.digest("SHA-256", new Uint8Array(3)), () => crypto.randomUUID(), () => new URL("http://a/b").href, () => structuredClone(new Map()), () => console.log({ a: 1 }, new Error("x")), () => scheduler.wait(1), () => new Promise((resolve) => setTimeout(resolve, 1)),
    () => this.ctx.blockConcurrencyWhile(async () => {}), () => new TransformStream().readable.cancel(), () => new Blob(["a"]).text(), () => { null.x; }, () => { throw new Error("y"); },
  ];
  for (const attempt of tries) { try { keep(await attempt()); } catch (error) { keep(error); } }
};
await use();
for (const restore of undo) restore();
"#;

/// What is reachable from what was stolen: does any of it lead to ops or to the core?
const SEARCH: &str = r#"
const found = []; const queue = [...stolen].map((value) => [value, "stolen"]); const visited = new Set();
for (let steps = 0; queue.length && steps < 200000; steps++) {
  const [value, path] = queue.shift();
  if ((typeof value !== "object" && typeof value !== "function") || value === null || visited.has(value)) continue;
  visited.add(value);
  let name = ""; try { name = typeof value === "function" ? String(Object.getOwnPropertyDescriptor(value, "name")?.value) : ""; } catch {}
  if (/^op_|^(loadExtScript|evalContext|setMacrotaskCallback|propWriteable)$/.test(name)) found.push(`${path}: ${name}`);
  let keys = []; try { keys = Reflect.ownKeys(value); } catch { continue; }
  if (keys.includes("ops") || keys.includes("__bootstrap") || keys.includes("primordials") || keys.includes("Deno")) found.push(`${path}: ${keys.filter((k) => typeof k === "string").slice(0, 8)}`);
  for (const key of keys) {
    let d; try { d = Object.getOwnPropertyDescriptor(value, key); } catch { continue; }
    for (const next of [d?.value, d?.get, d?.set]) if (next !== undefined) queue.push([next, `${path}.${String(key)}`]);
  }
  try { queue.push([Object.getPrototypeOf(value), `${path}.[[Prototype]]`]); } catch {}
}
return found;
"#;

fn app(body: &str) -> Value {
    json!({ "module": format!("import {{ DurableObject }} from 'cloudflare:workers';\nexport class App extends DurableObject {{ child() {{ return 1; }} async run(arg) {{\n{body}\n}} }}") })
}

#[test]
fn no_internal_name_is_in_the_global_scope() {
    let house = House::new();
    let found = house.ok(
        r#"const bad = []; for (const name of Object.getOwnPropertyNames(globalThis)) if (/deno|bootstrap|__|primordial|internal|^core$|^ops$|^op_|^process$|^require$|^module$|^Buffer$/i.test(name)) bad.push(name);
        for (const name of ["Deno", "__bootstrap", "__facetd_start", "Worker", "BroadcastChannel", "importScripts", "process", "require"]) if (name in globalThis || typeof globalThis[name] !== "undefined") bad.push(name);
        return bad;"#,
    );
    assert_eq!(found, json!([]), "names that lead to our internals");
}

#[test]
fn the_global_scope_leads_to_no_op() {
    let house = House::new();
    let answer = house.post("/facet", &app(&format!("const stolen = new Set([globalThis, this, this.ctx, this.env, await import('cloudflare:workers')]);\n{SEARCH}")));
    assert_eq!(
        answer["ok"],
        json!([]),
        "paths from what every worker has: {answer}"
    );
}

#[test]
#[ignore = "known hole: deno_core calls async ops through Function.prototype.call, which user code can replace"]
fn tampered_builtins_lead_to_no_op_and_break_nobody_else() {
    let house = House::new();
    let answer = house.post("/facet", &app(&format!("{TAMPER}\n{SEARCH}")));
    assert_eq!(
        answer["ok"],
        json!([]),
        "what our own code let slip: {answer}"
    );
    house.assert_unharmed();
}

#[test]
fn call_sites_give_no_function_and_no_this_of_ours() {
    let house = House::new();
    let found = house.ok(
        r#"const seen = []; const inspect = (error, sites) => { for (const site of sites) { const file = String(site.getFileName()); if (file.startsWith("ext:") && (site.getFunction() !== undefined || (site.getThis() !== undefined && site.getThis() !== globalThis))) seen.push(file + " " + site.getFunctionName()); } return sites.length; };
        Error.prepareStackTrace = inspect; Error.stackTraceLimit = 100;
        const poke = () => { try { return new Error("x").stack; } catch {} };
        [() => this.ctx.storage.kv.put("a", { get x() { poke(); return 1; } }), () => this.ctx.storage.sql.exec("SELECT ?", { toString() { poke(); return ""; } }), () => structuredClone({ get x() { poke(); } }), () => new Headers({ get x() { poke(); return "1"; } }), () => new Response("", { get status() { poke(); return 200; } }), () => console.log({ toString() { poke(); }, get [Symbol.toStringTag]() { poke(); return "x"; } }), () => crypto.subtle.digest({ get name() { poke(); return "SHA-1"; } }, new Uint8Array())].forEach((f) => { try { f(); } catch {} });
        await new Promise((resolve) => setTimeout(() => { poke(); resolve(); }, 1));
        await new ReadableStream({ pull(c) { poke(); c.close(); } }).getReader().read();
        return seen;"#,
    );
    assert_eq!(
        found,
        json!([]),
        "frames of ours that hand out their function or `this`"
    );
}

#[test]
fn no_import_reaches_outside_the_modules_map() {
    let house = House::new();
    let specifiers = [
        "ext:core/ops",
        "ext:core/mod.js",
        "ext:facetd_js/bootstrap.js",
        "ext:facetd_rpc/10_clone.js",
        "ext:deno_web/02_event.js",
        "node:fs",
        "node:child_process",
        "node:process",
        "node:vm",
        "node:worker_threads",
        "fs",
        "file:///etc/passwd",
        "/etc/passwd",
        "../../../etc/passwd",
        "http://127.0.0.1/x.js",
        "https://example.com/x.js",
        "data:text/javascript,export default 1",
        "blob:null/x",
        "internal:deno_core",
        "checkin:x",
        "npm:x",
        "jsr:@x/y",
        "cloudflare:internal",
        "deno:core",
        "\0",
        "",
    ];
    for specifier in specifiers {
        let answer = house.ok(&format!("try {{ const m = await import({}); return Object.keys(m); }} catch (e) {{ return 'refused'; }}", json!(specifier)));
        assert_eq!(answer, "refused", "import({specifier:?})");
        let module = format!(
            "import * as m from {}; import {{ DurableObject }} from 'cloudflare:workers'; export class App extends DurableObject {{ run() {{ return Object.keys(m); }} }}",
            json!(specifier)
        );
        let answer = house.post(
            "/facet",
            &json!({ "facet": format!("static {specifier:?}"), "module": module }),
        );
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("Failed to start Worker")),
            "import from {specifier:?}: {answer}"
        );
    }
    house.assert_unharmed();
}

#[test]
fn a_module_named_like_ours_gets_no_rights_by_its_name() {
    let house = House::new();
    for name in [
        "ext:core/mine.js",
        "ext:facetd_rpc/10_clone.js",
        "node:mine.js",
        "cloudflare:workers.js",
        "file:///a.js",
    ] {
        let code = "import { DurableObject } from 'cloudflare:workers'; export async function probe() { try { return Object.keys(await import('ext:core/ops')).slice(0, 3); } catch { return 'refused'; } }";
        let module = json!({ "app.js": format!("import {{ probe }} from '/{name}'; import {{ DurableObject }} from 'cloudflare:workers'; export class App extends DurableObject {{ run() {{ return probe(); }} }}"), name: { "js": code } });
        let answer = house.post("/facet", &json!({ "facet": name, "module": module }));
        assert!(
            answer["ok"] == "refused" || answer.get("error").is_some(),
            "{name}: {answer}"
        );
        let module = format!(
            "import * as ops from 'ext:core/ops'; {code} import {{ DurableObject as D }} from 'cloudflare:workers'; export class App extends D {{ run() {{ return Object.keys(ops).length; }} }}"
        );
        let answer = house.post("/facet", &json!({ "facet": format!("{name} 2"), "module": { "app.js": format!("export * from '/{name}';"), name: { "js": module } } }));
        assert!(answer.get("error").is_some(), "{name}: {answer}");
    }
    house.assert_unharmed();
}

#[test]
fn no_code_is_made_from_text_or_bytes() {
    let house = House::new();
    for (body, class) in [
        ("eval('1')", "EvalError"),
        ("(0, eval)('1')", "EvalError"),
        ("new Function('return 1')()", "EvalError"),
        (
            "Function.prototype.constructor('return this')()",
            "EvalError",
        ),
        ("(async () => {}).constructor('return 1')()", "EvalError"),
        ("(function* () {}).constructor('yield 1')()", "EvalError"),
        (
            "Reflect.construct(Function, ['return 1'], class {})()",
            "EvalError",
        ),
        ("setTimeout('globalThis.x = 1', 0)", "TypeError"),
        (
            "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
            "CompileError",
        ),
        (
            "await WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
            "CompileError",
        ),
        (
            "await WebAssembly.instantiate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
            "CompileError",
        ),
        (
            "await WebAssembly.compileStreaming(new Response(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]), { headers: { 'content-type': 'application/wasm' } }))",
            "CompileError",
        ),
        (
            "await WebAssembly.instantiateStreaming(new Response(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]), { headers: { 'content-type': 'application/wasm' } }))",
            "CompileError",
        ),
    ] {
        let name = house.ok(&format!(
            "try {{ {body}; return 'made it'; }} catch (e) {{ return e.name; }}"
        ));
        assert!(
            name == class || (body.contains("Streaming") && name == "TypeError"),
            "{body}: {name}, not {class}"
        );
    }
    assert_eq!(
        house.ok("let n = 0; try { new ShadowRealm().evaluate('1'); n = 1; } catch {} return n;"),
        0,
        "no realm to make code in"
    );
}

#[test]
fn user_sql_stays_in_its_own_database() {
    let house = House::new();
    let mut holes: Vec<String> = Vec::new();
    let data = house.server.data_folder().display().to_string();
    for sql in [
        format!("ATTACH '{data}/x.sqlite' AS other"),
        "ATTACH ':memory:' AS other".into(),
        "ATTACH '' AS other".into(),
        "DETACH main".into(),
        format!("VACUUM INTO '{data}/copy.sqlite'"),
        "VACUUM".into(),
        "BEGIN".into(),
        "COMMIT".into(),
        "ROLLBACK".into(),
        "SAVEPOINT x".into(),
        "RELEASE _cf_x".into(),
        "PRAGMA journal_mode = DELETE".into(),
        "PRAGMA writable_schema = 1".into(),
        "PRAGMA temp_store_directory = '/tmp'".into(),
        "PRAGMA data_store_directory = '/tmp'".into(),
        "PRAGMA mmap_size = 1000000".into(),
        "PRAGMA locking_mode = NORMAL".into(),
        "PRAGMA wal_checkpoint(TRUNCATE)".into(),
        "PRAGMA max_page_count = 1".into(),
        "PRAGMA synchronous = OFF".into(),
        "PRAGMA database_list".into(),
        "PRAGMA trusted_schema = 1".into(),
        "PRAGMA hard_heap_limit = 1".into(),
        "PRAGMA shrink_memory".into(),
        "PRAGMA cache_size = -1000000".into(),
        "PRAGMA threads = 8".into(),
        "PRAGMA busy_timeout = 1000000".into(),
        "PRAGMA user_version = 7".into(),
        "PRAGMA application_id = 7".into(),
        "PRAGMA encoding = 'UTF-16'".into(),
        "SELECT * FROM _cf_KV".into(),
        "INSERT INTO _cf_KV VALUES ('a', x'00')".into(),
        "DROP TABLE _cf_KV".into(),
        "CREATE TABLE _CF_mine (x)".into(),
        "CREATE TABLE \"_cf_x\" (x)".into(),
        "CREATE TEMP TABLE t (x)".into(),
        "CREATE TABLE temp.t (x)".into(),
        "CREATE VIEW v AS SELECT * FROM _cf_KV; SELECT * FROM v".into(),
        "CREATE TABLE m (x); ALTER TABLE m RENAME TO _cf_m".into(),
        "CREATE TRIGGER _cf_t AFTER INSERT ON m BEGIN SELECT 1; END".into(),
        "WITH a AS (SELECT * FROM _cf_KV) SELECT * FROM a".into(),
        "UPDATE sqlite_master SET sql = ''".into(),
        "INSERT INTO sqlite_sequence VALUES ('_cf_x', 1); DELETE FROM sqlite_schema".into(),
        "SELECT * FROM pragma_database_list".into(),
        "SELECT * FROM pragma_table_info('_cf_KV')".into(),
        "PRAGMA table_info(_cf_KV)".into(),
        "SELECT * FROM dbstat".into(),
        "SELECT * FROM sqlite_dbpage".into(),
        "SELECT * FROM sqlite_stmt".into(),
        "SELECT * FROM generate_series(1, 2)".into(),
        "SELECT load_extension('x')".into(),
        "SELECT readfile('/etc/passwd')".into(),
        "SELECT writefile('/tmp/x', 'y')".into(),
        "SELECT fts3_tokenizer('x')".into(),
        "SELECT edit('x')".into(),
        "SELECT sqlite_version()".into(),
        "SELECT sqlite_compileoption_get(0)".into(),
        "CREATE VIRTUAL TABLE v USING csv(filename='/etc/passwd')".into(),
        "CREATE VIRTUAL TABLE v USING zipfile('/tmp/x')".into(),
        "CREATE VIRTUAL TABLE v USING fts5vocab(_cf_KV, row); SELECT * FROM v".into(),
    ] {
        let body = format!(
            "this.ctx.storage.kv.put('a', 1); try {{ const rows = this.ctx.storage.sql.exec({}).toArray(); return ['ran', rows]; }} catch (e) {{ return ['refused', e.message]; }}",
            json!(sql)
        );
        // A name per statement: one that broke its object must not hide the next.
        let answer = house.post(
            "/facet",
            &json!({ "facet": &sql[..sql.len().min(200)], "body": body }),
        );
        let leak = answer["ok"][1].to_string();
        let refused = answer["ok"][0] == "refused" || answer.get("error").is_some();
        if !refused || leak.contains(&data) {
            holes.push(format!("{sql}: {answer}"));
        }
    }
    assert!(
        holes.is_empty(),
        "ran, or told a path:\n{}",
        holes.join("\n")
    );
    house.assert_unharmed();
}

#[test]
fn fts5_and_views_do_not_open_reserved_tables_later() {
    let house = House::new();
    let answer = house.ok(
        r#"const { sql, kv } = this.ctx.storage; kv.put("secret", "value"); const out = [];
        for (const text of ["CREATE VIRTUAL TABLE f USING fts5(key, content='_cf_KV', content_rowid='rowid')", "INSERT INTO f(f) VALUES ('rebuild')", "SELECT * FROM f", "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM _cf_KV; END", "INSERT INTO t VALUES (1)"]) { try { sql.exec("CREATE TABLE IF NOT EXISTS t (x)"); out.push(sql.exec(text).toArray().length); } catch { out.push("refused"); } }
        return [kv.get("secret"), out.filter((n) => typeof n === "number" && n > 0)];"#,
    );
    assert_eq!(
        answer,
        json!(["value", []]),
        "nothing of the reserved table is read or lost"
    );
}

#[test]
fn names_of_facets_are_no_paths() {
    let house = House::new();
    let long = "é".repeat(128);
    let names = [
        "../../escape",
        "..",
        ".",
        "/etc/x",
        "a/b",
        "a\0b",
        "neighbour/../x",
        "con",
        "\u{202e}evil",
        "main.1.sqlite",
        "-wal",
        &long,
        " ",
        "\n",
        "\u{feff}",
    ];
    for (at, name) in names.iter().enumerate() {
        let answer = house.post("/facet", &json!({ "facet": name, "body": format!("const before = this.ctx.storage.kv.get('at'); this.ctx.storage.kv.put('at', {at}); return before ?? 'empty';") }));
        assert_eq!(
            answer["ok"], "empty",
            "{name:?} has a database of its own: {answer}"
        );
    }
    let parent = house
        .server
        .data_folder()
        .parent()
        .expect("a temporary folder")
        .to_path_buf();
    for stray in ["escape", "escape.sqlite", "x", "b"] {
        assert!(
            !parent.join(stray).exists() && !house.server.data_folder().join(stray).exists(),
            "{stray} was made outside"
        );
    }
    let files = crate::harness::process::files_below(house.server.data_folder(), "");
    for file in files {
        let name = file
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)),
            "a user's name became the file name {name:?}"
        );
    }
    let too_long = house.post(
        "/facet",
        &json!({ "facet": "é".repeat(129), "body": "return 1;" }),
    );
    assert!(
        too_long.to_string().contains("too long") || too_long.get("error").is_some(),
        "{too_long}"
    );
}

#[test]
fn a_facet_cannot_reach_its_neighbour_or_its_parent() {
    let house = House::new();
    let first = house.server.get("/neighbour").text();
    assert_eq!(first, "1");
    let answer = house.ok(
        r#"const out = {}; const { storage, facets, exports, id } = this.ctx;
        out.env = Object.keys(this.env); out.exports = Object.keys(exports);
        out.neighbour = await facets.get("neighbour", () => ({ class: exports.App, id })).run2().catch((e) => e.message.includes("does not implement") ? "my own child" : e.message);
        out.kv = [...storage.kv.list()].length;
        out.tables = storage.sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'").one().n;
        out.ns = typeof exports.App.getByName;
        return out;"#,
    );
    assert_eq!(answer["env"], json!([]), "no loader, no namespace");
    assert_eq!(
        answer["neighbour"], "my own child",
        "names are private to a parent"
    );
    assert_eq!(
        (&answer["kv"], &answer["tables"]),
        (&json!(0), &json!(0)),
        "an empty database of its own"
    );
    assert_eq!(answer["ns"], "undefined", "no namespace of root objects");
    assert_eq!(
        house.server.get("/neighbour").text(),
        "2",
        "the neighbour's count is its own"
    );
}

#[test]
fn inherited_network_reaches_no_private_address() {
    let house = House::new();
    let port = house.server.address().port();
    for url in [
        format!("http://127.0.0.1:{port}/ping"),
        format!("http://localhost:{port}/ping"),
        format!("http://[::1]:{port}/ping"),
        format!("http://[::ffff:127.0.0.1]:{port}/ping"),
        format!("http://0.0.0.0:{port}/ping"),
        format!("http://127.1:{port}/ping"),
        format!("http://2130706433:{port}/ping"),
        format!("http://0x7f000001:{port}/ping"),
        format!("http://0177.0.0.1:{port}/ping"),
        format!("http://127.0.0.1.:{port}/ping"),
        format!("http://localhost.:{port}/ping"),
        format!("http://user@127.0.0.1:{port}/ping"),
        format!("http://[::]:{port}/ping"),
        format!("http://127.255.255.254:{port}/ping"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://[fd00:ec2::254]/".into(),
        "http://metadata.google.internal/".into(),
        "http://10.0.0.1/".into(),
        "http://192.168.0.1/".into(),
        "http://100.64.0.1/".into(),
    ] {
        let body = format!(
            "try {{ const r = await fetch({}, {{ signal: AbortSignal.timeout(3000) }}); return [r.status, await r.text()]; }} catch (e) {{ return 'refused'; }}",
            json!(url)
        );
        let answer = house.post(
            "/facet",
            &json!({ "facet": url, "body": body, "outbound": "inherit" }),
        );
        assert_eq!(answer["ok"], "refused", "{url}: {answer}");
    }
    house.assert_unharmed();
}

#[test]
fn blocked_network_is_blocked_in_every_way() {
    let house = House::new();
    for body in [
        "await fetch('http://example.com/')",
        "await fetch(new Request('https://example.com/'))",
        "await fetch('http://example.com/', { headers: { upgrade: 'websocket' } })",
        "await new Promise((opened, failed) => { const ws = new WebSocket('ws://example.com/'); ws.onopen = opened; ws.onerror = failed; })",
        "new EventSource('http://example.com/')",
        "new XMLHttpRequest()",
        "await import('http://example.com/x.js')",
        "await WebAssembly.compileStreaming(fetch('http://example.com/'))",
        "await fetch('file:///etc/passwd')",
        "await fetch('blob:null/x')",
        "await (await caches.open('x')).add('http://example.com/')",
        "const { connect } = await import('cloudflare:sockets'); await connect('example.com:80').opened",
        "navigator.sendBeacon('http://example.com/') || (() => { throw new Error('refused') })()",
    ] {
        assert_eq!(
            house.ok(&format!(
                "try {{ {body}; return 'got out'; }} catch (e) {{ return 'refused'; }}"
            )),
            "refused",
            "{body}"
        );
    }
}

#[test]
fn symbols_of_stubs_forge_no_handle() {
    let house = House::new();
    let module = r#"import { DurableObject } from "cloudflare:workers";
export class Child extends DurableObject { hello() { return "child"; } async keep(x) { return typeof x; } }
export class App extends DurableObject { async run() {
  const { facets, exports, storage } = this.ctx; const out = [];
  const stub = facets.get("c", () => ({ class: exports.Child })); await stub.hello();
  const made = exports.Child({ props: { a: 1 } });
  const symbols = new Set(); for (const o of [stub, made, exports.Child, storage, storage.kv, storage.sql, facets, this.ctx, new Request("http://x"), new Response(), new Headers(), this.ctx.id]) { try { for (let p = o; p; p = Object.getPrototypeOf(p)) for (const s of Object.getOwnPropertySymbols(p)) symbols.add(s); } catch {} }
  const traps = new Proxy(function () {}, { get(t, k) { if (typeof k === "symbol") symbols.add(k); return undefined; } });
  for (const f of [() => stub.keep(traps), () => facets.get("d", () => ({ class: traps })).hello(), () => storage.kv.put("x", traps), () => structuredClone(traps), () => console.log(traps)]) { try { await f(); } catch {} }
  const values = []; for (const s of symbols) for (const o of [stub, made]) { try { const v = o[s]; if (v !== undefined) values.push([s, v]); } catch {} }
  const attempts = [];
  for (const s of symbols) for (const [, v] of [...values, [null, 1], [null, {}], [null, null]]) {
    attempts.push(() => stub.keep({ [s]: v }), () => facets.get("e" + attempts.length, () => ({ class: { ...Object.fromEntries([...symbols].map((k) => [k, v])) } })).hello(), () => storage.kv.put("y", { [s]: v }), () => structuredClone({ [s]: v }), () => storage.kv.get.call({ [s]: v }, "x"), () => storage.sql.exec.call({ [s]: v }, "SELECT 1").toArray(), () => storage.get.call({ [s]: 0 }, "a"), () => Reflect.get(stub, "fetch").call({ [s]: v }, "http://x/"));
  }
  let passed = 0; for (const a of attempts.slice(0, 3000)) { try { await Promise.race([a(), scheduler.wait(200)]); passed++; } catch {} }
  // Contexts are numbers; another object's number must not open its storage... of another worker.
  for (const s of symbols) for (let n = 0; n < 50; n++) { try { const got = Object.getPrototypeOf(storage.kv).get.call({ [s]: n }, "n"); if (got !== undefined) out.push("read n=" + got + " of context " + n); } catch {} }
  return { out, stored: [...storage.kv.list()].map(([k]) => k) };
} }"#;
    let house2 = &house;
    assert_eq!(
        house2.server.get("/neighbour").text(),
        "1",
        "the neighbour has a key n"
    );
    let answer = house.post("/facet", &json!({ "module": module }));
    assert_eq!(
        answer["ok"]["out"],
        json!([]),
        "what forged handles gave: {answer}"
    );
    house.assert_unharmed();
}

#[test]
fn facet_stubs_stay_with_their_parent() {
    let house = House::new();
    let module = r#"import { DurableObject } from "cloudflare:workers";
export class Child extends DurableObject { hello() { return "child"; } async keep(x) { return typeof x; } }
export class App extends DurableObject { async run() {
  const { facets, exports, storage } = this.ctx; const stub = facets.get("c", () => ({ class: exports.Child }));
  const out = []; for (const f of [() => stub.keep(stub), () => stub.keep({ a: [stub] }), () => storage.kv.put("s", stub), () => storage.put("s", { stub }), () => exports.Child({ props: { stub } })]) { try { await f(); out.push("passed"); } catch (e) { out.push(e.message); } }
  return out;
} give() { return this.ctx.facets.get("c", () => ({ class: this.ctx.exports.Child })); } }"#;
    let text = "Stubs pointing to Durable Object facets are not serializable.";
    assert_eq!(
        house.post("/facet", &json!({ "id": "one", "module": module }))["ok"],
        json!([text, text, text, text, text])
    );
    let given = house.post(
        "/facet",
        &json!({ "id": "one", "module": module, "method": "give" }),
    );
    assert_eq!(given["error"]["message"], text, "{given}");
}

#[test]
fn prototype_pollution_stays_in_its_isolate() {
    let house = House::new();
    house.ok("Object.prototype.polluted = 'yes'; Array.prototype.push = () => 'tampered'; globalThis.shared = 1; return 1;");
    let clean = house.post("/facet", &json!({ "facet": "other", "body": "return [({}).polluted ?? 'clean', [].push(1), typeof globalThis.shared];" }));
    assert_eq!(clean["ok"], json!(["clean", 1, "undefined"]));
    // What crosses back must not pollute the receiver either.
    for body in [
        r#"return JSON.parse('{"__proto__": {"polluted": "yes"}, "constructor": {"prototype": {"polluted": "yes"}}}');"#,
        r#"const e = new Error("x"); Object.defineProperty(e, "__proto__", { value: { polluted: "yes" }, enumerable: true }); throw e;"#,
        r#"globalThis.structuredClone = () => JSON.parse('{"__proto__": {"polluted": "yes"}}'); const e = new Error("x"); e.a = 1; throw e;"#,
        r#"Object.keys = () => ["__proto__", "constructor", "toString"]; const e = new Error("x"); e.a = 1; throw e;"#,
    ] {
        house.post(
            "/facet",
            &json!({ "facet": body.get(..100).unwrap_or(body), "body": body }),
        );
    }
    let supervisor = house.post("/worker", &json!({ "body": "return 1;" }));
    assert_eq!(supervisor["ok"], 1);
    house.assert_unharmed();
}

#[test]
fn a_hostile_answer_does_not_hang_or_break_the_supervisor() {
    let house = House::new();
    let mut silent: Vec<String> = Vec::new();
    for (at, body) in [
        "Array.prototype.map = () => 5; return new Headers({ a: 'b' });", "Array.prototype[Symbol.iterator] = function* () {}; return new Response('x');", "Object.keys = () => 5; throw Object.assign(new Error('x'), { a: 1 });",
        "globalThis.structuredClone = () => { throw 1; }; throw Object.assign(new Error('x'), { a: 1 });", "globalThis.String = () => ({}); throw new Error('x');", "Object.getPrototypeOf = () => null; throw new TypeError('x');", "Promise.prototype.then = function () {}; return 1;", "Promise.resolve = () => ({ then() {} }); return { then: 5 };",
        "Map.prototype.get = () => undefined; return 1;", "Map.prototype.delete = () => { throw 1; }; return () => 1;", "Reflect.apply = () => { throw 1; }; return 1;", "throw undefined;", "throw Symbol('x');", "throw () => 1;", "throw new Proxy({}, { get() { throw 2; }, getPrototypeOf() { throw 3; } });", "return new Proxy({}, {});", "return Symbol.iterator;",
        "const e = new Error(); Object.defineProperty(e, 'stack', { get() { throw 1; } }); throw e;", "const e = new Error(); e.name = { toString() { throw 1; } }; throw e;", "class E extends Error { get [Symbol.toStringTag]() { throw 1; } } throw new E('x');",
    ].iter().enumerate() {
        let answer = house.try_post("/facet", &json!({ "facet": format!("hostile {at}"), "body": body, "limits": { "cpuMs": 1000 } }));
        // A facet may choose not to answer; it may not take anybody with it.
        if let Err(error) = &answer
            && !body.contains("then")
        {
            silent.push(format!("{body}: {error}"));
        }
        house.assert_unharmed();
    }
    assert!(silent.is_empty(), "no answer to\n{}", silent.join("\n"));
}

#[test]
fn two_workers_of_a_project_do_not_share_globals_with_loaded_code() {
    let project = Project::of(&[
        (
            "worker.js",
            "globalThis.secret = 'of the supervisor'; export default { async fetch(r, env) { const w = env.LOADER.load({ compatibilityDate: '2026-09-01', mainModule: 'a.js', modules: { 'a.js': 'export default { see(x) { return typeof globalThis.secret; } }' } }); return new Response(await w.getEntrypoint().see(1)); } };",
        ),
        (
            "wrangler.jsonc",
            r#"{ "name": "x", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }] }"#,
        ),
    ]);
    let server = Server::of(project.path())
        .env("FACETD_SECRET_OF_THE_HOST", "x")
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        server.send(&Request::get("/")).expect("an answer").text(),
        "undefined"
    );
}
