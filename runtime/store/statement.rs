//! Prepared statements that own their connection, and the cache of those not in use.
//!
//! Always true: a statement in the cache is reset. One that is running is not in the cache, so executing the same text
//! again prepares a second, independent one.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use rusqlite::{Rows, Statement, StatementStatus};
use self_cell::{MutBorrow, self_cell};

use crate::authorizer::Notes;
use crate::raw::GuardedConnection;

self_cell!(
    pub(crate) struct OwnedStatement {
        owner: Rc<GuardedConnection>,
        #[covariant]
        dependent: Statement,
    }
);

self_cell!(
    /// A statement that has been stepped at least once and not reset since.
    pub(crate) struct RunningStatement {
        owner: MutBorrow<Prepared>,
        #[covariant]
        dependent: Rows,
    }
);

/// A statement with what we know about it.
pub(crate) struct Prepared {
    pub(crate) sql: Rc<str>,
    pub(crate) statement: OwnedStatement,
    pub(crate) names: Rc<[String]>,
    /// How often SQLite had compiled it anew when `names` was read.
    pub(crate) reprepared: i32,
    pub(crate) parameters: usize,
    pub(crate) writes: bool,
    /// It must run inside a transaction of ours.
    pub(crate) opens_unit: bool,
    pub(crate) notes: Notes,
    /// The schema it was compiled for (`Inner::schema_epoch`; user SQL only).
    pub(crate) schema_epoch: u64,
    /// How many b-trees each row it writes touches, and the schema epoch in which that was found out.
    pub(crate) write_factor: Cell<Option<(u64, u64)>>,
}

impl Prepared {
    pub(crate) fn new(
        connection: &Rc<GuardedConnection>,
        sql: Rc<str>,
        notes: Notes,
        prepare: impl for<'a> FnOnce(&'a GuardedConnection) -> rusqlite::Result<Statement<'a>>,
    ) -> rusqlite::Result<Self> {
        let statement =
            OwnedStatement::try_new(connection.clone(), |connection| prepare(connection))?;
        let inner = statement.borrow_dependent();
        let writes = !inner.readonly() && inner.is_explain() == 0;
        Ok(Self {
            names: column_names(inner),
            reprepared: inner.get_status(StatementStatus::RePrepare),
            parameters: inner.parameter_count(),
            opens_unit: writes || notes.transactional_pragma,
            writes,
            notes,
            schema_epoch: 0,
            write_factor: Cell::new(None),
            sql,
            statement,
        })
    }

    /// SQLite compiles a statement anew when the schema has changed; its columns may be others then.
    pub(crate) fn refresh_names(&mut self) {
        let inner = self.statement.borrow_dependent();
        let reprepared = inner.get_status(StatementStatus::RePrepare);
        if reprepared != self.reprepared {
            self.names = column_names(inner);
            self.reprepared = reprepared;
        }
    }

    pub(crate) fn run(self) -> RunningStatement {
        RunningStatement::new(MutBorrow::new(self), |prepared| {
            prepared
                .borrow_mut()
                .statement
                .with_dependent_mut(|_, statement| statement.raw_query())
        })
    }
}

impl RunningStatement {
    /// Resets the statement.
    pub(crate) fn stop(self) -> Prepared {
        self.into_owner().into_inner()
    }

    pub(crate) fn status(&self, status: StatementStatus) -> i32 {
        self.borrow_dependent()
            .as_ref()
            .map_or(0, |statement| statement.get_status(status))
    }

    /// The names of the columns, if they are not those of before.
    pub(crate) fn names_if_changed(&self, reprepared: i32) -> Option<Rc<[String]>> {
        let statement = self.borrow_dependent().as_ref()?;
        (statement.get_status(StatementStatus::RePrepare) != reprepared)
            .then(|| column_names(statement))
    }
}

fn column_names(statement: &Statement<'_>) -> Rc<[String]> {
    statement.column_names().map(str::to_owned).collect()
}

/// Least recently used statements go first once the SQL text of all exceeds the limit.
pub(crate) struct StatementCache {
    entries: HashMap<Rc<str>, (Prepared, u64)>,
    text_bytes: usize,
    text_bytes_max: usize,
    clock: u64,
}

impl StatementCache {
    pub(crate) fn new(text_bytes_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            text_bytes: 0,
            text_bytes_max,
            clock: 0,
        }
    }

    pub(crate) fn take(&mut self, sql: &str) -> Option<Prepared> {
        let (prepared, _) = self.entries.remove(sql)?;
        self.text_bytes -= sql.len();
        Some(prepared)
    }

    pub(crate) fn put(&mut self, prepared: Prepared) {
        let bytes = prepared.sql.len();
        if bytes > self.text_bytes_max {
            return;
        }
        self.clock += 1;
        if self
            .entries
            .insert(prepared.sql.clone(), (prepared, self.clock))
            .is_none()
        {
            self.text_bytes += bytes;
        }
        while self.text_bytes > self.text_bytes_max {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(sql, _)| sql.clone());
            let Some(oldest) = oldest else { break };
            self.take(&oldest);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.text_bytes = 0;
    }
}
