// Request contexts: globals shared, promises of ended requests, AsyncLocalStorage, Node modules.
import { AsyncLocalStorage } from "node:async_hooks";
import { answer, caught, wait } from "./probe.js";

let shared = 0;
let pending;
const storage = new AsyncLocalStorage();
const als = {
  none: () => storage.getStore(),
  run: () => storage.run("value", () => storage.getStore()),
  afterAwait: () => storage.run("value", async () => { await null; return storage.getStore(); }),
  afterTimer: () => storage.run("value", async () => { await wait(1); return storage.getStore(); }),
  inTimer: () => storage.run("value", () => new Promise((resolve) => setTimeout(() => resolve(storage.getStore()), 1))),
  nested: () => storage.run(1, () => [storage.run(2, () => storage.getStore()), storage.getStore()]),
  exit: () => storage.run(1, () => storage.exit(() => storage.getStore())),
  snapshot: () => { const restore = storage.run("snap", () => AsyncLocalStorage.snapshot()); return restore(() => storage.getStore()); },
  bind: () => { const f = storage.run("bound", () => AsyncLocalStorage.bind(() => storage.getStore())); return f(); },
  microtask: () => storage.run("m", () => new Promise((resolve) => queueMicrotask(() => resolve(storage.getStore())))),
};
const NODE = ["assert", "async_hooks", "buffer", "crypto", "diagnostics_channel", "events", "path", "process", "punycode", "querystring", "stream", "stream/promises", "stream/web", "string_decoder", "timers", "timers/promises", "url", "util", "util/types", "zlib", "fs", "fs/promises", "net", "tls", "http", "https", "dns", "os", "module", "perf_hooks", "tty", "vm", "worker_threads", "child_process"];
const node = {
  importable: async () => { const missing = []; for (const name of NODE) await import(`node:${name}`).catch(() => missing.push(name)); return missing; },
  bare: async () => typeof (await import("path")).join,
  unknown: () => caught(() => import("node:nope")),
  buffer: () => [Buffer.from("ü").toString("hex"), Buffer.from("aGk=", "base64").toString(), Buffer.concat([Buffer.from("a"), Buffer.from("b")]).toString(), Buffer.byteLength("€")],
  events: async () => { const { EventEmitter, once } = await import("node:events"); const e = new EventEmitter(); const p = once(e, "x"); e.emit("x", 5); return p; },
  util: async () => { const { format, inspect, isDeepStrictEqual } = await import("node:util"); return [format("%s %d", "a", 5), inspect({ a: [1] }), isDeepStrictEqual({ a: 1 }, { a: 1 })]; },
  crypto: async () => { const c = await import("node:crypto"); return [c.createHash("sha256").update("abc").digest("hex").slice(0, 8), c.createHmac("sha1", "k").update("d").digest("base64"), c.timingSafeEqual(Buffer.from("a"), Buffer.from("a"))]; },
  path: async () => { const p = (await import("node:path")).default; return [p.join("a", "..", "b"), p.extname("x.tar.gz"), p.resolve("/a", "b")]; },
  assert: async () => { const { default: assert } = await import("node:assert"); try { assert.equal(1, 2); } catch (e) { return [e.name, e.code]; } },
  process: () => [process.platform, typeof process.nextTick, typeof process.env, process.cwd === undefined],
  nextTick: async () => { const seen = []; process.nextTick((x) => seen.push(x), "tick"); await wait(1); return seen; },
  zlib: async () => { const z = await import("node:zlib"); return z.gunzipSync(z.gzipSync("hello")).toString(); },
  stringDecoder: async () => { const { StringDecoder } = await import("node:string_decoder"); const d = new StringDecoder("utf8"); return d.write(Buffer.from([0xe2, 0x82])) + d.write(Buffer.from([0xac])); },
  querystring: async () => (await import("node:querystring")).parse("a=1&a=2&b=c"),
};
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/share") { pending = new Promise(() => {}); return Response.json({ shared: ++shared }); }
    if (pathname === "/await-dead") return Response.json({ sharedAgain: ++shared, dead: (await caught(() => pending)).map((x) => x.split(". ")[0]) });
    return answer(pathname === "/als" ? als : node);
  },
};
