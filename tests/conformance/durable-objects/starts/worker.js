// Constructors that fail, wait or call back, ids of other namespaces, and stubs over the end of a life.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

let constructed = 0;
const kinds = {
  throws: () => { throw new TypeError("no"); },
  throwsString: () => { throw "text"; },
  throwsUndefined: () => { throw undefined; },
  throwsObject: () => { throw { a: 1 }; },
  aborts: (o) => o.ctx.abort("from the constructor"),
  sectionThrows: (o) => { o.ctx.blockConcurrencyWhile(async () => { throw new RangeError("section"); }); },
  sectionThrowsLater: (o) => { o.ctx.blockConcurrencyWhile(async () => { await wait(10); throw new RangeError("later"); }); },
  sectionThrowsSync: (o) => { o.ctx.blockConcurrencyWhile(() => { throw new RangeError("sync"); }); },
  sectionCallsOther: (o) => { o.ctx.blockConcurrencyWhile(async () => { o.seen = await o.env.FINE.getByName("x").who(); }); },
  twoSections: (o) => {
    o.seen = [];
    o.ctx.blockConcurrencyWhile(async () => { await wait(10); o.seen.push(1); });
    o.ctx.blockConcurrencyWhile(async () => { o.seen.push(2); });
  },
  writes: (o) => { o.ctx.storage.kv.put("k", "constructor"); },
  writesAndThrows: (o) => { o.ctx.storage.kv.put("k", "lost"); throw new Error("after put"); },
  waitsUntil: (o) => { o.ctx.waitUntil(Promise.reject(new Error("ignored"))); },
  unhandled: () => { Promise.reject(new Error("nobody looks")); },
  readsName: (o) => { o.seen = o.ctx.id.name; },
  fetches: (o) => { o.seen = caught(() => o.env.FINE.getByName("y").who()); },
};
export class Obj extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    constructed++;
    if (!ctx.storage.kv.get("tame")) kinds[ctx.id.name]?.(this);
  }
  who() { return [this.ctx.id.name ?? null, this.seen instanceof Promise ? "promise" : this.seen ?? null]; }
  later() { return this.seen; }
  k() { return this.ctx.storage.kv.get("k") ?? null; }
  abort(reason) { this.ctx.abort(reason); }
  fetch() { return new Response("fetched"); }
  sectionOfNothing() { return this.ctx.blockConcurrencyWhile(); }
  sectionOfNumber() { return this.ctx.blockConcurrencyWhile(5); }
  async sectionResult() { const p = this.ctx.blockConcurrencyWhile(async () => 7); return [p instanceof Promise, await p]; }
  async siblings() {
    const seen = [];
    await Promise.all([1, 2, 3].map((n) => this.ctx.blockConcurrencyWhile(async () => { seen.push(`${n} in`); await wait(4 - n); seen.push(`${n} out`); })));
    return seen;
  }
  async afterSection() {
    const seen = [];
    const section = this.ctx.blockConcurrencyWhile(async () => { seen.push("section"); });
    seen.push("after the call");
    await section;
    return seen;
  }
}
export class Fine extends DurableObject { who() { return ["fine", this.ctx.id.name]; } }

const twice = async (env, name) => {
  const stub = env.OBJ.getByName(name);
  const before = constructed;
  const first = await caught(() => stub.who());
  const second = await caught(() => stub.who());
  const fresh = await caught(() => env.OBJ.getByName(name).who());
  return { first, second, fresh, constructed: constructed - before };
};
const probes = Object.fromEntries(Object.keys(kinds).map((name) => [name, (env) => twice(env, name)]));
Object.assign(probes, {
  throwsOverFetch: (env) => caught(() => env.OBJ.getByName("throws").fetch("http://o/").then((r) => r.text())),
  sectionOverFetch: (env) => caught(() => env.OBJ.getByName("sectionThrowsLater").fetch("http://o/").then((r) => r.text())),
  queuedWhileStarting: (env) => { const s = env.OBJ.getByName("sectionThrowsLater"); return Promise.all([1, 2, 3].map(() => caught(() => s.who()))); },
  queuedOnManyStubs: (env) => Promise.all([1, 2, 3].map(() => caught(() => env.OBJ.getByName("sectionThrowsLater").who()))),
  written: (env) => env.OBJ.getByName("writes").k(),
  calledFromConstructor: (env) => env.OBJ.getByName("fetches").later(),
  noCallback: (env) => caught(() => env.OBJ.getByName("a").sectionOfNothing()),
  numberCallback: (env) => caught(() => env.OBJ.getByName("b").sectionOfNumber()),
  sectionResult: (env) => env.OBJ.getByName("c").sectionResult(),
  siblings: (env) => env.OBJ.getByName("d").siblings(),
  afterSection: (env) => env.OBJ.getByName("e").afterSection(),
  abortEmptyReason: (env) => caught(() => env.OBJ.getByName("f").abort("")),
  abortNull: (env) => caught(() => env.OBJ.getByName("g").abort(null)),
  abortFalse: (env) => caught(() => env.OBJ.getByName("h").abort(false)),
  abortThenFetchOldStub: async (env) => { const s = env.OBJ.getByName("i"); await caught(() => s.abort("gone")); return [await caught(() => s.fetch("http://o/")), await env.OBJ.getByName("i").fetch("http://o/").then((r) => r.text())]; },
  abortLeavesUnusedStubs: async (env) => { const unused = env.OBJ.getByName("j"); await caught(() => env.OBJ.getByName("j").abort("gone")); return unused.who(); },
  sameStubAfterAbortOfAnother: async (env) => { const [a, b] = [env.OBJ.getByName("k"), env.OBJ.getByName("l")]; await b.who(); await caught(() => a.abort("gone")); return b.who(); },
  nameById: async (env) => { const id = env.OBJ.idFromName("by id"); const s = env.OBJ.get(env.OBJ.idFromString(String(id))); const first = await s.who(); return [first, await env.OBJ.get(id).who(), await s.who()]; },
  foreignIdGet: (env) => { const s = env.OBJ.get(env.FINE.idFromName("foreign")); return [typeof s, s.name]; },
  foreignIdCall: (env) => caught(() => env.OBJ.get(env.FINE.idFromName("foreign")).who()),
  foreignIdFetch: (env) => caught(() => env.OBJ.get(env.FINE.idFromName("foreign")).fetch("http://o/").then((r) => r.text())),
  optionsNull: async (env) => (await env.OBJ.getByName("m", null).who())[0],
  optionsUndefined: async (env) => (await env.OBJ.getByName("m", undefined).who())[0],
  optionsNumber: (env) => caught(async () => (await env.OBJ.getByName("m", 5).who())[0]),
  optionsString: (env) => caught(async () => (await env.OBJ.getByName("m", "x").who())[0]),
  hintNumber: (env) => caught(async () => (await env.OBJ.getByName("m", { locationHint: 5 }).who())[0]),
  hintUnknown: (env) => caught(async () => (await env.OBJ.getByName("m", { locationHint: "moon" }).who())[0]),
  routingModeUndefined: (env) => caught(async () => (await env.OBJ.getByName("m", { routingMode: undefined }).who())[0]),
  routingModeNull: (env) => caught(async () => (await env.OBJ.getByName("m", { routingMode: null }).who())[0]),
  routingModeNumber: (env) => caught(async () => (await env.OBJ.getByName("m", { routingMode: 5 }).who())[0]),
  uniqueNumber: (env) => caught(() => typeof env.OBJ.newUniqueId(5)),
  uniqueNull: (env) => caught(() => typeof env.OBJ.newUniqueId(null)),
  uniqueJurisdictionNull: (env) => caught(() => typeof env.OBJ.newUniqueId({ jurisdiction: null })),
  uniqueJurisdictionOdd: (env) => caught(() => typeof env.OBJ.newUniqueId({ jurisdiction: "moon" })),
  jurisdictionNothing: (env) => caught(() => typeof env.OBJ.jurisdiction()),
  jurisdictionOdd: (env) => caught(() => typeof env.OBJ.jurisdiction("moon")),
  idOfLookalike: (env) => caught(() => env.OBJ.get({ toString: () => String(env.OBJ.idFromName("x")), name: "x" })),
});
export default { fetch: (request, env) => answer(probes, env) };
