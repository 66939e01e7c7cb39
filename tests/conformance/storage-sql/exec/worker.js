// sql.exec: statements, bindings, result types.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const one = (s, query, ...bindings) => s.sql.exec(query, ...bindings).one();
const typed = (s, value) => { const r = one(s, "SELECT typeof(?1) AS t, ?1 AS v", value); return [r.t, r.v]; };
const create = (s) => { s.sql.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v)"); return s; };
const count = (s) => one(s, "SELECT count(*) AS n FROM t").n;
const BINDINGS = { integer: () => 5, real: () => 1.5, negative: () => -7, big: () => 2 ** 60, nan: () => NaN, infinity: () => Infinity, minusZero: () => -0, text: () => "ü", emptyText: () => "", nulText: () => "a\0b", nul: () => null, undefined: () => undefined, true: () => true, false: () => false, array: () => [1, 2], object: () => ({ a: 1 }), date: () => new Date(NaN), own: () => ({ toString: () => "own" }), arrayBuffer: () => new Uint8Array([1, 2]).buffer, uint8: () => new Uint8Array([1, 2, 3]).subarray(1), uint16: () => new Uint16Array([1]), dataView: () => new DataView(new Uint8Array([9, 8]).buffer, 1), emptyBlob: () => new Uint8Array(0), bigint: () => 5n, symbol: () => Symbol("s"), function: () => function f() {}, throws: () => ({ toString() { throw new RangeError("toString"); } }) };
const probes = {
  ...Object.fromEntries(Object.entries(BINDINGS).map(([name, make]) => [`binding ${name}`, ({ storage: s }) => thrown(() => typed(s, make()))])),
  integerAffinity: ({ storage: s }) => { s.sql.exec("CREATE TABLE n (i INTEGER, r REAL, t TEXT, b BLOB)"); s.sql.exec("INSERT INTO n VALUES (?, ?, ?, ?)", 5, 5, 5, 5); return one(s, "SELECT typeof(i) AS i, typeof(r) AS r, typeof(t) AS t, t AS tv, typeof(b) AS b FROM n"); },
  resultTypes: ({ storage: s }) => one(s, "SELECT 1 AS i, 1.5 AS r, 'x' AS t, NULL AS n, x'0102' AS b, 9007199254740993 AS big, -9223372036854775808 AS min, 1e999 AS inf, zeroblob(0) AS zb, '' AS et"),
  rowShape: ({ storage: s }) => { const row = one(s, "SELECT 1 AS b, 2 AS a"); return [Object.keys(row), Object.getPrototypeOf(row) === Object.prototype]; },
  duplicateColumns: ({ storage: s }) => { const c = s.sql.exec("SELECT 1 AS a, 2 AS a, 3 AS b"); return [c.columnNames, c.one()]; },
  unnamedColumn: ({ storage: s }) => one(s, "SELECT 1 + 1, 'x'"),
  protoColumn: ({ storage: s }) => { const row = one(s, 'SELECT 1 AS "__proto__", 2 AS "constructor"'); return Object.keys(row); },
  multiple: ({ storage: s }) => { create(s); const c = s.sql.exec("INSERT INTO t (v) VALUES (1); INSERT INTO t (v) VALUES (2); SELECT count(*) AS n FROM t"); return c.one(); },
  multipleWithBinding: ({ storage: s }) => { create(s); s.sql.exec("INSERT INTO t (v) VALUES (1); INSERT INTO t (v) VALUES (?)", "bound"); return s.sql.exec("SELECT v FROM t ORDER BY id").toArray(); },
  bindingInFirst: ({ storage: s }) => { create(s); return [thrown(() => s.sql.exec("INSERT INTO t (v) VALUES (?); SELECT 1", 5)), count(s)]; },
  laterFails: ({ storage: s }) => { create(s); return [thrown(() => s.sql.exec("INSERT INTO t (v) VALUES (1); INSERT INTO nope VALUES (1)")), count(s)]; },
  laterDoesNotParse: ({ storage: s }) => { create(s); return [thrown(() => s.sql.exec("INSERT INTO t (v) VALUES (1); selct")), count(s)]; },
  empty: ({ storage: s }) => thrown(() => s.sql.exec("")),
  semicolon: ({ storage: s }) => thrown(() => s.sql.exec(";")),
  comment: ({ storage: s }) => thrown(() => s.sql.exec("-- nothing")),
  trailingSpace: ({ storage: s }) => one(s, "SELECT 1 AS a;  \n "),
  commentInside: ({ storage: s }) => one(s, "SELECT /* c */ 1 AS a -- end"),
  tooFewBindings: ({ storage: s }) => thrown(() => s.sql.exec("SELECT ?, ?", 1)),
  tooManyBindings: ({ storage: s }) => thrown(() => s.sql.exec("SELECT ?", 1, 2)),
  namedParameters: ({ storage: s }) => one(s, "SELECT :a AS a, @b AS b, $c AS c, ?4 AS d", 1, 2, 3, 4),
  numberedParameters: ({ storage: s }) => one(s, "SELECT ?2 AS b, ?1 AS a, ?2 AS c", "one", "two"),
  noArguments: ({ storage: s }) => thrown(() => s.sql.exec()),
  queryIsStringified: ({ storage: s }) => thrown(() => one(s, { toString: () => "SELECT 1 AS a" })),
  sideEffectsAtOnce: ({ storage: s }) => { create(s); s.sql.exec("INSERT INTO t (v) VALUES (1)"); return count(s); },
  unreadSelectHasNoEffect: ({ storage: s }) => { create(s); s.sql.exec("INSERT INTO t (v) SELECT 1 UNION ALL SELECT 2"); return count(s); },
  blobIsCopy: ({ storage: s }) => { const b = new Uint8Array([1]); create(s); s.sql.exec("INSERT INTO t (v) VALUES (?)", b); b[0] = 9; return one(s, "SELECT v FROM t").v; },
  returning: ({ storage: s }) => { create(s); return s.sql.exec("INSERT INTO t (v) VALUES ('a'), ('b') RETURNING id, v").toArray(); },
  shape: ({ storage: s }) => [s.sql.constructor.name, typeof s.sql.exec, typeof s.sql.prepare, typeof s.sql.ingest, typeof s.sql.Cursor, typeof s.sql.Statement, s.sql.exec("SELECT 1") instanceof s.sql.Cursor],
  foreignKeysOn: ({ storage: s }) => { s.sql.exec("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id))"); return thrown(() => s.sql.exec("INSERT INTO c VALUES (1)")); },
  twoObjectsAreSeparate: ({ storage: s }) => thrown(() => count(s)),
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
