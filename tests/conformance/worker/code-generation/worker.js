// `eval` and friends: allowed while the module starts, refused afterwards. Wasm never from bytes.
import { answer, caught, thrown } from "./probe.js";

const EMPTY_WASM = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const attempt = (fn) => { try { return fn(); } catch (e) { return e.name; } };
const atStart = { eval: attempt(() => (0, eval)("1 + 1")), function: attempt(() => new Function("a", "return a * 2")(4)), wasm: attempt(() => new WebAssembly.Module(EMPTY_WASM)) };
const probes = {
  atStart: () => atStart,
  directEval: () => thrown(() => eval("1 + 1")),
  indirectEval: () => thrown(() => (0, eval)("1 + 1")),
  evalOfNonString: () => eval(5),
  newFunction: () => thrown(() => new Function("return 1")()),
  asyncFunction: () => thrown(() => new (Object.getPrototypeOf(async () => {}).constructor)("return 1")),
  generatorFunction: () => thrown(() => new (Object.getPrototypeOf(function* () {}).constructor)("yield 1")),
  throughConstructor: () => thrown(() => (() => {}).constructor("return 1")()),
  wasmModule: () => thrown(() => new WebAssembly.Module(EMPTY_WASM)),
  wasmCompile: () => caught(() => WebAssembly.compile(EMPTY_WASM)),
  wasmInstantiate: () => caught(() => WebAssembly.instantiate(EMPTY_WASM)),
  wasmValidate: () => WebAssembly.validate(EMPTY_WASM),
  wasmMemory: () => new WebAssembly.Memory({ initial: 1 }).buffer.byteLength,
  dynamicImportOfData: async () => (await caught(() => import("data:text/javascript,export default 1")))[0],
};
export default { fetch: () => answer(probes) };
