//! A database as SQL text that makes it anew, in any SQLite.
//!
//! Called by: `facetd db export --sql`, over a snapshot nobody else has open.
//! Always true: what is read back is equal, rowids that a table does not name included. Virtual tables are dumped as
//! SQLite stores them: the tables behind them, and a line of the schema.

use std::io::{self, Write};
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::StoreError;
use crate::inspect::{Sharing, open_reader};

enum Failed {
    Sqlite(rusqlite::Error),
    Write(io::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes the dump of the database at `path`, which nobody else has open.
///
/// # Errors
/// What reading it can fail with; `Io` when `out` does.
pub fn write(path: &Path, out: &mut dyn Write) -> Result<(), StoreError> {
    let connection = open_reader(path, Sharing::Alone, None)?;
    let _ours = connection.authorizer().internally();
    dump(&connection, out).map_err(|failed| match failed {
        Failed::Sqlite(error) => StoreError::from_sqlite(error, path, false),
        Failed::Write(error) => StoreError::io("write the dump of", path)(error),
    })
}

struct Item {
    kind: String,
    name: String,
    table: String,
    sql: String,
}

fn dump(connection: &Connection, out: &mut dyn Write) -> Result<(), Failed> {
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid",
    )?;
    let items = statement
        .query_map([], |row| {
            Ok(Item {
                kind: row.get(0)?,
                name: row.get(1)?,
                table: row.get(2)?,
                sql: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    writeln!(out, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;")?;
    let mut schema_is_open = false;
    let mut sequence = false;
    for item in items.iter().filter(|item| item.kind == "table") {
        let lower = item.sql.trim_start().to_ascii_lowercase();
        if item.name == "sqlite_sequence" {
            sequence = true; // made by SQLite with the first AUTOINCREMENT table
        } else if item.name.starts_with("sqlite_stat") {
            writeln!(out, "ANALYZE sqlite_schema;")?;
            rows(connection, &item.name, out)?;
        } else if lower.starts_with("create virtual table") {
            // Created as usual it would make the tables behind it, which are dumped themselves.
            if !schema_is_open {
                writeln!(out, "PRAGMA writable_schema=ON;")?;
                schema_is_open = true;
            }
            writeln!(
                out,
                "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',{},{},0,{});",
                text(item.name.as_bytes()),
                text(item.table.as_bytes()),
                text(item.sql.as_bytes())
            )?;
        } else {
            writeln!(out, "{};", item.sql)?;
            rows(connection, &item.name, out)?;
        }
    }
    if sequence {
        writeln!(out, "DELETE FROM sqlite_sequence;")?;
        rows(connection, "sqlite_sequence", out)?;
    }
    for item in items.iter().filter(|item| item.kind != "table") {
        writeln!(out, "{};", item.sql)?;
    }
    if schema_is_open {
        writeln!(out, "PRAGMA writable_schema=OFF;")?;
    }
    writeln!(out, "COMMIT;")?;
    Ok(())
}

fn rows(connection: &Connection, table: &str, out: &mut dyn Write) -> Result<(), Failed> {
    let quoted = name(table);
    let mut columns = Vec::new();
    let mut keys = Vec::new();
    {
        // Hidden 2 and 3: generated, cannot be inserted.
        let sql = "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1)";
        let mut statement = connection.prepare(sql)?;
        let mut found = statement.query([table])?;
        while let Some(row) = found.next()? {
            let (column, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let (key, hidden): (i64, i64) = (row.get(2)?, row.get(3)?);
            if key > 0 {
                keys.push(kind.to_ascii_uppercase());
            }
            if hidden == 0 {
                columns.push(column);
            }
        }
    }
    let has_rowid: bool = connection
        .query_row(
            "SELECT NOT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
            [table],
            |row| row.get(0),
        )
        .unwrap_or(false);
    // An INTEGER PRIMARY KEY is the rowid already.
    let alias = ["rowid", "_rowid_", "oid"].into_iter().find(|alias| {
        !columns
            .iter()
            .any(|column| column.eq_ignore_ascii_case(alias))
    });
    let mut names: Vec<String> = columns.iter().map(|column| name(column)).collect();
    if let Some(alias) = alias
        && has_rowid
        && !table.starts_with("sqlite_")
        && keys != ["INTEGER"]
    {
        names.insert(0, alias.to_owned());
    }
    let list = names.join(",");
    let mut statement = connection.prepare(&format!("SELECT {list} FROM {quoted}"))?;
    let count = statement.column_count();
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let mut values = String::new();
        for column in 0..count {
            if column > 0 {
                values.push(',');
            }
            values.push_str(&literal(row.get_ref(column)?));
        }
        writeln!(out, "INSERT INTO {quoted}({list}) VALUES({values});")?;
    }
    Ok(())
}

fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(i64::MIN) => "(-9223372036854775807-1)".to_owned(),
        ValueRef::Integer(value) => value.to_string(),
        ValueRef::Real(value) if value == f64::INFINITY => "9e999".to_owned(),
        ValueRef::Real(value) if value == f64::NEG_INFINITY => "-9e999".to_owned(),
        ValueRef::Real(value) => format!("{value:?}"), // the shortest text that reads back equal
        ValueRef::Text(bytes) => text(bytes),
        ValueRef::Blob(bytes) => format!("X'{}'", hex(bytes)),
    }
}

/// A zero byte would end the statement, and what is not UTF-8 cannot be in it.
fn text(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => format!("'{}'", text.replace('\'', "''")),
        _ => format!("CAST(X'{}' AS TEXT)", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::load_dump;
    use crate::inspect::rows_of;

    fn dump_of(path: &Path) -> String {
        let mut out = Vec::new();
        write(path, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn ask(path: &Path, sql: &str) -> Vec<String> {
        rows_of(path, Sharing::Alone, sql).unwrap()
    }

    #[test]
    fn a_dump_makes_an_equal_database() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let made = Connection::open(&from).unwrap();
        made.execute_batch(
            "CREATE TABLE \"odd \"\"name\"(a, b TEXT, g AS (a + 1));
             INSERT INTO \"odd \"\"name\"(rowid, a, b) VALUES (7, 0.1, 'it''s
two lines'), (9, 1e300, NULL), (10, 9e999, CAST(X'610062' AS TEXT)), (11, X'00ff', CAST(X'ff' AS TEXT)),
               (12, -9223372036854775808, ''), (13, 3.0, 'ü');
             CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
             INSERT INTO w VALUES ('a', 1);
             CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
             INSERT INTO s(v) VALUES ('x'), ('y'); DELETE FROM s WHERE v = 'y';
             CREATE INDEX i ON s(v);
             CREATE VIEW seen AS SELECT v FROM s;
             CREATE TRIGGER t AFTER INSERT ON w BEGIN INSERT INTO s(v) VALUES (new.k); END;
             CREATE VIRTUAL TABLE f USING fts5(body);
             INSERT INTO f VALUES ('hello world');
             CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p);
             INSERT INTO p VALUES (1); INSERT INTO c VALUES (1);",
        )
        .unwrap();
        made.close().unwrap();
        let text = dump_of(&from);
        load_dump(&text, &to).unwrap();
        for sql in [
            "SELECT rowid, *, typeof(a), hex(b) FROM \"odd \"\"name\"",
            "SELECT * FROM w",
            "SELECT * FROM s",
            "SELECT * FROM sqlite_sequence",
            "SELECT * FROM seen",
            "SELECT rowid, body FROM f WHERE f MATCH 'world'",
            "SELECT type, name, sql FROM sqlite_schema ORDER BY name",
            "PRAGMA integrity_check",
            "PRAGMA foreign_key_check",
        ] {
            assert_eq!(ask(&to, sql), ask(&from, sql), "{sql}");
        }
        assert_eq!(
            ask(&to, "SELECT count(*) FROM f WHERE f MATCH 'world'"),
            ["Integer(1)"]
        );
        assert_eq!(dump_of(&to), text, "and the same dump");
    }
}
