//! A few pristine isolates, made before they are needed. None has seen user code.

use facetd_isolate::{IsolateHandle, IsolateOptions};
use facetd_store::CommitLog;
use parking_lot::Mutex;

/// Isolates kept ready. Each costs about 3 MiB; making one takes about 4 ms of a core.
const READY: usize = 3;

pub(crate) struct Pool {
    memory_mb: u64,
    log: CommitLog,
    ready: Mutex<Vec<IsolateHandle>>,
}

impl Pool {
    /// `memory_mb`: the limit of the isolates it keeps ready.
    pub fn new(memory_mb: u64, log: CommitLog) -> Self {
        Self {
            memory_mb,
            log,
            ready: Mutex::default(),
        }
    }

    /// Makes isolates until enough are ready. They are made on their own threads.
    pub fn fill(&self) {
        let mut ready = self.ready.lock();
        while ready.len() < READY {
            ready.push(self.spawn(self.memory_mb));
        }
    }

    /// An isolate with this memory limit: a ready one if the limit is the usual one.
    pub fn take(&self, memory_mb: u64) -> IsolateHandle {
        if memory_mb != self.memory_mb {
            return self.spawn(memory_mb);
        }
        let mut ready = self.ready.lock();
        if ready.is_empty() {
            return self.spawn(memory_mb);
        }
        // Oldest first: it is the likeliest to have been made to the end.
        let isolate = ready.remove(0);
        ready.push(self.spawn(memory_mb));
        isolate
    }

    /// Lets the ready ones go.
    pub fn drain(&self) {
        self.ready.lock().clear();
    }

    fn spawn(&self, memory_mb: u64) -> IsolateHandle {
        facetd_isolate::spawn(IsolateOptions {
            memory_mb,
            log: self.log.clone(),
        })
    }
}
