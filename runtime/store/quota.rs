//! How much a database may hold.
//!
//! SQLite's own limit (`max_page_count`) is the last line: when it is hit, SQLite may have to give up the whole transaction,
//! and the object must be reset. So writes are refused before, while there is still room to finish what was begun; then
//! nothing has happened, and deleting makes room. One statement that writes very much still meets SQLite's limit.
//! Called by: every statement that may make the database larger, before it opens the turn's unit.

use std::cell::Cell;
use std::rc::Rc;

use crate::database::Inner;
use crate::template::PAGE_BYTES;
use crate::{QuotaReached, SqlValue, StoreError};

/// What SQLite may use beyond the limit: a row makes new pages in its table and in each of its indexes.
const RESERVE_BYTES: u64 = 32 * PAGE_BYTES as u64;
/// What is reckoned with for a statement of user SQL: one value may have this many bytes.
const SQL_BYTES_MAX: u64 = 16 << 20;
/// The write-ahead log may hold this much more than the database may: it grows while a cursor keeps old pages in use.
const WAL_BYTES_EXTRA: u64 = 64 << 20;

pub(crate) struct Quota {
    limit_bytes: u64,
    /// A lower bound of what is free, so that not every write has to measure.
    room_bytes: Cell<u64>,
}

/// What a statement is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Keys and values of these sizes.
    Bytes(u64),
    /// User SQL that inserts or creates, with bindings of this size.
    Insert(u64),
    /// User SQL that changes rows, maybe to smaller ones: may use half the reserve.
    Update(u64),
}

impl Quota {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            room_bytes: Cell::new(0),
        }
    }

    /// For `PRAGMA max_page_count`.
    pub(crate) fn pages_max(&self) -> u64 {
        (self.limit_bytes + RESERVE_BYTES) / PAGE_BYTES as u64
    }
}

impl Inner {
    /// Refuses what has no room any more.
    pub(crate) fn check_room(self: &Rc<Self>, growth: Growth) -> Result<(), StoreError> {
        let Some(quota) = &self.quota else {
            return Ok(());
        };
        let (needed, reckoned, extra) = match growth {
            Growth::Bytes(bytes) => (bytes, bytes + RESERVE_BYTES, 0),
            Growth::Insert(bytes) => (bytes, bytes + SQL_BYTES_MAX, 0),
            Growth::Update(bytes) => (bytes, bytes + SQL_BYTES_MAX, RESERVE_BYTES / 2),
        };
        if let Some(left) = quota.room_bytes.get().checked_sub(reckoned) {
            quota.room_bytes.set(left);
            return Ok(());
        }
        self.check_wal(quota)?;
        let used_bytes = self.used_bytes()?;
        let room = quota.limit_bytes.saturating_sub(used_bytes);
        if used_bytes + needed > quota.limit_bytes + extra {
            return Err(self.quota_error());
        }
        quota.room_bytes.set(room.saturating_sub(reckoned));
        Ok(())
    }

    /// SQLite ran full. It does not say of what: where there is a limit, a full disk is told as that.
    pub(crate) fn quota_reached(self: &Rc<Self>) -> Option<QuotaReached> {
        let quota = self.quota.as_ref()?;
        quota.room_bytes.set(0);
        Some(QuotaReached {
            limit_bytes: quota.limit_bytes,
            used_bytes: self.used_bytes().ok()?,
        })
    }

    fn quota_error(self: &Rc<Self>) -> StoreError {
        StoreError::DiskFull {
            path: self.path().to_owned(),
            message: "database or disk is full: SQLITE_FULL".to_owned(),
            rolled_back: false,
            quota: self.quota_reached(),
        }
    }

    /// A cursor that stays open keeps the log from being used again from its start.
    fn check_wal(self: &Rc<Self>, quota: &Quota) -> Result<(), StoreError> {
        if self.wal_bytes() <= quota.limit_bytes + WAL_BYTES_EXTRA || self.in_unit() {
            return Ok(());
        }
        // Not while a cursor of this connection is open.
        if self.checkpoint()? {
            return Ok(());
        }
        Err(self.quota_error())
    }

    fn used_bytes(self: &Rc<Self>) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT p.page_count - f.freelist_count FROM pragma_page_count p, pragma_freelist_count f";
        let pages = self.ask_own(SQL, &[] as &[SqlValue], |row| match row.get(0) {
            crate::ValueRef::Integer(pages) => u64::try_from(pages).unwrap_or(0),
            _ => 0,
        })?;
        Ok(pages.unwrap_or(0) * PAGE_BYTES as u64)
    }
}
