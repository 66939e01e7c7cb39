// get and load: caching, identity, what loaded workers share and what they do not.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, thrown, wait } from "./probe.js";

const DATE = "2026-09-01";
const COUNTER = `
  import { WorkerEntrypoint } from "cloudflare:workers";
  let n = 0;
  export default class extends WorkerEntrypoint { hit() { return ++n; } set(k, v) { globalThis[k] = v; } get(k) { return globalThis[k] ?? null; } }
  export class Other extends WorkerEntrypoint { hit() { return ++n; } }
`;
const code = (text = COUNTER, more = {}) => ({ compatibilityDate: DATE, mainModule: "main.js", modules: { "main.js": text }, ...more });
export class Obj extends DurableObject { take() {} }
const probes = {
  load: ({ LOADER }) => LOADER.load(code()).getEntrypoint().hit(),
  loadTwice: async ({ LOADER }) => [await LOADER.load(code()).getEntrypoint().hit(), await LOADER.load(code()).getEntrypoint().hit()],
  getCached: async ({ LOADER }) => { let calls = 0; const get = () => LOADER.get("cached", () => { calls++; return code(); }).getEntrypoint(); return [await get().hit(), await get().hit(), calls]; },
  ignoredCallback: async ({ LOADER }) => { await LOADER.get("cached2", () => code()).getEntrypoint().hit(); return LOADER.get("cached2", () => { throw new Error("never called"); }).getEntrypoint().hit(); },
  asyncCallback: ({ LOADER }) => LOADER.get("async", async () => { await wait(5); return code(); }).getEntrypoint().hit(),
  concurrentGets: async ({ LOADER }) => { let calls = 0; const get = () => LOADER.get("concurrent", async () => { calls++; await wait(5); return code(); }).getEntrypoint().hit(); return [(await Promise.all([get(), get(), get()])).sort(), calls]; },
  eager: async ({ LOADER }) => { let calls = 0; LOADER.get("eager", () => { calls++; return code(); }); const before = calls; await wait(20); return [before, calls]; },
  anonymousNull: async ({ LOADER }) => { let calls = 0; const get = () => LOADER.get(null, () => { calls++; return code(); }).getEntrypoint(); return [await get().hit(), await get().hit(), calls]; },
  anonymousUndefined: async ({ LOADER }) => [await LOADER.get(undefined, () => code()).getEntrypoint().hit(), await LOADER.get(undefined, () => code()).getEntrypoint().hit()],
  emptyId: async ({ LOADER }) => [await LOADER.get("", () => code()).getEntrypoint().hit(), await LOADER.get("", () => code()).getEntrypoint().hit()],
  numberId: async ({ LOADER }) => [await LOADER.get(7, () => code()).getEntrypoint().hit(), await LOADER.get("7", () => code()).getEntrypoint().hit()],
  twoBindings: async ({ LOADER, SECOND }) => [await LOADER.get("both", () => code()).getEntrypoint().hit(), await SECOND.get("both", () => code()).getEntrypoint().hit()],
  twoIds: async ({ LOADER }) => [await LOADER.get("id1", () => code()).getEntrypoint().hit(), await LOADER.get("id2", () => code()).getEntrypoint().hit()],
  entrypointsShareModule: async ({ LOADER }) => { const w = LOADER.load(code()); return [await w.getEntrypoint().hit(), await w.getEntrypoint("Other").hit(), await w.getEntrypoint("default").hit(), await w.getEntrypoint(null).hit()]; },
  globalsAreSeparate: async ({ LOADER }) => { globalThis.mine = "host"; const a = LOADER.load(code()).getEntrypoint(); const b = LOADER.load(code()).getEntrypoint(); await a.set("mine", "a"); return [await a.get("mine"), await b.get("mine"), globalThis.mine]; },
  prototypesAreSeparate: async ({ LOADER }) => { const w = LOADER.load(code("Array.prototype.map = () => 'tampered'; Object.prototype.polluted = 1; export default { one(x) { return [1].map(String); } }")).getEntrypoint(); return [await w.one(1), [1].map(String), ({}).polluted ?? null]; },
  getWithoutCallback: ({ LOADER }) => thrown(() => LOADER.get("x")),
  getWithObject: ({ LOADER }) => thrown(() => LOADER.get("x", code())),
  getNothing: ({ LOADER }) => thrown(() => LOADER.get()),
  loadNothing: ({ LOADER }) => thrown(() => LOADER.load()),
  callbackThrows: ({ LOADER }) => caught(() => LOADER.get("throws", () => { throw new RangeError("no code"); }).getEntrypoint().hit()),
  callbackRejects: ({ LOADER }) => caught(() => LOADER.get("rejects", async () => { throw new RangeError("no code"); }).getEntrypoint().hit()),
  callbackReturnsNothing: ({ LOADER }) => caught(() => LOADER.get("nothing", () => {}).getEntrypoint().hit()),
  shapes: ({ LOADER }) => { const w = LOADER.load(code()); const c = w.getDurableObjectClass("X"); return [LOADER.constructor.name, Object.prototype.toString.call(LOADER), w.constructor.name, Object.prototype.toString.call(w), w.getEntrypoint().constructor.name, Object.prototype.toString.call(w.getEntrypoint()), c.constructor.name, Object.prototype.toString.call(c), typeof c]; },
  sendLoader: ({ LOADER, OBJ }) => caught(() => OBJ.getByName("x").take(LOADER)),
  sendWorkerStub: ({ LOADER, OBJ }) => caught(() => OBJ.getByName("x").take(LOADER.load(code()))),
  sendEntrypoint: ({ LOADER, OBJ }) => caught(() => OBJ.getByName("x").take(LOADER.load(code()).getEntrypoint())),
  sendClass: ({ LOADER, OBJ }) => caught(() => OBJ.getByName("x").take(LOADER.load(code()).getDurableObjectClass("X"))),
  returnFromLoaded: async ({ LOADER }) => { const w = LOADER.load(code("export default { make(x) { return { fn: (a) => [a, x], n: 1 }; } }")).getEntrypoint(); const r = await w.make("x"); return [r.n, await r.fn("y")]; },
  passFunctionIn: ({ LOADER }) => LOADER.load(code("export default { async call(f) { return ['got', await f(2)]; } }")).getEntrypoint().call((x) => x * 10),
  limitsAccepted: ({ LOADER }) => LOADER.load(code(COUNTER, { limits: { cpuMs: 1000, subRequests: 10 } })).getEntrypoint(null, { limits: { cpuMs: 500 } }).hit(),
};
export default { fetch: (request, env) => answer(probes, env) };
