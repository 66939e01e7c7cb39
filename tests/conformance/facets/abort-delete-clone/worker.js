// Abort, delete, clone, deleteAll, depth.
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
const get = (ctx, name = "f", more) => ctx.facets.get(name, child(ctx, more));
class Custom extends RangeError {}
const probes = {
  abortStaleStub: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", new RangeError("stopped")); return [await caught(() => f.hit()), await caught(() => f.hit()), await get(ctx).hit()]; },
  abortReturns: async (ctx) => { await get(ctx).hit(); return ctx.facets.abort("f", "x"); },
  abortInFlight: async (ctx) => { const f = get(ctx); await f.hit(); const hanging = caught(() => f.hang()); await wait(5); ctx.facets.abort("f", new TypeError("in flight")); return hanging; },
  abortReasonString: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", "text"); return caught(() => f.hit()); },
  abortReasonObject: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", { code: 5, list: [1] }); return caught(() => f.hit()); },
  abortReasonUndefined: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", undefined); return caught(() => f.hit()); },
  abortReasonNull: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", null); return caught(() => f.hit()); },
  abortReasonNumber: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", 5); return caught(() => f.hit()); },
  abortReasonFunction: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", () => 1); return caught(() => f.hit()); },
  abortReasonWithProps: async (ctx) => { const f = get(ctx); await f.hit(); ctx.facets.abort("f", Object.assign(new Custom("c"), { code: 7 })); return caught(() => f.hit()); },
  abortReasonIsCopy: async (ctx) => { const f = get(ctx); await f.hit(); const reason = new Error("mine"); ctx.facets.abort("f", reason); return f.hit().catch((e) => [e === reason, e.message]); },
  abortUnknown: (ctx) => show(ctx.facets.abort("never", "x")),
  abortNotStarted: async (ctx) => { const f = get(ctx); ctx.facets.abort("f", "early"); return caught(() => f.hit()); },
  abortWhileStarting: async (ctx) => { const f = ctx.facets.get("f", async () => { await wait(40); return { class: ctx.exports.Child }; }); const call = caught(() => f.hit()); await wait(5); ctx.facets.abort("f", new Error("while starting")); const seen = await call; return [seen, await get(ctx).hit()]; },
  abortKeepsStorage: async (ctx) => { await get(ctx).hit(); ctx.facets.abort("f", "x"); return get(ctx).hit(); },
  abortLosesMemory: async (ctx) => { await get(ctx).memory(); await get(ctx).memory(); ctx.facets.abort("f", "x"); return get(ctx).memory(); },
  abortAllowsOtherClass: async (ctx) => { await get(ctx).hit(); ctx.facets.abort("f", "x"); const t = ctx.facets.get("f", () => ({ class: ctx.exports.Twin })); return [await t.which(), await t.n()]; },
  abortNested: async (ctx) => { const f = get(ctx); await f.nested("inner"); const hanging = caught(() => f.nested("inner", "hang")); await wait(5); ctx.facets.abort("f", new RangeError("whole tree")); return [await hanging, await get(ctx).nested("inner")]; },
  selfAbort: async (ctx) => { const f = get(ctx); await f.hit(); const e = await caught(() => f.abortSelf("from inside")); return [e, await caught(() => f.hit()), await get(ctx).hit()]; },
  selfAbortDefault: (ctx) => caught(() => get(ctx).abortSelf()),
  selfAbortLeavesParent: async (ctx, o) => { o.mark = 1; await caught(() => get(ctx).abortSelf("x")); return o.mark; },
  ordinaryErrorKeepsFacet: async (ctx) => { await get(ctx).memory(); await caught(() => get(ctx).fails()); return get(ctx).memory(); },

  deleteEmpties: async (ctx) => { const f = get(ctx); await f.hit(); await f.hit(); const r = ctx.facets.delete("f"); return [show(r), await caught(() => f.hit()), await get(ctx).hit()]; },
  deleteInFlight: async (ctx) => { const f = get(ctx); await f.hit(); const hanging = caught(() => f.hang()); await wait(5); ctx.facets.delete("f"); return hanging; },
  deleteUnknown: (ctx) => show(ctx.facets.delete("never")),
  deleteNotRunning: async (ctx) => { await get(ctx).hit(); ctx.facets.abort("f", "x"); ctx.facets.delete("f"); return get(ctx).n(); },
  deleteRecursive: async (ctx) => { await get(ctx).deep(["x", "y"]); await get(ctx).deep(["x", "y"]); ctx.facets.delete("f"); return [await get(ctx).deep(["x", "y"]), await get(ctx).deep(["x"]), await get(ctx).n()]; },
  deleteLeavesOthers: async (ctx) => { await get(ctx, "a").hit(); await get(ctx, "b").hit(); ctx.facets.delete("a"); return [await get(ctx, "a").n(), await get(ctx, "b").n()]; },
  deleteNotTransactional: async (ctx) => { await get(ctx).hit(); thrown(() => ctx.storage.transactionSync(() => { ctx.facets.delete("f"); throw new Error("back"); })); return get(ctx).n(); },
  deleteTwice: async (ctx) => { await get(ctx).hit(); ctx.facets.delete("f"); ctx.facets.delete("f"); return get(ctx).hit(); },

  clone: async (ctx) => { await get(ctx, "a").hit(); await get(ctx, "a").hit(); const r = ctx.facets.clone("a", "b"); return [show(r), await get(ctx, "b").hit(), await get(ctx, "a").hit(), await get(ctx, "b").n()]; },
  cloneOverRunning: async (ctx) => { await get(ctx, "a").hit(); const b = get(ctx, "b"); await b.hit(); await b.hit(); ctx.facets.clone("a", "b"); return [await caught(() => b.hit()), await get(ctx, "b").n()]; },
  cloneKeepsSource: async (ctx) => { const a = get(ctx, "a"); await a.memory(); await a.hit(); ctx.facets.clone("a", "b"); return [await a.memory(), await a.n()]; },
  cloneFromNothing: async (ctx) => { await get(ctx, "b").hit(); ctx.facets.clone("nothing", "b"); return get(ctx, "b").n(); },
  cloneSelf: async (ctx) => { const a = get(ctx, "a"); await a.hit(); ctx.facets.clone("a", "a"); return [await caught(() => a.hit()), await get(ctx, "a").n()]; },
  cloneTree: async (ctx) => { await get(ctx, "a").deep(["x"]); await get(ctx, "a").deep(["x"]); ctx.facets.clone("a", "b"); return [await get(ctx, "b").deep(["x"]), await get(ctx, "a").deep(["x"])]; },
  cloneReplacesTree: async (ctx) => { await get(ctx, "a").hit(); await get(ctx, "b").deep(["old"]); ctx.facets.clone("a", "b"); return [await get(ctx, "b").n(), await get(ctx, "b").nested("old", "n")]; },

  deleteAllRemovesFacets: async (ctx) => { const f = get(ctx); await f.hit(); await f.deep(["x"]); await ctx.storage.deleteAll(); return [await caught(() => f.hit()), await get(ctx).n(), await get(ctx).nested("x", "n")]; },
  facetDeleteAllIsItsOwn: async (ctx) => { ctx.storage.kv.put("parent", 1); await get(ctx).hit(); await get(ctx).nested("x"); return [ctx.storage.kv.get("parent"), await get(ctx).n()]; },

  depth3: (ctx) => get(ctx, "1").deep(["2", "3"]),
  depth4: (ctx) => caught(() => get(ctx, "1").deep(["2", "3", "4"])),
};

export class Parent extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.PARENT, probes) };
