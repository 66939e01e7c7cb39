//! Reads databases for people who look after them: queries, checks, snapshots. Never changes one.
//!
//! Owns: connections of its own, opened read-only, to files that may be open elsewhere. Called by: `facetd db`.
//! Always true: no connection here checkpoints, not even when it is the last one to close; the owner of a database
//! decides when its log is copied into the file. So a database whose log is not empty keeps it.
//! An idle database that is read as [`Sharing::Alone`] is left exactly as it was, without `-wal` and `-shm` beside it.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::limits::Limit;
use rusqlite::{Batch, Connection, OpenFlags};

use crate::StoreError;
use crate::authorizer::Authorizer;
use crate::database::{INTERRUPT_POLL_OPS, Interrupt};
use crate::files::beside;
use crate::raw::GuardedConnection;
use crate::template::{self, Header};
use crate::value::{Row, RowSource};

/// What an object can store, too: a view of hostile code could make up larger values, and as many columns as it likes.
const VALUE_BYTES_MAX: i32 = 16 << 20;
const COLUMNS_MAX: i32 = 100;
/// Other connections hold a database for a moment only.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// `integrity_check` stops after so many findings.
const FINDINGS_MAX: usize = 100;

/// Who else may have the database open while it is read?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody, as long as the reading lasts: the caller holds the data directory's lock, or the database's seat.
    Alone,
    /// Its object, in this process or another.
    Shared,
}

/// What a query hands over, in this order per statement: columns, rows, end.
pub enum Part<'a> {
    /// Of a statement that returns rows.
    Columns(&'a [String]),
    Row(&'a Row<'a>),
    /// `written`: rows and index entries, if it changed anything.
    End {
        written: Option<u64>,
    },
}

/// Takes the parts of a result; `false` stops the query, without an error.
pub type Sink<'a> = &'a mut dyn FnMut(Part<'_>) -> bool;

/// Runs the statements of `sql`, reading only. `interrupt` is asked now and then.
///
/// # Errors
/// `ReadOnly` if a statement would change something, `Interrupted`, `Sql`, and what opening can fail with.
pub fn query(
    path: &Path,
    sharing: Sharing,
    sql: &str,
    interrupt: Interrupt,
    sink: Sink<'_>,
) -> Result<(), StoreError> {
    let connection = open_reader(path, sharing, Some(interrupt))?;
    let refused = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(
            rusqlite::ErrorCode::AuthorizationForStatementDenied | rusqlite::ErrorCode::ReadOnly,
        ) => StoreError::ReadOnly,
        _ => StoreError::from_sqlite(error, path, false),
    };
    let mut batch = Batch::new(&connection, sql);
    while let Some(mut statement) = batch.next().map_err(refused)? {
        if statement.parameter_count() > 0 {
            return Err(StoreError::sql(
                "parameters (?1, :name) have no value here: write the values into the SQL",
            ));
        }
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        if !columns.is_empty() && !sink(Part::Columns(&columns)) {
            return Ok(());
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(refused)? {
            let row = Row(RowSource::Sqlite {
                row,
                columns: columns.len(),
            });
            if !sink(Part::Row(&row)) {
                return Ok(());
            }
        }
        if !sink(Part::End { written: None }) {
            return Ok(());
        }
    }
    Ok(())
}

/// What is wrong with a database: SQLite's own findings and broken foreign keys. Empty: it is sound.
///
/// # Errors
/// It could not be opened at all, or `Interrupted`.
pub fn check(
    path: &Path,
    sharing: Sharing,
    interrupt: Interrupt,
) -> Result<Vec<String>, StoreError> {
    if sharing == Sharing::Alone && is_blank(path)? {
        return Ok(Vec::new());
    }
    let connection = open_reader(path, sharing, Some(interrupt))?;
    let _ours = connection.authorizer().internally();
    let mut findings = Vec::new();
    let failed = |error| StoreError::from_sqlite(error, path, false);
    let integrity = || {
        let mut statement =
            connection.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    match integrity().map_err(failed) {
        Ok(rows) => findings.extend(rows.into_iter().filter(|row| row != "ok")),
        Err(StoreError::Corrupt { message, .. }) => findings.push(message),
        Err(error) => return Err(error),
    }
    if !findings.is_empty() {
        return Ok(findings); // what is built on damaged pages says nothing more
    }
    let foreign_keys = || {
        let sql = "SELECT \"table\", rowid, parent FROM pragma_foreign_key_check LIMIT 100";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            let row: Option<i64> = row.get(1)?;
            let at = row.map_or("a row".to_owned(), |row| format!("row {row}"));
            Ok(format!(
                "{at} of table {table} refers to a row of {parent} that is not there"
            ))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    match foreign_keys().map_err(failed) {
        Ok(rows) => findings.extend(rows),
        Err(StoreError::Sql { message }) => findings.push(format!("foreign keys: {message}")),
        Err(error) => return Err(error),
    }
    Ok(findings)
}

/// Writes what is committed in the database at `path` to a new file `to`, consistently: a database of its own, without
/// a log. Equal contents give equal bytes. Not synced. `false`: there is no database.
///
/// # Errors
/// `Corrupt`, `NotADatabase`, `DatabaseIo`, `Io`: `to` must not be used.
pub fn snapshot(path: &Path, sharing: Sharing, to: &Path) -> Result<bool, StoreError> {
    if !path
        .try_exists()
        .map_err(StoreError::io("look for", path))?
    {
        return Ok(false);
    }
    if sharing == Sharing::Alone && is_blank(path)? {
        fs::write(to, template::IMAGE).map_err(StoreError::io("write", to))?;
        return Ok(true);
    }
    let connection = open_reader(path, sharing, None)?;
    let _ours = connection.authorizer().internally();
    copy_pages(&connection, path, to)?;
    Ok(true)
}

/// Copies all pages of an open database into a new file, in one step: a snapshot. A step per some pages would start over
/// at every commit in between.
pub(crate) fn copy_pages(source: &Connection, from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::from_sqlite(error, &path, false)
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags).map_err(failed(to))?;
    // A crash leaves a file with a name nobody looks for, so neither journal nor syncs are needed on the way.
    target
        .execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")
        .map_err(failed(to))?;
    step_all(&Backup::new(source, &mut target).map_err(failed(to))?, from)
}

pub(crate) fn step_all(backup: &Backup<'_, '_>, from: &Path) -> Result<(), StoreError> {
    for _ in 0..100 {
        let step = backup
            .step(-1)
            .map_err(|error| StoreError::from_sqlite(error, from, false))?;
        if step == StepResult::Done {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(StoreError::DatabaseIo {
        path: from.to_owned(),
        message: "the database stays locked".to_owned(),
    })
}

/// Removes a log without contents, which a reader of an idle database had to make. Nobody may have the database open.
pub fn remove_empty_log(path: &Path) {
    let wal = beside(path, "-wal");
    if fs::metadata(&wal).is_ok_and(|log| log.len() == 0) {
        // Left over they would be harmless: whoever opens the database next uses them.
        let _stays = fs::remove_file(&wal);
        let _stays = fs::remove_file(beside(path, "-shm"));
    }
}

/// A file that SQLite never wrote to: its object was created, and a power cut came before the first sync. Reads the file
/// by itself, so only with [`Sharing::Alone`].
fn is_blank(path: &Path) -> Result<bool, StoreError> {
    let mut start = Vec::with_capacity(template::PAGE_BYTES);
    let file = fs::File::open(path).map_err(StoreError::io("open", path))?;
    let bytes = file
        .metadata()
        .map_err(StoreError::io("measure", path))?
        .len();
    file.take(template::PAGE_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(StoreError::io("read", path))?;
    Ok(template::inspect(&start, bytes) == Header::Blank)
}

/// A connection that cannot write, under the rules for readers.
pub(crate) fn open_reader(
    path: &Path,
    sharing: Sharing,
    interrupt: Option<Interrupt>,
) -> Result<Rc<GuardedConnection>, StoreError> {
    let failed = |error| StoreError::from_sqlite(error, path, false);
    let is_quiet = |suffix| match fs::metadata(beside(path, suffix)) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let immutable = sharing == Sharing::Alone && is_quiet("-wal")? && is_quiet("-journal")?;
    let path_absolute = std::path::absolute(path).map_err(StoreError::io("resolve", path))?;
    let mut connection = if immutable {
        // Or SQLite would create a log and its index, just to read.
        let uri = format!("file://{}?immutable=1", escape(&path_absolute));
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(&path_absolute, flags)
    }
    .map_err(failed)?;
    let configure = |connection: &mut Connection| {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
        connection.set_limit(Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX)?;
        // Ours is compiled to sort in memory. A query over hostile data may sort anything.
        connection.execute_batch("PRAGMA temp_store=FILE")?;
        connection.busy_timeout(BUSY_WAIT)?;
        if let Some(interrupt) = interrupt.clone() {
            connection.progress_handler(INTERRUPT_POLL_OPS, Some(move || interrupt()))?;
        }
        Ok(())
    };
    configure(&mut connection).map_err(failed)?;
    Ok(Rc::new(GuardedConnection::new(
        connection,
        Authorizer::reader(),
        interrupt.as_ref(),
    )))
}

/// How a file that is not of a data directory can be read: in WAL mode without a log beside it nobody uses it, and no log should
/// come to be there.
pub(crate) fn sharing_of_foreign(path: &Path) -> Result<Sharing, StoreError> {
    let mut start = Vec::new();
    let file = fs::File::open(path).map_err(StoreError::io("open", path))?;
    file.take(template::PAGE_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(StoreError::io("read", path))?;
    let in_wal_mode = template::inspect(&start, u64::MAX) == Header::Wal;
    Ok(if in_wal_mode && !beside(path, "-wal").exists() {
        Sharing::Alone
    } else {
        Sharing::Shared
    })
}

/// A path within a `file:` URI.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The rows of a query as text, for tests.
#[cfg(test)]
pub(crate) fn rows_of(path: &Path, sharing: Sharing, sql: &str) -> Result<Vec<String>, StoreError> {
    let mut rows = Vec::new();
    query(path, sharing, sql, never(), &mut |part| {
        if let Part::Row(row) = part {
            let values = row.iter().map(|v| format!("{v:?}"));
            rows.push(values.collect::<Vec<_>>().join(","));
        }
        true
    })?;
    Ok(rows)
}

/// For readers that nothing interrupts.
#[must_use]
pub fn never() -> Interrupt {
    Arc::new(|| false)
}
