// SQL errors as JS errors, and the limits of one statement.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const run = (s, ...args) => thrown(() => s.sql.exec(...args).toArray().length);
const t = (s) => { s.sql.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL DEFAULT 0, c CHECK (c < 10))"); s.sql.exec("INSERT INTO t (id, u) VALUES (1, 'a')"); return s; };
const list = (n, item) => Array.from({ length: n }, (_, i) => item(i)).join(", ");
const probes = {
  syntax: ({ storage: s }) => run(s, "selct 1"),
  syntaxLater: ({ storage: s }) => run(s, "SELECT 1 FROM WHERE"),
  incomplete: ({ storage: s }) => run(s, "SELECT ("),
  unknownTable: ({ storage: s }) => run(s, "SELECT * FROM nope"),
  unknownColumn: ({ storage: s }) => run(t(s), "SELECT nope FROM t"),
  unknownFunction: ({ storage: s }) => run(s, "SELECT nope(1)"),
  wrongArity: ({ storage: s }) => run(s, "SELECT abs(1, 2)"),
  primaryKey: ({ storage: s }) => run(t(s), "INSERT INTO t (id) VALUES (1)"),
  unique: ({ storage: s }) => run(t(s), "INSERT INTO t (u) VALUES ('a')"),
  notNull: ({ storage: s }) => run(t(s), "INSERT INTO t (n) VALUES (NULL)"),
  check: ({ storage: s }) => run(t(s), "INSERT INTO t (c) VALUES (11)"),
  foreignKey: ({ storage: s }) => { s.sql.exec("CREATE TABLE f (r REFERENCES f (rowid_))"); return run(s, "INSERT INTO f VALUES (1)"); },
  strictType: ({ storage: s }) => { s.sql.exec("CREATE TABLE st (a INTEGER) STRICT"); return run(s, "INSERT INTO st VALUES ('x')"); },
  raise: ({ storage: s }) => { t(s).sql.exec("CREATE TRIGGER g BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'no deleting'); END"); return run(s, "DELETE FROM t"); },
  existing: ({ storage: s }) => run(t(s), "CREATE TABLE t (a)"),
  failedStatementLeavesNothing: ({ storage: s }) => { t(s); return [run(s, "INSERT INTO t (id) VALUES (5), (1)"), s.sql.exec("SELECT count(*) AS n FROM t").one().n]; },
  orFail: ({ storage: s }) => { t(s); return [run(s, "INSERT OR FAIL INTO t (id) VALUES (5), (1)"), s.sql.exec("SELECT count(*) AS n FROM t").one().n]; },
  usableAfterError: ({ storage: s }) => { run(t(s), "selct"); return run(s, "SELECT * FROM t"); },
  errorShape: ({ storage: s }) => { try { s.sql.exec("selct"); } catch (e) { return [e.constructor.name, e.name, Object.keys(e), e instanceof Error]; } },
  columns100: ({ storage: s }) => run(s, `CREATE TABLE w (${list(100, (i) => `c${i}`)})`),
  columns101: ({ storage: s }) => run(s, `CREATE TABLE w (${list(101, (i) => `c${i}`)})`),
  parameters100: ({ storage: s }) => run(s, `SELECT ${list(100, () => "?")}`, ...Array(100).fill(1)),
  parameters101: ({ storage: s }) => run(s, `SELECT ${list(101, () => "?")}`, ...Array(101).fill(1)),
  sql100000: ({ storage: s }) => run(s, `SELECT '${"x".repeat(99_900)}'`),
  sql100001: ({ storage: s }) => run(s, `SELECT '${"x".repeat(100_001)}'`),
  like50: ({ storage: s }) => run(s, "SELECT 'a' LIKE ?", "%".repeat(50)),
  like51: ({ storage: s }) => run(s, "SELECT 'a' LIKE ?", "%".repeat(51)),
  compound5: ({ storage: s }) => run(s, Array(5).fill("SELECT 1").join(" UNION ALL ")),
  compound6: ({ storage: s }) => run(s, Array(6).fill("SELECT 1").join(" UNION ALL ")),
  values1000: ({ storage: s }) => run(s, `SELECT * FROM (VALUES ${list(1000, (i) => `(${i})`)})`),
  depth100: ({ storage: s }) => run(s, `SELECT ${"1+".repeat(98)}1`),
  depth101: ({ storage: s }) => run(s, `SELECT ${"1+".repeat(101)}1`),
  arguments127: ({ storage: s }) => run(s, `SELECT max(${list(127, (i) => i)})`),
  arguments128: ({ storage: s }) => run(s, `SELECT max(${list(128, (i) => i)})`),
  blob16MiB: ({ storage: s }) => run(s, "SELECT length(zeroblob(16777216))"),
  blobLarger: ({ storage: s }) => run(s, "SELECT length(zeroblob(16777217))"),
  bindTooLarge: ({ storage: s }) => run(s, "SELECT length(?)", new Uint8Array((16 << 20) + 1)),
  triggerDepth: ({ storage: s }) => { s.sql.exec("CREATE TABLE d (n)"); s.sql.exec("CREATE TRIGGER dt AFTER INSERT ON d WHEN new.n > 0 BEGIN INSERT INTO d VALUES (new.n - 1); END"); s.sql.exec("PRAGMA recursive_triggers = ON"); return [run(s, "INSERT INTO d VALUES (5)"), run(s, "INSERT INTO d VALUES (50)")]; },
};

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
