// Critical sections that never end: after 30 s the object is reset, and everybody who waits is told.
import { DurableObject } from "cloudflare:workers";
import { caught } from "./probe.js";

export class Obj extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    if (ctx.id.name === "constructor") ctx.blockConcurrencyWhile(() => new Promise(() => {}));
  }
  ok() { return "ok"; }
  block() { return this.ctx.blockConcurrencyWhile(() => new Promise(() => {})); }
  async catches() { try { await this.block(); } catch (error) { return `caught ${error.message}`; } }
  callsItself() { return this.ctx.blockConcurrencyWhile(() => this.env.OBJ.getByName("itself").ok()); }
  async put() { this.ctx.storage.kv.put("k", 1); await this.ctx.blockConcurrencyWhile(async () => { this.ctx.storage.kv.put("inside", 1); await new Promise(() => {}); }); }
  stored() { return [...this.ctx.storage.kv.list()]; }
}
const after = async (env, name, call) => {
  const stub = env.OBJ.getByName(name);
  const blocked = caught(() => call(stub));
  const queued = caught(() => stub.ok());
  return { blocked: await blocked, queued: await queued, old: await caught(() => stub.ok()), ...(name !== "constructor" && { fresh: await caught(() => env.OBJ.getByName(name).stored()) }) };
};
export default {
  async fetch(request, env) {
    const [inConstructor, inMethod, caughtThere, itself, put] = await Promise.all([
      after(env, "constructor", (s) => s.ok()),
      after(env, "method", (s) => s.block()),
      after(env, "catches", (s) => s.catches()),
      after(env, "itself", (s) => s.callsItself()),
      after(env, "put", (s) => s.put()),
    ]);
    return Response.json({ inConstructor, inMethod, caughtThere, itself, put });
  },
};
