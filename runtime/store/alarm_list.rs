//! The wake-up list of one namespace: which of its objects and facets has an alarm when.
//!
//! Owns: `metadata.sqlite`, with workerd's table for root objects and one of ours beside it for facets, which workerd
//! does not look at. Called by: the host's list thread, which alone writes it.
//! Always true: what is here is a copy. The alarm itself is in the object's database (`Database::alarm_ns`); the list
//! says whom to wake up and may be too early, never too late.

use std::path::Path;

use rusqlite::types::ToSqlOutput;

use crate::kv::{integer, text, unset};
use crate::{CommitLog, CommitTicket, Database, OpenOptions, StoreError, ValueRef};

/// To the space as workerd writes it.
const OBJECTS: &str = "CREATE TABLE IF NOT EXISTS _cf_ALARM (\n      actor_id TEXT PRIMARY KEY,\n      \
    scheduled_time INTEGER,\n      actor_name TEXT\n    ) WITHOUT ROWID";
const FACETS: &str = "CREATE TABLE IF NOT EXISTS _cf_facetd_FACET_ALARM (\n  actor_id TEXT,\n  facet INTEGER,\n  \
    scheduled_time INTEGER,\n  actor_name TEXT,\n  PRIMARY KEY (actor_id, facet)\n) WITHOUT ROWID";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedAlarm {
    /// The root object's id, as 64 hex digits.
    pub object: String,
    /// The facet's storage id; 0: the object itself.
    pub facet: u16,
    pub time_ns: i64,
    /// The root object's name, for whoever wakes it up.
    pub name: Option<String>,
}

pub struct AlarmList(Database);

impl AlarmList {
    /// Opens the list; creates it when absent. `log`: as in [`OpenOptions`].
    ///
    /// # Errors
    /// As `Database::open`.
    pub fn open(path: &Path, log: Option<CommitLog>) -> Result<Self, StoreError> {
        let options = OpenOptions {
            log,
            ..OpenOptions::default()
        };
        let database = Database::open(path, options)?;
        for table in [OBJECTS, FACETS] {
            database.0.ensure_unit()?;
            database.0.run_own(table)?;
        }
        Ok(Self(database))
    }

    /// Every entry, in no particular order.
    ///
    /// # Errors
    /// A critical error.
    pub fn load(&self) -> Result<Vec<ListedAlarm>, StoreError> {
        let mut list = Vec::new();
        for sql in [
            "SELECT actor_id, 0, scheduled_time, actor_name FROM _cf_ALARM",
            "SELECT actor_id, facet, scheduled_time, actor_name FROM _cf_facetd_FACET_ALARM",
        ] {
            let mut core = self.0.0.start_own(sql, NOTHING)?;
            while core.next_row(&mut |row| list.extend(entry_of(row)))? {}
        }
        Ok(list)
    }

    /// Sets or removes the entry of an object (`facet` 0) or facet, as part of the next `commit`.
    ///
    /// # Errors
    /// `DiskFull` or a critical error.
    pub fn set(
        &self,
        object: &str,
        facet: u16,
        alarm: Option<(i64, Option<&str>)>,
    ) -> Result<(), StoreError> {
        let inner = &self.0.0;
        inner.check_usable()?;
        inner.ensure_unit()?;
        let facet_id = integer(facet.into());
        match (facet, alarm) {
            (0, Some((time_ns, name))) => inner.write_own(
                "INSERT INTO _cf_ALARM (actor_id, scheduled_time, actor_name) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE \
                 SET scheduled_time = excluded.scheduled_time, actor_name = coalesce(excluded.actor_name, actor_name)",
                &[text(object.as_bytes()), integer(time_ns), optional(name)],
            ),
            (_, Some((time_ns, name))) => inner.write_own(
                "INSERT INTO _cf_facetd_FACET_ALARM (actor_id, facet, scheduled_time, actor_name) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET scheduled_time = excluded.scheduled_time, \
                 actor_name = coalesce(excluded.actor_name, actor_name)",
                &[text(object.as_bytes()), facet_id, integer(time_ns), optional(name)],
            ),
            (0, None) => inner.write_own("DELETE FROM _cf_ALARM WHERE actor_id = ?1", &[text(object.as_bytes())]),
            (_, None) => inner.write_own(
                "DELETE FROM _cf_facetd_FACET_ALARM WHERE actor_id = ?1 AND facet = ?2",
                &[text(object.as_bytes()), facet_id],
            ),
        }
    }

    /// Commits what was set. `None`: nothing was.
    ///
    /// # Errors
    /// A critical error: nothing of it is there, and the list must be opened again.
    pub fn commit(&self) -> Result<Option<CommitTicket>, StoreError> {
        self.0.commit_turn()
    }
}

fn optional(name: Option<&str>) -> ToSqlOutput<'_> {
    match name {
        Some(name) => text(name.as_bytes()),
        None => unset(),
    }
}

const NOTHING: &[crate::SqlValue] = &[];

fn entry_of(row: &crate::Row<'_>) -> Option<ListedAlarm> {
    let string = |index| match row.get(index) {
        ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    };
    let number = |index| match row.get(index) {
        ValueRef::Integer(number) => Some(number),
        _ => None,
    };
    Some(ListedAlarm {
        object: string(0)?,
        facet: u16::try_from(number(1)?).ok()?,
        time_ns: number(2)?,
        name: string(3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, facet: u16, time_ns: i64, name: Option<&str>) -> ListedAlarm {
        ListedAlarm {
            object: object.to_owned(),
            facet,
            time_ns,
            name: name.map(str::to_owned),
        }
    }

    #[test]
    fn entries_are_set_replaced_removed_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata.sqlite");
        let list = AlarmList::open(&path, None).unwrap();
        assert_eq!(list.load().unwrap(), [], "a new list");
        list.set("aa", 0, Some((5, Some("name")))).unwrap();
        list.set("bb", 0, Some((6, None))).unwrap();
        list.set("aa", 3, Some((7, Some("name")))).unwrap();
        list.set("aa", 4, Some((8, None))).unwrap();
        assert!(list.commit().unwrap().is_some());
        list.set("aa", 0, Some((9, None))).unwrap();
        list.set("bb", 0, None).unwrap();
        list.set("aa", 4, None).unwrap();
        list.set("never there", 1, None).unwrap();
        drop(list.commit().unwrap());
        drop(list);
        let found = AlarmList::open(&path, None).unwrap().load().unwrap();
        let expected = [
            entry("aa", 0, 9, Some("name")),
            entry("aa", 3, 7, Some("name")),
        ];
        assert_eq!(
            found, expected,
            "a name is kept when an id is used to address the object"
        );
    }

    #[test]
    fn the_table_is_the_one_workerd_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata.sqlite");
        let list = AlarmList::open(&path, None).unwrap();
        list.set("aa", 0, Some((5, None))).unwrap();
        drop(list.commit().unwrap());
        drop(list);
        let connection = rusqlite::Connection::open(&path).unwrap();
        let sql: String = connection
            .query_row(
                "SELECT sql FROM sqlite_schema WHERE name = '_cf_ALARM'",
                [],
                |r| r.get(0),
            )
            .unwrap();
        let workerds = "CREATE TABLE _cf_ALARM (\n      actor_id TEXT PRIMARY KEY,\n      scheduled_time INTEGER,\n      actor_name TEXT\n    ) WITHOUT ROWID";
        assert_eq!(sql, workerds, "recorded from workerd 2026-11-17");
        let row: (String, i64, Option<String>) = connection
            .query_row("SELECT * FROM _cf_ALARM", [], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?))
            })
            .unwrap();
        assert_eq!(
            row,
            ("aa".to_owned(), 5, None),
            "nanoseconds, and NULL for no name"
        );
    }
}
