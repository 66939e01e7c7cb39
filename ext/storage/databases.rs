//! The databases that are open in this isolate, by the context of their object.
//!
//! Owns: every connection and every cursor. JS holds cursors by number, so that closing a database
//! closes what hangs on it. Called by the isolate at the end of each turn, to commit.

use facetd_store::{CommitTicket, Cursor, Database, KvCursor, OpenOptions, StoreError};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the end of a turn did to one database.
pub struct TurnCommit {
    pub context: u32,
    /// What the object sends waits for it. Not so if all that was written is `allowUnconfirmed`.
    pub holds: bool,
    pub outcome: Result<Option<CommitTicket>, StoreError>,
}

pub(crate) enum OpenCursor {
    Rows(Cursor),
    Keys(KvCursor),
}

/// Databases open in this process, whichever isolate has them.
static OPEN_ANYWHERE: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
pub struct Databases {
    open: RefCell<HashMap<u32, Database>>,
    /// Contexts that may have written in this turn.
    touched: RefCell<Vec<u32>>,
    /// Those of them that may have written something nobody called unconfirmed.
    confirmed: RefCell<HashSet<u32>>,
    /// Commits of explicit transactions, which happened inside the turn.
    committed: RefCell<Vec<(u32, CommitTicket)>>,
    cursors: RefCell<HashMap<u32, (u32, OpenCursor)>>,
    last_cursor: Cell<u32>,
    /// Collected while some cursor was in use.
    dropped: RefCell<Vec<u32>>,
}

impl Databases {
    /// Opens the database of `context`, creating it when it is not there.
    ///
    /// # Errors
    /// As the store says: not a database, corrupt, not permitted, disk full.
    pub fn open(&self, context: u32, path: &Path, options: OpenOptions) -> Result<(), StoreError> {
        let database = Database::open(path, options)?;
        self.open.borrow_mut().insert(context, database);
        OPEN_ANYWHERE.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many are open in this isolate.
    pub fn open_here(&self) -> usize {
        self.open.borrow().len()
    }

    /// How many are open in the whole process.
    pub fn open_anywhere() -> usize {
        OPEN_ANYWHERE.load(Ordering::Relaxed)
    }

    /// Rolls back what is open and closes the database.
    pub fn close(&self, context: u32) {
        self.cursors
            .borrow_mut()
            .retain(|_, (of, _)| *of != context);
        let database = self.open.borrow_mut().remove(&context);
        if let Some(database) = database {
            database.rollback_turn();
            database.close();
            OPEN_ANYWHERE.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, context: u32) -> Option<Database> {
        self.open.borrow().get(&context).cloned()
    }

    /// As [`Self::get`], for something that may write.
    pub(crate) fn get_for_write(&self, context: u32) -> Option<Database> {
        self.confirmed.borrow_mut().insert(context);
        self.get_for_unconfirmed_write(context)
    }

    /// As [`Self::get_for_write`], for a write whose loss nobody would hear of.
    pub(crate) fn get_for_unconfirmed_write(&self, context: u32) -> Option<Database> {
        let mut touched = self.touched.borrow_mut();
        if touched.last() != Some(&context) {
            touched.push(context);
        }
        self.get(context)
    }

    pub(crate) fn note_commit(&self, context: u32, ticket: CommitTicket) {
        self.committed.borrow_mut().push((context, ticket));
    }

    /// Commits what the turn wrote, object by object.
    pub fn commit_turn(&self) -> Vec<TurnCommit> {
        let explicit = self.committed.take();
        let mut commits: Vec<TurnCommit> = explicit
            .into_iter()
            .map(|(context, ticket)| TurnCommit {
                context,
                holds: true,
                outcome: Ok(Some(ticket)),
            })
            .collect();
        let mut touched = self.touched.take();
        let confirmed = self.confirmed.take();
        touched.sort_unstable();
        touched.dedup();
        for context in touched {
            if let Some(database) = self.get(context) {
                let outcome = database.commit_turn();
                if !matches!(outcome, Ok(None)) {
                    commits.push(TurnCommit {
                        context,
                        holds: confirmed.contains(&context),
                        outcome,
                    });
                }
            }
        }
        commits
    }

    /// The object is about to be reset: what it wrote and has not committed goes.
    pub fn discard(&self, context: u32) {
        self.touched
            .borrow_mut()
            .retain(|touched| *touched != context);
        if let Some(database) = self.get(context) {
            database.rollback_turn();
        }
    }

    /// The turn was terminated: nothing it wrote stays.
    pub fn rollback_turn(&self) {
        self.committed.take();
        self.confirmed.take();
        for context in self.touched.take() {
            if let Some(database) = self.get(context) {
                database.rollback_turn();
            }
        }
    }

    pub(crate) fn add_cursor(&self, context: u32, cursor: OpenCursor) -> u32 {
        let number = self.last_cursor.get().wrapping_add(1);
        self.last_cursor.set(number);
        let mut cursors = self.cursors.borrow_mut();
        for dropped in self.dropped.take() {
            cursors.remove(&dropped);
        }
        cursors.insert(number, (context, cursor));
        number
    }

    /// Runs `f` with the cursor `number`; `None`: its database is closed.
    pub(crate) fn with_cursor<R>(
        &self,
        number: u32,
        f: impl FnOnce(&mut OpenCursor) -> R,
    ) -> Option<R> {
        let mut cursors = self.cursors.borrow_mut();
        let (context, cursor) = cursors.get_mut(&number)?;
        let mut touched = self.touched.borrow_mut();
        // A writing statement may go on when its cursor does.
        if touched.last() != Some(context) {
            touched.push(*context);
            self.confirmed.borrow_mut().insert(*context);
        }
        drop(touched);
        Some(f(cursor))
    }

    /// JS let go of a cursor.
    pub(crate) fn drop_cursor(&self, number: u32) {
        // V8 may collect one cursor while another makes rows.
        match self.cursors.try_borrow_mut() {
            Ok(mut cursors) => drop(cursors.remove(&number)),
            Err(_) => self.dropped.borrow_mut().push(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_holds_its_messages_unless_all_its_writes_are_unconfirmed() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let databases = Databases::default();
        databases
            .open(1, &folder.path().join("a.sqlite"), OpenOptions::default())
            .expect("it can be opened");
        let turn = |unconfirmed: &[bool]| {
            for unconfirmed in unconfirmed {
                let database = if *unconfirmed {
                    databases.get_for_unconfirmed_write(1)
                } else {
                    databases.get_for_write(1)
                };
                let database = database.expect("it is open");
                database.kv_put("k", b"v").expect("it can be written");
            }
            let commits = databases.commit_turn();
            assert_eq!(commits.len(), 1, "one database");
            assert!(matches!(commits[0].outcome, Ok(Some(_))), "committed");
            commits[0].holds
        };
        assert!(turn(&[false]));
        assert!(!turn(&[true, true]));
        assert!(turn(&[true, false, true]), "one confirmed write is enough");
        assert!(!turn(&[true]), "the turn before is forgotten");
        databases.close(1);
    }
}
