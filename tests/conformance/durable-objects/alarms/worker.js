// Alarms: arguments, what they report, firing, surviving a restart.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, show, wait } from "./probe.js";

const FAR = 4_000_000_000_000;
export class Obj extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.fired = []; }
  async alarm(info) {
    this.fired.push({ own: Object.keys(info).sort(), retryCount: info.retryCount, isRetry: info.isRetry, during: await this.ctx.storage.getAlarm(), scheduledSame: this.inMs ? info.scheduledTime === this.scheduled : null, name: this.ctx.id.name ?? null });
    const count = (this.ctx.storage.kv.get("count") ?? 0) + 1;
    this.ctx.storage.kv.put("count", count);
    if (this.again && count < 3) await this.ctx.storage.setAlarm(Date.now());
    if (this.failOnce) { this.failOnce = false; throw new Error("alarm failed"); }
  }
  set(at) { return this.ctx.storage.setAlarm(at); }
  async setThenGet(at) { await this.ctx.storage.setAlarm(at); return this.ctx.storage.getAlarm(); }
  async setDelete() { await this.ctx.storage.setAlarm(FAR); await this.ctx.storage.deleteAlarm(); return this.ctx.storage.getAlarm(); }
  async bad(kind) { return this.ctx.storage.setAlarm({ zero: 0, negative: -1, nan: NaN, string: "soon", invalid: new Date(NaN), nothing: undefined, nul: null, object: {} }[kind]); }
  setNothing() { return this.ctx.storage.setAlarm(); }
  async fire({ again, failOnce, inMs = 0 } = {}) { this.again = again; this.failOnce = failOnce; this.inMs = inMs; this.scheduled = Date.now() + inMs; await this.ctx.storage.setAlarm(this.scheduled); }
  async firedCount(n) { for (let i = 0; i < 1000 && this.fired.length < n; i++) await wait(10); return this.fired; }
  async count() { for (let i = 0; i < 1000 && !this.ctx.storage.kv.get("count"); i++) await wait(10); return [this.ctx.storage.kv.get("count"), this.ctx.id.name ?? null, await this.ctx.storage.getAlarm()]; }
  async rolledBack() { await this.ctx.storage.transaction(async (txn) => { await txn.setAlarm(FAR); throw new Error("back"); }).catch(() => {}); return this.ctx.storage.getAlarm(); }
  async inTransaction() { await this.ctx.storage.transaction(async (txn) => { await txn.setAlarm(FAR); }); return this.ctx.storage.getAlarm(); }
  async replaced() { await this.ctx.storage.setAlarm(FAR); await this.ctx.storage.setAlarm(FAR + 5); return this.ctx.storage.getAlarm(); }
  async deleteAllClears() { await this.ctx.storage.setAlarm(FAR); await this.ctx.storage.deleteAll(); return this.ctx.storage.getAlarm(); }
  async pastIs() { await this.ctx.storage.setAlarm(5); return [(await this.ctx.storage.getAlarm()) !== null]; }
}
export class None extends DurableObject { set() { return this.ctx.storage.setAlarm(FAR); } get() { return this.ctx.storage.getAlarm(); } del() { return this.ctx.storage.deleteAlarm(); } }

const probes = {
  none: (env) => env.OBJ.getByName("none").setThenGet(FAR),
  date: (env) => env.OBJ.getByName("date").setThenGet(new Date(FAR)),
  fraction: (env) => env.OBJ.getByName("fraction").setThenGet(FAR + 0.7),
  replaced: (env) => env.OBJ.getByName("replaced").replaced(),
  deleted: (env) => env.OBJ.getByName("deleted").setDelete(),
  ...Object.fromEntries(["zero", "negative", "nan", "string", "invalid", "nothing", "nul", "object"].map((kind) => [`bad ${kind}`, (env) => caught(() => env.OBJ.getByName("bad").bad(kind))])),
  badNoArgument: (env) => caught(() => env.OBJ.getByName("bad").setNothing()),
  noHandlerSet: (env) => caught(() => env.NONE.getByName("n").set()),
  noHandlerGet: async (env) => [await env.NONE.getByName("n").get(), show(await env.NONE.getByName("n").del())],
  rolledBack: (env) => env.OBJ.getByName("rb").rolledBack(),
  inTransaction: (env) => env.OBJ.getByName("tx").inTransaction(),
  deleteAllClears: (env) => env.OBJ.getByName("da").deleteAllClears(),
  fires: async (env) => { const s = env.OBJ.getByName("fires"); await s.fire(); const fired = await s.firedCount(1); return [fired, await s.count()]; },
  firesLater: async (env) => { const s = env.OBJ.getByName("later"); await s.fire({ inMs: 60 }); return s.firedCount(1); },
  setAgainInHandler: async (env) => { const s = env.OBJ.getByName("again"); await s.fire({ again: true }); return (await s.firedCount(3)).length; },
  pastFires: async (env) => { const s = env.OBJ.getByName("past"); await s.set(5); return (await s.firedCount(1)).length; },
  retryAfterThrow: async (env) => { const s = env.OBJ.getByName("retry"); await s.fire({ failOnce: true, inMs: 40 }); return (await s.firedCount(2)).map(({ retryCount, isRetry, scheduledSame }) => [retryCount, isRetry, scheduledSame]); },
};
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/set-for-restart") { await env.OBJ.getByName("overdue").set(Date.now() + 700); return new Response("set"); }
    if (pathname === "/after-restart") return Response.json({ overdue: await env.OBJ.getByName("overdue").count(), far: await env.OBJ.getByName("replaced").replaced(), stored: await env.OBJ.getByName("date").setThenGet(new Date(FAR)) });
    return answer(probes, env);
  },
};
