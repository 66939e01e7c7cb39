// Calls that make calls that make calls: how deep they may go, over every kind of hop.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, failure } from "./probe.js";

const deeper = { entry: (self, n) => self.ctx.exports.Entry.go("entry", n), object: (self, n) => self.env.OBJ.getByName(`o${n}`).go("object", n), same: (self, n) => self.env.OBJ.getByName("same").go("same", n), both: (self, n) => n % 2 ? self.ctx.exports.Entry.go("both", n) : self.env.OBJ.getByName("both").go("both", n), fetch: (self, n) => self.ctx.exports.Entry.fetch(`http://x/${n}`).then((r) => r.json()), promise: (self, n) => self.ctx.exports.Entry.go("promise", n).then((x) => x), callback: (self, n) => self.ctx.exports.Entry.run((m) => deeper.callback(self, m), n), loaded: (self, n) => self.env.SELF.go("loaded", n) };
const methods = (Base) => class extends Base {
  go(how, n) { return n === 0 ? "bottom" : deeper[how](this, n - 1); }
  run(fn, n) { return n === 0 ? "bottom" : fn(n - 1); }
  async fetch(request) { const n = Number(new URL(request.url).pathname.slice(1)); return Response.json(n === 0 ? "bottom" : await deeper.fetch(this, n - 1).catch(failure)); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {
  facet(n) { return this.ctx.facets.get("child", () => ({ class: this.ctx.exports.Obj, id: this.ctx.id })).up(n); }
  up(n) { return n === 0 ? "bottom" : this.ctx.exports.Entry.down(n - 1); }
  loops() { return this.env.OBJ.getByName("loops").loops(); }
}
Entry.prototype.down = function (n) { return this.env.OBJ.getByName("facets").facet(n); };
export class Chain extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    const n = Number(ctx.id.name);
    if (n > 0) ctx.blockConcurrencyWhile(async () => { this.below = await env.CHAIN.getByName(String(n - 1)).below_().catch(failure); });
    else this.below = "bottom";
  }
  below_() { return this.below; }
}
const limit = async (how, self) => {
  // The answer itself is one event deep already.
  const calls = [];
  for (const n of [10, 63, 64, 200]) calls.push(await deeper[how](self, n).catch(failure));
  return calls;
};
const probes = (env, ctx) => ({
  ...Object.fromEntries(["entry", "object", "same", "both", "fetch", "promise", "callback"].map((how) => [how, () => limit(how, { env, ctx })])),
  facets: async () => { const results = []; for (const n of [5, 200]) results.push(await ctx.exports.Entry.down(n).catch(failure)); return results; },
  constructors: async () => { const results = []; for (const n of [5, 200]) results.push(await env.CHAIN.getByName(String(n)).below_().catch(failure)); return results; },
  endless: () => env.OBJ.getByName("loops").loops().catch(failure),
  afterwards: () => ctx.exports.Entry.go("entry", 5),
  inARow: async () => { for (let i = 0; i < 200; i++) await ctx.exports.Entry.go("entry", 1); return "fine"; },
});
export default { fetch: (request, env, ctx) => answer(probes(env, ctx)) };
