//! One SQLite file per object or facet: open, authorise, prepare, commit, copy, delete.
//!
//! | file | noun |
//! |---|---|
//! | `database.rs` | [`Database`]: an open file, its statements and transactions |
//! | `kv.rs` | key-value storage and the alarm time, in the same file |
//! | `cursor.rs`, `statement.rs`, `value.rs` | [`Cursor`]; prepared statements and their cache; values |
//! | `authorizer.rs`, `raw.rs` | what user SQL may name; the C callback that asks |
//! | `functions.rs` | SQL functions that would not stop, once more and stoppable |
//! | `quota.rs` | how much a database may hold |
//! | `sync.rs` | [`SyncThread`], [`CommitTicket`]: group commit, and why it is one |
//! | `template.rs` | the bytes a new database starts with |
//! | `files.rs`, `facet_index.rs`, `data_dir_lock.rs` | the files of an object; facet names to ids; one facetd per data dir |
//!
//! Needs neither V8 nor tokio. Files are plain SQLite with workerd's names and tables, so each opens the other's.
//! A [`Database`] lives on one thread; [`SyncThread`] and tickets go anywhere. Called by `ext/storage` and `host`.
//!
//! How SQLite is compiled (`LIBSQLITE3_FLAGS` in `.cargo/config.toml`): with the math functions (user SQL may call
//! them); without memory statistics (a lock around each allocation that all threads share); temporary tables in memory
//! (user SQL must not fill `/tmp`); without FTS3, dbstat, STAT4 and SOUNDEX, which workerd does not have and the
//! authorizer would refuse. Without these flags everything but the math functions works the same.

#![deny(unsafe_code)] // except `raw`, which says why

mod authorizer;
mod cursor;
mod data_dir_lock;
mod database;
mod error;
mod facet_index;
mod files;
mod functions;
mod kv;
mod quota;
mod raw;
mod statement;
mod sync;
mod template;
#[cfg(test)]
mod tests;
mod value;

pub use cursor::Cursor;
pub use data_dir_lock::DataDirLock;
pub use database::{Database, Interrupt, OpenOptions};
pub use error::{QuotaReached, StoreError};
pub use facet_index::FacetIndex;
pub use files::ObjectFiles;
pub use kv::{KvCursor, KvEntry, KvRange};
pub use sync::{CommitTicket, Durability, SyncThread};
pub use value::{Row, SqlValue, ValueRef};
