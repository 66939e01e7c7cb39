//! Calls that come back to an object inside its own critical section, where they would wait for themselves.
//!
//! Owns: the events at the input gates of this isolate that may never get in, and the questions of other isolates about
//! theirs. Always true: an event is refused only if every event on the way from the section to it waits for the
//! next call of that way and for nothing else. Whoever calls back without being waited for is let in when the section
//! is left, as on the platform. What cannot be proven (somebody also reads a stream, or has other events in the same object)
//! ends by the time limit of a section.
//! Dropped: refusing whatever comes back (a notification nobody waits for does); asking again and again (questions stand
//! until they can be answered).

use crate::isolate::Isolate;
use facetd_core::{Failure, HostError, Inbox, Link, Message};
use facetd_rpc::{Call, Input, IsolateState, Stop};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const CYCLE: &str = "This call came back to a Durable Object that waits for it inside blockConcurrencyWhile() or an asynchronous transaction, so it would wait for itself. Make the call before or after the critical section, or pass the other side a function that you create inside it: calls of that function belong to the section.";

/// Questions and suspicions that one isolate keeps, since each is looked at whenever the isolate falls idle. More end by
/// the time limit.
const KEPT_MAX: usize = 64;
/// With more calls on their way it is not looked which of them a section waits for.
const CALLS_MAX: usize = 4096;

#[derive(Default)]
pub(crate) struct Cycles {
    suspects: Vec<Suspect>,
    asked: Vec<Asked>,
}

/// An event that waits at the gate of an object whose section waits for a call above it.
struct Suspect {
    event: u32,
    context: u32,
    link: Link,
    /// The events between the section and this one that have not said that they are stuck.
    unsure: Arc<AtomicUsize>,
}

struct Asked {
    event: u32,
    on: Link,
    tell: Box<dyn FnOnce() + Send>,
}

impl Isolate {
    /// `event` waits at the gate of `context`.
    pub(crate) fn suspect(&mut self, context: u32, event: u32) {
        let many = self.state.calls.borrow().len() > CALLS_MAX;
        if many || self.cycles.suspects.len() >= KEPT_MAX {
            return;
        }
        let link = {
            let events = self.state.events.borrow();
            events.get(&event).and_then(|event| event.link.clone())
        };
        let Some(link) = link else {
            return;
        };
        // From the section's own call down to this event, without it.
        let mut between: Vec<(Link, Link)> = Vec::new();
        let mut below = link.clone();
        let mut at = Some(&link);
        loop {
            let Some(call) = at else {
                return; // it comes from elsewhere
            };
            if *call != link {
                between.push((call.clone(), below.clone()));
            }
            if section_waits_for(&self.state, context, call) {
                break;
            }
            below = call.clone();
            at = call.parent();
        }
        let unsure = Arc::new(AtomicUsize::new(between.len()));
        for (served, on) in between {
            let Some((inbox, event)) = served.server() else {
                return; // it is over: its reply is on its way
            };
            let tell = teller(&self.control.inbox, &unsure);
            inbox.send(Message::Ask { event, on, tell });
        }
        self.cycles.suspects.push(Suspect {
            event,
            context,
            link,
            unsure,
        });
    }

    pub(crate) fn ask(&mut self, event: u32, on: Link, tell: Box<dyn FnOnce() + Send>) {
        if self.cycles.asked.len() < KEPT_MAX {
            self.cycles.asked.push(Asked { event, on, tell });
        }
    }

    /// Nothing is going on in this isolate: what is stuck now stays stuck. True: somebody was refused.
    pub(crate) fn settle_cycles(&mut self) -> bool {
        if self.cycles.asked.is_empty() && self.cycles.suspects.is_empty() {
            return false;
        }
        let state = &self.state;
        for asked in std::mem::take(&mut self.cycles.asked) {
            match waits_only_for(state, asked.event, &asked.on) {
                Some(true) => (asked.tell)(),
                Some(false) => self.cycles.asked.push(asked),
                None => {}
            }
        }
        self.cycles
            .suspects
            .retain(|suspect| waits_at_gate(state, suspect.context, suspect.event));
        let suspects = &self.cycles.suspects;
        let refused: Vec<(u32, u32)> = suspects
            .iter()
            .filter(|suspect| suspect.unsure.load(Ordering::Acquire) == 0)
            .filter(|suspect| waits_only_for_itself(state, suspect.context, suspects))
            .map(|suspect| (suspect.context, suspect.event))
            .collect();
        let any = !refused.is_empty();
        let cycle: Failure = HostError::new("Error", CYCLE).into();
        for (context, event) in refused {
            self.refuse_waiting(context, &cycle, |waiting, _| waiting == event);
        }
        any
    }
}

fn teller(inbox: &Inbox, unsure: &Arc<AtomicUsize>) -> Box<dyn FnOnce() + Send> {
    let (inbox, unsure) = (inbox.clone(), unsure.clone());
    Box::new(move || {
        unsure.fetch_sub(1, Ordering::AcqRel);
        inbox.send(Message::Told);
    })
}

fn is(call: &Call, link: &Link) -> bool {
    matches!(&call.stop, Some(Stop::Link(of)) if of == link)
}

/// The calls that the open sections of `context` wait for, until `each` has seen enough.
fn of_sections(state: &IsolateState, context: u32, mut each: impl FnMut(&Call) -> bool) {
    let sections = state
        .with_object(context, |object| object.gate.open_sections().to_vec())
        .unwrap_or_default();
    for call in state.calls.borrow().values() {
        if matches!(call.stop, Some(Stop::Limit(_))) {
            continue;
        }
        let of_one = call.context == context && call.section.is_some_and(|s| sections.contains(&s));
        if of_one && !each(call) {
            return;
        }
    }
}

fn section_waits_for(state: &IsolateState, context: u32, link: &Link) -> bool {
    let mut found = false;
    of_sections(state, context, |call| {
        found |= is(call, link);
        !found
    });
    found
}

/// All that the sections of `context` wait for are calls above events that wait at its gate.
fn waits_only_for_itself(state: &IsolateState, context: u32, suspects: &[Suspect]) -> bool {
    let (mut any, mut only) = (false, true);
    of_sections(state, context, |call| {
        any = true;
        only &= suspects
            .iter()
            .filter(|suspect| suspect.context == context)
            .any(|suspect| suspect.link.chain().any(|above| is(call, above)));
        only
    });
    any && only
}

fn waits_at_gate(state: &IsolateState, context: u32, event: u32) -> bool {
    let waits = state.with_object(context, |object| {
        object
            .gate
            .waiting()
            .any(|input| matches!(input, Input::Event { event: waiting, .. } if *waiting == event))
    });
    waits.unwrap_or(false)
}

/// `event` has no answer, and nothing goes on in its context but that it waits for `on`. `None`: it is over.
fn waits_only_for(state: &IsolateState, event: u32, on: &Link) -> Option<bool> {
    let events = state.events.borrow();
    let asked = events.get(&event).filter(|asked| asked.reply.is_some())?;
    let context = asked.context;
    let alone = events
        .iter()
        .all(|(number, other)| *number == event || other.context != context);
    let calls = state.calls.borrow();
    let mut waits = false;
    let only = calls
        .values()
        .filter(|call| call.context == context && !matches!(call.stop, Some(Stop::Limit(_))))
        .all(|call| {
            let it = is(call, on);
            waits |= it;
            it
        });
    Some(alone && waits && only)
}
