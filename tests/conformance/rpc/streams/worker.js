// Requests, responses and byte streams as RPC values.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

const utf8 = (text) => new TextEncoder().encode(text);
const slow = (...parts) => { const { readable, writable } = new IdentityTransformStream(); (async () => { const w = writable.getWriter(); for (const p of parts) { await w.write(utf8(p)); await wait(2); } await w.close(); })().catch(() => {}); return readable; };
const methods = (Base) => class extends Base {
  async readRequest(request) { return [request instanceof Request, request.method, request.url, request.headers.get("x-a"), await request.text()]; }
  async readResponse(response) { return [response instanceof Response, response.status, response.headers.get("x-a"), await response.text()]; }
  giveResponse() { return new Response("body", { status: 418, headers: { "x-a": "1" } }); }
  giveRequest() { return new Request("http://x/y", { method: "POST", body: "b", headers: { "x-a": "1" } }); }
  giveBodiless() { return new Request("http://x/y"); }
  giveStream() { return slow("one ", "two ", "three"); }
  giveStreamIn() { return { stream: slow("in object"), n: 1 }; }
  readStream(stream) { return new Response(stream).text(); }
  async writeTo(stream) { const w = stream.getWriter(); await w.write(utf8("written ")); await w.write(utf8("there")); await w.close(); return "done"; }
  async failStream() { return new ReadableStream({ type: "bytes", pull(c) { c.error(new RangeError("mid stream")); } }); }
  giveObjectStream() { return new ReadableStream({ start(c) { c.enqueue({ a: 1 }); c.close(); } }); }
  giveBlob() { return new Blob(["blob"], { type: "t/p" }); }
  giveLarge() { return new Response(new Uint8Array(3 << 20)); }
  cancelled() { return this.env.OBJ.getByName("flag").takeFlag(); }
  giveUsed() { const r = new Response("x"); return r.text().then(() => r); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {}
const forEach = (s, of) => ({
  [`${of} request argument`]: () => s().readRequest(new Request("http://x/y?z", { method: "PUT", body: "b", headers: { "x-a": "1" } })),
  [`${of} response argument`]: () => s().readResponse(new Response("b", { status: 201, headers: { "x-a": "1" } })),
  [`${of} response result`]: async () => { const r = await s().giveResponse(); return [r.status, r.headers.get("x-a"), await r.text()]; },
  [`${of} request result`]: async () => { const r = await s().giveRequest(); return [r.method, r.url, await r.text()]; },
  [`${of} bodiless request`]: async () => (await s().giveBodiless()).body,
  [`${of} stream result`]: async () => new Response(await s().giveStream()).text(),
  [`${of} stream in object`]: async () => new Response((await s().giveStreamIn()).stream).text(),
  [`${of} stream argument`]: () => s().readStream(slow("a", "b", "c")),
  [`${of} sent stream is locked`]: async () => { const b = slow("a"); const r = s().readStream(b); const locked = b.locked; await r; return locked; },
  [`${of} writable argument`]: async () => { const { readable, writable } = new IdentityTransformStream(); const text = new Response(readable).text(); return [await s().writeTo(writable), await text]; },
  [`${of} stream error`]: () => caught(async () => new Response(await s().failStream()).text()),
  [`${of} non-byte stream`]: async () => (await caught(async () => { for await (const x of await s().giveObjectStream()) return x; }))[0] ?? "ok",
  [`${of} blob`]: async () => { const b = await s().giveBlob(); return [b.type, await b.text()]; },
  [`${of} large response`]: async () => (await (await s().giveLarge()).arrayBuffer()).byteLength,
  [`${of} used response`]: async () => caught(async () => (await s().giveUsed()).text()),
});
const probes = (env, ctx) => ({ ...forEach(() => ctx.exports.Entry, "entry"), ...forEach(() => env.OBJ.getByName("s"), "object") });
export default { fetch: (request, env, ctx) => answer(probes(env, ctx)) };
