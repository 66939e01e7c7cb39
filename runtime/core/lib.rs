//! What every other crate may name: ids, limits, events, gates and the ports between JS and the host.
//!
//! Pure: no tokio, no V8, no SQLite, no clock. So gate order and ids can be tested without any of them.
#![forbid(unsafe_code)]

mod alarms;
mod body;
mod budget;
mod census;
mod event;
mod failure;
mod gate;
mod ids;
mod inbox;
mod limits;
mod link;
mod mailbox;
mod output_gate;
mod ports;
mod socket;

pub use alarms::{
    ALARM_RETRIES_MAX, After, AlarmKey, Ended, FACET_ALARM_INTERVAL_NS,
    FACET_TREE_ALARM_INTERVAL_NS, ListNow, Listing, Run, Schedule,
};
pub use body::{Body, BodyError, BodyStream, BodyWriter, body_channel};
pub use budget::{Charge, OverBudget, Queue, SendBudget};
pub use census::{CensusRequest, Counts};
pub use event::{
    AlarmAnswer, AlarmEvent, Answer, Caller, Capability, Event, EventKind, FacetDue, FetchRequest,
    FetchResponse, Headers, Outcome, Payload, Replies, Reply, ScheduledEvent, StreamSlot,
};
pub use failure::{Failure, HostError};
pub use gate::{Entered, InputGate, Ready, SectionId};
pub use ids::{IdError, ObjectId, UniqueKey};
pub use inbox::{Inbox, Messages};
pub use limits::{
    ALARM_WALL_MS_MAX, CODE_BYTES_MAX, CRON_WALL_MS_MAX, ENV_BYTES_MAX, FACET_DEPTH_MAX,
    FACET_NAME_BYTES_MAX, Limits, MailboxLimits, OBJECT_NAME_BYTES_MAX, RPC_BYTES_MAX,
    SOCKET_MESSAGE_BYTES_MAX, TAILS_MAX, TRACE_BYTES_MAX, TRACE_LINES_MAX,
};
pub use link::{CALL_DEPTH_MAX, Link, Reservation};
pub use mailbox::{Completed, EventTarget, Message, Module, ModuleSource, WorkerBundle};
pub use output_gate::OutputGate;
pub use ports::{
    Binding, ClassPort, CodeSlot, FacetLookup, FacetStart, Listed, LoadedWorker, LoaderPort,
    LogLevel, LogLine, LogSink, NamespacePort, ObjectName, ObjectPort, ObjectStart, Target,
    TargetKind, WorkerCode, WorkerPort,
};
pub use socket::{Parcel, Received, SocketEnd, SocketMessage, socket_pair};

/// A map by numbers that we gave out ourselves. Nobody outside can choose them, so the hash only has to be fast.
pub type Table<K, V> = rustc_hash::FxHashMap<K, V>;
