// What setAlarm(), getAlarm(), deleteAlarm() and abort() take.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, show } from "./probe.js";

const FAR = 4_000_000_000_000;
const TIMES = {
  true: true, bigint: 1n, infinity: Infinity, minusInfinity: -Infinity, huge: 1e300, dateMax: 8.64e15, latest: 9_223_372_036_854, tooLate: 9_223_372_036_855,
  numberObject: new Number(5), symbol: Symbol("x"), date0: new Date(0), negativeDate: new Date(-5), half: 0.5, array: [5], digits: "5",
  valueOf: { valueOf: () => FAR }, subclass: new (class extends Date {})(FAR), fakeDate: Object.create(Date.prototype),
};
const OPTIONS = { number: 5, null: null, string: "x", ignored: { allowConcurrency: 5 }, function: () => {} };
export class Obj extends DurableObject {
  async alarm() {}
  async set(name) { await this.ctx.storage.setAlarm(TIMES[name]); const at = await this.ctx.storage.getAlarm(); await this.ctx.storage.deleteAlarm(); return at; }
  async options(method, name) { await (method === "setAlarm" ? this.ctx.storage.setAlarm(FAR, OPTIONS[name]) : this.ctx.storage[method](OPTIONS[name])); return "taken"; }
  isPromise() { const promises = [this.ctx.storage.setAlarm(0), this.ctx.storage.setAlarm("x")]; promises.forEach((p) => p.catch(() => {})); return promises.map((p) => p instanceof Promise); }
  async deletes() { return [show(await this.ctx.storage.deleteAlarm()), show(await this.ctx.storage.deleteAlarm())]; }
  async nothingChanges() { await this.ctx.storage.setAlarm(FAR); await caught(() => this.ctx.storage.setAlarm(0)); return this.ctx.storage.getAlarm(); }
  async thrownAfter() { await this.ctx.storage.setAlarm(FAR); throw new Error("after"); }
  async abortAfter() { await this.ctx.storage.setAlarm(FAR); this.ctx.abort("back"); }
  async nested() {
    const seen = [];
    const { storage } = this.ctx;
    const get = async () => seen.push(await storage.getAlarm());
    await storage.transaction(async (txn) => { await txn.setAlarm(FAR); await get(); txn.rollback(); }); await get();
    await storage.setAlarm(FAR + 1);
    await storage.transaction(async (txn) => { await txn.deleteAlarm(); await get(); await storage.transaction(async (inner) => { await inner.setAlarm(FAR + 2); throw new Error("inner"); }).catch(() => {}); await get(); }); await get();
    storage.transactionSync(() => { storage.setAlarm(FAR + 3); }); await get();
    try { storage.transactionSync(() => { storage.setAlarm(FAR + 4); throw new Error("sync"); }); } catch {} await get();
    return seen;
  }
  get() { return this.ctx.storage.getAlarm(); }
  abort(name) { this.ctx.abort("reason", { null: null, number: 5, string: "x", odd: { retryAlarm: 5 }, none: {} }[name]); }
}
export class InConstructor extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.set = ctx.storage.setAlarm(FAR).then(() => "set", (error) => error.message); }
  async get() { return [await this.set, await this.ctx.storage.getAlarm()]; }
}
export class OwnProperty extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.alarm = () => {}; }
  async set() { await this.ctx.storage.setAlarm(FAR); return this.ctx.storage.getAlarm(); }
}
const probes = {
  ...Object.fromEntries(Object.keys(TIMES).map((name) => [`time ${name}`, (env) => caught(() => env.OBJ.getByName("times").set(name))])),
  ...Object.fromEntries(["setAlarm", "getAlarm", "deleteAlarm"].flatMap((method) => Object.keys(OPTIONS).map((name) => [`${method} options ${name}`, (env) => caught(() => env.OBJ.getByName("options").options(method, name))]))),
  isPromise: (env) => env.OBJ.getByName("promise").isPromise(),
  deletes: (env) => env.OBJ.getByName("deletes").deletes(),
  nothingChanges: (env) => env.OBJ.getByName("nothing").nothingChanges(),
  keptWhenItThrows: async (env) => [await caught(() => env.OBJ.getByName("throws").thrownAfter()), await env.OBJ.getByName("throws").get()],
  goneWhenItAborts: async (env) => [await caught(() => env.OBJ.getByName("aborts").abortAfter()), await env.OBJ.getByName("aborts").get()],
  nested: (env) => env.OBJ.getByName("nested").nested(),
  ...Object.fromEntries(["null", "number", "string", "odd", "none"].map((name) => [`abort options ${name}`, (env) => caught(() => env.OBJ.getByName(`abort ${name}`).abort(name))])),
  inConstructor: (env) => env.CONSTRUCTOR.getByName("x").get(),
  ownProperty: (env) => caught(() => env.OWN.getByName("x").set()),
  notOverRpc: (env) => caught(() => env.OBJ.getByName("rpc").alarm()),
};
export default { fetch: (request, env) => answer(probes, env) };
