// Promises of one request that another awaits or settles: continuations stay with whoever asked for them.
import { AsyncLocalStorage } from "node:async_hooks";
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

const storage = new AsyncLocalStorage();
const kept = {};
const seen = [];
const short = (e) => (Array.isArray(e) ? [e[0], String(e[1]).split(". ")[0]] : e);
export class Obj extends DurableObject {
  hi() { return "hi"; }
  waits() { return new Promise((resolve) => { kept.ofObject = resolve; }).then((v) => ["object got", v, typeof this.ctx.storage.kv.get("a")]); }
  resolves(v) { kept.ofObject(v); return "resolved"; }
}
export class Entry extends WorkerEntrypoint {
  hi() { return "hi"; }
  /** Awaits a promise of its own that somebody else settles, then does I/O. */
  waits(name, then) {
    return storage.run(`store of ${name}`, async () => {
      let got;
      try { got = await new Promise((resolve, reject) => { kept[name] = { resolve, reject }; this.ctx.waitUntil(wait(1000)); }); } catch (error) { got = String(error); }
      const did = then === "call" ? await this.env.OBJ.getByName("o").hi() : then === "timer" ? await wait(1) : then === "fetch" ? await (await this.ctx.exports.default.fetch("http://x/plain")).text() : null;
      return [got, storage.getStore(), did];
    });
  }
  waitsIdly(name) { return new Promise((resolve) => { kept[name] = { resolve }; }); }
  /** Does not wait, but leaves a continuation behind. */
  leaves(name, then) {
    const promise = new Promise((resolve) => { kept[name] = { resolve }; });
    promise.then(async (v) => { seen.push(`ran ${v}`); if (then) { seen.push(await caught(() => this.env.OBJ.getByName("o").hi())); } });
    return "left";
  }
  settles(name, value) { return storage.run("store of the settler", () => { kept[name].resolve(value); return "settled"; }); }
  rejects(name) { kept[name].reject(new RangeError("by another")); return "settled"; }
  /** Awaits what another request has made. */
  async awaits(name) { return [await kept[name], storage.getStore() ?? null]; }
  makes(name, what, stay) {
    kept[name] = what === "timer" ? wait(20).then(() => "from a timer") : what === "call" ? this.env.OBJ.getByName("o").hi().then((x) => x) : what === "never" ? new Promise(() => {}) : Promise.resolve("at once");
    kept[name].catch?.(() => {});
    return stay ? wait(40).then(() => "made") : "made";
  }
  async once(name) { return (kept[name] ??= (async () => { await wait(5); return (await this.env.OBJ.getByName("o").hi()) + " once"; })()); }
}
const until = async (test) => { for (let i = 0; i < 200 && !test(); i++) await wait(5); };
/** B waits, A settles; what B answers. */
async function settledByOther(ctx, name, then) {
  const waiting = ctx.exports.Entry.waits(name, then);
  await until(() => kept[name]);
  return [await ctx.exports.Entry.settles(name, 5), await waiting];
}
const probes = {
  settledByOther: (env, ctx) => settledByOther(ctx, "plain"),
  thenCalls: (env, ctx) => settledByOther(ctx, "calls", "call"),
  thenTimer: (env, ctx) => settledByOther(ctx, "timer", "timer"),
  thenFetch: (env, ctx) => settledByOther(ctx, "fetch", "fetch"),
  rejectedByOther: async (env, ctx) => { const waiting = ctx.exports.Entry.waits("rejected"); await until(() => kept.rejected); await ctx.exports.Entry.rejects("rejected"); return waiting; },
  awaitsTimer: async (env, ctx) => { const made = ctx.exports.Entry.makes("aTimer", "timer", true); await until(() => kept.aTimer); return [short(await caught(() => ctx.exports.Entry.awaits("aTimer"))), await made]; },
  awaitsCall: async (env, ctx) => { const made = ctx.exports.Entry.makes("aCall", "call", true); await until(() => kept.aCall); return [short(await caught(() => ctx.exports.Entry.awaits("aCall"))), await made]; },
  awaitsResolved: async (env, ctx) => { await ctx.exports.Entry.makes("settled", "resolved"); return ctx.exports.Entry.awaits("settled"); },
  once: (env, ctx) => Promise.all([ctx.exports.Entry.once("single"), ctx.exports.Entry.once("single"), ctx.exports.Entry.once("single")]),
  onceLater: (env, ctx) => ctx.exports.Entry.once("single"),
  waitsForNobody: async (env, ctx) => short(await caught(() => ctx.exports.Entry.waitsIdly("idle"))),
  objectSettledByObject: async (env) => { const waiting = env.OBJ.getByName("a").waits(); await until(() => kept.ofObject); return [await env.OBJ.getByName("b").resolves(9), await waiting]; },
  objectSettledByRequest: async (env) => { kept.ofObject = undefined; const waiting = env.OBJ.getByName("a").waits(); await until(() => kept.ofObject); kept.ofObject(3); return waiting; },
  requestSettledByObject: async (env) => { kept.ofObject = undefined; const got = new Promise((resolve) => { kept.ofObject = resolve; }).then((v) => ["request got", v]); return [await env.OBJ.getByName("b").resolves(1), await got]; },
  leftBehind: async (env, ctx) => { await ctx.exports.Entry.leaves("left"); await wait(5); await ctx.exports.Entry.settles("left", 1); await wait(20); return seen.splice(0); },
  leftBehindCalls: async (env, ctx) => { await ctx.exports.Entry.leaves("leftCalls", true); await wait(5); await ctx.exports.Entry.settles("leftCalls", 1); await wait(20); return seen.splice(0); },
};
export default {
  fetch(request, env, ctx) {
    if (request.url.endsWith("/plain")) return new Response("plain");
    return answer(probes, env, ctx);
  },
};
