//! Makes commits durable: one thread that many databases share, so that no JS thread waits in `fsync`.
//!
//! Owns: the queue of waiting tickets, the file handles the syncs go through. Never touches SQLite.
//! Called by: the host, with the ticket of a commit, for the output gate's sake.
//!
//! **Why a synced WAL means a durable commit.** A commit appends frames to the WAL; the ticket is made afterwards. Whatever
//! happens next, the commit's frames are in the WAL file until a checkpoint has copied them. SQLite runs with
//! `synchronous=NORMAL`: a checkpoint first syncs the WAL, then writes the database file, then syncs that, and only
//! then may the next writer restart the WAL from its beginning. So when our `fdatasync` of the WAL runs, either the
//! frames are still in it and become durable with it, or they are durable in the database file already. The same
//! holds after the connection is closed and the WAL unlinked (closing checkpoints the same way): syncing the unlinked file is
//! then useless but harmless. Two things SQLite would sync itself are left to the first ticket, because they would
//! be paid on a JS thread: the name of a new file (its directory), and the header of a new WAL. The header needs a sync
//! of its own only when older frames lie behind it; a new WAL has none, hence `synchronous=OFF` until the
//! first commit, which cannot checkpoint (`Database` decides when to, and turns `NORMAL` on before).
//!
//! **Why the handle of the database file stays open.** POSIX drops all of a process's locks on a file when it closes
//! *any* handle of it, SQLite's included. So the handle a new database was written through lives as long as its
//! connection. The WAL is never locked (its locks are on the `-shm` file); its handle may close any time.
//!
//! A failed sync is final: the kernel may have thrown the dirty pages away, so a later success proves nothing.
//! Not done here: a checkpoint's syncs still happen on the database's own thread, TODO(checkpoints): move them.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use crate::StoreError;

/// When may the outside learn of a commit?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on disk: hand its ticket to [`SyncThread::sync`].
    Fsync,
    /// At once: drop the ticket. Survives a crash of the process, not of the machine.
    Relaxed,
}

/// The files one open database writes.
pub(crate) struct FileSet {
    path: PathBuf,
    wal: OnceLock<File>,
    /// Only for a database that this process created: its file, not synced yet or kept for the sake of its locks.
    created: Mutex<Option<File>>,
    created_unsynced: AtomicBool,
    directory_unsynced: AtomicBool,
    failed: AtomicBool,
}

impl FileSet {
    /// `created`: the handle through which the file was just written. `new_wal`: the WAL does not exist yet.
    pub(crate) fn new(path: PathBuf, created: Option<File>, new_wal: bool) -> Self {
        Self {
            path,
            wal: OnceLock::new(),
            created_unsynced: AtomicBool::new(created.is_some()),
            directory_unsynced: AtomicBool::new(created.is_some() || new_wal),
            created: Mutex::new(created),
            failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn wal_path(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        name.into()
    }

    /// To be called after a commit: opens the WAL the first time.
    pub(crate) fn open_wal(&self) -> Result<(), StoreError> {
        if self.wal.get().is_none() {
            let path = Self::wal_path(&self.path);
            let file = File::open(&path).map_err(StoreError::io("open", &path))?;
            let _ = self.wal.set(file);
        }
        Ok(())
    }

    /// To be called after the connection is closed and before anyone opens the file again.
    pub(crate) fn connection_closed(&self) {
        let Some(file) = self.created.lock().take() else {
            return;
        };
        // Closing has checkpointed and synced, unless someone else was reading: then it is up to us. A database that
        // never committed owes nobody anything.
        if self.wal.get().is_some() && self.created_unsynced.load(Ordering::Acquire) {
            match file.sync_data() {
                Ok(()) => self.created_unsynced.store(false, Ordering::Release),
                Err(error) => {
                    self.failed.store(true, Ordering::Release);
                    tracing::error!(path = %self.path.display(), %error, "cannot sync a new database");
                }
            }
        }
    }

    fn sync_files(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync of this database failed"));
        }
        let sync = || {
            if self.created_unsynced.load(Ordering::Acquire) {
                let created = self.created.lock();
                if let Some(file) = &*created {
                    file.sync_data()?;
                }
                self.created_unsynced.store(false, Ordering::Release);
            }
            self.wal.get().map_or(Ok(()), File::sync_data)
        };
        sync().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    fn directory(&self) -> &Path {
        self.path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }
}

/// Stands for one commit. Hand it to [`SyncThread::sync`] to learn when the commit is durable, or drop it.
#[must_use = "a commit whose ticket is dropped may be lost when the machine crashes"]
#[derive(Clone)]
pub struct CommitTicket {
    /// `None`: a database in memory.
    pub(crate) files: Option<Arc<FileSet>>,
}

type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

struct Entry {
    files: Arc<FileSet>,
    waiting: Vec<Done>,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<usize>,
    entries: HashMap<usize, Entry>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.arrived.notify_all();
    }
}

/// The handle of the sync threads. They finish what is queued and end when the last handle is dropped.
#[derive(Clone)]
pub struct SyncThread(Arc<Handle>);

/// How many files are synced side by side. Syncs that overlap share the file system's journal commit; measured in
/// `tests::bench_sync` (ext4 on a virtual disk, 64 databases committing at once).
const WORKERS: usize = 4;

impl SyncThread {
    /// Starts the threads.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(WORKERS)
    }

    pub(crate) fn start_with(workers: usize) -> Self {
        let shared = Arc::new(Shared::default());
        for index in 0..workers {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("store-sync-{index}"))
                .spawn(move || shared.work(workers))
                .expect("the OS lets a starting process have its threads");
        }
        Self(Arc::new(Handle(shared)))
    }

    /// Calls `done`, from a sync thread, once everything that was committed when `ticket` was made is on disk.
    /// Tickets that wait at the same time share the work: each distinct file is synced once for all of them.
    ///
    /// # Errors
    /// `done` gets `SyncFailed`; the commit may or may not survive a crash, and the database must not be used on.
    pub fn sync(&self, ticket: CommitTicket, done: Box<dyn FnOnce(Result<(), StoreError>) + Send>) {
        let Some(files) = ticket.files else {
            return done(Ok(()));
        };
        let shared = &self.0.0;
        let key = Arc::as_ptr(&files).addr();
        let mut queue = shared.queue.lock();
        if let Some(entry) = queue.entries.get_mut(&key) {
            entry.waiting.push(done);
            return;
        }
        queue.order.push_back(key);
        queue.entries.insert(
            key,
            Entry {
                files,
                waiting: vec![done],
            },
        );
        drop(queue);
        shared.arrived.notify_one();
    }
}

impl Shared {
    fn work(&self, workers: usize) {
        let mut batch = Vec::new();
        loop {
            {
                let mut queue = self.queue.lock();
                while queue.order.is_empty() {
                    if queue.closed {
                        return;
                    }
                    self.arrived.wait(&mut queue);
                }
                let share = queue.order.len().div_ceil(workers);
                for _ in 0..share {
                    let Some(key) = queue.order.pop_front() else {
                        break;
                    };
                    batch.extend(queue.entries.remove(&key));
                }
            }
            sync_batch(&mut batch);
        }
    }
}

fn sync_batch(batch: &mut Vec<Entry>) {
    let mut directories: HashMap<PathBuf, Result<(), Arc<io::Error>>> = HashMap::new();
    for Entry { files, waiting } in batch.drain(..) {
        let mut result = files.sync_files().map_err(Arc::new);
        if result.is_ok() && files.directory_unsynced.load(Ordering::Acquire) {
            // Once per batch: every file of the batch had its name before the batch was taken.
            result = directories
                .entry(files.directory().to_owned())
                .or_insert_with(|| sync_directory(files.directory()).map_err(Arc::new))
                .clone();
            match result {
                Ok(()) => files.directory_unsynced.store(false, Ordering::Release),
                Err(_) => files.failed.store(true, Ordering::Release),
            }
        }
        for done in waiting {
            done(result.clone().map_err(|source| StoreError::SyncFailed {
                path: files.path.clone(),
                source,
            }));
        }
    }
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
