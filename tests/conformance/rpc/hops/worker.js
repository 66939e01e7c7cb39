// Errors, pipelining, callbacks and their flags over hops to loaded workers, facets, nested facets and back.
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, failure, wait } from "./probe.js";

const CODE = `
import { DurableObject, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
class Counter extends RpcTarget { #n = 0; inc(by = 1) { return (this.#n += by); } child() { return new Counter(); } fails() { throw new RangeError("counter"); } }
class Custom extends Error { constructor(m) { super(m); this.name = "Custom"; this.code = 7; } }
const methods = (Base) => class extends Base {
  ok() { return "ok"; }
  counter() { return new Counter(); }
  async slow() { await scheduler.wait(3); return new Counter(); }
  object() { return { a: { b: 1 }, fn: (x) => x + 1 }; }
  fails(kind) { if (kind === "custom") throw new Custom("c"); if (kind === "string") throw "text"; if (kind === "plain") throw { a: 1 }; if (kind === "retryable") throw Object.assign(new Error("r"), { retryable: true, overloaded: true, durableObjectReset: true, mine: [1] }); throw new TypeError("t"); }
  call(fn, x) { return fn(x); }
  callTwice(fn) { return Promise.all([fn(1), fn(2)]); }
  hi(stub) { return stub.hi(); }
  counterOf(stub) { return stub.counter(); }
  give(x) { return x; }
  failsIn(fn) { return fn(); }
  async text(stream) { return new Response(stream).text(); }
  async write(stream) { const w = stream.getWriter(); await w.write("written"); await w.close(); return "done"; }
  fetch(request) { if (request.url.endsWith("/fail")) throw new Custom("fetch"); return new Response("fetched"); }
};
export default class extends methods(WorkerEntrypoint) {}
export class App extends methods(DurableObject) {
  abort(reason) { this.ctx.abort(reason); }
  nested() { return this.ctx.facets.get("nested", () => ({ class: this.ctx.exports.Nested })); }
  inNested(method, ...args) { return this.nested()[method](...args); }
  nestedCounter() { return this.nested().counter().child().inc(5); }
}
export class Nested extends methods(DurableObject) {}
`;
class Hi extends RpcTarget { hi() { return "hi"; } counter() { return new Counted(); } }
class Counted extends RpcTarget { #n = 0; inc() { return ++this.#n; } }
const use = (s) => ({
  ok: () => s().ok(),
  pipelined: () => s().counter().child().inc(4),
  pipelinedSlow: () => s().slow().inc(2),
  pipelinedFunction: () => s().object().fn(1),
  pipelinedPath: () => s().object().a.b,
  pipelinedError: () => caught(() => s().fails().x.y()),
  errorInTheMiddle: () => caught(() => s().counter().fails().inc()),
  missing: () => caught(() => s().nope()),
  missingBeyond: () => caught(() => s().counter().nope()),
  typeError: () => caught(() => s().fails()),
  custom: () => caught(() => s().fails("custom")),
  string: () => caught(() => s().fails("string")),
  plain: () => caught(() => s().fails("plain")),
  flags: () => caught(() => s().fails("retryable")),
  callback: () => s().call((x) => ["called", x], 1),
  callbackTwice: () => s().callTwice((x) => x * 2),
  callbackFails: () => caught(() => s().failsIn(() => { throw new RangeError("callback"); })),
  target: () => s().hi(new Hi()),
  throughTheirs: () => s().counterOf(new Hi()).inc(),
  givenBack: async () => (await s().give(new Hi())).hi(),
  givenBackPipelined: () => s().give(new Hi()).hi(),
  disposed: async () => { const c = await s().counter(); c[Symbol.dispose](); return caught(() => c.inc()); },
  dup: async () => { const c = await s().counter(); const d = c.dup(); c[Symbol.dispose](); return d.inc(); },
  stream: () => s().text(new Response("streamed").body),
  writable: async () => { const { readable, writable } = new IdentityTransformStream(); const text = new Response(readable).text(); return [await s().write(writable), await text]; },
  fetch: async () => (await s().fetch("http://x/")).text(),
  fetchFails: () => caught(() => s().fetch("http://x/fail")),
  order: async () => { const c = s().counter(); return Promise.all([c.inc(1), c.inc(2), c.inc(3)]); },
});
export class Super extends DurableObject {
  worker() { return this.env.LOADER.get("code", () => ({ compatibilityDate: "2026-09-01", mainModule: "app.js", modules: { "app.js": CODE }, globalOutbound: null })); }
  facet(name) { return this.ctx.facets.get(name, () => ({ class: this.worker().getDurableObjectClass("App") })); }
  async loaded() { return all(use(() => this.worker().getEntrypoint())); }
  async facets() { return all(use(() => this.facet("f"))); }
  async nested() { const f = () => this.facet("n"); return all({
    ok: () => f().inNested("ok"), counter: () => f().nestedCounter(), pipelined: () => f().inNested("counter").inc(3), typeError: () => caught(() => f().inNested("fails")), custom: () => caught(() => f().inNested("fails", "custom")),
    callback: () => f().inNested("call", (x) => ["up", x], 2), callbackFails: () => caught(() => f().inNested("failsIn", () => { throw new RangeError("callback"); })), target: () => f().inNested("hi", new Hi()),
  }); }
  async aborted() {
    const f = this.facet("a");
    const counter = await f.counter();
    const pipelined = caught(() => f.slow().inc());
    this.ctx.facets.abort("a", new RangeError("by the parent"));
    const first = [await pipelined, await caught(() => counter.inc()), await caught(() => f.ok())];
    const g = this.facet("a");
    return [...first, await g.ok(), await caught(() => g.abort("by itself")), await caught(() => g.ok()), await this.facet("a").ok()];
  }
}
const all = async (probes) => { const results = {}; for (const [name, probe] of Object.entries(probes)) results[name] = await probe().catch((e) => ({ error: failure(e) })); return results; };
export default { fetch: (request, env) => answer({
  loaded: () => env.SUPER.getByName("s").loaded(),
  facets: () => env.SUPER.getByName("s").facets(),
  nested: () => env.SUPER.getByName("s").nested(),
  aborted: () => env.SUPER.getByName("s").aborted(),
}) };
