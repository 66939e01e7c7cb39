//! Cursors: a statement's rows, fetched one at a time, over as many turns as user code likes.
//!
//! Owns: the running statement, until its last row; then it goes back to the cache. `exec` makes the first step, so a
//! cursor of user SQL always stands on its next row ("reads one row ahead"). A KV list steps when it is asked, as in workerd.
//! Always true: a database knows its cursors (weakly), so it can finish the writing ones before a commit and stop all of them
//! before it is emptied or closed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use rusqlite::StatementStatus;
use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;

use crate::StoreError;
use crate::authorizer::Write;
use crate::database::Inner;
use crate::statement::{Prepared, RunningStatement};
use crate::value::{KeptValue, Row, RowSource};

/// Whose statement it is: decides about the authorizer and the cache it returns to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    User,
    Store,
}

enum State {
    /// The statement stands on the next row.
    OnRow(RunningStatement),
    /// A writing statement that was finished early; these rows are still to be asked for.
    Kept(VecDeque<Box<[KeptValue]>>),
    Done,
    /// Stopped from outside: this is what the next call is told, every time.
    Closed(&'static str),
}

pub(crate) struct Core {
    db: Rc<Inner>,
    state: State,
    /// A step failed while the statement was finished before a commit; reported by the next call.
    failed: Option<StoreError>,
    author: Author,
    /// The row the statement stands on was delivered (KV lists only).
    delivered: bool,
    writes: bool,
    reprepared: i32,
    counts: Counts,
}

/// Rows read and written, as far as SQLite's counters tell.
#[derive(Default)]
struct Counts {
    reads_table: bool,
    write_factor: u64,
    returned: u64,
    read: u64,
    written: u64,
    fullscan_before: i32,
    sorts_before: i32,
    changes_before: u64,
}

pub(crate) type SharedCore = Rc<RefCell<Core>>;

impl Core {
    /// Runs `prepared`, whose parameters are bound, up to its first row.
    pub(crate) fn start(
        db: &Rc<Inner>,
        prepared: Prepared,
        author: Author,
    ) -> Result<(Self, Rc<[String]>), StoreError> {
        let connection = db.connection()?;
        let statement = prepared.statement.borrow_dependent();
        let counts = Counts {
            reads_table: prepared.notes.reads_table,
            write_factor: if prepared.writes {
                db.write_factor(&prepared)
            } else {
                0
            },
            written: if prepared.writes {
                prepared.notes.schema_writes
            } else {
                0
            },
            fullscan_before: statement.get_status(StatementStatus::FullscanStep),
            sorts_before: statement.get_status(StatementStatus::Sort),
            changes_before: connection.total_changes(),
            ..Counts::default()
        };
        db.count_rows(0, counts.written);
        let (writes, reprepared, changes_schema) = (
            prepared.writes,
            prepared.reprepared,
            prepared.notes.changes_schema,
        );
        let mut names = prepared.names.clone();
        let mut core = Self {
            db: db.clone(),
            state: State::OnRow(prepared.run()),
            failed: None,
            author,
            delivered: false,
            writes,
            reprepared,
            counts,
        };
        db.take_last_names();
        let step = core.advance();
        if changes_schema {
            db.schema_changed();
        }
        step?;
        match &core.state {
            State::OnRow(running) => {
                if let Some(changed) = running.names_if_changed(reprepared) {
                    names = changed;
                }
            }
            _ => {
                if let Some(last) = core.db.take_last_names() {
                    names = last;
                }
            }
        }
        Ok((core, names))
    }

    /// Steps to the next row, or to the end. Call it only on a row.
    fn advance(&mut self) -> Result<(), StoreError> {
        let State::OnRow(running) = &mut self.state else {
            return Ok(());
        };
        let connection = self.db.connection()?;
        let internally =
            (self.author == Author::Store).then(|| connection.authorizer().internally());
        let step =
            running.with_dependent_mut(|_, rows| rows.advance().map(|()| rows.get().is_some()));
        // The counters are the statement's; at its end `rows` has let go of it, so they are read again below.
        match step {
            Ok(true) => {
                let changes = connection.total_changes();
                let (scanned, sorts) = (
                    running.status(StatementStatus::FullscanStep),
                    running.status(StatementStatus::Sort),
                );
                self.counts.returned += 1;
                self.count(scanned, sorts, changes, 0);
                Ok(())
            }
            Ok(false) => {
                let changes = connection.total_changes();
                let direct = connection.changes();
                drop(internally);
                let prepared = self.finish();
                if let Some(prepared) = prepared {
                    self.put_back(prepared, changes, direct);
                }
                Ok(())
            }
            Err(error) => {
                let error = self.db.sql_error(error);
                drop(internally);
                let changes = connection.total_changes();
                if let Some(prepared) = self.finish() {
                    self.put_back(prepared, changes, 0);
                }
                Err(error)
            }
        }
    }

    fn put_back(&mut self, mut prepared: Prepared, changes: u64, direct: u64) {
        let statement = prepared.statement.borrow_dependent();
        let (scanned, sorts) = (
            statement.get_status(StatementStatus::FullscanStep),
            statement.get_status(StatementStatus::Sort),
        );
        self.count(scanned, sorts, changes, direct);
        prepared.refresh_names();
        if prepared.reprepared != self.reprepared {
            self.db.keep_last_names(prepared.names.clone());
        }
        self.db.put_back(prepared, self.author);
    }

    /// SQLite as shipped has no counter of rows visited. A full scan counts its steps (all but the first row), a sort
    /// reads everything once more; what an index found is counted as it is returned. DIVERGES: joins and
    /// aggregates over an index count less than in workerd, which patches SQLite.
    fn count(&mut self, scanned: i32, sorts: i32, changes: u64, direct: u64) {
        let counts = &mut self.counts;
        let scanned = u64::try_from(scanned - counts.fullscan_before).unwrap_or(0);
        let changed = changes - counts.changes_before;
        let mut read = counts
            .returned
            .max(if scanned > 0 { scanned + 1 } else { 0 });
        if counts.reads_table {
            read = read.max(1);
            if self.writes {
                read = read.max(changed);
            }
        }
        if !counts.reads_table {
            read = 0;
        } else if sorts > counts.sorts_before {
            read *= 2;
        }
        let direct = direct.min(changed);
        let schema = if self.writes {
            counts.written.min(2)
        } else {
            0
        };
        let written = if changed == 0 {
            schema
        } else {
            direct * counts.write_factor + (changed - direct)
        };
        let (more_read, more_written) = (
            read.saturating_sub(counts.read),
            written.saturating_sub(counts.written),
        );
        counts.read = counts.read.max(read);
        counts.written = counts.written.max(written);
        self.db.count_rows(more_read, more_written);
    }

    /// Resets the statement and takes it out.
    fn finish(&mut self) -> Option<Prepared> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::OnRow(running) => Some(running.stop()),
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::OnRow(_))
    }

    /// Delivers the row the statement stands on, then steps; a KV list steps first, from the second row on.
    pub(crate) fn next_row(&mut self, f: &mut dyn FnMut(&Row<'_>)) -> Result<bool, StoreError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if std::mem::take(&mut self.delivered) {
            self.advance()?;
        }
        match &mut self.state {
            State::OnRow(running) => {
                running.with_dependent(|_, rows| {
                    let columns = rows
                        .as_ref()
                        .map_or(0, |statement| statement.column_count());
                    if let Some(row) = rows.get() {
                        f(&Row(RowSource::Sqlite { row, columns }));
                    }
                });
                match self.author {
                    // An error takes the row before it along, as in workerd: one call, one answer.
                    Author::User => self.advance()?,
                    Author::Store => self.delivered = true,
                }
                Ok(true)
            }
            State::Kept(rows) => match rows.pop_front() {
                Some(values) => {
                    f(&Row(RowSource::Kept(&values)));
                    Ok(true)
                }
                None => {
                    self.state = State::Done;
                    Ok(false)
                }
            },
            State::Done => Ok(false),
            State::Closed(reason) => Err(StoreError::CursorClosed { reason }),
        }
    }

    /// Steps a writing statement to its end, so that the transaction can commit; its rows stay available.
    pub(crate) fn finish_writing(&mut self) {
        if !self.writes || !self.is_open() {
            return;
        }
        let mut kept = VecDeque::new();
        while let State::OnRow(running) = &mut self.state {
            let values = running.with_dependent(|_, rows| {
                let columns = rows
                    .as_ref()
                    .map_or(0, |statement| statement.column_count());
                let row = rows.get()?;
                let row = Row(RowSource::Sqlite { row, columns });
                Some(row.iter().map(KeptValue::new).collect())
            });
            kept.extend(values);
            if let Err(error) = self.advance() {
                self.failed = Some(error);
            }
        }
        if self.failed.is_none() {
            self.state = State::Kept(kept);
        }
    }

    /// Stops the statement; later calls fail.
    pub(crate) fn close(&mut self, reason: &'static str) {
        let prepared = self.finish();
        if prepared.is_some() || matches!(self.state, State::Kept(_)) {
            self.state = State::Closed(reason);
        }
        if let Some(prepared) = prepared {
            self.db.put_back(prepared, self.author);
        }
    }

    pub(crate) fn writes(&self) -> bool {
        self.writes
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(prepared) = self.finish() {
            self.db.put_back(prepared, self.author);
        }
    }
}

/// The result of [`Database::exec`](crate::Database::exec).
pub struct Cursor {
    pub(crate) core: SharedCore,
    pub(crate) names: Rc<[String]>,
}

impl Cursor {
    /// The names of the result's columns, from left to right; none for a statement without a result.
    #[must_use]
    pub fn column_names(&self) -> &[String] {
        &self.names
    }

    /// Lends the next row to `f` and steps on; `false`, without a call, when there is none. `f` must not use the database.
    ///
    /// # Errors
    /// What the statement's next step met (then `f`'s row counts for nothing), or `CursorClosed`.
    pub fn next_row(&mut self, f: &mut dyn FnMut(&Row<'_>)) -> Result<bool, StoreError> {
        self.core.borrow_mut().next_row(f)
    }

    /// Ends the statement: there are no more rows. Were there?
    pub fn stop(&mut self) -> bool {
        let mut core = self.core.borrow_mut();
        core.finish_writing(); // what a statement writes does not depend on who looks
        let more = match &core.state {
            State::OnRow(_) => true,
            State::Kept(rows) => !rows.is_empty(),
            State::Done | State::Closed(_) => false,
        };
        match core.finish() {
            Some(prepared) => core.db.put_back(prepared, core.author),
            None => core.state = State::Done,
        }
        more
    }

    /// How many rows the statement has read so far, about as workerd counts.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.core.borrow().counts.read
    }

    /// How many rows and index entries the statement has written so far, about as workerd counts.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.core.borrow().counts.written
    }
}

impl Inner {
    /// How many b-trees a row changed by `prepared` touches: its table and the indexes that hold a changed column.
    fn write_factor(self: &Rc<Self>, prepared: &Prepared) -> u64 {
        let epoch = self.schema_epoch.get();
        if let Some((known_at, factor)) = prepared.write_factor.get()
            && known_at == epoch
        {
            return factor;
        }
        let factor = match &prepared.notes.write {
            Some(write @ (Write::Insert { .. } | Write::Update { .. })) => {
                1 + self.indexes_written(write)
            }
            Some(Write::Delete) | None => 1,
        };
        prepared.write_factor.set(Some((epoch, factor)));
        factor
    }
}
