// Constructor throws, abort, failed blockConcurrencyWhile: who sees what, and what comes after.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

let throwsLeft = 2;
let constructions = 0;
export class Throws extends DurableObject {
  constructor(ctx, env) { super(ctx, env); constructions++; if (throwsLeft-- > 0) throw new RangeError("constructor"); }
  ok() { return ["ok", constructions]; }
  fetch() { return new Response("ok"); }
}
export class Obj extends DurableObject {
  ok() { return "ok"; }
  mark(x) { this.marked = x; return x; }
  marked_() { return this.marked ?? null; }
  put(k, v) { this.ctx.storage.kv.put(k, v); }
  get(k) { return this.ctx.storage.kv.get(k) ?? null; }
  abort(...args) { this.ctx.abort(...args); return "not reached"; }
  abortKind(kind) { this.ctx.abort({ error: new TypeError("typed"), string: "text", object: { a: 1 }, number: 5 }[kind]); }
  abortAfterPut() { this.ctx.storage.kv.put("lost", 1); this.ctx.abort("after put"); }
  async abortAfterCommittedPut() { this.ctx.storage.kv.put("kept", 1); await wait(30); this.ctx.abort("after commit"); }
  async abortAfterAsyncPut() { await this.ctx.storage.put("lost2", 1); this.ctx.abort("after async put"); }
  hang() { return new Promise((resolve) => setTimeout(resolve, 10_000)); }
  abortSoon() { setTimeout(() => this.ctx.abort("soon"), 20); return "scheduled"; }
  catchesAbort() { try { this.ctx.abort("caught?"); } catch (e) { return "caught it"; } finally { this.ctx.storage.kv.put("finally", 1); } }
  async bcwThrows() { try { await this.ctx.blockConcurrencyWhile(async () => { await wait(1); throw new RangeError("bcw"); }); } catch { return "caught in user code"; } }
  async bcwThrowsSync() { await this.ctx.blockConcurrencyWhile(() => { throw new TypeError("bcw sync"); }); }
  async bcwThrowsString() { await this.ctx.blockConcurrencyWhile(() => { throw "bcw string"; }); }
  async bcwPutThenThrows() { this.ctx.storage.kv.put("before", 1); await this.ctx.blockConcurrencyWhile(async () => { this.ctx.storage.kv.put("inside", 1); await wait(5); throw new Error("after put"); }); }
  bcwSlowThrows() { return this.ctx.blockConcurrencyWhile(async () => { await wait(30); throw new Error("slow bcw"); }); }
  nested(depth) { const go = (left) => this.ctx.blockConcurrencyWhile(() => (left > 1 ? go(left - 1) : "bottom")); return go(depth); }
  uncaughtTimer() { setTimeout(() => { throw new Error("timer"); }, 0); return wait(10); }
  throws() { throw new Error("ordinary"); }
}
const probes = {
  constructorThrows: (env) => caught(() => env.THROWS.getByName("t").ok()),
  constructorThrowsFetch: (env) => caught(() => env.THROWS.getByName("t").fetch("http://x/")),
  constructorAgain: (env) => env.THROWS.getByName("t").ok(),
  abortDefault: (env) => caught(() => env.OBJ.getByName("a1").abort()),
  abortReason: (env) => caught(() => env.OBJ.getByName("a2").abort("my reason")),
  abortError: (env) => caught(() => env.OBJ.getByName("a3").abortKind("error")),
  abortObject: (env) => caught(() => env.OBJ.getByName("a4").abortKind("object")),
  abortNumber: (env) => caught(() => env.OBJ.getByName("a5").abortKind("number")),
  abortUndefined: (env) => caught(() => env.OBJ.getByName("a6").abort(undefined)),
  oldStubStaysBroken: async (env) => { const s = env.OBJ.getByName("b"); await caught(() => s.abort("broken")); return [await caught(() => s.ok()), await caught(() => s.ok())]; },
  freshStubWorks: async (env) => { const s = env.OBJ.getByName("c"); await s.mark("old"); await caught(() => s.abort("broken")); const t = env.OBJ.getByName("c"); return [await t.ok(), await t.marked_()]; },
  inFlightRejects: async (env) => { const s = env.OBJ.getByName("d"); await s.ok(); const hanging = caught(() => s.hang()); await s.abortSoon(); return hanging; },
  inFlightOnOtherStub: async (env) => { const s = env.OBJ.getByName("d2"); await s.ok(); const hanging = caught(() => env.OBJ.getByName("d2").hang()); await s.abortSoon(); return hanging; },
  abortRollsBack: async (env) => { await caught(() => env.OBJ.getByName("e").abortAfterPut()); return env.OBJ.getByName("e").get("lost"); },
  abortAfterAsyncPut: async (env) => { const e = await caught(() => env.OBJ.getByName("e2").abortAfterAsyncPut()); return [e, await env.OBJ.getByName("e2").get("lost2")]; },
  abortKeepsCommitted: async (env) => { await caught(() => env.OBJ.getByName("f").abortAfterCommittedPut()); return env.OBJ.getByName("f").get("kept"); },
  earlierCallsKept: async (env) => { const s = env.OBJ.getByName("g"); await s.put("k", 1); await caught(() => s.abort("x")); return env.OBJ.getByName("g").get("k"); },
  abortCannotBeCaught: async (env) => { const r = await caught(() => env.OBJ.getByName("h").catchesAbort()); return [r, await env.OBJ.getByName("h").get("finally")]; },
  bcwThrows: async (env) => { const s = env.OBJ.getByName("i"); await s.mark(1); return [await caught(() => s.bcwThrows()), await caught(() => s.ok()), await env.OBJ.getByName("i").marked_()]; },
  bcwThrowsSync: (env) => caught(() => env.OBJ.getByName("j").bcwThrowsSync()),
  bcwThrowsString: (env) => caught(() => env.OBJ.getByName("j2").bcwThrowsString()),
  bcwPutThenThrows: async (env) => { const r = await caught(() => env.OBJ.getByName("k").bcwPutThenThrows()); const t = env.OBJ.getByName("k"); return [r, await t.get("before"), await t.get("inside")]; },
  bcwQueuedReject: async (env) => { const s = env.OBJ.getByName("l"); await s.ok(); return Promise.all([caught(() => s.bcwSlowThrows()), caught(() => s.ok()), caught(() => s.put("x", 1))]); },
  bcwNested64: (env) => env.OBJ.getByName("m").nested(64),
  bcwNested66: (env) => caught(() => env.OBJ.getByName("n").nested(66)),
  uncaughtTimer: async (env) => { const s = env.OBJ.getByName("o"); await caught(() => s.uncaughtTimer()); return s.ok(); },
  ordinaryThrowKeepsInstance: async (env) => { const s = env.OBJ.getByName("p"); await s.mark(7); return [await caught(() => s.throws()), await s.marked_()]; },
};
export default { fetch: (request, env) => answer(probes, env) };
