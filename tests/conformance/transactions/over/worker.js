// A transaction that is over stays over, however it ended.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown } from "./probe.js";

async function kept(s, run) {
  let txn;
  await caught(() => s.transaction(async (t) => { txn = t; return run(t); }));
  return txn;
}
const fail = () => { throw new Error("on purpose"); };
const probes = {
  rollbackAfterThrow: async ({ storage: s }) => { const txn = await kept(s, fail); s.kv.put("later", 1); return [thrown(() => txn.rollback()), s.kv.get("later")]; },
  rollbackAfterReject: async ({ storage: s }) => { const txn = await kept(s, () => Promise.reject(new Error("x"))); s.sql.exec("CREATE TABLE t (a)"); return [thrown(() => txn.rollback()), s.sql.exec("SELECT name FROM sqlite_master").toArray()]; },
  useAfterThrow: async ({ storage: s }) => { const txn = await kept(s, fail); return [await caught(() => txn.get("a")), await caught(() => txn.put("a", 1)), await caught(() => txn.delete("a")), await caught(() => txn.list())]; },
  whatIsWrongFirst: ({ storage: s }) => s.transaction(async (txn) => { txn.rollback(); return [await caught(() => txn.put()), await caught(() => txn.put("a")), await caught(() => txn.put("a", () => 1)), await caught(() => txn.put("a", 1, 5)), await caught(() => txn.get("a", 5)), await caught(() => txn.list({ limit: 0 })), thrown(() => { txn.delete("a"); })]; }),
  deleteAllThrows: ({ storage: s }) => s.transaction(async (txn) => thrown(() => { txn.deleteAll(); })),
  typeNames: ({ storage: s }) => s.transaction(async (txn) => [await caught(() => txn.get()), await caught(() => txn.list(5)), await caught(() => s.get())]),
  cursorsAfterRefusedPut: async ({ storage: s }) => { s.sql.exec("CREATE TABLE t (a)"); s.sql.exec("INSERT INTO t VALUES (1), (2)"); const c = s.sql.exec("SELECT a FROM t"); await caught(() => s.put({ a: 1, b: () => 1 })); return [thrown(() => c.next()), s.kv.get("a")]; },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
