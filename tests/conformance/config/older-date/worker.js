// A worker of an older date with one flag: what the date switches off, what the flag switches on.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, thrown } from "./probe.js";

export class Obj extends DurableObject {
  fails() { throw Object.assign(new Error("e"), { code: 5 }); }
  async deleteAllKeepsAlarm() { await this.ctx.storage.setAlarm(4_000_000_000_000); await this.ctx.storage.deleteAll(); return this.ctx.storage.getAlarm(); }
  alarm() {}
}
const probes = {
  node: async () => (await caught(() => import("node:fs")))[0],
  buffer: () => [typeof Buffer, typeof process, typeof global],
  timeoutIsNumber: () => { const id = setTimeout(() => {}, 0); clearTimeout(id); return typeof id; },
  ctxExports: (env, ctx) => Object.keys(ctx.exports).sort(),
  errorProps: (env) => caught(() => env.OBJ.getByName("x").fails()),
  deleteAllKeepsAlarm: (env) => env.OBJ.getByName("y").deleteAllKeepsAlarm(),
  env: (env) => env.V,
  navigator: () => navigator.userAgent,
};
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
