// What becomes of a call whose caller is over, or does not want the answer any more.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, wait } from "./probe.js";

const seen = {};
const note = (name, what) => (seen[name] ??= []).push(what);
const bytes = (text) => new TextEncoder().encode(text);
export class Obj extends DurableObject {
  async slow(name) { note(name, "began"); await wait(20); note(name, "ended"); }
  keep(callback) { this.kept = callback.dup(); }
  async useKept() { try { return await this.kept(); } catch (error) { return error.message; } }
  async fetch(request) { const name = new URL(request.url).pathname.slice(1); note(name, "began"); await wait(20); note(name, "ended"); return new Response("x"); }
}
export class Callee extends WorkerEntrypoint {
  async slow(name) { note(name, "began"); await wait(20); note(name, "ended"); }
  async holds(name) { note(name, "began"); this.ctx.waitUntil(wait(20).then(() => note(name, "held"))); await wait(30); note(name, "ended"); }
  async fetch(request) { const name = new URL(request.url).pathname.slice(1); note(name, "began"); await wait(20); note(name, "ended"); return new Response("x"); }
  async calls(name, callback) { note(name, "began"); await wait(10); try { note(name, await callback()); } catch (error) { note(name, error.message); } }
  streams(name) { let n = 0; return new ReadableStream({ type: "bytes", async pull(c) { await wait(2); n += 1; if (n === 3) note(name, "third"); c.enqueue(bytes("chunk")); }, cancel() { note(name, "cancelled"); } }); }
  async takes(name, stream) { try { for await (const _ of stream); note(name, "all"); } catch (error) { note(name, "broken"); } }
}
export class Caller extends WorkerEntrypoint {
  async floats(name, target) { const callee = target === "object" ? this.env.OBJ.getByName(name) : this.ctx.exports.Callee; callee.slow(name).catch(() => {}); await wait(5); return "left"; }
  async floatsHolding(name) { this.ctx.exports.Callee.holds(name).catch(() => {}); await wait(5); return "left"; }
  async floatsFetch(name, target) { const callee = target === "object" ? this.env.OBJ.getByName(name) : this.ctx.exports.Callee; callee.fetch(`http://x/${name}`).catch(() => {}); await wait(5); return "left"; }
  async floatsCallback(name) { this.ctx.exports.Callee.calls(name, () => "called back").catch(() => {}); await wait(5); return "left"; }
  async lends(name, stay) { if (stay) this.ctx.waitUntil(wait(stay)); await this.env.OBJ.getByName(name).keep(() => "called back"); return "left"; }
  async floatsStream(name) { const reader = (await this.ctx.exports.Callee.streams(name)).getReader(); await reader.read(); return "left"; }
  async floatsSending(name) { this.ctx.exports.Callee.takes(name, new ReadableStream({ type: "bytes", async pull(c) { await wait(2); c.enqueue(bytes("x")); } })).catch(() => {}); await wait(10); return "left"; }
  async disposes(name) { const call = this.ctx.exports.Callee.slow(name); call.catch?.(() => {}); await wait(5); call[Symbol.dispose](); await wait(40); return "stayed"; }
}
const until = async (test) => { for (let i = 0; i < 100 && !test(); i++) await wait(5); };
const run = (method, ...args) => async (env, ctx) => { const name = [method, ...args].join(" ").replace(" ", "-"); const left = await ctx.exports.Caller[method](name, ...args); await wait(60); return [left, seen[name] ?? []]; };
const probes = {
  callee: run("floats", "callee"),
  object: run("floats", "object"),
  holding: run("floatsHolding"),
  fetchCallee: run("floatsFetch", "callee"),
  fetchObject: run("floatsFetch", "object"),
  callback: run("floatsCallback"),
  sending: run("floatsSending"),
  disposes: run("disposes"),
  lends: async (env, ctx) => { await ctx.exports.Caller.lends("lends"); await wait(10); return env.OBJ.getByName("lends").useKept(); },
  lendsAndStays: async (env, ctx) => { await ctx.exports.Caller.lends("lendsAndStays", 100); await wait(10); return env.OBJ.getByName("lendsAndStays").useKept(); },
  stream: async (env, ctx) => { const left = await ctx.exports.Caller.floatsStream("stream"); await until(() => seen.stream?.includes("cancelled")); return [left, seen.stream?.at(-1)]; },
};
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
