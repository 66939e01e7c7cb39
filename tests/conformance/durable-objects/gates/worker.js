// Order of delivery, the input gate, blockConcurrencyWhile.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

export class Obj extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.log = [];
    ctx.blockConcurrencyWhile(async () => { await wait(20); this.ready = true; });
  }
  isReady() { return this.ready ?? false; }
  async increment() { const v = (await this.ctx.storage.get("v")) ?? 0; await this.ctx.storage.put("v", v + 1); return v + 1; }
  async incrementWithTimer() { const v = (await this.ctx.storage.get("t")) ?? 0; await wait(10); await this.ctx.storage.put("t", v + 1); return v + 1; }
  incrementSync() { const v = (this.ctx.storage.kv.get("s") ?? 0) + 1; this.ctx.storage.kv.put("s", v); return v; }
  note(x) { this.log.push(x); return x; }
  async slowNote(x, ms) { this.log.push(`${x} in`); await wait(ms); this.log.push(`${x} out`); return x; }
  seen() { return this.log.splice(0); }
  bcw(x) { return this.ctx.blockConcurrencyWhile(async () => { this.log.push(`${x} in`); await wait(15); this.log.push(`${x} out`); return x; }); }
  async bcwSync() { return this.ctx.blockConcurrencyWhile(() => "sync value"); }
  async bcwCallsOther() { return this.ctx.blockConcurrencyWhile(() => this.env.OBJ.getByName("other").note("from bcw")); }
  async bcwNestedOrder() { const seen = []; await this.ctx.blockConcurrencyWhile(async () => { seen.push(1); await this.ctx.blockConcurrencyWhile(async () => { await wait(2); seen.push(2); }); seen.push(3); }); return seen; }
  async bcwStorage() { return this.ctx.blockConcurrencyWhile(async () => { await this.ctx.storage.put("b", 1); return this.ctx.storage.get("b"); }); }
  async bcwTimerOutside() { const seen = []; setTimeout(() => seen.push("timer"), 5); await this.ctx.blockConcurrencyWhile(async () => { await wait(25); seen.push("bcw end"); }); await wait(10); return seen; }
  async reenter(callback) { const r = await callback(); return [r, this.log.splice(0)]; }
  async txnBlocks() { await this.ctx.storage.transaction(async () => { this.log.push("txn in"); await wait(15); this.log.push("txn out"); }); }
  async callSelf() { return this.env.OBJ.getByName("selfish").note("me"); }
}
const five = (fn) => Promise.all([1, 2, 3, 4, 5].map(fn));
const probes = {
  bcwInConstructorDelays: (env) => env.OBJ.getByName("a").isReady(),
  counterRace: (env) => five(() => env.OBJ.getByName("b").increment()),
  counterRaceOneStub: (env) => { const s = env.OBJ.getByName("b1"); return five(() => s.increment()); },
  counterRaceWithTimer: (env) => five(() => env.OBJ.getByName("c").incrementWithTimer()),
  counterSync: (env) => five(() => env.OBJ.getByName("d").incrementSync()),
  orderOnOneStub: async (env) => { const s = env.OBJ.getByName("e"); await five((x) => s.note(x)); return s.seen(); },
  orderWhileStarting: async (env) => { const s = env.OBJ.getByName("e2"); const calls = five((x) => s.slowNote(x, 12 - 2 * x)); await calls; return (await s.seen()).slice(0, 5); },
  interleaveAtTimers: async (env) => { const s = env.OBJ.getByName("f"); await Promise.all([s.slowNote("a", 20), s.slowNote("b", 5)]); return s.seen(); },
  bcwExcludes: async (env) => { const s = env.OBJ.getByName("g"); await Promise.all([s.bcw("a"), s.note("queued"), s.bcw("b"), s.note("last")]); return s.seen(); },
  bcwValue: (env) => env.OBJ.getByName("h").bcwSync(),
  bcwCallsOther: (env) => env.OBJ.getByName("i").bcwCallsOther(),
  bcwNested: (env) => env.OBJ.getByName("j").bcwNestedOrder(),
  bcwStorage: (env) => env.OBJ.getByName("k").bcwStorage(),
  bcwHoldsOuterTimer: (env) => env.OBJ.getByName("l").bcwTimerOutside(),
  callbackWhileWaiting: async (env) => { const s = env.OBJ.getByName("m"); return s.reenter(async () => s.note("re-entered")); },
  transactionExcludes: async (env) => { const s = env.OBJ.getByName("n"); await s.seen(); await Promise.all([s.txnBlocks(), s.note("queued")]); return s.seen(); },
  callsItself: (env) => env.OBJ.getByName("selfish").callSelf(),
};
export default { fetch: (request, env) => answer(probes, env) };
