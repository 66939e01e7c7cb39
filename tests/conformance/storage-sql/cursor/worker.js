// Cursors: positions, counts, many at once.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const rows = (s, n = 3) => { s.sql.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX IF NOT EXISTS tv ON t (v)"); for (let i = 1; i <= n; i++) s.sql.exec("INSERT INTO t (v) VALUES (?)", `v${i}`); return s; };
const select = (s, q = "SELECT id, v FROM t ORDER BY id") => s.sql.exec(q);
const probes = {
  next: ({ storage: s }) => { const c = select(rows(s, 2)); return [c.next(), c.next(), c.next(), c.next()].map((x) => show(x)); },
  forOf: ({ storage: s }) => { const seen = []; for (const { id } of select(rows(s))) seen.push(id); return seen; },
  spread: ({ storage: s }) => [...select(rows(s))].length,
  toArrayTwice: ({ storage: s }) => { const c = select(rows(s, 1)); return [c.toArray(), c.toArray()]; },
  sharedPosition: ({ storage: s }) => { const c = select(rows(s)); c.next(); return [c.raw().next().value, c.toArray()]; },
  one: ({ storage: s }) => select(rows(s, 1)).one(),
  oneOfNone: ({ storage: s }) => thrown(() => select(rows(s, 0)).one()),
  oneOfMany: ({ storage: s }) => thrown(() => select(rows(s)).one()),
  oneAfterNext: ({ storage: s }) => { const c = select(rows(s, 2)); c.next(); return thrown(() => c.one()); },
  oneTwice: ({ storage: s }) => { const c = select(rows(s, 1)); c.one(); return thrown(() => c.one()); },
  raw: ({ storage: s }) => [...select(rows(s, 2)).raw()],
  rawToArray: ({ storage: s }) => select(rows(s, 2)).raw().toArray(),
  rawDuplicates: ({ storage: s }) => [...s.sql.exec("SELECT 1 AS a, 2 AS a").raw()],
  columnNames: ({ storage: s }) => { const c = select(rows(s)); return [c.columnNames, c.columnNames.length]; },
  columnNamesOfInsert: ({ storage: s }) => { rows(s); return s.sql.exec("INSERT INTO t (v) VALUES ('x')").columnNames; },
  columnNamesAtEnd: ({ storage: s }) => { const c = select(rows(s)); c.toArray(); return c.columnNames; },
  rowsReadGrows: ({ storage: s }) => { const c = select(rows(s)); const at = [c.rowsRead]; c.next(); at.push(c.rowsRead); c.toArray(); at.push(c.rowsRead); return at; },
  rowsReadOfExpression: ({ storage: s }) => { const c = s.sql.exec("SELECT 1"); c.toArray(); return [c.rowsRead, c.rowsWritten]; },
  rowsReadByKey: ({ storage: s }) => { const c = select(rows(s, 50), "SELECT * FROM t WHERE id = 7"); c.toArray(); return c.rowsRead; },
  rowsReadOfScan: ({ storage: s }) => { const c = select(rows(s, 50), "SELECT count(*) FROM t WHERE length(v) > 0"); c.toArray(); return c.rowsRead; },
  rowsWritten: ({ storage: s }) => { rows(s); const c = s.sql.exec("INSERT INTO t (v) VALUES ('x'), ('y')"); return [c.rowsRead, c.rowsWritten]; },
  rowsWrittenNoIndex: ({ storage: s }) => { s.sql.exec("CREATE TABLE p (v)"); return s.sql.exec("INSERT INTO p VALUES (1), (2), (3)").rowsWritten; },
  rowsWrittenOfUpdate: ({ storage: s }) => { rows(s); return s.sql.exec("UPDATE t SET v = 'new' WHERE id < 3").rowsWritten; },
  rowsWrittenOfDelete: ({ storage: s }) => { rows(s); return s.sql.exec("DELETE FROM t WHERE id < 3").rowsWritten; },
  sameTextTwice: ({ storage: s }) => { rows(s); const a = select(s); const b = select(s); a.next(); return [a.next().value.id, b.next().value.id, a.next().value.id, b.toArray().length]; },
  insertAheadIsSeen: ({ storage: s }) => { const c = select(rows(s, 2)); c.next(); s.sql.exec("INSERT INTO t VALUES (100, 'late')"); return c.toArray().map((r) => r.id); },
  deleteAheadIsSeen: ({ storage: s }) => { const c = select(rows(s, 6)); c.next(); s.sql.exec("DELETE FROM t WHERE id > 3"); return c.toArray().map((r) => r.id); },
  acrossAwait: async ({ storage: s }) => { const seen = []; for (const { id } of select(rows(s))) { seen.push(id); await wait(1); } return seen; },
  acrossWriteAndAwait: async ({ storage: s }) => { const seen = []; for (const { id } of select(rows(s))) { seen.push(id); s.sql.exec("UPDATE t SET v = 'u' WHERE id = ?", id); await wait(1); } return [seen, select(s).toArray().map((r) => r.v)]; },
  dropTableUnderCursor: ({ storage: s }) => { const c = select(rows(s, 20), "SELECT id FROM t"); c.next(); return thrown(() => s.sql.exec("DROP TABLE t")); },
  alterUnderCursor: ({ storage: s }) => { const c = select(rows(s, 20), "SELECT id FROM t"); c.next(); return [thrown(() => s.sql.exec("ALTER TABLE t ADD COLUMN w").toArray()), thrown(() => c.toArray().length)]; },
  tableChangesBetweenRuns: ({ storage: s }) => { rows(s, 1); const q = "SELECT * FROM t"; const a = s.sql.exec(q).toArray(); s.sql.exec("ALTER TABLE t ADD COLUMN w DEFAULT 5"); return [a, s.sql.exec(q).toArray()]; },
  abandoned: ({ storage: s }) => { rows(s, 20); for (let i = 0; i < 50; i++) select(s).next(); s.sql.exec("INSERT INTO t (v) VALUES ('x')"); return s.sql.exec("SELECT count(*) AS n FROM t").one().n; },
  returningFinished: async ({ storage: s }) => { rows(s, 0); const r = s.sql.exec("INSERT INTO t (v) VALUES ('a'), ('b') RETURNING id").toArray(); await wait(5); return [r, s.sql.exec("SELECT count(*) AS n FROM t").one().n]; },
  laterError: ({ storage: s }) => thrown(() => s.sql.exec("SELECT json_extract(v, '$') FROM (SELECT '1' AS v UNION ALL SELECT '2' UNION ALL SELECT '{bad')").toArray()),
  iteratorIsIterable: ({ storage: s }) => { const c = select(rows(s)); return [c[Symbol.iterator]() === c, typeof c.next, typeof c.map, Object.prototype.toString.call(c), c.constructor.name]; },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
