//! Writes the wake-up lists: one thread, one commit for all changes of a moment.
//!
//! Owns: `metadata.sqlite` of each namespace, opened when first needed. Called by: `alarms`, in the
//! order in which changes were decided. Always true: whoever waits for a change is told once, when it is
//! durable (or, `relaxed`, committed), or that it is not.

use crate::alarms::Key;
use facetd_core::{Failure, Listed};
use facetd_store::{AlarmList, CommitLog, CommitTicket, ListedAlarm, StoreError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// In each namespace's directory. workerd's name.
const FILE_NAME: &str = "metadata.sqlite";

pub(crate) struct Change {
    pub key: Key,
    /// The time in nanoseconds and the root object's name.
    pub alarm: Option<(i64, Option<Arc<str>>)>,
    /// Who waits for it.
    pub told: Option<Listed>,
}

impl Change {
    pub fn tell(self, result: Result<(), Failure>) {
        if let Some(told) = self.told {
            told(result);
        }
    }
}

/// The handle of the thread.
pub(crate) struct ListThread {
    changes: Mutex<Option<Sender<Change>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Loaded = Vec<Vec<ListedAlarm>>;

impl ListThread {
    /// Starts the thread and waits until it has read the lists in `directories`.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn start(
        directories: Vec<PathBuf>,
        log: CommitLog,
        fsync: bool,
    ) -> Result<(Self, Loaded), StoreError> {
        let (send, changes) = channel();
        let (told, tell) = channel();
        let thread = std::thread::Builder::new()
            .name("alarm-list".to_owned())
            .spawn(move || {
                let mut lists = Lists {
                    files: directories.iter().map(|dir| dir.join(FILE_NAME)).collect(),
                    open: BTreeMap::new(),
                    log,
                    fsync,
                };
                let loaded = lists.load();
                let failed = loaded.is_err();
                if told.send(loaded).is_ok() && !failed {
                    lists.serve(&changes);
                }
            })
            .expect("the OS lets a starting process have its threads");
        let loaded = tell
            .recv()
            .expect("the thread answers before anything else")?;
        let list = Self {
            changes: Mutex::new(Some(send)),
            thread: Mutex::new(Some(thread)),
        };
        Ok((list, loaded))
    }

    pub fn change(&self, change: Change) {
        let refused = match &*self.changes.lock() {
            Some(changes) => changes.send(change).err().map(|refused| refused.0),
            None => Some(change),
        };
        if let Some(change) = refused {
            change.tell(Err(Failure::disconnected()));
        }
    }

    /// Writes what was handed over, and ends.
    pub fn close(&self) {
        drop(self.changes.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            let _panicked = thread.join();
        }
    }
}

/// What only the thread touches.
struct Lists {
    files: Vec<PathBuf>,
    open: BTreeMap<u32, AlarmList>,
    log: CommitLog,
    /// Who waits is told when the change is on disk.
    fsync: bool,
}

impl Lists {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut loaded = Vec::new();
        for (number, path) in self.files.clone().iter().enumerate() {
            let mut alarms = Vec::new();
            // A namespace without alarms needs no file.
            if path.exists() {
                let list = AlarmList::open(path, Some(self.log.clone()))?;
                alarms = list.load()?;
                self.open
                    .insert(u32::try_from(number).unwrap_or(u32::MAX), list);
            }
            loaded.push(alarms);
        }
        Ok(loaded)
    }

    fn serve(&mut self, changes: &Receiver<Change>) {
        while let Ok(first) = changes.recv() {
            let mut batch: BTreeMap<u32, Vec<Change>> = BTreeMap::new();
            for change in std::iter::once(first).chain(changes.try_iter()) {
                batch.entry(change.key.namespace).or_default().push(change);
            }
            for (namespace, changes) in batch {
                self.write(namespace, changes);
            }
        }
    }

    fn write(&mut self, namespace: u32, changes: Vec<Change>) {
        let ticket = match self.commit(namespace, &changes) {
            Ok(ticket) => ticket,
            Err(error) => {
                tracing::error!(%error, "a wake-up list cannot be written");
                // The next change opens it anew.
                self.open.remove(&namespace);
                for change in changes {
                    change.tell(Err(Failure::internal()));
                }
                return;
            }
        };
        let tell = move |result: Result<(), Failure>| {
            for change in changes {
                change.tell(result.clone());
            }
        };
        match ticket {
            Some(ticket) if self.fsync => ticket.when_durable(Box::new(move |synced| {
                tell(synced.map_err(|error| {
                    tracing::error!(%error, "a wake-up list could not be synced");
                    Failure::internal()
                }));
            })),
            _ => tell(Ok(())),
        }
    }

    /// Of several changes to one alarm only the last is written.
    fn commit(
        &mut self,
        namespace: u32,
        changes: &[Change],
    ) -> Result<Option<CommitTicket>, StoreError> {
        let list = match self.open.entry(namespace) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                let path = self.files.get(namespace as usize).map(PathBuf::as_path);
                let path = path.unwrap_or(Path::new(FILE_NAME));
                vacant.insert(AlarmList::open(path, Some(self.log.clone()))?)
            }
        };
        let last: BTreeMap<Key, &Change> =
            changes.iter().map(|change| (change.key, change)).collect();
        for (key, change) in last {
            let alarm = change
                .alarm
                .as_ref()
                .map(|(time_ns, name)| (*time_ns, name.as_deref()));
            list.set(&key.object.to_string(), key.facet, alarm)?;
        }
        list.commit()
    }
}
