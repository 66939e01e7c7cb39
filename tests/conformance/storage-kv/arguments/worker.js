// What is wrong with the arguments of key-value calls, what is looked at first, and whether it is thrown or rejected.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown } from "./probe.js";

/** `["thrown", ...]` or `["promise", ...]`. */
async function how(call) {
  let promise;
  try {
    promise = call();
  } catch (error) {
    return ["thrown", await caught(() => { throw error; })];
  }
  return ["promise", await caught(() => promise)];
}
const asks = (key) => ({ get [key]() { throw new RangeError("asked"); } });
const LIMITS = [0, -1, 0.5, 1.9, "2", "x", null, true, {}, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 32 + 1, -(2 ** 31), -(2 ** 40)];

const probes = {
  nothing: async ({ storage: s }) => [await how(() => s.get()), await how(() => s.put()), await how(() => s.delete()), await how(() => s.list())],
  deleteThrows: async ({ storage: s }) => [await how(() => s.delete("a", 5)), await how(() => s.delete(Symbol("s"))), await how(() => s.delete(["a", Symbol("s")]))],
  symbols: async ({ storage: s }) => [await how(() => s.get(Symbol("s"))), await how(() => s.put(Symbol("s"), 1)), thrown(() => s.kv.get(Symbol("s"))), thrown(() => s.kv.put(Symbol("s"))), thrown(() => s.sql.exec(Symbol("s")))],
  wrongOptions: async ({ storage: s }) => { const all = []; for (const o of [5, "x", true, 1n, Symbol("s"), null, undefined, [], () => 1]) all.push(await how(() => s.get("a", o)), await how(() => s.put("a", 1, o)), await how(() => s.put({ a: 1 }, o)), await how(() => s.list(o)), await how(() => s.deleteAll(o))); return all; },
  optionsAskedFor: async ({ storage: s }) => { const all = []; for (const key of ["allowConcurrency", "allowUnconfirmed", "noCache", "other"]) all.push(key, await how(() => s.get("a", asks(key))), await how(() => s.put("a", 1, asks(key))), await how(() => s.put({ a: 1 }, asks(key))), await how(() => s.delete("b", asks(key))), await how(() => s.list(asks(key))), thrown(() => [...s.kv.list(asks(key))])); return all; },
  putForms: async ({ storage: s }) => [await how(() => s.put("a")), await how(() => s.put("a", undefined, 5)), await how(() => s.put([1, 2])), await how(() => s.put([1, 2], 3)), await how(() => s.put({ a: 1 }, "x", {})), await how(() => s.put({ a: 1 }, {}, 5)), await how(() => s.put({ b: 1 }, {}, {})), await how(() => s.put(new Date(0), 1)), await how(() => s.put(new Map([["m", 1]]))), await how(() => s.put(() => 1, 1)), await how(() => s.put(() => 1)), await how(() => s.put(null, 1)), [...s.kv.list()]],
  allOrNothing: async ({ storage: s }) => [await how(() => s.put({ a: 1, b: () => 1 })), [...s.kv.list()]],
  limits: async ({ storage: s }) => { s.kv.put("a", 1); s.kv.put("b", 1); const all = []; for (const limit of LIMITS) all.push([show(limit), await how(() => s.list({ limit })), thrown(() => [...s.kv.list({ limit })].length)]); return all; },
  bigintLimit: ({ storage: s }) => how(() => s.list({ limit: 2n })),
  whatIsWrongFirst: async ({ storage: s }) => [await how(() => s.list({ start: "a", startAfter: "b", limit: 2 ** 40 })), await how(() => s.list({ start: "a", startAfter: "b", limit: 0 })), await how(() => s.list({ start: Symbol("s"), limit: 2 ** 40 }))],
  nullBounds: async ({ storage: s }) => { s.kv.put("m", 1); s.kv.put("z", 1); return [await how(() => s.list({ start: null })), await how(() => s.list({ prefix: null })), await how(() => s.list({ end: null })), await how(() => s.list({ start: null, startAfter: null }))]; },
  syncNothing: ({ storage: s }) => [thrown(() => s.kv.get()), thrown(() => s.kv.put()), thrown(() => s.kv.put("a")), thrown(() => s.kv.delete())],
  tableByDelete: async ({ storage: s }) => { const tables = () => s.sql.exec("SELECT name FROM sqlite_master").toArray().length; const all = [tables()]; await s.get("a"); await s.list(); all.push(tables()); await s.delete("a"); all.push(tables()); return all; },
  tableByEmptyPut: async ({ storage: s }) => { await s.put({}); return s.sql.exec("SELECT name FROM sqlite_master").toArray(); },
  surrogates: async ({ storage: s }) => { await s.put("x\udc00y", 1); s.kv.put("x\udc01y", 2); s.sql.exec("CREATE TABLE t (a)"); s.sql.exec("INSERT INTO t VALUES (?)", "\ud800"); return [await s.get("x\udc00y"), await s.get("x\ufffdy"), [...(await s.get(["x\udc00y", "x\udc01y"])).keys()], await s.delete("x\udc00y"), [...s.kv.list()], s.sql.exec("SELECT hex(a) AS h, a FROM t").one()]; },
  listEndsList: async ({ storage: s }) => { s.kv.put("a", 1); s.kv.put("b", 1); const all = []; const begin = () => { const list = s.kv.list(); list.next(); return list; }; for (const between of [() => s.list(), () => s.list({ start: "b", end: "a" }), () => s.kv.list({ prefix: "b", end: "a" }), () => s.get(["a", "b"])]) { const list = begin(); await between(); all.push(thrown(() => list.next())); } return all; },
  endedListStays: async ({ storage: s }) => { s.kv.put("a", 1); const list = s.kv.list(); [...list]; await s.list(); return thrown(() => list.next()); },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
