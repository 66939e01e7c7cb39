//! Values that fight back while they are written and read: Proxies, getters, depth, size, tampered built-ins.

use serde_json::json;

use super::house::House;

/// Calls itself through `ctx.exports`, with whatever is to cross.
const SELF: &str = r#"
const to = this.ctx.facets.get("echo", () => ({ class: this.ctx.exports.App }));
const failure = async (make) => { try { await make(); return "crossed"; } catch (error) { return `${error.name}: ${error.message}`.slice(0, 80); } };
"#;

fn with_self(body: &str) -> String {
    format!("if (arg !== undefined) return typeof arg;\n{SELF}\n{body}")
}

#[test]
fn proxies_never_see_the_names_we_use() {
    let house = House::new();
    let spied = house.ok(&with_self(
        r#"
const seen = new Set();
const known = new Set(Reflect.ownKeys(Symbol).map((key) => Symbol[key]));
const note = (key) => { if (typeof key === "symbol" && !known.has(key)) seen.add(String(key)); };
const spy = (target) => new Proxy(target, {
  get(t, key) { note(key); return Reflect.get(t, key); },
  has(t, key) { note(key); return Reflect.has(t, key); },
  getOwnPropertyDescriptor(t, key) { note(key); return Reflect.getOwnPropertyDescriptor(t, key); },
  set(t, key, value) { note(key); return Reflect.set(t, key, value); },
  defineProperty(t, key, d) { note(key); return Reflect.defineProperty(t, key, d); },
});
const error = Object.setPrototypeOf(new Error("x"), spy(Error.prototype));
const spies = [spy({}), spy(() => 1), spy([]), spy(new Error("x")), spy(to), Object.create(spy({})), Object.create(spy(Error.prototype)), error, Object.create(spy(Response.prototype))];
for (const value of spies) {
  await failure(() => to.run(value));
  await failure(() => to.run([value, () => 1]));
  await failure(() => to.run(Object.assign(new Error("x"), { value })));
  await failure(async () => { await to.run(() => { throw value; }); });
  await failure(() => Reflect.apply(to.fetch, value, ["http://x/"]));
  await failure(() => this.ctx.storage.put("k", value));
  await failure(() => this.ctx.facets.get(`f${spies.indexOf(value)}`, () => ({ class: value })).run());
  await failure(() => this.ctx.facets.get(`g${spies.indexOf(value)}`, () => value).run());
  await failure(() => this.ctx.exports.default?.({ props: value }));
  const thrown = new Response("x");
  await failure(() => Reflect.apply(thrown.text, value, []));
}
// What is reached by a path on a value that was passed out.
const holder = { inner: spies[0], list: spies };
await failure(() => to.run(holder));
return [...seen];"#,
    ));
    assert_eq!(spied, json!([]), "symbols of ours");
    house.assert_unharmed();
}

#[test]
fn a_proxy_passed_out_never_sees_them_when_it_is_called() {
    let house = House::new();
    let spied = house.post(
        "/facet",
        &json!({ "facet": house.new_name(), "module": r#"
import { DurableObject, RpcTarget } from "cloudflare:workers";
const seen = [];
const known = new Set(Reflect.ownKeys(Symbol).map((key) => Symbol[key]));
const note = (key) => { if (typeof key === "symbol" && !known.has(key)) seen.push(String(key)); };
export class Other extends DurableObject {
  async use(stub) { const all = []; for (const path of ["a", "deep", "f"]) { try { const x = await stub[path]; all.push(typeof x); } catch (e) { all.push(e.message); } } try { await stub.deep.more.and.more; } catch {} try { await stub.f(); } catch {} return all; }
}
export class App extends DurableObject {
  async run() {
    const spy = (target) => new Proxy(target, { get(t, key) { note(key); return Reflect.get(t, key); }, has(t, key) { note(key); return true; }, getOwnPropertyDescriptor(t, key) { note(key); return Reflect.getOwnPropertyDescriptor(t, key); } });
    const to = this.ctx.facets.get("other", () => ({ class: this.ctx.exports.Other }));
    const used = await to.use(spy({ a: 1, deep: spy({ more: spy({ and: spy({}) }) }), f: spy(() => 1) }));
    await to.use(spy(new (class extends RpcTarget { get a() { return spy({}); } deep() { return spy({}); } })()));
    return { used, seen };
  }
}"# }),
    );
    assert_eq!(spied["ok"]["seen"], json!([]), "{spied}");
    assert_eq!(spied["ok"]["used"][0], json!("number"), "{spied}");
    house.assert_unharmed();
}

#[test]
fn values_deeper_than_the_stack_are_refused() {
    let house = House::new();
    let refused = house.ok(&with_self(
        r#"
const wraps = {
  array: (value) => [value], object: (value) => ({ value }), map: (value) => new Map([[value, 1]]), set: (value) => new Set([value]),
  cause: (cause) => new Error("x", { cause }), own: (value) => Object.assign(new Error("x"), { value }), response: (value) => ({ a: [new Map([[1, value]])] }),
};
const told = {};
for (const [name, wrap] of Object.entries(wraps)) {
  for (const [kind, bottom] of [["plain", 1], ["function", () => 1], ["symbol", Symbol("s")]]) {
    let value = bottom;
    for (let depth = 0; depth < 100_000; depth++) value = wrap(value);
    told[`${name} ${kind}`] = await failure(() => to.run(value));
    told[`${name} ${kind} stored`] = (await failure(() => this.ctx.storage.put("k", value))).slice(0, 10);
    told[`${name} ${kind} thrown`] = (await failure(() => to.run(() => { throw value; }))).slice(0, 7);
  }
}
return told;"#,
    ));
    let told = refused.as_object().expect("an object");
    assert_eq!(told.len(), 63);
    for (kind, outcome) in told {
        if !kind.ends_with("thrown") {
            assert_eq!(
                outcome.as_str().map(|text| &text[..10]),
                Some("RangeError"),
                "{kind}: {outcome}"
            );
        }
    }
    house.assert_unharmed();
}

#[test]
fn odd_sizes_cost_what_they_hold() {
    let house = House::new();
    let told = house.ok(&with_self(
        r#"
const huge = new Array(2 ** 32 - 1); huge[5] = () => 1; huge[2 ** 32 - 3] = 1;
const many = Array.from({ length: 20_000 }, (_, n) => () => n);
const wide = Object.fromEntries(Array.from({ length: 50_000 }, (_, n) => [`k${n}`, n])); wide.f = () => 1;
const same = () => 1; const shared = Array.from({ length: 100_000 }, () => same);
return [await to.run(huge), await to.run(many), await to.run(wide), await to.run(shared)];"#,
    ));
    assert_eq!(told, json!(["object", "object", "object", "object"]));
    house.assert_unharmed();
}

#[test]
fn getters_and_traps_that_misbehave_are_their_owners_trouble() {
    let house = House::new();
    let told = house.ok(&with_self(
        r#"
const told = [];
const evil = [
  { get a() { throw new RangeError("a"); }, f: () => 1 },
  { get a() { delete this.b; return 1; }, b: () => 1, f: () => 1 },
  { get a() { this[`x${Math.random()}`] = () => 1; return 1; }, f: () => 1 },
  { get a() { return { get a() { throw null; }, f: () => 1 }; } },
  { get a() { return () => 1; } },
  Object.defineProperty(new Error("x"), "name", { get() { throw new RangeError("name"); } }),
  new Proxy(() => 1, { getPrototypeOf() { throw new RangeError("proto"); }, get() { throw new RangeError("get"); } }),
  new Proxy({}, { getPrototypeOf() { throw new RangeError("proto"); } }),
  Object.create(new Proxy({}, { getPrototypeOf() { throw new RangeError("proto"); }, get() { throw new RangeError("get"); } })),
  (() => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy; })(),
  (() => { const { proxy, revoke } = Proxy.revocable(() => 1, {}); revoke(); return proxy; })(),
  Object.setPrototypeOf(new Error("x"), null), Object.setPrototypeOf(new Map(), null), Object.setPrototypeOf([() => 1], null),
  new Map([[{ get a() { throw new RangeError("key"); } }, () => 1]]),
  Object.defineProperty(new Error("x"), "message", { get() { throw new RangeError("message"); } }),
  Object.defineProperty(new Error("x"), "name", { value: { toString() { throw new RangeError("toString"); } } }),
  { toString() { throw new RangeError("toString"); }, get retryable() { throw new RangeError("retryable"); } },
];
for (const value of evil) {
  const outcomes = [];
  for (const attempt of [() => to.run(value), () => to.run([value, () => 1]), () => to.run({ e: Object.assign(new Error("x"), { value }) }), () => { throw value; }]) outcomes.push(await Promise.race([failure(attempt).catch(() => "odd"), scheduler.wait(5000).then(() => "hangs")]));
  told.push(outcomes);
}
return told;"#,
    ));
    assert!(!told.to_string().contains("hangs"), "{told}");
    assert!(!told.to_string().contains("internal error"), "{told}");
    // Thrown to the supervisor, which gets an error in any case.
    for thrown in [
        "throw Proxy.revocable({}, {}).proxy;",
        "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy;",
        "const { proxy, revoke } = Proxy.revocable(() => 1, {}); revoke(); throw proxy;",
        "throw Object.create(null);",
        "throw { toString() { throw 1; }, f: () => 1 };",
        "throw Object.setPrototypeOf(new Error('x'), new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } }));",
        "const e = new Error('x'); e.e = e; e.list = [e, new Map([[e, e]])]; throw e;",
        "let e; for (let i = 0; i < 50_000; i++) e = new Error('x', { cause: e }); throw e;",
    ] {
        let outcome = house.post(
            "/facet",
            &json!({ "facet": house.new_name(), "body": thrown }),
        );
        assert!(outcome["error"].is_object(), "{thrown}: {outcome}");
        assert_ne!(
            outcome["error"]["message"],
            json!("internal error"),
            "{thrown}: {outcome}"
        );
    }
    house.assert_unharmed();
}

#[test]
fn tampered_built_ins_do_not_confuse_what_crosses() {
    let house = House::new();
    let told = house.ok(&with_self(
        r#"
const kept = [];
const put = (holder, name, make) => { const base = holder[name]; holder[name] = make(base); kept[kept.length] = () => { holder[name] = base; }; };
const undo = () => { for (let i = kept.length - 1; i >= 0; i--) kept[i](); kept.length = 0; };
const value = () => ({ list: [1, () => 1, , 3], map: new Map([["k", () => 1]]), set: new Set([() => 1]), error: Object.assign(new TypeError("t"), { f: () => 1 }) });
const told = [];
const attempt = async () => { let said; try { said = await to.run(value()); } catch (error) { said = `${error?.name}: ${error?.message}`; } undo(); Object.defineProperty(told, told.length, { value: said, enumerable: true }); };
put(Map.prototype, "forEach", () => () => { throw new Error("mine"); }); put(Set.prototype, "forEach", () => () => {}); await attempt();
put(Map.prototype, Symbol.iterator, () => () => { throw new Error("mine"); }); put(Set.prototype, "has", () => () => true); put(Map.prototype, "set", () => () => {}); await attempt();
put(Array.prototype, Symbol.iterator, () => () => { throw new Error("mine"); }); put(Array.prototype, "push", () => () => {}); put(Array.prototype, "pop", () => () => {}); await attempt();
put(Object, "keys", () => () => []); put(Reflect, "ownKeys", () => () => []); put(Object, "getPrototypeOf", () => () => null); put(Array, "isArray", () => () => false); await attempt();
kept[kept.length] = () => { delete Array.prototype[0]; }; Object.defineProperty(Array.prototype, "0", { configurable: true, set() { throw new Error("mine"); }, get() { return () => 1; } }); await attempt();
Object.defineProperty(Object.prototype, "value", { configurable: true, get() { return "polluted"; } }); Object.defineProperty(Object.prototype, "dom", { configurable: true, value: ["a", "b"] });
Object.defineProperty(Object.prototype, "own", { configurable: true, value: { x: 1 } }); kept[kept.length] = () => { delete Object.prototype.value; delete Object.prototype.dom; delete Object.prototype.own; };
let polluted; try { await to.run(() => { throw new RangeError("real"); }); await failure(() => { throw 1; }); polluted = await to.run(value()); } catch (error) { polluted = `${error.name}`; } undo();
return [told, polluted, await to.run(value())];"#,
    ));
    // Code that breaks its own built-ins breaks its own calls, at most, and as long as they are broken.
    let calls = told[0].as_array().expect("a list");
    assert_eq!((calls.len(), &calls[0]), (5, &json!("object")), "{told}");
    assert!(told[1].is_string(), "{told}");
    assert_eq!(told[2], json!("object"), "{told}");
    assert!(!told.to_string().contains("internal error"), "{told}");
    house.assert_unharmed();
}
