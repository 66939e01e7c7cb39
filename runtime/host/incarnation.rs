//! One life of an object or facet: from the first event until it breaks or nobody knows it.
//!
//! Owns: the events that wait for it to be startable, its children by name, and the reason it broke.
//! Always true: it holds the seat of its database from before its first event until it is broken and
//! closed, or dropped. A stub belongs to one incarnation for ever.

use crate::facets::ObjectTree;
use crate::host::HostInner;
use crate::namespace::NamespaceInner;
use crate::seats::Claim;
use crate::worker::{Running, Worker};
use facetd_core::{
    Charge, Event, EventKind, EventTarget, FacetLookup, Failure, Limits, Listed, Message, ObjectId,
    ObjectName, ObjectPort, ObjectStart, OutputGate, Payload, Queue, Target, TargetKind,
};
use facetd_isolate::IsolateHandle;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

enum State {
    /// Events wait for the class, the storage id or the seat.
    Waiting(Vec<Event>),
    Running(Arc<Running>),
    Broken(Failure),
}

const STUCK: &str = "The previous instance of this Durable Object does not stop, and its storage cannot be opened before it does.";

const TOO_MANY_QUEUED: &str = "Durable Object is overloaded. Too many requests queued.";
const QUEUED_TOO_LONG: &str = "Durable Object is overloaded. Requests queued for too long.";

const DATA_DIR_GONE: &str = "The storage of this Durable Object is not available.";

/// Who knows this incarnation by name.
pub(crate) enum Home {
    Namespace {
        namespace: Weak<NamespaceInner>,
        id: ObjectId,
    },
    Parent {
        parent: Arc<Incarnation>,
        name: String,
    },
}

/// A child in its parent's table.
pub(crate) enum Child {
    Alive(Weak<Incarnation>),
    /// It could not start; the name fails the same way until it is aborted or deleted.
    Poisoned(Failure),
}

/// A child as its alarm finds it.
pub(crate) enum ChildNow {
    Alive(Arc<Incarnation>),
    Poisoned(Failure),
    Asleep,
}

pub(crate) struct Incarnation {
    pub key: u64,
    pub host: Arc<HostInner>,
    pub home: Home,
    pub depth: u8,
    pub tree: Arc<ObjectTree>,
    /// Set when it may start.
    start: OnceLock<ObjectStart>,
    pub storage_id: OnceLock<u16>,
    state: Mutex<State>,
    /// Events that were sent to it and are not delivered, alarms aside.
    queue: Arc<Queue>,
    seat: Claim,
    gate: Arc<OutputGate>,
    pub children: Mutex<HashMap<String, Child>>,
    /// Limits given with the class.
    limits: OnceLock<Limits>,
    /// The worker, while its code has not come: it keeps our messages in order.
    later: Mutex<Option<Arc<Worker>>>,
    /// If it cannot start, its name fails from then on. Not when only its alarm asked for it.
    poisons: bool,
    this: Weak<Incarnation>,
}

/// What a start needs beyond what the incarnation knows.
pub(crate) struct StartWith {
    pub worker: Arc<Worker>,
    pub class_name: Option<String>,
    pub id: ObjectName,
    pub props: Option<Arc<Payload>>,
    pub limits: Limits,
    pub storage_id: u16,
}

impl Incarnation {
    pub fn new(
        host: Arc<HostInner>,
        home: Home,
        depth: u8,
        tree: Arc<ObjectTree>,
        poisons: bool,
    ) -> Arc<Self> {
        let key = host.next_key();
        Arc::new_cyclic(|this| Self {
            key,
            host,
            home,
            depth,
            tree,
            start: OnceLock::new(),
            storage_id: OnceLock::new(),
            state: Mutex::new(State::Waiting(Vec::new())),
            queue: Arc::default(),
            seat: Claim::default(),
            gate: Arc::default(),
            children: Mutex::default(),
            limits: OnceLock::new(),
            later: Mutex::default(),
            poisons,
            this: this.clone(),
        })
    }

    /// Says what it is an instance of. It runs as soon as its database is free.
    pub fn start_with(self: &Arc<Self>, with: StartWith) {
        let path = self.tree.files.database(with.storage_id);
        // The worker's own limits are added by its isolate: its code may not have come yet.
        let limits = with.limits;
        let start = ObjectStart {
            class_name: with.class_name,
            id: with.id,
            props: with.props,
            database: path.clone(),
            fsync: self.host.options.fsync,
            limits,
            evict_after_ms: self.host.options.evict_after_ms,
            wait_ms_max: self.host.options.mailbox.wait_ms,
            depth: self.depth,
        };
        if self.start.set(start).is_err() {
            return; // started before: only one start token exists
        }
        let _unset = self.storage_id.set(with.storage_id);
        let _unset = self.limits.set(limits);
        let this = Arc::downgrade(self);
        let worker = with.worker;
        let ready = Box::new(move || {
            if let Some(this) = this.upgrade() {
                this.run_in(&worker);
            }
        });
        let (seats, is_over) = (&self.host.seats, || self.is_broken());
        if !self.seat.take(seats, &path, self.key, is_over, ready) {
            self.break_with(&Failure::ours(STUCK), false);
        }
    }

    fn run_in(self: &Arc<Self>, worker: &Arc<Worker>) {
        // A loaded worker that still waits for its code keeps these messages for us.
        let mut state = self.state.lock();
        let State::Waiting(waiting) = &mut *state else {
            return;
        };
        let waiting = std::mem::take(waiting);
        match worker.isolate(worker.instance_of(&self.tree.object)) {
            Some(running) => {
                for event in waiting {
                    self.post(&running.isolate, event);
                }
                *state = State::Running(running);
            }
            None => {
                *self.later.lock() = Some(worker.clone());
                let messages: Vec<Message> = waiting
                    .into_iter()
                    .map(|event| self.message(event))
                    .collect();
                // A worker that has failed breaks us while it refuses the messages.
                drop(state);
                for message in messages {
                    worker.send_later(message);
                }
            }
        }
    }

    fn message(&self, event: Event) -> Message {
        let port: Arc<dyn ObjectPort> = self.this.upgrade().expect("called by its owner");
        Message::Event {
            target: EventTarget::Object(port),
            event,
            limits: self.limits.get().copied().unwrap_or_default(),
            keep: None,
        }
    }

    fn post(&self, isolate: &IsolateHandle, event: Event) {
        isolate.send(self.message(event));
    }

    pub fn send_event(self: &Arc<Self>, mut event: Event) {
        if !matches!(event.kind, EventKind::Alarm(_) | EventKind::FacetDue { .. }) {
            let charge = event.charge.get_or_insert_default();
            if !charge.wait_in(&self.queue, self.host.options.mailbox.len, Instant::now) {
                event.reply.send(Err(Failure::overloaded(TOO_MANY_QUEUED)));
                return;
            }
        }
        let mut state = self.state.lock();
        match &mut *state {
            State::Waiting(waiting) => {
                let later = self.later.lock().clone();
                match later {
                    Some(worker) => match worker.isolate(0) {
                        // Only a loaded worker lets wait for its code, and it has one isolate.
                        Some(running) => {
                            self.post(&running.isolate, event);
                            *state = State::Running(running);
                        }
                        None => {
                            let message = self.message(event);
                            drop(state);
                            worker.send_later(message);
                        }
                    },
                    None => {
                        if waiting.is_empty() {
                            self.host.waiting.lock().push(self.this.clone());
                        }
                        if let Some(charge) = &mut event.charge {
                            charge.waits(Instant::now());
                        }
                        waiting.push(event);
                    }
                }
            }
            State::Running(running) if running.isolate.is_gone() => {
                // Its teardown will say why; nothing new may run there or beside it.
                drop(state);
                event.reply.send(Err(Failure::disconnected()));
            }
            State::Running(running) => self.post(&running.isolate, event),
            State::Broken(failure) => {
                let failure = failure.clone();
                drop(state);
                event.reply.send(Err(failure));
            }
        }
    }

    /// Refuses what has waited for its start for too long. True: something still waits.
    pub fn refuse_late(&self) -> bool {
        let wait_max = Duration::from_millis(self.host.options.mailbox.wait_ms);
        let mut state = self.state.lock();
        let State::Waiting(waiting) = &mut *state else {
            return false;
        };
        let is_late = |event: &mut Event| {
            let since = event.charge.as_ref().and_then(Charge::waits_since);
            since.is_some_and(|since| since.elapsed() >= wait_max)
        };
        let late: Vec<Event> = waiting.extract_if(.., is_late).collect();
        let waits = !waiting.is_empty();
        drop(state);
        for event in late {
            let failure = Failure::overloaded(QUEUED_TOO_LONG);
            event.reply.send(Err(failure));
        }
        waits
    }

    /// Ends this life. Children first. The first reason stays.
    pub fn break_with(self: &Arc<Self>, failure: &Failure, keep_name: bool) {
        self.break_children(failure);
        let before = {
            let mut state = self.state.lock();
            match &*state {
                State::Broken(_) => None,
                State::Waiting(_) | State::Running(_) => Some(std::mem::replace(
                    &mut *state,
                    State::Broken(failure.clone()),
                )),
            }
        };
        // Those that its last turn got hold of meanwhile. Also when another thread was first: whoever deletes files after this
        // relies on it that nobody below opens one.
        self.break_children(failure);
        let Some(before) = before else {
            return;
        };
        self.leave_home(failure, keep_name);
        match before {
            State::Waiting(waiting) => {
                for event in waiting {
                    event.reply.send(Err(failure.clone()));
                }
            }
            State::Running(running) => {
                running.isolate.abort_object(self.key, failure);
            }
            State::Broken(_) => {}
        }
        self.gate.break_with(failure);
        self.seat.leave_if_closed(&self.host.seats, self.key);
    }

    fn break_children(&self, failure: &Failure) {
        // Not in the loop's head: the lock would be held while children leave the table.
        let children = std::mem::take(&mut *self.children.lock());
        for (_, child) in children {
            if let Child::Alive(child) = child
                && let Some(child) = child.upgrade()
            {
                child.break_with(failure, false);
            }
        }
    }

    /// Whoever asks for the name next gets a new incarnation, or (poisoned) the same failure.
    fn leave_home(self: &Arc<Self>, failure: &Failure, keep_name: bool) {
        match &self.home {
            Home::Namespace { namespace, id } => {
                if let Some(namespace) = namespace.upgrade() {
                    namespace.forget(id, self.key);
                }
            }
            Home::Parent { parent, name } => {
                let mut children = parent.children.lock();
                let same = match children.get(name) {
                    Some(Child::Alive(child)) => child.as_ptr() == Arc::as_ptr(self),
                    _ => false,
                };
                if same && keep_name && self.poisons {
                    children.insert(name.clone(), Child::Poisoned(failure.clone()));
                } else if same {
                    children.remove(name);
                }
            }
        }
    }

    pub fn is_broken(&self) -> bool {
        matches!(*self.state.lock(), State::Broken(_))
    }

    fn alarm_key(&self) -> crate::alarms::Key {
        let storage_id = self.storage_id.get().copied().unwrap_or(0);
        self.tree.alarm_key(storage_id)
    }

    pub fn gate(&self) -> &Arc<OutputGate> {
        &self.gate
    }

    pub fn child(&self, name: &str) -> ChildNow {
        let children = self.children.lock();
        match children.get(name) {
            Some(Child::Alive(child)) => {
                let child = child.upgrade();
                // Should this be the last handle after all, its drop takes the same lock.
                drop(children);
                child.map_or(ChildNow::Asleep, ChildNow::Alive)
            }
            Some(Child::Poisoned(failure)) => ChildNow::Poisoned(failure.clone()),
            None => ChildNow::Asleep,
        }
    }

    /// The name by which the root object was addressed, for whoever wakes it up again.
    pub fn root_name(&self) -> Option<String> {
        match &self.home {
            Home::Parent { parent, .. } => parent.root_name(),
            Home::Namespace { .. } => match self.object_name()? {
                ObjectName::Id { name, .. } => name,
                ObjectName::Text(_) => None,
            },
        }
    }

    /// The id a facet inherits.
    pub fn object_name(&self) -> Option<ObjectName> {
        self.start.get().map(|start| start.id.clone())
    }
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        self.seat.leave(&self.host.seats, self.key);
        match &self.home {
            Home::Namespace { namespace, id } => {
                if let Some(namespace) = namespace.upgrade() {
                    namespace.forget(id, self.key);
                }
            }
            Home::Parent { parent, name } => {
                let mut children = parent.children.lock();
                if let Some(Child::Alive(child)) = children.get(name)
                    && child.strong_count() == 0
                {
                    children.remove(name);
                }
            }
        }
    }
}

/// The stub of a name that cannot start.
pub(crate) struct PoisonedTarget(pub Failure);

impl Target for PoisonedTarget {
    fn send(&self, event: Event) {
        event.reply.send(Err(self.0.clone()));
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Facet
    }
}

/// A facet's stub, bound to one incarnation.
pub(crate) struct FacetTarget(pub Arc<Incarnation>);

impl Target for FacetTarget {
    fn send(&self, event: Event) {
        self.0.send_event(event);
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Facet
    }
}

impl ObjectPort for Incarnation {
    fn key(&self) -> u64 {
        self.key
    }

    fn start(&self) -> &ObjectStart {
        self.start
            .get()
            .expect("events reach an isolate only after the start is known")
    }

    fn output_gate(&self) -> &Arc<OutputGate> {
        &self.gate
    }

    fn broken(&self, failure: Failure, freed: bool) {
        if let Some(this) = self.this.upgrade() {
            this.break_with(&failure, !freed);
        }
    }

    fn stuck(&self) {
        self.seat.mark_stuck(&self.host.seats, self.key);
    }

    fn failure(&self) -> Option<Failure> {
        match &*self.state.lock() {
            State::Broken(failure) => Some(failure.clone()),
            State::Waiting(_) | State::Running(_) => None,
        }
    }

    fn open_database(&self) -> bool {
        if !self.host.lock.is_in_place() {
            tracing::error!(path = %self.host.options.data_dir.display(), "the data directory is gone, or another one is in its place");
            self.broken(Failure::error(DATA_DIR_GONE), true);
            return false;
        }
        self.seat.open(|| self.is_broken())
    }

    fn database_closed(&self) {
        self.seat.closed();
        if self.is_broken() {
            self.seat.leave_if_closed(&self.host.seats, self.key);
        }
    }

    fn alarm_found(&self, time_ns: i64) {
        let key = self.alarm_key();
        let name = self.root_name();
        self.host.alarms.found(key, name.as_deref(), time_ns);
    }

    fn alarm_committed(&self, time_ns: Option<i64>, listed: Listed) -> Box<dyn FnOnce() + Send> {
        let key = self.alarm_key();
        let name = self.root_name();
        let alarms = self.host.alarms.clone();
        let version = alarms.committed(key, name.as_deref(), time_ns, listed);
        Box::new(move || {
            if let Some(version) = version {
                alarms.durable(key, version);
            }
        })
    }

    fn facet(&self, name: &str) -> FacetLookup {
        let this = self.this.upgrade().expect("called by its own isolate");
        crate::facets::lookup(&this, name, true)
    }

    fn facet_for_alarm(&self, name: &str) -> FacetLookup {
        let this = self.this.upgrade().expect("called by its own isolate");
        crate::facets::lookup(&this, name, false)
    }

    fn facet_abort(&self, name: &str, failure: Failure) {
        self.abort_child(name, &failure);
    }

    fn facet_delete(&self, name: &str) -> Result<(), Failure> {
        crate::facets::delete(self, name, "Facet was deleted.")
    }

    fn facet_clone(&self, src: &str, dst: &str) -> Result<(), Failure> {
        crate::facets::clone(self, src, dst)
    }

    fn facet_delete_all(&self) -> Result<(), Failure> {
        crate::facets::delete_all(self)
    }
}

impl Incarnation {
    pub fn abort_child(&self, name: &str, failure: &Failure) {
        let child = self.children.lock().remove(name);
        if let Some(Child::Alive(child)) = child
            && let Some(child) = child.upgrade()
        {
            child.break_with(failure, false);
        }
    }
}
