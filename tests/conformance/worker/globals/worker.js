// The global scope: what is there, what is not, and small facts about it.
import { answer, thrown } from "./probe.js";

const MUST = "fetch Request Response Headers FormData Blob File ReadableStream ReadableStreamDefaultReader ReadableStreamBYOBReader ReadableStreamBYOBRequest ReadableStreamDefaultController ReadableByteStreamController WritableStream WritableStreamDefaultWriter WritableStreamDefaultController TransformStream TransformStreamDefaultController ByteLengthQueuingStrategy CountQueuingStrategy IdentityTransformStream FixedLengthStream CompressionStream DecompressionStream TextEncoderStream TextDecoderStream TextEncoder TextDecoder atob btoa URL URLSearchParams URLPattern crypto Crypto CryptoKey SubtleCrypto setTimeout clearTimeout setInterval clearInterval setImmediate clearImmediate queueMicrotask scheduler reportError structuredClone Event EventTarget CustomEvent ErrorEvent CloseEvent MessageEvent PromiseRejectionEvent AbortController AbortSignal DOMException addEventListener removeEventListener dispatchEvent WebSocket WebSocketPair WebSocketRequestResponsePair performance navigator Cache CacheStorage caches WebAssembly self global origin Cloudflare Buffer process console Iterator Float16Array DisposableStack AsyncDisposableStack SuppressedError SharedArrayBuffer Atomics WeakRef FinalizationRegistry Intl".split(" ");
const LATER = "MessageChannel MessagePort EventSource HTMLRewriter Performance PerformanceEntry Navigator ServiceWorkerGlobalScope WorkerGlobalScope ExtendableEvent FetchEvent ScheduledEvent TailEvent TraceEvent".split(" ");
const ABSENT = "window document require gc Deno Bun Temporal module exports __dirname XMLHttpRequest localStorage alert Worker importScripts postMessage onmessage __bootstrap".split(" ");

const probes = {
  missing: () => MUST.filter((name) => !(name in globalThis)),
  missingLater: () => LATER.filter((name) => !(name in globalThis)),
  absent: () => ABSENT.filter((name) => name in globalThis),
  self: () => [self === globalThis, global === globalThis],
  tag: () => [Object.prototype.toString.call(globalThis), globalThis.constructor.name],
  navigator: () => [navigator.userAgent, navigator.language, typeof navigator.sendBeacon, navigator.hardwareConcurrency],
  origin: () => origin,
  timeZone: () => [Intl.DateTimeFormat().resolvedOptions().timeZone, new Date(0).getTimezoneOffset(), new Date(0).toString()],
  locale: () => (1234.5).toLocaleString(),
  using: () => { const seen = []; { using x = { [Symbol.dispose]() { seen.push("disposed"); } }; seen.push(typeof x); } return seen; },
  awaitUsing: async () => { const seen = []; { await using x = { async [Symbol.asyncDispose]() { seen.push("disposed"); } }; seen.push(typeof x); } return seen; },
  errorCause: () => new Error("a", { cause: "b" }).cause,
  arrayFromAsync: async () => Array.fromAsync((async function* () { yield 1; })()),
  setMethods: () => new Set([1, 2]).union(new Set([3])),
  groupBy: () => Object.groupBy([1, 2, 3], (x) => (x % 2 ? "odd" : "even")),
  promiseTry: async () => Promise.try(() => 5),
  iteratorHelpers: () => [1, 2, 3].values().map((x) => x * 2).toArray(),
  regexpV: () => /[\p{L}--[a-z]]/v.test("ä"),
  base64: () => [new Uint8Array([104, 105]).toBase64(), Uint8Array.fromHex("ff")],
  console: () => ["debug", "info", "log", "warn", "error", "assert", "count", "dir", "group", "groupEnd", "table", "time", "timeEnd", "trace"].map((m) => typeof console[m]),
  consoleReturns: () => console.log("x", {}, Symbol("s"), 1n, new Proxy({}, { get() { throw new Error("hostile"); } })),
  frozenGlobals: () => { globalThis.mine = 1; const seen = globalThis.mine; delete globalThis.mine; return seen; },
  cloudflareCompat: () => [typeof Cloudflare.compatibilityFlags, Cloudflare.compatibilityFlags.nodejs_compat],
  blob: async () => { const b = new Blob(["ab", new Uint8Array([99])], { type: "T/x" }); return [b.size, b.type, await b.text(), await b.slice(1, 2).text(), await b.arrayBuffer()]; },
  file: () => { const f = new File(["a"], "n.txt", { type: "t/p", lastModified: 5 }); return [f.name, f.type, f.size, f.lastModified]; },
  illegalConstructor: () => [thrown(() => new Navigator())[0], thrown(() => new CryptoKey())[0]],
};
export default { fetch: () => answer(probes) };
