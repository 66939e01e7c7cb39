// Implicit transactions: what one turn writes is one unit; what a reset takes back; failing commits.
import { DurableObject } from "cloudflare:workers";
import { answer, caught, wait } from "./probe.js";

export class Obj extends DurableObject {
  keys() { return [...this.ctx.storage.kv.list()].map(([k]) => k).sort(); }
  rows(table) { return this.ctx.storage.sql.exec(`SELECT count(*) AS n FROM ${table}`).one().n; }
  putThenThrow() { this.ctx.storage.kv.put("a", 1); throw new Error("after put"); }
  async putAwaitThrow() { await this.ctx.storage.put("a", 1); await this.ctx.storage.put("b", 1); throw new Error("after puts"); }
  putThenAbort() { this.ctx.storage.kv.put("a", 1); this.ctx.storage.sql.exec("CREATE TABLE t (x)"); this.ctx.abort("abort"); }
  async putMicrotasksAbort() { await this.ctx.storage.put("a", 1); await null; await this.ctx.storage.get("a"); await this.ctx.storage.put("b", 1); this.ctx.abort("abort"); }
  async putTimerAbort() { await this.ctx.storage.put("a", 1); await wait(20); await this.ctx.storage.put("b", 1); this.ctx.abort("abort"); }
  async putSyncAbort() { await this.ctx.storage.put("a", 1); await this.ctx.storage.sync(); await this.ctx.storage.put("b", 1); this.ctx.abort("abort"); }
  async putFetchAbort() { await this.ctx.storage.put("a", 1); await this.env.OBJ.getByName("helper").keys(); await this.ctx.storage.put("b", 1); this.ctx.abort("abort"); }
  async txnThenAbort() { await this.ctx.storage.transaction(async (txn) => { await txn.put("a", 1); }); this.ctx.abort("abort"); }
  txnSyncThenAbort() { this.ctx.storage.transactionSync(() => this.ctx.storage.kv.put("a", 1)); this.ctx.abort("abort"); }
  async abortInsideTransaction() { await this.ctx.storage.transaction(async (txn) => { await txn.put("a", 1); await wait(10); this.ctx.abort("abort"); }); }
  setupForeignKeys() { this.ctx.storage.sql.exec("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)"); }
  violate() { this.ctx.storage.kv.put("with violation", 1); this.ctx.storage.sql.exec("INSERT INTO c VALUES (99)"); return "looks fine"; }
  violateAndRepair() { this.ctx.storage.sql.exec("INSERT INTO c VALUES (5)"); this.ctx.storage.sql.exec("INSERT INTO p VALUES (5)"); return "fine"; }
  violateInTransaction() { return caught(() => this.ctx.storage.transaction(async () => { this.ctx.storage.sql.exec("INSERT INTO c VALUES (99)"); })); }
  async violateThenWait() { this.ctx.storage.sql.exec("INSERT INTO c VALUES (99)"); await wait(20); return "not reached"; }
  async violateCallsOther() { this.ctx.storage.sql.exec("INSERT INTO c VALUES (99)"); await this.env.OBJ.getByName("told").told(); return "told"; }
  told() { this.ctx.storage.kv.put("told", 1); }
  mark() { this.marked = true; }
  isMarked() { return this.marked ?? false; }
  unfinished() { this.ctx.storage.sql.exec("CREATE TABLE u (x)"); const c = this.ctx.storage.sql.exec("INSERT INTO u VALUES (1), (2), (3) RETURNING x"); return c.next().value.x; }
}
const at = (env, name) => env.OBJ.getByName(name);
const abortAnd = (method) => async (env) => [await caught(() => at(env, method)[method]()), await at(env, method).keys()];
const probes = {
  throwKeepsWrites: abortAnd("putThenThrow"),
  throwAfterAwaitKeepsWrites: abortAnd("putAwaitThrow"),
  abortRollsBack: abortAnd("putThenAbort"),
  abortRollsBackDdl: async (env) => caught(() => at(env, "putThenAbort").rows("t")),
  microtasksAreOneUnit: abortAnd("putMicrotasksAbort"),
  timerEndsTheUnit: abortAnd("putTimerAbort"),
  syncEndsTheUnit: abortAnd("putSyncAbort"),
  callEndsTheUnit: abortAnd("putFetchAbort"),
  transactionIsCommitted: abortAnd("txnThenAbort"),
  transactionSyncIsNot: abortAnd("txnSyncThenAbort"),
  abortInsideTransaction: abortAnd("abortInsideTransaction"),
  failedCommit: async (env) => { const s = at(env, "fk"); await s.setupForeignKeys(); await s.mark(); const e = await caught(() => s.violate()); return [e, await caught(() => s.isMarked()), await at(env, "fk").isMarked(), await at(env, "fk").rows("c"), await at(env, "fk").keys()]; },
  repairedInTheTurn: async (env) => { const s = at(env, "fk2"); await s.setupForeignKeys(); return [await s.violateAndRepair(), await s.rows("c")]; },
  failedExplicitCommit: async (env) => { const s = at(env, "fk3"); await s.setupForeignKeys(); const e = await caught(() => s.violateInTransaction()); return [e[0], await caught(() => at(env, "fk3").rows("c"))]; },
  failedCommitStopsTheObject: async (env) => { const s = at(env, "fk4"); await s.setupForeignKeys(); return [await caught(() => s.violateThenWait()), await at(env, "fk4").rows("c")]; },
  failedCommitHoldsCalls: async (env) => { const s = at(env, "fk5"); await s.setupForeignKeys(); return [await caught(() => s.violateCallsOther()), await at(env, "told").keys()]; },
  unfinishedReturning: async (env) => { const r = await caught(() => at(env, "unfinished").unfinished()); return [r, await caught(() => at(env, "unfinished").rows("u"))]; },
};
const after = Object.fromEntries(["putThenThrow", "putThenAbort", "putTimerAbort", "txnThenAbort", "fk", "told"].map((name) => [name, (env) => at(env, name).keys()]));
export default { fetch: (request, env) => answer(request.url.endsWith("/after") ? after : probes, env) };
