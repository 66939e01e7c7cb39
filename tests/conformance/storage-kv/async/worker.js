// The asynchronous key-value API: get, put, delete, their forms and refusals.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const put = (s, object) => s.put(object);
const probes = {
  missing: ({ storage: s }) => s.get("x"),
  putGet: async ({ storage: s }) => [await s.put("k", { a: 1 }), await s.get("k")],
  overwrite: async ({ storage: s }) => { await s.put("k", 1); await s.put("k", 2); return s.get("k"); },
  getMany: async ({ storage: s }) => { await put(s, { b: 2, a: 1, c: 3 }); return s.get(["c", "zz", "a", "a"]); },
  getNone: ({ storage: s }) => s.get([]),
  putMany: async ({ storage: s }) => { await put(s, { a: 1, skipped: undefined, b: null }); return s.list(); },
  putManyEmpty: async ({ storage: s }) => [await s.put({}), await s.list()],
  putMany200: async ({ storage: s }) => { await s.put(Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${i}`, i]))); return [(await s.list()).size, (await s.get(Array.from({ length: 200 }, (_, i) => `k${i}`))).size, await s.delete(Array.from({ length: 200 }, (_, i) => `k${i}`))]; },
  deleteOne: async ({ storage: s }) => { await s.put("k", 1); return [await s.delete("k"), await s.delete("k"), await s.get("k")]; },
  deleteMany: async ({ storage: s }) => { await put(s, { a: 1, b: 2, c: 3 }); return [await s.delete(["a", "b", "a", "zz"]), [...(await s.list()).keys()]]; },
  deleteNone: ({ storage: s }) => s.delete([]),
  emptyKey: async ({ storage: s }) => { await s.put("", "empty"); return [await s.get(""), [...(await s.list()).keys()]]; },
  numberKey: async ({ storage: s }) => { await s.put(5, "five"); return [await s.get("5"), await s.get(5)]; },
  objectKeyOrder: async ({ storage: s }) => { await put(s, { "\u{1F600}": 1, "\uffff": 1, é: 1, a: 1, Z: 1, "": 1, 10: 1, 9: 1 }); return [...(await s.list()).keys()]; },
  keyWithNul: async ({ storage: s }) => { await s.put("a\0b", 1); return [await s.get("a\0b"), await s.get("a"), [...(await s.list()).keys()]]; },
  loneSurrogateKey: async ({ storage: s }) => { await s.put("\ud800", 1); return [...(await s.list()).keys()]; },
  longKey: async ({ storage: s }) => { const k = "k".repeat(5000); await s.put(k, 1); return s.get(k); },
  nullValue: async ({ storage: s }) => { await s.put("k", null); return [await s.get("k"), (await s.list()).size]; },
  putUndefined: ({ storage: s }) => caught(() => s.put("x", undefined)),
  putNothing: ({ storage: s }) => caught(() => s.put("x")),
  putNoArguments: ({ storage: s }) => caught(() => s.put()),
  getNoArguments: ({ storage: s }) => caught(() => s.get()),
  deleteNoArguments: ({ storage: s }) => caught(() => s.delete()),
  putObjectAndValue: ({ storage: s }) => caught(() => s.put({ a: 1 }, "x")),
  options: async ({ storage: s }) => { await s.put("k", 1, { allowConcurrency: true, allowUnconfirmed: true, noCache: true }); return [await s.get("k", { allowConcurrency: true, noCache: true }), await s.delete("k", { allowUnconfirmed: true })]; },
  returnsPromises: ({ storage: s }) => [s.get("k"), s.put("k", 1), s.delete("k"), s.list(), s.sync()].map((p) => p instanceof Promise),
  notAwaited: async ({ storage: s }) => { s.put("a", 1); s.put("a", 2); s.delete("b"); return s.get("a"); },
  sync: async ({ storage: s }) => { s.put("a", 1); return [await s.sync(), await s.get("a")]; },
  serialisedAtOnce: async ({ storage: s }) => { const v = { n: 1 }; const p = s.put("k", v); v.n = 2; await p; return s.get("k"); },
  getsAreCopies: async ({ storage: s }) => { await s.put("k", { n: 1 }); const a = await s.get("k"); a.n = 9; return s.get("k"); },
  microtasksOnly: async ({ storage: s }) => { const seen = []; setTimeout(() => seen.push("timer"), 0); await s.put("k", 1); await s.get("k"); seen.push("storage"); return seen; },
  mixedWithSync: async ({ storage: s }) => { await s.put("a", 1); s.kv.put("b", 2); return [s.kv.get("a"), await s.get("b"), s.sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = '_cf_KV'").one().n]; },
  prototypeKeys: async ({ storage: s }) => { await s.put("__proto__", 1); await s.put("constructor", 2); return [await s.get("__proto__"), await s.get("constructor"), await s.get("toString")]; },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
