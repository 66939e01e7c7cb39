//! What one isolate is told by the rest of the process, and how.

use crate::{
    Binding, CensusRequest, Event, Failure, Limits, Link, LogSink, NamespacePort, ObjectPort,
    Outcome, Payload, SectionId, Target, WorkerPort,
};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

#[allow(
    clippy::large_enum_variant,
    reason = "most messages are events; a box each would cost more than the space"
)]
pub enum Message {
    /// Become this worker. The first message of every isolate.
    Boot(Box<WorkerBundle>),
    Event {
        target: EventTarget,
        event: Event,
        /// Lower than the worker's own limits for this event.
        limits: Limits,
        /// What must stay alive until the event is over.
        keep: Option<Arc<dyn Any + Send + Sync>>,
    },
    /// Something this isolate waits for has happened.
    Completed { call: u32, with: Completed },
    /// Whoever asked for this event has gone away.
    Cancelled { event: u32 },
    /// The event has used up its wall time.
    TimedOut { event: u32 },
    /// Say so once nothing happens in `event` but that it waits for `on`, a call it made.
    Ask {
        event: u32,
        on: Link,
        tell: Box<dyn FnOnce() + Send>,
    },
    /// An answer to that has come.
    Told,
    /// Throw this object out of memory.
    AbortObject { object: u64, failure: Failure },
    /// Nobody refers to this exported function or `RpcTarget` any more.
    ReleaseExport { export: u32 },
    /// Count what there is.
    Census(CensusRequest),
    /// Stop: every waiting caller gets the failure.
    Shutdown { failure: Failure },
}

pub enum Completed {
    Outcome(Outcome),
    Durable(Result<(), Failure>),
    /// The reader of a body caught up; true: it is gone.
    Drained(bool),
    Section(SectionId),
    Timer,
}

pub enum EventTarget {
    /// A stateless export: a fresh instance per event.
    Entrypoint {
        name: Option<String>,
        props: Option<Arc<Payload>>,
    },
    Object(Arc<dyn ObjectPort>),
    /// A function or `RpcTarget` that user code passed out.
    Export(u32),
    /// A WebSocket that was accepted in this isolate.
    Socket(u32),
}

/// One module of a worker, by its name in the worker's virtual file tree.
#[derive(Clone, Debug)]
pub struct Module {
    pub name: String,
    pub source: ModuleSource,
}

#[derive(Clone, Debug)]
pub enum ModuleSource {
    EsModule(Arc<str>),
    CommonJs(Arc<str>),
    Text(Arc<str>),
    Data(Arc<[u8]>),
    Json(Arc<str>),
    Wasm(Arc<[u8]>),
}

impl ModuleSource {
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::EsModule(text) | Self::CommonJs(text) | Self::Text(text) | Self::Json(text) => {
                text.len()
            }
            Self::Data(bytes) | Self::Wasm(bytes) => bytes.len(),
        }
    }
}

/// Everything an isolate needs to become a worker.
pub struct WorkerBundle {
    pub name: String,
    pub main: String,
    pub modules: Vec<Module>,
    /// Compatibility flags in force, by date or by name.
    pub flags: BTreeSet<String>,
    pub bindings: Vec<(String, Binding)>,
    /// The whole `env` of a loaded worker; then there are no bindings.
    pub env: Option<Payload>,
    /// Exported classes that have a namespace.
    pub namespaces: Vec<(String, Arc<dyn NamespacePort>)>,
    pub worker: Arc<dyn WorkerPort>,
    /// Where global `fetch()` goes.
    pub outbound: Arc<dyn Target>,
    pub limits: Limits,
    /// Code from a loader: its entry points cannot be passed on.
    pub dynamic: bool,
    pub log: Arc<dyn LogSink>,
    /// Who is told of each event of this worker that is over.
    pub tails: Vec<Arc<dyn Target>>,
    /// Told once, when the modules have been evaluated or have failed.
    pub started: Box<dyn FnOnce(Result<(), Failure>) + Send>,
}
