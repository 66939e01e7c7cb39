//! Changes databases from outside their objects: SQL of an operator, imports, restores.
//!
//! Every write of `facetd db` to a data directory goes through here, and offline commands enter through
//! [`OfflineStore::open`]. Called by: `facetd db` without a server, and the server on its behalf.
//! Always true: whoever calls holds the seat of each database that is written (or the lock of the whole data directory), so
//! no object has it open. What was replaced is, after a crash, as before or as asked for, never a mixture.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};

use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::database::Interrupt;
use crate::files::beside;
use crate::inspect::{
    Part, Sharing, Sink, check, never, open_reader, sharing_of_foreign, step_all,
};
use crate::template::PAGE_BYTES;
use crate::{
    CommitLog, CommitTicket, DataDirLock, Database, Durability, FacetIndex, LogOptions, Moment,
    ObjectFiles, OpenOptions, Retention, StoreError, remove_if_there, restore, sync_directory,
};

/// A data directory that no facetd serves, for as long as this lives.
pub struct OfflineStore {
    data_dir: PathBuf,
    /// Opened for the first write.
    log: OnceLock<CommitLog>,
    _lock: DataDirLock,
}

impl OfflineStore {
    /// Locks an existing data directory.
    ///
    /// # Errors
    /// `NoDataDir`, `DataDirInUse`, `DataDirNotWritable`.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        if !data_dir.is_dir() {
            return Err(StoreError::NoDataDir {
                path: data_dir.to_owned(),
            });
        }
        Self::create(data_dir)
    }

    /// As `open`; makes the data directory if there is none.
    ///
    /// # Errors
    /// `DataDirInUse`, `DataDirNotWritable`.
    pub fn create(data_dir: &Path) -> Result<Self, StoreError> {
        let lock = DataDirLock::acquire(data_dir)?;
        let store = Self {
            data_dir: data_dir.to_owned(),
            log: OnceLock::new(),
            _lock: lock,
        };
        // What a crash left in the commit log belongs into the databases first.
        if CommitLog::exists(data_dir) {
            store.log()?;
        }
        Ok(store)
    }

    /// The log through which everything is written.
    ///
    /// # Errors
    /// `LogDamaged`, `Io`.
    pub fn log(&self) -> Result<&CommitLog, StoreError> {
        if let Some(log) = self.log.get() {
            return Ok(log);
        }
        // The past goes on being kept if it was; how much of it, facetd decides.
        let everything = Retention {
            seconds: u64::MAX,
            bytes: u64::MAX,
        };
        let options = LogOptions {
            retention: CommitLog::has_history(&self.data_dir).then_some(everything),
            ..LogOptions::new(Durability::Fsync)
        };
        let log = CommitLog::open(&self.data_dir, options)?;
        Ok(self.log.get_or_init(|| log))
    }

    /// All databases are about to be exchanged: what is kept of their past is not theirs.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget_history(&mut self) -> Result<(), StoreError> {
        if let Some(log) = self.log.take() {
            log.close()?;
        }
        CommitLog::forget_history(&self.data_dir)
    }

    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}

impl Drop for OfflineStore {
    fn drop(&mut self) {
        if let Some(log) = self.log.get()
            && let Err(error) = log.close()
        {
            // Nothing is lost: whoever comes next reads it.
            tracing::warn!(%error, "the commit log could not be emptied");
        }
    }
}

/// Runs the statements of `sql` as its object could: all of them are committed together, durably, or none.
/// The caller holds the database's seat.
///
/// # Errors
/// As [`Database::exec`]. When `sink` stops it, nothing is committed and it is `Interrupted`.
pub fn write(
    files: &ObjectFiles,
    storage_id: u16,
    sql: &str,
    interrupt: Interrupt,
    sink: Sink<'_>,
) -> Result<(), StoreError> {
    let options = OpenOptions {
        interrupt: Some(interrupt),
        log: files.log().cloned(),
        ..OpenOptions::default()
    };
    let database = Database::open(&files.database(storage_id), options)?;
    let mut run = || {
        let mut rest = sql;
        while let Some((mut cursor, tail)) = database.exec_next(rest)? {
            let columns = cursor.column_names();
            let mut goes_on = columns.is_empty() || sink(Part::Columns(columns));
            while goes_on && cursor.next_row(&mut |row| goes_on = sink(Part::Row(row)))? {}
            let written = cursor.rows_written();
            let written = (written > 0).then_some(written);
            if !goes_on || !sink(Part::End { written }) {
                return Err(StoreError::Interrupted);
            }
            rest = tail;
        }
        database.commit_turn()
    };
    let ticket = run().inspect_err(|_| database.rollback_turn())?;
    let durable = ticket.map_or(Ok(()), wait_for);
    database.close();
    durable
}

fn wait_for(ticket: CommitTicket) -> Result<(), StoreError> {
    let (told, outcome) = mpsc::channel();
    ticket.when_durable(Box::new(move |result| drop(told.send(result))));
    outcome.recv().unwrap_or(Err(StoreError::Closed))
}

/// Makes database `storage_id` as it was at `time_us` (microseconds since 1970) in the new file `to`, which is fit for
/// [`replace_database`].
///
/// # Errors
/// `NoSuchPast`: its history does not reach there, or it did not exist.
pub fn past(
    files: &ObjectFiles,
    storage_id: u16,
    time_us: u64,
    to: &Path,
) -> Result<(), StoreError> {
    let log = files.log().ok_or(StoreError::NoSuchPast)?;
    let path = files.database(storage_id);
    // Who mistypes a date should not get an empty database.
    match restore::make_past(log, &path, Moment::At(time_us), to)? {
        0 => Err(StoreError::NoSuchPast),
        _ => Ok(()),
    }
}

/// Turns a file that somebody made with SQLite into one that can become a database here: checks it, and copies it to the
/// new file `to` with 4096-byte pages and in WAL mode. `from` is only read.
///
/// # Errors
/// `Unsound`, `NotADatabase`, `DatabaseIo`, `Io`: `to` must not be used.
pub fn prepare(from: &Path, to: &Path) -> Result<(), StoreError> {
    let unsound = |finding: String| StoreError::Unsound {
        path: from.to_owned(),
        finding,
    };
    let metadata = fs::metadata(from).map_err(StoreError::io("open", from))?;
    if !metadata.is_file() {
        return Err(unsound("it is not a file".to_owned()));
    }
    if metadata.len() == 0 {
        return Err(unsound("it is empty".to_owned()));
    }
    let sharing = sharing_of_foreign(from)?;
    let findings = check(from, sharing, never()).map_err(|error| match error {
        StoreError::NotADatabase { .. } => unsound("it is some other kind of file".to_owned()),
        StoreError::Corrupt { message, .. } => unsound(message),
        other => other,
    })?;
    if let Some(finding) = findings.into_iter().next() {
        return Err(unsound(finding));
    }
    let source = open_reader(from, sharing, None)?;
    {
        let _ours = source.authorizer().internally();
        crate::inspect::copy_pages(&source, from, to)?;
    }
    drop(source);
    // A file of our own that nobody knows yet: here it may be rebuilt and change its journal.
    let failed = |error| StoreError::from_sqlite(error, to, false);
    let target = open_writer(to)?;
    let convert = || {
        target.execute_batch("PRAGMA journal_mode=DELETE")?;
        let page_bytes: i64 = target.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        if usize::try_from(page_bytes) != Ok(PAGE_BYTES) {
            target.execute_batch(&format!("PRAGMA page_size={PAGE_BYTES}; VACUUM"))?;
        }
        target.execute_batch("PRAGMA journal_mode=WAL")
    };
    convert().map_err(failed)?;
    target.close().map_err(|(_, error)| failed(error))?;
    // Its object works under limits: a table with more columns, say, would make all of it unreadable there.
    let database = Database::open(to, OpenOptions::default())?;
    let usable = database.exec("SELECT count(*) FROM sqlite_schema", &[]);
    usable.map_err(|error| unsound(format!("an object could not use it: {error}")))?;
    database.close();
    sync_file(to)
}

/// Makes a plain file out of a snapshot: without WAL mode, so that it can be opened where nothing can be written.
///
/// # Errors
/// `DatabaseIo`, `Corrupt`.
pub fn make_plain(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlite(error, path, false);
    let connection = open_writer(path)?;
    connection
        .execute_batch("PRAGMA journal_mode=DELETE")
        .map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))
}

/// Runs a dump (`facetd db export --sql`, or sqlite3's `.dump`) into the new database `to`.
///
/// # Errors
/// `Sql` with SQLite's words; `to` must not be used.
pub fn load_dump(sql: &str, to: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlite(error, to, false);
    fs::write(to, []).map_err(StoreError::io("create", to))?;
    let connection = open_writer(to)?;
    let run = || {
        connection.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")?;
        connection.execute_batch(sql)?;
        // A dump that was cut off has no COMMIT at its end.
        if connection.is_autocommit() {
            return Ok(());
        }
        Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
            Some("the dump ends within a transaction: it is not whole".to_owned()),
        ))
    };
    run().map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))
}

/// Gives database `storage_id` the contents of `prepared` (a file without a log, see [`prepare`]), which is used up.
/// Durable on return.
///
/// An existing database is overwritten by one transaction: file, log and whoever copies the log never see half of it. A file
/// that is too damaged for that is removed first.
///
/// # Errors
/// The database is as before; or, if it was too damaged to be overwritten, absent.
pub fn replace_database(
    files: &ObjectFiles,
    storage_id: u16,
    prepared: &Path,
) -> Result<(), StoreError> {
    let path = files.database(storage_id);
    let folder = files.folder();
    let exists = path
        .try_exists()
        .map_err(StoreError::io("look for", &path))?;
    if exists {
        match overwrite(files, &path, prepared) {
            Ok(()) => {
                return fs::remove_file(prepared).map_err(StoreError::io("remove", prepared));
            }
            Err(error @ (StoreError::NotADatabase { .. } | StoreError::Corrupt { .. })) => {
                tracing::warn!(%error, "replacing a database that cannot be overwritten");
            }
            Err(error) => return Err(error),
        }
    }
    sync_file(prepared)?;
    // Also without a database: a log that was left behind would be taken for the new file's.
    files.remove_database(storage_id)?;
    fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
    fs::rename(prepared, &path).map_err(StoreError::io("rename", prepared))?;
    sync_directory(folder).map_err(StoreError::io("sync", folder))?;
    files.log().map_or(Ok(()), |log| log.rebase(&path))
}

fn overwrite(files: &ObjectFiles, path: &Path, prepared: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::from_sqlite(error, &path, false)
    };
    let source = open_reader(prepared, Sharing::Alone, None)?;
    let _ours = source.authorizer().internally();
    // Opened as its object would: that fails for what is no database, and leaves WAL mode.
    let options = OpenOptions {
        log: files.log().cloned(),
        ..OpenOptions::default()
    };
    Database::open(path, options)?.close();
    if let Some(log) = files.log() {
        return restore::overwrite(log, path, &source, false);
    }
    let mut target = open_writer(path)?;
    target
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .and_then(|_| target.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0"))
        .map_err(failed(path))?;
    step_all(
        &Backup::new(&source, &mut target).map_err(failed(path))?,
        prepared,
    )?;
    target.close().map_err(|(_, error)| failed(path)(error))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    sync_directory(folder).map_err(StoreError::io("sync", folder)) // the log may be a new file
}

/// Replaces the facet index by the file `prepared`, which is used up. `None`: there is no index afterwards.
///
/// # Errors
/// `NotAFacetIndex`, `Io`: the index is as before.
pub fn replace_index(files: &ObjectFiles, prepared: Option<&Path>) -> Result<(), StoreError> {
    let path = files.index();
    let folder = files.folder();
    match prepared {
        Some(prepared) => {
            FacetIndex::look(prepared)?;
            sync_file(prepared)?;
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
            files.settle_index()?;
            fs::rename(prepared, &path).map_err(StoreError::io("rename", prepared))?;
        }
        None => {
            files.settle_index()?;
            if !remove_if_there(&path)? {
                return Ok(());
            }
        }
    }
    sync_directory(folder).map_err(StoreError::io("sync", folder))
}

fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let path = std::path::absolute(path).map_err(StoreError::io("resolve", path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(&path, flags)
        .map_err(|error| StoreError::from_sqlite(error, &path, false))
}

fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("sync", path))
}

/// The name under which a file is made before it replaces `path`.
#[must_use]
pub fn unfinished(path: &Path) -> PathBuf {
    beside(path, crate::files::UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{rows_of, snapshot};

    struct Fixture {
        dir: tempfile::TempDir,
        files: ObjectFiles,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let files = ObjectFiles::new(dir.path().join("do/w-A"), "a".repeat(64), None);
        Fixture { dir, files }
    }

    impl Fixture {
        fn write(&self, sql: &str) -> Result<(), StoreError> {
            write(&self.files, 0, sql, never(), &mut |_| true)
        }

        fn ask(&self, sharing: Sharing, sql: &str) -> Result<String, StoreError> {
            ask(&self.files.database(0), sharing, sql)
        }

        fn temporary(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(self.files.folder())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .map(|name| name.replace(&"a".repeat(64), "ID"))
                .collect();
            names.sort();
            names
        }
    }

    fn ask(path: &Path, sharing: Sharing, sql: &str) -> Result<String, StoreError> {
        Ok(rows_of(path, sharing, sql)?.join(" "))
    }

    #[test]
    fn what_is_written_is_read_and_reading_leaves_no_trace() {
        let at = fixture();
        at.write("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2); UPDATE t SET a = a + 1")
            .unwrap();
        let before = at.names();
        assert_eq!(before, ["ID.sqlite"], "closed: the log is in the file");
        let sum = at.ask(Sharing::Alone, "SELECT sum(a) FROM t; SELECT 'x'");
        assert_eq!(sum.unwrap(), "Integer(5) Text([120])");
        assert_eq!(at.names(), before, "no log and no index beside it");
    }

    #[test]
    fn a_write_happens_as_a_whole_or_not_at_all() {
        let at = fixture();
        at.write("CREATE TABLE t(a UNIQUE)").unwrap();
        let error = at.write("INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)");
        assert!(matches!(error, Err(StoreError::Sql { .. })), "{error:?}");
        let stopped = write(
            &at.files,
            0,
            "INSERT INTO t VALUES (2)",
            never(),
            &mut |_| false,
        );
        assert!(matches!(stopped, Err(StoreError::Interrupted)));
        assert_eq!(
            at.ask(Sharing::Alone, "SELECT count(*) FROM t").unwrap(),
            "Integer(0)"
        );
    }

    #[test]
    fn a_reader_changes_nothing_however_it_asks() {
        let at = fixture();
        at.write("CREATE TABLE t(a)").unwrap();
        let open = Database::open(&at.files.database(0), OpenOptions::default()).unwrap();
        open.exec("INSERT INTO t VALUES (1)", &[]).unwrap();
        drop(open.commit_turn().unwrap());
        for sharing in [Sharing::Alone, Sharing::Shared] {
            for sql in [
                "INSERT INTO t VALUES (1)",
                "CREATE TEMP TABLE x(a)",
                "PRAGMA journal_mode=DELETE",
                "PRAGMA wal_checkpoint",
                "PRAGMA wal_checkpoint(TRUNCATE)",
                "PRAGMA user_version=1",
                "VACUUM",
                "VACUUM INTO 'x'",
                "ATTACH 'x' AS y",
                "BEGIN IMMEDIATE",
                "EXPLAIN DELETE FROM t",
                "SELECT load_extension('x')",
            ] {
                let error = at.ask(sharing, sql);
                assert!(error.is_err(), "{sharing:?} {sql}: {error:?}");
            }
            assert_eq!(
                at.ask(sharing, "SELECT a FROM t; PRAGMA user_version")
                    .unwrap(),
                "Integer(1) Integer(0)"
            );
        }
        assert_eq!(at.names(), ["ID.sqlite", "ID.sqlite-shm", "ID.sqlite-wal"]);
        open.close();
        assert_eq!(at.names(), ["ID.sqlite"], "the owner still cleans up");
    }

    #[test]
    fn a_snapshot_of_equal_contents_has_equal_bytes_in_the_log_or_not() {
        let at = fixture();
        let open = Database::open(&at.files.database(0), OpenOptions::default()).unwrap();
        open.exec("CREATE TABLE t(a); INSERT INTO t VALUES (1)", &[])
            .unwrap();
        drop(open.commit_turn().unwrap());
        let (in_log, in_file) = (at.temporary("1"), at.temporary("2"));
        assert!(snapshot(&at.files.database(0), Sharing::Shared, &in_log).unwrap());
        open.close();
        assert!(snapshot(&at.files.database(0), Sharing::Alone, &in_file).unwrap());
        assert_eq!(fs::read(&in_log).unwrap(), fs::read(&in_file).unwrap());
        assert_eq!(
            ask(&in_file, Sharing::Alone, "SELECT a FROM t").unwrap(),
            "Integer(1)"
        );
        assert!(!snapshot(&at.files.database(9), Sharing::Alone, &at.temporary("3")).unwrap());
        assert!(!at.temporary("3").exists());
    }

    #[test]
    fn a_foreign_file_is_checked_and_converted() {
        let at = fixture();
        let (from, to) = (at.temporary("from"), at.temporary("to"));
        let other = Connection::open(&from).unwrap();
        other
            .execute_batch("PRAGMA page_size=1024; CREATE TABLE t(a); INSERT INTO t VALUES (7)")
            .unwrap();
        other.close().unwrap();
        prepare(&from, &to).unwrap();
        let header = fs::read(&to).unwrap();
        assert_eq!(&header[16..20], &[16, 0, 2, 2], "4096-byte pages, WAL");
        for old in ["", "CREATE TABLE old(a)"] {
            if !old.is_empty() {
                at.write(old).unwrap();
            }
            prepare(&from, &to.with_extension("x")).unwrap();
            replace_database(&at.files, 0, &to.with_extension("x")).unwrap();
            assert_eq!(
                at.ask(Sharing::Alone, "SELECT a FROM t").unwrap(),
                "Integer(7)"
            );
            assert_eq!(
                at.ask(Sharing::Alone, "SELECT count(*) FROM sqlite_schema")
                    .unwrap(),
                "Integer(1)"
            );
            at.write("INSERT INTO t VALUES (8); DELETE FROM t WHERE a = 8")
                .unwrap();
        }
        assert_eq!(at.names(), ["ID.sqlite"]);
    }

    #[test]
    fn importing_leaves_nothing_beside_the_file() {
        let at = fixture();
        at.write("CREATE TABLE t(a)").unwrap();
        let to = at.temporary("to");
        prepare(&at.files.database(0), &to).unwrap();
        assert_eq!(at.names(), ["ID.sqlite"]);
        prepare(&to, &at.temporary("again")).unwrap();
        assert!(!at.temporary("to-wal").exists() && !at.temporary("to-shm").exists());
    }

    #[test]
    fn what_is_no_sound_database_is_refused() {
        let at = fixture();
        let (from, to) = (at.temporary("from"), at.temporary("to"));
        for bytes in [&b""[..], b"hello", &[0; 8192]] {
            fs::write(&from, bytes).unwrap();
            let error = prepare(&from, &to);
            assert!(
                matches!(error, Err(StoreError::Unsound { .. })),
                "{error:?}"
            );
        }
        let columns: Vec<String> = (0..150).map(|n| format!("c{n}")).collect();
        fs::remove_file(&from).unwrap();
        let wide = Connection::open(&from).unwrap();
        wide.execute_batch(&format!("CREATE TABLE t({})", columns.join(",")))
            .unwrap();
        wide.close().unwrap();
        let error = prepare(&from, &to);
        assert!(
            matches!(error, Err(StoreError::Unsound { .. })),
            "{error:?}"
        );
        let error = prepare(at.dir.path(), &to);
        assert!(
            matches!(error, Err(StoreError::Unsound { .. })),
            "{error:?}"
        );
        let many = "CREATE TABLE t(a); INSERT INTO t SELECT hex(randomblob(500)) FROM pragma_function_list LIMIT 100";
        fs::remove_file(&from).unwrap();
        Connection::open(&from)
            .unwrap()
            .execute_batch(many)
            .unwrap();
        let mut bytes = fs::read(&from).unwrap();
        bytes[4096 * 5..4096 * 6].fill(0xff);
        fs::write(&from, bytes).unwrap();
        let error = prepare(&from, &to);
        assert!(
            matches!(error, Err(StoreError::Unsound { .. })),
            "{error:?}"
        );
        assert!(!check(&from, Sharing::Alone, never()).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_database_can_be_replaced() {
        let at = fixture();
        at.write("CREATE TABLE t(a)").unwrap();
        let good = at.temporary("good");
        snapshot(&at.files.database(0), Sharing::Alone, &good).unwrap();
        fs::write(at.files.database(0), vec![0xff; 8192]).unwrap();
        replace_database(&at.files, 0, &good).unwrap();
        assert_eq!(
            at.ask(Sharing::Alone, "SELECT count(*) FROM t").unwrap(),
            "Integer(0)"
        );
    }

    #[test]
    fn broken_foreign_keys_are_findings() {
        let at = fixture();
        at.write("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p)")
            .unwrap();
        at.write("PRAGMA foreign_keys=OFF").unwrap();
        let plain = Connection::open(at.files.database(0)).unwrap();
        plain
            .execute_batch("PRAGMA foreign_keys=OFF; INSERT INTO c VALUES (5)")
            .unwrap();
        plain.close().unwrap();
        let findings = check(&at.files.database(0), Sharing::Alone, never()).unwrap();
        assert_eq!(
            findings,
            ["row 1 of table c refers to a row of p that is not there"]
        );
    }

    #[test]
    fn a_dump_that_breaks_off_is_refused() {
        let at = fixture();
        let to = at.temporary("to");
        load_dump("BEGIN; CREATE TABLE t(a); COMMIT;", &to).unwrap();
        let error = load_dump("BEGIN; CREATE TABLE t(a);", &at.temporary("cut")).unwrap_err();
        assert!(error.to_string().contains("not whole"), "{error}");
        let error = load_dump("nonsense", &at.temporary("bad")).unwrap_err();
        assert!(matches!(error, StoreError::Sql { .. }), "{error:?}");
    }

    #[test]
    fn an_offline_store_locks_and_invents_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("x");
        let error = OfflineStore::open(&absent).err().unwrap();
        assert!(matches!(error, StoreError::NoDataDir { .. }), "{error:?}");
        assert!(!absent.exists());
        let store = OfflineStore::open(dir.path()).unwrap();
        let error = OfflineStore::open(dir.path()).err().unwrap();
        assert!(
            matches!(error, StoreError::DataDirInUse { .. }),
            "{error:?}"
        );
        drop(store);
        OfflineStore::open(dir.path()).unwrap();
    }
}
