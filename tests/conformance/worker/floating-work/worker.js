// What a request started and did not wait for: over with the request, unless `waitUntil` holds it.
import { DurableObject, WorkerEntrypoint, waitUntil } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

const seen = {};
const note = (name, what) => (seen[name] ??= []).push(what);
const bytes = (text) => new TextEncoder().encode(text);
export class Obj extends DurableObject {
  seen = [];
  async slow(name) { this.seen.push(`${name} began`); await wait(30); this.seen.push(`${name} ended`); return name; }
  report() { return this.seen; }
  floats() { setTimeout(() => this.seen.push("later"), 10); return "floating"; }
  async stored() { return (await this.ctx.storage.get("late")) ?? null; }
}
export class Entry extends WorkerEntrypoint {
  timer(name) { setTimeout(() => note(name, "fired"), 10); return "returned"; }
  interval(name) { setInterval(() => note(name, "tick"), 5); return "returned"; }
  async chain(name) { (async () => { note(name, "began"); await wait(1); note(name, "woke"); })(); return "returned"; }
  microtasks(name) { (async () => { for (let i = 0; i < 3; i++) { await null; note(name, i); } })(); return "returned"; }
  call(name) { this.env.OBJ.getByName(name).slow(name).then(() => note(name, "answered"), () => note(name, "failed")); return "returned"; }
  held(name) { this.ctx.waitUntil(wait(20).then(() => note(name, "held"))); return "returned"; }
  heldImported(name) { waitUntil(wait(20).then(() => note(name, "held"))); return "returned"; }
  heldTwice(name) { this.ctx.waitUntil(wait(5).then(() => { note(name, "first"); this.ctx.waitUntil(wait(5).then(() => note(name, "second"))); })); return "returned"; }
  heldTimer(name) { setTimeout(() => note(name, "fired"), 10); this.ctx.waitUntil(wait(30)); return "returned"; }
  heldRejects(name) { this.ctx.waitUntil(wait(5).then(() => { note(name, "rejecting"); throw new Error("background"); })); this.ctx.waitUntil(wait(20).then(() => note(name, "other"))); return "returned"; }
  fails(name) { setTimeout(() => note(name, "fired"), 10); throw new RangeError("failed"); }
  failsHeld(name) { this.ctx.waitUntil(wait(10).then(() => note(name, "held"))); throw new RangeError("failed"); }
  stream(name) {
    const { readable, writable } = new IdentityTransformStream();
    (async () => { const w = writable.getWriter(); for (const part of ["a", "b", "c"]) { await wait(5); await w.write(bytes(part)); } await w.close(); note(name, "closed"); })().catch((e) => note(name, String(e)));
    return readable;
  }
  fetch(request) {
    const name = new URL(request.url).pathname.slice(1);
    if (name === "streamed") return new Response(this.stream(name));
    if (name === "afterBody") { const { readable, writable } = new IdentityTransformStream(); (async () => { const w = writable.getWriter(); await wait(5); await w.write(bytes("x")); await w.close(); await wait(1); note(name, "after the body"); })().catch(() => {}); return new Response(readable); }
    if (name === "jsBody") return new Response(new ReadableStream({ async pull(c) { await wait(5); if ((seen.pulls = (seen.pulls ?? 0) + 1) > 3) return c.close(); c.enqueue(bytes("p")); } }));
    if (name === "abort") { this.ctx.abort(new RangeError("aborted")); note(name, "went on"); return new Response("not reached?"); }
    if (name === "unread") { note(name, "no body read"); return new Response("unread"); }
    setTimeout(() => note(name, "fired"), 10);
    return new Response(name);
  }
  abort(name) { setTimeout(() => note(name, "fired"), 10); try { this.ctx.abort(new RangeError("aborted")); } catch (error) { note(name, String(error)); } note(name, "went on"); return "returned"; }
  abortPlain(name) { this.ctx.abort(); note(name, "went on"); return "returned"; }
  async abortLater(name) { await wait(1); this.ctx.waitUntil(wait(10).then(() => note(name, "held"))); this.ctx.abort(new RangeError("later")); note(name, "went on"); await wait(1); note(name, "awaited"); return "returned"; }
  /** Gives out a callback, which keeps the request going as long as somebody has it. */
  callback(name) { setTimeout(() => note(name, "fired"), 10); return () => { note(name, "called"); return "called back"; }; }
  async usesArgument(callback) { return callback(); }
}
const topLevel = {};
for (const [name, make] of Object.entries({ identity: () => new IdentityTransformStream(), compression: () => new CompressionStream("gzip"), js: () => new ReadableStream({}), transform: () => new TransformStream(), blob: () => new Blob(["x"]).stream(), text: () => new Response("x"), empty: () => new Response(null), json: () => Response.json({}), stream: () => new Response(new ReadableStream({})), request: () => new Request("http://x/", { method: "POST", body: "x" }), redirect: () => Response.redirect("http://x/"), clone: () => new Response(null).clone() })) {
  try { make(); topLevel[name] = "made"; } catch (error) { topLevel[name] = String(error).split(". ")[0]; }
}
const after = async (name) => { await wait(60); return seen[name] ?? []; };
const run = (method) => async (env, ctx) => [await caught(() => ctx.exports.Entry[method](method)), await after(method)];
const probes = {
  timer: run("timer"),
  interval: run("interval"),
  chain: run("chain"),
  microtasks: run("microtasks"),
  call: async (env, ctx) => [await ctx.exports.Entry.call("call"), await after("call")],
  held: run("held"),
  heldImported: run("heldImported"),
  heldTwice: run("heldTwice"),
  heldTimer: run("heldTimer"),
  heldRejects: run("heldRejects"),
  fails: run("fails"),
  failsHeld: run("failsHeld"),
  stream: async (env, ctx) => { const s = await ctx.exports.Entry.stream("stream"); const text = await new Response(s).text(); await wait(10); return [text]; },
  streamed: async (env, ctx) => [await (await ctx.exports.Entry.fetch("http://x/streamed")).text()],
  afterBody: async (env, ctx) => [await (await ctx.exports.Entry.fetch("http://x/afterBody")).text(), await after("afterBody")],
  jsBody: async (env, ctx) => (await ctx.exports.Entry.fetch("http://x/jsBody")).text(),
  fetched: async (env, ctx) => [await (await ctx.exports.Entry.fetch("http://x/fetched")).text(), await after("fetched")],
  unread: async (env, ctx) => { await ctx.exports.Entry.fetch("http://x/unread"); return after("unread"); },
  abort: run("abort"),
  abortPlain: run("abortPlain"),
  abortLater: run("abortLater"),
  abortFetch: async (env, ctx) => [await caught(() => ctx.exports.Entry.fetch("http://x/abort")), await after("abort")],
  callback: async (env, ctx) => { const f = await ctx.exports.Entry.callback("callback"); await wait(30); const called = await f(); f[Symbol.dispose]?.(); return [called, await after("callback")]; },
  topLevelStreams: () => topLevel,
  object: async (env) => { const o = env.OBJ.getByName("floats"); await o.floats(); await wait(30); return o.report(); },
};
export default {
  fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/abort") { ctx.abort(new Error("aborted")); return new Response("went on"); }
    return answer(probes, env, ctx);
  },
};
