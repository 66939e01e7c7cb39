//! The thread that keeps the log short: moves commits from WALs into database files, so that old segments are not needed.
//!
//! Owns: the segment made ready ahead of time, files of old segments for reuse. Called by: the writer, which asks for both.
//! Always true: what is copied into a database file is durable in the log; a segment goes only when everything in it is
//! durable in the database files. It runs beside the owner of each database, on connections of its own.
//!
//! One `syncfs` makes all files of a round durable: a round may concern thousands of databases, and opening one to sync it
//! would drop the locks that its owner's SQLite holds on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::format::{Record, SegmentHeader};
use super::segment::{self, Prepared, Segment};
use super::{LoggedFile, Shared, What, reader};
use crate::{StoreError, sync_directory};

/// Files of old segments that are kept for reuse.
const SPARES_MAX: usize = 2;
/// A checkpoint may meet another of the same database, by its owner; they take milliseconds.
const BUSY_TRIES: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(5);

pub(super) struct Housekeeping {
    state: Mutex<State>,
    wake: Condvar,
    /// The oldest segment that recovery needs.
    start: AtomicU64,
    next_wanted: AtomicU64,
    cycle_wanted: AtomicU64,
}

#[derive(Default)]
struct State {
    next: Option<Prepared>,
    spares: Vec<PathBuf>,
    closed: bool,
}

enum Work {
    Next(u64, Option<PathBuf>),
    Cycle(u64),
    End,
}

impl Housekeeping {
    pub fn new(start: u64) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            start: AtomicU64::new(start),
            next_wanted: AtomicU64::new(0),
            cycle_wanted: AtomicU64::new(0),
        }
    }

    pub fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// The segment `sequence`, if it is ready. One that comes too late is a file to reuse.
    pub fn take_next(&self, sequence: u64) -> Option<Prepared> {
        let mut state = self.state.lock();
        match state.next.take() {
            Some(next) if next.sequence() == sequence => Some(next),
            Some(late) => {
                state.spares.push(late.temporary);
                None
            }
            None => None,
        }
    }

    pub fn want_next(&self, sequence: u64) {
        if self.next_wanted.fetch_max(sequence, Ordering::AcqRel) < sequence {
            self.notify();
        }
    }

    /// The segments before `boundary` should go.
    pub fn want_cycle(&self, boundary: u64) {
        if self.cycle_wanted.fetch_max(boundary, Ordering::AcqRel) < boundary {
            self.notify();
        }
    }

    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_all();
    }

    fn notify(&self) {
        // Under the lock, or the thread could miss it between looking and sleeping.
        let _state = self.state.lock();
        self.wake.notify_all();
    }

    fn wait(&self, made: u64, done: u64) -> Work {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Work::End;
            }
            let next = self.next_wanted.load(Ordering::Acquire);
            if next > made {
                return Work::Next(next, state.spares.pop());
            }
            let boundary = self.cycle_wanted.load(Ordering::Acquire);
            if boundary > done {
                return Work::Cycle(boundary);
            }
            self.wake.wait(&mut state);
        }
    }
}

pub(super) fn run(shared: &Shared) {
    let house = &shared.housekeeping;
    let (mut made, mut done) = (0, 0);
    loop {
        match house.wait(made, done) {
            Work::End => return,
            Work::Next(sequence, spare) => {
                made = sequence;
                let header = shared.header(sequence, house.start());
                let dir = &shared.dir;
                match Segment::prepare(dir, header, spare.as_deref(), shared.segment_bytes) {
                    Ok(next) => house.state.lock().next = Some(next),
                    // The writer will make one itself, and say what is wrong if it cannot.
                    Err(error) => tracing::warn!(%error, "no log segment could be made ready"),
                }
            }
            Work::Cycle(boundary) => {
                done = boundary;
                if let Err(error) = cycle(shared, boundary) {
                    // The log stays longer than it should. The next segment asks again.
                    tracing::warn!(%error, "old segments of the commit log are still needed");
                }
            }
        }
    }
}

/// Makes the segments before `boundary` unnecessary, and removes them.
pub(super) fn cycle(shared: &Shared, boundary: u64) -> Result<(), StoreError> {
    #[cfg(test)]
    let _running = shared.faults.cycle.lock();
    let concerned: Vec<Arc<LoggedFile>> = {
        let files = shared.files.lock();
        let concerned = files.values().filter(|file| {
            let first = file.position.lock().first_segment;
            first != 0 && first < boundary
        });
        concerned.cloned().collect()
    };
    for file in &concerned {
        into_file(shared, file)?;
    }
    // Whoever makes a past state meanwhile needs the segments or what was taken over from them, not a bit of each.
    let _busy = shared.history.as_ref().map(|history| history.busy.lock());
    keep(shared, boundary)?;
    // What is to be removed according to these segments is removed before it is synced.
    drop(shared.removing.write());
    sync_everything(&shared.root)?;
    if let Some(history) = &shared.history {
        history.touched.lock().clear();
    }
    #[cfg(test)]
    shared.faults.after_sync_everything(&shared.root);
    for file in concerned {
        let mut position = file.position.lock();
        if position.last_segment < boundary {
            (position.first_segment, position.last_segment) = (0, 0);
        } else {
            position.first_segment = boundary;
        }
    }
    shared
        .files
        .lock()
        .retain(|_, file| Arc::strong_count(file) > 1 || file.position.lock().first_segment != 0);
    shared.housekeeping.start.store(boundary, Ordering::Release);
    shared.push(What::Record(Record::Start { sequence: boundary }));
    retire(shared, boundary)
}

/// Hands the segments before `boundary` over to the history.
fn keep(shared: &Shared, boundary: u64) -> Result<(), StoreError> {
    let Some(history) = &shared.history else {
        return Ok(());
    };
    let segments = reader::segments(&shared.dir, boundary)?;
    for name in history.take_over(&segments)? {
        let path = shared.root.join(&name);
        if !path.exists() {
            continue;
        }
        let file = shared.files.lock().get(name.as_str()).cloned();
        let snapshot = || {
            let connection = connect(&path)?;
            let _committing = file.as_ref().map(|file| file.committing.lock());
            connection.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
            // Not simply now: the running turn's commit may have been promised an earlier time.
            let time_us = match &file {
                Some(file) => file
                    .last_time_us
                    .load(Ordering::Acquire)
                    .max(shared.begun_us),
                None => shared.next_time_us(),
            };
            Ok((connection, time_us))
        };
        match snapshot() {
            Ok((connection, time_us)) => history.add_base(&name, &connection, time_us)?,
            Err(error) => damaged(&path, error)?,
        }
    }
    Ok(())
}

/// What lies before `boundary` is not needed for recovery any more.
fn retire(shared: &Shared, boundary: u64) -> Result<(), StoreError> {
    let files = segment::list(&shared.dir).map_err(StoreError::io("list", &shared.dir))?;
    for (sequence, path) in files {
        if sequence >= boundary {
            break;
        }
        let mut state = shared.housekeeping.state.lock();
        let reusable = fs::metadata(&path).is_ok_and(|is| is.len() <= 2 * shared.segment_bytes);
        if state.spares.len() < SPARES_MAX && reusable {
            let spare = path.with_extension("spare");
            fs::rename(&path, &spare).map_err(StoreError::io("rename", &path))?;
            state.spares.push(spare);
        } else {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Copies everything that `file` had in the log when this was called into its database file. Not synced.
fn into_file(shared: &Shared, file: &LoggedFile) -> Result<(), StoreError> {
    let (salts, frame) = {
        let position = file.position.lock();
        (position.salts, position.frame)
    };
    if !file.path.exists() {
        return Ok(()); // removed
    }
    let result = (|| {
        let reader = connect(&file.path)?;
        // Its snapshot is where the checkpoint ends, however much is committed meanwhile.
        reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
        drop(file.committing.lock()); // commits in the snapshot are queued now
        Ok(reader)
    })();
    let reader = match result {
        Ok(reader) => reader,
        Err(_) if !file.path.exists() => return Ok(()), // removed meanwhile
        Err(error) => return damaged(&file.path, error),
    };
    shared.wait_for(file)?;
    let result = (|| {
        let connection = connect(&file.path)?;
        for _ in 0..BUSY_TRIES {
            let (busy, copied): (bool, i64) =
                connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                    Ok((row.get(0)?, row.get(2)?))
                })?;
            let same = file.position.lock().salts == salts;
            if !busy && (!same || copied >= i64::from(frame)) {
                return Ok(true);
            }
            std::thread::sleep(BUSY_WAIT);
        }
        Ok(false)
    })();
    drop(reader);
    match result {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::DatabaseIo {
            path: file.path.clone(),
            message: "another program holds on to an old state of it".to_owned(),
        }),
        Err(error) => damaged(&file.path, error),
    }
}

/// A database that SQLite cannot read is not repaired by keeping the log for ever.
fn damaged(path: &Path, error: rusqlite::Error) -> Result<(), StoreError> {
    match StoreError::from_sqlite(error, path, false) {
        error @ (StoreError::Corrupt { .. } | StoreError::NotADatabase { .. }) => {
            tracing::error!(%error, "a database cannot be checkpointed");
            Ok(())
        }
        error => Err(error),
    }
}

/// A connection that never checkpoints on its own, and never syncs.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0")?;
    Ok(connection)
}

/// Empties the log into the databases and removes it. Everything committed is durable in it, and both threads have ended.
pub(super) fn empty(shared: &Shared) -> Result<(), StoreError> {
    let files: Vec<Arc<LoggedFile>> = shared.files.lock().values().cloned().collect();
    for file in &files {
        if super::wal_path(&file.path).exists()
            && let Err(error) = empty_wal(&file.path)
        {
            damaged(&file.path, error)?;
        }
    }
    keep(shared, u64::MAX)?;
    let mut paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    if let Some(history) = &shared.history {
        paths.extend(std::mem::take(&mut *history.touched.lock()));
    }
    paths.append(&mut shared.appended.lock());
    sync_files(&shared.root, &paths)?;
    fs::remove_dir_all(&shared.dir).map_err(StoreError::io("remove", &shared.dir))?;
    sync_directory(&shared.root).map_err(StoreError::io("sync", &shared.root))
}

fn empty_wal(path: &Path) -> rusqlite::Result<()> {
    let connection = connect(path)?;
    let busy: bool =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(code, None));
    }
    // The last to close a database removes its WAL, which is empty.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// `paths`, which nobody has open, and their names are on disk when this returns. Absent ones are fine.
pub(super) fn sync_files(root: &Path, paths: &[PathBuf]) -> Result<(), StoreError> {
    /// From here on it is faster to sync everything, unless other programs write a lot at the moment.
    const MANY: usize = 256;
    if paths.len() > MANY {
        return sync_everything(root);
    }
    let mut directories: Vec<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    directories.sort_unstable();
    directories.dedup();
    for path in paths {
        let synced = File::open(path).and_then(|file| file.sync_all());
        match synced {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(StoreError::io("sync", path))?,
        }
    }
    for directory in directories {
        match sync_directory(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(StoreError::io("sync", directory))?,
        }
    }
    Ok(())
}

/// Everything below `root` is on disk when this returns.
pub(super) fn sync_everything(root: &Path) -> Result<(), StoreError> {
    let sync = || rustix::fs::syncfs(File::open(root)?).map_err(std::io::Error::from);
    sync().map_err(StoreError::io("sync", root))
}

impl Shared {
    pub(super) fn header(&self, sequence: u64, start: u64) -> SegmentHeader {
        super::recovery::header(sequence, start, self.boot, self.next_time_us())
    }
}
