// transaction() and transactionSync(): results, rollback, nesting, misuse.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const probes = {
  value: ({ storage: s }) => s.transaction(async () => "value"),
  syncCallback: ({ storage: s }) => s.transaction(() => "sync"),
  commits: async ({ storage: s }) => { await s.transaction(async (txn) => { await txn.put("a", 1); s.kv.put("b", 2); s.sql.exec("CREATE TABLE t (x)"); s.sql.exec("INSERT INTO t VALUES (3)"); await s.put("d", 4); }); return [await s.get("a"), s.kv.get("b"), s.sql.exec("SELECT x FROM t").one().x, await s.get("d")]; },
  throwsRollsBack: async ({ storage: s }) => { s.kv.put("kept", 1); s.sql.exec("CREATE TABLE t (x)"); const e = await caught(() => s.transaction(async (txn) => { await txn.put("a", 1); s.kv.put("b", 1); await s.put("c", 1); s.sql.exec("INSERT INTO t VALUES (1)"); throw new RangeError("back"); })); return [e, [...s.kv.list()], s.sql.exec("SELECT count(*) AS n FROM t").one().n]; },
  throwsAfterTimer: async ({ storage: s }) => { const e = await caught(() => s.transaction(async (txn) => { await txn.put("a", 1); await wait(5); s.kv.put("b", 1); await wait(5); throw new Error("late"); })); return [e, [...s.kv.list()]]; },
  throwDoesNotReset: async ({ storage: s }, object) => { object.mark = 1; await caught(() => s.transaction(async () => { throw new Error("x"); })); return object.mark; },
  rollback: async ({ storage: s }) => { const r = await s.transaction(async (txn) => { await txn.put("a", 1); txn.rollback(); return "still delivered"; }); return [r, [...s.kv.list()]]; },
  rollbackTwice: ({ storage: s }) => s.transaction(async (txn) => [show(txn.rollback()), show(txn.rollback())]),
  putAfterRollback: ({ storage: s }) => caught(() => s.transaction(async (txn) => { txn.rollback(); await txn.put("a", 1); })),
  getAfterRollback: ({ storage: s }) => caught(() => s.transaction(async (txn) => { txn.rollback(); return txn.get("a"); })),
  storageAfterRollback: async ({ storage: s }) => { await s.transaction(async (txn) => { txn.rollback(); s.kv.put("outside", 1); }); return [...s.kv.list()]; },
  useAfterCommit: async ({ storage: s }) => { let kept; await s.transaction(async (txn) => { kept = txn; }); return [await caught(() => kept.get("a")), await caught(() => kept.put("a", 1)), thrown(() => kept.rollback())]; },
  txnMethods: ({ storage: s }) => s.transaction(async (txn) => [txn.constructor.name, ["get", "list", "put", "delete", "deleteAll", "getAlarm", "setAlarm", "deleteAlarm", "rollback", "sql", "kv", "transaction", "sync"].map((m) => [m, typeof txn[m]])]),
  txnReads: async ({ storage: s }) => { s.kv.put("a", 1); return s.transaction(async (txn) => { await txn.put("b", 2); return [await txn.get("a"), await txn.get(["a", "b"]), [...(await txn.list({ reverse: true })).keys()], await txn.delete("a"), await txn.get("a"), s.kv.get("b")]; }); },
  deleteAllInside: ({ storage: s }) => caught(() => s.transaction(async (txn) => txn.deleteAll())),
  storageDeleteAllInside: ({ storage: s }) => caught(() => s.transaction(async () => s.deleteAll())),
  nested: async ({ storage: s }) => { await s.transaction(async () => { s.kv.put("outer", 1); await caught(() => s.transaction(async () => { s.kv.put("inner", 1); throw new Error("inner"); })); s.kv.put("after", 1); }); return [...s.kv.list()].map(([k]) => k); },
  nestedOuterFails: async ({ storage: s }) => { await caught(() => s.transaction(async () => { s.kv.put("outer", 1); await s.transaction(async () => s.kv.put("inner", 1)); throw new Error("outer"); })); return [...s.kv.list()]; },
  notAFunction: ({ storage: s }) => caught(() => s.transaction(5)),
  nothing: ({ storage: s }) => caught(() => s.transaction()),
  implicitBeforeIsKept: async ({ storage: s }) => { s.kv.put("before", 1); await caught(() => s.transaction(async () => { throw new Error("x"); })); return s.kv.get("before"); },
  isolationFromOutside: async ({ storage: s }) => { const seen = []; const t = s.transaction(async () => { s.kv.put("in", 1); await wait(10); seen.push("txn"); }); t.then(() => seen.push("done")); await t; await null; return seen; },
  twoInOrder: async ({ storage: s }) => { const seen = []; await Promise.all([s.transaction(async () => { seen.push("a in"); await wait(5); seen.push("a out"); }), s.transaction(async () => { seen.push("b in"); await wait(1); seen.push("b out"); })]); return seen; },
  insideBcw: (ctx) => ctx.blockConcurrencyWhile(() => ctx.storage.transaction(async (txn) => { await txn.put("a", 1); return txn.get("a"); })),

  syncValue: ({ storage: s }) => s.transactionSync(() => "value"),
  syncCommits: ({ storage: s }) => { s.transactionSync(() => { s.kv.put("a", 1); s.sql.exec("CREATE TABLE t (x)"); }); return [s.kv.get("a"), s.sql.exec("SELECT count(*) AS n FROM t").one().n]; },
  syncRollsBack: ({ storage: s }) => { const e = thrown(() => s.transactionSync(() => { s.kv.put("a", 1); s.sql.exec("CREATE TABLE t (x)"); throw new RangeError("back"); })); return [e, show(s.kv.get("a")), thrown(() => s.sql.exec("SELECT * FROM t"))[0]]; },
  syncRethrowsSame: ({ storage: s }) => { const mine = { mine: 1 }; try { s.transactionSync(() => { throw mine; }); } catch (e) { return e === mine; } },
  syncNested: ({ storage: s }) => { s.transactionSync(() => { s.kv.put("outer", 1); thrown(() => s.transactionSync(() => { s.kv.put("inner", 1); throw new Error("x"); })); s.transactionSync(() => s.kv.put("second", 1)); }); return [...s.kv.list()].map(([k]) => k); },
  syncDeep: ({ storage: s }) => { const go = (n) => s.transactionSync(() => { s.kv.put(`k${n}`, n); return n ? go(n - 1) : "bottom"; }); return [go(20), [...s.kv.list()].length]; },
  syncInsideAsync: async ({ storage: s }) => { await s.transaction(async () => { s.kv.put("a", 1); thrown(() => s.transactionSync(() => { s.kv.put("b", 1); throw new Error("x"); })); }); return [...s.kv.list()].map(([k]) => k); },
  syncWithAsyncPut: async ({ storage: s }) => { thrown(() => s.transactionSync(() => { s.put("a", 1); throw new Error("x"); })); return show(await s.get("a")); },
  syncWithAsyncFunction: async ({ storage: s }) => { const p = s.transactionSync(async () => { s.kv.put("a", 1); await null; s.kv.put("b", 1); throw new Error("late"); }); return [p instanceof Promise, await caught(() => p), [...s.kv.list()].map(([k]) => k)]; },
  syncNotAFunction: ({ storage: s }) => thrown(() => s.transactionSync(5)),
  syncNothing: ({ storage: s }) => thrown(() => s.transactionSync()),
  syncReturnValueKinds: ({ storage: s }) => { const f = () => 1; return s.transactionSync(() => f) === f; },
  syncCursorAfterRollback: ({ storage: s }) => { s.sql.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)"); let c; thrown(() => s.transactionSync(() => { s.sql.exec("INSERT INTO t VALUES (2)"); c = s.sql.exec("SELECT x FROM t"); c.next(); throw new Error("x"); })); return [thrown(() => c.toArray().length)[0] ?? "read", s.sql.exec("SELECT count(*) AS n FROM t").one().n]; },
  syncConstraint: ({ storage: s }) => { s.sql.exec("CREATE TABLE t (x PRIMARY KEY)"); const e = thrown(() => s.transactionSync(() => { s.sql.exec("INSERT INTO t VALUES (1)"); s.sql.exec("INSERT INTO t VALUES (1)"); })); return [e, s.sql.exec("SELECT count(*) AS n FROM t").one().n]; },
  syncCaughtConstraint: ({ storage: s }) => { s.sql.exec("CREATE TABLE t (x PRIMARY KEY)"); s.transactionSync(() => { s.sql.exec("INSERT INTO t VALUES (1)"); thrown(() => s.sql.exec("INSERT INTO t VALUES (1)")); s.sql.exec("INSERT INTO t VALUES (2)"); }); return s.sql.exec("SELECT count(*) AS n FROM t").one().n; },
  syncDeferredForeignKey: ({ storage: s }) => { s.sql.exec("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)"); return thrown(() => s.transactionSync(() => { s.sql.exec("INSERT INTO c VALUES (1)"); s.sql.exec("INSERT INTO p VALUES (1)"); return "both"; })); },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
