// Errors thrown on the other side: class, message, own properties.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, failure, show } from "./probe.js";

class CustomError extends Error { constructor(message) { super(message); this.name = "CustomError"; this.detail = { a: 1 }; } }
class Unnamed extends RangeError {}
const THROW = {
  error: () => new Error("e"), typeError: () => new TypeError("t"), rangeError: () => new RangeError("r"), syntaxError: () => new SyntaxError("s"), referenceError: () => new ReferenceError("f"), evalError: () => new EvalError("v"), uriError: () => new URIError("u"),
  aggregate: () => new AggregateError([new Error("one"), 2], "agg"), domAbort: () => new DOMException("d", "AbortError"), domData: () => new DOMException("d", "DataCloneError"), custom: () => new CustomError("c"), unnamed: () => new Unnamed("n"), renamed: () => Object.assign(new Error("r"), { name: "Renamed" }),
  empty: () => new Error(), cause: () => new Error("outer", { cause: new TypeError("inner") }), causePlain: () => new Error("outer", { cause: { k: 1 } }), props: () => Object.assign(new Error("p"), { code: "E_CODE", status: 418, list: [1, { a: 2 }] }), unserialisableProp: () => Object.assign(new Error("p"), { code: 1, fn: () => 1 }), retryable: () => Object.assign(new Error("p"), { retryable: true }), overloaded: () => Object.assign(new Error("p"), { overloaded: true }), reset: () => Object.assign(new Error("p"), { durableObjectReset: true }), remoteFalse: () => Object.assign(new Error("p"), { remote: false }),
  string: () => "a string", number: () => 5, undefined: () => undefined, null: () => null, plain: () => ({ plain: 1, nested: { a: [1] } }), array: () => [1, 2], functionThrown: () => () => 1, multiline: () => new Error("line one\nline two"), colon: () => new Error("TypeError: looks like another"), jsg: () => new Error("jsg.TypeError: inside"), unicode: () => new Error("ü😀"), long: () => new Error("x".repeat(5000)), nonStringMessage: () => Object.assign(new Error("m"), { message: { a: 1 } }),
};
const methods = (Base) => class extends Base {
  fail(name) { throw THROW[name](); }
  async failLater(name) { await null; throw THROW[name](); }
  give(name) { return THROW[name](); }
  native() { return null.x; }
  nested() { return this.env.OBJ.getByName("inner").fail("typeError"); }
  fetch() { throw new CustomError("from fetch"); }
  bad() { return Symbol("x"); }
};
export class Entry extends methods(WorkerEntrypoint) {}
export class Obj extends methods(DurableObject) {}
const full = (e) => (e instanceof Error ? { class: e.constructor.name, failure: failure(e).map((x) => (typeof x === "string" && x.length > 1000 ? x.length : x)) } : { value: failure(e) });
const failed = async (fn) => { try { return { ok: show(await fn()) }; } catch (e) { return full(e); } };

const probes = {};
for (const name of Object.keys(THROW)) {
  probes[`entry ${name}`] = (env, ctx) => failed(() => ctx.exports.Entry.fail(name));
  probes[`object ${name}`] = (env) => failed(() => env.OBJ.getByName("e").fail(name));
}
Object.assign(probes, {
  later: (env, ctx) => failed(() => ctx.exports.Entry.failLater("custom")),
  asValue: async (env, ctx) => full(await ctx.exports.Entry.give("custom")),
  asValueProps: async (env, ctx) => full(await ctx.exports.Entry.give("props")),
  native: (env, ctx) => failed(() => ctx.exports.Entry.native()),
  nested: (env) => failed(() => env.OBJ.getByName("outer").nested()),
  entryNested: (env, ctx) => failed(() => ctx.exports.Entry.nested()),
  entryFetch: (env, ctx) => failed(() => ctx.exports.Entry.fetch("http://x/")),
  objectFetch: (env) => failed(() => env.OBJ.getByName("e").fetch("http://x/")),
  badResult: (env, ctx) => failed(() => ctx.exports.Entry.bad()),
  badArgument: (env, ctx) => failed(() => ctx.exports.Entry.fail(Symbol("x"))),
  missing: (env, ctx) => failed(() => ctx.exports.Entry.nope()),
  objectStillWorks: async (env) => full(await env.OBJ.getByName("e").give("error")),
  objectIdOnErrors: (env) => env.OBJ.getByName("e").fail("error").catch((e) => e.durableObjectId === String(env.OBJ.idFromName("e"))),
  stackHidesCallee: (env, ctx) => ctx.exports.Entry.fail("error").catch((e) => [typeof e.stack, e.stack.includes("at THROW")]),
});
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
