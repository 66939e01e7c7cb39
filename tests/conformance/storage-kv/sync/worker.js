// The synchronous key-value API and its iterator.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const fill = (kv, ...keys) => keys.forEach((k) => kv.put(k, k));
const probes = {
  putGet: ({ storage: { kv } }) => [show(kv.put("k", { a: 1 })), kv.get("k"), show(kv.get("x"))],
  delete: ({ storage: { kv } }) => { kv.put("k", 1); return [kv.delete("k"), kv.delete("k")]; },
  undefinedStored: ({ storage: { kv } }) => { kv.put("u", undefined); return [show(kv.get("u")), [...kv.list()].map(([k]) => k)]; },
  undefinedThroughAsync: async ({ storage }) => { storage.kv.put("u", undefined); return [show(await storage.get("u")), (await storage.get(["u"])).size]; },
  putNothing: ({ storage: { kv } }) => thrown(() => kv.put("u")),
  getNothing: ({ storage: { kv } }) => thrown(() => kv.get()),
  deleteNothing: ({ storage: { kv } }) => thrown(() => kv.delete()),
  getArray: ({ storage: { kv } }) => { kv.put("a", 1); kv.put("a,b", 2); return [kv.get(["a"]), kv.get(["a", "b"])]; },
  putObjectForm: ({ storage: { kv } }) => thrown(() => { kv.put({ a: 1 }); return kv.get("a"); }),
  numberKey: ({ storage: { kv } }) => { kv.put(1, "one"); return kv.get("1"); },
  uncloneable: ({ storage: { kv } }) => [thrown(() => kv.put("k", () => 1)), show(kv.get("k"))],
  shape: ({ storage: { kv } }) => [kv.constructor.name, Object.prototype.toString.call(kv), ["get", "put", "delete", "list", "transaction"].map((m) => typeof kv[m])],
  iterator: ({ storage: { kv } }) => { fill(kv, "a", "b"); const i = kv.list(); return [typeof i[Symbol.iterator], i.next(), i.next(), i.next(), i.next()].map((x) => show(x)); },
  secondInvalidatesFirst: ({ storage: { kv } }) => { fill(kv, "a", "b"); const i = kv.list(); const first = i.next().value; const j = kv.list(); return [first, thrown(() => i.next()), j.next().value]; },
  insertAhead: ({ storage: { kv } }) => { fill(kv, "a", "c"); const seen = []; for (const [k] of kv.list()) { seen.push(k); if (k === "a") kv.put("b", 1); } return seen; },
  deleteAhead: ({ storage: { kv } }) => { fill(kv, "a", "b", "c", "d"); const seen = []; for (const [k] of kv.list()) { seen.push(k); if (k === "a") kv.delete("c"); } return seen; },
  deleteWhileIterating: ({ storage: { kv } }) => { fill(kv, "a", "b", "c"); for (const [k] of kv.list()) kv.delete(k); return [...kv.list()]; },
  acrossAwait: async ({ storage: { kv } }) => { fill(kv, "a", "b"); const seen = []; for (const [k] of kv.list()) { seen.push(k); await wait(1); } return seen; },
  abandoned: ({ storage: { kv } }) => { fill(kv, "a", "b"); for (const x of kv.list()) break; kv.put("c", 1); return [...kv.list()].length; },
  iteratorHelpers: ({ storage: { kv } }) => { fill(kv, "a", "b"); return typeof kv.list().map; },
  copies: ({ storage: { kv } }) => { const v = { n: 1 }; kv.put("k", v); v.n = 2; const w = kv.get("k"); w.n = 3; return kv.get("k"); },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
