//! Every way this crate can fail, in one enum.
//!
//! Two readers. User code sees [`StoreError::sql_message`], texts that match workerd's byte for byte and never
//! hold a path. The operator sees `Display` with the sources behind it, which names the file.
//! Called by: everything here. Always true: `is_critical` errors leave the database rolled back to its last commit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ffi;

/// A storage limit and how much of it is used, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaReached {
    pub limit_bytes: u64,
    pub used_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The statement was refused or failed; the database and the open transaction are as before it.
    /// The message is the one user code sees.
    #[error("{message}")]
    Sql { message: String },

    /// The progress handler stopped the statement: its turn is being terminated.
    #[error("interrupted: SQLITE_INTERRUPT")]
    Interrupted,

    /// The turn's unit could not commit because of its own contents; it is rolled back, the object must restart.
    #[error("{message}")]
    CommitConstraint { message: String },

    /// An older `kv.list()` iterator was used after a newer one was started.
    #[error(
        "kv.list() iterator was invalidated because a new call to kv.list() was started. Only one kv.list() iterator can exist at a time."
    )]
    KvListInvalidated,

    /// The cursor's database was emptied by `deleteAll()` or closed.
    #[error("The cursor was closed because {reason}.")]
    CursorClosed { reason: &'static str },

    /// SQLite has rolled everything back; nothing can be done with this `Database` but to drop it.
    #[error("Cannot commit transaction due to an earlier SQL critical error")]
    EarlierCriticalError,

    /// A critical error happened earlier in the turn; the message is that error's.
    #[error("{message}")]
    Broken { message: String },

    /// The database has been closed.
    #[error("the database is closed")]
    Closed,

    /// The disk, or the database's own storage limit, is full. `rolled_back`: SQLite gave up the whole transaction.
    #[error("{message} ({path})", path = path.display())]
    DiskFull {
        path: PathBuf,
        message: String,
        rolled_back: bool,
        /// It is the database's own limit that is reached, not the disk's.
        quota: Option<QuotaReached>,
    },

    /// SQLite ran out of memory, or a statement compiled to too many operations (SQLite reports it as this).
    #[error("{message}")]
    OutOfMemory { message: String, rolled_back: bool },

    /// SQLite could not read or write a file.
    #[error("cannot read or write database {path}: {message}", path = path.display())]
    DatabaseIo { path: PathBuf, message: String },

    /// The file's contents contradict each other.
    #[error("database file {path} is damaged: {message}", path = path.display())]
    Corrupt { path: PathBuf, message: String },

    /// There is a file where the database should be, but it was never one.
    #[error("{path} is not a SQLite database", path = path.display())]
    NotADatabase { path: PathBuf },

    /// A file operation of ours failed.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    /// The disk did not confirm a write. What was written since the last confirmation may be lost.
    #[error("cannot make {path} durable", path = path.display())]
    SyncFailed {
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },

    /// What the commit log had confirmed cannot be read back.
    #[error("the commit log is damaged at byte {offset} of {path}: writes that were confirmed may be missing. Restore a backup; or move the folder of that file away, to go on with what the databases hold", path = path.display())]
    LogDamaged { path: PathBuf, offset: u64 },

    /// Point-in-time recovery was asked for a moment that it does not reach.
    #[error(
        "The requested point in time is not available: the history of this Durable Object does not reach back that far, or it lies in the future."
    )]
    NoSuchPast,

    /// 65535 names were used below one root object.
    #[error("Maximum number of facets exceeded")]
    TooManyFacets,

    /// A facet name must have 1 to 65535 bytes.
    #[error("facet name is {len_bytes} bytes, must be 1 to 65535")]
    FacetNameLength { len_bytes: usize },

    /// A facet's parent is not in the index.
    #[error("no facet has id {parent}")]
    UnknownParent { parent: u16 },

    /// The facet index starts with something else than its magic number.
    #[error("{path} is not a facet index", path = path.display())]
    NotAFacetIndex { path: PathBuf },

    /// The facet index has lost entries: a database exists whose number it would give away again.
    #[error("facet index {path} does not know facet {storage_id}, whose database exists", path = path.display())]
    FacetIndexBehind { path: PathBuf, storage_id: u16 },

    /// Another facetd runs on this data directory.
    #[error("data directory {path} is in use by another facetd{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path = path.display())]
    DataDirInUse { path: PathBuf, pid: Option<u32> },

    /// There is no data directory.
    #[error("there is no data directory {path}", path = path.display())]
    NoDataDir { path: PathBuf },

    /// A statement of a reader would change the database.
    #[error("the statement would change the database")]
    ReadOnly,

    /// A file that was given to us as a database is none, or its contents contradict each other.
    #[error("{path} is not a sound SQLite database: {finding}", path = path.display())]
    Unsound { path: PathBuf, finding: String },

    /// The data directory cannot be created or written.
    #[error("data directory {path} is not writable", path = path.display())]
    DataDirNotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Did SQLite give up more than one statement? Then the object must be reset: what it has in memory is ahead of
    /// what is stored.
    #[must_use]
    pub fn is_critical(&self) -> bool {
        match self {
            Self::DiskFull { rolled_back, .. } | Self::OutOfMemory { rolled_back, .. } => {
                *rolled_back
            }
            Self::CommitConstraint { .. }
            | Self::Broken { .. }
            | Self::EarlierCriticalError
            | Self::DatabaseIo { .. }
            | Self::Corrupt { .. }
            | Self::NotADatabase { .. }
            | Self::Io { .. }
            | Self::LogDamaged { .. }
            | Self::SyncFailed { .. } => true,
            _ => false,
        }
    }

    /// What user code is told: [`Self::sql_message`], or nothing but that it failed.
    #[must_use]
    pub fn js_message(&self) -> String {
        self.sql_message()
            .unwrap_or_else(|| "internal error".to_owned())
    }

    /// The text user code may see, in workerd's words; `None` when only the operator may know.
    #[must_use]
    pub fn sql_message(&self) -> Option<String> {
        match self {
            Self::Sql { message }
            | Self::CommitConstraint { message }
            | Self::Broken { message }
            | Self::DiskFull { message, .. }
            | Self::OutOfMemory { message, .. } => Some(message.clone()),
            Self::DatabaseIo { message, .. } | Self::Corrupt { message, .. } => {
                Some(message.clone())
            }
            Self::NotADatabase { .. } => Some("file is not a database: SQLITE_NOTADB".to_owned()),
            Self::Interrupted
            | Self::KvListInvalidated
            | Self::CursorClosed { .. }
            | Self::EarlierCriticalError
            | Self::NoSuchPast
            | Self::TooManyFacets => Some(self.to_string()),
            Self::Io { action, source, .. } => Some(io_message(action, source)),
            Self::SyncFailed { source, .. } => Some(io_message("sync", source)),
            Self::NotAFacetIndex { .. } | Self::FacetIndexBehind { .. } => {
                Some("The index of this Durable Object's facets is damaged.".to_owned())
            }
            Self::Closed
            | Self::LogDamaged { .. }
            | Self::FacetNameLength { .. }
            | Self::UnknownParent { .. }
            | Self::DataDirInUse { .. }
            | Self::NoDataDir { .. }
            | Self::ReadOnly
            | Self::Unsound { .. }
            | Self::DataDirNotWritable { .. } => None,
        }
    }

    pub(crate) fn sql(message: impl Into<String>) -> Self {
        Self::Sql {
            message: message.into(),
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Translates SQLite's error. `rolled_back` tells whether SQLite closed the transaction on its own.
    pub(crate) fn from_sqlite(error: rusqlite::Error, path: &Path, rolled_back: bool) -> Self {
        let (code, text, offset) = match error {
            rusqlite::Error::SqlInputError {
                error, msg, offset, ..
            } => (error.extended_code, Some(msg), Some(offset)),
            rusqlite::Error::SqliteFailure(error, msg) => (error.extended_code, msg, None),
            other => return Self::sql(other.to_string()),
        };
        let text = text.unwrap_or_else(|| ffi::code_to_str(code).to_owned());
        let at = offset
            .map(|offset| format!(" at offset {offset}"))
            .unwrap_or_default();
        let message = format!("{text}{at}: {}", code_name(code));
        match code & 0xff {
            ffi::SQLITE_INTERRUPT => Self::Interrupted,
            ffi::SQLITE_FULL => Self::DiskFull {
                path: path.to_owned(),
                message,
                rolled_back,
                quota: None,
            },
            ffi::SQLITE_NOMEM => Self::OutOfMemory {
                message,
                rolled_back,
            },
            ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY => Self::DatabaseIo {
                path: path.to_owned(),
                message,
            },
            ffi::SQLITE_CORRUPT if code != ffi::SQLITE_CORRUPT_VTAB => Self::Corrupt {
                path: path.to_owned(),
                message,
            },
            ffi::SQLITE_NOTADB => Self::NotADatabase {
                path: path.to_owned(),
            },
            _ => Self::Sql { message },
        }
    }
}

/// What SQLite would say, had it met this error itself.
fn io_message(action: &str, error: &io::Error) -> String {
    use io::ErrorKind::{
        IsADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match (error.kind(), action) {
        (StorageFull | QuotaExceeded, _) => "database or disk is full: SQLITE_FULL",
        (ReadOnlyFilesystem, _) => "attempt to write a readonly database: SQLITE_READONLY",
        (PermissionDenied | IsADirectory, _) | (_, "open" | "create") => {
            "unable to open database file: SQLITE_CANTOPEN"
        }
        (_, "sync") => "disk I/O error: SQLITE_IOERR (extended: SQLITE_IOERR_FSYNC)",
        _ => "disk I/O error: SQLITE_IOERR",
    }
    .to_owned()
}

/// `SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)`, or only the first part when there is no more to say.
fn code_name(code: i32) -> String {
    let primary = PRIMARY
        .iter()
        .find(|(value, _)| *value == code & 0xff)
        .map_or("SQLITE_ERROR", |(_, name)| name);
    if code == code & 0xff {
        return primary.to_owned();
    }
    match EXTENDED.iter().find(|(value, _)| *value == code) {
        Some((_, name)) => format!("{primary} (extended: {name})"),
        None => format!("{primary} (extended: {code})"),
    }
}

macro_rules! names {
    ($($name:ident)*) => { &[$((ffi::$name, stringify!($name)),)*] };
}

const PRIMARY: &[(i32, &str)] = names! {
    SQLITE_ERROR SQLITE_INTERNAL SQLITE_PERM SQLITE_ABORT SQLITE_BUSY SQLITE_LOCKED SQLITE_NOMEM SQLITE_READONLY
    SQLITE_INTERRUPT SQLITE_IOERR SQLITE_CORRUPT SQLITE_NOTFOUND SQLITE_FULL SQLITE_CANTOPEN SQLITE_PROTOCOL
    SQLITE_EMPTY SQLITE_SCHEMA SQLITE_TOOBIG SQLITE_CONSTRAINT SQLITE_MISMATCH SQLITE_MISUSE SQLITE_NOLFS SQLITE_AUTH
    SQLITE_FORMAT SQLITE_RANGE SQLITE_NOTADB SQLITE_NOTICE SQLITE_WARNING
};

const EXTENDED: &[(i32, &str)] = names! {
    SQLITE_ABORT_ROLLBACK SQLITE_BUSY_RECOVERY SQLITE_BUSY_SNAPSHOT SQLITE_BUSY_TIMEOUT SQLITE_CANTOPEN_FULLPATH
    SQLITE_CANTOPEN_ISDIR SQLITE_CONSTRAINT_CHECK SQLITE_CONSTRAINT_COMMITHOOK SQLITE_CONSTRAINT_DATATYPE
    SQLITE_CONSTRAINT_FOREIGNKEY SQLITE_CONSTRAINT_FUNCTION SQLITE_CONSTRAINT_NOTNULL SQLITE_CONSTRAINT_PINNED
    SQLITE_CONSTRAINT_PRIMARYKEY SQLITE_CONSTRAINT_ROWID SQLITE_CONSTRAINT_TRIGGER SQLITE_CONSTRAINT_UNIQUE
    SQLITE_CONSTRAINT_VTAB SQLITE_CORRUPT_INDEX SQLITE_CORRUPT_SEQUENCE SQLITE_CORRUPT_VTAB
    SQLITE_ERROR_MISSING_COLLSEQ SQLITE_ERROR_RETRY SQLITE_ERROR_SNAPSHOT SQLITE_IOERR_ACCESS
    SQLITE_IOERR_CHECKRESERVEDLOCK SQLITE_IOERR_CLOSE SQLITE_IOERR_DELETE SQLITE_IOERR_DIR_FSYNC SQLITE_IOERR_FSTAT
    SQLITE_IOERR_FSYNC SQLITE_IOERR_LOCK SQLITE_IOERR_MMAP SQLITE_IOERR_NOMEM SQLITE_IOERR_RDLOCK SQLITE_IOERR_READ
    SQLITE_IOERR_SHMLOCK SQLITE_IOERR_SHMMAP SQLITE_IOERR_SHMOPEN SQLITE_IOERR_SHMSIZE SQLITE_IOERR_SHORT_READ
    SQLITE_IOERR_TRUNCATE SQLITE_IOERR_UNLOCK SQLITE_IOERR_WRITE SQLITE_LOCKED_SHAREDCACHE SQLITE_LOCKED_VTAB
    SQLITE_READONLY_CANTINIT SQLITE_READONLY_CANTLOCK SQLITE_READONLY_DBMOVED SQLITE_READONLY_DIRECTORY
    SQLITE_READONLY_RECOVERY SQLITE_READONLY_ROLLBACK
};
