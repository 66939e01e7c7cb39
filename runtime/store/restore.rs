//! Point-in-time recovery of one database: bookmarks, and the restoration at its next opening.
//!
//! A bookmark is the time of a commit; no two commits of a process share one. The request to restore is a row of the database's
//! metadata, so it commits with the turn that makes it and survives a crash. Called by: `ext/storage`, `Database::open`,
//! tools. Always true: a restoration is one more commit, which can be undone like any other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::files::beside;
use crate::log::{CommitLog, Moment, replace_by};
use crate::{Database, StoreError};

/// Key in `_cf_METADATA`; workerd looks at key 1 only.
const REQUEST_KEY: i64 = 1000;

impl Database {
    /// A moment whose state is what the database holds now, what the turn has written so far and will write until it ends
    /// included.
    ///
    /// # Errors
    /// `NoSuchPast`: no history is kept.
    pub fn bookmark(&self) -> Result<u64, StoreError> {
        self.0.check_usable()?;
        self.0.bookmark()
    }

    /// Can the database be restored to `moment`?
    ///
    /// # Errors
    /// `NoSuchPast` if not.
    pub fn check_moment(&self, moment: Moment) -> Result<(), StoreError> {
        self.0.check_usable()?;
        let (log, file) = self.0.logged().ok_or(StoreError::NoSuchPast)?;
        // Now is the latest there is: nothing is promised for a state that is still to come.
        if moment.time_us() > log.next_time_us() {
            return Err(StoreError::NoSuchPast);
        }
        log.check_past(&file, moment)
    }

    /// Has the database restored to `moment` when it is next opened, as part of the turn's unit. Returns the moment that
    /// undoes it.
    ///
    /// # Errors
    /// `NoSuchPast`: that moment cannot be had.
    pub fn restore_at_next_open(&self, moment: Moment) -> Result<Moment, StoreError> {
        // Found out now, while somebody can still be told.
        self.check_moment(moment)?;
        self.0.set_metadata(REQUEST_KEY, Some(encode(moment)))?;
        Ok(Moment::BeforeRestorationAfter(self.0.bookmark()?))
    }

    pub(crate) fn requested_restoration(&self) -> Result<Option<Moment>, StoreError> {
        Ok(self.0.metadata(REQUEST_KEY)?.map(decode))
    }

    pub(crate) fn drop_request(&self) -> Result<(), StoreError> {
        self.0.set_metadata(REQUEST_KEY, None)?;
        self.commit_turn().map(drop)
    }
}

/// Negative: before the restoration after that time.
fn encode(moment: Moment) -> i64 {
    match moment {
        Moment::At(at) => i64::try_from(at).unwrap_or(i64::MAX),
        Moment::BeforeRestorationAfter(after) => -i64::try_from(after).unwrap_or(i64::MAX),
    }
}

fn decode(value: i64) -> Moment {
    let time = value.unsigned_abs();
    if value < 0 {
        Moment::BeforeRestorationAfter(time)
    } else {
        Moment::At(time)
    }
}

/// A file of ours that goes when it is not needed any more.
struct Scratch(PathBuf);

impl Scratch {
    fn new(log: &CommitLog) -> Self {
        Self(log.scratch_path())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _absent = fs::remove_file(beside(&self.0, suffix));
        }
    }
}

/// Puts the state of `moment` in place of everything in the database at `path`, which nobody has open: one commit, durable
/// on return.
///
/// # Errors
/// `NoSuchPast`: nothing has changed. Or the disk's.
pub(crate) fn restore(log: &CommitLog, path: &Path, moment: Moment) -> Result<(), StoreError> {
    let past = Scratch::new(log);
    make_past(log, path, moment, &past.0)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(&past.0, flags)
        .map_err(|error| StoreError::from_sqlite(error, &past.0, false))?;
    overwrite(log, path, &source, true)
}

/// Makes the state of the database at `path` at `moment` in a new file, without a request to restore it once more. Returns
/// the time of the last commit in it, 0 if nothing had been written yet.
///
/// # Errors
/// `NoSuchPast`, or the disk's.
pub(crate) fn make_past(
    log: &CommitLog,
    path: &Path,
    moment: Moment,
    target: &Path,
) -> Result<u64, StoreError> {
    let last_us = log.make_past(path, moment, target)?;
    let forget = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let past = Connection::open_with_flags(target, flags)?;
        let asks = "SELECT count(*) FROM sqlite_schema WHERE name = '_cf_METADATA'";
        let has: bool = past.query_row(asks, [], |row| row.get(0))?;
        if has {
            past.execute_batch(&format!(
                "DELETE FROM _cf_METADATA WHERE key = {REQUEST_KEY}"
            ))?;
        }
        past.close().map_err(|(_, error)| error)
    };
    forget().map_err(|error| StoreError::from_sqlite(error, target, false))?;
    Ok(last_us)
}

/// Puts what `source` holds in place of everything in the database at `path`, which nobody has open: one commit, durable on
/// return. `restored`: it is a past state.
///
/// # Errors
/// SQLite's or the disk's; the database is as before, unless `SyncFailed`.
pub(crate) fn overwrite(
    log: &CommitLog,
    path: &Path,
    source: &Connection,
    restored: bool,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::from_sqlite(error, path, false);
    let file = log.attach(path, false).file;
    let frames = Arc::new(AtomicU32::new(0));
    let replaced = (|| {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut target = Connection::open_with_flags(path, flags)?;
        let seen = frames.clone();
        target.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        target.execute_batch("PRAGMA synchronous=NORMAL")?;
        target.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
            seen.store(u32::try_from(count).unwrap_or(0), Ordering::Release);
            Ok(())
        }))?;
        let _committing = file.committing.lock();
        replace_by(source, &mut target)?;
        log.commit(&file, frames.load(Ordering::Acquire), None, restored);
        Ok(())
    })();
    let durable = replaced.map_err(failed).and_then(|()| log.wait_for(&file));
    log.detach(&file, false);
    durable
}
