//! The commit log: one append-only file that makes the commits of every database of this process durable.
//!
//! | file | noun |
//! |---|---|
//! | `mod.rs` | [`CommitLog`], the handle; [`CommitTicket`]; [`LoggedFile`], one database as the log knows it |
//! | `writer.rs` | the thread that copies committed WAL frames into the log, syncs, and tells who waits |
//! | `checkpoint.rs` | the thread that moves commits into the database files, so that old segments can go |
//! | `history.rs` | what old segments held, for restoring a database to a moment |
//! | `recovery.rs`, `reader.rs` | reading it back after a crash, and repairing the databases |
//! | `segment.rs`, `format.rs`, `wal.rs` | files; bytes; SQLite's own log |
//!
//! How it works, why it loses nothing and what can go wrong is told on one page: `README.md` in this folder.
//!
//! Called by: `Database` (each commit is announced), the host (opens it, waits for tickets, closes it).
//! Always true: SQLite itself never syncs a logged database. A frame is copied from a WAL into the database file only
//! when the log holds it durably.

mod checkpoint;
mod format;
mod history;
mod reader;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;
mod wal;
mod writer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::files::beside;
use crate::{Durability, StoreError};
use format::Record;
use history::History;
pub(crate) use history::replace_by;
pub use history::{Moment, Retention};

/// The folder of the log in the data directory.
const FOLDER: &str = "log";
/// Old segments are emptied into the databases when there are this many.
const CYCLE_SEGMENTS: u64 = 8;
/// In `relaxed` mode nobody waits for the disk; it is synced this long after a write at the latest.
const LAZY_SYNC: Duration = Duration::from_millis(250);

/// How to open the log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub durability: Durability,
    /// Which boot of the machine this is; `None` asks the system. A crash of the process alone leaves files as they were
    /// written, a crash of the machine does not.
    pub boot: Option<[u8; 16]>,
    /// Size of one file of the log; the last batch in a file may go past it.
    pub segment_bytes: u64,
    /// How much of each database's past is kept. `None`: nothing.
    pub retention: Option<Retention>,
}

impl LogOptions {
    #[must_use]
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            boot: None,
            segment_bytes: 8 << 20,
            retention: None,
        }
    }
}

type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The log of one data directory. Clones share it; the last one to go ends its threads.
#[derive(Clone)]
pub struct CommitLog(Arc<Owner>);

impl std::fmt::Debug for CommitLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommitLog({})", self.0.shared.dir.display())
    }
}

struct Owner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

pub(crate) struct Shared {
    /// The data directory: names in the log are paths below it.
    root: PathBuf,
    dir: PathBuf,
    boot: [u8; 16],
    durability: Durability,
    queue: Mutex<Queue>,
    /// Something was queued, or somebody waits.
    arrived: Condvar,
    /// Databases that are open or have commits that are not in their files yet, by name.
    files: Mutex<HashMap<Box<str>, Arc<LoggedFile>>>,
    /// The newest time handed out: microseconds since 1970, each commit's own.
    clock_us: AtomicU64,
    /// Later than every commit of earlier processes, earlier than those of this one.
    begun_us: u64,
    /// Files that were appended to since the log was opened. Few: the facet indexes.
    appended: Mutex<Vec<PathBuf>>,
    segment_bytes: u64,
    /// Held for reading while files are removed whose removal is logged.
    removing: RwLock<()>,
    housekeeping: checkpoint::Housekeeping,
    history: Option<History>,
    /// Databases whose WAL, as the last process left it, holds nothing that its log did not hold.
    whole: Mutex<HashSet<String>>,
    power_was_cut: bool,
    #[cfg(test)]
    faults: tests::Faults,
}

#[derive(Default)]
struct Queue {
    entries: Vec<Entry>,
    /// The number of the last entry.
    last: u64,
    /// Who waits for which entry, in order.
    waiting: VecDeque<(u64, Done)>,
    durable: u64,
    /// A sync failed, or the log was closed: nothing more becomes durable.
    failed: Option<Arc<std::io::Error>>,
    closed: bool,
}

struct Entry {
    number: u64,
    time_us: u64,
    what: What,
}

enum What {
    /// The frames of `file`'s WAL up to this one are committed.
    Commit {
        file: Arc<LoggedFile>,
        frame: u32,
        /// Kept apart from later commits of the same database: somebody may ask for just this state.
        apart: bool,
        /// It put a past state in place of everything.
        restored: bool,
    },
    Record(Record),
}

/// One database as the log knows it. Shared by its connection, the writer and the checkpointer.
pub(crate) struct LoggedFile {
    pub name: Box<str>,
    pub path: PathBuf,
    /// Held from COMMIT until the commit is queued, so that who holds it knows of every commit.
    pub committing: Mutex<()>,
    /// Its last entry.
    last: AtomicU64,
    /// Time of its last commit.
    last_time_us: AtomicU64,
    /// Connections that commit to it; without one the WAL is not kept open.
    connections: AtomicU32,
    /// Its file began as our template, and no commit is in the log yet.
    created: AtomicBool,
    /// A commit could not be logged. The database is broken until it is opened anew.
    failed: Mutex<Option<Arc<std::io::Error>>>,
    position: Mutex<Position>,
}

/// How far a WAL has been copied into the log.
#[derive(Default)]
struct Position {
    wal: Option<File>,
    salts: [u8; 8],
    frame: u32,
    /// First and last segment with commits that may not be in the database file; 0: none.
    first_segment: u64,
    last_segment: u64,
}

/// Stands for one commit. Ask [`CommitTicket::when_durable`], or drop it.
#[must_use = "a commit whose ticket is dropped may be lost when the machine crashes"]
#[derive(Clone)]
pub struct CommitTicket(Option<Waiting>);

#[derive(Clone)]
struct Waiting {
    log: CommitLog,
    file: Arc<LoggedFile>,
    number: u64,
}

impl CommitTicket {
    /// For a database without a log: it syncs by itself, or is in memory.
    pub(crate) fn durable() -> Self {
        Self(None)
    }

    /// Calls `done` once the commit, and every earlier one of its database, is on disk: at once, or later from the
    /// log's thread.
    ///
    /// # Errors
    /// `done` gets `SyncFailed`; the commit may or may not survive a crash, and the database must be opened anew.
    pub fn when_durable(self, done: Box<dyn FnOnce(Result<(), StoreError>) + Send>) {
        match self.0 {
            None => done(Ok(())),
            Some(Waiting { log, file, number }) => {
                let failed = file.failed.lock().clone();
                match failed {
                    Some(source) => done(Err(file.sync_failed(source))),
                    None => log.0.shared.when_durable(number, done),
                }
            }
        }
    }
}

impl CommitLog {
    /// Opens the log below `root`, creating it if need be, after repairing the databases that a crash left behind it.
    ///
    /// # Errors
    /// `LogDamaged`: what was durable cannot be read back. `Io`.
    pub fn open(root: &Path, options: LogOptions) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).map_err(StoreError::io("resolve", root))?;
        let dir = root.join(FOLDER);
        std::fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        let boot = options.boot.unwrap_or_else(boot_id);
        let history = options.retention.map(|kept| History::new(&root, kept));
        if history.is_some() {
            // Says that a past is kept, to whoever finds this log after a crash.
            let folder = root.join(history::FOLDER);
            std::fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        }
        let recovered = recovery::recover(&root, &dir, boot, history.as_ref())?;
        let begun_us = now_us().max(recovered.last_time_us + 1);
        let segment = recovery::begin(&dir, boot, &recovered)?;
        let shared = Arc::new(Shared {
            root,
            boot,
            durability: options.durability,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            files: Mutex::default(),
            clock_us: AtomicU64::new(begun_us),
            begun_us,
            housekeeping: checkpoint::Housekeeping::new(segment.header.sequence),
            appended: Mutex::default(),
            segment_bytes: options.segment_bytes,
            removing: RwLock::new(()),
            dir,
            history,
            power_was_cut: recovered.power_was_cut,
            whole: Mutex::new(recovered.whole),
            #[cfg(test)]
            faults: tests::Faults::default(),
        });
        let mut threads = Vec::new();
        let writer = writer::Writer::new(shared.clone(), segment);
        threads.push(spawn("store-log", move || writer.run()));
        let keeper = shared.clone();
        threads.push(spawn("store-checkpoint", move || checkpoint::run(&keeper)));
        Ok(Self(Arc::new(Owner {
            shared,
            threads: Mutex::new(threads),
        })))
    }

    /// Is there a log below `root`? Not after a clean end.
    pub(crate) fn exists(root: &Path) -> bool {
        root.join(FOLDER).exists()
    }

    pub(crate) fn has_history(root: &Path) -> bool {
        root.join(history::FOLDER).exists()
    }

    /// Removes the past of every database. There must be no log.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn forget_history(root: &Path) -> Result<(), StoreError> {
        let folder = root.join(history::FOLDER);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &folder)(error))
            }
            _ => Ok(()),
        }
    }

    /// Forgets the past of classes that were deleted.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget_deleted_classes(&self) -> Result<(), StoreError> {
        match &self.0.shared.history {
            Some(history) => history.forget_namespaces(),
            None => Ok(()),
        }
    }

    /// Waits until everything committed so far is on disk.
    ///
    /// # Errors
    /// `SyncFailed`.
    pub fn flush(&self) -> Result<(), StoreError> {
        let last = self.0.shared.queue.lock().last;
        self.0.shared.wait(last)
    }

    /// Empties the log into the databases, which must be closed, and removes it: the data directory is then what
    /// SQLite alone would have left. Called once, at the end of the process; commits fail from here on.
    ///
    /// # Errors
    /// `SyncFailed`, `Io`: the log stays, and the next `open` does the rest.
    pub fn close(&self) -> Result<(), StoreError> {
        let flushed = self.flush();
        self.end();
        flushed?;
        checkpoint::empty(&self.0.shared)
    }

    /// Ends the threads and waits for them.
    fn end(&self) {
        self.0.shared.close();
        for thread in std::mem::take(&mut *self.0.threads.lock()) {
            drop(thread.join());
        }
    }

    /// The database at `path`, which must be below the data directory. `created`: it has just begun as our template.
    pub(crate) fn attach(&self, path: &Path, created: bool) -> Attached {
        let shared = &self.0.shared;
        let name = path.strip_prefix(&shared.root).unwrap_or(path);
        let name: Box<str> = name.to_string_lossy().into();
        let mut files = shared.files.lock();
        let known = files.contains_key(&name);
        let file = files
            .entry(name)
            .or_insert_with_key(|name| Arc::new(LoggedFile::new(name.clone(), path.to_owned())))
            .clone();
        file.connections.fetch_add(1, Ordering::AcqRel);
        drop(files);
        if created {
            file.created.store(true, Ordering::Release);
            *file.position.lock() = Position::default();
        }
        Attached {
            file,
            known: known && !created,
        }
    }

    /// Announces a commit of `file` that ends with frame `frame` of its WAL, at `time_us` if that was promised. `restored`: a past
    /// state replaced everything.
    pub(crate) fn commit(
        &self,
        file: &Arc<LoggedFile>,
        frame: u32,
        time_us: Option<u64>,
        restored: bool,
    ) {
        let shared = &self.0.shared;
        let mut queue = shared.queue.lock();
        let time = time_us.unwrap_or_else(|| shared.next_time_us());
        let number = queue.push(
            time,
            What::Commit {
                file: file.clone(),
                frame,
                apart: time_us.is_some() || restored,
                restored,
            },
        );
        file.last.store(number, Ordering::Release);
        file.last_time_us.store(time, Ordering::Release);
        drop(queue);
        shared.arrived.notify_one();
    }

    /// A ticket for what `file` has committed so far.
    pub(crate) fn ticket(&self, file: &Arc<LoggedFile>) -> CommitTicket {
        CommitTicket(Some(Waiting {
            log: self.clone(),
            file: file.clone(),
            number: file.last.load(Ordering::Acquire),
        }))
    }

    /// A time that no commit has, later than all of them so far.
    pub(crate) fn next_time_us(&self) -> u64 {
        self.0.shared.next_time_us()
    }

    /// Logs that the database at `path` is removed, then has `remove` do it: were the files gone first, recovery would
    /// write pages into nothing.
    ///
    /// # Errors
    /// `SyncFailed`: nothing was removed. Or what `remove` fails with.
    pub(crate) fn remove(
        &self,
        path: &Path,
        remove: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Or the record could be dropped with its segment before the files are gone.
        let _removing = self.0.shared.removing.read();
        self.supersede(path, |name| Record::Removed { name })?;
        remove()?;
        match &self.0.shared.history {
            Some(history) => history.forget(&self.name_of(path)),
            None => Ok(()),
        }
    }

    /// Logs that the files of the database at `path` are durable as they are. On disk when this returns.
    ///
    /// # Errors
    /// `SyncFailed`.
    pub(crate) fn rebase(&self, path: &Path) -> Result<(), StoreError> {
        self.supersede(path, |name| Record::Base { name })
    }

    /// The time of the newest commit of `file`. That commit is kept apart from later ones, so that its state can be asked for.
    pub(crate) fn last_time_us(&self, file: &LoggedFile) -> u64 {
        let mut queue = self.0.shared.queue.lock();
        let last = file.last.load(Ordering::Acquire);
        let waiting = queue.entries.iter_mut().rev();
        for entry in waiting.take_while(|entry| entry.number >= last) {
            if let (true, What::Commit { apart, .. }) = (entry.number == last, &mut entry.what) {
                *apart = true;
            }
        }
        drop(queue);
        match file.last_time_us.load(Ordering::Acquire) {
            0 => self.next_time_us(),
            time => time,
        }
    }

    /// Sees to it that the past of the database behind `connection`, which is being opened, has something to start from.
    /// `gap`: its file holds commits that were never logged.
    ///
    /// # Errors
    /// The copy could not be made.
    pub(crate) fn begin_history(
        &self,
        file: &LoggedFile,
        connection: &rusqlite::Connection,
        gap: bool,
    ) -> Result<(), StoreError> {
        let Some(history) = &self.0.shared.history else {
            return Ok(());
        };
        let name = file.name.to_string();
        if gap && history.knows(&name) {
            self.0
                .shared
                .push(What::Record(Record::Base { name: name.clone() }));
        } else if history.knows(&name) {
            return Ok(());
        }
        let _busy = history.busy.lock();
        history.add_base(&name, connection, self.next_time_us())
    }

    /// Was everything that the last process committed to `file` in its log? Asked once, when it is first opened.
    pub(crate) fn was_whole(&self, file: &LoggedFile) -> bool {
        self.0.shared.whole.lock().remove(&*file.name)
    }

    /// Can past states be made at all?
    pub(crate) fn keeps_history(&self) -> bool {
        self.0.shared.history.is_some()
    }

    /// The history, after everything committed so far is in the log, where it looks.
    fn whole_history(&self) -> Result<&History, StoreError> {
        self.flush()?;
        let history = self.0.shared.history.as_ref();
        history.ok_or(StoreError::NoSuchPast)
    }

    /// Makes the state of the database at `path` at `moment` in a new file at `target`. Returns the time of the last commit in
    /// it, 0 if nothing had been written yet.
    ///
    /// # Errors
    /// `NoSuchPast`, or the disk's.
    pub(crate) fn make_past(
        &self,
        path: &Path,
        moment: Moment,
        target: &Path,
    ) -> Result<u64, StoreError> {
        let history = self.whole_history()?;
        history.make(&self.name_of(path), moment, target)
    }

    /// Could `make_past` make it?
    ///
    /// # Errors
    /// `NoSuchPast`, or the disk's.
    pub(crate) fn check_past(&self, file: &LoggedFile, moment: Moment) -> Result<(), StoreError> {
        let history = self.whole_history()?;
        history.check(&file.name, moment)
    }

    /// A path for a file of ours that need not survive.
    pub(crate) fn scratch_path(&self) -> PathBuf {
        self.0
            .shared
            .dir
            .join(format!("{:016x}.tmp", self.next_time_us()))
    }

    /// Did the machine crash before this process began, rather than its predecessor?
    pub(crate) fn follows_power_cut(&self) -> bool {
        self.0.shared.power_was_cut
    }

    /// Logs that nothing said before of the database at `path` counts.
    fn supersede(
        &self,
        path: &Path,
        record: impl FnOnce(String) -> Record,
    ) -> Result<(), StoreError> {
        let shared = &self.0.shared;
        let name = self.name_of(path);
        if let Some(file) = shared.files.lock().remove(name.as_str()) {
            // A connection that is still open on the old file may commit once more: not into the new one's story.
            let gone = std::io::Error::other("the database was removed");
            *file.failed.lock() = Some(Arc::new(gone));
        }
        let (tell, told) = mpsc::channel();
        let done: Done = Box::new(move |result| drop(tell.send(result)));
        shared.push_awaited(What::Record(record(name)), done);
        told.recv().unwrap_or_else(|_| Err(shared.closed()))
    }

    /// Logs that `bytes` were appended to the file at `path`: durable together with whatever is committed later.
    pub(crate) fn append(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let mut appended = self.0.shared.appended.lock();
        if appended.last().is_none_or(|last| last != path) {
            appended.push(path.to_owned());
        }
        drop(appended);
        self.0.shared.push(What::Record(Record::Append {
            name: self.name_of(path),
            offset,
            bytes: bytes.to_vec(),
        }));
    }

    fn name_of(&self, path: &Path) -> String {
        let name = path.strip_prefix(&self.0.shared.root).unwrap_or(path);
        name.to_string_lossy().into_owned()
    }

    /// Waits until everything `file` has committed is on disk.
    ///
    /// # Errors
    /// `SyncFailed`.
    pub(crate) fn wait_for(&self, file: &Arc<LoggedFile>) -> Result<(), StoreError> {
        self.0.shared.wait_for(file)
    }

    /// Is everything `file` has committed on disk?
    pub(crate) fn has_all(&self, file: &LoggedFile) -> bool {
        self.0.shared.has_all(file)
    }

    /// Could a commit of `file` not be logged?
    pub(crate) fn has_failed(&self, file: &LoggedFile) -> bool {
        file.failed.lock().is_some()
    }

    /// The connection to `file` is closed. `wal_is_gone`: and everything in the WAL is in the database file.
    pub(crate) fn detach(&self, file: &LoggedFile, wal_is_gone: bool) {
        file.connections.fetch_sub(1, Ordering::AcqRel);
        let mut position = file.position.lock();
        position.wal = None;
        if !wal_is_gone {
            return;
        }
        position.frame = 0;
        position.salts = [0; 8];
        let clean = position.first_segment == 0;
        drop(position);
        // Most databases are only read: the table would grow with every one that was ever opened.
        if clean && self.has_all(file) {
            let mut files = self.0.shared.files.lock();
            let same = files
                .get(&file.name)
                .is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), file));
            if same && file.connections.load(Ordering::Acquire) == 0 {
                files.remove(&file.name);
            }
        }
    }

    /// The WAL of `file`, whose connection is opened now, has `frame` frames that are in the database file durably.
    pub(crate) fn skip_to(&self, file: &LoggedFile, frame: u32) -> Result<(), StoreError> {
        let wal_path = wal_path(&file.path);
        let wal = File::open(&wal_path).map_err(StoreError::io("open", &wal_path))?;
        let header = wal::WalHeader::read(&wal).map_err(StoreError::io("read", &wal_path))?;
        let mut position = file.position.lock();
        position.frame = frame;
        position.salts = header.map_or([0; 8], |header| header.salts);
        position.wal = Some(wal);
        Ok(())
    }
}

pub(crate) struct Attached {
    pub file: Arc<LoggedFile>,
    /// The log has been following it since its WAL was begun, or the WAL's contents are in the log.
    pub known: bool,
}

impl LoggedFile {
    fn new(name: Box<str>, path: PathBuf) -> Self {
        Self {
            name,
            path,
            committing: Mutex::new(()),
            last: AtomicU64::new(0),
            last_time_us: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            created: AtomicBool::new(false),
            failed: Mutex::new(None),
            position: Mutex::default(),
        }
    }

    fn sync_failed(&self, source: Arc<std::io::Error>) -> StoreError {
        StoreError::SyncFailed {
            path: self.path.clone(),
            source,
        }
    }
}

impl Queue {
    fn push(&mut self, time_us: u64, what: What) -> u64 {
        self.last += 1;
        self.entries.push(Entry {
            number: self.last,
            time_us,
            what,
        });
        self.last
    }
}

impl Shared {
    fn next_time_us(&self) -> u64 {
        let now = now_us();
        let before = self
            .clock_us
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| {
                Some(now.max(last + 1))
            });
        before.map_or(now, |last| now.max(last + 1))
    }

    fn push(&self, what: What) {
        let mut queue = self.queue.lock();
        let time = self.next_time_us();
        queue.push(time, what);
        drop(queue);
        self.arrived.notify_one();
    }

    /// In one step, or a failure could be told before anybody listens.
    fn push_awaited(&self, what: What, done: Done) {
        let mut queue = self.queue.lock();
        let time = self.next_time_us();
        if let Some(source) = queue.failed.clone() {
            drop(queue);
            return done(Err(self.failed(source)));
        }
        let number = queue.push(time, what);
        queue.waiting.push_back((number, done));
        drop(queue);
        self.arrived.notify_one();
    }

    fn when_durable(&self, number: u64, done: Done) {
        let mut queue = self.queue.lock();
        if number <= queue.durable {
            drop(queue);
            return done(Ok(()));
        }
        if let Some(source) = queue.failed.clone() {
            drop(queue);
            return done(Err(self.failed(source)));
        }
        // Almost always the last; tickets of several databases may come out of order.
        let at = queue.waiting.partition_point(|(other, _)| *other <= number);
        queue.waiting.insert(at, (number, done));
        drop(queue);
        if self.durability == Durability::Relaxed {
            self.arrived.notify_one();
        }
    }

    fn wait(&self, number: u64) -> Result<(), StoreError> {
        if self.queue.lock().durable >= number {
            return Ok(());
        }
        let (tell, told) = mpsc::channel();
        self.when_durable(number, Box::new(move |result| drop(tell.send(result))));
        told.recv().unwrap_or_else(|_| Err(self.closed()))
    }

    fn closed(&self) -> StoreError {
        self.failed(Arc::new(std::io::Error::other("the log was closed")))
    }

    fn wait_for(&self, file: &LoggedFile) -> Result<(), StoreError> {
        self.wait(file.last.load(Ordering::Acquire))?;
        match file.failed.lock().clone() {
            Some(source) => Err(file.sync_failed(source)),
            None => Ok(()),
        }
    }

    fn has_all(&self, file: &LoggedFile) -> bool {
        let last = file.last.load(Ordering::Acquire);
        self.queue.lock().durable >= last && file.failed.lock().is_none()
    }

    fn failed(&self, source: Arc<std::io::Error>) -> StoreError {
        StoreError::SyncFailed {
            path: self.dir.clone(),
            source,
        }
    }

    fn close(&self) {
        self.queue.lock().closed = true;
        self.arrived.notify_all();
        self.housekeeping.close();
    }
}

pub(crate) fn wal_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// Microseconds since 1970.
fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("the OS lets a starting process have its threads")
}

/// Zeros where the system does not tell: then every start is taken for one after a crash of the machine.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_or([0; 16], u128::to_le_bytes)
}
