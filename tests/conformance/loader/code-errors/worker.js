// What is wrong with a WorkerCode object, in the runtime's words: at `load()` and through `get()`.
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import { answer, caught, thrown } from "./probe.js";

export class Obj extends DurableObject {}
const OK = "export default { fetch() { return new Response('ok'); }, one(x) { return x; } }";
const code = (more = {}) => ({ compatibilityDate: "2026-09-01", mainModule: "main.js", modules: { "main.js": OK }, ...more });
const without = (key) => { const c = code(); delete c[key]; return c; };
const module = (name, content) => code({ modules: { "main.js": OK, [name]: content } });
const main = (content, name = "main.js") => code({ mainModule: name, modules: { [name]: content } });
const CODES = {
  ok: () => code(),
  modulesMissing: () => without("modules"), modulesNull: () => code({ modules: null }), modulesEmpty: () => code({ modules: {} }), modulesString: () => code({ modules: "x" }),
  mainMissing: () => without("mainModule"), mainUnknown: () => code({ mainModule: "b.js" }), mainNumber: () => code({ mainModule: 5 }),
  mainText: () => main({ text: "x" }, "main.txt"), mainJson: () => main({ json: {} }, "main.json"), mainData: () => main({ data: new Uint8Array(1) }, "main.bin"), mainCjs: () => main({ cjs: "" }, "main.cjs"), mainWasm: () => main({ wasm: new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) }, "main.wasm"),
  dateMissing: () => without("compatibilityDate"), dateWord: () => code({ compatibilityDate: "banana" }), dateImpossible: () => code({ compatibilityDate: "2024-13-45" }), dateNull: () => code({ compatibilityDate: null }), dateSlashes: () => code({ compatibilityDate: "2024/01/01" }), dateOld: () => code({ compatibilityDate: "2021-01-01" }),
  flagUnknown: () => code({ compatibilityFlags: ["nope_flag"] }), flagTwice: () => code({ compatibilityDate: "2025-01-01", compatibilityFlags: ["nodejs_compat", "nodejs_compat"] }), flagContradiction: () => code({ compatibilityFlags: ["global_navigator", "no_global_navigator"] }), flagImplied: () => code({ compatibilityFlags: ["nodejs_compat"] }), flagNotArray: () => code({ compatibilityFlags: "nodejs_compat" }), flagNumber: () => code({ compatibilityFlags: [5] }), flagExperimental: () => code({ compatibilityFlags: ["experimental"] }), flagOpposite: () => code({ compatibilityFlags: ["no_nodejs_compat"] }), flagsNull: () => code({ compatibilityFlags: null }), flagsEmpty: () => code({ compatibilityFlags: [] }),
  allowExperimental: () => code({ allowExperimental: true }), allowExperimentalFalse: () => code({ allowExperimental: false }), streamingTails: (ctx) => code({ streamingTails: [ctx.exports.Tail] }),
  envString: () => code({ env: "str" }), envNumber: () => code({ env: 5 }), envNull: () => code({ env: null }), envArray: () => code({ env: [1] }), envTooLarge: () => code({ env: { big: "x".repeat((1 << 20) + 100) } }),
  outboundObject: () => code({ globalOutbound: {} }), outboundString: () => code({ globalOutbound: "x" }), tailsObject: () => code({ tails: {} }), tailsOfObjects: () => code({ tails: [{}] }),
  limitsString: () => code({ limits: { cpuMs: "abc" } }), limitsNegative: () => code({ limits: { cpuMs: -5 } }), limitsSubRequests: () => code({ limits: { subRequests: -1 } }), limitsFraction: () => code({ limits: { cpuMs: 1.5 } }), limitsNumber: () => code({ limits: 5 }), limitsEmpty: () => code({ limits: {} }), limitsUnknownKey: () => code({ limits: { other: 1 } }),
  unknownField: () => code({ somethingElse: 1 }), notAnObject: () => 5, isString: () => "x", isArray: () => [],
  nameTs: () => main(OK, "main.ts"), nameTsx: () => main(OK, "main.tsx"), nameJsx: () => main(OK, "main.jsx"), nameMjs: () => main(OK, "main.mjs"), nameNone: () => main(OK, "main"), nameTxt: () => module("a.txt", "text"), nameObjectAny: () => main({ js: OK }, "whatever.xyz"),
  moduleTwoKinds: () => module("x", { js: "", text: "" }), moduleNoKind: () => module("x", {}), moduleUnknownKind: () => module("x", { nope: 1 }), moduleNull: () => module("x.js", null), moduleNumber: () => module("x.js", 5), moduleUndefinedKind: () => module("x", { js: "", text: undefined }), moduleBoolean: () => module("x.js", true),
  dataString: () => module("x", { data: "text" }), dataArray: () => module("x", { data: [1] }), textNumber: () => module("x", { text: 5 }), jsNumber: () => module("x", { js: 5 }), jsonUndefined: () => module("x", { json: undefined }), jsonCycle: () => { const a = {}; a.a = a; return module("x", { json: a }); }, wasmBad: () => code({ modules: { "main.js": "import w from 'x.wasm'; " + OK, "x.wasm": { wasm: new Uint8Array([1, 2, 3]) } } }), wasmString: () => module("x", { wasm: "x" }), pythonModule: () => module("x", { py: "" }),
};
export class Tail extends WorkerEntrypoint { tail() {} }
const probes = {};
for (const [name, make] of Object.entries(CODES)) {
  // load() may throw at once, or the first call may reject; which of the two it is matters.
  probes[`load ${name}`] = async (env, ctx) => { let w; try { w = env.LOADER.load(make(ctx)); } catch (e) { return ["at once", ...(await caught(() => { throw e; }))]; } return caught(() => w.getEntrypoint().one("fine")); };
}
for (const name of ["modulesMissing", "modulesEmpty", "mainUnknown", "dateMissing", "dateWord", "flagUnknown", "envString", "outboundObject", "nameTs", "moduleTwoKinds", "limitsString", "notAnObject", "envTooLarge"]) {
  probes[`get ${name}`] = (env, ctx) => caught(() => env.LOADER.get(`code ${name}`, () => CODES[name](ctx)).getEntrypoint().one("fine"));
}
probes.dateFuture = async (env) => { const e = await caught(() => env.LOADER.load(code({ compatibilityDate: "2030-01-01" })).getEntrypoint().one(1)); return [e[0], String(e[1]).replace(/binary is .*/, "binary is ?")]; };
export default { fetch: (request, env, ctx) => answer(probes, env, ctx) };
