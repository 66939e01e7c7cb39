//! Workers: what an isolate is made of, and the stubs of its entry points.

use crate::host::HostInner;
use facetd_core::{
    ClassPort, Event, EventTarget, Failure, Limits, LoadedWorker, Message, Payload, Target,
    TargetKind, WorkerBundle, WorkerPort,
};
use facetd_isolate::IsolateHandle;
use parking_lot::Mutex;
use std::any::Any;
use std::sync::{Arc, Weak};

/// Makes the bundle of a worker that can be started again.
pub(crate) type MakeBundle = Box<dyn Fn(&Arc<Worker>) -> WorkerBundle + Send + Sync>;

enum State {
    /// A worker of the project that is not running.
    Idle,
    /// A loaded worker whose code has not come yet.
    Loading(Vec<Message>),
    Running(Arc<IsolateHandle>),
    Failed(Failure),
}

/// A bundle of modules with its bindings, and the isolate that runs it.
pub struct Worker {
    pub(crate) host: Arc<HostInner>,
    pub(crate) name: String,
    pub(crate) dynamic: bool,
    /// Set for workers of the project; loaded ones are never started twice.
    make: Option<MakeBundle>,
    state: Mutex<State>,
    limits: Mutex<Limits>,
}

impl Worker {
    pub(crate) fn of_project(
        host: Arc<HostInner>,
        name: String,
        limits: Limits,
        make: MakeBundle,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            name,
            dynamic: false,
            make: Some(make),
            state: Mutex::new(State::Idle),
            limits: Mutex::new(limits),
        })
    }

    pub(crate) fn loading(host: Arc<HostInner>, name: String, limits: Limits) -> Arc<Self> {
        let worker = Arc::new(Self {
            host,
            name,
            dynamic: true,
            make: None,
            state: Mutex::new(State::Loading(Vec::new())),
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

    /// The running isolate, started if need be. `None`: messages wait for the code, or it failed.
    fn running(self: &Arc<Self>, state: &mut State) -> Option<Arc<IsolateHandle>> {
        if let State::Running(isolate) = state
            && (!isolate.is_gone() || self.make.is_none())
        {
            return Some(isolate.clone());
        }
        let make = self.make.as_ref()?;
        let isolate = Arc::new(self.host.pool.take(self.memory_mb()));
        isolate.send(Message::Boot(Box::new(make(self))));
        *state = State::Running(isolate.clone());
        Some(isolate)
    }

    fn memory_mb(&self) -> u64 {
        self.limits().memory_mb.unwrap_or(self.host.memory_mb_max)
    }

    /// Sends `message` to the worker's isolate, or keeps it until there is one.
    pub(crate) fn send(self: &Arc<Self>, message: Message) {
        let mut state = self.state.lock();
        match self.running(&mut state) {
            Some(isolate) => isolate.send(message),
            None => match &mut *state {
                State::Loading(waiting) => waiting.push(message),
                State::Failed(failure) => refuse(message, failure),
                State::Idle | State::Running(_) => {}
            },
        }
    }

    /// The isolate an object is pinned to. `None`: the code has not come yet.
    pub(crate) fn isolate(self: &Arc<Self>) -> Option<Arc<IsolateHandle>> {
        self.running(&mut self.state.lock())
    }

    /// Its isolate, if it has one: none is started.
    pub(crate) fn isolate_if_running(&self) -> Option<Arc<IsolateHandle>> {
        match &*self.state.lock() {
            State::Running(isolate) if !isolate.is_gone() => Some(isolate.clone()),
            _ => None,
        }
    }

    /// The isolate is condemned or was never made.
    pub(crate) fn is_gone(&self) -> bool {
        match &*self.state.lock() {
            State::Running(isolate) => isolate.is_gone(),
            State::Failed(_) => true,
            State::Idle | State::Loading(_) => false,
        }
    }

    /// The code has come: start it and let in who waits.
    pub(crate) fn start(self: &Arc<Self>, bundle: WorkerBundle) {
        *self.limits.lock() = bundle.limits;
        let isolate = Arc::new(self.host.pool.take(self.memory_mb()));
        isolate.send(Message::Boot(Box::new(bundle)));
        let before = std::mem::replace(&mut *self.state.lock(), State::Running(isolate.clone()));
        if let State::Loading(waiting) = before {
            for message in waiting {
                isolate.send(message);
            }
        }
    }

    /// No code will come: everybody who waits is told, and everybody who asks.
    pub(crate) fn fail(&self, failure: Failure) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Failed(failure.clone()));
        if let State::Loading(waiting) = before {
            for message in waiting {
                refuse(message, &failure);
            }
        }
    }

    /// Ends the isolate; whoever waits gets `failure`.
    pub(crate) fn stop(&self, failure: Failure) -> Option<Arc<IsolateHandle>> {
        let before = std::mem::replace(&mut *self.state.lock(), State::Failed(failure.clone()));
        match before {
            State::Running(isolate) => {
                isolate.send(Message::Shutdown { failure });
                Some(isolate)
            }
            State::Idle | State::Loading(_) | State::Failed(_) => None,
        }
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

impl EntrypointTarget {
    fn deliver(
        worker: &Arc<Worker>,
        name: Option<String>,
        props: Option<Arc<Payload>>,
        limits: Limits,
        event: Event,
    ) {
        worker.send(Message::Event {
            target: EventTarget::Entrypoint { name, props },
            event,
            limits,
            // The stub may be collected while the event runs; the worker may not.
            keep: Some(Arc::new(worker.clone())),
        });
    }
}

impl Target for EntrypointTarget {
    fn send(&self, event: Event) {
        let worker = self.worker.lock().clone();
        match worker {
            Some(worker) => Self::deliver(
                &worker,
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
pub(crate) struct Own(pub Weak<Worker>, pub bool);

struct OwnTarget {
    worker: Weak<Worker>,
    dynamic: bool,
    name: Option<String>,
    props: Option<Arc<Payload>>,
}

impl Target for OwnTarget {
    fn send(&self, event: Event) {
        match self.worker.upgrade() {
            Some(worker) => {
                let (name, props) = (self.name.clone(), self.props.clone());
                EntrypointTarget::deliver(&worker, name, props, Limits::default(), event);
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
            worker: self.0.clone(),
            dynamic: self.1,
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
            worker: Of::Weak(self.0.clone()),
            dynamic: self.1,
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
