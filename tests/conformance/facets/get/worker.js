// ctx.facets.get: laziness, callbacks, names, the stub.
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
const probes = {
  lazy: async (ctx) => { let calls = 0; const f = ctx.facets.get("a", () => { calls++; return { class: ctx.exports.Child }; }); await wait(50); const before = calls; await f.hit(); await f.hit(); return [before, calls]; },
  callbackIgnoredWhenRunning: async (ctx) => { let calls = 0; await ctx.facets.get("a", child(ctx)).hit(); const f = ctx.facets.get("a", () => { calls++; return { class: ctx.exports.Twin }; }); return [await f.which(), calls]; },
  firstUsedWins: async (ctx) => { const one = ctx.facets.get("a", child(ctx)); const two = ctx.facets.get("a", () => ({ class: ctx.exports.Twin })); return [await two.which(), await one.which()]; },
  concurrentFirstUse: async (ctx) => { let calls = 0; const get = () => ctx.facets.get("a", async () => { calls++; await wait(10); return { class: ctx.exports.Child }; }); return [await Promise.all([get().hit(), get().hit(), get().hit()]), calls]; },
  asyncCallback: (ctx) => ctx.facets.get("a", async () => { await wait(5); return { class: ctx.exports.Child }; }).hit(),
  queuedInOrder: async (ctx) => { const f = ctx.facets.get("a", async () => { await wait(10); return { class: ctx.exports.Child }; }); return Promise.all([f.hit(), f.hit(), f.hit()]); },
  stubShape: (ctx) => { const f = ctx.facets.get("a", child(ctx)); return [typeof f, f.constructor.name, Object.prototype.toString.call(f), Object.keys(f)]; },
  stubHasNoId: (ctx) => caught(() => ctx.facets.get("a", () => ({ class: ctx.exports.Twin })).id()),
  fetch: async (ctx) => (await ctx.facets.get("a", child(ctx)).fetch("http://x/path", { method: "PUT" })).text(),
  fetchRelative: (ctx) => caught(() => ctx.facets.get("a", child(ctx)).fetch("/y")),
  namesAreSeparate: async (ctx) => [await ctx.facets.get("a", child(ctx)).hit(), await ctx.facets.get("A", child(ctx)).hit(), await ctx.facets.get("a ", child(ctx)).hit()],
  noNormalisation: async (ctx) => [await ctx.facets.get("\u00e9", child(ctx)).hit(), await ctx.facets.get("e\u0301", child(ctx)).hit()],
  numberName: async (ctx) => [await ctx.facets.get(123, child(ctx)).hit(), await ctx.facets.get("123", child(ctx)).hit()],
  oddNames: async (ctx) => { const seen = []; for (const name of ["../up", "a/b", "a\0b", "..", ".", "con", "x".repeat(256), "é".repeat(128), "😀", "%2e", "_cf_KV", "__proto__", "'; DROP"]) seen.push(await ctx.facets.get(name, child(ctx)).hit()); return seen; },
  nameTooLongGet: (ctx) => thrown(() => ctx.facets.get("x".repeat(257), child(ctx))),
  nameTooLongBytes: (ctx) => thrown(() => ctx.facets.get("é".repeat(129), child(ctx))),
  nameTooLongAbort: (ctx) => thrown(() => ctx.facets.abort("x".repeat(257), 0)),
  nameTooLongDelete: (ctx) => thrown(() => ctx.facets.delete("x".repeat(257))),
  nameTooLongClone: (ctx) => [thrown(() => ctx.facets.clone("x".repeat(257), "a")), thrown(() => ctx.facets.clone("a", "x".repeat(257)))],
  getWithoutCallback: (ctx) => thrown(() => ctx.facets.get("n")),
  getWithObject: (ctx) => thrown(() => ctx.facets.get("n", { class: ctx.exports.Child })),
  getNothing: (ctx) => thrown(() => ctx.facets.get()),
  abortOneArgument: (ctx) => thrown(() => ctx.facets.abort("n")),
  cloneOneArgument: (ctx) => thrown(() => ctx.facets.clone("a")),
  deleteNothing: (ctx) => thrown(() => ctx.facets.delete()),
  emptyNameGet: (ctx) => thrown(() => show(typeof ctx.facets.get("", child(ctx)))),
  emptyNameDelete: (ctx) => thrown(() => show(ctx.facets.delete(""))),
  emptyNameClone: (ctx) => thrown(() => show(ctx.facets.clone("", "a"))),
  facetsShape: (ctx) => [ctx.facets.constructor.name, Object.prototype.toString.call(ctx.facets), ctx.facets === ctx.facets],
  facetError: (ctx) => caught(() => ctx.facets.get("a", child(ctx)).fails()),
  facetErrorId: (ctx) => ctx.facets.get("a", child(ctx)).fails().catch((e) => e.durableObjectId === String(ctx.id)),
  separateStorage: async (ctx) => { ctx.storage.kv.put("n", 100); await ctx.facets.get("a", child(ctx)).hit(); return [await ctx.facets.get("a", child(ctx)).n(), ctx.storage.kv.get("n"), [...ctx.storage.kv.list()].length]; },
  runConcurrently: async (ctx) => { const seen = []; const slow = (name) => ctx.facets.get(name, child(ctx)); await Promise.all(["a", "b"].map(async (n) => { seen.push(`${n} start`); await slow(n).hit(); await wait(5); seen.push(`${n} end`); })); return seen.sort(); },
  insideBcw: (ctx) => ctx.blockConcurrencyWhile(() => ctx.facets.get("a", child(ctx)).hit()),
  insideTransaction: (ctx) => ctx.storage.transaction(() => ctx.facets.get("a", child(ctx)).hit()),
  transactionDoesNotCover: async (ctx) => { await caught(() => ctx.storage.transaction(async () => { await ctx.facets.get("a", child(ctx)).hit(); throw new Error("x"); })); return ctx.facets.get("a", child(ctx)).n(); },
};

export class Parent extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.PARENT, probes) };
