//! What user code and the host rely on, against real files. Error texts and row counts marked "workerd" were recorded
//! from the workerd binary (2026-11-17).

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::*;

fn memory() -> Database {
    Database::open_in_memory(OpenOptions::default()).unwrap()
}

fn open(path: &Path) -> Database {
    Database::open(path, OpenOptions::default()).unwrap()
}

fn open_log(root: &Path) -> CommitLog {
    CommitLog::open(root, LogOptions::new(Durability::Fsync)).unwrap()
}

fn open_logged(path: &Path, log: &CommitLog) -> Database {
    let options = OpenOptions {
        log: Some(log.clone()),
        ..OpenOptions::default()
    };
    Database::open(path, options).unwrap()
}

struct TempFile {
    dir: tempfile::TempDir,
}

impl TempFile {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("a.sqlite")
    }
}

fn show(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) => format!("{value:?}"),
        ValueRef::Text(value) => format!("'{}'", String::from_utf8_lossy(value)),
        ValueRef::Blob(value) => format!("x{value:?}"),
    }
}

fn next(cursor: &mut Cursor) -> Result<Option<String>, StoreError> {
    let mut text = None;
    cursor.next_row(&mut |row| text = Some(row.iter().map(show).collect::<Vec<_>>().join(",")))?;
    Ok(text)
}

fn rest(cursor: &mut Cursor) -> String {
    let mut rows = Vec::new();
    while let Some(row) = next(cursor).unwrap() {
        rows.push(row);
    }
    rows.join(" ")
}

/// Runs a statement; its rows, values separated by commas and rows by spaces, or its error.
fn run(db: &Database, sql: &str) -> String {
    run_with(db, sql, &[])
}

fn run_with(db: &Database, sql: &str, bindings: &[SqlValue]) -> String {
    match db.exec(sql, bindings) {
        Ok(mut cursor) => rest(&mut cursor),
        Err(error) => format!("Error: {}", error.sql_message().unwrap()),
    }
}

fn commit(db: &Database) {
    drop(db.commit_turn().unwrap());
}

// ---- exec

#[test]
fn several_statements_run_in_order_and_the_cursor_is_the_last_ones() {
    let db = memory();
    let sql = "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2); -- a comment; with a semicolon\n SELECT ';', a FROM t;";
    assert_eq!(run(&db, sql), "';',1 ';',2");
    assert_eq!(
        run(&db, "SELECT 1; SELECT ? + 1",),
        "Error: Wrong number of parameter bindings for SQL query."
    );
    assert_eq!(
        run_with(&db, "SELECT 1; SELECT ?", &[SqlValue::Real(5.0)]),
        "5.0"
    );
    assert_eq!(
        run(
            &db,
            "CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE t SET a = 0; SELECT 1; END; INSERT INTO t VALUES (9); SELECT a FROM t"
        ),
        "0 0 0"
    );
}

#[test]
fn what_ran_before_a_failing_statement_stays() {
    let db = memory();
    assert_eq!(
        run(&db, "CREATE TABLE e(a); INSERT INTO e VALUES(1); selct"),
        "Error: near \"selct\": syntax error at offset 0: SQLITE_ERROR",
        "workerd"
    );
    assert_eq!(run(&db, "SELECT a FROM e"), "1");
}

#[test]
fn only_the_last_statement_may_have_parameters() {
    let db = memory();
    let refused = "Error: When executing multiple SQL statements in a single call, only the last statement can have parameters.";
    for sql in [
        "SELECT ?; SELECT 2",
        "SELECT ?; selct",
        "SELECT 1; SELECT ?; SELECT 3",
    ] {
        assert_eq!(run_with(&db, sql, &[SqlValue::Null]), refused, "{sql}");
    }
}

#[test]
fn text_without_a_statement_is_an_error() {
    let db = memory();
    for sql in [
        "",
        ";",
        "-- c",
        " \n ;; /* c */",
        "/* open",
        "SELECT 1;;;",
        "SELECT 1\0 garbage",
    ] {
        assert_eq!(
            run(&db, sql),
            "Error: SQL code did not contain a statement.",
            "{sql}"
        );
    }
    for sql in [
        "SELECT 1 -- c",
        "; SELECT 1",
        "-- x\nSELECT 1",
        "SELECT 1;\n\n",
        "SELECT 1; -- c",
    ] {
        assert_eq!(run(&db, sql), "1", "{sql}");
    }
}

#[test]
fn the_number_of_bindings_must_match() {
    let db = memory();
    let wrong = "Error: Wrong number of parameter bindings for SQL query.";
    assert_eq!(run(&db, "SELECT ?"), wrong);
    assert_eq!(run_with(&db, "SELECT 1", &[SqlValue::Null]), wrong);
    let one_two_three = [
        SqlValue::Real(1.0),
        SqlValue::Real(2.0),
        SqlValue::Real(3.0),
    ];
    assert_eq!(run_with(&db, "SELECT ?1, ?3", &one_two_three), "1.0,3.0");
    assert_eq!(
        run_with(&db, "SELECT :a, @b, $c", &one_two_three),
        "1.0,2.0,3.0"
    );
    assert_eq!(
        run_with(&db, "SELECT ?1, ?3", &one_two_three[..2]),
        wrong,
        "also from the cache"
    );
}

#[test]
fn values_keep_their_types_and_bytes() {
    let db = memory();
    let bindings = [
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Real(5.0),
        SqlValue::Real(f64::NAN),
        SqlValue::Real(f64::INFINITY),
        SqlValue::Text("a\0é".into()),
        SqlValue::Blob(vec![0, 255]),
        SqlValue::Blob(vec![]),
    ];
    assert_eq!(
        run_with(&db, "SELECT ?, ?, ?, ?, ?, ?, ?, ?", &bindings),
        "null,-9223372036854775808,5.0,null,inf,'a\0é',x[0, 255],x[]"
    );
    assert_eq!(
        run_with(&db, "SELECT typeof(?)", &[SqlValue::Real(5.0)]),
        "'real'"
    );
    assert_eq!(
        run(
            &db,
            "SELECT typeof(CAST(x'ff' AS TEXT)), CAST(x'ff' AS TEXT)"
        ),
        "'text','\u{fffd}'"
    );
}

#[test]
fn column_names_follow_the_schema_also_for_cached_statements() {
    let db = memory();
    assert!(
        db.exec("CREATE TABLE t(a, b)", &[])
            .unwrap()
            .column_names()
            .is_empty()
    );
    let names = || {
        db.exec("SELECT *, 1 AS a FROM t", &[])
            .unwrap()
            .column_names()
            .join(",")
    };
    assert_eq!(names(), "a,b,a", "known without a row, duplicates kept");
    run(&db, "INSERT INTO t VALUES (1, 2)");
    assert_eq!(names(), "a,b,a");
    assert_eq!(run(&db, "ALTER TABLE t RENAME COLUMN b TO c"), "");
    assert_eq!(names(), "a,c,a");
    run(&db, "DELETE FROM t");
    run(&db, "ALTER TABLE t ADD COLUMN d");
    assert_eq!(names(), "a,c,d,a");
    assert_eq!(names(), "a,c,d,a");
}

// ---- cursors

#[test]
fn cursors_live_across_writes_and_commits() {
    let db = memory();
    run(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    run(&db, "INSERT INTO t VALUES (1), (2)");
    commit(&db);
    let mut first = db.exec("SELECT id FROM t", &[]).unwrap();
    let mut second = db.exec("SELECT id FROM t", &[]).unwrap();
    assert_eq!(next(&mut first).unwrap().unwrap(), "1");
    run(&db, "INSERT INTO t VALUES (3)");
    commit(&db);
    assert_eq!(rest(&mut first), "2 3", "rows inserted ahead are seen");
    assert_eq!(rest(&mut first), "", "and the end stays the end");
    assert_eq!(
        rest(&mut second),
        "1 2 3",
        "the same text runs independently"
    );
}

#[test]
fn the_first_step_happens_in_exec() {
    let db = memory();
    run(&db, "CREATE TABLE t(a)");
    drop(db.exec("INSERT INTO t VALUES (1)", &[]).unwrap());
    assert_eq!(run(&db, "SELECT a FROM t"), "1");
}

#[test]
fn schema_changes_under_an_open_cursor_are_refused() {
    let db = memory();
    run(&db, "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
    let mut cursor = db.exec("SELECT a FROM t", &[]).unwrap();
    assert_eq!(
        run(&db, "DROP TABLE t"),
        "Error: database table is locked: SQLITE_LOCKED",
        "workerd"
    );
    assert_eq!(rest(&mut cursor), "1 2 3");
    assert_eq!(run(&db, "DROP TABLE t"), "");
}

#[test]
fn an_unfinished_writing_statement_is_finished_by_the_commit() {
    let db = memory();
    run(&db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    let mut cursor = db
        .exec(
            "INSERT INTO t(v) VALUES ('a'), (NULL), (x'07') RETURNING id, v",
            &[],
        )
        .unwrap();
    assert_eq!(next(&mut cursor).unwrap().unwrap(), "1,'a'");
    commit(&db);
    assert!(!db.in_transaction());
    assert_eq!(
        rest(&mut cursor),
        "2,null 3,x[7]",
        "its rows are still there"
    );
    assert_eq!(run(&db, "SELECT count(*) FROM t"), "3");
    let dropped = db
        .exec("INSERT INTO t(v) VALUES (1), (2) RETURNING id", &[])
        .unwrap();
    drop(dropped);
    commit(&db);
    assert_eq!(run(&db, "SELECT count(*) FROM t"), "5");
}

#[test]
fn an_error_while_iterating_takes_the_row_before_it_along() {
    let db = memory();
    let sql = "SELECT abs(column1) FROM (VALUES (1), (2), (-9223372036854775807 - 1))";
    let mut cursor = db.exec(sql, &[]).unwrap();
    assert_eq!(next(&mut cursor).unwrap().unwrap(), "1");
    assert_eq!(
        next(&mut cursor).unwrap_err().to_string(),
        "integer overflow: SQLITE_ERROR"
    );
    assert_eq!(next(&mut cursor).unwrap(), None);
}

#[test]
fn rows_are_counted_about_as_workerd_does() {
    let db = memory();
    let cases = [
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)", None, 2),
        ("CREATE INDEX ia ON t(a)", None, 1),
        ("CREATE TABLE n(id INTEGER PRIMARY KEY, a)", None, 2),
        (
            "CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID",
            None,
            3,
        ), // workerd: 2
        ("CREATE TABLE tt(k TEXT PRIMARY KEY, v)", None, 3),
        ("INSERT INTO t VALUES(1,10,'x')", None, 2),
        ("INSERT INTO w VALUES('a',10)", Some(0), 1),
        ("INSERT INTO tt VALUES('a',10)", Some(0), 2),
        (
            "INSERT INTO t(a,b) VALUES(11,'y'),(12,'z'),(13,'w')",
            Some(0),
            6,
        ),
        ("INSERT INTO n(a) VALUES(10),(11),(12),(13)", Some(0), 4),
        ("SELECT * FROM t", Some(4), 0),
        ("SELECT * FROM t WHERE id=2", Some(1), 0),
        ("SELECT * FROM t WHERE id=99", Some(1), 0),
        ("SELECT a FROM t WHERE a>10", Some(3), 0),
        ("SELECT * FROM t WHERE b='z'", Some(4), 0),
        ("SELECT sum(id) FROM t", Some(4), 0),
        ("SELECT max(id) FROM t", Some(1), 0),
        ("SELECT * FROM n LIMIT 2", Some(2), 0),
        ("SELECT * FROM n ORDER BY a", Some(8), 0),
        ("SELECT 1+1", Some(0), 0),
        ("UPDATE t SET b='q' WHERE id=1", Some(1), 1),
        ("UPDATE t SET a=99 WHERE id=1", Some(1), 2),
        ("UPDATE n SET a=a+1", Some(4), 4),
        ("UPDATE n SET a=1 WHERE id=12345", Some(1), 0),
        ("UPDATE t SET a=a+1", Some(4), 8),
        ("INSERT OR IGNORE INTO n VALUES(1,6)", None, 0),
        ("DELETE FROM n WHERE id=1", Some(1), 1),
        ("DELETE FROM t WHERE a>0", None, 4),
        ("DROP TABLE n", None, 0),
    ];
    let (mut read, mut written) = (0, 0);
    for (sql, expected_read, expected_written) in cases {
        let mut cursor = db.exec(sql, &[]).unwrap();
        rest(&mut cursor);
        if let Some(expected) = expected_read {
            assert_eq!(cursor.rows_read(), expected, "{sql}: read");
        }
        assert_eq!(cursor.rows_written(), expected_written, "{sql}: written");
        read += cursor.rows_read();
        written += cursor.rows_written();
    }
    assert_eq!(
        (db.rows_read(), db.rows_written()),
        (read, written),
        "the totals"
    );
}

// ---- errors and rules for user SQL

#[test]
fn sql_errors_have_workerds_texts() {
    let db = memory();
    run(
        &db,
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(pid REFERENCES p(id))",
    );
    run(
        &db,
        "CREATE TABLE u(a UNIQUE, b NOT NULL, c CHECK(c>0)); CREATE TABLE st(a INTEGER) STRICT; CREATE TABLE e(a)",
    );
    run(&db, "INSERT INTO p VALUES(1); INSERT INTO u VALUES(1,1,1)");
    let cases = [
        (
            "SELECT nope FROM e",
            "no such column: nope at offset 7: SQLITE_ERROR",
        ),
        ("SELECT * FROM nope", "no such table: nope: SQLITE_ERROR"),
        (
            "INSERT INTO c VALUES(5)",
            "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)",
        ),
        (
            "INSERT INTO u VALUES(1,NULL,1)",
            "NOT NULL constraint failed: u.b: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ),
        (
            "INSERT INTO u VALUES(1,1,0)",
            "CHECK constraint failed: c>0: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)",
        ),
        (
            "INSERT INTO u VALUES(1,1,1)",
            "UNIQUE constraint failed: u.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ),
        (
            "INSERT INTO p VALUES(1)",
            "UNIQUE constraint failed: p.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)",
        ),
        (
            "INSERT INTO p VALUES('x')",
            "datatype mismatch: SQLITE_MISMATCH",
        ),
        (
            "INSERT INTO st VALUES('x')",
            "cannot store TEXT value in INTEGER column st.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_DATATYPE)",
        ),
        (
            "SELECT zeroblob(20000000)",
            "string or blob too big: SQLITE_TOOBIG",
        ),
        ("SELECT json('{')", "malformed JSON: SQLITE_ERROR"),
        (
            "INSERT INTO sqlite_master VALUES(1,2,3,4,5)",
            "table sqlite_master may not be modified: SQLITE_ERROR",
        ),
        (
            "UPDATE sqlite_schema SET name='x'",
            "table sqlite_master may not be modified: SQLITE_ERROR",
        ),
        (
            "CREATE TABLE sqlite_x(a)",
            "object name reserved for internal use: sqlite_x: SQLITE_ERROR",
        ),
        (
            "VACUUM",
            "cannot VACUUM from within a transaction: SQLITE_ERROR",
        ),
        (
            "VACUUM INTO '/tmp/x'",
            "cannot VACUUM from within a transaction: SQLITE_ERROR",
        ),
        (
            "SELECT sqlite_version()",
            "not authorized to use function: sqlite_version at offset 7: SQLITE_ERROR",
        ),
        ("SELECT load_extension('x')", "not authorized: SQLITE_ERROR"),
        (
            "SELECT soundex('a')",
            "no such function: soundex at offset 7: SQLITE_ERROR",
        ),
        (
            "SELECT * FROM dbstat",
            "no such table: dbstat: SQLITE_ERROR",
        ),
        (
            "SELECT * FROM sqlite_dbpage",
            "no such table: sqlite_dbpage: SQLITE_ERROR",
        ),
    ];
    for (sql, message) in cases {
        assert_eq!(run(&db, sql), format!("Error: {message}"), "{sql}");
        assert!(!db.is_broken(), "a refused statement breaks nothing: {sql}");
    }
    assert_eq!(run(&db, "SELECT a FROM u"), "1");
}

#[test]
fn transaction_statements_are_refused_with_advice() {
    let db = memory();
    for sql in [
        "BEGIN",
        "begin immediate",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT x",
        "RELEASE x",
        "ROLLBACK TO x",
    ] {
        let error = run(&db, sql);
        assert!(
            error.starts_with(
                "Error: To execute a transaction, please use the state.storage.transaction() or"
            ),
            "{sql}: {error}"
        );
        assert!(
            error.ends_with("automatic atomic write coalescing."),
            "{sql}: {error}"
        );
    }
}

#[test]
fn our_tables_are_out_of_reach() {
    let db = memory();
    db.kv_put("secret", b"x").unwrap();
    db.set_alarm_ns(Some(1)).unwrap();
    run(
        &db,
        "CREATE TABLE e(a); CREATE VIEW vv AS SELECT * FROM _cf_KV",
    );
    run(
        &db,
        "CREATE TRIGGER tg AFTER INSERT ON e BEGIN DELETE FROM _cf_KV; END",
    );
    let statements = [
        "SELECT * FROM _cf_KV",
        "SELECT key FROM _CF_kv",
        "SELECT count(*) FROM _cf_KV",
        "SELECT * FROM _cf_METADATA",
        "SELECT (SELECT count(*) FROM main._cf_KV)",
        "SELECT * FROM vv",
        "DROP TABLE _cf_KV",
        "DELETE FROM _cf_KV",
        "UPDATE _cf_KV SET value = 1",
        "INSERT INTO _cf_KV VALUES ('a', 1)",
        "INSERT INTO e VALUES (5)",
        "CREATE INDEX i ON _cf_KV(value)",
        "CREATE INDEX _cf_i ON e(a)",
        "ALTER TABLE _cf_KV RENAME TO mine",
        "ALTER TABLE e RENAME TO _cf_e",
        "CREATE TABLE _cf_x(a)",
        "CREATE TABLE _CF_x(a)",
        "CREATE VIEW _cf_v AS SELECT 1",
        "CREATE TRIGGER _cf_t AFTER INSERT ON e BEGIN SELECT 1; END",
        "CREATE TRIGGER t AFTER INSERT ON _cf_KV BEGIN SELECT 1; END",
        "CREATE TABLE copy AS SELECT * FROM _cf_KV",
        "CREATE VIRTUAL TABLE _cf_f USING fts5(x)",
        "CREATE VIRTUAL TABLE \"_cf\" USING fts5(x)",
        "PRAGMA table_info(_cf_KV)",
        "PRAGMA table_info('_CF_KV')",
        "SELECT * FROM pragma_table_info('_cf_KV')",
        "PRAGMA index_list(_cf_KV)",
        "PRAGMA foreign_key_check(_cf_KV)",
        "PRAGMA quick_check(_cf_KV)",
        "WITH x AS (SELECT * FROM _cf_KV) SELECT * FROM x",
        "EXPLAIN SELECT * FROM _cf_KV",
        "INSERT INTO e SELECT key FROM _cf_KV",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM _cf_KV)",
    ];
    for sql in statements {
        let result = run(&db, sql);
        assert!(
            result.contains("prohibited: SQLITE_AUTH") || result.contains("not authorized"),
            "{sql}: {result}"
        );
    }
    assert_eq!(
        run(&db, "SELECT key FROM _cf_KV"),
        "Error: access to _cf_KV.key is prohibited: SQLITE_AUTH",
        "workerd"
    );
    assert!(run(&db, "CREATE VIRTUAL TABLE ft USING fts5(x)").is_empty());
    for sql in [
        "ALTER TABLE ft RENAME TO _cf",
        "ALTER TABLE ft RENAME TO \"_CF_ft\"",
    ] {
        assert_eq!(run(&db, sql), "Error: not authorized: SQLITE_AUTH", "{sql}");
    }
    // FTS5 with our table for its contents prepares its own statements, which the authorizer judges just so.
    run(
        &db,
        "CREATE VIRTUAL TABLE spy USING fts5(key, value, content='_cf_KV', content_rowid='key')",
    );
    for sql in [
        "SELECT * FROM spy",
        "INSERT INTO spy(spy) VALUES ('rebuild')",
        "SELECT key FROM spy WHERE rowid = 1",
    ] {
        let result = run(&db, sql);
        assert!(result.starts_with("Error: "), "{sql}: {result}");
    }
    assert_eq!(db.kv_get("secret").unwrap().unwrap(), b"x");
    assert_eq!(
        run(&db, "SELECT value FROM _cf_KV WHERE key = ?1"),
        "Error: access to _cf_KV.value is prohibited: SQLITE_AUTH",
        "our own prepared statement of the same text is not lent out"
    );
    assert_eq!(
        run(
            &db,
            "SELECT name FROM sqlite_master WHERE name LIKE '\\_cf%' ESCAPE '\\'"
        ),
        "'_cf_KV' '_cf_METADATA'"
    );
    assert_eq!(
        run(&db, "ALTER TABLE e ADD COLUMN _cf_c"),
        "",
        "a column may be called so (workerd)"
    );
}

#[test]
fn what_reaches_beyond_the_database_is_refused() {
    let db = memory();
    run(&db, "CREATE TABLE e(a)");
    let statements = [
        "ATTACH '/etc/passwd' AS y",
        "ATTACH ':memory:' AS y",
        "DETACH main",
        "CREATE TEMP TABLE x(a)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE TEMP TRIGGER tr AFTER INSERT ON e BEGIN SELECT 1; END",
        "CREATE TABLE temp.x(a)",
        "CREATE VIRTUAL TABLE f3 USING fts3(x)",
        "CREATE VIRTUAL TABLE ds USING dbstat",
        "CREATE VIRTUAL TABLE temp.f USING fts5(x)",
        "PRAGMA user_version",
        "PRAGMA journal_mode",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA page_count",
        "PRAGMA integrity_check",
        "PRAGMA page_size=512",
        "PRAGMA data_version=1",
        "PRAGMA function_list",
        "PRAGMA database_list",
        "PRAGMA compile_options",
        "PRAGMA max_page_count=10",
        "PRAGMA writable_schema=1",
        "PRAGMA temp_store_directory='/tmp'",
        "PRAGMA wal_checkpoint",
        "PRAGMA hard_heap_limit=100",
        "PRAGMA synchronous=OFF",
        "PRAGMA locking_mode=EXCLUSIVE",
        "PRAGMA foreign_keys=2",
        "PRAGMA table_info",
        "PRAGMA case_sensitive_like=maybe",
        "PRAGMA optimize(e)",
        "PRAGMA temp.table_info(e)",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM pragma_function_list",
        "SELECT * FROM pragma_table_info(CAST(x'ff' AS TEXT))",
        "PRAGMA mmap_size=1000000",
        "PRAGMA cache_size=100000",
        "PRAGMA busy_timeout=100000",
        "PRAGMA shrink_memory",
        "PRAGMA trusted_schema=1",
        "PRAGMA query_only=0",
    ];
    for sql in statements {
        assert_eq!(run(&db, sql), "Error: not authorized: SQLITE_AUTH", "{sql}");
    }
    for name in [
        "ceiling(1)",
        "power(1,2)",
        "log10(1)",
        "subtype(1)",
        "unistr('a')",
        "sqlite_source_id()",
        "sqlite_compileoption_used('x')",
        "fts5_source_id()",
        "rtreedepth(1)",
    ] {
        let error = run(&db, &format!("SELECT {name}"));
        assert!(
            error.starts_with("Error: not authorized to use function: "),
            "{name}: {error}"
        );
    }
}

#[test]
fn statistics_are_made_of_our_tables_too() {
    let db = memory();
    run(
        &db,
        "CREATE TABLE e(a); CREATE INDEX i ON e(a); INSERT INTO e VALUES (1)",
    );
    db.kv_put("k", b"v").unwrap();
    // They tell how many rows there are, as in workerd, and nothing of what is in them.
    for sql in ["PRAGMA optimize", "ANALYZE", "ANALYZE _cf_KV"] {
        assert_eq!(run(&db, sql), "", "{sql}");
    }
    let of_ours = "SELECT stat FROM sqlite_stat1 WHERE tbl = '_cf_KV'";
    assert_eq!(run(&db, of_ours), "'1 1'", "one key");
}

#[test]
fn what_workerd_allows_works() {
    let db = memory();
    run(&db, "CREATE TABLE e(a); INSERT INTO e VALUES (1)");
    let cases = [
        ("PRAGMA page_size", "4096"),
        ("PRAGMA foreign_keys", "1"),
        ("PRAGMA FOREIGN_KEYS", "1"),
        ("PRAGMA table_info(e)", "0,'a','',0,null,0"),
        ("PRAGMA main.table_info('e')", "0,'a','',0,null,0"),
        ("SELECT name FROM pragma_table_info('e')", "'a'"),
        ("PRAGMA quick_check", "'ok'"),
        ("PRAGMA quick_check(1)", "'ok'"),
        ("PRAGMA optimize=0xfffe", ""),
        ("PRAGMA recursive_triggers=on", ""),
        ("PRAGMA legacy_alter_table", "0"),
        ("PRAGMA foreign_key_check", ""),
        ("PRAGMA case_sensitive_like=0", ""),
        (
            "SELECT ceil(1.5), pow(2,3), log(100), ln(1), mod(5,3)",
            "2.0,8.0,2.0,0.0,2.0",
        ),
        (
            "SELECT '{\"a\":[1]}' ->> '$.a[0]', json_group_array(a) FROM e",
            "1,'[1]'",
        ),
        ("SELECT value FROM json_each('[1,2]')", "1 2"),
        ("SELECT a, row_number() OVER (ORDER BY a) FROM e", "1,1"),
        (
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<3) SELECT x FROM c",
            "1 2 3",
        ),
        (
            "SELECT strftime('%Y', '2000-01-01'), unixepoch('2000-01-01')",
            "'2000',946684800",
        ),
        (
            "CREATE TABLE g(a, b AS (a * 2)) STRICT",
            "Error: missing datatype for g.a: SQLITE_ERROR",
        ),
        ("CREATE TABLE g(a INT, b INT AS (a * 2)) STRICT", ""),
        ("INSERT INTO g(a) VALUES (2) RETURNING b", "4"),
        ("CREATE VIRTUAL TABLE f5 USING fts5(x)", ""),
        ("CREATE VIRTUAL TABLE f5v USING fts5vocab(f5, 'row')", ""),
        ("INSERT INTO f5 VALUES ('hello world')", ""),
        (
            "SELECT highlight(f5,0,'[',']') FROM f5 WHERE f5 MATCH 'hello' ORDER BY rank",
            "'[hello] world'",
        ),
        ("SELECT * FROM f5v", "'hello',1,1 'world',1,1"),
        (
            "DELETE FROM f5_data",
            "Error: table f5_data may not be modified: SQLITE_ERROR",
        ),
        ("CREATE VIRTUAL TABLE rt USING rtree(id,a,b)", ""),
        ("INSERT INTO rt VALUES (1,2,3)", ""),
        ("SELECT * FROM rt WHERE a<3", "1,2.0,3.0"),
        ("EXPLAIN QUERY PLAN SELECT * FROM e", "2,0,216,'SCAN e'"),
        ("ANALYZE", ""),
        ("REINDEX", ""),
        ("SELECT * FROM sqlite_temp_master", ""),
        ("DROP TABLE f5", ""),
        ("ALTER TABLE g RENAME TO h", ""),
        ("ALTER TABLE h RENAME COLUMN a TO z", ""),
        ("ALTER TABLE h ADD COLUMN y INT CHECK (y > 0)", ""),
        ("ALTER TABLE h DROP COLUMN y", ""),
        ("SELECT z, b FROM h", "2,4"),
        (
            "SELECT sqlite_rename_test(1,2,3,4,5,6,7)",
            "Error: no such function: sqlite_rename_test at offset 7: SQLITE_ERROR",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(run(&db, sql), expected, "{sql}");
        commit(&db);
    }
}

#[test]
fn limits_are_enforced() {
    let db = memory();
    let many = |count: usize, what: &str, glue: &str| vec![what; count].join(glue);
    let cases = [
        (
            format!("SELECT {}", many(101, "?", ",")),
            "too many SQL variables",
        ),
        (
            "SELECT ?101".into(),
            "variable number must be between ?1 and ?100 at offset 7: SQLITE_ERROR",
        ),
        (
            many(6, "SELECT 1", " UNION "),
            "too many terms in compound SELECT: SQLITE_ERROR",
        ),
        (
            format!("SELECT {}", many(102, "1", "+")),
            "Expression tree is too large (maximum depth 100): SQLITE_ERROR",
        ),
        (
            format!("SELECT coalesce({})", many(128, "1", ",")),
            "too many arguments on function coalesce at offset 7: SQLITE_ERROR",
        ),
        (
            format!(
                "CREATE TABLE m({})",
                (0..101)
                    .map(|i| format!("c{i}"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            "too many columns on m: SQLITE_ERROR",
        ),
        (
            format!("SELECT 1 WHERE 'a' LIKE '{}'", many(51, "x", "")),
            "LIKE or GLOB pattern too complex: SQLITE_ERROR",
        ),
        (
            format!("SELECT '{}'", many(100_000, "x", "")),
            "statement too long: SQLITE_TOOBIG",
        ),
    ];
    for (sql, message) in cases {
        let error = run(&db, &sql);
        assert!(
            error.starts_with(&format!("Error: {message}")),
            "{}: {error}",
            &sql[..50.min(sql.len())]
        );
    }
    assert_eq!(run(&db, &many(5, "SELECT 1", " UNION ")), "1");
    let insert = format!("INSERT INTO v VALUES {}", many(20_000, "(1)", ","));
    assert_eq!(
        run(
            &db,
            &format!("CREATE TABLE v(a); {insert}; SELECT count(*) FROM v")
        ),
        "20000",
        "workerd"
    );
    assert!(!db.is_broken());
}

#[test]
fn a_runaway_statement_can_be_stopped() {
    let stop = Arc::new(AtomicBool::new(false));
    let polls = Arc::new(AtomicUsize::new(0));
    let interrupt: Interrupt = {
        let (stop, polls) = (stop.clone(), polls.clone());
        Arc::new(move || {
            if polls.fetch_add(1, Ordering::Relaxed) > 100 {
                stop.store(true, Ordering::Relaxed);
            }
            stop.load(Ordering::Relaxed)
        })
    };
    let db = Database::open_in_memory(OpenOptions {
        interrupt: Some(interrupt),
        ..OpenOptions::default()
    })
    .unwrap();
    run(&db, "CREATE TABLE t(a)");
    commit(&db);
    run(&db, "INSERT INTO t VALUES (1)");
    let endless =
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c";
    assert!(matches!(
        db.exec(endless, &[]),
        Err(StoreError::Interrupted)
    ));
    db.rollback_turn();
    assert!(!db.in_transaction(), "rolling back is not interrupted");
    stop.store(false, Ordering::Relaxed);
    polls.store(0, Ordering::Relaxed);
    assert_eq!(run(&db, "SELECT count(*) FROM t"), "0");
}

/// Texts that are near each other, some of them no UTF-8.
fn pick_bytes(random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    const PIECES: [&[u8]; 16] = [
        b"a",
        b"b",
        b"ab",
        b"aa",
        b"4",
        b"41",
        b"f",
        b"-",
        b" ",
        "ü".as_bytes(),
        "\u{1f600}".as_bytes(),
        b"\0",
        b"\xc3",
        b"\x80",
        b"\xed\xa0\x80",
        b"\xff",
    ];
    (0..random(7))
        .flat_map(|_| PIECES[random(PIECES.len())].to_vec())
        .collect()
}

#[test]
fn our_functions_answer_as_sqlites_own() {
    let db = memory();
    let original = rusqlite::Connection::open_in_memory().unwrap();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    for round in 0..60_000 {
        let (call, count) = [
            ("instr(?1, ?2)", 2),
            ("replace(?1, ?2, ?3)", 3),
            ("trim(?1, ?2)", 2),
            ("ltrim(?1, ?2)", 2),
            ("rtrim(?1, ?2)", 2),
            ("unhex(?1, ?2)", 2),
        ][random(6)];
        let values: Vec<SqlValue> = (0..count)
            .map(|_| match random(12) {
                0 => SqlValue::Null,
                1 => SqlValue::Integer(i64::try_from(random(300)).unwrap() - 100),
                2 => SqlValue::Real([0.5, 1e300, -0.0, f64::INFINITY, 414.0][random(5)]),
                3..=5 => SqlValue::Blob(pick_bytes(&mut random)),
                _ => SqlValue::RawText(pick_bytes(&mut random)),
            })
            .collect();
        let sql = format!("SELECT typeof({call}) || ' ' || hex({call})");
        let expected: Option<Vec<u8>> = original
            .prepare(&sql)
            .unwrap()
            .query_row(rusqlite::params_from_iter(&values), |row| {
                Ok(row.get_ref(0)?.as_bytes_or_null()?.map(<[u8]>::to_vec))
            })
            .unwrap();
        let mut actual = None;
        db.exec(&sql, &values)
            .unwrap()
            .next_row(&mut |row| {
                if let ValueRef::Text(text) = row.get(0) {
                    actual = Some(text.to_vec());
                }
            })
            .unwrap();
        assert_eq!(actual, expected, "round {round}: {call} of {values:?}");
    }
}

#[test]
fn replacing_up_to_the_limit_of_a_value_and_beyond() {
    let db = memory();
    let text = |bytes: usize| SqlValue::Text("a".repeat(bytes));
    let sql = "SELECT length(replace(?, 'a', ?))";
    let half = text((8 << 20) - 1);
    let mut length = None;
    db.exec(sql, &[half.clone(), text(2)])
        .unwrap()
        .next_row(&mut |row| length = Some(row.get(0) == ValueRef::Integer((16 << 20) - 2)))
        .unwrap();
    assert_eq!(length, Some(true), "as long as a value may be");
    assert_eq!(
        db.exec(sql, &[half, text(3)])
            .map(drop)
            .unwrap_err()
            .to_string(),
        "string or blob too big: SQLITE_TOOBIG"
    );
}

#[test]
fn a_function_that_takes_long_can_be_stopped() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let db = Database::open_in_memory(OpenOptions {
        interrupt: Some(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed) >= 20
        })),
        ..OpenOptions::default()
    })
    .unwrap();
    let text = |bytes: usize| SqlValue::Text("a".repeat(bytes));
    let almost = SqlValue::Text(format!("{}b", "a".repeat(4 << 20)));
    let cases = [
        ("instr(?1, ?2)", text(8 << 20), almost.clone()),
        ("replace(?1, ?2, '')", text(8 << 20), almost),
        (
            "trim(?1, ?2)",
            text(8 << 20),
            SqlValue::Text(format!("{}a", "b".repeat(8 << 20))),
        ),
        (
            "unhex(?1, ?2)",
            SqlValue::Text("-".repeat(8 << 20)),
            SqlValue::Text(format!("{}-", "b".repeat(8 << 20))),
        ),
    ];
    for (call, first, second) in cases {
        looks.store(0, Ordering::Relaxed);
        let stopped = db.exec(&format!("SELECT {call}"), &[first, second]);
        assert!(
            matches!(stopped, Err(StoreError::Interrupted)),
            "{call} goes on"
        );
    }
}

#[test]
fn like_and_glob_still_find_their_index() {
    let db = memory();
    run(&db, "CREATE TABLE t(a TEXT COLLATE NOCASE, b TEXT)");
    run(&db, "CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b)");
    let plan = |condition: &str| {
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM t WHERE {condition}");
        run(&db, &sql)
    };
    assert!(plan("a LIKE 'x%'").contains("USING INDEX ta"));
    assert!(plan("b GLOB 'x*'").contains("USING INDEX tb"));
}

// ---- transactions

#[test]
fn a_turns_writes_are_one_unit() {
    let file = TempFile::new();
    let db = open(&file.path());
    assert!(db.commit_turn().unwrap().is_none(), "nothing was written");
    run(&db, "SELECT 1");
    assert!(!db.in_transaction(), "reading opens no unit");
    run(&db, "CREATE TABLE t(a)");
    db.kv_put("k", b"v").unwrap();
    assert!(db.in_transaction());
    let outside = rusqlite::Connection::open(file.path()).unwrap();
    let tables = || {
        outside
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
    };
    assert_eq!(tables(), 0, "not visible before the commit");
    assert!(db.commit_turn().unwrap().is_some());
    assert_eq!(tables(), 2);
    assert!(db.commit_turn().unwrap().is_none());
    run(&db, "INSERT INTO t VALUES (1)");
    db.rollback_turn();
    assert_eq!(run(&db, "SELECT count(*) FROM t"), "0");
}

#[test]
fn a_violated_deferred_constraint_fails_the_commit() {
    let db = memory();
    run(
        &db,
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(pid REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    );
    commit(&db);
    run(&db, "INSERT INTO c VALUES (5); INSERT INTO p VALUES (5)");
    commit(&db);
    run(&db, "INSERT INTO c VALUES (6)");
    let error = db.commit_turn().map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Durable Object was reset and rolled back to its last known good state because the application left the \
         database in a state where constraints were violated: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT \
         (extended: SQLITE_CONSTRAINT_FOREIGNKEY)"
    );
    assert!(error.is_critical() && db.is_broken() && !db.in_transaction());
    assert!(matches!(
        db.exec("SELECT 1", &[]),
        Err(StoreError::EarlierCriticalError)
    ));
}

#[test]
fn deferring_foreign_keys_lasts_as_long_as_the_unit() {
    let db = memory();
    run(
        &db,
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(pid REFERENCES p(id))",
    );
    commit(&db);
    run(&db, "PRAGMA defer_foreign_keys=ON");
    assert_eq!(
        run(&db, "SELECT * FROM p"),
        "",
        "reading in between does not end it"
    );
    assert_eq!(run(&db, "INSERT INTO c VALUES (5)"), "");
    run(&db, "INSERT INTO p VALUES (5)");
    commit(&db);
    assert!(run(&db, "INSERT INTO c VALUES (6)").contains("FOREIGNKEY"));
}

#[test]
fn savepoints_nest_and_roll_back_alone() {
    let db = memory();
    run(&db, "CREATE TABLE t(a)");
    commit(&db);
    let outer = db.savepoint_begin().unwrap();
    run(&db, "INSERT INTO t VALUES (1)");
    let inner = db.savepoint_begin().unwrap();
    assert_ne!(outer, inner);
    run(&db, "INSERT INTO t VALUES (2)");
    db.kv_put("gone", b"x").unwrap();
    db.savepoint_rollback(inner).unwrap();
    assert_eq!(
        db.kv_get("gone").unwrap(),
        None,
        "the KV table went with it"
    );
    db.kv_put("kept", b"x").unwrap();
    db.savepoint_release(outer).unwrap();
    assert!(db.in_transaction(), "still part of the turn's unit");
    commit(&db);
    assert_eq!(run(&db, "SELECT a FROM t"), "1");
    assert_eq!(db.kv_get("kept").unwrap().unwrap(), b"x");
    let id = db.savepoint_begin().unwrap();
    run(&db, "DELETE FROM t");
    db.savepoint_rollback(id).unwrap();
    commit(&db);
    assert_eq!(run(&db, "SELECT a FROM t"), "1");
    let id = db.savepoint_begin().unwrap();
    let mut cursor = db
        .exec("INSERT INTO t VALUES (8), (9) RETURNING a", &[])
        .unwrap();
    db.savepoint_release(id).unwrap();
    assert_eq!(
        rest(&mut cursor),
        "8 9",
        "an unfinished statement does not stand in the way"
    );
}

#[test]
fn explicit_transactions_commit_the_unit_first_and_nest() {
    let db = memory();
    run(&db, "CREATE TABLE t(a)");
    assert!(
        db.transaction_begin().unwrap().is_some(),
        "the unit's ticket"
    );
    run(&db, "INSERT INTO t VALUES (1)");
    assert!(
        db.commit_turn().unwrap().is_none(),
        "a turn's end does not commit it"
    );
    assert!(db.in_explicit_transaction());
    assert!(db.transaction_begin().unwrap().is_none());
    run(&db, "INSERT INTO t VALUES (2)");
    let sync = db.savepoint_begin().unwrap();
    run(&db, "INSERT INTO t VALUES (3)");
    db.savepoint_rollback(sync).unwrap();
    db.transaction_rollback().unwrap();
    assert!(db.transaction_begin().unwrap().is_none());
    run(&db, "INSERT INTO t VALUES (4)");
    assert!(db.transaction_commit().unwrap().is_none(), "nested");
    assert!(
        db.delete_all()
            .unwrap_err()
            .to_string()
            .contains("within a transaction")
    );
    assert!(db.transaction_commit().unwrap().is_some());
    assert_eq!(run(&db, "SELECT a FROM t"), "1 4");
    assert!(
        db.transaction_begin().unwrap().is_none(),
        "no unit was open"
    );
    run(&db, "DELETE FROM t");
    db.transaction_rollback().unwrap();
    assert!(!db.in_transaction());
    assert_eq!(run(&db, "SELECT a FROM t"), "1 4");
    db.transaction_begin().unwrap();
    db.transaction_begin().unwrap();
    run(&db, "DELETE FROM t");
    db.rollback_turn();
    assert!(!db.in_transaction());
    assert_eq!(
        run(&db, "SELECT a FROM t"),
        "1 4",
        "a terminated turn takes the explicit transaction with it"
    );
}

fn limited(file: &TempFile, bytes: u64) -> Database {
    let options = OpenOptions {
        storage_bytes_max: Some(bytes),
        interrupt: None,
        log: None,
    };
    Database::open(&file.path(), options).unwrap()
}

#[track_caller]
fn assert_full(error: &StoreError, limit: u64) {
    let StoreError::DiskFull {
        quota: Some(quota), ..
    } = error
    else {
        panic!("not the quota: {error:?}");
    };
    assert_eq!(quota.limit_bytes, limit);
    assert_eq!(
        error.sql_message().unwrap(),
        "database or disk is full: SQLITE_FULL"
    );
}

#[test]
fn a_full_database_goes_on_and_deleting_makes_room() {
    const LIMIT: u64 = 1 << 20;
    let file = TempFile::new();
    let db = limited(&file, LIMIT);
    run(&db, "CREATE TABLE t(a, b); CREATE INDEX ta ON t(a)");
    commit(&db);
    assert_full(&db.kv_put("big", &vec![0; 2 << 20]).unwrap_err(), LIMIT);
    assert!(!db.is_broken() && !db.in_transaction(), "nothing happened");
    let mut rows = 0;
    let error = loop {
        let row = [
            SqlValue::Text(format!("row {rows}")),
            SqlValue::Blob(vec![7; 900]),
        ];
        match db.exec("INSERT INTO t VALUES (?, ?)", &row) {
            Ok(_) => rows += 1,
            Err(error) => break error,
        }
        assert!(rows < 2_000, "more than fits");
    };
    assert_full(&error, LIMIT);
    assert!(rows > 700, "the limit is what was said: {rows}");
    assert!(!db.is_broken());
    assert_full(&db.kv_put("k", &[1; 5000]).unwrap_err(), LIMIT);
    assert!(run(&db, "CREATE TABLE u AS SELECT * FROM t").contains("SQLITE_FULL"));
    commit(&db);
    let id = db.savepoint_begin().unwrap();
    assert_full(
        &db.exec("INSERT INTO t VALUES (1, 2)", &[])
            .map(drop)
            .unwrap_err(),
        LIMIT,
    );
    run(&db, "DELETE FROM t WHERE a < 'row 2'");
    db.savepoint_rollback(id).unwrap();
    assert_eq!(run(&db, "SELECT count(*) FROM t"), rows.to_string());
    assert_eq!(
        run(&db, "UPDATE t SET b = NULL WHERE a < 'row 3'"),
        "",
        "smaller rows"
    );
    run(&db, "DELETE FROM t WHERE a >= 'row 3'");
    commit(&db);
    db.kv_put("k", &[1; 5000]).unwrap();
    run(&db, "INSERT INTO t VALUES ('new', 1)");
    commit(&db);
    assert_eq!(run(&db, "SELECT b FROM t WHERE a = 'new'"), "1");
    assert_eq!(run(&db, "PRAGMA quick_check"), "'ok'");
    db.close();
    let bytes = std::fs::metadata(file.path()).unwrap().len();
    assert!(bytes <= LIMIT + (128 << 10), "{bytes} bytes on disk");
}

#[test]
fn one_statement_that_fills_the_database_loses_its_unit_at_most() {
    const LIMIT: u64 = 1 << 20;
    let file = TempFile::new();
    let db = limited(&file, LIMIT);
    run(&db, "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    commit(&db);
    let flood = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT zeroblob(9000) FROM n";
    let error = db.exec(flood, &[]).map(drop).unwrap_err();
    assert_full(&error, LIMIT);
    assert_eq!(error.is_critical(), db.is_broken());
    db.rollback_turn();
    db.close();
    let again = limited(&file, LIMIT);
    assert_eq!(run(&again, "SELECT a FROM t"), "1");
}

#[test]
fn the_log_does_not_grow_for_ever_behind_an_open_cursor() {
    const LIMIT: u64 = 1 << 20;
    let file = TempFile::new();
    let db = limited(&file, LIMIT);
    run(&db, "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
    commit(&db);
    let mut cursor = db.exec("SELECT a FROM t", &[]).unwrap();
    assert_eq!(next(&mut cursor).unwrap().unwrap(), "1");
    let mut turns = 0;
    let error = loop {
        match db.kv_put("k", &vec![turns as u8; 500_000]) {
            Ok(()) => commit(&db),
            Err(error) => break error,
        }
        turns += 1;
        assert!(turns < 1_000, "the log grows and grows");
    };
    assert_full(&error, LIMIT);
    assert!(turns > 50, "{turns}");
    drop(cursor);
    db.kv_put("k", b"small").unwrap();
    commit(&db);
    assert_eq!(db.kv_get("k").unwrap().unwrap(), b"small");
}

#[test]
fn an_error_that_rolls_everything_back_breaks_the_database() {
    let db = memory();
    run(&db, "CREATE TABLE t(a INTEGER PRIMARY KEY)");
    commit(&db);
    run(&db, "INSERT INTO t VALUES (1)");
    let id = db.savepoint_begin().unwrap();
    assert!(run(&db, "INSERT OR ROLLBACK INTO t VALUES (1)").contains("UNIQUE"));
    assert!(db.is_broken());
    assert_eq!(
        db.savepoint_release(id).unwrap_err().to_string(),
        "Cannot commit transaction due to an earlier SQL critical error"
    );
    assert!(db.commit_turn().is_err());
}

// ---- KV

fn keys(entries: &[(Vec<u8>, Vec<u8>)]) -> String {
    entries
        .iter()
        .map(|(key, _)| String::from_utf8_lossy(key))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn kv_stores_and_forgets() {
    let db = memory();
    assert_eq!(db.kv_get("a").unwrap(), None);
    assert!(db.kv_list(&KvRange::default()).unwrap().is_empty());
    assert!(!db.in_transaction(), "reading nothing creates nothing");
    assert!(!db.kv_delete("a").unwrap());
    assert!(
        db.in_transaction(),
        "deleting nothing creates the table, as in workerd"
    );
    db.kv_put("a", b"1").unwrap();
    db.kv_put("a", b"2").unwrap();
    db.kv_put("", b"").unwrap();
    assert_eq!(db.kv_get("a").unwrap().unwrap(), b"2");
    assert_eq!(db.kv_get("").unwrap().unwrap(), b"");
    assert!(db.kv_delete("a").unwrap());
    assert!(!db.kv_delete("a").unwrap());
    assert_eq!(
        db.kv_put("x", &vec![0; 17 << 20]).unwrap_err().to_string(),
        "string or blob too big: SQLITE_TOOBIG"
    );
    assert!(!db.is_broken());
}

#[test]
fn kv_keys_are_ordered_by_their_utf8_bytes() {
    let db = memory();
    for key in ["\u{1F600}", "\u{FFFF}", "é", "a", "Z", "a\0b"] {
        db.kv_put(key, b"").unwrap();
    }
    assert_eq!(
        keys(&db.kv_list(&KvRange::default()).unwrap()),
        "Z a a\0b é \u{FFFF} \u{1F600}"
    );
}

#[test]
fn kv_list_options_combine() {
    let db = memory();
    for key in ["a", "a1", "a2", "a\u{10FFFF}", "b", "b1", "c"] {
        db.kv_put(key, b"").unwrap();
    }
    let s = |text: &str| Some(text.as_bytes().to_vec());
    let none = KvRange::default;
    let cases = [
        (
            KvRange {
                start: s("a2"),
                end: s("b1"),
                ..none()
            },
            "a2 a\u{10FFFF} b",
        ),
        (
            KvRange {
                start: s("a2"),
                start_exclusive: true,
                ..none()
            },
            "a\u{10FFFF} b b1 c",
        ),
        (
            KvRange {
                prefix: s("a"),
                ..none()
            },
            "a a1 a2 a\u{10FFFF}",
        ),
        (
            KvRange {
                prefix: s("a"),
                start: s("a1"),
                start_exclusive: true,
                ..none()
            },
            "a2 a\u{10FFFF}",
        ),
        (
            KvRange {
                prefix: s("b"),
                start: s("a"),
                start_exclusive: true,
                ..none()
            },
            "b b1",
        ),
        (
            KvRange {
                prefix: s("a"),
                start: s("b"),
                ..none()
            },
            "",
        ),
        (
            KvRange {
                prefix: s("a"),
                end: s("a2"),
                ..none()
            },
            "a a1",
        ),
        (
            KvRange {
                prefix: s("\u{10FFFF}"),
                ..none()
            },
            "",
        ),
        (
            KvRange {
                prefix: s(""),
                limit: Some(2),
                ..none()
            },
            "a a1",
        ),
        (
            KvRange {
                start: s("c"),
                end: s("a"),
                ..none()
            },
            "",
        ),
        (
            KvRange {
                reverse: true,
                limit: Some(2),
                ..none()
            },
            "c b1",
        ),
        (
            KvRange {
                reverse: true,
                start: s("b"),
                ..none()
            },
            "c b1 b",
        ),
    ];
    for (range, expected) in cases {
        assert_eq!(keys(&db.kv_list(&range).unwrap()), expected, "{range:?}");
    }
}

#[test]
fn only_the_newest_kv_cursor_works() {
    let db = memory();
    for key in ["a", "b", "d"] {
        db.kv_put(key, b"v").unwrap();
    }
    let mut first = db.kv_cursor(&KvRange::default()).unwrap();
    assert_eq!(first.next().unwrap().unwrap().0, b"a");
    db.kv_put("c", b"v").unwrap();
    commit(&db);
    assert_eq!(first.next().unwrap().unwrap().0, b"b");
    assert_eq!(
        first.next().unwrap().unwrap(),
        (b"c".to_vec(), b"v".to_vec()),
        "rows ahead are seen"
    );
    let contradiction = KvRange {
        start: Some(b"b".to_vec()),
        end: Some(b"a".to_vec()),
        ..KvRange::default()
    };
    assert!(db.kv_list(&contradiction).unwrap().is_empty());
    assert_eq!(
        first.next().unwrap().unwrap().0,
        b"d",
        "a range that cannot hold anything disturbs nobody"
    );
    let mut second = db
        .kv_cursor(&KvRange {
            limit: Some(1),
            ..KvRange::default()
        })
        .unwrap();
    assert_eq!(
        first.next().unwrap_err().to_string(),
        "kv.list() iterator was invalidated because a new call to kv.list() was started. Only one kv.list() iterator \
         can exist at a time."
    );
    assert_eq!(second.next().unwrap().unwrap().0, b"a");
    assert_eq!(second.next().unwrap(), None);
    assert_eq!(second.next().unwrap(), None);
    assert_eq!(db.kv_list(&KvRange::default()).unwrap().len(), 4);
    assert_eq!(second.next().unwrap(), None, "it had ended before");
    let mut third = db.kv_cursor(&KvRange::default()).unwrap();
    assert_eq!(db.kv_list(&KvRange::default()).unwrap().len(), 4);
    assert!(
        matches!(third.next(), Err(StoreError::KvListInvalidated)),
        "an eager list is a list too"
    );
    let mut fourth = db.kv_cursor(&KvRange::default()).unwrap();
    db.delete_all().unwrap();
    assert!(matches!(fourth.next(), Err(StoreError::KvListInvalidated)));
}

#[test]
fn the_alarm_is_part_of_the_unit() {
    let db = memory();
    assert_eq!(db.alarm_ns().unwrap(), None);
    db.set_alarm_ns(None).unwrap();
    assert!(!db.in_transaction());
    db.set_alarm_ns(Some(5)).unwrap();
    commit(&db);
    db.set_alarm_ns(Some(6)).unwrap();
    db.rollback_turn();
    assert_eq!(db.alarm_ns().unwrap(), Some(5));
    db.set_alarm_ns(None).unwrap();
    assert_eq!(db.alarm_ns().unwrap(), None);
}

// ---- deleteAll, files

#[test]
fn delete_all_leaves_an_empty_working_database() {
    let file = TempFile::new();
    let db = open(&file.path());
    let empty = db.database_size().unwrap();
    assert_eq!(empty, 4096);
    run(
        &db,
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(pid REFERENCES p(id)); CREATE VIEW v AS SELECT * FROM nope",
    );
    run(
        &db,
        "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('a'); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)",
    );
    db.kv_put("k", &[7; 10_000]).unwrap();
    db.set_alarm_ns(Some(1)).unwrap();
    commit(&db);
    db.kv_put("in the same turn", b"").unwrap();
    run(&db, "INSERT INTO p VALUES (2)");
    let mut cursor = db.exec("SELECT id FROM p", &[]).unwrap();
    let mut list = db.kv_cursor(&KvRange::default()).unwrap();
    db.delete_all().unwrap();
    assert_eq!(
        next(&mut cursor).unwrap_err().to_string(),
        "The cursor was closed because deleteAll() was called."
    );
    assert!(list.next().is_err());
    assert_eq!(run(&db, "SELECT count(*) FROM sqlite_master"), "0");
    assert_eq!(db.database_size().unwrap(), empty);
    assert_eq!(
        (db.kv_get("k").unwrap(), db.alarm_ns().unwrap()),
        (None, None)
    );
    db.kv_put("new", b"1").unwrap();
    assert!(db.commit_turn().unwrap().is_some());
    assert!(
        run(&db, "ATTACH ':memory:' AS y").contains("not authorized"),
        "the rules are back"
    );
    db.delete_all().unwrap();
    assert!(
        db.commit_turn().unwrap().is_some(),
        "the deletion itself has a ticket"
    );
    db.kv_put("last", b"2").unwrap();
    commit(&db);
    db.close();
    let db = open(&file.path());
    assert_eq!(keys(&db.kv_list(&KvRange::default()).unwrap()), "last");
    assert_eq!(run(&db, "PRAGMA quick_check"), "'ok'");
}

#[test]
fn committed_writes_survive_reopening_and_uncommitted_ones_do_not() {
    let file = TempFile::new();
    let path = file.dir.path().join("not/yet/there/a.sqlite");
    let db = open(&path);
    db.kv_put("a", b"1").unwrap();
    commit(&db);
    db.kv_put("b", b"1").unwrap();
    drop(db);
    let db = open(&path);
    assert_eq!(keys(&db.kv_list(&KvRange::default()).unwrap()), "a");
    let other = db.clone();
    let mut cursor = db.exec("SELECT 1 UNION SELECT 2", &[]).unwrap();
    db.close();
    assert!(matches!(other.kv_get("a"), Err(StoreError::Closed)));
    assert!(matches!(
        next(&mut cursor),
        Err(StoreError::CursorClosed { .. })
    ));
    assert!(
        !path.with_extension("sqlite-wal").exists(),
        "closing checkpoints"
    );
}

#[test]
fn what_a_crash_left_of_a_new_file_is_started_over() {
    let file = TempFile::new();
    for left in [&[][..], &[0; 100], &[0; 4096]] {
        std::fs::write(file.path(), left).unwrap();
        std::fs::write(
            file.dir.path().join("a.sqlite-wal"),
            b"of a database that is gone",
        )
        .unwrap();
        let db = open(&file.path());
        db.kv_put("a", b"1").unwrap();
        commit(&db);
        db.close();
        assert_eq!(run(&open(&file.path()), "PRAGMA quick_check"), "'ok'");
        std::fs::remove_file(file.path()).unwrap();
    }
}

#[test]
fn a_process_crash_loses_nothing_that_was_committed() {
    let file = TempFile::new();
    let db = open(&file.path());
    for index in 0..3000 {
        db.kv_put(format!("{index:05}"), &[1; 3000]).unwrap();
        if index % 10 == 9 {
            commit(&db);
        }
    }
    db.kv_put("not committed", b"").unwrap();
    // The files as they are at this instant, as another process would find them after a kill.
    let copy = TempFile::new();
    for suffix in ["", "-wal"] {
        std::fs::copy(
            file.dir.path().join(format!("a.sqlite{suffix}")),
            copy.dir.path().join(format!("a.sqlite{suffix}")),
        )
        .unwrap();
    }
    let recovered = open(&copy.path());
    assert_eq!(recovered.kv_list(&KvRange::default()).unwrap().len(), 3000);
    assert_eq!(run(&recovered, "PRAGMA quick_check"), "'ok'");
    let wal_bytes = std::fs::metadata(file.dir.path().join("a.sqlite-wal"))
        .unwrap()
        .len();
    assert!(
        wal_bytes < 8 << 20,
        "checkpoints keep the WAL short, it has {wal_bytes} bytes"
    );
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let file = TempFile::new();
    std::fs::write(file.path(), "hello").unwrap();
    let error = Database::open(&file.path(), OpenOptions::default())
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::NotADatabase { .. }));
    assert!(error.to_string().contains("a.sqlite"), "{error}");
    let db = open(&file.dir.path().join("b.sqlite"));
    run(
        &db,
        "CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(100000))",
    );
    commit(&db);
    db.close();
    let path = file.dir.path().join("b.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let db = open(&path);
    let error = db.exec("SELECT * FROM t", &[]).err().unwrap();
    assert!(
        matches!(&error, StoreError::Corrupt { path, .. } if path.ends_with("b.sqlite")),
        "{error:?}"
    );
    assert_eq!(
        error.sql_message().unwrap(),
        "database disk image is malformed: SQLITE_CORRUPT"
    );
    assert!(error.is_critical() && db.is_broken());
}

#[test]
fn a_database_with_a_rollback_journal_is_converted() {
    let file = TempFile::new();
    rusqlite::Connection::open(file.path())
        .unwrap()
        .execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (7)")
        .unwrap();
    let db = open(&file.path());
    assert_eq!(run(&db, "SELECT a FROM t"), "7");
    run(&db, "INSERT INTO t VALUES (8)");
    commit(&db);
    assert!(file.dir.path().join("a.sqlite-wal").exists());
}

#[test]
fn copying_takes_what_is_committed_while_the_source_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let files = ObjectFiles::new(dir.path(), "ab", None);
    assert!(files.database(0).ends_with("ab.sqlite") && files.database(3).ends_with("ab.3.sqlite"));
    assert!(files.index().ends_with("ab.facets"));
    let source = open(&files.database(1));
    run(&source, "CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    commit(&source);
    run(&source, "INSERT INTO t VALUES (2)");
    let _cursor = source.exec("SELECT a FROM t", &[]).unwrap();
    let target = open(&files.database(2));
    target.kv_put("old", b"").unwrap();
    commit(&target);
    target.close();
    let moved = files.clone();
    let bytes = std::thread::spawn(move || moved.copy_database(1, 2).unwrap())
        .join()
        .unwrap();
    assert_eq!(bytes, 8192);
    run(&source, "INSERT INTO t VALUES (3)");
    commit(&source);
    let copy = open(&files.database(2));
    assert_eq!(run(&copy, "SELECT a FROM t"), "1", "committed rows only");
    assert_eq!(copy.kv_get("old").unwrap(), None);
    run(&copy, "INSERT INTO t VALUES (9)");
    commit(&copy);
    assert_eq!(run(&source, "SELECT a FROM t"), "1 2 3");
    copy.close();
    assert_eq!(
        files.copy_database(7, 2).unwrap(),
        0,
        "a source that never stored anything"
    );
    assert!(!files.database(2).exists());
    source.close();
    files.remove_database(1).unwrap();
    files.remove_database(1).unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

// ---- durability

#[test]
fn tickets_are_answered_and_shared() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let (send, receive) = mpsc::channel();
    for name in 0..8 {
        let db = open_logged(&dir.path().join(format!("{name}.sqlite")), &log);
        for turn in 0..8 {
            db.kv_put("k", &[turn]).unwrap();
            let ticket = db.commit_turn().unwrap().unwrap();
            let send = send.clone();
            ticket.when_durable(Box::new(move |result| send.send(result.is_ok()).unwrap()));
        }
        // Closing before the syncs are through must not lose them.
    }
    drop((send, log));
    assert_eq!(
        receive.iter().filter(|ok| *ok).count(),
        64,
        "also after the last handle is gone"
    );
    let in_memory = memory();
    in_memory.kv_put("k", b"").unwrap();
    let ticket = in_memory.commit_turn().unwrap().unwrap();
    let answered = Arc::new(AtomicBool::new(false));
    let flag = answered.clone();
    ticket.when_durable(Box::new(move |_| flag.store(true, Ordering::Relaxed)));
    assert!(answered.load(Ordering::Relaxed));
}

#[test]
fn a_cursor_dropped_after_its_database_is_harmless() {
    let db = memory();
    let mut cursor = db.exec("SELECT 1 UNION SELECT 2", &[]).unwrap();
    drop(db);
    assert_eq!(rest(&mut cursor), "1 2", "it keeps the database open");
    let called = Cell::new(0);
    cursor
        .next_row(&mut |_| called.set(called.get() + 1))
        .unwrap();
    assert_eq!(called.get(), 0);
}

/// Not a test: prints what things cost. `cargo test --release -p facetd_store -- --ignored --nocapture bench`
#[test]
#[ignore = "a measurement"]
fn bench() {
    use std::time::Instant;
    fn time(name: &str, count: u32, mut f: impl FnMut(u32)) {
        let start = Instant::now();
        for index in 0..count {
            f(index);
        }
        println!(
            "{name}: {:.2} µs",
            start.elapsed().as_secs_f64() * 1e6 / f64::from(count)
        );
    }
    let dir = tempfile::tempdir().unwrap();
    time("open + close, new database", 500, |i| {
        drop(open(&dir.path().join(format!("a{i}.sqlite"))))
    });
    time("open, CREATE, INSERT, commit; kept open", 200, |i| {
        let db = open(&dir.path().join(format!("b{i}.sqlite")));
        run(
            &db,
            "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)",
        );
        run(&db, "INSERT INTO t(v) VALUES (1)");
        commit(&db);
        std::mem::forget(db);
    });
    time("open, kv_put, commit; kept open", 200, |i| {
        let db = open(&dir.path().join(format!("c{i}.sqlite")));
        db.kv_put("k", b"v").unwrap();
        commit(&db);
        std::mem::forget(db);
    });
    let db = open(&dir.path().join("hot.sqlite"));
    run(
        &db,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES (1, 0)",
    );
    commit(&db);
    let mut sink = 0;
    time("exec SELECT by key", 100_000, |_| {
        let mut cursor = db
            .exec("SELECT n FROM t WHERE id = ?", &[SqlValue::Real(1.0)])
            .unwrap();
        cursor.next_row(&mut |row| sink += row.len()).unwrap();
    });
    time("exec UPDATE RETURNING, one unit", 100_000, |_| {
        let mut cursor = db
            .exec("UPDATE t SET n = n + 1 WHERE id = 1 RETURNING n", &[])
            .unwrap();
        cursor.next_row(&mut |row| sink += row.len()).unwrap();
    });
    commit(&db);
    time("UPDATE RETURNING and commit", 20_000, |_| {
        run(&db, "UPDATE t SET n = n + 1 WHERE id = 1 RETURNING n");
        commit(&db);
    });
    time("kv_put and commit", 20_000, |_| {
        db.kv_put("k", b"value").unwrap();
        commit(&db);
    });
    time("kv_get", 100_000, |_| {
        sink += db.kv_get("k").unwrap().unwrap().len()
    });
    println!("{sink}");
}

/// Not a test: how many commits per second become durable when many databases commit at once.
#[test]
#[ignore = "a measurement"]
fn bench_sync() {
    use std::time::Instant;
    {
        let dir = tempfile::tempdir().unwrap();
        let log = open_log(dir.path());
        let databases: Vec<_> = (0..64)
            .map(|name| open_logged(&dir.path().join(format!("{name}.sqlite")), &log))
            .collect();
        let round = |db: &Database, send: &mpsc::Sender<()>| {
            db.kv_put("k", b"value").unwrap();
            let ticket = db.commit_turn().unwrap().unwrap();
            let send = send.clone();
            ticket.when_durable(Box::new(move |result| {
                result.unwrap();
                send.send(()).unwrap();
            }));
        };
        let (send, receive) = mpsc::channel();
        let start = Instant::now();
        for db in &databases {
            round(db, &send);
        }
        receive.iter().take(64).for_each(drop);
        let first = start.elapsed();
        let start = Instant::now();
        for _ in 0..20 {
            for db in &databases {
                round(db, &send);
            }
            receive.iter().take(64).for_each(drop);
        }
        let spread = 1280.0 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        for _ in 0..1000 {
            round(&databases[0], &send);
            receive.recv().unwrap();
        }
        let single = 1000.0 / start.elapsed().as_secs_f64();
        println!(
            "64 new databases {first:?}, spread {spread:.0} commits/s, one by one {single:.0}/s"
        );
    }
}

#[test]
fn facets_with_databases_are_found_by_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let files = ObjectFiles::new(dir.path().join("later"), "ab", None);
    assert_eq!(files.facet_from(1).unwrap(), None, "not even a directory");
    let files = ObjectFiles::new(dir.path(), "ab", None);
    for name in [
        "ab.sqlite",
        "ab.2.sqlite",
        "ab.7.sqlite",
        "ab.9.sqlite-wal",
        "ab.facets",
        "abc.8.sqlite",
        "ab.x.sqlite",
    ] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let found = [1, 2, 3, 7, 8].map(|from| files.facet_from(from).unwrap());
    assert_eq!(found, [Some(2), Some(2), Some(7), Some(7), None]);
}
