// Functions, RpcTargets and stubs as arguments and results.
import { DurableObject, RpcStub, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, thrown, wait } from "./probe.js";

class Counter extends RpcTarget {
  constructor(n = 0) { super(); this.n = n; }
  inc() { return ++this.n; }
  get value() { return this.n; }
  same(other) { return other === this; }
}
class WithProps extends RpcTarget { own = 1; get got() { return 2; } static st() {} }
const methods = (Base) => class extends Base {
  call(fn, ...args) { return fn(...args); }
  callTwice(fn) { return Promise.all([fn(1), fn(2)]); }
  async callLater(fn) { await wait(5); return fn("later"); }
  useTarget(target) { return target.inc(); }
  useMany({ list, map }) { return Promise.all([list[0](1), map.get("k")(2)]); }
  give() { return (x) => ["given", x]; }
  giveTarget() { return new Counter(10); }
  giveBack(stub) { return stub; }
  giveWithProps() { return new WithProps(); }
  givePlain() { return { n: 1, inc() { return ++this.n; }, get: () => "get" }; }
  kind(x) { return [typeof x, x.constructor.name, Object.prototype.toString.call(x), Object.keys(x)]; }
  callFails(fn) { return fn().catch((e) => [e.name, e.message, e.remote]); }
  pipelineOnArgument(target) { return target.child().name; }
  takeStubFetch(stub) { return stub.fetch("http://x/y").then((r) => r.text()); }
  fetch() { return new Response("fetched"); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {}

const forEach = (s, of) => ({
  [`${of} function argument`]: () => s().call((a, b) => [a, b], 1, "two"),
  [`${of} async function argument`]: () => s().call(async (a) => { await wait(2); return a; }, 1),
  [`${of} function called twice`]: () => s().callTwice((x) => x * 10),
  [`${of} function called later`]: () => s().callLater((x) => x),
  [`${of} function throws`]: () => s().callFails(() => { throw new RangeError("callback"); }),
  [`${of} function in collections`]: () => s().useMany({ list: [(x) => ["l", x]], map: new Map([["k", (x) => ["m", x]]]) }),
  [`${of} target argument`]: async () => { const c = new Counter(); const r = await s().useTarget(c); return [r, c.n]; },
  [`${of} returned function`]: async () => { const f = await s().give(); return [await f(1), await f(2)]; },
  [`${of} returned target`]: async () => { const t = await s().giveTarget(); return [await t.inc(), await t.inc(), await t.value]; },
  [`${of} stub identity`]: async () => { const t = await s().giveTarget(); return t.same(t); },
  [`${of} argument given back`]: async () => { const f = (x) => ["mine", x]; const back = await s().giveBack(f); return [back === f, typeof back, await back(1)]; },
  [`${of} target given back`]: async () => { const c = new Counter(5); const back = await s().giveBack(c); return [back === c, await back.inc(), c.n]; },
  [`${of} target own field`]: async () => caught(async () => (await s().giveWithProps()).own),
  [`${of} target getter`]: async () => (await s().giveWithProps()).got,
  [`${of} plain with methods`]: async () => { const p = await s().givePlain(); return [p.n, await p.get(), typeof p.inc, typeof p[Symbol.dispose]]; },
  [`${of} function kind`]: () => s().kind(() => 1),
  [`${of} target kind`]: () => s().kind(new Counter()),
  [`${of} rpc stub kind`]: () => s().kind(new RpcStub(new Counter())),
  [`${of} object stub kind`]: (env) => s().kind(env.OBJ.getByName("k")),
  [`${of} object stub fetch`]: (env) => s().takeStubFetch(env.OBJ.getByName("k")),
  [`${of} pipeline on argument`]: () => s().pipelineOnArgument(new (class extends RpcTarget { child() { return { name: "child" }; } })()),
});
const probes = (env, ctx) => ({
  ...forEach(() => ctx.exports.Entry, "entry"),
  ...forEach(() => env.OBJ.getByName("f"), "object"),
  stubShape: async () => { const t = await ctx.exports.Entry.giveTarget(); return [typeof t, t.constructor.name, Object.prototype.toString.call(t), t instanceof RpcStub, Object.keys(t), typeof t.whatever, "whatever" in t]; },
  stubSetLocal: async () => { const t = await ctx.exports.Entry.giveTarget(); t.mine = 5; return [t.mine, await t.inc()]; },
  localStub: async () => { const s = new RpcStub(new Counter(1)); const p = s.inc(); return [typeof p.then, await p, await s.value]; },
  localStubOfFunction: async () => new RpcStub((x) => x + 1)(1),
  localStubOfPlain: async () => { const s = new RpcStub({ n: 4, f: () => "f" }); return [await s.n, await s.f()]; },
  targetStringThrows: () => thrown(() => `${ctx.exports.Entry}`),
  callNonFunction: async () => caught(async () => (await ctx.exports.Entry.giveTarget())()),
});
export default { fetch: (request, env, ctx) => { const all = probes(env, ctx); return answer(Object.fromEntries(Object.entries(all).map(([k, f]) => [k, () => f(env)]))); } };
