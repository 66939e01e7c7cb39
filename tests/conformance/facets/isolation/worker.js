// Loaded facets: what they share with the parent and each other, and what they cannot.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

export class Child extends DurableObject {
  hit() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
  n() { return this.ctx.storage.kv.get("n") ?? 0; }
  memory() { return (this.m = (this.m ?? 0) + 1); }
  props() { return this.ctx.props; }
  id() { return [typeof this.ctx.id, typeof this.ctx.id === "string" ? this.ctx.id : String(this.ctx.id), this.ctx.id.name ?? null]; }
  which() { return "Child"; }
  hang() { return wait(10_000); }
  fails() { throw new RangeError("child"); }
  abortSelf(reason) { this.ctx.abort(reason); }
  nested(name, method = "hit") { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.Child }))[method](); }
  async deep(names) { return names.length ? this.ctx.facets.get(names[0], () => ({ class: this.ctx.exports.Child })).deep(names.slice(1)) : this.hit(); }
  fetch(request) { return new Response(`child ${request.method} ${new URL(request.url).pathname}`); }
}
export class Twin extends DurableObject { which() { return "Twin"; } n() { return this.ctx.storage.kv.get("n") ?? 0; } }
export class Other extends DurableObject { take(x) { return typeof x; } ok() { return "ok"; } }
const child = (ctx, more = {}) => () => ({ class: ctx.exports.Child, ...more });
const CODE = (id) => `
  import { DurableObject } from "cloudflare:workers";
  let counter = 0;
  export class App extends DurableObject {
    global() { return ++counter; }
    pollute() { Object.prototype.polluted = ${JSON.stringify(id)}; globalThis.secret = ${JSON.stringify(id)}; return "done"; }
    look() { return [({}).polluted ?? null, globalThis.secret ?? null]; }
    tables() { return this.ctx.storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\\\_cf%' ESCAPE '\\\\'").toArray().map((r) => r.name); }
    create(name) { this.ctx.storage.sql.exec("CREATE TABLE " + name + " (a)"); return this.tables(); }
    callBack(fn) { return fn("from facet"); }
    giveFunction() { return (x) => [x, ++counter]; }
    async stream() { return new Response("streamed from facet").body; }
    read(stream) { return new Response(stream).text(); }
    env_() { return this.env; }
    async outbound() { try { return (await fetch("http://example.invalid/")).status; } catch (e) { return e.message.slice(0, 60); } }
    useStub() { return this.env.stub.ok(); }
    async bcwFails() { await this.ctx.blockConcurrencyWhile(() => { throw new RangeError("facet bcw"); }); }
    async alarmState() { return [await this.ctx.storage.getAlarm(), await this.ctx.storage.deleteAlarm() ?? null]; }
    async transaction() { await this.ctx.storage.transaction(async () => { this.ctx.storage.kv.put("t", 1); throw 1; }).catch(() => {}); return this.ctx.storage.kv.get("t") ?? null; }
    put(v) { this.ctx.storage.kv.put("v", v); }
    get() { return this.ctx.storage.kv.get("v") ?? null; }
    putThenAbort() { this.ctx.storage.kv.put("v", "lost"); this.ctx.abort("facet abort"); }
    badCommit() { this.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS p (id INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (1)"); return "held"; }
    keep(target) { this.kept = target; return "kept"; }
    useKept() { return this.kept.ok(); }
    propsStub() { return this.ctx.props.stub.ok(); }
  }`;
const load = (o, id, env) => o.env.LOADER.load({ compatibilityDate: "2026-09-01", mainModule: "app.js", modules: { "app.js": CODE(id) }, globalOutbound: null, ...(env && { env }) });
const facet = (ctx, o, name, env, props) => ctx.facets.get(name, () => ({ class: load(o, name, env).getDurableObjectClass("App", props && { props }) }));
export class Service extends WorkerEntrypoint { ok() { return ["service", this.ctx.props]; } }
const probes = {
  globalsAreSeparate: async (ctx, o) => { await facet(ctx, o, "a").pollute(); return [await facet(ctx, o, "a").look(), await facet(ctx, o, "b").look(), ({}).polluted ?? null]; },
  storageIsSeparate: async (ctx, o) => { ctx.storage.sql.exec("CREATE TABLE parent (a)"); return [await facet(ctx, o, "a").create("mine"), await facet(ctx, o, "b").tables()]; },
  sharedIsolateOfOneWorker: async (ctx, o) => { const w = load(o, "x"); const get = (n) => ctx.facets.get(n, () => ({ class: w.getDurableObjectClass("App") })); return [await get("a").global(), await get("b").global(), await get("a").global()]; },
  callback: async (ctx, o) => { let seen; const r = await facet(ctx, o, "a").callBack((x) => { seen = x; return "parent answered"; }); return [r, seen]; },
  callbackReadsParentStorage: async (ctx, o) => { ctx.storage.kv.put("p", 1); return facet(ctx, o, "a").callBack(() => ctx.storage.kv.get("p")); },
  functionResult: async (ctx, o) => { const f = await facet(ctx, o, "a").giveFunction(); return [await f("x"), await f("y")]; },
  functionDiesWithFacet: async (ctx, o) => { const f = await facet(ctx, o, "a").giveFunction(); ctx.facets.abort("a", "gone"); return caught(() => f(1)); },
  streams: async (ctx, o) => [await new Response(await facet(ctx, o, "a").stream()).text(), await facet(ctx, o, "a").read(new Response("to facet").body)],
  env: (ctx, o) => facet(ctx, o, "a", { text: "t", n: 1 }).env_(),
  envStub: (ctx, o) => facet(ctx, o, "a", { stub: ctx.exports.Service({ props: { p: 1 } }) }).useStub(),
  propsStub: (ctx, o) => facet(ctx, o, "a", undefined, { stub: ctx.exports.Service({ props: { via: "props" } }) }).propsStub(),
  noOutbound: (ctx, o) => facet(ctx, o, "a").outbound(),
  bcwFailure: async (ctx, o) => { const f = facet(ctx, o, "a"); await f.put(1); return [await caught(() => f.bcwFails()), await caught(() => f.get()), await facet(ctx, o, "a").get()]; },
  badCommit: async (ctx, o) => { const f = facet(ctx, o, "a"); return [await caught(() => f.badCommit()), await facet(ctx, o, "a").tables()]; },
  abortRollsBack: async (ctx, o) => { await facet(ctx, o, "a").put("kept"); const e = await caught(() => facet(ctx, o, "a").putThenAbort()); return [e, await facet(ctx, o, "a").get()]; },
  alarmState: (ctx, o) => facet(ctx, o, "a").alarmState(),
  transaction: (ctx, o) => facet(ctx, o, "a").transaction(),
  sendFacetStub: (ctx, o) => caught(() => o.env.OTHER.getByName("x").take(facet(ctx, o, "a"))),
  storeFacetStub: (ctx, o) => caught(() => ctx.storage.put("k", facet(ctx, o, "a"))),
  facetStubInEnv: (ctx, o) => caught(() => facet(ctx, o, "b", { f: facet(ctx, o, "a") }).global()),
  facetStubInProps: (ctx, o) => caught(() => facet(ctx, o, "b", undefined, { f: facet(ctx, o, "a") }).global()),
  facetStubToFacet: (ctx, o) => caught(() => facet(ctx, o, "b").keep(facet(ctx, o, "a"))),
  keepStub: async (ctx, o) => { const f = facet(ctx, o, "a"); await f.keep(o.env.OTHER.getByName("x")); return caught(() => f.useKept()); },
  storeLoadedClass: (ctx, o) => caught(() => ctx.storage.put("k", load(o, "x").getDurableObjectClass("App"))),
};

export class Parent extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.PARENT, probes) };
