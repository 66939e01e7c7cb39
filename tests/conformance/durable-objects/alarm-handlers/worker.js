// What an alarm handler sees, does and leaves behind.
import { DurableObject } from "cloudflare:workers";
import { answer, wait } from "./probe.js";

const FAR = 4_000_000_000_000;
const MODES = {
  info: async (o, info) => { o.note([info.constructor.name, String(info), Object.keys(info).sort(), typeof info.scheduledTime]); },
  // The stored alarm is absent while the handler runs, whatever is rolled back.
  nothing: async (o) => { o.note(await o.alarmNow()); },
  rolledBack: async (o) => {
    await o.ctx.storage.transaction(async (txn) => { await txn.setAlarm(FAR); txn.rollback(); });
    o.note(await o.alarmNow());
  },
  setsFar: async (o) => { await o.ctx.storage.setAlarm(FAR); o.note(await o.alarmNow()); },
  setsFarAndThrows: async (o) => { await o.ctx.storage.setAlarm(FAR); throw new Error("thrown"); },
  deletes: async (o) => { await o.ctx.storage.deleteAlarm(); o.note(await o.alarmNow()); },
  deletesAndThrows: async (o) => { await o.ctx.storage.deleteAlarm(); throw new Error("thrown"); },
  setsAndDeletes: async (o) => { await o.ctx.storage.setAlarm(FAR); await o.ctx.storage.deleteAlarm(); },
  deletesAll: async (o) => { await o.ctx.storage.deleteAll(); o.ctx.storage.kv.put("left", 1); },
  deletesAllAndThrows: async (o) => { await o.ctx.storage.deleteAll(); throw new Error("thrown"); },
  abortsForGood: async (o) => { await o.ctx.storage.sync(); o.ctx.abort("for good", { retryAlarm: false }); },
  throwsOnce: async (o, info) => { o.note([info.retryCount, info.isRetry]); if (info.retryCount === 0) { o.ctx.storage.kv.put("kept", 1); throw new Error("once"); } },
  abortsOnce: async (o, info) => { if (info.retryCount === 0) { o.ctx.storage.kv.put("lost", 1); o.ctx.abort("once"); } o.note([info.retryCount, o.ctx.storage.kv.get("lost") ?? null]); },
  throwsNothing: (o, info) => { o.note(info.retryCount); if (info.retryCount === 0) throw undefined; },
  failsToCommit: async (o, info) => {
    if (info.retryCount > 0) return o.note(["again", info.retryCount]);
    o.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS p (id INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (1)");
  },
  inTransaction: async (o) => { o.open = o.ctx.storage.transaction(async () => { await wait(20); o.ctx.storage.kv.put("in", 1); throw new Error("back"); }).catch(() => {}); },
  returnsPromise: (o) => wait(30).then(() => o.note("waited")),
};
export class Obj extends DurableObject {
  alarm(info) { const runs = (this.ctx.storage.kv.get("runs") ?? 0) + 1; this.ctx.storage.kv.put("runs", runs); return MODES[this.ctx.storage.kv.get("mode") ?? "deletesAll"](this, info); }
  note(value) { this.ctx.storage.kv.put("notes", [...(this.ctx.storage.kv.get("notes") ?? []), value]); }
  alarmNow() { return this.ctx.storage.getAlarm(); }
  async start(mode) { this.ctx.storage.kv.put("mode", mode); await this.ctx.storage.setAlarm(Date.now() + 5); }
  async look() { const kv = this.ctx.storage.kv; return { runs: kv.get("runs") ?? 0, notes: kv.get("notes") ?? [], alarm: await this.alarmNow(), kept: kv.get("kept") ?? null }; }
}
export class Busy extends DurableObject {
  at = [];
  async alarm() { this.at.push("begin"); await wait(100); this.at.push("end"); }
  async start() { await this.ctx.storage.setAlarm(Date.now()); for (let i = 0; i < 500 && !this.at.length; i++) await wait(5); await this.ctx.storage.setAlarm(Date.now()); this.at.push("asked"); }
  async look() { for (let i = 0; i < 500 && this.at.length < 5; i++) await wait(10); return this.at; }
}
/** Starts a mode; what is there once it has run `runs` times and left `notes` notes, and its alarm is gone or far. */
const run = (mode, runs = 1, notes = 0) => async (env) => {
  const o = env.OBJ.getByName(mode);
  await o.start(mode).catch(() => {}); // its alarm may have reset it before the answer is out
  for (let i = 0; i < 800; i++) {
    const seen = await env.OBJ.getByName(mode).look().catch(() => ({}));
    if (seen.runs >= runs && seen.notes.length >= notes && (seen.alarm === null || seen.alarm === FAR)) return seen;
    await wait(10);
  }
  return "never";
};
/** One that must not run again: longer than the first retry takes. */
const onlyOnce = (mode) => async (env) => { await env.OBJ.getByName(mode).start(mode).catch(() => {}); await wait(2800); return env.OBJ.getByName(mode).look(); };
const probes = {
  ...Object.fromEntries(["info", "nothing", "rolledBack", "setsFar", "setsFarAndThrows", "deletes", "setsAndDeletes", "inTransaction"].map((mode) => [mode, run(mode)])),
  returnsPromise: run("returnsPromise", 1, 1),
  oneAtATime: async (env) => { await env.BUSY.getByName("x").start(); return env.BUSY.getByName("x").look(); },
  failures: async (env) => {
    const names = ["throwsOnce", "abortsOnce", "throwsNothing"];
    const again = await Promise.all(names.map((mode) => run(mode, mode === "abortsOnce" ? 1 : 2)(env)));
    return Object.fromEntries(names.map((name, i) => [name, again[i]]));
  },
  failsToCommit: run("failsToCommit", 1),
  noRetry: async (env) => {
    const names = ["deletesAndThrows", "deletesAll", "deletesAllAndThrows", "abortsForGood"];
    const once = await Promise.all(names.map((mode) => onlyOnce(mode)(env)));
    return Object.fromEntries(names.map((name, i) => [name, once[i]]));
  },
};
export default { fetch: (request, env) => answer(probes, env) };
