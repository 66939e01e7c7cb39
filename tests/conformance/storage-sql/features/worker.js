// What SQL may do: functions, full text, JSON, windows, triggers, and more.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const run = (s, q, ...b) => s.sql.exec(q, ...b).toArray();
const expr = (e) => ({ storage: s }) => thrown(() => s.sql.exec(`SELECT ${e} AS x`).one().x);
const EXPRESSIONS = ["abs(-1)", "char(97, 252)", "coalesce(NULL, 2)", "concat('a', 1)", "concat_ws('-', 'a', 'b')", "format('%05d', 7)", "glob('a*', 'abc')", "hex('ab')", "ifnull(NULL, 1)", "iif(1, 'a', 'b')", "instr('abc', 'c')", "length('ü')", "octet_length('ü')", "like('a%', 'abc')", "lower('ABC')", "ltrim('  a')", "max(1, 2)", "min(1, 2)", "nullif(1, 1)", "printf('%.2f', 1.005)", "quote('it''s')", "replace('aba', 'a', 'x')", "round(2.567, 2)", "rtrim('a ')", "sign(-3)", "soundex('Robert')", "substr('hello', 2, 3)", "substring('hello', 2)", "trim(' a ')", "typeof(1.0)", "unhex('6162')", "unicode('a')", "upper('abc')", "zeroblob(2)", "likely(1)", "unlikely(0)", "likelihood(1, 0.5)", "typeof(random())", "typeof(last_insert_rowid())", "changes()", "total_changes() >= 0",
  "date('2024-01-31', '+1 month')", "time('12:00', '+90 minutes')", "datetime(0, 'unixepoch')", "julianday('2000-01-01')", "unixepoch('2000-01-01')", "strftime('%Y-%j', '2024-12-31')", "timediff('2024-02-01', '2024-01-01')",
  "acos(1)", "ceil(1.2)", "floor(-1.2)", "cos(0)", "degrees(0)", "exp(0)", "ln(1)", "log(100)", "log(2, 8)", "log2(8)", "mod(7, 3)", "pi()", "pow(2, 10)", "radians(0)", "sin(0)", "sqrt(9)", "tan(0)", "trunc(1.9)", "atan2(0, 1)", "sinh(0)",
  "json('{\"a\" : 1}')", "json_array(1, 'a', NULL)", "json_array_length('[1,2]')", "json_extract('{\"a\":[1,2]}', '$.a[1]')", "'{\"a\":1}' -> 'a'", "'{\"a\":\"x\"}' ->> 'a'", "json_insert('{}', '$.a', 1)", "json_object('a', 1)", "json_patch('{\"a\":1}', '{\"a\":null}')", "json_pretty('[1]')", "json_quote('x')", "json_remove('[1,2]', '$[0]')", "json_replace('{\"a\":1}', '$.a', 2)", "json_set('{}', '$.b', 2)", "json_type('[1]')", "json_valid('{')", "json_error_position('{')", "typeof(jsonb('[1]'))", "json(jsonb('[1, 2]'))", "json_valid(jsonb('[1]'), 4)",
  "CAST('12x' AS INTEGER)", "1 IS NOT DISTINCT FROM NULL", "TRUE", "0x10", "'a' || 'b'", "1 BETWEEN 0 AND 2", "5 / 2", "5 % 3", "1 << 4", "'a' COLLATE NOCASE = 'A'", "typeof(current_timestamp)", "(SELECT 1)", "EXISTS (SELECT 1)", "CASE 1 WHEN 1 THEN 'one' END", "1_000"];
const probes = Object.fromEntries(EXPRESSIONS.map((e) => [`expr ${e}`, expr(e)]));
Object.assign(probes, {
  aggregates: ({ storage: s }) => run(s, "SELECT count(*) AS c, sum(x) AS s, total(x) AS t, avg(x) AS a, min(x) AS mi, max(x) AS ma, group_concat(x, '-') AS g, string_agg(x, '+') AS st, json_group_array(x) AS ja, json_group_object(x, x) AS jo FROM (VALUES (1), (2), (3)) AS v(x)".replace("AS v(x)", "").replace(/\bx\b/g, "column1")),
  window: ({ storage: s }) => run(s, "SELECT column1 AS x, row_number() OVER (ORDER BY column1) AS rn, rank() OVER (ORDER BY column1) AS r, lag(column1) OVER (ORDER BY column1) AS l, sum(column1) OVER (ORDER BY column1) AS rs, ntile(2) OVER (ORDER BY column1) AS nt FROM (VALUES (3), (1), (2))"),
  recursiveCte: ({ storage: s }) => run(s, "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT sum(n) AS s FROM c"),
  view: ({ storage: s }) => { run(s, "CREATE TABLE t (a); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT a + 1 AS b FROM t"); return run(s, "SELECT * FROM v"); },
  trigger: ({ storage: s }) => { run(s, "CREATE TABLE t (a); CREATE TABLE log (x); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a * 2); END; INSERT INTO t VALUES (5)"); return run(s, "SELECT * FROM log"); },
  generated: ({ storage: s }) => { run(s, "CREATE TABLE t (a, b AS (a * 2) STORED, c AS (a + 1)); INSERT INTO t (a) VALUES (4)"); return run(s, "SELECT * FROM t"); },
  strict: ({ storage: s }) => { run(s, "CREATE TABLE t (a INTEGER, b ANY) STRICT; INSERT INTO t VALUES (1, 'x')"); return run(s, "SELECT * FROM t"); },
  withoutRowid: ({ storage: s }) => { run(s, "CREATE TABLE t (a TEXT PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES ('b'), ('a')"); return run(s, "SELECT * FROM t"); },
  upsert: ({ storage: s }) => { run(s, "CREATE TABLE t (k PRIMARY KEY, n); INSERT INTO t VALUES ('a', 1)"); return run(s, "INSERT INTO t VALUES ('a', 5) ON CONFLICT (k) DO UPDATE SET n = n + excluded.n RETURNING n"); },
  updateFrom: ({ storage: s }) => { run(s, "CREATE TABLE t (k, n); INSERT INTO t VALUES ('a', 1); UPDATE t SET n = v.column2 FROM (VALUES ('a', 9)) AS v WHERE t.k = v.column1"); return run(s, "SELECT * FROM t"); },
  partialIndex: ({ storage: s }) => run(s, "CREATE TABLE t (a); CREATE UNIQUE INDEX i ON t (a) WHERE a > 5; INSERT INTO t VALUES (1), (1), (6); SELECT count(*) AS n FROM t"),
  expressionIndex: ({ storage: s }) => run(s, "CREATE TABLE t (a); CREATE INDEX i ON t (lower(a)); INSERT INTO t VALUES ('A'); SELECT a FROM t WHERE lower(a) = 'a'"),
  explain: ({ storage: s }) => { run(s, "CREATE TABLE t (a)"); return [run(s, "EXPLAIN QUERY PLAN SELECT * FROM t").length, run(s, "EXPLAIN SELECT 1").length > 2]; },
  reindexAnalyze: ({ storage: s }) => { run(s, "CREATE TABLE t (a); CREATE INDEX i ON t (a); INSERT INTO t VALUES (1)"); run(s, "REINDEX"); run(s, "ANALYZE"); return run(s, "SELECT tbl, idx FROM sqlite_stat1"); },
  fts5: ({ storage: s }) => { run(s, "CREATE VIRTUAL TABLE f USING fts5(title, body)"); run(s, "INSERT INTO f VALUES ('One', 'the quick brown fox'), ('Two', 'lazy dogs sleep')"); return [run(s, "SELECT title FROM f WHERE f MATCH 'quick'"), run(s, "SELECT highlight(f, 1, '[', ']') AS h, snippet(f, 1, '<', '>', '..', 2) AS s FROM f WHERE f MATCH 'dogs'"), run(s, "SELECT title FROM f WHERE f MATCH ? ORDER BY bm25(f)", "fox OR dogs").length]; },
  fts5vocab: ({ storage: s }) => { run(s, "CREATE VIRTUAL TABLE f USING fts5(a); CREATE VIRTUAL TABLE fv USING fts5vocab(f, row); INSERT INTO f VALUES ('x y')"); return run(s, "SELECT term FROM fv"); },
  rtree: ({ storage: s }) => { run(s, "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 5), (2, 6, 9)"); return [run(s, "SELECT id FROM r WHERE x0 >= 6"), run(s, "SELECT rtreecheck('r') AS c")]; },
  jsonEach: ({ storage: s }) => run(s, "SELECT key, value, type FROM json_each('{\"a\":1,\"b\":[2]}')"),
  jsonTree: ({ storage: s }) => run(s, "SELECT fullkey, atom FROM json_tree('{\"a\":[1]}')"),
  insteadOf: ({ storage: s }) => { run(s, "CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER iv INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.a); END; INSERT INTO v VALUES (3)"); return run(s, "SELECT * FROM t"); },
  alter: ({ storage: s }) => { run(s, "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2); ALTER TABLE t RENAME COLUMN a TO x; ALTER TABLE t DROP COLUMN b; ALTER TABLE t ADD COLUMN c DEFAULT 'd'; ALTER TABLE t RENAME TO u"); return run(s, "SELECT * FROM u"); },
  autoincrement: ({ storage: s }) => { run(s, "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO t (a) VALUES (1); DELETE FROM t; INSERT INTO t (a) VALUES (2)"); return run(s, "SELECT id FROM t"); },
  deferredForeignKey: ({ storage: s }) => { run(s, "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (1); INSERT INTO p VALUES (1)"); return run(s, "SELECT count(*) AS n FROM c"); },
  cascade: ({ storage: s }) => { run(s, "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p(id) ON DELETE CASCADE); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1); DELETE FROM p"); return run(s, "SELECT count(*) AS n FROM c"); },
  fullJoin: ({ storage: s }) => run(s, "SELECT * FROM (SELECT 1 AS a) FULL JOIN (SELECT 2 AS b) ON a = b"),
});

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
