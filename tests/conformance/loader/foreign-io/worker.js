// Facets and requests of one loaded worker share its isolate, and nothing that does I/O.
import { DurableObject } from "cloudflare:workers";
import { answer } from "./probe.js";

const LOADED = `
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
const kept = {};
const short = (error) => [error.message.split(". ")[0], /\\(I\\/O type: (.*)\\)/.exec(error.message)?.[1]];
const told = async (run) => { try { return await run() ?? null; } catch (error) { return short(error); } };
const fixed = () => { const s = new FixedLengthStream(4); const w = s.writable.getWriter(); w.write(new TextEncoder().encode("four")).catch(() => {}); return s.readable; };
const make = async (self) => {
  const { ctx, env } = self;
  return {
    response: new Response("x"), fixed: fixed(), inflate: new DecompressionStream("gzip").writable, inflated: new DecompressionStream("gzip").readable,
    sink: await env.PARENT.sink(), given: await env.PARENT.given(), service: await env.PARENT.service(), carried: await env.PARENT.carried(), text: await env.PARENT.text(),
    bound: env.PARENT, mine: ctx.exports.Entry({ props: {} }), storage: ctx.storage, facets: ctx.facets, signal: AbortSignal.timeout(100000),
  };
};
const uses = {
  response: (k) => k.response.text(),
  fixed: async (k) => (await k.fixed.getReader().read()).value.byteLength,
  inflate: (k) => k.inflate.getWriter().abort("enough").then(() => "aborted"),
  inflated: (k) => k.inflated.cancel(),
  sink: async (k) => { const w = k.sink.getWriter(); await w.write(new Uint8Array([1])); return "written"; },
  given: (k) => k.given(),
  service: (k) => k.service.hi(),
  carried: (k) => k.carried.inner.deep(),
  text: (k) => k.text.text(),
  bound: (k) => k.bound.hi(),
  mine: (k) => k.mine.hi(),
  storage: (k) => k.storage === undefined ? "none" : k.storage.sql.exec("SELECT 1 AS one").one().one,
  facets: (k) => k.facets === undefined ? "none" : typeof k.facets.get("x", () => ({})),
  signal: (k) => k.signal.aborted,
};
const use = async (where) => { const answers = {}; for (const [name, run] of Object.entries(uses)) answers[name] = await told(() => run(kept[where])); return answers; };
export class App extends DurableObject {
  async keep(where) { kept[where] = await make(this); }
  use(where) { return use(where); }
}
export class Entry extends WorkerEntrypoint {
  hi() { return "hi"; }
  async keep(where) { kept[where] = await make(this); }
  use(where) { return use(where); }
}
export default Entry;
`;
import { WorkerEntrypoint } from "cloudflare:workers";
export class Parent extends WorkerEntrypoint {
  hi() { return "hi"; }
  sink() { return new WritableStream({ write() {} }); }
  given() { return () => "called"; }
  service() { return this.ctx.exports.Parent({ props: {} }); }
  carried() { return { inner: { deep: () => "deep" } }; }
  text() { return new Response("from the parent"); }
}
export class Runner extends DurableObject {
  app(name) {
    return this.ctx.facets.get(name, () => ({ class: this.loaded().getDurableObjectClass("App") }));
  }
  loaded() {
    return this.env.LOADER.get("app", () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": LOADED }, env: { PARENT: this.ctx.exports.Parent({ props: {} }) } }));
  }
  async sameFacet() { await this.app("a").keep("same"); return this.app("a").use("same"); }
  async otherFacet() { await this.app("a").keep("other"); return this.app("b").use("other"); }
  async facetOfRequest() { await this.loaded().getEntrypoint().keep("request"); return this.app("b").use("request"); }
  async requestOfFacet() { await this.app("a").keep("facet"); return this.loaded().getEntrypoint().use("facet"); }
  async otherRequest() { await this.loaded().getEntrypoint().keep("requests"); return this.loaded().getEntrypoint().use("requests"); }
}
const probes = Object.fromEntries(["sameFacet", "otherFacet", "facetOfRequest", "requestOfFacet", "otherRequest"].map((name) => [name, (env) => env.RUNNER.getByName("r")[name]()]));
export default { fetch: (request, env) => answer(probes, env) };
