//! Workers: what an isolate is made of, and the stubs of its entry points.

use crate::host::HostInner;
use facetd_core::{
    Charge, ClassPort, Event, EventKind, EventTarget, Failure, Limits, LoadedWorker, Message,
    ObjectId, Payload, Queue, Target, TargetKind, WorkerBundle, WorkerPort,
};
use facetd_isolate::IsolateHandle;
use parking_lot::{Mutex, RwLock};
use std::any::Any;
use std::sync::{Arc, Weak};

/// Makes the bundle of a worker that can be started again, for the instance of this number.
pub(crate) type MakeBundle = Box<dyn Fn(&Arc<Worker>, usize) -> WorkerBundle + Send + Sync>;

/// One isolate of a worker, as long as it lives.
pub(crate) struct Running {
    pub isolate: IsolateHandle,
    /// Stateless events that were sent to it and are not over.
    in_flight: Queue,
}

impl Running {
    fn new(isolate: IsolateHandle) -> Arc<Self> {
        Arc::new(Self {
            isolate,
            in_flight: Queue::default(),
        })
    }
}

/// Keeps a worker alive, and its isolate's account right, until one stateless event is over.
struct InFlight {
    _worker: Arc<Worker>,
    running: Arc<Running>,
    weight: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.running.in_flight.leave(self.weight);
    }
}

const TOO_MANY: &str = "Worker is overloaded. Too many requests are in flight.";

enum State {
    /// A worker of the project that is not running.
    Idle,
    /// A loaded worker whose code has not come yet.
    Loading(Mutex<Vec<Message>>),
    Running(Arc<Running>),
    Failed(Failure),
}

/// A bundle of modules with its bindings, and the isolates that run it.
pub struct Worker {
    pub(crate) host: Arc<HostInner>,
    pub(crate) name: String,
    pub(crate) dynamic: bool,
    /// Set for workers of the project; loaded ones are never started twice.
    make: Option<MakeBundle>,
    /// An entry per isolate, each started when it is first needed and again after it was condemned. A loaded worker has
    /// one. Read for every event, by many threads at once.
    instances: Box<[RwLock<State>]>,
    limits: Mutex<Limits>,
}

impl Worker {
    pub(crate) fn of_project(
        host: Arc<HostInner>,
        name: String,
        limits: Limits,
        instances: usize,
        make: MakeBundle,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            name,
            dynamic: false,
            make: Some(make),
            instances: (0..instances.max(1))
                .map(|_| RwLock::new(State::Idle))
                .collect(),
            limits: Mutex::new(limits),
        })
    }

    pub(crate) fn loading(host: Arc<HostInner>, name: String, limits: Limits) -> Arc<Self> {
        let worker = Arc::new(Self {
            host,
            name,
            dynamic: true,
            make: None,
            instances: Box::new([RwLock::new(State::Loading(Mutex::default()))]),
            limits: Mutex::new(limits),
        });
        let mut loaded = worker.host.loaded.lock();
        if loaded.len() > 1024 && loaded.len().is_power_of_two() {
            loaded.retain(|known| known.strong_count() > 0);
        }
        loaded.push(Arc::downgrade(&worker));
        drop(loaded);
        worker
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    fn memory_mb(&self) -> u64 {
        self.limits().memory_mb.unwrap_or(self.host.memory_mb_max)
    }

    /// The instance that this object and its facets live in, for good: objects of one tree share their globals, as they
    /// would with one isolate.
    pub(crate) fn instance_of(&self, object: &ObjectId) -> usize {
        match self.instances.len() {
            1 => 0,
            several => object.part(several),
        }
    }

    /// The instance for the next stateless event: one that has nothing to do, else one that was not needed so far, else the
    /// one with the least in flight.
    fn least_busy(&self) -> usize {
        if self.instances.len() == 1 {
            return 0;
        }
        let mut best = (u64::MAX, 0);
        for (number, instance) in self.instances.iter().enumerate() {
            let busy = match &*instance.read() {
                State::Running(running) if !running.isolate.is_gone() => {
                    running.in_flight.len().saturating_mul(2)
                }
                // Starting one takes time: only if all are busy.
                _ => 1,
            };
            if busy == 0 {
                return number;
            }
            best = best.min((busy, number));
        }
        best.1
    }

    /// The isolate of this instance, started if need be. `None`: the code has not come yet, or it failed.
    pub(crate) fn isolate(self: &Arc<Self>, instance: usize) -> Option<Arc<Running>> {
        // A number that came from elsewhere (a stub of another life of the project) still means one of ours.
        let instance = instance % self.instances.len();
        let state = &self.instances[instance];
        if let State::Running(running) = &*state.read()
            && (!running.isolate.is_gone() || self.make.is_none())
        {
            return Some(running.clone());
        }
        self.start_again(&mut state.write(), instance)
    }

    fn start_again(self: &Arc<Self>, state: &mut State, instance: usize) -> Option<Arc<Running>> {
        let make = self.make.as_ref()?;
        match state {
            // Another thread was first.
            State::Running(running) if !running.isolate.is_gone() => return Some(running.clone()),
            State::Running(_) | State::Idle => {}
            State::Loading(_) | State::Failed(_) => return None,
        }
        let running = Running::new(self.host.pool.take(self.memory_mb()));
        let bundle = make(self, instance);
        running.isolate.send(Message::Boot(Box::new(bundle)));
        *state = State::Running(running.clone());
        Some(running)
    }

    /// Sends a stateless event to an instance, or to any if it does not matter.
    fn send_stateless(
        self: &Arc<Self>,
        instance: Option<usize>,
        name: Option<String>,
        props: Option<Arc<Payload>>,
        limits: Limits,
        event: Event,
    ) {
        let instance = instance.unwrap_or_else(|| self.least_busy());
        let target = EventTarget::Entrypoint { name, props };
        // The stub may be collected while the event runs; the worker may not.
        let message = |event, keep: Arc<dyn Any + Send + Sync>| Message::Event {
            target,
            event,
            limits,
            keep: Some(keep),
        };
        match self.isolate(instance) {
            Some(running) => {
                let guest = event.charge.as_ref().is_some_and(Charge::is_guest);
                let most = match event.kind {
                    // The host's own questions.
                    EventKind::Describe | EventKind::Scheduled(_) => usize::MAX,
                    _ => self.host.options.mailbox.in_flight,
                };
                let Some((weight, _)) = running.in_flight.enter(guest, most) else {
                    event.reply.send(Err(Failure::overloaded(TOO_MANY)));
                    return;
                };
                let keep = Arc::new(InFlight {
                    _worker: self.clone(),
                    running: running.clone(),
                    weight,
                });
                running.isolate.send(message(event, keep));
            }
            None => self.send_later(message(event, Arc::new(self.clone()))),
        }
    }

    /// Keeps `message` until the code of this loaded worker comes, or refuses it because there will be none.
    pub(crate) fn send_later(self: &Arc<Self>, message: Message) {
        let mut state = self.instances[0].write();
        match &mut *state {
            State::Loading(waiting) => {
                let waiting = waiting.get_mut();
                if waiting.len() < self.host.options.mailbox.in_flight {
                    waiting.push(message);
                } else {
                    drop(state);
                    // Not `refuse`: an object that is asked too much is not broken by that.
                    if let Message::Event { event, .. } = message {
                        event.reply.send(Err(Failure::overloaded(TOO_MANY)));
                    }
                }
            }
            State::Running(running) => running.isolate.send(message),
            State::Failed(failure) => {
                let failure = failure.clone();
                drop(state);
                refuse(message, &failure);
            }
            // Only a worker of the project is idle, and it has an isolate when it is asked for one.
            State::Idle => refuse(message, &Failure::disconnected()),
        }
    }

    /// Asks each of its isolates that runs; none is started.
    pub(crate) fn each_running(&self, mut ask: impl FnMut(&IsolateHandle)) {
        for instance in &self.instances {
            if let State::Running(running) = &*instance.read()
                && !running.isolate.is_gone()
            {
                ask(&running.isolate);
            }
        }
    }

    /// The isolate is condemned or was never made.
    pub(crate) fn is_gone(&self) -> bool {
        match &*self.instances[0].read() {
            State::Running(running) => running.isolate.is_gone(),
            State::Failed(_) => true,
            State::Idle | State::Loading(_) => false,
        }
    }

    /// The code of a loaded worker has come: start it and let in who waits.
    pub(crate) fn start(self: &Arc<Self>, bundle: WorkerBundle) {
        *self.limits.lock() = bundle.limits;
        let running = Running::new(self.host.pool.take(self.memory_mb()));
        running.isolate.send(Message::Boot(Box::new(bundle)));
        let mut state = self.instances[0].write();
        let before = std::mem::replace(&mut *state, State::Running(running.clone()));
        // Under the lock: whoever finds the isolate now comes after those who have waited.
        if let State::Loading(waiting) = before {
            for message in waiting.into_inner() {
                running.isolate.send(message);
            }
        }
    }

    /// No code will come: everybody who waits is told, and everybody who asks.
    pub(crate) fn fail(&self, failure: Failure) {
        let failed = State::Failed(failure.clone());
        let before = std::mem::replace(&mut *self.instances[0].write(), failed);
        if let State::Loading(waiting) = before {
            for message in waiting.into_inner() {
                refuse(message, &failure);
            }
        }
    }

    /// Ends its isolates, which are returned; whoever waits gets `failure`.
    pub(crate) fn stop(&self, failure: &Failure) -> Vec<Arc<Running>> {
        let mut stopped = Vec::new();
        for instance in &self.instances {
            let failed = State::Failed(failure.clone());
            let before = std::mem::replace(&mut *instance.write(), failed);
            if let State::Running(running) = before {
                running.isolate.send(Message::Shutdown {
                    failure: failure.clone(),
                });
                stopped.push(running);
            }
        }
        stopped
    }

    /// A stub of one of its entry points.
    pub fn stub(
        self: &Arc<Self>,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn Target> {
        Arc::new(EntrypointTarget {
            worker: Mutex::new(Some(self.clone())),
            dynamic: self.dynamic,
            name,
            props: props.map(Arc::new),
            limits,
        })
    }
}

fn refuse(message: Message, failure: &Failure) {
    if let Message::Event { event, target, .. } = message {
        if let EventTarget::Object(port) = target {
            port.broken(failure.clone(), false);
        }
        event.reply.send(Err(failure.clone()));
    }
}

/// A worker as its loader holds it. Strong: the isolate lives while somebody does.
pub(crate) struct Held(pub Arc<Worker>);

impl WorkerPort for Held {
    fn entrypoint(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn Target> {
        self.0.stub(name, props, limits)
    }

    fn class(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn ClassPort> {
        Arc::new(WorkerClass {
            worker: Of::Strong(self.0.clone()),
            dynamic: self.0.dynamic,
            name,
            props: props.map(Arc::new),
            limits,
        })
    }
}

impl LoadedWorker for Held {}

/// A stub of an entry point.
pub struct EntrypointTarget {
    /// `None` once its holder is done with it.
    worker: Mutex<Option<Arc<Worker>>>,
    dynamic: bool,
    name: Option<String>,
    props: Option<Arc<Payload>>,
    limits: Limits,
}

impl Target for EntrypointTarget {
    fn send(&self, event: Event) {
        let worker = self.worker.lock().clone();
        match worker {
            Some(worker) => worker.send_stateless(
                None,
                self.name.clone(),
                self.props.clone(),
                self.limits,
                event,
            ),
            None => event.reply.send(Err(Failure::disconnected())),
        }
    }

    fn dispose(&self) {
        let worker = self.worker.lock().take();
        drop(worker);
    }

    fn kind(&self) -> TargetKind {
        if self.dynamic {
            TargetKind::DynamicService
        } else {
            TargetKind::Service
        }
    }
}

/// A worker as seen from inside. Weak: a worker must not keep itself alive by its own `ctx.exports`.
pub(crate) struct Own {
    pub worker: Weak<Worker>,
    pub dynamic: bool,
    /// The instance it is seen from, which is where its calls to itself stay.
    pub instance: Option<usize>,
}

struct OwnTarget {
    worker: Weak<Worker>,
    dynamic: bool,
    instance: Option<usize>,
    name: Option<String>,
    props: Option<Arc<Payload>>,
}

impl Target for OwnTarget {
    fn send(&self, event: Event) {
        match self.worker.upgrade() {
            Some(worker) => {
                let (name, props) = (self.name.clone(), self.props.clone());
                worker.send_stateless(self.instance, name, props, Limits::default(), event);
            }
            None => event.reply.send(Err(Failure::disconnected())),
        }
    }

    fn kind(&self) -> TargetKind {
        if self.dynamic {
            TargetKind::DynamicService
        } else {
            TargetKind::Service
        }
    }
}

impl WorkerPort for Own {
    fn entrypoint(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        _limits: Limits,
    ) -> Arc<dyn Target> {
        let props = props.map(Arc::new);
        Arc::new(OwnTarget {
            worker: self.worker.clone(),
            dynamic: self.dynamic,
            instance: self.instance,
            name,
            props,
        })
    }

    fn class(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn ClassPort> {
        let props = props.map(Arc::new);
        Arc::new(WorkerClass {
            worker: Of::Weak(self.worker.clone()),
            dynamic: self.dynamic,
            name,
            props,
            limits,
        })
    }
}

enum Of {
    Strong(Arc<Worker>),
    Weak(Weak<Worker>),
}

/// A class of a worker, for facets.
pub(crate) struct WorkerClass {
    worker: Of,
    dynamic: bool,
    pub name: Option<String>,
    pub props: Option<Arc<Payload>>,
    pub limits: Limits,
}

impl WorkerClass {
    pub fn worker(&self) -> Option<Arc<Worker>> {
        match &self.worker {
            Of::Strong(worker) => Some(worker.clone()),
            Of::Weak(worker) => worker.upgrade(),
        }
    }
}

impl ClassPort for WorkerClass {
    fn is_dynamic(&self) -> bool {
        self.dynamic
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
