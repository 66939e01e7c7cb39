//! What the JS-facing extensions ask of the host. The host supplies these; a test supplies fakes.

use crate::{Event, Failure, Limits, Module, ObjectId, OutputGate, Payload};
use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

/// What kind of thing a stub points to: decides where the stub may be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// An entry point of a worker of the project, a service binding, the network.
    Service,
    /// A root Durable Object.
    Object,
    /// Reached through its parent only.
    Facet,
    /// An entry point of a loaded worker: nobody else knows how to load it again.
    DynamicService,
    /// A function or `RpcTarget` that user code passed out.
    Export,
}

/// Anything an event can be sent to.
pub trait Target: Send + Sync {
    /// Never blocks and never fails: trouble is the outcome of the event.
    fn send(&self, event: Event);
    fn kind(&self) -> TargetKind;
    /// This handle's holder will send no more, though the handle may still be around.
    fn dispose(&self) {}
    /// A handle of its own for one more holder, where the target counts them.
    fn dup(&self) -> Option<Arc<dyn Target>> {
        None
    }
}

/// A Durable Object class as a value: what a facet is an instance of.
pub trait ClassPort: Send + Sync {
    fn is_dynamic(&self) -> bool;
    /// The host's own type.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// `env.NAMESPACE`: all objects of one class.
pub trait NamespacePort: Send + Sync {
    fn id_from_name(&self, name: &str) -> ObjectId;
    fn new_unique_id(&self) -> ObjectId;
    fn id_from_string(&self, text: &str) -> Result<ObjectId, crate::IdError>;
    /// A fresh stub. The object starts when the first event reaches it.
    fn object(&self, id: ObjectId, name: Option<String>) -> Arc<dyn Target>;
}

/// The worker an isolate runs, as seen from inside: what `ctx.exports` is made of.
pub trait WorkerPort: Send + Sync {
    /// `limits` lowers the worker's own.
    fn entrypoint(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn Target>;
    fn class(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn ClassPort>;
}

/// `env.LOADER`.
pub trait LoaderPort: Send + Sync {
    /// The worker called `id`, and a slot for its code if it is not loaded. `None`: a new one.
    fn get(&self, id: Option<&str>) -> (Arc<dyn LoadedWorker>, Option<Box<dyn CodeSlot>>);
}

/// A worker made by a loader. Dropping the last handle lets its isolate go.
pub trait LoadedWorker: WorkerPort {}

/// Waits for the code of one worker. Dropping it fails the load.
pub trait CodeSlot: Send {
    /// # Errors
    /// What is wrong with the code object, in the platform's words; every caller waiting for the
    /// worker gets the same.
    fn provide(self: Box<Self>, code: WorkerCode) -> Result<(), Failure>;
    fn fail(self: Box<Self>, failure: Failure);
}

/// `WorkerCode`: what a loader is given.
pub struct WorkerCode {
    /// `None` was `undefined`.
    pub compatibility_date: Option<String>,
    pub compatibility_flags: Vec<String>,
    pub allow_experimental: bool,
    pub main: String,
    pub modules: Vec<Module>,
    pub env: Option<Payload>,
    pub outbound: Arc<dyn Target>,
    pub tails: Vec<Arc<dyn Target>>,
    pub limits: Limits,
}

/// How an object is told who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectName {
    Id {
        id: ObjectId,
        name: Option<String>,
    },
    /// A facet that was given a string.
    Text(String),
}

/// What an isolate needs to construct an object.
pub struct ObjectStart {
    pub class_name: Option<String>,
    pub id: ObjectName,
    pub props: Option<Arc<Payload>>,
    pub database: PathBuf,
    /// Answers wait for `fdatasync`.
    pub fsync: bool,
    pub limits: Limits,
    /// Idle objects leave memory after this long.
    pub evict_after_ms: u64,
    /// Events that wait longer are refused.
    pub wait_ms_max: u64,
    /// 0 for a root object.
    pub depth: u8,
}

/// One incarnation of an object or facet, as its isolate sees it.
pub trait ObjectPort: Send + Sync {
    /// Unique in this process.
    fn key(&self) -> u64;
    fn start(&self) -> &ObjectStart;
    fn output_gate(&self) -> &Arc<OutputGate>;
    /// The instance is gone for good with this reason; its facets go with it. `freed`: whoever asks
    /// for the name next gets a new one, else the name keeps failing (a facet that cannot start).
    fn broken(&self, failure: Failure, freed: bool);
    /// The isolate cannot be stopped: the database stays open for nobody knows how long.
    fn stuck(&self);
    /// Why this life is over, if it is: nothing of it may run any more.
    fn failure(&self) -> Option<Failure>;
    /// The isolate is about to open the database. False: this life is over, and the file may be another's.
    fn open_database(&self) -> bool;
    /// The isolate has closed the database, or could not open it.
    fn database_closed(&self);
    /// The database has been opened and has this alarm: it may be missing in the wake-up list.
    fn alarm_found(&self, time_ns: i64);
    /// A commit has changed the alarm. `listed` is called once nothing of this commit can be known
    /// outside without the wake-up list knowing of the alarm, from any thread, perhaps at once. What
    /// is returned is called when the commit itself is durable.
    fn alarm_committed(&self, time_ns: Option<i64>, listed: Listed) -> Box<dyn FnOnce() + Send>;
    fn facet(&self, name: &str) -> FacetLookup;
    /// As `facet`, for its alarm: a start that fails leaves no trace on the name.
    fn facet_for_alarm(&self, name: &str) -> FacetLookup;
    fn facet_abort(&self, name: &str, failure: Failure);
    /// # Errors
    /// The files could not be removed.
    fn facet_delete(&self, name: &str) -> Result<(), Failure>;
    /// # Errors
    /// `dst` is empty then, never half copied.
    fn facet_clone(&self, src: &str, dst: &str) -> Result<(), Failure>;
    /// # Errors
    /// The files could not be removed.
    fn facet_delete_all(&self) -> Result<(), Failure>;
}

/// Told when the wake-up list is durable, or that it cannot be written.
pub type Listed = Box<dyn FnOnce(Result<(), Failure>) + Send>;

pub enum FacetLookup {
    /// Running, starting or poisoned: the target knows.
    Known(Arc<dyn Target>),
    /// Nobody of that name yet: events sent to the target wait until the slot is filled.
    Start(Arc<dyn Target>, Box<dyn FacetStart>),
}

/// Waits for what the start callback of a facet returns. Dropping it fails the start.
pub trait FacetStart: Send {
    /// `id`: `None` inherits the parent's.
    fn start(self: Box<Self>, class: Arc<dyn ClassPort>, id: Option<ObjectName>);
    fn fail(self: Box<Self>, failure: Failure);
}

/// What `env` has under one name.
#[derive(Clone)]
pub enum Binding {
    /// A `vars` value.
    Json(String),
    Namespace(Arc<dyn NamespacePort>),
    Service(Arc<dyn Target>),
    Class(Arc<dyn ClassPort>),
    Loader(Arc<dyn LoaderPort>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Log,
    Warn,
    Error,
}

/// One line of `console`, or an uncaught exception.
pub struct LogLine<'a> {
    pub level: LogLevel,
    pub message: &'a str,
}

/// Where a worker's log goes.
pub trait LogSink: Send + Sync {
    fn log(&self, line: LogLine<'_>);
}
