// Makes random sequences of storage calls (project/worker.js says what a step looks like). The same seed and number
// always give the same sequence.
//
// Left out on purpose, because facetd answers otherwise and says so, or because an answer is not determined:
//   alarms, bookmarks             times; bookmarks cannot be restored (conformance has cases for both)
//   random(), randomblob(), now   differ from run to run
//   rowsRead of joins, aggregates, sorts, subqueries, writes by condition
//                                 SQLite as shipped does not count the rows it visits (runtime/store/cursor.rs)
//   comments after the last `;`   facetd takes them, workerd says that there is no statement (spec/storage.md 3.1)
//   RETURNING of several rows left unfinished at the end of a turn
//                                 workerd resets the object, facetd finishes the statement (spec/storage.md 3.4)
//   reads of a cursor after deleteAll()
//                                 the text is ours
//   deleteAll() in transactionSync workerd takes it and then fails with an internal error, facetd refuses it
//   lone surrogates in SQL text   SQL text is UTF-8 here; in keys and bindings they are kept
//   rowsWritten of DDL, and where there is an FTS5 or R*Tree table, AUTOINCREMENT, an index on some rows or an expression
//                                 for the same reason; these write their own tables inside of other statements
//   ALTER TABLE ... RENAME TO _cf_...
//                                 refused after the fact: bindings are looked at before, open cursors end (conformance)
//   recursive_triggers = ON       a few triggers that write all rows would run for hours in both
//   a result before the last statement of several
//                                 workerd leaves it open and the tables locked, facetd runs it to its end (spec 3.1)
//   a cursor that failed          workerd starts its statement anew (project/worker.js forgets it)
//   VACUUM after txn.rollback()   refused in other words
//   list() of an impossible range by a transaction that is rolled back
//                                 workerd does not look at the transaction then
//   the largest rowid             what comes after it is random
//   rowsWritten of an upsert, or an UPDATE of the INTEGER PRIMARY KEY
//                                 which indexes it touched is not told to us; for the reason of rowsRead
//   changes(), last_insert_rowid() after deleteAll()
//                                 workerd opens the database anew
//   more than 25000 operations    where SQLite stops depends on how it was compiled
import { randomOf } from "./random.mjs";

const special = (...parts) => ({ $: parts });

const KEYS = ["a", "b", "c", "aa", "ab", "b1", "Z", "é", "", " ", "a\0b", "\uffff", "\u{1f600}", "ключ", "__proto__", "constructor", "a%", "0", "10", "9", "_cf_KV"];
const ODD_KEYS = [5, -0, null, true, special("undefined"), special("number", "NaN"), special("number", "-0"), special("bigint", "7"), { a: 1 }, special("date", 0), special("symbol", "k"), special("toStringer", "a"), special("thrower"), "\ud800", "x\udc00y", special("repeat", "k", 2049), ["a", ["b"]]];

const VALUES = [
  (r) => r.below(10),
  (r) => `text ${r.below(10)}`,
  () => null,
  () => true,
  () => 1.5,
  () => -5e-324,
  () => 2 ** 53,
  () => "ü\0\u{1f600}",
  () => special("number", "NaN"),
  () => special("number", "-0"),
  () => special("number", "-Infinity"),
  () => special("bigint", "-123456789012345678901234567890"),
  () => special("date", 1700000000123),
  () => special("date", null),
  () => special("regexp", "a+/b", "giu"),
  () => special("map", [["k", special("set", [1, special("undefined")])]]),
  () => special("set", [{ a: 1 }, null]),
  () => special("bytes", [1, 2, 3]),
  () => special("bytes", [], "Uint8Array"),
  () => special("bytes", [1, 2, 3, 4, 5, 6, 7, 8], "Float64Array"),
  () => special("bytes", [1, 2, 3, 4], "Int16Array"),
  () => special("bytes", [0, 255], "DataView"),
  () => special("bytes", [0, 255, 7], "Uint8ClampedArray"),
  () => special("bytes", [1, 0, 0, 0, 0, 0, 0, 128], "BigInt64Array"),
  () => special("view", [1, 2, 3, 4], 1, 3),
  () => special("error", "RangeError", "far"),
  () => special("error", "TypeError", "because", "reason"),
  () => special("boxed", 5),
  () => special("boxed", "text"),
  () => special("boxed", false),
  () => special("sparse", 4, 2, "x"),
  () => special("cycle", "me"),
  () => special("shared", { a: 1 }),
  () => special("instance", { y: 2 }),
  () => special("nullProto", [["a", 1]]),
  () => special("headers", [["x-a", "1"], ["X-A", "2"]]),
  () => ({ a: [1, { b: special("undefined") }], "": 0, __proto__x: 1 }),
  () => [1, [2, [3]], {}],
  () => special("repeat", "long ", 3000),
  () => special("undefined"),
];
const UNCLONABLE = [() => special("function"), () => special("symbol", "s"), () => special("promise"), () => special("stream"), () => ({ deep: [special("function")] }), () => special("getter", "g"), () => [special("symbol", "t")]];

const key = (r) => (r.chance(0.06) ? r.pick(ODD_KEYS) : r.chance(0.6) ? r.pick(KEYS.slice(0, 6)) : r.pick(KEYS));
const value = (r) => (r.chance(0.06) ? r.pick(UNCLONABLE)(r) : r.pick(VALUES)(r));
const keyOrKeys = (r) => (r.chance(0.3) ? r.times(r.below(5), () => key(r)) : key(r));

const TRUTHS = [true, false, 0, 1, "", "no", null, special("undefined")];
/** The options that every async method takes. Mostly right. */
function options(r) {
  if (r.chance(0.7)) return [];
  if (r.chance(0.12)) return [r.pick([5, "x", true, special("symbol", "o"), special("function"), [], null, special("undefined"), special("bigint", "1")])];
  const made = {};
  for (const name of ["allowConcurrency", "allowUnconfirmed", "noCache", "unknown"]) if (r.chance(0.4)) made[name] = r.pick(TRUTHS);
  return [r.chance(0.03) ? special("getter", r.pick(["allowConcurrency", "noCache", "allowUnconfirmed"])) : made];
}

function listOptions(r) {
  if (r.chance(0.2)) return r.chance(0.7) ? [] : [r.pick([5, "x", true, null, [], special("undefined"), special("symbol", "o"), special("function")])];
  const made = {};
  const bound = () => (r.chance(0.08) ? r.pick([5, null, special("undefined"), special("thrower"), { a: 1 }, special("symbol", "b")]) : r.pick(KEYS));
  if (r.chance(0.3)) made.start = bound();
  if (r.chance(0.15)) made.startAfter = bound();
  if (r.chance(0.3)) made.end = bound();
  if (r.chance(0.3)) made.prefix = bound();
  if (r.chance(0.4)) made.reverse = r.pick([true, true, false, ...TRUTHS]);
  if (r.chance(0.4)) made.limit = r.pick([1, 2, 3, 100, 1.9, "2", ...(r.chance(0.2) ? [0, -1, 0.5, "x", null, special("number", "NaN"), special("number", "Infinity"), special("number", "-Infinity"), 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 40), special("undefined"), special("bigint", "2"), true, {}] : [])]);
  if (r.chance(0.1)) made.allowConcurrency = r.pick(TRUTHS);
  if (r.chance(0.1)) made.noCache = r.pick(TRUTHS);
  return [made];
}

function entries(r) {
  const made = {};
  for (let n = r.below(4); n > 0; n--) made[r.pick(KEYS)] = value(r);
  return made;
}

/** One call of the methods that storage and txn share. */
function asyncKv(r, target) {
  const args = r.weighed([
    [5, () => ["get", [keyOrKeys(r), ...options(r)]]],
    [5, () => ["put", [key(r), value(r), ...options(r)]]],
    [2, () => ["put", [entries(r), ...options(r)]]],
    [3, () => ["delete", [keyOrKeys(r), ...options(r)]]],
    [3, () => ["list", listOptions(r)]],
    [0.3, () => [r.pick(["get", "put", "delete", "list"]), []]],
    [0.3, () => ["put", [value(r), value(r), value(r)]]],
    [0.3, () => [r.pick(["get", "delete"]), [value(r)]]],
  ])();
  // See the list above: ranges that are impossible.
  if (target === "txn" && args[0] === "list") for (const bound of ["start", "startAfter", "end"]) delete args[1][0]?.[bound];
  return [target, ...args];
}

function syncKv(r, made) {
  const call = r.weighed([
    [4, () => ["get", [key(r)]]],
    [5, () => ["put", [key(r), value(r)]]],
    [2, () => ["delete", [key(r)]]],
    [0.3, () => [r.pick(["get", "put", "delete"]), r.chance(0.5) ? [] : [["a", "b"]]]],
    [3, () => ["list", listOptions(r), made.name("list", "lists")]],
  ])();
  return ["kv", ...call];
}

// ---- SQL

const COLUMNS = ["a", "b", "c", "d"];
const TABLES = ["t0", "t1", "t2"];

const column = (r) => (r.chance(0.03) ? "nope" : r.pick(COLUMNS.slice(0, 3)));
const table = (r) => (r.chance(0.03) ? r.pick(["missing", "_cf_KV", "sqlite_master", "v0", "f0"]) : r.pick(TABLES));

const LITERALS = ["NULL", "0", "1", "2", "-3", "1.5", "1e300", "9007199254740993", "'a'", "'b'", "'text'", "''", "'5'", "x'00ff'", "x''", "'ü'", "TRUE", "0.1", "'{\"a\":[1,2]}'", "'[3,null,\"x\"]'"];

function expression(r, depth = 2) {
  if (depth <= 0 || r.chance(0.3)) return r.chance(0.5) ? column(r) : r.pick(LITERALS);
  const e = () => expression(r, depth - 1);
  return r.weighed([
    [4, () => `${e()} ${r.pick(["+", "-", "*", "/", "%", "||", "<<", "&", "|", "->", "->>"])} ${e()}`],
    [3, () => `(${e()} ${r.pick(["=", "<", ">=", "<>", "IS", "IS NOT", "AND", "OR"])} ${e()})`],
    [1, () => `(${e()} ${r.pick(["LIKE", "GLOB", "NOT LIKE"])} ${r.pick(["'a%'", "'%t_x%'", "'A*'", "'[a-c]?*'", "'%'", "''", "'\\%'", "'ü'", "'Ü'", e()])}${r.chance(0.1) ? " ESCAPE '\\'" : ""})`],
    [5, () => func(r, e)],
    [1, () => `CASE WHEN ${e()} THEN ${e()} ELSE ${e()} END`],
    [1, () => `CAST(${e()} AS ${r.pick(["INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC"])})`],
    [0.7, () => `(${e()} IN (${e()}, ${e()}))`],
    [0.5, () => `(${e()} BETWEEN ${e()} AND ${e()})`],
    [0.5, () => `${r.pick(["-", "NOT ", "~", "+"])}${e()}`],
    [0.4, () => `(${e()} COLLATE ${r.pick(["NOCASE", "BINARY", "RTRIM", "nope"])} = ${e()})`],
    [0.4, () => `iif(${e()}, ${e()}, ${e()})`],
  ])();
}

const FUNCTIONS = {
  0: ["changes", "pi", "last_insert_rowid", "sqlite_version", "total_changes"],
  1: ["abs", "hex", "length", "lower", "upper", "ltrim", "rtrim", "trim", "octet_length", "quote", "round", "sign", "soundex", "typeof", "unhex", "unicode", "ceil", "floor", "exp", "ln", "sqrt", "trunc", "json", "json_array_length", "json_quote", "json_type", "json_valid", "likely", "char", "date", "jsonb", "json_pretty", "power"],
  2: ["coalesce", "concat", "glob", "ifnull", "instr", "like", "ltrim", "rtrim", "trim", "max", "min", "nullif", "printf", "format", "round", "substr", "json_extract", "json_patch", "json_remove", "json_object", "mod", "pow", "atan2", "log", "strftime", "unhex", "json_array", "if"],
  3: ["replace", "substr", "like", "iif", "concat_ws", "json_set", "json_insert", "json_replace", "json_extract", "max", "printf", "coalesce", "json_object"],
};
function func(r, e) {
  const count = r.weighed([[1, 0], [6, 1], [7, 2], [4, 3]]);
  const args = Array.from({ length: count }, e);
  if (r.chance(0.3) && count >= 2) args[1] = r.pick(["'$.a'", "'$[0]'", "'a'", "'%s|%d'", "1", "-1", "2", "'$'", "' '"]);
  return `${r.pick(FUNCTIONS[count])}(${args.join(", ")})`;
}

const condition = (r) => (r.chance(0.4) ? `${column(r)} ${r.pick(["=", "<", ">", "IS"])} ${r.pick(LITERALS)}` : expression(r));

/** A value for `?`. */
const BOUND = [0, 1, 2, -3, 5, 1.5, 2 ** 53, "a", "b", "text", "", "5", "nul\0here", null, true, false, special("undefined"), special("number", "NaN"), special("number", "Infinity"), special("number", "-0"), special("bytes", [1, 2, 3]), special("bytes", [], "Uint8Array"), special("view", [1, 2, 3, 4], 1, 3), special("bytes", [1, 2], "DataView"), special("date", null), { a: 1 }, [1, 2], [], special("function"), special("boxed", 5), special("toStringer", "x"), "\ud800"];
const BAD_BOUND = [special("bigint", "5"), special("symbol", "s"), special("thrower"), special("nullProto", [])];

/** How many parameters a statement has, roughly as many values are bound. */
function bindings(r, sql) {
  const wanted = (sql.match(/\?/g) ?? []).length;
  const count = r.chance(0.02) ? wanted + r.pick([1, -1]) : wanted;
  return r.times(Math.max(0, count), () => (r.chance(0.02) ? r.pick(BAD_BOUND) : r.pick(BOUND)));
}
const bindable = (r) => (r.chance(0.4) ? "?" : r.pick(LITERALS));

function createTable(r) {
  const name = r.chance(0.05) ? r.pick(["_cf_x", "sqlite_x", "\"odd \"\" name\"", "main.t0", "temp.x"]) : r.pick(TABLES);
  const typed = (c) => `${c}${r.pick(["", " INTEGER", " TEXT", " REAL", " BLOB", " NUMERIC", " ANY"])}${r.weighed([[8, ""], [1, " NOT NULL"], [1, " UNIQUE"], [1, ` DEFAULT ${r.pick(LITERALS)}`], [1, " COLLATE NOCASE"], [0.7, ` CHECK (${c} <> 2)`]])}`;
  const columns = COLUMNS.slice(0, 3).map(typed);
  if (r.chance(0.4)) columns[0] = `a ${r.pick(["INTEGER PRIMARY KEY", "PRIMARY KEY", "TEXT PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"])}`;
  if (r.chance(0.1)) columns.push(`d AS (${r.pick(["a", "b", "a || b", "length(c)", "a + 1"])}) ${r.pick(["", "STORED"])}`);
  if (r.chance(0.1)) columns.push(r.pick(["UNIQUE (b, c)", "CHECK (a IS NOT 3)", "PRIMARY KEY (a, b)", `FOREIGN KEY (b) REFERENCES ${r.pick(TABLES)} (a) ${r.pick(["", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE"])}`]));
  const tail = r.weighed([[8, ""], [1, " STRICT"], [1, " WITHOUT ROWID"]]);
  return `CREATE TABLE ${r.chance(0.5) ? "IF NOT EXISTS " : ""}${name} (${columns.join(", ")})${tail}`;
}

function ddl(r) {
  const t = table(r);
  return r.weighed([
    [6, () => createTable(r)],
    [1, () => `CREATE TABLE ${r.pick(TABLES)} AS SELECT ${expression(r)} AS a, ${expression(r)} AS b, 1 AS c FROM ${t}`],
    [2, () => `CREATE ${r.chance(0.3) ? "UNIQUE " : ""}INDEX ${r.chance(0.5) ? "IF NOT EXISTS " : ""}i${r.below(3)} ON ${t} (${r.chance(0.15) ? `lower(${column(r)})` : r.chance(0.3) ? `${column(r)}, ${column(r)}` : column(r)})${r.chance(0.15) ? ` WHERE ${condition(r)}` : ""}`],
    [1, () => `CREATE VIEW ${r.chance(0.5) ? "IF NOT EXISTS " : ""}v0 AS SELECT ${column(r)} AS a, ${expression(r)} AS b, c FROM ${t}`],
    [1.5, () => `CREATE TRIGGER ${r.chance(0.5) ? "IF NOT EXISTS " : ""}g${r.below(2)} ${r.pick(["AFTER", "BEFORE"])} ${r.pick(["INSERT", "UPDATE", "DELETE"])} ON ${t} ${r.chance(0.2) ? "WHEN new.a > 1 " : ""}BEGIN ${r.pick([`INSERT INTO ${table(r)} (a, b) VALUES (new.a, 'by trigger')`, `UPDATE ${table(r)} SET c = 'by trigger'`, `DELETE FROM ${table(r)} WHERE a = old.a`, "SELECT RAISE(ABORT, 'not today')", "SELECT RAISE(IGNORE)", "SELECT RAISE(ROLLBACK, 'all of it')", "SELECT RAISE(FAIL, 'half of it')"])}; END`],
    [0.5, () => `CREATE TRIGGER gv INSTEAD OF INSERT ON v0 BEGIN INSERT INTO ${t} (a) VALUES (new.a); END`],
    [1.5, () => `DROP ${r.pick(["TABLE", "INDEX", "VIEW", "TRIGGER"])} ${r.chance(0.7) ? "IF EXISTS " : ""}${r.pick([t, "i0", "i1", "v0", "g0", "f0"])}`],
    [1.5, () => `ALTER TABLE ${t} ${r.pick([`RENAME TO ${r.pick(TABLES)}`, `RENAME COLUMN ${column(r)} TO ${r.pick(["d", "e"])}`, `ADD COLUMN ${r.pick(["d", "e"])} ${r.pick(["", "DEFAULT 7", "NOT NULL", "INTEGER NOT NULL DEFAULT 1"])}`, `DROP COLUMN ${column(r)}`])}`],
    [1, () => "CREATE VIRTUAL TABLE IF NOT EXISTS f0 USING fts5(a, b)"],
    [0.2, () => r.pick(["CREATE VIRTUAL TABLE r0 USING rtree(id, x0, x1)", "CREATE VIRTUAL TABLE x0 USING dbstat", "CREATE TEMP TABLE tt (a)", "CREATE VIRTUAL TABLE fv USING fts5vocab(f0, row)"])],
    [0.5, () => r.pick(["REINDEX", "ANALYZE", `ANALYZE ${t}`, `REINDEX ${t}`])],
  ])();
}

function returning(r) {
  return r.chance(0.2) ? ` RETURNING ${r.pick(["*", "a", "a, b", "rowid", "b AS a, a AS b", expression(r, 1)])}` : "";
}

function dml(r) {
  const t = table(r);
  const or = r.weighed([[8, ""], [1, " OR REPLACE"], [1, " OR IGNORE"], [0.4, " OR ABORT"], [0.3, " OR FAIL"], [0.2, " OR ROLLBACK"]]);
  const row = () => `(${bindable(r)}, ${bindable(r)}, ${r.chance(0.2) ? expression(r, 1).replace(/\b[abcd]\b/g, "1") : bindable(r)})`;
  return r.weighed([
    [6, () => `INSERT${or} INTO ${t} (a, b, c) VALUES ${row()}${r.chance(0.3) ? `, ${row()}` : ""}${r.chance(0.15) ? ` ON CONFLICT ${r.pick(["DO NOTHING", "(a) DO UPDATE SET b = excluded.b", "DO UPDATE SET c = c || '!'", "(a) DO UPDATE SET a = a + 10 WHERE b IS NOT NULL"])}` : ""}${returning(r)}`],
    [1, () => `INSERT${or} INTO ${t} DEFAULT VALUES${returning(r)}`],
    [1, () => `INSERT${or} INTO ${t} (a, b) SELECT ${column(r)}, ${expression(r)} FROM ${table(r)} LIMIT 20${returning(r)}`],
    [1, () => `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${r.pick([3, 10, 60])}) INSERT${or} INTO ${t} (a, b, c) SELECT i, 'row ' || i, ${r.pick(["i % 3", "NULL", "x'00'"])} FROM n${returning(r)}`],
    [3, () => `UPDATE${or} ${t} SET ${column(r)} = ${r.chance(0.5) ? bindable(r) : expression(r)}${r.chance(0.7) ? ` WHERE ${condition(r)}` : ""}${returning(r)}`],
    [2, () => `DELETE FROM ${t}${r.chance(0.8) ? ` WHERE ${condition(r)}` : ""}${returning(r)}`],
    [0.7, () => `INSERT INTO f0 (a, b) VALUES (${r.pick(["'the quick fox'", "'lazy dogs'", "?", "'ünïcode'"])}, ${bindable(r)})`],
    [0.3, () => `UPDATE ${t} SET b = s.b FROM (SELECT a, b FROM ${table(r)}) AS s WHERE ${t}.a = s.a`],
    [0.2, () => `INSERT INTO v0 (a, b) VALUES (${bindable(r)}, 2)`],
    [0.2, () => r.pick(["DELETE FROM f0", "DELETE FROM f0 WHERE a MATCH 'fox'", "INSERT INTO f0(f0) VALUES ('optimize')", "INSERT INTO f0(f0) VALUES ('rebuild')", "UPDATE f0 SET b = 'new' WHERE rowid = 1"])],
  ])();
}

/** Queries whose rowsRead workerd counts as we do. */
function plainQuery(r) {
  const t = r.pick(TABLES);
  return r.weighed([
    [4, () => `SELECT * FROM ${t}`],
    [1, () => `SELECT ${column(r)}, ${expression(r, 1)} AS x FROM ${t}`],
    [1, () => `SELECT ${expression(r).replace(/\b[abcd]\b/g, "7")}`],
    [1, () => `SELECT * FROM ${t} LIMIT ${1 + r.below(4)}`],
    [0.5, () => `SELECT rowid, * FROM ${t} ORDER BY rowid DESC`],
  ])();
}

function query(r) {
  const t = table(r);
  return r.weighed([
    [3, () => `SELECT ${expression(r)} AS x, ${expression(r)} FROM ${t} WHERE ${condition(r)}`],
    [2, () => `SELECT ${r.chance(0.3) ? "DISTINCT " : ""}${column(r)}, ${column(r)} FROM ${t} WHERE ${column(r)} ${r.pick(["=", "<", "LIKE", "IN"])} ${r.pick(["?", "(?)", "(SELECT a FROM t1)", "1"])} ORDER BY ${r.pick(["1", "2 DESC", "a, b", expression(r, 1)])}, rowid`],
    [2, () => `SELECT ${r.pick(["count(*)", "sum(a)", "avg(b)", "max(c)", "total(a)", "group_concat(b)", "min(a), b", "count(DISTINCT b)", "json_group_array(c)", "json_group_object(a, b)"])} AS x FROM ${t}${r.chance(0.4) ? ` GROUP BY ${column(r)}${r.chance(0.4) ? " HAVING count(*) > 1" : ""} ORDER BY 1` : ""}`],
    [1, () => `SELECT * FROM ${t} JOIN ${table(r)} AS o ${r.pick(["USING (a)", "ON o.b = a", "ON 1", `ON o.a = ${t}.b`])} LIMIT 30`],
    [0.5, () => `SELECT * FROM ${t} LEFT JOIN ${table(r)} AS o ON o.a = ${t}.a ORDER BY ${t}.rowid LIMIT 30`],
    [1, () => `SELECT a FROM ${t} ${r.pick(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"])} SELECT b FROM ${table(r)} ORDER BY 1 LIMIT 30`],
    [1, () => `SELECT a, row_number() OVER (ORDER BY ${column(r)}, rowid) AS n, ${r.pick(["lag(b) OVER (ORDER BY rowid)", "sum(a) OVER (PARTITION BY b ORDER BY rowid)", "ntile(2) OVER (ORDER BY rowid)", "first_value(a) OVER (ORDER BY rowid DESC)"])} FROM ${t} ORDER BY n LIMIT 30`],
    [1, () => `SELECT rowid, ${r.pick(["a", "highlight(f0, 0, '[', ']')", "snippet(f0, 1, '<', '>', '...', 2)", "round(bm25(f0), 3)"])} FROM f0 WHERE f0 MATCH ${r.pick(["'fox'", "'quick OR dogs'", "'la*'", "'NEAR(quick fox)'", "'\"lazy dogs\"'", "?", "'a:'", "'AND'", "'b : fox'"])} ORDER BY rowid`],
    [1, () => `SELECT key, value, type, fullkey FROM ${r.pick(["json_each", "json_tree"])}(${r.pick(["'{\"a\":[1,{\"b\":null}]}'", "?", "'[1,2'", "'[1,2]', '$[1]'"])})`],
    [0.7, () => "SELECT * FROM v0"],
    [0.7, () => `SELECT type, name, tbl_name FROM sqlite_master`],
    [0.5, () => `EXPLAIN QUERY PLAN SELECT * FROM ${t} WHERE ${r.pick(["a = 1", "b LIKE 'a%'", "b GLOB 'a*'", "a > 1 AND b < 2", "rowid = 5", "lower(a) = 'x'"])}`],
    [0.7, () => `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${r.pick([3, 200])}) SELECT i, i * 2 AS i FROM n`],
    [0.7, () => `VALUES (${bindable(r)}, ${bindable(r)}), (1, 2)`],
    [0.5, () => `SELECT ?2, ?1, ${r.pick([":x", "@x", "$x", "?5", "?"])}`],
    [0.4, () => r.pick(["SELECT 1 AS a, 2 AS a, 3 AS b", "SELECT 1 AS \"__proto__\", 2 AS constructor", "SELECT NULL, 1.0, 9007199254740993, -9223372036854775808", "SELECT zeroblob(3), CAST(x'fffe' AS TEXT), 'a' || char(0) || 'b'", "SELECT 1e999, -1e999, 0.0, -0.0, 1e16", "SELECT 1 AS \"\", 2 AS \"é\""])],
  ])();
}

const PRAGMAS = ["table_info('t0')", "table_xinfo(t1)", "index_list('t0')", "index_info('i0')", "foreign_key_list(t0)", "foreign_key_check", "foreign_keys", "foreign_keys = OFF", "foreign_keys = ON", "case_sensitive_like = ON", "case_sensitive_like = OFF", "case_sensitive_like", "defer_foreign_keys = ON", "ignore_check_constraints = ON", "ignore_check_constraints = 0", "legacy_alter_table = ON", "recursive_triggers", "reverse_unordered_selects = ON", "reverse_unordered_selects = OFF", "page_size", "page_size = 512", "table_list", "quick_check", "quick_check(5)", "quick_check('t0')", "optimize", "optimize(2)", "user_version", "user_version = 5", "journal_mode", "journal_mode = DELETE", "integrity_check", "page_count", "max_page_count = 5", "cache_size", "synchronous", "writable_schema = ON", "nope", "database_list", "encoding", "freelist_count", "compile_options", "function_list", "data_version = 1"];

const FORBIDDEN = ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT x", "RELEASE x", "END", "ATTACH 'x' AS y", "DETACH main", "SELECT * FROM _cf_KV", "SELECT key FROM _cf_KV", "DELETE FROM _cf_KV", "DROP TABLE _cf_KV", "UPDATE sqlite_master SET sql = ''", "DELETE FROM sqlite_sequence", "SELECT load_extension('x')", "SELECT sqlite_source_id()", "CREATE INDEX _cf_i ON t0 (a)", "SELECT * FROM pragma_table_info('t0')", "SELECT * FROM pragma_user_version", "SELECT fts5(1)", "SELECT subtype(1)", "CREATE TABLE _CF_KV (a)", "SELECT * FROM sqlite_stat1", "SELECT * FROM dbstat", "SELECT * FROM sqlite_dbpage", "SELECT * FROM generate_series(1, 2)"];

/** A statement with something wrong. */
function damaged(r) {
  const whole = statement(r);
  if (whole.includes("RECURSIVE")) return "WITH RECURSIVE"; // it might never end
  const words = whole.split(" ");
  const at = r.below(words.length);
  r.pick([() => words.splice(at, 1), () => words.splice(at, 0, r.pick(["(", ")", "SELECT", ",", "'", "x", "1", ";", "--", "/*", "\"", "`", "[", "é", "\0", "WHERE"])), () => words.splice(at, 1, words[r.below(words.length)])])();
  return words.join(" ");
}

function statement(r) {
  return r.weighed([[4, ddl], [8, dml], [4, plainQuery], [5, query], [0.8, () => `PRAGMA ${r.pick(PRAGMAS)}`], [0.4, () => r.pick(FORBIDDEN)]])(r);
}

/** What may stand before another statement: see the list above. */
function change(r) {
  return r.pick([ddl, dml])(r).replace(/ RETURNING.*$/, "");
}

const ends = (sql) => /(--|\/\*)/.test(sql);

/** A statement, several, or none. `plain`: its counts may be compared. */
function sqlText(r) {
  if (r.chance(0.015)) return { sql: r.pick(["", " ", ";", ";;", "--", "/* */", "\0", "SELECT 1;;", "SELECT 1; ", ";SELECT 1", "SELECT 1;\n\t ;", "SELECT '", "/* x */ SELECT 1", "-- x\nSELECT 1"]) };
  if (r.chance(0.06)) {
    const sql = damaged(r);
    // A comment may now stand behind the last semicolon.
    return ends(sql) ? { sql: "SELECT" } : { sql };
  }
  if (r.chance(0.08)) return { sql: [...r.times(1 + r.below(2), () => change(r)), statement(r)].join(r.pick(["; ", ";", ";\n"])) + r.pick(["", ";", "; "]) };
  if (r.chance(0.2)) return { sql: plainQuery(r), plain: true };
  return { sql: statement(r) };
}

function exec(r, made) {
  const { sql, plain } = sqlText(r);
  const name = made.name("cursor", "cursors");
  const bound = bindings(r, sql);
  const returns = /RETURNING/.test(sql);
  const steps = [["sql", "exec", [sql, ...bound], name]];
  if (r.chance(0.02)) return [["sql", "exec", r.pick([[], [5], [null], [special("undefined")], [special("thrower")], [special("symbol", "q")], [{ a: 1 }], [special("toStringer", "SELECT 1")]])]];
  const drained = returns || r.chance(0.7);
  if (drained) steps.push(...drain(r, name, returns));
  else made.open.push(name);
  if (plain) steps.push([name, "rowsRead"], [name, "rowsWritten"]);
  else if (/^(INSERT INTO t\d \(a, b, c\) VALUES|DELETE FROM t|UPDATE t\d SET [bc])[^;]*$/.test(sql) && !/ON CONFLICT/.test(sql)) steps.push([name, "rowsWritten"]);
  return steps;
}

function drain(r, name, whole) {
  const raw = `${name}raw`;
  return r.weighed([
    [6, () => [[name, "toArray", []]]],
    [1.5, () => [[name, "raw", [], raw], [raw, "toArray", []]]],
    [whole ? 0 : 1.5, () => [[name, "one", []]]],
    [whole ? 0 : 1, () => [[name, "raw", [], raw], [raw, "next", []], [raw, "next", []]]],
    [whole ? 0 : 0.6, () => [[name, "@@iterator", [], raw], [raw, "next", []], [name, "next", []], [raw, "next", []]]],
    [0.6, () => [[name, "next", []], [name, "toArray", []], [name, "toArray", []], [name, "next", []]]],
    [0.3, () => [[name, "toArray", []], [name, "one", []], [name, "columnNames"]]],
  ])();
}

/** Goes on with a cursor or list that was left open. */
function resume(r, made) {
  if (made.lists.length && r.chance(0.4)) {
    const name = r.pick(made.lists);
    return r.times(1 + r.below(3), () => [name, "next", []]);
  }
  if (!made.open.length) return [];
  const name = r.pick(made.open);
  return r.chance(0.2) ? [[name, "columnNames"]] : r.chance(0.6) ? [[name, "next", []]] : drain(r, name, false);
}

class Made {
  open = [];
  lists = [];
  count = 0;
  name(kind, list) {
    const name = `${kind}${this.count++}`;
    if (list === "lists") this.lists.push(name);
    return name;
  }
}

function block(r, made, where, depth, size) {
  const steps = [];
  while (steps.length < size) {
    const inside = where !== "top";
    steps.push(...r.weighed([
      [4, () => [asyncKv(r, where === "transaction" && r.chance(0.6) ? "txn" : "storage")]],
      [1, () => [{ later: asyncKv(r, "storage") }]],
      [3, () => [syncKv(r, made)]],
      [9, () => exec(r, made)],
      [2, () => resume(r, made)],
      [depth < 3 ? 0.8 : 0, () => [{ transactionSync: block(r, made, "sync", depth + 1, 1 + r.below(4)), end: r.weighed([[3, "return"], [2, "throw"]]) }]],
      [depth < 3 && where !== "sync" ? 0.8 : 0, () => [{ transaction: block(r, made, "transaction", depth + 1, 1 + r.below(5)), end: r.weighed([[3, "return"], [1, "throw"], [1, "reject"]]) }]],
      [where === "transaction" ? 0.6 : 0.03, () => [["txn", r.pick(["rollback", "rollback", "deleteAll"]), []]]],
      [where === "sync" ? 0 : inside ? 0.1 : 0.25, () => (made.open = [], made.lists = [], [["storage", "deleteAll", options(r)]])],
      [where === "sync" ? 0 : 0.6, () => [{ wait: r.pick(["microtask", "microtask", "timer"]) }]],
      [0.2, () => [["storage", "sync", []]]],
      [0.2, () => [["sql", "databaseSize"]]],
      [0.1, () => [["storage", r.pick(["transaction", "transactionSync"]), r.pick([[], [5], [null], [{}]])]]],
      [where === "top" ? 0 : 0.05, () => [["txn", "get", [key(r)]]]],
    ])());
  }
  return steps;
}

/** Usually something to work with first. */
function prelude(r) {
  const steps = [];
  if (r.chance(0.85)) {
    for (const name of TABLES) {
      if (r.chance(0.8)) steps.push(["sql", "exec", [`CREATE TABLE ${name} (a${r.pick([" INTEGER PRIMARY KEY", "", " PRIMARY KEY", " TEXT"])}, b${r.pick(["", " UNIQUE", " TEXT"])}, c)`]]);
      if (r.chance(0.6)) steps.push(["sql", "exec", [`INSERT INTO ${name} (a, b, c) VALUES (1, 'a', 2), (2, 'b', NULL), (3, ?, 1.5)`, r.pick(["text", null, 7])]]);
    }
  }
  if (r.chance(0.15)) steps.push(["sql", "exec", ["CREATE VIRTUAL TABLE f0 USING fts5(a, b)"]], ["sql", "exec", ["INSERT INTO f0 (a, b) VALUES ('the quick brown fox', 'jumps over'), ('lazy dogs', 'sleep all day fox')"]]);
  if (r.chance(0.4)) steps.push(["storage", "put", [{ a: 1, b: "two", aa: [3], ab: null, é: 5 }]]);
  return steps;
}

/** Without the steps for which `out` says so, at any depth. */
function without(steps, out) {
  return steps.flatMap((step) => {
    if (out(step)) return [];
    for (const kind of ["transaction", "transactionSync"]) if (step[kind]) return [{ ...step, [kind]: without(step[kind], out) }];
    return [step];
  });
}

/** Sequence `number` of `seed`. */
export function generate(seed, number) {
  const r = randomOf(seed, number);
  const steps = [...prelude(r), ...block(r, new Made(), "top", 0, 4 + r.below(18))];
  const text = JSON.stringify(steps);
  let kept = steps;
  if (/USING (fts5|rtree)|AUTOINCREMENT|INDEX [^"]*(WHERE|lower)/.test(text)) kept = without(kept, (step) => step[1] === "rowsWritten");
  if (/changes|last_insert_rowid/.test(text)) kept = without(kept, (step) => step[1] === "deleteAll");
  return kept;
}

/** `steps` in all ways that are one step shorter or simpler. */
export function* simpler(steps) {
  for (let at = 0; at < steps.length; at++) {
    const step = steps[at];
    const replaced = (...by) => [...steps.slice(0, at), ...by, ...steps.slice(at + 1)];
    yield replaced();
    for (const kind of ["transaction", "transactionSync"]) {
      if (!step[kind]) continue;
      yield replaced(...step[kind]);
      for (const inner of simpler(step[kind])) yield replaced({ ...step, [kind]: inner });
    }
    if (step.later) yield replaced(step.later);
    if (Array.isArray(step?.[2])) {
      const [target, member, args, ...name] = step;
      for (let which = 0; which < args.length; which++) {
        yield replaced([target, member, args.slice(0, which).concat(args.slice(which + 1)), ...name]);
        if (args[which] && typeof args[which] === "object" && !Array.isArray(args[which].$)) {
          for (const key of Object.keys(args[which])) {
            const copy = Array.isArray(args[which]) ? args[which].filter((_, index) => String(index) !== key) : { ...args[which] };
            if (!Array.isArray(copy)) delete copy[key];
            yield replaced([target, member, args.with(which, copy), ...name]);
          }
        }
      }
    }
  }
}
