//! What other threads may do to an isolate: post to its mailbox, look at it, stop it.

use deno_core::v8;
use facetd_core::{
    Event, EventTarget, Failure, HostError, Inbox, Message, ObjectPort, Outcome, Replies, Reply,
    Table,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

/// Why an isolate was stopped. It is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    Cpu { limit_ms: u64, used_ms: u64 },
    Memory { limit_mb: u64 },
}

impl Killed {
    /// What every waiting caller is told.
    pub fn failure(self) -> Failure {
        match self {
            Self::Cpu { limit_ms, used_ms } => HostError {
                limit: Some(("EXCEEDED_CPU", limit_ms, used_ms)),
                ..HostError::new("Error", "Worker exceeded CPU time limit.")
            },
            Self::Memory { limit_mb } => HostError {
                limit: Some(("EXCEEDED_MEMORY", limit_mb, limit_mb)),
                ..HostError::new("Error", "Worker exceeded memory limit.")
            },
        }
        .into()
    }
}

/// Shared between an isolate's thread, the watchdog and the host.
pub struct Control {
    pub(crate) inbox: Inbox,
    pub(crate) v8: OnceLock<v8::IsolateHandle>,
    /// The thread's CPU clock, for the watchdog to read.
    pub(crate) clock: OnceLock<libc::clockid_t>,
    /// The number of the running turn; 0: none runs.
    pub(crate) turn: AtomicU64,
    /// CPU time the turn may use.
    pub(crate) turn_budget_ns: AtomicU64,
    /// What that came from.
    pub(crate) turn_limit_ms: AtomicU64,
    /// CPU time the event had used before this turn.
    pub(crate) turn_used_before_ns: AtomicU64,
    pub(crate) killed: Mutex<Option<Killed>>,
    /// Cheap to ask from SQLite's progress handler.
    pub(crate) stopping: AtomicBool,
    pub(crate) ended: AtomicBool,
    /// Most of the memory was in use after the last full collection.
    pub(crate) tight: AtomicBool,
    /// When it was killed, for the watchdog: some built-ins of V8 never look whether they should stop.
    pub(crate) killed_at: Mutex<Option<Instant>>,
    /// Held while a turn is interrupted, so that the interruption never hits the next turn.
    running: Mutex<Running>,
    /// The running turn's object was aborted. Cheap to ask from SQLite's progress handler.
    pub(crate) interrupted: AtomicBool,
    /// Every event sent to this isolate that has no answer yet, and the object it is for (0: none).
    in_flight: Mutex<Table<u64, (u64, Reply)>>,
    last_in_flight: AtomicU64,
    /// The objects that are in memory here, by the key of their port.
    pub(crate) objects: Mutex<Table<u64, Arc<dyn ObjectPort>>>,
}

/// Whose turn runs.
#[derive(Default)]
struct Running {
    /// The key of the object's port; 0: no object's.
    object: u64,
    /// It was aborted meanwhile, for this reason.
    aborted: Option<Failure>,
}

impl Control {
    pub(crate) fn new(inbox: Inbox) -> Self {
        Self {
            inbox,
            v8: OnceLock::new(),
            clock: OnceLock::new(),
            turn: AtomicU64::new(0),
            turn_budget_ns: AtomicU64::new(0),
            turn_limit_ms: AtomicU64::new(0),
            turn_used_before_ns: AtomicU64::new(0),
            killed: Mutex::new(None),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            tight: AtomicBool::new(false),
            killed_at: Mutex::new(None),
            running: Mutex::default(),
            interrupted: AtomicBool::new(false),
            in_flight: Mutex::default(),
            last_in_flight: AtomicU64::new(0),
            objects: Mutex::default(),
        }
    }

    /// Stops whatever runs. The first reason stays.
    pub(crate) fn kill(&self, why: Killed) {
        let mut killed = self.killed.lock();
        if killed.is_none() {
            *killed = Some(why);
            *self.killed_at.lock() = Some(Instant::now());
        }
        self.stopping.store(true, Ordering::Release);
        if let Some(v8) = self.v8.get() {
            v8.terminate_execution();
        }
    }
}

impl Control {
    /// A turn of `object` begins.
    pub(crate) fn turn_begins(&self, object: u64) {
        self.running.lock().object = object;
    }

    /// The turn is over. Why it was interrupted, if it was: then V8 may still be about to stop.
    pub(crate) fn turn_ends(&self) -> Option<Failure> {
        let mut running = self.running.lock();
        running.object = 0;
        self.interrupted.store(false, Ordering::Release);
        running.aborted.take()
    }

    /// Stops the running turn if it is one of `object`'s. The isolate lives on.
    fn interrupt(&self, object: u64, failure: &Failure) {
        let mut running = self.running.lock();
        if running.object == object
            && let Some(v8) = self.v8.get()
        {
            running.aborted = Some(failure.clone());
            self.interrupted.store(true, Ordering::Release);
            v8.terminate_execution();
        }
    }

    /// The thread does not come back from the code that was to stop. Everybody who waits is told; its
    /// objects are broken and their files stay taken until it does come back.
    pub(crate) fn abandon(&self) {
        let failure = self
            .killed
            .lock()
            .map_or_else(Failure::disconnected, Killed::failure);
        tracing::error!("an isolate does not stop; its callers are answered without it");
        for (_, port) in std::mem::take(&mut *self.objects.lock()) {
            port.stuck();
            port.broken(failure.clone(), true);
        }
        for (_, (_, reply)) in std::mem::take(&mut *self.in_flight.lock()) {
            reply.send(Err(failure.clone()));
        }
    }

    pub(crate) fn in_flight_len(&self) -> usize {
        self.in_flight.lock().len()
    }

    /// Keeps the reply of an event where other threads can answer it.
    fn track(self: &Arc<Self>, object: u64, reply: Reply) -> Reply {
        let number = self.last_in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight.lock().insert(number, (object, reply));
        Reply::numbered(self.clone(), number)
    }
}

/// Answers of tracked events: to whoever still waits.
impl Replies for Control {
    fn reply(&self, number: u64, outcome: Outcome) {
        let tracked = self.in_flight.lock().remove(&number);
        if let Some((_, reply)) = tracked {
            reply.send(outcome);
        }
    }
}

/// The host's handle. Dropping the last one ends the isolate when it is idle.
pub struct IsolateHandle(pub(crate) Arc<Control>);

impl IsolateHandle {
    pub fn send(&self, message: Message) {
        match message {
            Message::Event {
                target,
                event,
                limits,
                keep,
            } => {
                let Event {
                    kind,
                    reply,
                    link,
                    charge,
                    caller,
                } = event;
                let object = if let EventTarget::Object(port) = &target {
                    port.key()
                } else {
                    0
                };
                let event = Event {
                    kind,
                    reply: self.0.track(object, reply),
                    link,
                    charge,
                    caller,
                };
                self.0.inbox.send(Message::Event {
                    target,
                    event,
                    limits,
                    keep,
                });
            }
            other => self.0.inbox.send(other),
        }
    }

    /// Throws `object` out of memory, also while its code runs and does not come back: whoever waits for
    /// it is told at once, and the rest follows when the interrupted turn has unwound.
    pub fn abort_object(&self, object: u64, failure: &Failure) {
        self.0.inbox.send(Message::AbortObject {
            object,
            failure: failure.clone(),
        });
        self.0.interrupt(object, failure);
        let waiting: Vec<Reply> = {
            let mut in_flight = self.0.in_flight.lock();
            in_flight
                .extract_if(|_, (of, _)| *of == object)
                .map(|(_, (_, reply))| reply)
                .collect()
        };
        for reply in waiting {
            reply.send(Err(failure.clone()));
        }
    }

    /// True once it was condemned or has ended: messages get no answer any more.
    pub fn is_gone(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire) || self.0.ended.load(Ordering::Acquire)
    }

    /// True once its thread has let go of everything.
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }
}

impl Drop for IsolateHandle {
    fn drop(&mut self) {
        self.0.inbox.send(Message::Shutdown {
            failure: Failure::disconnected(),
        });
    }
}
