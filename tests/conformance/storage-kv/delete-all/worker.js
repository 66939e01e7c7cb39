// deleteAll, bookmarks, and what is left.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const tables = (s) => s.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\' ORDER BY name").toArray().map((r) => r.name);
const probes = {
  everythingGoes: async ({ storage: s }) => { await s.put("k", 1); s.sql.exec("CREATE TABLE t (a); CREATE INDEX i ON t (a); CREATE VIEW v AS SELECT 1; INSERT INTO t VALUES (1)"); const before = tables(s); const r = await s.deleteAll(); return [before, show(r), (await s.list()).size, tables(s)]; },
  emptyIsFine: async ({ storage: s }) => { await s.deleteAll(); await s.deleteAll(); return (await s.list()).size; },
  usableAfterwards: async ({ storage: s }) => { await s.put("k", 1); await s.deleteAll(); await s.put("k", 2); s.sql.exec("CREATE TABLE t (a)"); return [await s.get("k"), tables(s)]; },
  memoryStays: async ({ storage: s }, object) => { object.mark = 1; await s.deleteAll(); return object.mark; },
  notAwaited: async ({ storage: s }) => { s.put("k", 1); const p = s.deleteAll(); s.put("l", 2); await p; return [...(await s.list()).keys()]; },
  options: async ({ storage: s }) => show(await s.deleteAll({ allowUnconfirmed: true, allowConcurrency: true })),
  openCursor: async ({ storage: s }) => { s.sql.exec("CREATE TABLE t (a)"); for (let i = 0; i < 10; i++) s.sql.exec("INSERT INTO t VALUES (?)", i); const cursor = s.sql.exec("SELECT a FROM t"); cursor.next(); await s.deleteAll(); return thrown(() => cursor.toArray())[0] ?? "rows"; },
  bookmarkIsString: async ({ storage: s }) => { const a = await s.getCurrentBookmark(); await s.put("k", 1); const b = await s.getCurrentBookmark(); return [typeof a, a.length, a <= b]; },
  bookmarkForTime: ({ storage: s }) => caught(async () => typeof (await s.getBookmarkForTime(Date.now() - 1))),
  restore: ({ storage: s }) => caught(async () => typeof (await s.onNextSessionRestoreBookmark(await s.getCurrentBookmark()))),
  databaseSize: ({ storage: s }) => { const before = s.sql.databaseSize; s.sql.exec("CREATE TABLE t (a)"); for (let i = 0; i < 100; i++) s.sql.exec("INSERT INTO t VALUES (?)", "x".repeat(1000)); return [before > 0, before % 4096, s.sql.databaseSize > before + 90_000]; },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
