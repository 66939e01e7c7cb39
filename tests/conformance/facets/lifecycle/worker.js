// Facets across restarts and the parent's own failures.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

export class Child extends DurableObject {
  hit() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
  n() { return this.ctx.storage.kv.get("n") ?? 0; }
  memory() { return (this.m = (this.m ?? 0) + 1); }
  hang() { return wait(10_000); }
  inner(name) { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.Child })).hit(); }
}
export class Parent extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.early = ctx.facets.get("early", () => ({ class: ctx.exports.Child })); }
  get(name) { return this.ctx.facets.get(name, () => ({ class: this.ctx.exports.Child })); }
  async hits(names) { const seen = {}; for (const name of names) seen[name] = await this.get(name).hit(); return seen; }
  remove(name) { this.ctx.facets.delete(name); return "deleted"; }
  inner(a, b) { return this.get(a).inner(b); }
  fromConstructor() { return this.early.hit(); }
  memory(name) { return this.get(name).memory(); }
  hangIn(name) { return this.get(name).hang(); }
  n(name) { return this.get(name).n(); }
  breakSelf() { this.ctx.abort("parent abort"); }
  breakSoon() { setTimeout(() => this.ctx.abort("parent abort soon"), 20); }
  breakByBcw() { return this.ctx.blockConcurrencyWhile(() => { throw new RangeError("parent bcw"); }); }
}
const first = (s) => ({
  order: () => s().hits(["a", "b", "c", "gone"]),
  nested: () => s().inner("a", "x"),
  deleted: () => s().remove("gone"),
  constructorGet: () => s().fromConstructor(),
});
// Another order of starting: storage is found by name, not by who comes first.
const second = (s) => ({
  order: () => s().hits(["c", "gone", "a", "new", "b"]),
  nested: () => s().inner("a", "x"),
  constructorGet: () => s().fromConstructor(),
});
const breaks = (s) => ({
  memoryBefore: async () => [await s().memory("m"), await s().memory("m")],
  abort: () => caught(() => s().breakSelf()),
  memoryAfter: () => s().memory("m"),
  storageAfter: () => s().n("a"),
  inFlightFacetCall: async () => { const p = s(); const hanging = caught(() => p.hangIn("m")); await wait(5); await p.breakSoon(); return hanging; },
  bcw: () => caught(() => s().breakByBcw()),
  memoryAfterBcw: () => s().memory("m"),
});
export default {
  fetch(request, env) {
    const s = () => env.PARENT.getByName("p");
    return answer({ "/first": first, "/second": second, "/parent-breaks": breaks }[new URL(request.url).pathname](s));
  },
};
