// What may travel in `env` and `props`, and as what it arrives.
import { DurableObject, RpcStub, RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught } from "./probe.js";

class Own { a = 1; }
const cyclic = () => { const a = { n: 1 }; a.self = a; return a; };
export class Obj extends DurableObject { hi() { return "object"; } fetch() { return new Response("object fetch"); } }
export class NoNamespace extends DurableObject {}
export class Entry extends WorkerEntrypoint { hi() { return ["entry", this.ctx.props]; } fetch() { return new Response("entry fetch"); } }
const LOADED = `
  import { WorkerEntrypoint, env as imported } from "cloudflare:workers";
  const text = (v) => v === undefined ? "undefined" : typeof v === "bigint" ? v + "n" : v instanceof Map ? [...v] : v instanceof Set ? [...v] : v instanceof Date ? +v : v instanceof Error ? [v.name, v.message] : v instanceof RegExp ? String(v) : v instanceof ArrayBuffer ? v.byteLength : ArrayBuffer.isView(v) ? [v.constructor.name, ...v] : v instanceof Headers ? [...v] : typeof v === "number" ? String(v) : v;
  const kind = (v) => [typeof v, v?.constructor?.name, Object.prototype.toString.call(v)];
  class Shared extends WorkerEntrypoint {
    value(where) { const v = (where === "env" ? this.env : this.ctx.props).v; return v !== null && typeof v === "object" && ["Object", "Array"].includes(v.constructor.name) ? JSON.stringify(v, (k, x) => (x === v && k !== "" ? "<cycle>" : text(x))) : text(v); }
    kind(where) { return kind((where === "env" ? this.env : this.ctx.props).v); }
    call(where) { return (where === "env" ? this.env : this.ctx.props).v.hi(); }
    async fetched(where) { return (await (where === "env" ? this.env : this.ctx.props).v.fetch("http://x/")).text(); }
    async request(where) { const r = (where === "env" ? this.env : this.ctx.props).v; return [r.url, r.method, r.headers.get("a")]; }
    keys() { return [Object.keys(this.env), Object.keys(this.ctx.props), this.env === imported, imported.v === this.env.v]; }
    mutate() { this.env.added = (this.env.added ?? 0) + 1; return [this.env.added, imported.added]; }
    exportsKeys() { return Object.keys(this.ctx.exports).sort(); }
  }
  export default class extends Shared {}
  export class Named extends Shared {}
`;
const code = (env) => ({ compatibilityDate: "2026-09-01", mainModule: "main.js", modules: { "main.js": LOADED }, ...(env === undefined ? {} : { env }) });
const inEnv = (e, v) => e.LOADER.load(code({ v })).getEntrypoint();
const inProps = (e, v) => e.LOADER.load(code()).getEntrypoint(null, { props: { v } });
const VALUES = { string: () => "s", number: () => 1.5, nan: () => NaN, bigint: () => 5n, boolean: () => true, nul: () => null, undefined: () => undefined, date: () => new Date(5), regexp: () => /a/g, map: () => new Map([["a", 1]]), set: () => new Set([1]), error: () => new RangeError("r"), arrayBuffer: () => new ArrayBuffer(3), uint8: () => new Uint8Array([1, 2]), object: () => ({ a: { b: [1] } }), cyclic, headers: () => new Headers({ a: "1" }) };
const STUBS = { loopback: (env, ctx) => ctx.exports.Entry({ props: { p: 1 } }), objectStub: (env) => env.OBJ.getByName("x") };
const REFUSED = { function: () => () => 1, symbol: () => Symbol("q"), bareLoopback: (env, ctx) => ctx.exports.Entry, bareClass: (env, ctx) => ctx.exports.NoNamespace, bareNamespace: (env, ctx) => ctx.exports.Obj, namespace: (env) => env.OBJ, loader: (env) => env.LOADER, workerStub: (env) => env.LOADER.load(code()), dynamicEntrypoint: (env) => env.LOADER.load(code()).getEntrypoint(), dynamicClass: (env) => env.LOADER.load(code()).getDurableObjectClass("X"), url: () => new URL("http://x/"), classInstance: () => new Own(), rpcTarget: () => new RpcTarget(), rpcStub: () => new RpcStub(() => 1), stream: () => new Response("x").body, responseWithBody: () => new Response("x"), requestWithBody: () => new Request("http://x/", { method: "POST", body: "b" }), objectId: (env) => env.OBJ.idFromName("x"), promise: () => Promise.resolve(1), abortSignal: () => new AbortController().signal, nestedFunction: () => ({ deep: [() => 1] }) };
const probes = {};
for (const [where, put] of Object.entries({ env: inEnv, props: inProps })) {
  for (const [name, make] of Object.entries(VALUES)) probes[`${where} ${name}`] = (env, ctx) => caught(() => put(env, make()).value(where));
  for (const [name, make] of Object.entries(STUBS)) probes[`${where} ${name}`] = async (env, ctx) => [await caught(() => put(env, make(env, ctx)).kind(where)), await caught(() => put(env, make(env, ctx)).call(where)), await caught(() => put(env, make(env, ctx)).fetched(where))];
  for (const [name, make] of Object.entries(REFUSED)) probes[`${where} refused ${name}`] = (env, ctx) => caught(() => put(env, make(env, ctx)).kind(where));
  probes[`${where} class`] = (env, ctx) => caught(() => put(env, ctx.exports.NoNamespace({ props: { p: 1 } })).kind(where));
  probes[`${where} nested stub`] = (env, ctx) => caught(() => put(env, { deep: [ctx.exports.Entry({ props: {} })] }).kind(where));
  probes[`${where} request`] = (env, ctx) => caught(() => put(env, new Request("http://x/y", { headers: { a: "1" } })).request(where));
}
Object.assign(probes, {
  noEnv: (env) => env.LOADER.load(code()).getEntrypoint().keys(),
  emptyEnv: (env) => env.LOADER.load(code({})).getEntrypoint().keys(),
  envKeys: (env) => env.LOADER.load(code({ v: 1, w: 2 })).getEntrypoint(null, { props: { p: 1 } }).keys(),
  envIsShared: async (env) => { const w = env.LOADER.load(code({ v: 1 })); return [await w.getEntrypoint().mutate(), await w.getEntrypoint("Named").mutate()]; },
  envIsCopied: async (env) => { const e = { v: [1] }; const w = env.LOADER.load(code(e)); e.v.push(2); return w.getEntrypoint().value("env"); },
  propsAreCopied: async (env) => { const p = { v: [1] }; const s = env.LOADER.load(code()).getEntrypoint(null, { props: p }); p.v.push(2); return s.value("props"); },
  propsPerEntrypoint: async (env) => { const w = env.LOADER.load(code()); return [await w.getEntrypoint(null, { props: { v: "a" } }).value("props"), await w.getEntrypoint(null, { props: { v: "b" } }).value("props"), await w.getEntrypoint("Named").value("props")]; },
  propsNotObject: (env) => caught(async () => env.LOADER.load(code()).getEntrypoint(null, { props: "x" }).keys()),
  propsNull: (env) => caught(async () => env.LOADER.load(code()).getEntrypoint(null, { props: null }).keys()),
  propsArray: (env) => caught(async () => env.LOADER.load(code()).getEntrypoint(null, { props: [1] }).keys()),
  optionsNotObject: (env) => caught(async () => env.LOADER.load(code()).getEntrypoint(null, "x").keys()),
  exportsInside: (env) => env.LOADER.load(code()).getEntrypoint().exportsKeys(),
});
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
