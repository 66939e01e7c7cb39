// Streams, including the Workers kinds (identity, fixed length, compression).
import { answer, caught, thrown } from "./probe.js";

const utf8 = (text) => new TextEncoder().encode(text);
const from = (...parts) => new ReadableStream({ start(c) { parts.forEach((p) => c.enqueue(p)); c.close(); } });
const text = (stream) => new Response(stream).text();
const probes = {
  readAll: async () => { const r = from("a", 1).getReader(); return [await r.read(), await r.read(), await r.read()]; },
  iterate: async () => { const seen = []; for await (const x of from(1, 2)) seen.push(x); return seen; },
  pull: async () => { let n = 0; const s = new ReadableStream({ pull(c) { c.enqueue(n++); if (n === 3) c.close(); } }); const seen = []; for await (const x of s) seen.push(x); return seen; },
  cancel: async () => { let why; const s = new ReadableStream({ cancel(reason) { why = reason; } }); await s.cancel("done"); return why; },
  errored: () => caught(async () => { const s = new ReadableStream({ start(c) { c.error(new RangeError("broken")); } }); await s.getReader().read(); }),
  tee: async () => { const [a, b] = from(utf8("x")).tee(); return [await text(a), await text(b)]; },
  lock: () => { const s = from(1); s.getReader(); return [s.locked, thrown(() => s.getReader())[0]]; },
  releaseLock: () => { const s = from(1); s.getReader().releaseLock(); return s.locked; },
  transform: async () => { const t = new TransformStream({ transform(chunk, c) { c.enqueue(utf8(String(chunk).toUpperCase())); }, flush(c) { c.enqueue(utf8("!")); } }); return text(from("ab", "c").pipeThrough(t)); },
  pipeTo: async () => { const seen = []; await from(1, 2).pipeTo(new WritableStream({ write(c) { seen.push(c); }, close() { seen.push("closed"); } })); return seen; },
  pipeToPropagatesError: () => caught(() => from(1).pipeTo(new WritableStream({ write() { throw new TypeError("no write"); } }))),
  writerBackpressure: async () => { const w = new WritableStream({}, new CountQueuingStrategy({ highWaterMark: 2 })).getWriter(); return w.desiredSize; },
  abortWriter: async () => { let why; const s = new WritableStream({ abort(r) { why = r; } }); await s.abort("stop"); return why; },
  textStreams: async () => { let out = ""; for await (const x of from("ü", "€").pipeThrough(new TextEncoderStream()).pipeThrough(new TextDecoderStream())) out += x; return out; },
  identity: async () => { const { readable, writable } = new IdentityTransformStream(); const w = writable.getWriter(); const done = (async () => { await w.write(utf8("ab")); await w.close(); })(); const got = await text(readable); await done; return got; },
  identityOfString: async () => { const { readable, writable } = new IdentityTransformStream(); const w = writable.getWriter(); const r = text(readable).catch(() => {}); const seen = await caught(() => w.write("text")); await w.close().catch(() => {}); await r; return seen; },
  fixedTooShort: async () => { const { readable, writable } = new FixedLengthStream(5); const w = writable.getWriter(); w.write(utf8("ab")).catch(() => {}); w.close().catch(() => {}); return caught(() => text(readable)); },
  fixedTooLong: async () => { const { readable, writable } = new FixedLengthStream(1); const w = writable.getWriter(); w.write(utf8("ab")).catch(() => {}); w.close().catch(() => {}); return caught(() => text(readable)); },
  gzipRound: async () => text(from(utf8("hello hello")).pipeThrough(new CompressionStream("gzip")).pipeThrough(new DecompressionStream("gzip"))),
  deflateRound: async () => text(from(utf8("hello")).pipeThrough(new CompressionStream("deflate")).pipeThrough(new DecompressionStream("deflate"))),
  deflateRawRound: async () => text(from(utf8("hello")).pipeThrough(new CompressionStream("deflate-raw")).pipeThrough(new DecompressionStream("deflate-raw"))),
  badFormat: () => thrown(() => new CompressionStream("zip"))[0],
  byob: async () => { const r = from2("abcd").getReader({ mode: "byob" }); const { value, done } = await r.read(new Uint8Array(2)); return [value, done]; },
  readAtLeast: async () => { const r = new Response("abcdef").body.getReader({ mode: "byob" }); const { value } = await r.readAtLeast(3, new Uint8Array(4)); return value.length >= 3; },
  bodyIsBytes: async () => { const { value } = await new Response("ab").body.getReader().read(); return value; },
  fromIterable: async () => { const seen = []; for await (const x of ReadableStream.from([1, 2])) seen.push(x); return seen; },
  strategies: () => [new ByteLengthQueuingStrategy({ highWaterMark: 5 }).size(new Uint8Array(3)), new CountQueuingStrategy({ highWaterMark: 5 }).highWaterMark],
};
const from2 = (content) => new ReadableStream({ type: "bytes", start(c) { c.enqueue(utf8(content)); c.close(); } });
export default { fetch: () => answer(probes) };
