// Idle eviction: memory goes, storage and the stub stay; the callback is not called again.
import { DurableObject } from "cloudflare:workers";
import { answer, wait } from "./probe.js";

export class Child extends DurableObject {
  memory() { return (this.m = (this.m ?? 0) + 1); }
  hit() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
}
export class Idle extends DurableObject {}
export class Parent extends DurableObject {
  memory() { return (this.m = (this.m ?? 0) + 1); }
  hit() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
  async facetWhileBusy() {
    let calls = 0;
    const f = this.ctx.facets.get("f", () => { calls++; return { class: this.ctx.exports.Child }; });
    const before = [await f.memory(), await f.memory(), await f.hit()];
    await wait(12_500);
    return { before, after: [await f.memory(), await f.hit()], calls };
  }
}
const probes = { all: async (env) => {
  const idle = env.PARENT.getByName("idle");
  const before = [await idle.memory(), await idle.memory(), await idle.hit()];
  const [facet] = await Promise.all([env.PARENT.getByName("busy").facetWhileBusy(), wait(12_500)]);
  return { object: { before, after: [await idle.memory(), await idle.hit()] }, facet };
} };
export default { fetch: (request, env) => answer(probes, env) };
