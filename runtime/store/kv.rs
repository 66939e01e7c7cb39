//! Key-value storage and the object's own metadata, in tables user SQL cannot name.
//!
//! One table serves the async and the sync KV API; both write through the turn's unit like SQL does. Values are bytes
//! here (V8's serialisation). Order is that of UTF-8 bytes, which is SQLite's BINARY collation.

use std::cell::RefCell;
use std::rc::Rc;

use rusqlite::types::ToSqlOutput;

use crate::cursor::SharedCore;
use crate::database::{Database, Inner};
use crate::quota::Growth;
use crate::{Row, StoreError, ValueRef};

const KV: u8 = 1;
const METADATA: u8 = 2;

/// Key 1 of `_cf_METADATA` is the alarm's time in nanoseconds, as in workerd.
const ALARM_KEY: i64 = 1;

/// A key and its value.
pub type KvEntry = (Vec<u8>, Vec<u8>);

/// Which keys `list` yields. The bounds apply together. Keys are bytes: nearly always UTF-8, but see `ext/storage`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvRange {
    pub start: Option<Vec<u8>>,
    /// `start` itself is left out (`startAfter`).
    pub start_exclusive: bool,
    /// Always exclusive.
    pub end: Option<Vec<u8>>,
    pub prefix: Option<Vec<u8>>,
    /// From the last key to the first; `start` is still the lower bound, and `limit` counts from the end.
    pub reverse: bool,
    pub limit: Option<u64>,
}

impl KvRange {
    /// The first key that may be in the range and the first one behind it; `None` if there cannot be any.
    fn bounds(&self) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let mut start = self.start.clone().unwrap_or_default();
        if self.start_exclusive {
            start.push(0); // the next key there could be
        }
        let mut end = self.end.clone();
        if let Some(prefix) = self.prefix.as_ref().filter(|prefix| !prefix.is_empty()) {
            // As raw bytes, because the first string behind all that start with the prefix need not be UTF-8.
            let mut behind = prefix.clone();
            if let Some(last) = behind.last_mut() {
                *last = last.saturating_add(1); // no byte of a string is 255
            }
            start = start.max(prefix.clone());
            end = Some(end.map_or(behind.clone(), |end| end.min(behind)));
        }
        (end.as_ref().is_none_or(|end| start < *end)).then_some((start, end))
    }
}

/// A lazy `kv.list()`. Only the newest of a database works.
pub struct KvCursor {
    /// `None`: there was nothing to list.
    core: Option<SharedCore>,
    database: Rc<Inner>,
    generation: u64,
}

impl KvCursor {
    /// The next key and value.
    ///
    /// # Errors
    /// `KvListInvalidated` once a newer list was started or everything was deleted; else what SQLite met.
    #[expect(clippy::should_implement_trait, reason = "fallible")]
    pub fn next(&mut self) -> Result<Option<KvEntry>, StoreError> {
        let Some(core) = &self.core else {
            return Ok(None); // there was nothing to list, nor that a newer list could take away
        };
        if self.database.kv_generation.get() != self.generation {
            return Err(StoreError::KvListInvalidated);
        }
        let mut entry = None;
        core.borrow_mut()
            .next_row(&mut |row| entry = Some(entry_of(row)))?;
        if entry.is_none() {
            self.core = None; // at its end for good
        }
        Ok(entry)
    }
}

impl Database {
    /// The value of a key.
    ///
    /// # Errors
    /// A critical error.
    pub fn kv_get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.check_usable()?;
        if !self.0.has_table(KV)? {
            return Ok(None);
        }
        self.0.ask_own(
            "SELECT value FROM _cf_KV WHERE key = ?1",
            &[text(key.as_ref())],
            |row| bytes_of(row.get(0)),
        )
    }

    /// Sets a key's value.
    ///
    /// # Errors
    /// `Sql` for more than 16 MiB, `DiskFull`, or a critical error.
    pub fn kv_put(&self, key: impl AsRef<[u8]>, value: &[u8]) -> Result<(), StoreError> {
        self.0.check_usable()?;
        let key = key.as_ref();
        self.0
            .check_room(Growth::Bytes((key.len() + value.len()) as u64))?;
        self.0.ensure_table(KV)?;
        let bindings = [text(key), blob(value)];
        self.0.write_own(
            "INSERT INTO _cf_KV (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
            &bindings,
        )
    }

    /// Sets several keys: all, or none if one cannot be set.
    ///
    /// # Errors
    /// As [`Self::kv_put`].
    pub fn kv_put_all(&self, entries: &[KvEntry]) -> Result<(), StoreError> {
        self.0.check_usable()?;
        self.0.ensure_table(KV)?; // even for no entries, as in workerd
        let savepoint = self.savepoint_begin()?;
        let put = entries
            .iter()
            .try_for_each(|(key, value)| self.kv_put(key, value));
        match put {
            Ok(()) => self.savepoint_release(savepoint),
            Err(error) => {
                self.savepoint_rollback(savepoint)?;
                Err(error)
            }
        }
    }

    /// Removes a key; was it there?
    ///
    /// # Errors
    /// A critical error.
    pub fn kv_delete(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        self.0.check_usable()?;
        self.0.ensure_table(KV)?; // even when there is nothing to delete, as in workerd
        self.0
            .write_own("DELETE FROM _cf_KV WHERE key = ?1", &[text(key.as_ref())])?;
        Ok(self.0.connection()?.changes() > 0)
    }

    /// The entries of a range, all at once; ends the previous `KvCursor`.
    ///
    /// # Errors
    /// A critical error, or `Interrupted`.
    pub fn kv_list(&self, range: &KvRange) -> Result<Vec<KvEntry>, StoreError> {
        let mut entries = Vec::new();
        if let Some(core) = self.0.start_list(range)? {
            while core
                .borrow_mut()
                .next_row(&mut |row| entries.push(entry_of(row)))?
            {}
        }
        Ok(entries)
    }

    /// The entries of a range, read as they are asked for; ends the previous `KvCursor`.
    ///
    /// # Errors
    /// A critical error.
    pub fn kv_cursor(&self, range: &KvRange) -> Result<KvCursor, StoreError> {
        let inner = &self.0;
        let core = inner.start_list(range)?;
        if let Some(core) = &core {
            *inner.kv_list.borrow_mut() = Rc::downgrade(core);
        }
        Ok(KvCursor {
            core,
            database: inner.clone(),
            generation: inner.kv_generation.get(),
        })
    }

    /// The alarm's time in nanoseconds since the epoch (workerd's unit), if one is set.
    ///
    /// # Errors
    /// A critical error.
    pub fn alarm_ns(&self) -> Result<Option<i64>, StoreError> {
        self.0.metadata(ALARM_KEY)
    }

    /// Sets or clears the alarm's time, as part of the turn's unit.
    ///
    /// # Errors
    /// `DiskFull` or a critical error.
    pub fn set_alarm_ns(&self, time_ns: Option<i64>) -> Result<(), StoreError> {
        self.0.set_metadata(ALARM_KEY, time_ns)
    }
}

impl Inner {
    /// A number kept beside user code's tables.
    pub(crate) fn metadata(self: &Rc<Self>, key: i64) -> Result<Option<i64>, StoreError> {
        self.check_usable()?;
        if !self.has_table(METADATA)? {
            return Ok(None);
        }
        let sql = "SELECT value FROM _cf_METADATA WHERE key = ?1";
        let value = self.ask_own(sql, &[integer(key)], |row| match row.get(0) {
            ValueRef::Integer(value) => Some(value),
            _ => None,
        })?;
        Ok(value.flatten())
    }

    /// Sets or clears it, as part of the turn's unit.
    pub(crate) fn set_metadata(
        self: &Rc<Self>,
        key: i64,
        value: Option<i64>,
    ) -> Result<(), StoreError> {
        self.check_usable()?;
        if value.is_none() && !self.has_table(METADATA)? {
            return Ok(());
        }
        self.ensure_table(METADATA)?;
        let value = value.map_or_else(unset, integer);
        self.write_own(
            "INSERT INTO _cf_METADATA (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
            &[integer(key), value],
        )
    }

    pub(crate) fn invalidate_kv_list(&self) {
        self.kv_generation.set(self.kv_generation.get() + 1);
        if let Some(core) = self.kv_list.take().upgrade()
            && let Ok(mut core) = core.try_borrow_mut()
        {
            core.close("a newer list was started");
        }
    }

    fn start_list(self: &Rc<Self>, range: &KvRange) -> Result<Option<SharedCore>, StoreError> {
        self.check_usable()?;
        let Some((start, end)) = range.bounds() else {
            return Ok(None);
        };
        if !self.has_table(KV)? {
            return Ok(None);
        }
        // One statement in workerd, whoever lists.
        self.invalidate_kv_list();
        let mut sql = String::from("SELECT key, value FROM _cf_KV WHERE key >= ?1");
        let mut bindings = vec![text(&start)];
        if let Some(end) = &end {
            bindings.push(text(end));
            sql.push_str(" AND key < ?2");
        }
        sql.push_str(if range.reverse {
            " ORDER BY key DESC"
        } else {
            " ORDER BY key"
        });
        if let Some(limit) = range.limit {
            bindings.push(integer(i64::try_from(limit).unwrap_or(i64::MAX)));
            sql.push_str(" LIMIT ?");
            sql.push_str(&bindings.len().to_string());
        }
        let core = Rc::new(RefCell::new(self.start_own(&sql, &bindings)?));
        if core.borrow().is_open() {
            self.register(&core);
        }
        Ok(Some(core))
    }

    pub(crate) fn write_own(
        self: &Rc<Self>,
        sql: &str,
        bindings: &[ToSqlOutput<'_>],
    ) -> Result<(), StoreError> {
        self.start_own(sql, bindings).map(drop)
    }

    fn has_table(self: &Rc<Self>, table: u8) -> Result<bool, StoreError> {
        if self.known_tables.get() & table != 0 {
            return Ok(true);
        }
        let name = if table == KV {
            "_cf_KV"
        } else {
            "_cf_METADATA"
        };
        let found = self
            .ask_own(
                "SELECT 1 FROM sqlite_schema WHERE name = ?1",
                &[text(name.as_bytes())],
                |_| (),
            )?
            .is_some();
        if found {
            self.known_tables.set(self.known_tables.get() | table);
        }
        Ok(found)
    }

    /// Opens the unit and creates the table within it. In workerd's words, to the space.
    fn ensure_table(self: &Rc<Self>, table: u8) -> Result<(), StoreError> {
        self.ensure_unit()?;
        if self.known_tables.get() & table == 0 {
            self.run_own(if table == KV {
                "CREATE TABLE IF NOT EXISTS _cf_KV (\n        key TEXT PRIMARY KEY,\n        value BLOB\n      ) WITHOUT ROWID"
            } else {
                "CREATE TABLE IF NOT EXISTS _cf_METADATA (\n        key INTEGER PRIMARY KEY,\n        value BLOB\n      )"
            })?;
            self.known_tables.set(self.known_tables.get() | table);
        }
        Ok(())
    }
}

pub(crate) fn text(value: &[u8]) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(rusqlite::types::ValueRef::Text(value))
}

fn blob(value: &[u8]) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(rusqlite::types::ValueRef::Blob(value))
}

pub(crate) fn integer(value: i64) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(rusqlite::types::Value::Integer(value))
}

pub(crate) fn unset() -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(rusqlite::types::Value::Null)
}

fn entry_of(row: &Row<'_>) -> KvEntry {
    (bytes_of(row.get(0)), bytes_of(row.get(1)))
}

fn bytes_of(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Vec::new(),
    }
}
