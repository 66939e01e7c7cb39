// RpcPromise and RpcProperty: calls and gets on results that are not there yet.
import { DurableObject, RpcPromise, RpcProperty, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, thrown, wait } from "./probe.js";

class Counter extends RpcTarget {
  #n = 0;
  inc(by = 1) { return (this.#n += by); }
  child() { return new Counter(); }
  self() { return this; }
  get value() { return this.#n; }
  fails() { throw new RangeError("counter"); }
}
const seen = [];
const methods = (Base) => class extends Base {
  counter() { return new Counter(); }
  async slowCounter() { await wait(10); return new Counter(); }
  object() { return { a: { b: { c: 5 } }, list: [1, { x: 2 }], fn: (x) => x * 2, counter: new Counter() }; }
  fails() { throw new TypeError("no counter"); }
  number() { return 5; }
  nul() { return null; }
  fn() { return (a, b) => a + b; }
  curried() { return (a) => (b) => (c) => [a, b, c]; }
  map() { return new Map([["k", 1]]); }
  note(x) { seen.push(x); return x; }
  seen() { return seen.splice(0); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {}

const forEach = (s, of) => ({
  [`${of} call on result`]: () => s().counter().inc(2),
  [`${of} call on slow result`]: () => s().slowCounter().inc(2),
  [`${of} two levels`]: () => s().counter().child().inc(3),
  [`${of} get on result`]: () => s().counter().value,
  [`${of} path`]: () => s().object().a.b.c,
  [`${of} list index`]: () => caught(() => s().object().list[1].x),
  [`${of} function in object`]: () => s().object().fn(4),
  [`${of} target in object`]: () => s().object().counter.inc(),
  [`${of} call returned function`]: () => s().fn()(1, 2),
  [`${of} curried`]: () => s().curried()(1)(2)(3),
  [`${of} error`]: () => caught(() => s().fails().inc()),
  [`${of} error in the middle`]: () => caught(() => s().counter().fails().inc()),
  [`${of} on number`]: () => caught(() => s().number().foo()),
  [`${of} on null`]: () => caught(() => s().nul().foo()),
  [`${of} missing`]: () => caught(() => s().counter().nope()),
  [`${of} missing path`]: () => caught(() => s().object().x.y),
  [`${of} same promise twice`]: async () => { const c = s().counter(); return Promise.all([c.inc(), c.inc(), c.inc(5)]); },
  [`${of} returned this`]: async () => { const c = s().counter(); await c.inc(); return c.self().inc(); },
  [`${of} on map`]: () => caught(() => s().map().get("k")),
});
const probes = (env, ctx) => ({
  ...forEach(() => ctx.exports.Entry, "entry"),
  ...forEach(() => env.OBJ.getByName("p"), "object"),
  promiseShape: async () => { const p = ctx.exports.Entry.number(); const shape = [typeof p, p instanceof Promise, p instanceof RpcPromise, p.constructor.name, Object.prototype.toString.call(p), typeof p.then, typeof p.catch, typeof p.finally]; await p; return shape; },
  propertyShape: () => { const p = ctx.exports.Entry({ props: {} }).anything; return [typeof p, p instanceof RpcProperty, p instanceof Promise, p.constructor.name, Object.prototype.toString.call(p)]; },
  promiseThen: async () => new Promise((resolve) => ctx.exports.Entry.number().then((x) => resolve(["then", x]))),
  promiseCatch: async () => new Promise((resolve) => ctx.exports.Entry.fails().catch((e) => resolve(["catch", e.message]))),
  promiseFinally: async () => { let ran = false; await ctx.exports.Entry.number().finally(() => (ran = true)); return ran; },
  awaitTwice: async () => { const p = ctx.exports.Entry.number(); return [await p, await p]; },
  promiseAsArgument: () => caught(() => ctx.exports.Entry.note(ctx.exports.Entry.number())),
  propertyAsArgument: () => caught(() => ctx.exports.Entry.note(ctx.exports.Entry({ props: {} }).anything)),
  propertyNotFetched: async () => { const s = env.OBJ.getByName("lazy"); s.nothingHappens; return s.number(); },
  notAwaited: async () => { const s = env.OBJ.getByName("seen"); await s.seen(); s.note("fire"); await wait(20); return s.seen(); },
  orderOnOneStub: async () => { const s = env.OBJ.getByName("seen"); await s.seen(); await Promise.all([s.note(1), s.note(2), s.note(3), s.note(4)]); return s.seen(); },
  pathTooDeep: () => caught(() => { let p = ctx.exports.Entry.object(); for (let i = 0; i < 300; i++) p = p.a; return p; }),
});
export default { fetch: (request, env, ctx) => answer(probes(env, ctx)) };
