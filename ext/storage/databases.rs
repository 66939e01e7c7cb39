//! The databases that are open in this isolate, by the context of their object.
//!
//! Owns: every connection and every cursor. JS holds cursors by number, so that closing a database
//! closes what hangs on it. Called by the isolate at the end of each turn, to commit.

use facetd_core::Table;
use facetd_store::{CommitTicket, Cursor, Database, KvCursor, OpenOptions, StoreError};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the end of a turn did to one database.
pub struct TurnCommit {
    pub context: u32,
    /// What the object sends waits for it. Not so if all that was written is `allowUnconfirmed`.
    pub holds: bool,
    pub outcome: Result<Option<CommitTicket>, StoreError>,
    /// What the alarm is now, if this has changed it.
    pub alarm: Option<Option<i64>>,
}

/// The alarm of an open database.
#[derive(Clone, Copy, Default)]
struct Alarm {
    /// As the host knows it.
    committed_ns: Option<i64>,
    /// The stored time of the handler that runs. As long as the database still has it, JS sees none: it
    /// is removed when the handler succeeds, so that a crash runs it again. What the handler sets
    /// itself is never this very time (`set_alarm`), so that a rollback needs no bookkeeping.
    running_ns: Option<i64>,
}

pub(crate) enum AlarmStart {
    Run(i64),
    Absent,
    Later(i64),
}

pub(crate) enum OpenCursor {
    Rows(Cursor),
    Keys(KvCursor),
}

/// Databases open in this process, whichever isolate has them.
static OPEN_ANYWHERE: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
pub struct Databases {
    open: RefCell<Table<u32, Database>>,
    /// Contexts whose database was used in this turn.
    touched: RefCell<Vec<u32>>,
    /// Those of them that may have written something nobody called unconfirmed.
    confirmed: RefCell<Vec<u32>>,
    /// Commits of explicit transactions, which happened inside the turn.
    committed: RefCell<Vec<TurnCommit>>,
    /// Of databases that have or had an alarm since they were opened.
    alarms: RefCell<Table<u32, Alarm>>,
    /// Contexts whose alarm may have changed and is not committed.
    alarms_touched: RefCell<Vec<u32>>,
    /// Objects that reset themselves and want the alarm that runs not to be retried.
    alarms_abandoned: RefCell<Vec<u32>>,
    cursors: RefCell<Table<u32, (u32, OpenCursor)>>,
    last_cursor: Cell<u32>,
    /// Collected while some cursor was in use.
    dropped: RefCell<Vec<u32>>,
}

impl Databases {
    /// Opens the database of `context`, creating it when it is not there. Returns the time of its alarm.
    ///
    /// # Errors
    /// As the store says: not a database, corrupt, not permitted, disk full.
    pub fn open(
        &self,
        context: u32,
        path: &Path,
        options: OpenOptions,
    ) -> Result<Option<i64>, StoreError> {
        // A database that is made now has no alarm: no need to ask it.
        let has_content = path.metadata().is_ok_and(|file| file.len() > 0);
        let database = Database::open(path, options)?;
        let committed_ns = if has_content {
            database.alarm_ns()?
        } else {
            None
        };
        if committed_ns.is_some() {
            let alarm = Alarm {
                committed_ns,
                running_ns: None,
            };
            self.alarms.borrow_mut().insert(context, alarm);
        }
        self.open.borrow_mut().insert(context, database);
        OPEN_ANYWHERE.fetch_add(1, Ordering::Relaxed);
        Ok(committed_ns)
    }

    /// How many are open in this isolate.
    pub fn open_here(&self) -> usize {
        self.open.borrow().len()
    }

    pub fn cursors_open(&self) -> usize {
        self.cursors.borrow().len()
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
        self.alarms.borrow_mut().remove(&context);
        self.alarms_touched.borrow_mut().retain(|of| *of != context);
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
        self.confirm(context);
        self.use_in_turn(context)
    }

    fn confirm(&self, context: u32) {
        let mut confirmed = self.confirmed.borrow_mut();
        if confirmed.last() != Some(&context) {
            confirmed.push(context);
        }
    }

    /// As [`Self::get`]; the end of the turn commits what was written, and looks whether the database broke. What is written
    /// through it and nothing else holds nothing back.
    pub(crate) fn use_in_turn(&self, context: u32) -> Option<Database> {
        let mut touched = self.touched.borrow_mut();
        if touched.last() != Some(&context) {
            touched.push(context);
        }
        self.get(context)
    }

    pub(crate) fn note_commit(&self, context: u32, ticket: CommitTicket) {
        let alarm = self
            .get(context)
            .and_then(|database| self.changed_alarm(context, &database));
        self.committed.borrow_mut().push(TurnCommit {
            context,
            holds: true,
            outcome: Ok(Some(ticket)),
            alarm,
        });
    }

    /// What the alarm is now, if that is something else than the host knows. To be asked right after a
    /// commit.
    fn changed_alarm(&self, context: u32, database: &Database) -> Option<Option<i64>> {
        let mut touched = self.alarms_touched.borrow_mut();
        if touched.is_empty() || !touched.contains(&context) {
            return None;
        }
        touched.retain(|of| *of != context);
        let now = database.alarm_ns().ok()?;
        let mut alarms = self.alarms.borrow_mut();
        let alarm = alarms.entry(context).or_default();
        (alarm.committed_ns != now).then(|| {
            alarm.committed_ns = now;
            now
        })
    }

    /// Commits what the turn wrote, object by object.
    pub fn commit_turn(&self) -> Vec<TurnCommit> {
        let mut commits = self.committed.take();
        let mut touched = self.touched.take();
        let confirmed = self.confirmed.take();
        touched.sort_unstable();
        touched.dedup();
        for context in touched {
            if let Some(database) = self.get(context) {
                let mut outcome = database.commit_turn();
                // Also when nothing was to be committed: a read can find out that the disk or the file is broken. Whoever
                // waits is told of the first error, which says more than that there was one.
                if !matches!(outcome, Ok(Some(_)))
                    && let Some(message) = database.critical_error()
                {
                    outcome = Err(StoreError::Broken { message });
                }
                let alarm = if outcome.is_ok() && !database.in_explicit_transaction() {
                    self.changed_alarm(context, &database)
                } else {
                    None
                };
                if alarm.is_some() || !matches!(outcome, Ok(None)) {
                    commits.push(TurnCommit {
                        context,
                        holds: confirmed.contains(&context),
                        outcome,
                        alarm,
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

    // ---- the alarm

    /// The time of the alarm, as JS may see it.
    pub(crate) fn alarm(&self, context: u32) -> Result<Option<i64>, StoreError> {
        let Some(database) = self.get(context) else {
            return Ok(None);
        };
        let running = self.running(context);
        let stored = database.alarm_ns()?;
        Ok(stored.filter(|_| stored != running))
    }

    fn running(&self, context: u32) -> Option<i64> {
        let alarms = self.alarms.borrow();
        alarms.get(&context).and_then(|alarm| alarm.running_ns)
    }

    /// Sets or removes the alarm, as part of the turn's unit.
    pub(crate) fn set_alarm(&self, context: u32, time_ns: Option<i64>) -> Result<(), StoreError> {
        let Some(database) = self.get_for_write(context) else {
            return Ok(());
        };
        if time_ns.is_none() && database.alarm_ns()?.is_none() {
            return Ok(()); // nothing to remove: no reason to write
        }
        let running = self.running(context);
        // The next nanosecond is the same millisecond to JS.
        let time_ns = time_ns.map(|time_ns| time_ns + i64::from(Some(time_ns) == running));
        self.touch_alarm(context);
        database.set_alarm_ns(time_ns)
    }

    /// The alarm may change with what is written now.
    pub(crate) fn touch_alarm(&self, context: u32) {
        let mut touched = self.alarms_touched.borrow_mut();
        if !touched.contains(&context) {
            touched.push(context);
        }
    }

    /// The handler starts if the stored alarm is due; else why not.
    pub(crate) fn begin_alarm(&self, context: u32, now_ns: i64) -> Result<AlarmStart, StoreError> {
        let Some(database) = self.get(context) else {
            return Ok(AlarmStart::Absent);
        };
        match database.alarm_ns()? {
            None => Ok(AlarmStart::Absent),
            Some(stored) if stored > now_ns => Ok(AlarmStart::Later(stored)),
            Some(stored) => {
                let mut alarms = self.alarms.borrow_mut();
                alarms.entry(context).or_default().running_ns = Some(stored);
                Ok(AlarmStart::Run(stored))
            }
        }
    }

    /// The handler is over. A successful one takes its alarm with it, unless it has set another.
    pub(crate) fn end_alarm(&self, context: u32, success: bool) -> Result<(), StoreError> {
        let running = self.running(context);
        if success && let Some(time_ns) = running {
            self.clear_alarm(context, time_ns)?;
        }
        if let Some(alarm) = self.alarms.borrow_mut().get_mut(&context) {
            alarm.running_ns = None;
        }
        Ok(())
    }

    /// Removes the alarm if it is still this one.
    pub(crate) fn clear_alarm(&self, context: u32, time_ns: i64) -> Result<(), StoreError> {
        let Some(database) = self.get_for_write(context) else {
            return Ok(());
        };
        if database.alarm_ns()? == Some(time_ns) {
            self.touch_alarm(context);
            database.set_alarm_ns(None)?;
        }
        Ok(())
    }

    /// The object is about to reset itself, and the alarm that runs must not be retried.
    pub(crate) fn abandon_alarm(&self, context: u32) {
        self.alarms_abandoned.borrow_mut().push(context);
    }

    /// Removes the alarms whose objects have reset themselves for good. Their own writes are rolled back already.
    ///
    /// # Errors
    /// A critical error: that one will be retried.
    pub fn clear_abandoned_alarms(&self) -> Result<(), StoreError> {
        let mut result = Ok(());
        for context in self.alarms_abandoned.take() {
            result = result.and(self.end_alarm(context, true));
        }
        result
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
        // A writing statement may go on when its cursor does.
        self.confirm(*context);
        let mut touched = self.touched.borrow_mut();
        if touched.last() != Some(context) {
            touched.push(*context);
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
                    databases.use_in_turn(1)
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
