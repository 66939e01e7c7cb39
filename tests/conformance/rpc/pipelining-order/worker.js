// What a pipelined call sees: before and after the answer, on results of every kind, and in which order.
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

let log = [];
let open = () => {};
class Counter extends RpcTarget {
  #n = 0;
  inc(by = 1) { log.push(`inc ${by}`); return (this.#n += by); }
  child() { log.push("child"); return new Counter(); }
  fails() { throw new RangeError("counter"); }
  get value() { return this.#n; }
  plain() { return { deep: { fn: (x) => x + 1 } }; }
}
const VALUES = {
  number: () => 5, string: () => "text", undef: () => undefined, nul: () => null, bool: () => true, array: () => [1, { x: 2 }, (y) => y], map: () => new Map([["k", 1]]), date: () => new Date(0),
  plain: () => ({ a: { b: 1 }, fn: (x) => x * 2, n: null }), target: () => new Counter(), fn: () => (a) => [a], error: () => Object.assign(new Error("value"), { code: 3 }), bytes: () => new Uint8Array([1, 2]),
  nested: () => ({ list: [new Counter(), { counter: new Counter() }] }), big: () => 5n, response: () => new Response("body"), stream: () => new Response("body").body, headers: () => new Headers({ a: "b" }),
};
const methods = (Base) => class extends Base {
  give(kind) { return VALUES[kind](); }
  async late(kind) { await wait(5); return VALUES[kind](); }
  fails() { throw new TypeError("first"); }
  async failsLate() { await wait(5); throw new TypeError("late"); }
  note(x) { log.push(x); return x; }
  async hold() { log.push("held"); await new Promise((resolve) => (open = resolve)); return new Counter(); }
  open() { log.push("open"); open(); }
  other(name) { return this.env.OBJ.getByName(name); }
  counterOf(name) { return this.env.OBJ.getByName(name).give("target"); }
  giveBack(x) { return x; }
  unserialisable() { return { bad: Symbol("x") }; }
  hasUnserialisable() { return { good: new Counter(), bad: class {} , worse: Symbol("x") }; }
  mixed() { return { counter: new Counter(), sub: { mine: this.env.OBJ.getByName("mine") } }; }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {}

/** The same on a call without an answer yet (at once, slow) and with one. */
const three = async (s, kind, use) => [
  await caught(() => use(s().give(kind))),
  await caught(() => use(s().late(kind))),
  await caught(async () => { const p = s().give(kind); await p; return use(p); }),
];
const USES = { call: (p) => p(1), method: (p) => p.foo(1), get: (p) => p.foo, deep: (p) => p.foo.bar, deepCall: (p) => p.foo.bar(1) };
const forEach = (s, of) => {
  const probes = {};
  for (const kind of Object.keys(VALUES)) {
    for (const use of Object.keys(USES)) probes[`${of} ${kind} ${use}`] = () => three(s, kind, USES[use]);
  }
  return {
    ...probes,
    [`${of} array item`]: () => three(s, "array", (p) => p[1]),
    [`${of} array item member`]: () => three(s, "array", (p) => p["1"]?.x),
    [`${of} array length`]: () => three(s, "array", (p) => p.length),
    [`${of} array method`]: () => three(s, "array", (p) => p.push(1)),
    [`${of} string length`]: () => three(s, "string", (p) => p.length),
    [`${of} null member`]: () => three(s, "plain", (p) => p.n.x),
    [`${of} member of a value`]: () => three(s, "plain", (p) => p.a.b.c),
    [`${of} inherited`]: () => three(s, "plain", (p) => p.a.hasOwnProperty("b")),
    [`${of} call of plain`]: () => three(s, "plain", (p) => p.a()),
    [`${of} target getter`]: () => three(s, "target", (p) => p.value),
    [`${of} target getter call`]: () => three(s, "target", (p) => p.value()),
    [`${of} plain of target`]: () => three(s, "target", (p) => p.plain().deep.fn(1)),
    [`${of} method as property`]: async () => { const f = await s().give("target").inc; return [typeof f, await caught(() => f(2))]; },
    [`${of} fails`]: async () => { const p = s().fails(); return [await caught(() => p.x()), await caught(() => p.x.y), await caught(() => p), await caught(() => p.x())]; },
    [`${of} fails late`]: async () => { const p = s().failsLate(); const q = p.a().b(); return [await caught(() => q), await caught(() => p.x), await caught(() => p)]; },
    [`${of} error in the middle of a chain`]: () => caught(() => s().give("target").fails().a().b.c()),
    [`${of} unserialisable`]: async () => { const p = s().unserialisable(); return [await caught(() => p.bad), await caught(() => p.other), await caught(() => p)]; },
    [`${of} partly unserialisable`]: async () => { const p = s().hasUnserialisable(); return [await caught(() => p.good.inc()), await caught(() => p)]; },
    [`${of} bad pipelined argument`]: async () => { const p = s().give("target"); return [await caught(() => p.inc(Symbol("x"))), await p.inc(1)]; },
    [`${of} function as pipelined argument`]: async () => { let got; const p = s().giveBack({ f: (x) => (got = x) }); await p.f("called"); return got; },
    [`${of} stub of a further hop`]: () => caught(() => s().other("far").give("target").inc(4)),
    [`${of} counter of a further hop`]: () => s().counterOf("far").inc(5),
    [`${of} own argument`]: async () => { let n = 0; const r = await s().giveBack(() => ++n)(); return [r, n]; },
    [`${of} own argument's method`]: () => caught(() => s().giveBack(new Counter()).inc(3)),
    [`${of} stub among data`]: () => caught(() => s().mixed().sub.mine.note("through")),
    [`${of} order before the answer`]: async () => {
      log = [];
      const p = s().hold();
      const calls = [p.inc(1), p.child().inc(2), p.inc(3), s().note("note")];
      await s().open();
      await Promise.all(calls);
      return log;
    },
    [`${of} order across the answer`]: async () => {
      log = [];
      const p = s().give("target");
      const calls = [p.inc(1), p.inc(2)];
      const c = await p;
      calls.push(c.inc(3), p.inc(4), c.inc(5));
      return [await Promise.all(calls), log];
    },
    [`${of} only the last is awaited`]: async () => { log = []; return [await s().give("target").child().child().inc(7), log]; },
  };
};
const probes = (env, ctx) => ({
  ...forEach(() => ctx.exports.Entry, "entry"),
  ...forEach(() => env.OBJ.getByName("p"), "object"),
});
export default { fetch: (request, env, ctx) => answer(probes(env, ctx)) };
