// What SQL may not do.
import { DurableObject } from "cloudflare:workers";
import { answerFromObjects, answerInside, caught, show, thrown, wait } from "./probe.js";

const run = (s, ...args) => thrown(() => s.sql.exec(...args).toArray().length);
const QUERIES = {
  begin: "BEGIN", beginImmediate: "BEGIN IMMEDIATE TRANSACTION", commit: "COMMIT", rollback: "ROLLBACK", savepoint: "SAVEPOINT s", release: "RELEASE s",
  attach: "ATTACH 'x.db' AS x", attachMemory: "ATTACH ':memory:' AS x", detach: "DETACH main", vacuum: "VACUUM", vacuumInto: "VACUUM INTO 'x.db'",
  tempTable: "CREATE TEMP TABLE x (a)", tempView: "CREATE TEMPORARY VIEW x AS SELECT 1", tempTrigger: "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", tempSchema: "SELECT * FROM temp.sqlite_master", tempStore: "PRAGMA temp_store = 2",
  masterInsert: "INSERT INTO sqlite_master VALUES (1, 2, 3, 4, 5)", masterDelete: "DELETE FROM sqlite_master", masterDrop: "DROP TABLE sqlite_master", writableSchema: "PRAGMA writable_schema = ON", createSqliteName: "CREATE TABLE sqlite_x (a)",
  reservedRead: "SELECT * FROM _cf_KV", reservedReadKey: "SELECT key FROM _cf_KV", reservedReadCase: "SELECT key FROM _CF_kv", reservedReadQuoted: 'SELECT key FROM "_cf_KV"', reservedReadMain: "SELECT key FROM main._cf_KV", reservedCount: "SELECT count(*) FROM _cf_KV", reservedWrite: "DELETE FROM _cf_KV", reservedUpdate: "UPDATE _cf_KV SET value = 1", reservedInsert: "INSERT INTO _cf_KV VALUES ('a', 1)", reservedDrop: "DROP TABLE _cf_KV", reservedCreate: "CREATE TABLE _cf_mine (a)", reservedCreateCase: "CREATE TABLE _CF_mine (a)", reservedView: "CREATE VIEW _cf_v AS SELECT 1", reservedIndex: "CREATE INDEX _cf_i ON t (a)", reservedIndexOn: "CREATE INDEX i2 ON _cf_KV (value)", reservedTrigger: "CREATE TRIGGER tr AFTER INSERT ON _cf_KV BEGIN SELECT 1; END", reservedRename: "ALTER TABLE t RENAME TO _cf_t", reservedRenameFrom: "ALTER TABLE _cf_KV RENAME TO mine", reservedInView: "CREATE VIEW peek AS SELECT key FROM _cf_KV", reservedReadThroughView: "SELECT * FROM peek", reservedJoin: "SELECT * FROM t, _cf_KV", reservedSubquery: "SELECT (SELECT value FROM _cf_KV LIMIT 1)", reservedMetadata: "SELECT * FROM _cf_METADATA", reservedColumn: "CREATE TABLE ok_table (_cf_column)", reservedPragma: "PRAGMA table_info(_cf_KV)", underscore: "CREATE TABLE _mine (a)", cfx: "CREATE TABLE _cfx (a)",
  virtualTable: "CREATE VIRTUAL TABLE x USING dbstat", virtualCsv: "CREATE VIRTUAL TABLE x USING csv(filename='/etc/passwd')", fts3: "CREATE VIRTUAL TABLE x USING fts3(a)", fts4: "CREATE VIRTUAL TABLE x USING fts4(a)", dbpage: "SELECT * FROM sqlite_dbpage", series: "SELECT * FROM generate_series(1, 3)", bytecode: "SELECT * FROM bytecode('SELECT 1')", dbstatTable: "SELECT * FROM dbstat",
  loadExtension: "SELECT load_extension('x')", readfile: "SELECT readfile('/etc/passwd')", writefile: "SELECT writefile('x', 'y')", sqliteVersion: "SELECT sqlite_version()", sqliteSourceId: "SELECT sqlite_source_id()", compileOption: "SELECT sqlite_compileoption_get(0)", offset: "SELECT sqlite_offset(a) FROM t", subtype: "SELECT subtype(1)", ceiling: "SELECT ceiling(1.5)", power: "SELECT power(2, 3)", log10: "SELECT log10(100)", fts5Function: "SELECT fts5(1)", regexp: "SELECT 'a' REGEXP 'a'", median: "SELECT median(a) FROM t", edit: "SELECT edit('x')", shell: "SELECT shell_module_schema(1)", fts3Tokenizer: "SELECT fts3_tokenizer('x')", randomblob: "SELECT length(randomblob(5))",
};
const PRAGMAS = ["data_version", "page_size", "table_list", "table_info(t)", "table_info('t')", "table_info", "table_xinfo(t)", "index_list(t)", "index_info(ti)", "index_xinfo(ti)", "foreign_key_list(t)", "foreign_key_check", "foreign_key_check(t)", "case_sensitive_like", "case_sensitive_like = ON", "foreign_keys", "foreign_keys = OFF", "defer_foreign_keys = ON", "defer_foreign_keys", "ignore_check_constraints = 1", "legacy_alter_table = OFF", "recursive_triggers = ON", "reverse_unordered_selects", "quick_check", "quick_check(5)", "quick_check(t)", "optimize", "optimize(1)",
  "user_version", "user_version = 5", "application_id", "journal_mode", "journal_mode = DELETE", "synchronous = OFF", "page_count", "freelist_count", "integrity_check", "cache_size", "locking_mode = EXCLUSIVE", "wal_checkpoint", "auto_vacuum", "encoding", "max_page_count", "mmap_size", "secure_delete", "temp_store", "trusted_schema = OFF", "query_only = ON", "compile_options", "function_list", "database_list", "collation_list", "module_list", "pragma_list", "schema_version", "hard_heap_limit", "busy_timeout", "nope", "foreign_keys = maybe", "page_size = 1024", "data_version = 1", "main.table_list", "table_list(t)", "stats", "table_info(5)"];
const prepare = (s) => { s.kv.put("a", 1); s.sql.exec("CREATE TABLE t (a); CREATE INDEX ti ON t (a); INSERT INTO t VALUES (1)"); return s; };
const probes = {};
for (const [name, query] of Object.entries(QUERIES)) probes[name] = ({ storage }) => run(prepare(storage), query);
for (const pragma of PRAGMAS) probes[`PRAGMA ${pragma}`] = ({ storage }) => { const r = run(prepare(storage), `PRAGMA ${pragma}`); return Array.isArray(r) ? r : "allowed"; };
Object.assign(probes, {
  masterShowsInternalTable: ({ storage }) => prepare(storage).sql.exec("SELECT name FROM sqlite_master ORDER BY name").toArray().map((r) => r.name),
  pragmaFunction: ({ storage }) => prepare(storage).sql.exec("SELECT name FROM pragma_table_info('t')").toArray(),
  pragmaFunctionForbidden: ({ storage }) => run(storage, "SELECT * FROM pragma_user_version"),
  foreignKeysDefault: ({ storage }) => storage.sql.exec("PRAGMA foreign_keys").one(),
  foreignKeysOffInTransaction: ({ storage }) => { storage.sql.exec("PRAGMA foreign_keys = OFF"); return storage.sql.exec("PRAGMA foreign_keys").one(); },
  secondStatementForbidden: ({ storage }) => run(prepare(storage), "SELECT 1; ATTACH ':memory:' AS x"),
  transactionTextInString: ({ storage }) => storage.sql.exec("SELECT 'BEGIN; COMMIT' AS x").one(),
});

export class Obj extends DurableObject {
  fetch(request) { return answerInside(probes, request, this); }
}
export default { fetch: (request, env) => answerFromObjects(env.OBJ, probes) };
