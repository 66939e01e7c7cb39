//! One open database: statements, transactions, emptying, closing.
//!
//! Owns: the connection, its statement caches, which transaction is open. Lives on one thread. Called by:
//! `ext/storage` for user code, the host at the end of each turn.
//! Always true: a statement that writes runs inside a transaction that we opened, so nothing commits but by
//! `commit_turn` or `transaction_commit`; and each commit is announced to the log, if there is one, which makes it durable
//! (without a log SQLite syncs at each commit by itself). When SQLite rolled back on its own the database is broken and says so.
//! Dropped: exclusive locking (no `-shm`, fewer system calls), because a facet can be copied while it is open.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, Connection, OpenFlags, ToSql};

use crate::authorizer::{Authorizer, Write};
use crate::cursor::{Author, Core, Cursor, SharedCore};
use crate::log::{CommitLog, CommitTicket, LoggedFile, wal_path};
use crate::quota::{Growth, Quota};
use crate::raw::GuardedConnection;
use crate::statement::{Prepared, StatementCache};
use crate::template::{self, Header};
use crate::{SqlValue, StoreError, remove_if_there, restore, sync_directory};

/// A checkpoint is due when the WAL has this many pages; SQLite's own default.
const CHECKPOINT_PAGES: u32 = 1000;
/// The progress handler is asked after this many steps of SQLite's virtual machine. Few microseconds, usually; but a step may
/// be a function over 16 MiB, which takes milliseconds even if it is a good one (see `functions.rs`).
pub(crate) const INTERRUPT_POLL_OPS: i32 = 100;
/// SQL text whose statements are kept prepared, as in workerd.
const CACHED_SQL_BYTES_MAX: usize = 1 << 20;

const ONLY_LAST_HAS_PARAMETERS: &str = "When executing multiple SQL statements in a single call, only the last statement can have parameters.";
const WRONG_NUMBER_OF_BINDINGS: &str = "Wrong number of parameter bindings for SQL query.";
const NO_STATEMENT: &str = "SQL code did not contain a statement.";
const USE_TRANSACTION_API: &str = "To execute a transaction, please use the state.storage.transaction() or \
     state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript \
     API is safer because it will automatically roll back on exceptions, and because it interacts correctly with \
     Durable Objects' automatic atomic write coalescing.";

/// The pragmas that user SQL may set, as they are in a database just opened.
const USER_PRAGMAS: [&str; 6] = [
    "PRAGMA case_sensitive_like = OFF",
    "PRAGMA foreign_keys = ON",
    "PRAGMA ignore_check_constraints = OFF",
    "PRAGMA legacy_alter_table = OFF",
    "PRAGMA recursive_triggers = OFF",
    "PRAGMA reverse_unordered_selects = OFF",
];

const NOTHING: &[SqlValue] = &[];

#[rustfmt::skip]
const LIMITS: [(Limit, i32); 11] = [
    (Limit::SQLITE_LIMIT_LENGTH, (16 << 20) - 1),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
    (Limit::SQLITE_LIMIT_COLUMN, 100),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
    // workerd's documented 25 000 would refuse long lists of VALUES that workerd in fact accepts.
    (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
];

/// Asked now and then while a statement runs; `true` stops it.
pub type Interrupt = Arc<dyn Fn() -> bool + Send + Sync>;

/// How to open a database.
#[derive(Clone, Default)]
pub struct OpenOptions {
    pub storage_bytes_max: Option<u64>,
    pub interrupt: Option<Interrupt>,
    /// Makes its commits durable, together with those of other databases. `None`: each commit is synced on its own.
    pub log: Option<CommitLog>,
}

/// One database, opened by its only owner. Clones share it.
#[derive(Clone)]
pub struct Database(pub(crate) Rc<Inner>);

/// The outermost open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outer {
    None,
    /// Opened by the first write of a turn, ends with the turn.
    Implicit,
    /// Opened by `transaction_begin`.
    Explicit,
}

/// A savepoint within the outermost transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Sync(u32),
    Transaction(u32),
}

impl Frame {
    fn name(self) -> String {
        match self {
            Self::Sync(id) => format!("_cf_sync_savepoint_{id}"),
            Self::Transaction(id) => format!("_cf_savepoint_{id}"),
        }
    }
}

/// The log that makes commits durable, and what it knows of this database.
struct Logged {
    log: CommitLog,
    file: RefCell<Arc<LoggedFile>>,
}

impl Logged {
    fn file(&self) -> Arc<LoggedFile> {
        self.file.borrow().clone()
    }
}

pub(crate) struct Inner {
    path: PathBuf,
    connection: RefCell<Option<Rc<GuardedConnection>>>,
    user_statements: RefCell<StatementCache>,
    own_statements: RefCell<StatementCache>,
    cursors: RefCell<Vec<Weak<RefCell<Core>>>>,
    cursors_prune_at: Cell<usize>,
    outer: Cell<Outer>,
    frames: RefCell<Vec<Frame>>,
    broken: Cell<bool>,
    /// The first critical error, as user code was told.
    critical_error: RefCell<Option<String>>,
    /// Something was committed outside `commit_turn` whose ticket is still to be handed out.
    owes_ticket: Cell<bool>,
    logged: Option<Logged>,
    /// The time that the turn's commit will have, if somebody was told.
    unit_time_us: Cell<Option<u64>>,
    /// Frames in the WAL after a commit that has not been announced yet; 0: there is none.
    committed_frames: Arc<AtomicU32>,
    checkpoint_at: Cell<u32>,
    /// SQLite syncs the WAL when it begins it anew, see `sync_headers`.
    syncs_headers: Cell<bool>,
    wal_frames: Cell<u32>,
    /// The WAL holds what the log does not, and could not be moved into the database: nothing may be written.
    unsettled: Cell<bool>,
    /// The handle a new database was written through. POSIX drops all of a process's locks on a file when it closes any
    /// handle of it, SQLite's included: it must not close before the connection does.
    created: RefCell<Option<File>>,
    pub(crate) quota: Option<Quota>,
    /// Which of our own tables are known to exist; forgotten at each rollback.
    pub(crate) known_tables: Cell<u8>,
    /// The newest `kv.list()` iterator.
    pub(crate) kv_list: RefCell<Weak<RefCell<Core>>>,
    pub(crate) kv_generation: Cell<u64>,
    last_names: RefCell<Option<Rc<[String]>>>,
    /// Counts the changes of the schema, rollbacks of such changes included.
    pub(crate) schema_epoch: Cell<u64>,
    rows_read: Cell<u64>,
    rows_written: Cell<u64>,
}

impl Database {
    /// Opens the database at `path`; creates it, and the directory it is in, when absent. With a log no sync happens here
    /// (the first commit's ticket covers the creation), unless a crash left commits that are not in the log.
    ///
    /// # Errors
    /// `NotADatabase`, `Corrupt`, `DatabaseIo`, `Io`.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        let again = options.clone();
        let (database, is_template) = Self::open_file(path, options)?;
        if is_template || !database.0.keeps_history() {
            return Ok(database);
        }
        database.restored(path, again)
    }

    /// As `open`, whatever the database was left with. True: nothing was ever written to it.
    fn open_file(path: &Path, options: OpenOptions) -> Result<(Self, bool), StoreError> {
        // Absolute, so that SQLite never takes a relative path that starts with `file:` for a URI.
        let path = std::path::absolute(path).map_err(StoreError::io("resolve", path))?;
        let Found {
            created,
            header,
            is_template,
        } = create_or_inspect(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)
            .map_err(|error| StoreError::from_sqlite(error, &path, false))?;
        let attached = match &options.log {
            Some(log) => Some((log.clone(), log.attach(&path, is_template))),
            None => {
                if let (Some(file), Some(dir)) = (&created, path.parent()) {
                    file.sync_data().map_err(StoreError::io("sync", &path))?;
                    sync_directory(dir).map_err(StoreError::io("sync", dir))?;
                }
                None
            }
        };
        let known = attached.as_ref().is_none_or(|(_, attached)| attached.known);
        let logged = attached.map(|(log, attached)| Logged {
            log,
            file: RefCell::new(attached.file),
        });
        let database = Self::with_connection(path, connection, logged, options)?;
        database.0.created.replace(created);
        if header == Header::OtherJournal {
            database.0.run_own("PRAGMA journal_mode=WAL")?;
        }
        database.0.run_own("PRAGMA synchronous=FULL")?;
        if database.0.logged.is_some() {
            database.0.settle(known, is_template)?;
            let fresh = is_absent_or_empty(&wal_path(&database.0.path))?;
            database.0.syncs_headers.set(fresh); // so that it is said in either case
            database.0.sync_headers(!fresh)?;
        }
        Ok((database, is_template))
    }

    /// The database, after the restoration it was left with a request for, if it was.
    fn restored(self, path: &Path, again: OpenOptions) -> Result<Self, StoreError> {
        let (Some(moment), Some((log, _))) = (self.requested_restoration()?, self.0.logged())
        else {
            return Ok(self);
        };
        self.close();
        if let Err(error) = restore::restore(&log, path, moment) {
            tracing::error!(path = %path.display(), %error, "the database could not be restored and is as it was");
            let options = OpenOptions {
                log: Some(log),
                ..OpenOptions::default()
            };
            // The same opening, but for the request.
            let database = Self::open_file(path, options)?.0;
            database.drop_request()?;
            database.close();
        }
        Self::open_file(path, again).map(|(database, _)| database)
    }

    /// A database that exists only as long as it is open, for tests.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn open_in_memory(options: OpenOptions) -> Result<Self, StoreError> {
        let path = PathBuf::from(":memory:");
        let connection = Connection::open_in_memory()
            .map_err(|error| StoreError::from_sqlite(error, &path, false))?;
        Self::with_connection(path, connection, None, options)
    }

    fn with_connection(
        path: PathBuf,
        mut connection: Connection,
        logged: Option<Logged>,
        options: OpenOptions,
    ) -> Result<Self, StoreError> {
        let authorizer = Authorizer::default();
        let committed_frames = Arc::new(AtomicU32::new(0));
        let configure = |connection: &mut Connection| {
            for (limit, value) in LIMITS {
                connection.set_limit(limit, value)?;
            }
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
            // Replaces SQLite's automatic checkpoint: `begin` decides.
            let frames = committed_frames.clone();
            connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
                frames.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))?;
            if let Some(interrupt) = options.interrupt.clone() {
                let internal = authorizer.internal_flag();
                connection.progress_handler(
                    INTERRUPT_POLL_OPS,
                    Some(move || !internal.load(Ordering::Relaxed) && interrupt()),
                )?;
            }
            Ok(())
        };
        configure(&mut connection).map_err(|error| StoreError::from_sqlite(error, &path, false))?;
        let connection = Rc::new(GuardedConnection::new(
            connection,
            authorizer,
            options.interrupt.as_ref(),
        ));
        let database = Self(Rc::new(Inner {
            path,
            connection: RefCell::new(Some(connection)),
            user_statements: RefCell::new(StatementCache::new(CACHED_SQL_BYTES_MAX)),
            own_statements: RefCell::new(StatementCache::new(CACHED_SQL_BYTES_MAX)),
            cursors: RefCell::default(),
            cursors_prune_at: Cell::new(16),
            outer: Cell::new(Outer::None),
            frames: RefCell::default(),
            broken: Cell::new(false),
            critical_error: RefCell::default(),
            owes_ticket: Cell::new(false),
            logged,
            unit_time_us: Cell::new(None),
            committed_frames,
            checkpoint_at: Cell::new(CHECKPOINT_PAGES),
            syncs_headers: Cell::new(false),
            wal_frames: Cell::new(0),
            unsettled: Cell::new(false),
            created: RefCell::default(),
            quota: options.storage_bytes_max.map(Quota::new),
            known_tables: Cell::new(0),
            kv_list: RefCell::default(),
            kv_generation: Cell::new(0),
            last_names: RefCell::default(),
            schema_epoch: Cell::new(0),
            rows_read: Cell::new(0),
            rows_written: Cell::new(0),
        }));
        if let Some(quota) = &database.0.quota {
            let pages = quota.pages_max();
            database
                .0
                .run_own(&format!("PRAGMA max_page_count={pages}"))?;
        }
        Ok(database)
    }

    // ---- SQL for user code

    /// Runs user SQL: all statements but the last to their end, the last to its first row. `bindings` belong to the last.
    ///
    /// # Errors
    /// `Sql`, `Interrupted`, or a critical error. What the statements before the failed one did stays.
    pub fn exec(&self, sql: &str, bindings: &[SqlValue]) -> Result<Cursor, StoreError> {
        let inner = &self.0;
        inner.check_usable()?;
        let cached = inner.user_statements.borrow_mut().take(sql);
        // SQLite would compile it anew by itself, but then errors do not say where they are.
        let cached = cached.filter(|prepared| prepared.schema_epoch == inner.schema_epoch.get());
        match cached {
            Some(prepared) => inner.run_bound(prepared, bindings, Author::User),
            None => inner.exec_text(sql, bindings),
        }
    }

    /// Runs the first statement of `sql` to its first row; returns its cursor and what follows it. `None`: there is none.
    ///
    /// # Errors
    /// As [`Self::exec`]; also `Sql` if the statement has parameters.
    pub fn exec_next<'a>(&self, sql: &'a str) -> Result<Option<(Cursor, &'a str)>, StoreError> {
        let inner = &self.0;
        inner.check_usable()?;
        if is_blank(sql) {
            return Ok(None);
        }
        let Some((prepared, tail)) = inner.prepare_first(sql, "")? else {
            return Ok(None);
        };
        let cursor = inner.run_bound(prepared, &[], Author::User)?;
        Ok(Some((cursor, tail)))
    }

    /// The database's size in bytes, free pages not counted.
    ///
    /// # Errors
    /// A critical error.
    pub fn database_size(&self) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT (p.page_count - f.freelist_count) * s.page_size \
            FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s";
        let pages = self.0.ask_own(SQL, NOTHING, |row| match row.get(0) {
            crate::ValueRef::Integer(bytes) => bytes,
            _ => 0,
        })?;
        Ok(u64::try_from(pages.unwrap_or(0)).unwrap_or(0))
    }

    // ---- transactions

    /// Commits what the turn wrote, if anything. A no-op while an explicit transaction is open. Unfinished writing
    /// cursors are finished first; their remaining rows can still be fetched.
    ///
    /// # Errors
    /// `CommitConstraint` or another critical error: everything is rolled back, the object must be reset.
    pub fn commit_turn(&self) -> Result<Option<CommitTicket>, StoreError> {
        let inner = &self.0;
        if inner.outer.get() == Outer::Implicit {
            inner.check_usable()?;
            inner.commit()?;
            return Ok(Some(inner.ticket()));
        }
        if inner.owes_ticket.replace(false) {
            return Ok(Some(inner.ticket()));
        }
        Ok(None)
    }

    /// Rolls back everything that is not committed: for a turn that was terminated, or an object that is reset.
    pub fn rollback_turn(&self) {
        self.0.roll_back_all();
    }

    /// Opens a savepoint (`transactionSync`), in the turn's unit or the open transaction. They nest.
    ///
    /// # Errors
    /// A critical error.
    pub fn savepoint_begin(&self) -> Result<u32, StoreError> {
        self.0.check_usable()?;
        self.0.ensure_unit()?;
        let id = u32::try_from(self.0.frames.borrow().len()).unwrap_or(u32::MAX);
        self.0.push_frame(Frame::Sync(id))?;
        Ok(id)
    }

    /// Ends a savepoint, and any opened after it; what was written stays part of the unit.
    ///
    /// # Errors
    /// `EarlierCriticalError` if SQLite has rolled everything back meanwhile.
    pub fn savepoint_release(&self, id: u32) -> Result<(), StoreError> {
        self.0.check_usable()?;
        self.0.release(Frame::Sync(id))
    }

    /// Undoes what was written since the savepoint, and ends it.
    ///
    /// # Errors
    /// A critical error. None if everything is rolled back already.
    pub fn savepoint_rollback(&self, id: u32) -> Result<(), StoreError> {
        self.0.roll_back_to(Frame::Sync(id))
    }

    /// Opens an explicit transaction. The turn's unit is committed first, and its ticket returned; within another
    /// transaction this is a savepoint.
    ///
    /// # Errors
    /// As `commit_turn`.
    pub fn transaction_begin(&self) -> Result<Option<CommitTicket>, StoreError> {
        let inner = &self.0;
        inner.check_usable()?;
        if inner.outer.get() == Outer::Explicit {
            let id = u32::try_from(inner.frames.borrow().len()).unwrap_or(u32::MAX);
            inner.push_frame(Frame::Transaction(id))?;
            return Ok(None);
        }
        let ticket = self.commit_turn()?;
        inner.begin()?;
        inner.outer.set(Outer::Explicit);
        Ok(ticket)
    }

    /// Commits the innermost explicit transaction. `None` for a nested one: nothing is committed before the outermost is.
    ///
    /// # Errors
    /// `Sql` if a constraint forbids it: the transaction is rolled back, the object may go on. Or a critical error.
    pub fn transaction_commit(&self) -> Result<Option<CommitTicket>, StoreError> {
        let inner = &self.0;
        inner.check_usable()?;
        if let Some(frame) = inner.innermost_transaction() {
            inner.release(frame)?;
            return Ok(None);
        }
        if inner.outer.get() != Outer::Explicit {
            return Ok(None);
        }
        inner.commit()?;
        Ok(Some(inner.ticket()))
    }

    /// Rolls the innermost explicit transaction back.
    ///
    /// # Errors
    /// A critical error. None if everything is rolled back already.
    pub fn transaction_rollback(&self) -> Result<(), StoreError> {
        match self.0.innermost_transaction() {
            Some(frame) => self.0.roll_back_to(frame),
            None => {
                self.0.roll_back_all();
                Ok(())
            }
        }
    }

    /// Is an implicit or explicit transaction open?
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.0.outer.get() != Outer::None
    }

    /// Is an explicit transaction open?
    #[must_use]
    pub fn in_explicit_transaction(&self) -> bool {
        self.0.outer.get() == Outer::Explicit
    }

    /// Has SQLite rolled back on its own, or a commit failed? Then every call fails, the object must be reset.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.broken.get()
    }

    /// What broke the database, if a critical error of a statement did.
    #[must_use]
    pub fn critical_error(&self) -> Option<String> {
        self.0.critical_error.borrow().clone()
    }

    /// Empties the database: tables, KV, metadata. Committed at once, as a whole; what the turn wrote before is gone with it.
    /// Open cursors die. The next `commit_turn` returns the ticket.
    ///
    /// # Errors
    /// `Sql` inside an explicit transaction or `transactionSync`. A critical error leaves all or nothing.
    pub fn delete_all(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        inner.check_usable()?;
        if inner.outer.get() == Outer::Explicit || !inner.frames.borrow().is_empty() {
            return Err(StoreError::sql(
                "Cannot call deleteAll() within a transaction",
            ));
        }
        inner.invalidate_kv_list();
        inner.close_cursors("deleteAll() was called");
        inner.roll_back_all();
        if !inner.is_settled()? {
            return Err(inner.full_disk());
        }
        inner.user_statements.borrow_mut().clear();
        inner.own_statements.borrow_mut().clear();
        let connection = inner.connection()?;
        let _internally = connection.authorizer().internally();
        // SQLite's way to empty a database whatever its schema looks like: one transaction that writes one page. VACUUM
        // attaches its target, which our limit would forbid.
        let reset = || {
            connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
            connection.execute_batch("VACUUM")
        };
        let logged = inner.logged.as_ref().map(Logged::file);
        let committing = logged.as_ref().map(|file| file.committing.lock());
        let result = reset();
        let undo = connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)
            .and_then(|_| connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0));
        inner.forget();
        result.and(undo.map(drop)).map_err(|error| {
            inner.broken.set(true);
            inner.sql_error(error)
        })?;
        inner.owes_ticket.set(true);
        for pragma in USER_PRAGMAS {
            inner.run_own(pragma)?; // as if opened anew
        }
        inner.announce();
        drop(committing);
        inner.sync_headers(true)
    }

    /// Closes the database now, though clones and cursors may still exist; they fail from here on. What is not committed is
    /// rolled back. Checkpoints, unless another process has the database open.
    pub fn close(&self) {
        self.0.close();
    }

    /// Rows read since the database was opened.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.0.rows_read.get()
    }

    /// Rows and index entries written since the database was opened.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.0.rows_written.get()
    }
}

/// What is at a database's path.
struct Found {
    /// The handle, if the file was written just now.
    created: Option<File>,
    header: Header,
    /// Nothing was ever written to it but the template. It may not be on disk.
    is_template: bool,
}

/// Opens the file and writes the template if there is nothing in it.
fn create_or_inspect(path: &Path) -> Result<Found, StoreError> {
    let open = || {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let dir = path.parent().unwrap_or(Path::new("/"));
            create_dir_durably(dir).map_err(StoreError::io("create", dir))?;
            open()
        }
        other => other,
    }
    .map_err(StoreError::io("open", path))?;
    let mut start = Vec::with_capacity(template::PAGE_BYTES);
    Read::by_ref(&mut file)
        .take(template::PAGE_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(StoreError::io("read", path))?;
    let bytes = if start.len() < template::PAGE_BYTES {
        start.len() as u64
    } else {
        file.metadata()
            .map_err(StoreError::io("measure", path))?
            .len()
    };
    match template::inspect(&start, bytes) {
        Header::NotADatabase => Err(StoreError::NotADatabase {
            path: path.to_owned(),
        }),
        Header::Blank => {
            // A WAL without its database belongs to one that was removed: SQLite would replay it into ours.
            let stale = wal_path(path);
            remove_if_there(&stale)?;
            io::Seek::rewind(&mut file)
                .and_then(|()| file.write_all(&template::IMAGE))
                .map_err(StoreError::io("write", path))?;
            Ok(Found {
                created: Some(file),
                header: Header::Blank,
                is_template: true,
            })
        }
        header => Ok(Found {
            created: None,
            header,
            is_template: start == template::IMAGE && is_absent_or_empty(&wal_path(path))?,
        }),
    }
}

/// Rare (once per namespace), so its syncs happen right here.
fn create_dir_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else {
        return Ok(());
    };
    create_dir_durably(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

fn is_absent_or_empty(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(StoreError::io("look for", path)(error)),
    }
}

/// Is there nothing but white space and comments? A lone semicolon is an empty statement to workerd, which refuses it.
fn is_blank(sql: &str) -> bool {
    let mut rest = sql;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return true;
        } else if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            return false;
        }
    }
}

/// May the statement make the database larger? What deletes and drops may not be refused.
fn growth_of(prepared: &Prepared, bindings: &[impl ToSql]) -> Option<Growth> {
    if !prepared.writes {
        return None;
    }
    let bytes = || {
        let sizes = bindings.iter().map(|value| match value.to_sql() {
            Ok(ToSqlOutput::Borrowed(ValueRef::Text(bytes) | ValueRef::Blob(bytes))) => {
                bytes.len() as u64
            }
            _ => 0,
        });
        sizes.sum::<u64>() + prepared.sql.len() as u64
    };
    match &prepared.notes.write {
        Some(Write::Update { .. }) => Some(Growth::Update(bytes())),
        Some(Write::Insert { .. }) => Some(Growth::Insert(bytes())),
        _ if prepared.notes.schema_writes > 0 => Some(Growth::Insert(bytes())),
        Some(Write::Delete) | None => None,
    }
}

impl Inner {
    pub(crate) fn connection(&self) -> Result<Rc<GuardedConnection>, StoreError> {
        self.connection.borrow().clone().ok_or(StoreError::Closed)
    }

    pub(crate) fn check_usable(&self) -> Result<(), StoreError> {
        if self.broken.get() {
            Err(StoreError::EarlierCriticalError)
        } else {
            Ok(())
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn in_unit(&self) -> bool {
        self.outer.get() != Outer::None
    }

    pub(crate) fn wal_bytes(&self) -> u64 {
        u64::from(self.wal_frames.get()) * template::PAGE_BYTES as u64
    }

    /// Translates an error, and notices when it took the transaction with it.
    pub(crate) fn sql_error(self: &Rc<Self>, error: rusqlite::Error) -> StoreError {
        let Ok(connection) = self.connection() else {
            return StoreError::Closed;
        };
        let rolled_back = self.outer.get() != Outer::None && connection.is_autocommit();
        if self.unsettled.get() && error.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly)
        {
            return self.full_disk();
        }
        let mut error = StoreError::from_sqlite(error, &self.path, rolled_back);
        if let StoreError::DiskFull { quota, .. } = &mut error {
            *quota = self.quota_reached();
        }
        if rolled_back || error.is_critical() {
            tracing::warn!(path = %self.path.display(), %error, rolled_back, "critical database error");
            self.broken.set(true);
            self.critical_error
                .borrow_mut()
                .get_or_insert_with(|| error.js_message());
        }
        error
    }

    // ---- statements

    /// A text that is not in the cache as a whole.
    fn exec_text(self: &Rc<Self>, sql: &str, bindings: &[SqlValue]) -> Result<Cursor, StoreError> {
        let mut rest = sql;
        loop {
            let Some((prepared, tail)) = self.prepare_first(rest, sql)? else {
                return Err(StoreError::sql(NO_STATEMENT));
            };
            if is_blank(tail) {
                return self.run_bound(prepared, bindings, Author::User);
            }
            if prepared.parameters > 0 {
                return Err(StoreError::sql(ONLY_LAST_HAS_PARAMETERS));
            }
            let mut cursor = self.run_bound(prepared, &[], Author::User)?;
            while cursor.next_row(&mut |_| {})? {}
            rest = tail.trim_ascii_start(); // offsets in errors count from the statement, as in workerd
        }
    }

    /// Prepares the first statement of `rest`; returns what follows it. `whole` is the cache key if nothing does.
    fn prepare_first<'a>(
        self: &Rc<Self>,
        rest: &'a str,
        whole: &str,
    ) -> Result<Option<(Prepared, &'a str)>, StoreError> {
        let connection = self.connection()?;
        let authorizer = connection.authorizer();
        authorizer.start_noting();
        let mut empty = false;
        let prepared = Prepared::new(&connection, "".into(), Default::default(), |connection| {
            Batch::new(connection, rest).next()?.ok_or_else(|| {
                empty = true;
                rusqlite::Error::InvalidQuery
            })
        });
        let notes = authorizer.take_notes();
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(_) if empty => return Ok(None),
            Err(error)
                if notes.transaction
                    && error.sqlite_error_code()
                        == Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) =>
            {
                return Err(StoreError::sql(USE_TRANSACTION_API));
            }
            Err(error) => return Err(self.sql_error(error)),
        };
        prepared.opens_unit |= notes.transactional_pragma;
        prepared.schema_epoch = self.schema_epoch.get();
        prepared.notes = notes;
        let tail = self.tail(&prepared, rest)?;
        if is_blank(tail) {
            prepared.sql = whole.into();
        }
        Ok(Some((prepared, tail)))
    }

    /// What follows the statement in `rest`. `rusqlite` does not tell where a statement ended. But the "expanded" text
    /// of one without parameters is its own text; of others SQLite is asked again, if there may be more.
    fn tail<'a>(&self, prepared: &Prepared, rest: &'a str) -> Result<&'a str, StoreError> {
        if prepared.parameters == 0 {
            let text = prepared
                .statement
                .borrow_dependent()
                .expanded_sql()
                .unwrap_or_default();
            // `Batch` skips empty statements before the first one.
            let start = rest.find(&text).unwrap_or(0);
            return Ok(rest.get(start + text.len()..).unwrap_or_default());
        }
        if !rest.contains([';', '\0']) {
            return Ok("");
        }
        let bytes = self.connection()?.statement_bytes(rest);
        Ok(rest.get(bytes..).unwrap_or_default())
    }

    /// Runs an ALTER TABLE and undoes it if a reserved name came of it: the authorizer is not shown what a table is
    /// renamed to, nor what FTS5 renames its own tables to in turn.
    fn run_alter(
        self: &Rc<Self>,
        prepared: Prepared,
        bindings: &[SqlValue],
    ) -> Result<Cursor, StoreError> {
        const SQL: &str =
            "SELECT count(*) FROM sqlite_schema WHERE substr(name, 1, 4) COLLATE NOCASE = '_cf_'";
        let reserved = || {
            self.ask_own(SQL, NOTHING, |row| match row.get(0) {
                crate::ValueRef::Integer(count) => count,
                _ => 0,
            })
        };
        self.ensure_unit()?;
        self.run_own("SAVEPOINT _cf_alter")?;
        let before = reserved()?;
        let cursor = self.run_unchecked(prepared, bindings, Author::User);
        if self.connection()?.is_autocommit() {
            return cursor; // an error that rolled everything back
        }
        let allowed = reserved()? == before;
        if !allowed {
            self.run_own("ROLLBACK TO _cf_alter")?;
        }
        self.run_own("RELEASE _cf_alter")?;
        if allowed {
            cursor
        } else {
            Err(StoreError::sql("not authorized: SQLITE_AUTH"))
        }
    }

    fn run_bound(
        self: &Rc<Self>,
        prepared: Prepared,
        bindings: &[SqlValue],
        author: Author,
    ) -> Result<Cursor, StoreError> {
        if prepared.notes.alters {
            return self.run_alter(prepared, bindings);
        }
        self.run_unchecked(prepared, bindings, author)
    }

    fn run_unchecked(
        self: &Rc<Self>,
        prepared: Prepared,
        bindings: &[SqlValue],
        author: Author,
    ) -> Result<Cursor, StoreError> {
        let (core, names) = self.start(prepared, bindings, author)?;
        let open = core.is_open();
        let core = Rc::new(RefCell::new(core));
        if open {
            self.register(&core);
        }
        Ok(Cursor { core, names })
    }

    fn start(
        self: &Rc<Self>,
        mut prepared: Prepared,
        bindings: &[impl ToSql],
        author: Author,
    ) -> Result<(Core, Rc<[String]>), StoreError> {
        if prepared.parameters != bindings.len() {
            self.put_back(prepared, author);
            return Err(StoreError::sql(WRONG_NUMBER_OF_BINDINGS));
        }
        let bound = prepared.statement.with_dependent_mut(|_, statement| {
            bindings
                .iter()
                .enumerate()
                .try_for_each(|(index, value)| statement.raw_bind_parameter(index + 1, value))
        });
        if let Err(error) = bound {
            let error = self.sql_error(error);
            self.put_back(prepared, author);
            return Err(error);
        }
        if author == Author::User
            && let Some(growth) = growth_of(&prepared, bindings)
            && let Err(error) = self.check_room(growth)
        {
            self.put_back(prepared, author);
            return Err(error);
        }
        if prepared.opens_unit {
            self.ensure_unit()?;
        }
        Core::start(self, prepared, author)
    }

    pub(crate) fn put_back(&self, mut prepared: Prepared, author: Author) {
        if prepared.sql.is_empty() || self.connection.borrow().is_none() {
            return;
        }
        // Or a blob bound once would stay in memory.
        prepared
            .statement
            .with_dependent_mut(|_, statement| statement.clear_bindings());
        match author {
            Author::User => self.user_statements.borrow_mut().put(prepared),
            Author::Store => self.own_statements.borrow_mut().put(prepared),
        }
    }

    pub(crate) fn keep_last_names(&self, names: Rc<[String]>) {
        *self.last_names.borrow_mut() = Some(names);
    }

    pub(crate) fn take_last_names(&self) -> Option<Rc<[String]>> {
        self.last_names.borrow_mut().take()
    }

    /// Runs one of our own statements up to its first row.
    pub(crate) fn start_own(
        self: &Rc<Self>,
        sql: &str,
        bindings: &[impl ToSql],
    ) -> Result<Core, StoreError> {
        let cached = self.own_statements.borrow_mut().take(sql);
        let prepared = match cached {
            Some(prepared) => prepared,
            None => {
                let connection = self.connection()?;
                let _internally = connection.authorizer().internally();
                let mut prepared =
                    Prepared::new(&connection, sql.into(), Default::default(), |c| {
                        c.prepare(sql)
                    })
                    .map_err(|error| self.sql_error(error))?;
                // BEGIN, COMMIT and the like count as writing to SQLite. Ours open their unit themselves.
                prepared.opens_unit = false;
                prepared.notes.reads_table = sql.contains("FROM _cf_KV");
                prepared
            }
        };
        self.start(prepared, bindings, Author::Store)
            .map(|(core, _)| core)
    }

    /// Runs one of our own statements to its end.
    pub(crate) fn run_own(self: &Rc<Self>, sql: &str) -> Result<(), StoreError> {
        self.start_own(sql, NOTHING).map(drop)
    }

    /// The first row of one of our own statements.
    pub(crate) fn ask_own<T>(
        self: &Rc<Self>,
        sql: &str,
        bindings: &[impl ToSql],
        mut read: impl FnMut(&crate::Row<'_>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let mut core = self.start_own(sql, bindings)?;
        let mut value = None;
        core.next_row(&mut |row| value = Some(read(row)))?;
        Ok(value)
    }

    pub(crate) fn count_rows(&self, read: u64, written: u64) {
        self.rows_read.set(self.rows_read.get() + read);
        self.rows_written.set(self.rows_written.get() + written);
    }

    pub(crate) fn schema_changed(&self) {
        self.schema_epoch.set(self.schema_epoch.get() + 1);
    }

    /// How many indexes a row written by `write` changes.
    pub(crate) fn indexes_written(self: &Rc<Self>, write: &Write) -> u64 {
        let ask = |sql, bindings: &[SqlValue]| {
            let (read, written) = (self.rows_read.get(), self.rows_written.get());
            let count = self.ask_own(sql, bindings, |row| match row.get(0) {
                crate::ValueRef::Integer(count) => u64::try_from(count).unwrap_or(0),
                _ => 0,
            });
            self.rows_read.set(read);
            self.rows_written.set(written);
            count.ok().flatten().unwrap_or(0)
        };
        match write {
            Write::Insert { table } => ask(
                "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 COLLATE NOCASE",
                &[SqlValue::Text(table.clone())],
            ),
            Write::Update { table, columns } => ask(
                "SELECT count(DISTINCT l.name) FROM pragma_index_list(?1) l, pragma_index_info(l.name) i \
                 WHERE instr(?2, ',' || lower(i.name) || ',') \
                 AND EXISTS (SELECT 1 FROM sqlite_schema s WHERE s.type = 'index' AND s.name = l.name)",
                &[
                    SqlValue::Text(table.clone()),
                    SqlValue::Text(format!(",{},", columns.join(",").to_ascii_lowercase())),
                ],
            ),
            Write::Delete => 0,
        }
    }

    // ---- cursors

    pub(crate) fn register(&self, core: &SharedCore) {
        let mut cursors = self.cursors.borrow_mut();
        if cursors.len() >= self.cursors_prune_at.get() {
            cursors.retain(|core| {
                core.upgrade()
                    .is_some_and(|core| core.try_borrow().is_ok_and(|core| core.is_open()))
            });
            self.cursors_prune_at.set((cursors.len() * 2).max(16));
        }
        cursors.push(Rc::downgrade(core));
    }

    fn finish_writing_cursors(&self) {
        let open: Vec<_> = self
            .cursors
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for core in open {
            if let Ok(mut core) = core.try_borrow_mut() {
                core.finish_writing();
            }
        }
    }

    fn close_cursors(&self, reason: &'static str) {
        for core in self.cursors.take().iter().filter_map(Weak::upgrade) {
            if let Ok(mut core) = core.try_borrow_mut() {
                core.close(reason);
            }
        }
    }

    fn close_writing_cursors(&self) {
        let open: Vec<_> = self
            .cursors
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for core in open {
            if let Ok(mut core) = core.try_borrow_mut()
                && core.writes()
            {
                core.close("its transaction was rolled back");
            }
        }
    }

    // ---- transactions

    /// Opens the turn's unit if no transaction is open.
    pub(crate) fn ensure_unit(self: &Rc<Self>) -> Result<(), StoreError> {
        if self.outer.get() == Outer::None {
            self.begin()?;
            self.outer.set(Outer::Implicit);
        }
        Ok(())
    }

    /// Is the database free of what `settle` could not do? Tries again if not. Written to before, the WAL could begin anew
    /// over what only it holds.
    fn is_settled(self: &Rc<Self>) -> Result<bool, StoreError> {
        let (true, Some(logged)) = (self.unsettled.get(), &self.logged) else {
            return Ok(true);
        };
        self.run_own("PRAGMA query_only=OFF")?;
        self.run_own("PRAGMA synchronous=FULL")?;
        self.syncs_headers.set(false);
        let failed = logged.log.has_failed(&logged.file());
        let settled = self.settle_wal(failed);
        self.sync_headers(true)?;
        match settled {
            Ok(_) => {
                self.unsettled.set(false);
                self.begin_history(true)?;
                Ok(true)
            }
            Err(StoreError::DiskFull { .. } | StoreError::SyncFailed { .. }) => {
                self.run_own("PRAGMA query_only=ON")?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn full_disk(&self) -> StoreError {
        StoreError::DiskFull {
            path: self.path.clone(),
            message: "database or disk is full: SQLITE_FULL".to_owned(),
            rolled_back: false,
            quota: None,
        }
    }

    fn begin(self: &Rc<Self>) -> Result<(), StoreError> {
        if !self.is_settled()? {
            // What only looks as if it wrote (CREATE TABLE IF NOT EXISTS) can go on; the rest meets a full disk.
            return self.run_own("BEGIN");
        }
        if self.wal_frames.get() >= self.checkpoint_at.get() {
            self.checkpoint()?;
        }
        self.run_own("BEGIN IMMEDIATE")
    }

    fn commit(self: &Rc<Self>) -> Result<(), StoreError> {
        self.finish_writing_cursors();
        if self.connection()?.is_autocommit() {
            self.broken.set(true);
            return Err(StoreError::EarlierCriticalError);
        }
        let logged = self.logged.as_ref().map(Logged::file);
        let committing = logged.as_ref().map(|file| file.committing.lock());
        match self.run_own("COMMIT") {
            Ok(()) => {
                self.outer.set(Outer::None);
                self.frames.borrow_mut().clear();
                self.announce();
                drop(committing);
                self.sync_headers(true)
            }
            Err(StoreError::Sql { message }) if message.contains("SQLITE_CONSTRAINT") => {
                drop(committing);
                self.roll_back_all();
                self.broken.set(true);
                Err(StoreError::CommitConstraint {
                    message: format!(
                        "Durable Object was reset and rolled back to its last known good state because the \
                         application left the database in a state where constraints were violated: {message}"
                    ),
                })
            }
            Err(error) => {
                drop(committing);
                self.roll_back_all();
                self.broken.set(true);
                Err(error)
            }
        }
    }

    pub(crate) fn logged(&self) -> Option<(CommitLog, Arc<LoggedFile>)> {
        let logged = self.logged.as_ref()?;
        Some((logged.log.clone(), logged.file()))
    }

    fn keeps_history(&self) -> bool {
        self.logged
            .as_ref()
            .is_some_and(|logged| logged.log.keeps_history())
    }

    /// See `Database::bookmark`.
    pub(crate) fn bookmark(&self) -> Result<u64, StoreError> {
        let Some(logged) = self.logged.as_ref().filter(|_| self.keeps_history()) else {
            return Err(StoreError::NoSuchPast);
        };
        if self.outer.get() == Outer::None {
            return Ok(logged.log.last_time_us(&logged.file()));
        }
        // The commit is promised this time.
        let time = self
            .unit_time_us
            .get()
            .unwrap_or_else(|| logged.log.next_time_us());
        self.unit_time_us.set(Some(time));
        Ok(time)
    }

    /// Tells the log of what was committed, if anything was.
    fn announce(&self) {
        let frames = self.committed_frames.swap(0, Ordering::Relaxed);
        if frames == 0 {
            return;
        }
        self.wal_frames.set(frames);
        if let Some(logged) = &self.logged {
            let promised = self.unit_time_us.take();
            logged.log.commit(&logged.file(), frames, promised, false);
        }
    }

    /// Moves what is in the WAL into the database, so that the WAL begins anew: true, if it will. Nothing is synced here,
    /// but what is moved must be durable in the log first: waits for that, once in many commits.
    pub(crate) fn checkpoint(self: &Rc<Self>) -> Result<bool, StoreError> {
        if let Some(logged) = &self.logged {
            logged.log.wait_for(&logged.file()).inspect_err(|_| {
                self.broken.set(true);
            })?;
        }
        self.sync_headers(false)?;
        // Passive: does what it can and waits for nobody. Open cursors of this connection forbid it for now.
        let moved = self.ask_own("PRAGMA wal_checkpoint(PASSIVE)", NOTHING, |row| {
            row.get(1) == row.get(2)
        });
        self.sync_headers(true)?;
        let all_moved = match moved {
            Err(error) if error.is_critical() => return Err(error),
            moved => matches!(moved, Ok(Some(true))),
        };
        let left = if all_moved { 0 } else { self.wal_frames.get() };
        self.checkpoint_at.set(left + CHECKPOINT_PAGES);
        Ok(all_moved)
    }

    /// With a log, the one thing SQLite must sync by itself is the header of a WAL that it begins anew over old frames:
    /// after a power cut, old frames behind an old header would be taken for the newest ones. Once per WAL, not per commit.
    /// Not needed before the first commit into a new WAL, nor for checkpoints (`on`: false), which would sync more.
    fn sync_headers(self: &Rc<Self>, on: bool) -> Result<(), StoreError> {
        if self.logged.is_some() && self.syncs_headers.get() != on {
            self.run_own(if on {
                "PRAGMA synchronous=NORMAL"
            } else {
                "PRAGMA synchronous=OFF"
            })?;
            self.syncs_headers.set(on);
        }
        Ok(())
    }

    /// Makes what is in the WAL durable in the database file where the log does not know it: another process left it
    /// there, or it could not be logged. `known`: the log followed this WAL from its beginning.
    fn settle(self: &Rc<Self>, known: bool, is_template: bool) -> Result<(), StoreError> {
        let Some(logged) = &self.logged else {
            return Ok(());
        };
        let failed = logged.log.has_failed(&logged.file());
        let was_whole = logged.log.was_whole(&logged.file());
        if (known && !failed) || is_absent_or_empty(&wal_path(&self.path))? {
            if !known && !is_template {
                self.begin_history(false)?;
            }
            return Ok(());
        }
        match self.settle_wal(failed) {
            Ok(frames) => self.begin_history(frames > 0 && !was_whole),
            // Reading goes on; the first write tries again.
            Err(error @ (StoreError::DiskFull { .. } | StoreError::SyncFailed { .. })) => {
                tracing::warn!(path = %self.path.display(), %error, "only reading is possible");
                self.unsettled.set(true);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn begin_history(self: &Rc<Self>, gap: bool) -> Result<(), StoreError> {
        let (Some(logged), connection) = (&self.logged, self.connection()?) else {
            return Ok(());
        };
        if let Err(error) = logged.log.begin_history(&logged.file(), &connection, gap) {
            // It concerns the past only, which begins later then.
            tracing::warn!(path = %self.path.display(), %error, "no base for point-in-time recovery could be made");
        }
        Ok(())
    }

    /// Returns how many frames were moved.
    fn settle_wal(self: &Rc<Self>, failed: bool) -> Result<u32, StoreError> {
        let Some(logged) = &self.logged else {
            return Ok(0);
        };
        let read = |row: &crate::Row<'_>| match (row.get(0), row.get(1)) {
            (crate::ValueRef::Integer(0), crate::ValueRef::Integer(frames)) => {
                u32::try_from(frames).ok()
            }
            _ => None,
        };
        let Some(frames) = self
            .ask_own("PRAGMA wal_checkpoint(FULL)", NOTHING, read)?
            .flatten()
        else {
            return Err(StoreError::DatabaseIo {
                path: self.path.clone(),
                message: "another program uses the database".to_owned(),
            });
        };
        if failed {
            logged.log.rebase(&self.path)?;
            let anew = logged.log.attach(&self.path, false).file;
            logged.log.detach(&logged.file.replace(anew), false);
        }
        if frames > 0 {
            logged.log.skip_to(&logged.file(), frames)?;
        }
        Ok(frames)
    }

    fn ticket(&self) -> CommitTicket {
        self.owes_ticket.set(false);
        match &self.logged {
            Some(logged) => logged.log.ticket(&logged.file()),
            None => CommitTicket::durable(),
        }
    }

    fn roll_back_all(self: &Rc<Self>) {
        self.close_writing_cursors();
        self.outer.set(Outer::None);
        self.frames.borrow_mut().clear();
        self.unit_time_us.set(None);
        self.forget();
        let Ok(connection) = self.connection() else {
            return;
        };
        if !connection.is_autocommit()
            && let Err(error) = self.run_own("ROLLBACK")
        {
            tracing::error!(path = %self.path.display(), %error, "cannot roll back");
            self.broken.set(true);
        }
    }

    /// What was learned from a schema that may be gone.
    fn forget(&self) {
        self.known_tables.set(0);
        self.schema_changed();
    }

    fn push_frame(self: &Rc<Self>, frame: Frame) -> Result<(), StoreError> {
        self.run_own(&format!("SAVEPOINT {}", frame.name()))?;
        self.frames.borrow_mut().push(frame);
        Ok(())
    }

    fn innermost_transaction(&self) -> Option<Frame> {
        self.frames
            .borrow()
            .iter()
            .rev()
            .find(|frame| matches!(frame, Frame::Transaction(_)))
            .copied()
    }

    /// Takes `frame` and those inside it off the stack; `false` if it is not there.
    fn pop_frames(&self, frame: Frame) -> bool {
        let mut frames = self.frames.borrow_mut();
        let Some(position) = frames.iter().rposition(|open| *open == frame) else {
            return false;
        };
        frames.truncate(position);
        true
    }

    fn release(self: &Rc<Self>, frame: Frame) -> Result<(), StoreError> {
        if self.connection()?.is_autocommit() {
            return Err(StoreError::EarlierCriticalError);
        }
        self.finish_writing_cursors();
        if self.pop_frames(frame) {
            self.run_own(&format!("RELEASE {}", frame.name()))?;
        }
        Ok(())
    }

    fn roll_back_to(self: &Rc<Self>, frame: Frame) -> Result<(), StoreError> {
        if !self.pop_frames(frame) || self.connection()?.is_autocommit() {
            return Ok(());
        }
        self.close_writing_cursors();
        self.forget();
        self.run_own(&format!("ROLLBACK TO {}", frame.name()))?;
        self.run_own(&format!("RELEASE {}", frame.name()))
    }

    fn close(self: &Rc<Self>) {
        self.close_cursors("the database was closed");
        self.roll_back_all();
        self.shut();
    }

    fn shut(&self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        self.user_statements.borrow_mut().clear();
        self.own_statements.borrow_mut().clear();
        let logged = self
            .logged
            .as_ref()
            .map(|logged| (&logged.log, logged.file()));
        if let Some((log, file)) = &logged {
            // Closing moves the WAL into the database and removes it, which must not happen to what is not durable yet.
            let keep = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            if let Err(error) = connection.set_db_config(keep, !log.has_all(file)) {
                tracing::error!(path = %self.path.display(), %error, "cannot close in order");
            }
        }
        // An open transaction is rolled back by closing.
        drop(connection);
        if let Some((log, file)) = logged {
            let wal_is_gone = is_absent_or_empty(&wal_path(&self.path)).unwrap_or(false);
            log.detach(&file, wal_is_gone);
        }
        self.created.take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut();
    }
}
