//! What tails are told about the events of this isolate: one trace item for each event that is over.
//!
//! Owns: the items of events that are not over yet. They are kept here rather than in JS, so that an event which a limit
//! ends is told of too. Everything is JSON from the start: tails get copies, and nothing of V8 is in them.
//! Called by: `46_tail.js` through ops, and whoever ends an event. Always true: nobody waits for a tail, no tail can fail
//! the event that it is told of, and what is kept for tails is limited.

use crate::ops::isolate;
use crate::state::EventState;
use deno_core::serde_json::{self, json};
use deno_core::{OpState, op2};
use facetd_core::{
    Answer, Charge, Event, EventKind, Failure, Link, LogLevel, LogLine, LogSink, Outcome,
    SendBudget, TRACE_BYTES_MAX, TRACE_LINES_MAX, Table, Target,
};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// The log levels of trace items, by the numbers of `46_tail.js`.
const LEVELS: [&str; 5] = ["debug", "info", "log", "warn", "error"];

/// One event, until it is over.
struct Trace {
    /// JSON of JS: what the event is, and of which entry point.
    about: String,
    is_call: bool,
    since: Instant,
    at_ms: u64,
    outcome: &'static str,
    status: Option<u16>,
    logs: Vec<String>,
    exceptions: Vec<String>,
    bytes: usize,
    is_truncated: bool,
    /// What is paid for all of it.
    charges: Vec<Charge>,
}

impl Trace {
    /// Room for one more line or exception, if there is any.
    fn takes(&mut self, bytes: usize, budget: &SendBudget) -> bool {
        let is_full = self.logs.len() + self.exceptions.len() >= TRACE_LINES_MAX
            || self.bytes.saturating_add(bytes) > TRACE_BYTES_MAX;
        let charge = if is_full || self.is_truncated {
            None
        } else {
            budget.charge(bytes)
        };
        let Some(charge) = charge else {
            self.is_truncated = true;
            return false;
        };
        self.bytes += bytes;
        self.charges.push(charge);
        true
    }

    fn end_with(&mut self, failure: &Failure) {
        let (name, message) = match failure {
            Failure::Host(error) => (error.class, error.message.as_str()),
            Failure::Thrown { text, .. } => ("Error", &**text),
        };
        let limit = match failure {
            Failure::Host(error) => error.limit.map(|(code, ..)| code),
            Failure::Thrown { .. } => None,
        };
        self.outcome = match limit {
            Some("EXCEEDED_CPU") => "exceededCpu",
            Some("EXCEEDED_MEMORY") => "exceededMemory",
            Some("EXCEEDED_WALL") => "exceededWallTime",
            _ => "exception",
        };
        let told = json!({ "name": name, "message": message, "timestamp": now_ms() });
        self.exceptions.push(told.to_string());
    }

    /// What `46_tail.js` of the tail reads.
    fn json(&self, script: Option<&str>, cpu_ns: u64) -> String {
        let script = serde_json::to_string(&script).unwrap_or_else(|_| "null".to_owned());
        format!(
            r#"{{"about":{},"script":{script},"at":{},"wall":{},"cpu":{},"outcome":"{}","truncated":{},"status":{},"logs":[{}],"exceptions":[{}]}}"#,
            self.about,
            self.at_ms,
            self.since.elapsed().as_millis(),
            cpu_ns / 1_000_000,
            self.outcome,
            self.is_truncated,
            self.status.unwrap_or(0),
            self.logs.join(","),
            self.exceptions.join(","),
        )
    }
}

/// Of an isolate whose worker has tails.
pub struct Traces {
    tails: Vec<Arc<dyn Target>>,
    script: Option<String>,
    open: RefCell<Table<u32, Trace>>,
    /// Its own: what is kept for tails takes nothing from what the worker may send.
    budget: SendBudget,
    lost: Arc<Lost>,
}

/// Counts the items that did not arrive, and says so, ever more rarely.
struct Lost {
    count: AtomicU64,
    log: Arc<dyn LogSink>,
}

impl Lost {
    fn one_more(&self, why: &str) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let message = &format!("{count} trace items were not delivered to a tail: {why}");
            let level = LogLevel::Warn;
            self.log.log(LogLine { level, message });
        }
    }
}

impl Traces {
    #[must_use]
    pub fn new(
        tails: Vec<Arc<dyn Target>>,
        script: Option<String>,
        is_guest: bool,
        log: Arc<dyn LogSink>,
    ) -> Self {
        let budget = SendBudget::default();
        if is_guest {
            budget.set_guest();
        }
        Self {
            tails,
            script,
            open: RefCell::default(),
            budget,
            lost: Arc::new(Lost {
                count: AtomicU64::new(0),
                log,
            }),
        }
    }

    fn with(&self, event: u32, note: impl FnOnce(&mut Trace)) {
        if let Some(trace) = self.open.borrow_mut().get_mut(&event) {
            note(trace);
        }
    }

    /// The event is answered. A call that fails is a failure for its caller, and a fine event here.
    pub fn answered(&self, event: u32, outcome: &Outcome) {
        self.with(event, |trace| match outcome {
            Ok(Answer::Response(response)) => trace.status = Some(response.status),
            Err(_) if !trace.is_call => trace.outcome = "exception",
            _ => {}
        });
    }

    /// The event is over: what its tails are told. `failure`: it has not ended by itself.
    #[must_use]
    pub fn ended(
        &self,
        event: u32,
        state: &EventState,
        failure: Option<&Failure>,
    ) -> Vec<(Arc<dyn Target>, Event)> {
        let Some(mut trace) = self.open.borrow_mut().remove(&event) else {
            return Vec::new();
        };
        if let Some(failure) = failure {
            trace.end_with(failure);
        }
        let item: Arc<str> = trace.json(self.script.as_deref(), state.cpu_used_ns).into();
        // What it holds is in the item now, and paid for there.
        drop(trace);
        let told = self.tails.iter();
        told.filter_map(|tail| Some((tail.clone(), self.event(item.clone())?)))
            .collect()
    }

    /// `None`: there is no room.
    fn event(&self, item: Arc<str>) -> Option<Event> {
        let kind = EventKind::Tail(item);
        let Ok(charge) = self.budget.charge_event(kind.cost_bytes()) else {
            self.lost.one_more("too many events are on their way");
            return None;
        };
        let lost = self.lost.clone();
        let mut event = Event::new(kind, move |outcome| {
            if let Err(Failure::Host(error)) = outcome
                && error.overloaded
            {
                lost.one_more(&error.message);
            }
        });
        event.link = Some(Link::of_tail());
        event.charge = Some(charge);
        Some(event)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn trace(state: &OpState, event: u32, note: impl FnOnce(&mut Trace, &SendBudget)) {
    let isolate = isolate(state);
    let traces = isolate.traces.borrow();
    if let Some(traces) = traces.as_ref() {
        traces.with(event, |trace| note(trace, &traces.budget));
    }
}

/// An event begins. `about`: JSON of what it is.
#[op2(fast)]
pub fn op_trace_begin(state: &mut OpState, event: u32, is_call: bool, #[string] about: String) {
    let isolate = isolate(state);
    let traces = isolate.traces.borrow();
    let Some(traces) = traces.as_ref() else {
        return;
    };
    let is_of_tail = |state: &EventState| state.link.as_ref().is_some_and(Link::is_of_tail);
    if isolate.events.borrow().get(&event).is_none_or(is_of_tail) {
        return;
    }
    let bytes = about.len();
    let mut begun = Trace {
        about,
        is_call,
        since: Instant::now(),
        at_ms: now_ms(),
        outcome: "ok",
        status: None,
        logs: Vec::new(),
        exceptions: Vec::new(),
        bytes: 0,
        is_truncated: false,
        charges: Vec::new(),
    };
    // Headers may be long, and they count.
    if begun.takes(bytes, &traces.budget) {
        traces.open.borrow_mut().insert(event, begun);
    } else {
        traces.lost.one_more("too much is kept for tails");
    }
}

/// One line of the console. `rest`: the end of a JSON object, from the message on.
#[op2(fast)]
pub fn op_trace_log(state: &mut OpState, event: u32, level: u32, #[string] rest: &str) {
    trace(state, event, |trace, budget| {
        if trace.takes(rest.len(), budget) {
            let level = LEVELS.get(level as usize).unwrap_or(&"log");
            trace.logs.push(format!(
                r#"{{"level":"{level}","timestamp":{},{rest}"#,
                now_ms()
            ));
        }
    });
}

/// An exception that nobody caught, as JSON.
#[op2(fast)]
pub fn op_trace_exception(state: &mut OpState, event: u32, #[string] exception: &str) {
    trace(state, event, |trace, budget| {
        if trace.takes(exception.len(), budget) {
            trace.exceptions.push(exception.to_owned());
        }
    });
}

/// How the event ends, where its answer does not say it.
#[op2(fast)]
pub fn op_trace_outcome(state: &mut OpState, event: u32, canceled: bool) {
    trace(state, event, |trace, _| {
        trace.outcome = if canceled { "canceled" } else { "exception" };
    });
}
