// I/O objects of one request in another's hands: after the first is over, and while it still runs.
import { WorkerEntrypoint, DurableObject, RpcTarget } from "cloudflare:workers";
import { answer, caught, show, wait } from "./probe.js";

const bytes = (text) => new TextEncoder().encode(text);
const jsStream = () => new ReadableStream({ start(c) { c.enqueue(bytes("js")); c.close(); } });
const sink = () => new WritableStream({ write() {} });
/** What a stub call leads to. */
class Target extends RpcTarget { hi() { return "hi"; } get property() { return 7; } }
export class Entry extends WorkerEntrypoint {
  hi() { return "hi"; }
  add(a, b) { return a + b; }
  fn() { return () => "called"; }
  target() { return new Target(); }
  takes(value) { return typeof value; }
  later() { return wait(5).then(() => "later"); }
  stream() { return new ReadableStream({ type: "bytes", start(c) { c.enqueue(bytes("rpc")); c.close(); } }); }
  fetch(request) {
    if (request.url.endsWith("/stream")) {
      const { readable, writable } = new IdentityTransformStream();
      this.ctx.waitUntil((async () => { const w = writable.getWriter(); await w.write(bytes("fetched")); await w.close(); })().catch(() => {}));
      return new Response(readable);
    }
    return new Response("fetched");
  }
}
export class Obj extends DurableObject {
  hi() { return "hi"; }
  fetch(request) {
    const [, what, where] = new URL(request.url).pathname.split("/");
    if (what === "keep") return keep(where, this.ctx, this.env, request).then(() => new Response("kept"));
    return use(where, this.ctx);
  }
}

const code = () => ({
  compatibilityDate: "2026-09-01",
  mainModule: "w.js",
  modules: { "w.js": `import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
    export default class extends WorkerEntrypoint { hi() { return "hi"; } fetch() { return new Response("loaded"); } }
    export class F extends DurableObject { hi() { return "hi"; } }` },
});

const bodyOps = {
  text: (r) => r.text(),
  body: (r) => r.body === null,
  bodyUsed: (r) => r.bodyUsed,
  getReader: (r) => r.body.getReader().constructor.name,
  readBody: async (r) => new TextDecoder().decode((await r.body.getReader().read()).value),
  clone: (r) => typeof r.clone(),
  header: (r) => r.headers.get("x"),
  wrap: (r) => new Response(r.body).status,
  wrapRead: (r) => new Response(r.body).text(),
  argument: (r, ctx) => ctx.exports.Entry.takes(r),
};
const streamOps = {
  locked: (s) => s.locked,
  getReader: (s) => s.getReader().constructor.name,
  read: async (s) => new TextDecoder().decode((await s.getReader().read()).value),
  cancel: (s) => s.cancel("enough"),
  tee: (s) => s.tee().length,
  pipeTo: (s) => s.pipeTo(sink()),
  pipeThrough: (s) => s.pipeThrough(new TextDecoderStream()).locked,
  iterate: async (s) => { let n = 0; for await (const chunk of s) n += chunk.byteLength; return n; },
  asBody: (s) => new Response(s).text(),
  argument: (s, ctx) => ctx.exports.Entry.takes(s),
};
const readerOps = {
  read: async (r) => new TextDecoder().decode((await r.read()).value),
  cancel: (r) => r.cancel(),
  releaseLock: (r) => r.releaseLock(),
  closed: (r) => typeof r.closed.then,
};
const stubOps = {
  call: (s) => s.hi(),
  property: (s) => s.property,
  argument: (s, ctx) => ctx.exports.Entry.takes(s),
  dispose: (s) => s[Symbol.dispose](),
};
const rpcStubOps = { ...stubOps, dup: (s) => typeof s.dup() };
const serviceOps = { call: (s) => s.hi(), fetch: async (s) => (await s.fetch("http://x/")).text(), argument: (s, ctx) => ctx.exports.Entry.takes(s) };
const writableOps = { getWriter: (w) => w.getWriter().constructor.name, write: (w) => { const writer = w.getWriter(); writer.write(bytes("x")).catch(() => {}); return "no throw"; }, abort: (w) => w.abort("x"), close: (w) => { w.close().catch(() => {}); return "no throw"; }, pipeInto: (w) => { jsStream().pipeTo(w).catch(() => {}); return "no throw"; } };
const writerOps = { write: (w) => { w.write(bytes("x")).catch(() => {}); return "no throw"; }, writeAwaited: (w, ctx) => Promise.race([w.write(bytes("x")), wait(50).then(() => "pending")]), abort: (w) => w.abort("x"), desiredSize: (w) => w.desiredSize, releaseLock: (w) => w.releaseLock() };
const signalOps = { aborted: (s) => s.aborted, reason: (s) => typeof s.reason, listen: (s) => s.addEventListener("abort", () => {}), throwIfAborted: (s) => s.throwIfAborted(), any: (s) => AbortSignal.any([s]).aborted, fetch: async (s, ctx) => (await ctx.exports.Entry.fetch("http://x/", { signal: s })).status, wait: (s) => scheduler.wait(1, { signal: s }) };

/** How each kind is made, and what is then tried on a fresh one. */
const kinds = {
  textResponse: [() => new Response("text", { headers: { x: "1" } }), bodyOps],
  emptyResponse: [() => new Response(null, { headers: { x: "1" } }), { text: (r) => r.text(), body: (r) => r.body, clone: (r) => r.clone().status, argument: bodyOps.argument }],
  jsStreamResponse: [() => new Response(jsStream()), bodyOps],
  fetched: [(ctx) => ctx.exports.Entry.fetch("http://x/text"), bodyOps],
  fetchedStream: [(ctx) => ctx.exports.Entry.fetch("http://x/stream"), bodyOps],
  newRequest: [() => new Request("http://x/", { method: "POST", body: "text", headers: { x: "1" } }), { ...bodyOps, again: (r) => new Request(r).method, signal: (r) => r.signal.aborted, fetch: async (r, ctx) => (await ctx.exports.Entry.fetch(r)).status }],
  emptyRequest: [() => new Request("http://x/"), { text: (r) => r.text(), clone: (r) => r.clone().method, again: (r) => new Request(r).method, signal: (r) => r.signal.aborted, fetch: async (r, ctx) => (await ctx.exports.Entry.fetch(r)).status }],
  textStream: [() => new Response("text").body, streamOps],
  jsStream: [() => jsStream(), streamOps],
  rpcStream: [async (ctx) => await ctx.exports.Entry.stream(), streamOps],
  fetchedBody: [async (ctx) => (await ctx.exports.Entry.fetch("http://x/stream")).body, streamOps],
  identityReadable: [() => { const { readable, writable } = new IdentityTransformStream(); const w = writable.getWriter(); w.write(bytes("id")).catch(() => {}); return readable; }, streamOps],
  transformReadable: [() => new TransformStream().readable, { getReader: streamOps.getReader, cancel: streamOps.cancel }],
  compressed: [() => jsStream().pipeThrough(new CompressionStream("gzip")), { getReader: streamOps.getReader, read: async (s) => (await s.getReader().read()).value.byteLength > 0, cancel: streamOps.cancel }],
  blobStream: [() => new Blob(["blob"]).stream(), { getReader: streamOps.getReader, read: streamOps.read }],
  reader: [() => new Response("text").body.getReader(), readerOps],
  jsReader: [() => jsStream().getReader(), readerOps],
  fetchedReader: [async (ctx) => (await ctx.exports.Entry.fetch("http://x/stream")).body.getReader(), readerOps],
  identityWritable: [() => new IdentityTransformStream().writable, writableOps],
  jsWritable: [() => sink(), writableOps],
  identityWriter: [() => new IdentityTransformStream().writable.getWriter(), writerOps],
  jsWriter: [() => sink().getWriter(), writerOps],
  digestWriter: [() => new crypto.DigestStream("SHA-256").getWriter(), { write: writerOps.writeAwaited, close: (w) => w.close() }],
  bodyHalf: [() => { const [a] = new Response("text").body.tee(); return a; }, { getReader: streamOps.getReader, read: streamOps.read }],
  fnStub: [(ctx) => ctx.exports.Entry.fn(), { call: (f) => f(), argument: stubOps.argument, dispose: stubOps.dispose, dup: rpcStubOps.dup, type: (f) => typeof f }],
  targetStub: [(ctx) => ctx.exports.Entry.target(), rpcStubOps],
  entry: [(ctx) => ctx.exports.Entry, { ...serviceOps, argument: (s, ctx) => ctx.exports.Entry.takes(s({})) }],
  entryWithProps: [(ctx) => ctx.exports.Entry({ props: { a: 1 } }), serviceOps],
  object: [(ctx, env) => env.OBJ.getByName("o"), { ...serviceOps, fetch: undefined, id: (s) => s.name }],
  binding: [(ctx, env) => env.SELF, serviceOps],
  exports: [(ctx) => ctx.exports, { call: (e) => e.Entry.hi() }],
  env: [(ctx, env) => env, { call: (e) => e.SELF.hi(), object: (e) => e.OBJ.getByName("o").hi() }],
  method: [(ctx) => ctx.exports.Entry.hi, { call: (m) => m(), awaited: (m) => m.then((x) => typeof x) }],
  controller: [() => new AbortController(), { abort: (c) => c.abort(), aborted: (c) => c.signal.aborted }],
  signal: [() => new AbortController().signal, signalOps],
  abortedSignal: [() => AbortSignal.abort(new RangeError("mine")), { aborted: signalOps.aborted, listen: signalOps.listen }],
  timeoutSignal: [() => AbortSignal.timeout(100000), signalOps],
  /** Entry points of loaded workers, and facets. */
  loaded: [(ctx, env) => env.LOADER.get("w", code), { entrypoint: (w) => w.getEntrypoint().hi(), type: (w) => typeof w.getDurableObjectClass("F") }],
  loadedEntry: [(ctx, env) => env.LOADER.get("w", code).getEntrypoint(), { call: serviceOps.call, fetch: serviceOps.fetch }],
  facet: [(ctx, env) => ctx.facets?.get("f", () => ({ class: env.LOADER.get("w", code).getDurableObjectClass("F") })), { call: (f) => f?.hi() }],
  facets: [(ctx) => ctx.facets, { abort: (f) => f?.abort("f", new Error("x")) }],
  storage: [(ctx) => ctx.storage, { get: (s) => s?.get("a"), put: (s) => s?.put("a", 1), sql: (s) => s?.sql.exec("SELECT 1 AS one").one(), kv: (s) => s?.kv.get("a"), alarm: (s) => s?.getAlarm(), transaction: (s) => s?.transactionSync(() => 1) }],
  objectState: [(ctx) => ctx, { id: (c) => typeof c.id, waitUntil: (c) => c.waitUntil(Promise.resolve()) }],
  cursor: [(ctx) => ctx.storage?.sql.exec("SELECT 1 AS one"), { one: (c) => c?.one(), names: (c) => c?.columnNames }],
  requestSignal: [() => new Request("http://x/").signal, { aborted: signalOps.aborted, listen: signalOps.listen }],
  socket: [() => { const pair = new WebSocketPair(); pair[0].accept(); return pair[0]; }, { send: (w) => w.send("x"), close: (w) => w.close(), state: (w) => w.readyState }],
  timer: [() => setTimeout(() => {}, 100000), { clear: (t) => clearTimeout(t) }],
  interval: [() => setInterval(() => {}, 100000), { clear: (t) => clearInterval(t) }],
  context: [(ctx) => ctx, { waitUntil: (c) => c.waitUntil(Promise.resolve()), props: (c) => c.props, exports: (c) => c.exports.Entry.hi() }],
  incoming: [(ctx, env, request) => request, { header: (r) => r.headers.get("x-a"), url: (r) => new URL(r.url).pathname.slice(0, 5), cf: (r) => typeof r.cf, clone: (r) => r.clone().method, signal: (r) => r.signal.aborted, again: (r) => new Request(r).method }],
  headers: [(ctx, env, request) => request.headers, { get: (h) => h.get("x-a") }],
  blob: [() => new Blob(["blob"]), { text: (b) => b.text(), stream: (b) => new Response(b.stream()).text(), slice: async (b) => (await b.slice(1).text()) }],
  formData: [() => { const f = new FormData(); f.set("a", "b"); return f; }, { get: (f) => f.get("a"), asBody: async (f) => (await new Response(f).formData()).get("a") }],
  key: [() => crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, false, ["sign"]), { sign: async (k) => (await crypto.subtle.sign("HMAC", k, bytes("x"))).byteLength }],
  urlPattern: [() => new URLPattern({ pathname: "/:a" }), { exec: (p) => p.exec("http://x/y").pathname.groups.a }],
};

const HELD_PROMISES = {
  resolved: () => Promise.resolve("resolved"),
  rejected: () => { const p = Promise.reject(new RangeError("rejected")); p.catch(() => {}); return p; },
  settledCall: async (ctx) => { const p = ctx.exports.Entry.hi(); await p; return { p }; },
  settledFetch: async (ctx) => { const p = ctx.exports.Entry.fetch("http://x/").then((r) => r.status); await p; return { p }; },
  settledWait: async () => { const p = wait(1); await p; return { p }; },
};

const kept = {};
async function keep(where, ctx, env, request) {
  const held = (kept[where] = {});
  for (const [kind, [make, ops]] of Object.entries(kinds)) {
    held[kind] = {};
    for (const op of Object.keys(ops)) if (ops[op]) held[kind][op] = { it: await make(ctx, env, request) };
  }
  for (const [name, make] of Object.entries(HELD_PROMISES)) held[name] = await (async () => { const made = make(ctx); return made instanceof Promise && (name === "resolved" || name === "rejected") ? { p: made } : await made; })();
}
/** The error's first sentence and its I/O type; anything else as it is. */
function short(result) {
  if (!Array.isArray(result)) return result;
  const [name, text, ...rest] = result;
  const type = /\(I\/O type: (.*)\)$/.exec(text)?.[1];
  return type === undefined ? [name, text.split(". ")[0], ...rest] : [name, text.split(". ")[0], type];
}
async function use(where, ctx) {
  const results = {};
  for (const [kind, [, ops]] of Object.entries(kinds)) {
    results[kind] = {};
    for (const [op, run] of Object.entries(ops)) {
      if (!run) continue;
      const { it } = kept[where][kind][op];
      let sync = true;
      let result;
      try {
        const returned = run(it, ctx);
        sync = typeof returned?.then !== "function";
        result = { ok: show(await Promise.race([returned, wait(300).then(() => "<pending>")])) };
        result = result.ok;
      } catch (error) {
        const told = short(await caught(() => { throw error; }));
        result = [sync ? "throws" : "rejects", ...told];
      }
      results[kind][op] = result;
    }
  }
  for (const name of Object.keys(HELD_PROMISES)) results[name] = short(await caught(() => Promise.race([kept[where][name].p, wait(300).then(() => "<pending>")])));
  return Response.json(results);
}
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/keep") { await keep("over", ctx, env, request); return new Response("kept"); }
    if (pathname === "/keep-running") { await keep("running", ctx, env, request); ctx.waitUntil(wait(15000)); return new Response("kept"); }
    if (pathname.startsWith("/object/")) { const [, , name, what, where] = pathname.split("/"); return env.OBJ.getByName(name).fetch(`http://o/${what}/${where}`); }
    if (pathname === "/of-object") return use("ofA3", ctx);
    if (pathname === "/over") return use("over", ctx);
    if (pathname === "/running") return use("running", ctx);
    return new Response("?");
  },
};
