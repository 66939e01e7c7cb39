// Writable streams as arguments: chunks, back-pressure, close, abort, errors from either side.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, failure, wait } from "./probe.js";

const utf8 = (text) => new TextEncoder().encode(text);
const methods = (Base) => class extends Base {
  async write(stream, ...parts) { const w = stream.getWriter(); for (const p of parts) await w.write(utf8(p)); await w.close(); return "done"; }
  async writeAtOnce(stream, n) { const w = stream.getWriter(); const all = []; for (let i = 0; i < n; i++) all.push(w.write(utf8(`${i},`))); all.push(w.close()); await Promise.all(all); return "done"; }
  async writeLarge(stream, n, size) { const w = stream.getWriter(); for (let i = 0; i < n; i++) await w.write(new Uint8Array(size).fill(i)); await w.close(); return "done"; }
  async writeChunk(stream, kind) { const w = stream.getWriter(); await w.write({ text: "text", object: { a: 1 }, buffer: utf8("buffer").buffer, floats: new Float32Array([1]), number: 5, empty: new Uint8Array(0), none: undefined }[kind]); await w.close(); return "written"; }
  async abort(stream, reason) { const w = stream.getWriter(); await w.write(utf8("a")); await w.abort(reason); return "aborted"; }
  async abortError(stream) { const w = stream.getWriter(); await w.abort(new RangeError("aborted by the writer")); return "aborted"; }
  leave(stream) { return "left"; }
  async leaveOpen(stream) { const w = stream.getWriter(); await w.write(utf8("some")); return "left open"; }
  async writeUntilError(stream) { const w = stream.getWriter(); try { for (let i = 0; i < 1000; i++) { await w.write(utf8("x")); await wait(1); } return "no error"; } catch (e) { return failure(e); } }
  async closedPromise(stream) { const w = stream.getWriter(); await w.write(utf8("x")); await w.close(); return caught(() => w.closed); }
  async closeTwice(stream) { const w = stream.getWriter(); await w.close(); return caught(() => w.close()); }
  async pipe(stream) { await new Response("piped body").body.pipeTo(stream); return "piped"; }
  shape(stream) { return [stream instanceof WritableStream, stream.locked, stream.constructor.name]; }
  async desired(stream) { const w = stream.getWriter(); await w.ready; return typeof w.desiredSize; }
  pass(stream) { return this.env.OBJ.getByName("passed").write(stream, "passed ", "on"); }
  giveWritable() { const { readable, writable } = new IdentityTransformStream(); this.text = new Response(readable).text(); return writable; }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) { async text_() { return await this.text; } }

const sink = () => { const { readable, writable } = new IdentityTransformStream(); return { writable, text: new Response(readable).text().then((x) => x, failure) }; };
const custom = (extra = {}) => { const seen = []; return { seen, writable: new WritableStream({ write(chunk) { seen.push(chunk instanceof Uint8Array ? new TextDecoder().decode(chunk) : ["chunk", typeof chunk, Object.prototype.toString.call(chunk)]); }, close() { seen.push("closed"); }, abort(reason) { seen.push(["aborted", reason instanceof Error ? failure(reason) : typeof reason]); }, ...extra }) }; };
const forEach = (s, of) => ({
  [`${of} identity`]: async () => { const { writable, text } = sink(); return [await s().write(writable, "one ", "two"), await text]; },
  [`${of} at once`]: async () => { const { writable, text } = sink(); return [await s().writeAtOnce(writable, 20), await text]; },
  [`${of} large`]: async () => { const { readable, writable } = new IdentityTransformStream(); const length = new Response(readable).arrayBuffer().then((b) => b.byteLength); return [await s().writeLarge(writable, 20, 65536), await length]; },
  [`${of} custom`]: async () => { const { seen, writable } = custom(); const r = await s().write(writable, "a", "b"); await wait(5); return [r, seen]; },
  [`${of} locked at once`]: async () => { const { seen, writable } = custom(); const p = s().write(writable, "a"); const locked = writable.locked; await p; return locked; },
  [`${of} sent while locked`]: () => caught(() => { const { writable } = custom(); writable.getWriter(); return s().write(writable, "a"); }),
  ...Object.fromEntries(["text", "object", "buffer", "floats", "number", "empty", "none"].map((kind) => [`${of} chunk ${kind}`, async () => { const { seen, writable } = custom(); const r = await caught(() => s().writeChunk(writable, kind)); await wait(5); return [r, seen]; }])),
  [`${of} abort`]: async () => { const { seen, writable } = custom(); const r = await caught(() => s().abort(writable, "reason")); await wait(10); return [r, seen]; },
  [`${of} abort with error`]: async () => { const { seen, writable } = custom(); const r = await caught(() => s().abortError(writable)); await wait(10); return [r, seen]; },
  [`${of} left`]: async () => { const { seen, writable } = custom(); const r = await s().leave(writable); await wait(10); return [r, seen]; },
  [`${of} left open`]: async () => { const { seen, writable } = custom(); const r = await s().leaveOpen(writable); await wait(10); return [r, seen]; },
  [`${of} sink fails`]: async () => { const { seen, writable } = custom({ write() { throw new RangeError("sink"); } }); return caught(() => s().writeUntilError(writable)); },
  [`${of} sink fails on close`]: async () => { const { seen, writable } = custom({ close() { throw new RangeError("sink close"); } }); return caught(() => s().write(writable, "a")); },
  [`${of} reader cancels`]: async () => { const { readable, writable } = new IdentityTransformStream(); const reader = readable.getReader(); const p = s().writeUntilError(writable); await reader.read(); await reader.cancel(new RangeError("enough")); return caught(() => p); },
  [`${of} closed`]: async () => { const { writable } = custom(); return s().closedPromise(writable); },
  [`${of} close twice`]: async () => { const { writable } = custom(); return s().closeTwice(writable); },
  [`${of} pipeTo`]: async () => { const { writable, text } = sink(); return [await s().pipe(writable), await text]; },
  [`${of} shape`]: async () => { const { writable } = custom(); return s().shape(writable); },
  [`${of} desiredSize`]: async () => { const { writable } = custom(); return s().desired(writable); },
  [`${of} passed on`]: async () => { const { writable, text } = sink(); return [await s().pass(writable), await text]; },
  [`${of} slow sink in order`]: async () => { const { seen, writable } = custom({ async write(chunk) { await wait(3); seen.push(new TextDecoder().decode(chunk)); } }); await s().writeAtOnce(writable, 5); return seen; },
});
const probes = (env, ctx) => ({
  ...forEach(() => ctx.exports.Entry, "entry"), ...forEach(() => env.OBJ.getByName("s"), "object"),
  writableResult: async () => { const o = env.OBJ.getByName("result"); const w = (await o.giveWritable()).getWriter(); await w.write(utf8("as result")); await w.close(); return o.text_(); },
});
export default { fetch: (request, env, ctx) => answer(probes(env, ctx)) };
