// What can be stored, what comes back, what is refused; sizes.
import { DurableObject, RpcStub, RpcTarget } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown } from "./probe.js";

class Own { constructor() { this.a = 1; } method() {} }
class OwnError extends Error { constructor(m) { super(m); this.name = "OwnError"; this.code = 5; } }
const cyclic = () => { const a = { n: 1 }; a.self = a; return a; };
const VALUES = {
  string: () => "ü😀\0", number: () => 1.5, nan: () => NaN, minusZero: () => -0, infinity: () => Infinity, bigint: () => -(2n ** 80n), boolean: () => false, nul: () => null, undefinedInside: () => ({ u: undefined, a: [undefined] }), date: () => new Date(7), regexp: () => /x/giu, map: () => new Map([["k", new Map([[1, 2]])]]), set: () => new Set(["a"]), arrayBuffer: () => new Uint8Array([1, 2]).buffer, uint8: () => new Uint8Array([1, 2]), subarray: () => new Uint8Array([1, 2, 3, 4]).subarray(1, 3), float32: () => new Float32Array([0.5]), dataView: () => new DataView(new Uint8Array([1]).buffer), error: () => new RangeError("r"), errorCause: () => new Error("e", { cause: "c" }), ownError: () => new OwnError("own"), sparse: () => { const a = []; a[2] = 1; return a; }, boxed: () => Object("s"), classInstance: () => new Own(), nested: () => ({ deep: { list: [{ x: new Own() }] } }), headers: () => new Headers({ a: "1" }), cyclic, getter: () => ({ get x() { return 1; } }), emptyObject: () => ({}), emptyArray: () => [], bigString: () => "x".repeat(100_000).length, nullProto: () => Object.assign(Object.create(null), { a: 1 }), domException: () => new DOMException("d", "AbortError"), symbolKey: () => ({ [Symbol("s")]: 1, a: 2 }), frozen: () => Object.freeze([1]),
};
const REFUSED = {
  function: () => () => 1, nestedFunction: () => ({ a: [function named() {}] }), classItself: () => Own, symbol: () => Symbol("q"), promise: () => Promise.resolve(1), weakMap: () => new WeakMap(), stream: () => new Response("x").body, responseWithBody: () => new Response("x"), requestWithBody: () => new Request("http://x/", { method: "POST", body: "b" }), url: () => new URL("http://x/"), formData: () => new FormData(), objectStub: (o) => o.env.SECOND.getByName("x"), objectId: (o) => o.env.SECOND.idFromName("x"), namespace: (o) => o.env.SECOND, loopback: (o) => o.ctx.exports.default, loopbackWithProps: (o) => o.ctx.exports.default({ props: {} }), rpcTarget: () => new RpcTarget(), rpcStub: () => new RpcStub(() => 1), storage: (o) => o.ctx.storage, ctx: (o) => o.ctx, abortSignal: () => new AbortController().signal, generator: () => (function* () {})(), throwingGetter: () => ({ get x() { throw new RangeError("getter"); } }), webSocket: () => new WebSocketPair()[0], cursor: (o) => o.ctx.storage.sql.exec("SELECT 1"), event: () => new Event("x"),
};
const probes = {};
for (const [name, make] of Object.entries(VALUES)) probes[name] = async ({ storage }) => { await storage.put("k", make()); return storage.kv.get("k"); };
for (const [name, make] of Object.entries(REFUSED)) {
  probes[`refused ${name}`] = async ({ storage }, object) => [await caught(() => storage.put("k", make(object))), show(storage.kv.get("k"))];
}
Object.assign(probes, {
  refusedSyncThrows: ({ storage }) => thrown(() => storage.kv.put("k", Symbol("s"))),
  refusedAsyncRejects: ({ storage }) => { const p = storage.put("k", Symbol("s")); p.catch(() => {}); return p instanceof Promise; },
  refusedInObjectFormWritesNothing: async ({ storage }) => [await caught(() => storage.put({ a: 1, b: () => 1 })), (await storage.list()).size],
  cyclicIsCyclic: async ({ storage }) => { await storage.put("k", cyclic()); const v = await storage.get("k"); return v.self === v; },
  sharedStaysShared: async ({ storage }) => { const x = { v: 1 }; await storage.put("k", [x, x]); const v = await storage.get("k"); return v[0] === v[1]; },
  classLosesPrototype: async ({ storage }) => { await storage.put("k", new Own()); const v = await storage.get("k"); return [Object.getPrototypeOf(v) === Object.prototype, v instanceof Own]; },
  errorIsError: async ({ storage }) => { await storage.put("k", new OwnError("own")); const v = await storage.get("k"); return [v instanceof Error, v.constructor.name, v.name, v.code, typeof v.stack]; },
  blob: async ({ storage }) => caught(async () => { await storage.put("k", new Blob(["b"], { type: "t/p" })); const b = await storage.get("k"); return [b.type, b.size, await b.text()]; }),
  bodilessRequest: async ({ storage }) => caught(async () => { await storage.put("k", new Request("http://x/y", { headers: { a: "1" } })); const r = await storage.get("k"); return [r.url, r.method, r.headers.get("a")]; }),
  bodilessResponse: async ({ storage }) => caught(async () => { await storage.put("k", new Response(null, { status: 204 })); return (await storage.get("k")).status; }),
  fourMegabytes: async ({ storage }) => { await storage.put("k", new Uint8Array(4 << 20)); return (await storage.get("k")).length; },
  seventeenMegabytes: ({ storage }) => caught(() => storage.put("k", new Uint8Array(17 << 20))),
  afterTooLarge: async ({ storage }) => { await storage.put("k", new Uint8Array(17 << 20)).catch(() => {}); await storage.put("k", 1); return storage.get("k"); },
});
export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
