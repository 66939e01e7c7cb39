// The alarm that runs is absent, and another at the same time is another.
import { DurableObject } from "cloudflare:workers";
import { answer, wait } from "./probe.js";

const FAR = 4_000_000_000_000;
const MODES = {
  rolledBackSync: async (o) => {
    try { o.ctx.storage.transactionSync(() => { o.ctx.storage.setAlarm(FAR); throw new Error("x"); }); } catch {}
    return o.ctx.storage.getAlarm();
  },
  rolledBackDelete: async (o) => {
    try { o.ctx.storage.transactionSync(() => { o.ctx.storage.deleteAlarm(); throw new Error("x"); }); } catch {}
    return o.ctx.storage.getAlarm();
  },
  // In the past, hence now: often the very millisecond this run was scheduled for.
  sameTime: async (o, info) => { if (o.runs.length === 0) await o.ctx.storage.setAlarm(info.scheduledTime); return o.runs.length; },
};
export class Obj extends DurableObject {
  runs = [];
  async alarm(info) { this.runs.push(await MODES[this.mode](this, info)); }
  async start(mode) { this.mode = mode; await this.ctx.storage.setAlarm(Date.now()); }
  async look(runs) { for (let i = 0; i < 1000 && (this.runs.length < runs || await this.ctx.storage.getAlarm() !== null); i++) await wait(5); return [this.runs, await this.ctx.storage.getAlarm()]; }
}
const run = (mode, runs) => async (env) => { await env.OBJ.getByName(mode).start(mode); return env.OBJ.getByName(mode).look(runs); };
const probes = { rolledBackSync: run("rolledBackSync", 1), rolledBackDelete: run("rolledBackDelete", 1), sameTime: run("sameTime", 2) };
export default { fetch: (request, env) => answer(probes, env) };
