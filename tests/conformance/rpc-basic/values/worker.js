// Structured clone over RPC, both ways: what arrives, and what is refused.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, show } from "./probe.js";

class Own { constructor() { this.a = 1; } }
class Derived extends Map {}
const cyclic = () => { const a = { n: 1 }; a.self = a; return a; };
const shared = () => { const x = { v: 1 }; return [x, x]; };
const nullProto = () => Object.assign(Object.create(null), { a: 1 });
const sparse = () => { const a = [1]; a[3] = 2; return a; };
const MAKE = {
  undefined: () => undefined, null: () => null, boolean: () => true, number: () => 1.5, nan: () => NaN, minusZero: () => -0, infinity: () => -Infinity,
  bigint: () => 2n ** 70n, string: () => "ü😀\0", loneSurrogate: () => "a\ud800".length, date: () => new Date(5), invalidDate: () => new Date(NaN), regexp: () => /a+/giu,
  map: () => new Map([["k", { a: 1 }]]), set: () => new Set([1, [2]]), array: () => [1, [2, undefined]], sparse, object: () => ({ a: undefined, b: { c: 1 } }), nullProto,
  arrayBuffer: () => new Uint8Array([1, 2]).buffer, uint8: () => new Uint8Array([1, 2]), subarray: () => new Uint8Array([1, 2, 3, 4]).subarray(1, 3), float64: () => new Float64Array([1.5]), dataView: () => new DataView(new Uint8Array([9]).buffer), bigInt64: () => new BigInt64Array([5n]),
  error: () => new Error("e"), typeError: () => new TypeError("t"), errorCause: () => new Error("e", { cause: { why: 1 } }), errorProps: () => Object.assign(new Error("e"), { code: 7 }), aggregate: () => new AggregateError([new Error("in")], "agg").message, domException: () => { const e = new DOMException("d", "AbortError"); return e; },
  cyclic, shared, boxedNumber: () => Object(5), boxedString: () => Object("s"), headers: () => new Headers({ a: "1", b: "2" }), derivedMap: () => new Derived([[1, 2]]), getterProps: () => ({ get x() { return "computed"; } }), symbolKeys: () => ({ a: 1, [Symbol("s")]: 2 }), frozen: () => Object.freeze({ a: 1 }), bigString: () => "x".repeat(1e6), largeArray: () => new Uint8Array(1e6),
};
const REFUSED = {
  classInstance: () => new Own(), nestedInstance: () => ({ deep: [new Own()] }), symbol: () => Symbol("q"), url: () => new URL("http://x/"), urlSearchParams: () => new URLSearchParams("a=1"), formData: () => new FormData(), generator: () => (function* () {})(), asyncGenerator: () => (async function* () {})(), abortSignal: () => new AbortController().signal, abortController: () => new AbortController(), weakMap: () => new WeakMap(), weakRef: () => new WeakRef({}), event: () => new Event("x"), throwingGetter: () => ({ get x() { throw new RangeError("getter"); } }), textEncoder: () => new TextEncoder(), wasmMemory: () => new WebAssembly.Memory({ initial: 0 }),
  loopback: (ctx) => ctx.exports.Entry, iterator: () => [1].values(), socketPair: () => new WebSocketPair()[0], namespace: (ctx) => ctx.exports.Obj, cryptoKeyPromise: () => ({ p: Promise.resolve(1) }), importedNamespaceEnv: (ctx, env) => env.OBJ, executionContext: (ctx) => ctx,
};
const brief = (value) => typeof value === "string" && value.length > 100 ? `string of ${value.length}` : value?.byteLength > 100 ? `${value.constructor.name} of ${value.byteLength}` : show(value);
const extra = { cyclic: (v) => v.self === v, shared: (v) => v[0] === v[1], nullProto: (v) => Object.getPrototypeOf(v) === Object.prototype, sparse: (v) => [v.length, 1 in v], subarray: (v) => [v.byteOffset, v.buffer.byteLength], errorCause: (v) => show(v.cause), regexp: (v) => v.lastIndex, frozen: (v) => Object.isFrozen(v), boxedNumber: (v) => typeof v, domException: (v) => [v instanceof DOMException, v.name, v.code], error: (v) => [v instanceof Error, Object.hasOwn(v, "remote")], derivedMap: (v) => v.constructor.name };
const describe = (name, value) => (name in extra ? [name === "domException" ? null : brief(value), extra[name](value)] : brief(value));

const methods = (Base) => class extends Base {
  give(name) { return (MAKE[name] ?? REFUSED[name])(this.ctx, this.env); }
  take(name, value) { return describe(name, value); }
  async giveLater(name) { await null; return MAKE[name](); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {}

const probes = {};
for (const name of Object.keys(MAKE)) {
  probes[`give ${name}`] = async (env, ctx) => describe(name, await ctx.exports.Entry.give(name));
  probes[`take ${name}`] = (env, ctx) => ctx.exports.Entry.take(name, MAKE[name]());
}
for (const name of ["map", "errorProps", "subarray"]) {
  probes[`object give ${name}`] = async (env) => describe(name, await env.OBJ.getByName("v").give(name));
  probes[`object take ${name}`] = (env) => env.OBJ.getByName("v").take(name, MAKE[name]());
}
for (const name of Object.keys(REFUSED)) {
  probes[`refused give ${name}`] = async (env, ctx) => caught(() => ctx.exports.Entry.give(name));
  probes[`refused take ${name}`] = async (env, ctx) => caught(() => ctx.exports.Entry.take(name, REFUSED[name](ctx, env)));
}
probes.argumentsAreCopies = async (env, ctx) => { const a = { list: [1] }; const call = ctx.exports.Entry.take("x", a); a.list.push(2); return call; };
probes.tooLargeArgument = (env, ctx) => caught(() => ctx.exports.Entry.take("x", new Uint8Array(33 << 20)));
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
