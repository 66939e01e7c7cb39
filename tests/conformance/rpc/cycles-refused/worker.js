// Calls that come back to an object inside its own critical section, where they would wait for themselves.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, failure, wait } from "./probe.js";

const methods = (Base) => class extends Base {
  ok() { return "ok"; }
  back(name, method = "ok") { return this.env.OBJ.getByName(name)[method](); }
  backVia(via, name) { return this.env.OBJ.getByName(via).back(name); }
  backFetch(name) { return this.env.OBJ.getByName(name).fetch("http://x/").then((r) => r.text()); }
  caughtBack(name) { return caught(() => this.env.OBJ.getByName(name).ok()); }
  async notAwaited(name) { this.env.OBJ.getByName(name).note("notified").catch(() => {}); await wait(5); return "did not wait"; }
  async backAfterTimer(name) { await wait(5); return this.env.OBJ.getByName(name).ok(); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {
  log = [];
  fetch() { return new Response("fetched"); }
  note(x) { this.log.push(x); return x; }
  log_() { return this.log; }
  me() { return this.env.OBJ.getByName(this.ctx.id.name); }
  section(run) { return this.ctx.blockConcurrencyWhile(async () => { try { return ["ok", await run()]; } catch (e) { return failure(e); } }); }
  self() { return this.section(() => this.me().ok()); }
  selfFetch() { return this.section(() => this.me().fetch("http://x/").then((r) => r.text())); }
  via(name, method = "back") { return this.section(() => this.env.OBJ.getByName(name)[method](this.ctx.id.name)); }
  viaTwo(a, b) { return this.section(() => this.env.OBJ.getByName(a).backVia(b, this.ctx.id.name)); }
  viaEntry() { return this.section(() => this.ctx.exports.Entry.back(this.ctx.id.name)); }
  viaFetch(name) { return this.section(() => this.env.OBJ.getByName(name).backFetch(this.ctx.id.name)); }
  two(a, b) { return this.section(() => Promise.all([this.env.OBJ.getByName(a).back(this.ctx.id.name), this.env.OBJ.getByName(b).back(this.ctx.id.name)].map((p) => caught(() => p)))); }
  nested(name) { return this.section(() => this.ctx.blockConcurrencyWhile(() => this.env.OBJ.getByName(name).caughtBack(this.ctx.id.name))); }
  inTransaction(name) { return this.ctx.storage.transaction(() => this.env.OBJ.getByName(name).caughtBack(this.ctx.id.name)); }
  async unsettled(name) { let p; const r = await this.section(() => { p = this.env.OBJ.getByName(name).back(this.ctx.id.name); return wait(10); }); return [r, await p]; }
}
export class Starts extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => { this.began = await env.OBJ.getByName("for constructor").callStarts(ctx.id.name).catch(failure); });
  }
  ok() { return "ok"; }
  began_() { return this.began; }
}
Obj.prototype.callStarts = function (name) { return caught(() => this.env.STARTS.getByName(name).ok()); };
const probes = (env) => {
  const o = (name) => env.OBJ.getByName(name);
  return {
    self: () => o("a1").self(),
    stillThere: async () => { await o("a2").self(); return o("a2").ok(); },
    selfFetch: () => o("a3").selfFetch(),
    via: () => o("a4").via("b4"),
    viaCaught: () => o("a5").via("b5", "caughtBack"),
    viaAfterTimer: () => o("a6").via("b6", "backAfterTimer"),
    viaTwo: () => o("a7").viaTwo("b7", "c7"),
    viaEntry: () => o("a8").viaEntry(),
    viaFetch: () => o("a9").viaFetch("b9"),
    two: () => o("a10").two("b10", "c10"),
    nested: () => o("a11").nested("b11"),
    inTransaction: () => o("a12").inTransaction("b12"),
    inConstructor: () => env.STARTS.getByName("s").began_(),
    notAwaited: async () => { const o14 = o("a14"); const r = await o14.via("b14", "notAwaited"); return [r, await o14.log_()]; },
    sectionGoesOn: () => o("a15").unsettled("b15"),
    othersWait: async () => { const s = o("a16"); await s.ok(); const r = s.via("b16", "backAfterTimer"); const other = s.ok(); return [await r, await other]; },
  };
};
export default { fetch: (request, env) => answer(probes(env)) };
