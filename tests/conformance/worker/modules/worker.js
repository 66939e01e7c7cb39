// Module kinds found by extension, the module graph, dynamic import.
import text from "./note.txt";
import html from "./page.html";
import sql from "./schema.sql";
import data from "./blob.bin";
import json from "./data.json";
import add from "./add.wasm";
import cjs from "./old.cjs";
import deep, { fromParent, name as deepName } from "./lib/deep.js";
import mjs from "./lib/other.mjs";
import { first } from "./cycle-a.js";
import * as cycle from "./cycle-b.js";
import { answer, caught } from "./probe.js";

const probes = {
  text: () => text,
  html: () => html,
  sql: () => sql,
  data: () => data,
  json: () => json,
  jsonIsMutable: () => { json.added = 1; return json.added; },
  wasmKind: () => [add instanceof WebAssembly.Module, Object.prototype.toString.call(add)],
  wasmRuns: () => new WebAssembly.Instance(add, {}).exports.add(2, 3),
  wasmInstantiate: async () => (await WebAssembly.instantiate(add, {})).exports.add(20, 3),
  wasmExports: () => WebAssembly.Module.exports(add),
  cjs: () => cjs,
  deep: () => [deep, deepName, fromParent],
  mjs: () => mjs,
  cycle: () => [first(), cycle.second()],
  dynamic: async () => (await import("./lib/deep.js")).name,
  dynamicSameInstance: async () => (await import("./lib/deep.js")).default === deep,
  dynamicText: async () => (await import("./note.txt")).default,
  dynamicBuiltin: async () => typeof (await import("cloudflare:workers")).DurableObject,
  dynamicMissing: () => caught(() => import("./nope.js")),
  dynamicMissingBare: () => caught(() => import("nope")),
  dynamicOfVariable: async () => { const name = "deep"; return (await import(`./lib/${name}.js`)).name; },
  namespaceTag: async () => Object.prototype.toString.call(await import("./lib/deep.js")),
  namespaceFrozen: async () => Object.isSealed(await import("./lib/deep.js")),
  absolute: async () => (await import("/lib/deep.js")).name,
};
export default { fetch: () => answer(probes) };
