// Corners of cursors and statements that a comparison of random calls found.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown } from "./probe.js";

const filled = (s) => { s.sql.exec("CREATE TABLE t (a INTEGER PRIMARY KEY, b)"); s.sql.exec("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)"); return s; };
const probes = {
  errorTakesItsRow: ({ storage: s }) => { const c = s.sql.exec("SELECT abs(column1) AS x FROM (VALUES (1), (2), (-9223372036854775807 - 1))"); return [thrown(() => c.next()), thrown(() => c.next())]; },
  oneOfMany: ({ storage: s }) => { const c = filled(s).sql.exec("SELECT * FROM t"); return [thrown(() => c.one()), c.rowsRead, thrown(() => c.next()), c.toArray()]; },
  emptyStatements: ({ storage: s }) => ["SELECT 1;;", ";SELECT 1", "SELECT 1; ;", "SELECT 1\0 x", "\0", "SELECT 1;\n"].map((sql) => thrown(() => s.sql.exec(sql).toArray())),
  syntaxBeforeTransaction: ({ storage: s }) => ["RELEASE x x", "RELEASE x", "BEGIN x", "BEGIN", "COMMIT COMMIT"].map((sql) => thrown(() => s.sql.exec(sql))),
  reindexWithKeys: ({ storage: s }) => { s.kv.put("a", 1); return ["REINDEX", "REINDEX _cf_KV", "REINDEX NOCASE"].map((sql) => thrown(() => s.sql.exec(sql).toArray())); },
  pragmasAfterDeleteAll: async ({ storage: s }) => { filled(s); for (const p of ["case_sensitive_like", "recursive_triggers", "reverse_unordered_selects", "ignore_check_constraints", "legacy_alter_table"]) s.sql.exec(`PRAGMA ${p} = ON`); s.sql.exec("PRAGMA foreign_keys = OFF"); await s.deleteAll(); return ["recursive_triggers", "reverse_unordered_selects", "ignore_check_constraints", "legacy_alter_table", "foreign_keys"].map((p) => s.sql.exec(`PRAGMA ${p}`).toArray()).concat(s.sql.exec("SELECT 'A' LIKE 'a' AS l").toArray()); },
  compiledAnew: ({ storage: s }) => { const twice = "CREATE TABLE t (a)"; const read = "SELECT a FROM t"; s.sql.exec(twice); s.sql.exec(read); const again = thrown(() => s.sql.exec(twice)); s.sql.exec("ALTER TABLE t RENAME COLUMN a TO b"); const column = thrown(() => s.sql.exec(read)); s.sql.exec("DROP TABLE t"); return [again, column, thrown(() => s.sql.exec(read)), thrown(() => s.sql.exec("SELECT abs(-9223372036854775807 - 1)"))]; },
  caseSensitiveLike: ({ storage: s }) => { const like = () => s.sql.exec("SELECT 'Ab' LIKE 'aB' AS l, like('a%', 'AB') AS f").one(); const all = [like()]; s.sql.exec("PRAGMA case_sensitive_like = ON"); all.push(like()); s.sql.exec("PRAGMA case_sensitive_like = OFF"); all.push(like()); return all; },
  likePlans: ({ storage: s }) => { s.sql.exec("CREATE TABLE p (a TEXT COLLATE NOCASE, b TEXT); CREATE INDEX pa ON p (a); CREATE INDEX pb ON p (b)"); return ["a LIKE 'x%'", "b LIKE 'x%'", "b GLOB 'x*'", "a LIKE '%x'"].map((c) => s.sql.exec(`EXPLAIN QUERY PLAN SELECT * FROM p WHERE ${c}`).toArray().map((r) => r.detail)); },
  stringFunctions: ({ storage: s }) => ["instr('aüb', 'b')", "instr(x'c3bc62', x'62')", "instr('a', '')", "instr('', 'a')", "instr(12345, 34)", "instr(NULL, 'a')", "replace('aaa', 'a', 'bb')", "replace('abc', '', 'x')", "replace(1.5, '.', ',')", "replace('a', 'a', NULL)", "typeof(replace(5, 5, 6))", "trim('xyaxy', 'xy')", "ltrim('üüa', 'ü')", "rtrim('aüü', 'ü')", "trim('a', '')", "trim(NULL, 'a')", "trim(505, 5)", "hex(unhex('41-42', '-'))", "unhex('4-1', '-')", "unhex('4', '')", "typeof(unhex('', ''))", "instr()", "replace('a', 'b')", "unhex()", "trim()"].map((e) => thrown(() => s.sql.exec(`SELECT ${e} AS x`).one().x)),
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
