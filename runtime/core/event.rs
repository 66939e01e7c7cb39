//! The one envelope for everything that reaches user code.

use crate::{Body, BodyStream, Charge, ClassPort, Failure, Link, Received, SocketEnd, Target};
use std::fmt;
use std::sync::{Arc, Mutex};

/// Header names (lower case) and values (one char per byte).
pub type Headers = Vec<(String, String)>;

#[derive(Debug, Default)]
pub struct FetchRequest {
    pub method: String,
    /// Absolute.
    pub url: String,
    pub headers: Headers,
    pub body: Body,
    /// `request.cf` as JSON.
    pub cf: Option<String>,
}

impl FetchRequest {
    /// The client wants a WebSocket.
    pub fn asks_for_socket(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("upgrade") && value.eq_ignore_ascii_case("websocket")
        })
    }
}

#[derive(Debug)]
pub struct FetchResponse {
    pub status: u16,
    pub status_text: String,
    pub headers: Headers,
    pub body: Body,
    /// The client's end of a WebSocket; the status is 101 then.
    pub socket: Option<Arc<SocketEnd>>,
}

/// A stream inside a payload: whoever unpacks the payload first has it.
pub type StreamSlot = Arc<Mutex<Option<BodyStream>>>;

/// What a serialised value refers to by number.
#[derive(Clone)]
pub enum Capability {
    Target(Arc<dyn Target>),
    Class(Arc<dyn ClassPort>),
    Stream(StreamSlot),
}

/// A value in V8's structured-clone format, and what it points to.
#[derive(Clone, Default)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub capabilities: Vec<Capability>,
    /// What the sender of an answer pays for it until it is read.
    pub charge: Option<Arc<Charge>>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Payload({} bytes, {} capabilities)",
            self.bytes.len(),
            self.capabilities.len()
        )
    }
}

#[derive(Debug)]
pub enum EventKind {
    Fetch(FetchRequest),
    /// Walk `path` from the target, then call what is there with `args`, or read it if there are none.
    Rpc {
        path: Vec<String>,
        args: Option<Payload>,
    },
    /// Answered once the target is broken, with what calls get from then on. No user code sees it.
    Watch,
    /// What came through a WebSocket that was accepted here.
    Socket(Received),
    /// An alarm is due.
    Alarm(AlarmEvent),
    /// The alarm of the facet `name` is due, and it does not run: start it.
    FacetDue {
        name: String,
    },
    /// A cron trigger. Answered as a response with JSON, `{outcome, noRetry}`, when all that the handler started is over.
    Scheduled(ScheduledEvent),
    /// An event of a worker that the receiver is a tail of is over: its trace item, as JSON of the sender's own. Nobody
    /// waits for the answer.
    Tail(Arc<str>),
    /// A `test(controller, env, ctx)` handler.
    Test,
    /// What the main module exports, answered as a response with JSON: `[{name, kind, test}]`.
    Describe,
}

impl EventKind {
    /// About what it occupies while it is on its way. Bodies pay for themselves.
    pub fn cost_bytes(&self) -> usize {
        const ITSELF: usize = 1 << 10;
        let content = match self {
            Self::Fetch(request) => {
                let headers = request.headers.iter();
                request.url.len()
                    + headers
                        .map(|(name, value)| name.len() + value.len())
                        .sum::<usize>()
                    + request.cf.as_ref().map_or(0, String::len)
            }
            Self::Rpc { path, args } => {
                path.iter().map(String::len).sum::<usize>()
                    + args.as_ref().map_or(0, |args| args.bytes.len())
            }
            Self::FacetDue { name } => name.len(),
            Self::Scheduled(scheduled) => scheduled.cron.len(),
            Self::Tail(item) => item.len(),
            Self::Watch | Self::Socket(_) | Self::Alarm(_) | Self::Test | Self::Describe => 0,
        };
        ITSELF + content
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledEvent {
    /// When it should have run, in milliseconds since 1970, as JS is told.
    pub time_ms: f64,
    /// The expression as it was written.
    pub cron: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmEvent {
    /// The database is asked first; what the wake-up list says may be too early.
    Run {
        time_ns: i64,
        /// Counted retries so far.
        retry_count: u32,
        is_retry: bool,
    },
    /// It has failed too often: clear it, if it is still this one.
    GiveUp { time_ns: i64 },
}

/// How the delivery of an alarm ended, other than by a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmAnswer {
    /// The handler resolved, and the alarm is no longer in the database.
    Done,
    /// There is none in the database.
    Absent,
    /// The one in the database is later.
    Later(i64),
}

/// What a parent says whose facet should be started.
#[derive(Clone)]
pub enum FacetDue {
    /// It runs or starts. It stays while this is held.
    Started(Arc<dyn Target>),
    /// The parent has no callback to start it.
    Unclaimed,
    /// The parent's callback returned nothing.
    Unwanted,
}

impl fmt::Debug for FacetDue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started(_) => "Started",
            Self::Unclaimed => "Unclaimed",
            Self::Unwanted => "Unwanted",
        })
    }
}

#[derive(Debug)]
pub enum Answer {
    Response(FetchResponse),
    Value(Payload),
    Alarm(AlarmAnswer),
    FacetDue(FacetDue),
}

pub type Outcome = Result<Answer, Failure>;

/// Somebody who waits for many outcomes, and knows each by a number.
pub trait Replies: Send + Sync {
    fn reply(&self, number: u64, outcome: Outcome);
}

/// Where the outcome of one event goes. Dropped unanswered, it says that the target went away.
pub struct Reply(Option<Way>);

enum Way {
    /// Costs no allocation: every call between isolates has one of these at either end.
    Numbered(Arc<dyn Replies>, u64),
    Once(Box<dyn FnOnce(Outcome) + Send>),
}

impl Reply {
    pub fn new(take: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Some(Way::Once(Box::new(take))))
    }

    pub fn numbered(to: Arc<dyn Replies>, number: u64) -> Self {
        Self(Some(Way::Numbered(to, number)))
    }

    pub fn send(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        match self.0.take() {
            Some(Way::Numbered(to, number)) => to.reply(number, outcome),
            Some(Way::Once(take)) => take(outcome),
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.tell(Err(Failure::disconnected()));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Which call of which isolate an event answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Of no other isolate of this process, ever.
    pub isolate: u64,
    pub call: u32,
}

/// Something to be done by user code, and where its outcome goes.
#[derive(Debug)]
pub struct Event {
    pub kind: EventKind,
    pub reply: Reply,
    /// The record it shares with who asked, if that is user code or may go away before the answer.
    pub link: Option<Link>,
    /// What the sender pays for it until it is delivered.
    pub charge: Option<Charge>,
    /// `None`: not sent by user code.
    pub caller: Option<Caller>,
}

impl Event {
    pub fn new(kind: EventKind, reply: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self::with_reply(kind, Reply::new(reply))
    }

    pub fn with_reply(kind: EventKind, reply: Reply) -> Self {
        Self {
            kind,
            reply,
            link: None,
            charge: None,
            caller: None,
        }
    }
}
