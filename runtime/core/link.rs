//! The record of one call, shared by who makes it and who serves it.
//!
//! Owns: whether the caller has gone away; the calls *pipelined* on it, which go to a result that is not there
//! yet; and how deep it is, which is one deeper than the call that made it. Never runs JS. Always true: a call that was
//! pipelined is sent to the result, or answered with what became of the first call; never both, never neither.
//! Dropped: a list of pipelined calls at the caller, sent when the answer had come (a round trip for each `.x()`).

use crate::{Event, Failure, Inbox, Message, Target};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How deep calls may go: a call made by a call made by a call. No stack and no thread hangs on it, but each level
/// keeps an event alive. The platform allows half as many Workers in one request.
pub const CALL_DEPTH_MAX: u16 = 64;

#[derive(Clone)]
pub struct Link(Arc<Call>);

struct Call {
    /// The call that the event which made this one serves.
    parent: Option<Link>,
    /// 0: it came from outside.
    depth: u16,
    is_of_tail: bool,
    aborted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    server: Server,
    pipeline: Pipeline,
    /// Pipelined calls that have left JS and not the output gate of their caller.
    reserved: usize,
    /// The caller has the outcome.
    complete: bool,
}

/// Who is to be told that the caller has gone away.
#[derive(Default)]
enum Server {
    #[default]
    Nobody,
    Isolate {
        inbox: Inbox,
        event: u32,
    },
    Other(Box<dyn FnOnce() + Send>),
}

/// Where calls on the result go.
enum Pipeline {
    /// Nobody knows the result yet.
    Open(Vec<Event>),
    /// The result is kept under this target for them.
    Routed(Arc<dyn Target>),
    /// There is no result.
    Failed(Failure),
    /// It was answered before anybody pipelined: whoever wants to waits for the answer, which is on its way.
    Answered,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::Open(Vec::new())
    }
}

/// The right to send one pipelined call, taken when user code makes it: from then on whoever serves the first call knows
/// that its result is wanted.
pub struct Reservation(Option<Link>);

impl Default for Link {
    /// A call from outside.
    fn default() -> Self {
        Self(Arc::new(Call {
            parent: None,
            depth: 0,
            is_of_tail: false,
            aborted: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link(depth {})", self.0.depth)
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Step by step: a chain of links dropped by itself would recurse once per link.
        let mut above = self.parent.take();
        while let Some(Link(link)) = above {
            above = Arc::into_inner(link).and_then(|mut link| link.parent.take());
        }
    }
}

impl Link {
    /// A call made while `parent` is served, or by what is `depth` deep and serves none. `None`: too deep.
    #[must_use]
    pub fn below(parent: Option<Link>, depth: u16) -> Option<Self> {
        let depth = 1 + parent.as_ref().map_or(depth, Link::depth);
        let is_of_tail = parent.as_ref().is_some_and(Link::is_of_tail);
        (depth <= CALL_DEPTH_MAX).then(|| {
            Self(Arc::new(Call {
                parent,
                depth,
                is_of_tail,
                aborted: AtomicBool::new(false),
                state: Mutex::default(),
            }))
        })
    }

    /// Of an event that tells a tail of another. No tail hears of it, nor of any call below: it would never end.
    #[must_use]
    pub fn of_tail() -> Self {
        Self(Arc::new(Call {
            parent: None,
            depth: 1,
            is_of_tail: true,
            aborted: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    #[must_use]
    pub fn is_of_tail(&self) -> bool {
        self.0.is_of_tail
    }

    #[must_use]
    pub fn depth(&self) -> u16 {
        self.0.depth
    }

    #[must_use]
    pub fn parent(&self) -> Option<&Link> {
        self.0.parent.as_ref()
    }

    /// This call and those above it.
    pub fn chain(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(Some(self), |link| link.parent())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the caller goes away

    /// The caller wants no answer any more, nor one of what it pipelined.
    pub fn abort(&self) {
        self.0.aborted.store(true, Ordering::Release);
        let (server, pipeline) = {
            let mut state = self.state();
            let pipeline = std::mem::replace(&mut state.pipeline, Pipeline::Answered);
            (std::mem::take(&mut state.server), pipeline)
        };
        drop(pipeline);
        match server {
            Server::Nobody => {}
            Server::Isolate { inbox, event } => inbox.send(Message::Cancelled { event }),
            Server::Other(tell) => tell(),
        }
    }

    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.0.aborted.load(Ordering::Acquire)
    }

    /// Calls `tell` when aborted, at once if it already is.
    pub fn on_abort(&self, tell: impl FnOnce() + Send + 'static) {
        self.set_server(Server::Other(Box::new(tell)));
    }

    /// It is served as `event` of the isolate behind `inbox`, which is told when it is aborted.
    pub fn served_as(&self, inbox: &Inbox, event: u32) {
        self.set_server(Server::Isolate {
            inbox: inbox.clone(),
            event,
        });
    }

    fn set_server(&self, server: Server) {
        self.state().server = server;
        if self.is_aborted() {
            self.abort();
        }
    }

    /// The isolate that serves it, and as which event.
    #[must_use]
    pub fn server(&self) -> Option<(Inbox, u32)> {
        match &self.state().server {
            Server::Isolate { inbox, event } => Some((inbox.clone(), *event)),
            Server::Nobody | Server::Other(_) => None,
        }
    }

    // ---- pipelining: the caller's side

    /// A call on the result will come. `None`: the answer is on its way already.
    #[must_use]
    pub fn reserve(&self) -> Option<Reservation> {
        let mut state = self.state();
        match state.pipeline {
            Pipeline::Open(_) | Pipeline::Routed(_) => {
                state.reserved += 1;
                Some(Reservation(Some(self.clone())))
            }
            Pipeline::Failed(_) | Pipeline::Answered => None,
        }
    }

    /// The caller has the outcome. What still waits for a result gets `failure`.
    pub fn complete(&self, failure: Option<&Failure>) {
        let before = {
            let mut state = self.state();
            state.complete = true;
            match (&state.pipeline, failure) {
                // Those that are reserved still go there.
                (Pipeline::Routed(_), None) if state.reserved > 0 => return,
                (_, failure) => {
                    let gone = Failure::disconnected;
                    let after = match state.reserved {
                        0 => Pipeline::Answered,
                        _ => Pipeline::Failed(failure.cloned().unwrap_or_else(gone)),
                    };
                    std::mem::replace(&mut state.pipeline, after)
                }
            }
        };
        if let Pipeline::Open(waiting) = before {
            for event in waiting {
                let failure = failure.cloned().unwrap_or_else(Failure::disconnected);
                event.reply.send(Err(failure));
            }
        }
    }

    // ---- pipelining: the side that serves the call

    /// There is a result. True: somebody has calls for it, which want a [`Link::route`].
    #[must_use]
    pub fn answer(&self) -> bool {
        let mut state = self.state();
        let wanted = match &state.pipeline {
            Pipeline::Open(waiting) => state.reserved > 0 || !waiting.is_empty(),
            Pipeline::Routed(_) | Pipeline::Failed(_) | Pipeline::Answered => return false,
        };
        if !wanted {
            state.pipeline = Pipeline::Answered;
        }
        wanted
    }

    /// The result is kept under `target` for as long as somebody may call it: calls go there, in order.
    pub fn route(&self, target: &Arc<dyn Target>) {
        let mut state = self.state();
        let before = match &mut state.pipeline {
            Pipeline::Open(waiting) => std::mem::take(waiting),
            Pipeline::Routed(_) | Pipeline::Failed(_) | Pipeline::Answered => return,
        };
        state.pipeline = Pipeline::Routed(target.clone());
        // Under the lock, so that none overtakes them. It is the own mailbox of whoever calls us.
        for event in before {
            target.send(event);
        }
    }
}

impl Reservation {
    pub fn send(mut self, event: Event) {
        let Some(link) = self.0.take() else {
            return; // only `send` and `drop` take it, and both end it
        };
        let (to, over) = {
            let mut state = link.state();
            state.reserved -= 1;
            let to = match &mut state.pipeline {
                Pipeline::Open(waiting) => {
                    waiting.push(event);
                    return;
                }
                Pipeline::Routed(target) => Ok(target.clone()),
                Pipeline::Failed(failure) => Err(failure.clone()),
                Pipeline::Answered => Err(Failure::disconnected()), // aborted
            };
            (to, state.close())
        };
        match to {
            Ok(target) => target.send(event),
            Err(failure) => event.reply.send(Err(failure)),
        }
        drop(over);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            let over = {
                let mut state = link.state();
                state.reserved -= 1;
                state.close()
            };
            drop(over);
        }
    }
}

impl State {
    /// Nobody can come any more: lets go of the result. Drop what it returns without the lock.
    fn close(&mut self) -> Option<Pipeline> {
        (self.complete && self.reserved == 0)
            .then(|| std::mem::replace(&mut self.pipeline, Pipeline::Answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, EventKind, Outcome, Payload, TargetKind};
    use std::sync::mpsc;

    /// A kept result: answers with its own number and says when it is let go.
    struct Kept(Arc<AtomicBool>);

    impl Target for Kept {
        fn send(&self, event: Event) {
            let EventKind::Rpc { path, .. } = event.kind else {
                panic!("only calls are pipelined")
            };
            let bytes = path.concat().into_bytes();
            event.reply.send(Ok(Answer::Value(Payload {
                bytes,
                ..Payload::default()
            })));
        }

        fn kind(&self) -> TargetKind {
            TargetKind::Export
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    fn kept() -> (Arc<dyn Target>, Arc<AtomicBool>) {
        let gone = Arc::new(AtomicBool::new(false));
        (Arc::new(Kept(gone.clone())), gone)
    }

    type Outcomes = mpsc::Receiver<String>;

    fn outcomes() -> (impl Fn(&str) -> Event, Outcomes) {
        let (sender, receiver) = mpsc::channel();
        let event = move |name: &str| {
            let sender = sender.clone();
            let kind = EventKind::Rpc {
                path: vec![name.to_owned()],
                args: None,
            };
            Event::new(kind, move |outcome: Outcome| {
                let text = match outcome {
                    Ok(Answer::Value(payload)) => {
                        String::from_utf8_lossy(&payload.bytes).into_owned()
                    }
                    Ok(_) => "something else".to_owned(),
                    Err(Failure::Host(error)) => error.message.clone(),
                    Err(Failure::Thrown { text, .. }) => text.to_string(),
                };
                sender.send(text).expect("the test listens");
            })
        };
        (event, receiver)
    }

    fn all(outcomes: &Outcomes) -> Vec<String> {
        outcomes.try_iter().collect()
    }

    #[test]
    fn calls_made_before_the_answer_reach_the_result_in_order() {
        let (event, got) = outcomes();
        let link = Link::default();
        for name in ["a", "b"] {
            link.reserve().expect("no answer yet").send(event(name));
        }
        assert_eq!(all(&got), Vec::<String>::new(), "there is no result yet");
        assert!(link.answer(), "somebody wants the result");
        let (target, gone) = kept();
        link.route(&target);
        drop(target);
        link.reserve()
            .expect("the caller does not know of the answer")
            .send(event("c"));
        assert_eq!(all(&got), ["a", "b", "c"], "in order");
        assert!(!gone.load(Ordering::Acquire), "more may come");
        link.complete(None);
        assert!(gone.load(Ordering::Acquire), "nobody can come any more");
        assert!(link.reserve().is_none(), "the caller has the result");
    }

    #[test]
    fn nobody_keeps_a_result_that_nobody_pipelined_on() {
        let link = Link::default();
        assert!(!link.answer(), "nobody wants it");
        assert!(link.reserve().is_none(), "the answer is on its way");
        let (target, gone) = kept();
        link.route(&target);
        drop(target);
        assert!(gone.load(Ordering::Acquire), "routing is refused then");
    }

    #[test]
    fn a_reserved_call_finds_the_result_though_it_leaves_late() {
        let (event, got) = outcomes();
        let link = Link::default();
        let late = link.reserve().expect("no answer yet");
        assert!(link.answer(), "a reservation is a wish");
        let (target, gone) = kept();
        link.route(&target);
        drop(target);
        link.complete(None);
        assert!(!gone.load(Ordering::Acquire), "it is still to come");
        late.send(event("late"));
        assert_eq!(all(&got), ["late"], "it got there");
        assert!(gone.load(Ordering::Acquire), "it was the last");
    }

    #[test]
    fn a_reservation_that_is_dropped_lets_go_of_the_result() {
        let link = Link::default();
        let dropped = link.reserve();
        assert!(link.answer(), "it is wanted");
        let (target, gone) = kept();
        link.route(&target);
        drop(target);
        link.complete(None);
        drop(dropped);
        assert!(gone.load(Ordering::Acquire), "nobody comes");
    }

    #[test]
    fn without_a_result_every_pipelined_call_fails_like_the_first() {
        let (event, got) = outcomes();
        let link = Link::default();
        link.reserve().expect("no answer yet").send(event("early"));
        let late = link.reserve().expect("no answer yet");
        link.complete(Some(&Failure::error("no result")));
        assert_eq!(all(&got), ["no result"], "it waited");
        late.send(event("late"));
        assert_eq!(all(&got), ["no result"], "it comes too late");
        assert!(link.reserve().is_none(), "the caller knows");
    }

    #[test]
    fn an_aborted_call_takes_what_was_pipelined_on_it_along() {
        let (event, got) = outcomes();
        let link = Link::default();
        link.reserve().expect("no answer yet").send(event("x"));
        let told = Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        link.on_abort(move || tell.store(true, Ordering::Release));
        link.abort();
        assert!(
            told.load(Ordering::Acquire),
            "whoever serves it is told at once"
        );
        assert_eq!(all(&got), ["Network connection lost."], "it is over too");
        assert!(!link.answer(), "nobody wants the result any more");
        assert!(link.reserve().is_none(), "nor can anybody");
    }

    #[test]
    fn who_comes_to_serve_an_aborted_call_is_told() {
        let link = Link::default();
        link.abort();
        let (inbox, mut messages) = Inbox::new();
        link.served_as(&inbox, 7);
        assert!(
            matches!(messages.try_next(), Some(Message::Cancelled { event: 7 })),
            "at once"
        );
    }

    #[test]
    fn depth_is_counted_and_bounded() {
        let mut link = Link::default();
        assert_eq!(link.depth(), 0, "from outside");
        for depth in 1..=CALL_DEPTH_MAX {
            link = Link::below(Some(link), 0).expect("not too deep yet");
            assert_eq!(link.depth(), depth, "one deeper than its parent");
        }
        assert!(Link::below(Some(link.clone()), 0).is_none(), "too deep");
        assert_eq!(
            link.chain().count(),
            usize::from(CALL_DEPTH_MAX) + 1,
            "all of them are known"
        );
        assert!(
            Link::below(None, CALL_DEPTH_MAX).is_none(),
            "a depth alone counts too"
        );
    }

    #[test]
    fn a_link_does_not_keep_those_below_it() {
        let parent = Link::default();
        for _ in 0..1000 {
            let child = Link::below(Some(parent.clone()), 0);
            drop(child);
        }
        assert_eq!(Arc::strong_count(&parent.0), 1, "nothing is left of them");
    }
}
