//! One SQLite file per object or facet: open, authorise, prepare, commit, copy, delete.
//!
//! | file | noun |
//! |---|---|
//! | `database.rs` | [`Database`]: an open file, its statements and transactions |
//! | `kv.rs` | key-value storage and the alarm time, in the same file |
//! | `alarm_list.rs` | [`AlarmList`]: whom to wake up, a namespace's copy of its alarms |
//! | `cursor.rs`, `statement.rs`, `value.rs` | [`Cursor`]; prepared statements and their cache; values |
//! | `authorizer.rs`, `raw.rs` | what user SQL may name; the C callback that asks |
//! | `log/` | [`CommitLog`], [`CommitTicket`]: the log that makes the commits of all databases durable together |
//! | `restore.rs` | bookmarks and point-in-time recovery |
//! | `functions.rs` | SQL functions that would not stop, once more and stoppable |
//! | `quota.rs` | how much a database may hold |
//! | `template.rs` | the bytes a new database starts with |
//! | `catalog.rs`, `inspect.rs`, `dump.rs`, `admin.rs` | for `facetd db`: what is stored; reading it; as SQL text; changing it |
//! | `files.rs`, `facet_index.rs`, `data_dir_lock.rs` | the files of an object; facet names to ids; one facetd per data dir |
//!
//! Needs neither V8 nor tokio. Files are plain SQLite with workerd's names and tables, so each opens the other's.
//! A [`Database`] lives on one thread; [`CommitLog`] and tickets go anywhere. Called by `ext/storage` and `host`.
//!
//! How SQLite is compiled (`LIBSQLITE3_FLAGS` in `.cargo/config.toml`): with the math functions (user SQL may call
//! them); without memory statistics (a lock around each allocation that all threads share); temporary tables in memory
//! (user SQL must not fill `/tmp`); without FTS3, dbstat, STAT4 and SOUNDEX, which workerd does not have and the
//! authorizer would refuse. Without these flags everything but the math functions works the same.

#![deny(unsafe_code)] // except `raw`, which says why

pub mod admin;
mod alarm_list;
mod authorizer;
pub mod catalog;
mod cursor;
mod data_dir_lock;
mod database;
pub mod dump;
mod error;
mod facet_index;
mod files;
mod functions;
pub mod inspect;
mod kv;
mod log;
mod quota;
mod raw;
mod restore;
mod statement;
mod template;
#[cfg(test)]
mod tests;
mod value;

pub use alarm_list::{AlarmList, ListedAlarm};
pub use cursor::Cursor;
pub use data_dir_lock::DataDirLock;
pub use database::{Database, Interrupt, OpenOptions};
pub use error::{QuotaReached, StoreError};
pub use facet_index::FacetIndex;
pub use files::ObjectFiles;
pub use kv::{KvCursor, KvEntry, KvRange};
pub use log::{CommitLog, CommitTicket, LogOptions, Moment, Retention};
pub use value::{Row, SqlValue, ValueRef};

/// When may the outside learn of a commit?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on disk: ask its ticket.
    Fsync,
    /// At once: drop the ticket. Survives a crash of the process, not of the machine.
    Relaxed,
}

/// Removes a file; true if it was there.
pub(crate) fn remove_if_there(path: &std::path::Path) -> Result<bool, StoreError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &std::path::Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}
