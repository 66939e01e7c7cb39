//! What one isolate knows about its contexts, events and calls.
//!
//! Owns: the table of contexts (a stateless event, or an object with all its events), the events that
//! have not been answered, the calls JS waits for, and the outbox of the running turn. Everything is
//! on the isolate's thread. Every number JS passes is looked up here and may be wrong: JS can be
//! hostile, so a miss is a no-op or an error, never a panic.

use crate::handle::SocketSlot;
use crate::traces::Traces;
use deno_core::v8;
use facetd_core::{
    AlarmEvent, Answer, Caller, Charge, Completed, Entered, Event, EventKind, Failure, Inbox,
    InputGate, Limits, Link, LogSink, Message, ObjectPort, Outcome, OutputGate, OverBudget, Ready,
    Reply, Reservation, SectionId, SendBudget, SocketEnd, Table, Target, WorkerPort,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The JS functions Rust calls. Set once, by the bootstrap script.
pub struct Callbacks {
    pub deliver: v8::Global<v8::Function>,
    pub complete: v8::Global<v8::Function>,
    pub construct: v8::Global<v8::Function>,
    pub destroy: v8::Global<v8::Function>,
    pub boot: v8::Global<v8::Function>,
    pub describe: v8::Global<v8::Function>,
    pub revive: v8::Global<v8::Function>,
    pub clone_error: v8::Global<v8::Function>,
    pub pack_thrown: v8::Global<v8::Function>,
    pub callables: v8::Global<v8::Function>,
    pub revive_stored: v8::Global<v8::Function>,
    pub cancel: v8::Global<v8::Function>,
    pub release: v8::Global<v8::Function>,
    pub too_long: v8::Global<v8::Function>,
    pub census: v8::Global<v8::Function>,
}

/// What of its context an event is for.
#[derive(Clone, Copy, Debug)]
pub enum Via {
    /// The object itself.
    Itself,
    /// A function or `RpcTarget` that it passed out.
    Export(u32),
    /// A WebSocket that it accepted.
    Socket(u32),
}

/// Something that waits for the input gate of an object.
pub enum Input {
    Event {
        event: u32,
        kind: EventKind,
        via: Via,
    },
    Completed {
        call: u32,
        with: Completed,
    },
}

/// An object that lives in this isolate.
pub struct ObjectContext {
    pub port: Arc<dyn ObjectPort>,
    pub gate: InputGate<Input>,
    /// Events delivered and not done, plus `waitUntil` promises.
    pub busy: u32,
    /// Since when it has had nothing to do.
    pub idle_since: Option<Instant>,
    /// When it was looked at last, it waited for something all the same: a timer, an answer nobody awaits.
    pub was_pending: bool,
    /// How deep the call was that had it constructed: what its constructor calls is deeper.
    pub born_depth: u16,
}

impl ObjectContext {
    /// `by` more (or fewer) reasons to stay in memory.
    pub fn add_busy(&mut self, by: i32) {
        self.busy = self.busy.saturating_add_signed(by);
        self.idle_since = (self.busy == 0).then(Instant::now);
    }
}

/// Where continuations run and what dies together: one stateless event, or one object.
#[derive(Default)]
pub struct Context {
    pub object: Option<ObjectContext>,
    /// What stubs that came with arguments and results point to: let go with the context.
    pub stubs: Vec<std::sync::Weak<dyn Target>>,
}

impl Context {
    pub fn of(object: ObjectContext) -> Self {
        Self {
            object: Some(object),
            stubs: Vec::new(),
        }
    }
}

/// A function or `RpcTarget` that user code passed out.
#[derive(Clone, Copy, Debug)]
pub struct Exported {
    /// Where it lives.
    pub context: u32,
    /// The critical section that it was passed out of: calls of it belong to that section.
    pub section: Option<SectionId>,
}

/// What a watcher waits to see broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The life of an object, by the key of its port.
    Object(u64),
    /// A context that has passed something out.
    Context(u32),
    /// The isolate itself.
    Isolate,
}

/// Somebody who is told when something of this isolate's is broken.
pub struct Watcher {
    pub of: Watched,
    pub reply: Reply,
    /// What the watcher pays for it.
    pub charge: Option<Charge>,
}

/// An event on its way through this isolate.
pub struct EventState {
    pub context: u32,
    pub reply: Option<Reply>,
    pub link: Option<Link>,
    pub limits: Limits,
    pub cpu_used_ns: u64,
    pub sub_requests: u64,
    /// It is an alarm, and which.
    pub alarm: Option<AlarmEvent>,
    pub keep: Option<Arc<dyn Any + Send + Sync>>,
    /// Ends the event when its wall time is over, or the time of what it left to `waitUntil`; dropped with it.
    pub timer: Option<Timer>,
    /// It is answered, and the timer is for what it left to `waitUntil`.
    pub lingers: bool,
    /// The call that it answers, if it was sent by code.
    pub caller: Option<Caller>,
    /// It waits for nothing of its own: the contexts that went on when that was noticed, and may still settle what it
    /// waits for.
    pub stuck_while: Option<Vec<u32>>,
    /// Given back when JS has it.
    pub charge: Option<Charge>,
}

/// A task that is of no use without its owner.
pub struct Timer(pub tokio::task::AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Something JS waits for.
pub struct Call {
    pub context: u32,
    pub event: u32,
    pub section: Option<SectionId>,
    pub is_timer: bool,
    /// Where there is something to stop.
    pub stop: Option<Stop>,
}

/// How to stop what JS does not wait for any more.
pub enum Stop {
    Link(Link),
    Task(tokio::task::AbortHandle),
    /// Nobody waits for it: it ends a critical section that takes too long.
    Limit(tokio::task::AbortHandle),
}

impl Stop {
    pub fn now(self) {
        match self {
            Self::Link(link) => link.abort(),
            Self::Task(task) | Self::Limit(task) => task.abort(),
        }
    }
}

/// The slot of a handle that JS may have let go of.
type FreshSocket = Weak<RefCell<Option<Arc<SocketEnd>>>>;

/// A WebSocket that was accepted here.
pub struct OpenSocket {
    pub context: u32,
    pub end: Arc<SocketEnd>,
}

/// What calls of a function or `RpcTarget` get whose context is over.
pub const HOST_GONE: &str = "The execution context which hosts this callback is no longer running.";

const TOO_DEEP: &str = "Subrequest depth limit exceeded. This request recursed through Workers too many times. This can happen e.g. if you have a Worker or Durable Object that calls other Workers or objects recursively.";

pub(crate) const TOO_MUCH: &str =
    "Too much data is on its way from this isolate and has not been received yet.";

const TOO_MANY: &str =
    "Too many requests are on their way from this Worker and have not been received yet.";

/// Which commits a message of the outbox waits for.
#[derive(Clone, Copy)]
enum Waits {
    ForConfirmed,
    ForAll,
}

/// What leaves the isolate when the turn is over. Calls and answers, which most turns consist of, need no allocation.
enum Outgoing {
    Event(Arc<dyn Target>, Event),
    Answer(Reply, Outcome),
    Other(Box<dyn FnOnce(Result<(), Failure>) + Send>),
}

impl Outgoing {
    /// `durable`: whether the writes it could reveal are on disk.
    fn leave(self, durable: Result<(), Failure>) {
        match (self, durable) {
            (Self::Event(target, event), Ok(())) => target.send(event),
            (Self::Event(_, event), Err(failure)) => event.reply.send(Err(failure)),
            (Self::Answer(reply, outcome), durable) => reply.send(durable.and(outcome)),
            (Self::Other(message), durable) => message(durable),
        }
    }
}

pub struct IsolateState {
    /// Of no other isolate of this process, ever.
    pub identity: u64,
    pub inbox: Inbox,
    pub callbacks: RefCell<Option<Rc<Callbacks>>>,
    pub contexts: RefCell<Table<u32, Context>>,
    /// Context of each live object, by the key of its port.
    pub objects: RefCell<Table<u64, u32>>,
    pub events: RefCell<Table<u32, EventState>>,
    pub calls: RefCell<Table<u32, Call>>,
    /// Handles of loaded workers that V8 has collected.
    pub collected_workers: Rc<Cell<u32>>,
    /// The functions and `RpcTarget`s that were passed out and are still referred to.
    pub exports: RefCell<Table<u32, Exported>>,
    /// In the order in which they came.
    pub watchers: RefCell<BTreeMap<u32, Watcher>>,
    pub sockets: RefCell<Table<u32, OpenSocket>>,
    /// Sockets that may not have been accepted or sent away yet, and their contexts.
    fresh_sockets: RefCell<Vec<(u32, FreshSocket)>>,
    pub send_budget: SendBudget,
    next_id: Cell<u32>,
    /// Numbers are given out for the second time: some may still be in use.
    ids_were_used: Cell<bool>,
    outbox: RefCell<Vec<(u32, Waits, Outgoing)>>,
    /// The outbox of the last turn, for its room.
    emptied_outbox: RefCell<Vec<(u32, Waits, Outgoing)>>,
    /// The worker this isolate became.
    pub worker: RefCell<Option<Arc<dyn WorkerPort>>>,
    pub outbound: RefCell<Option<Arc<dyn Target>>>,
    pub log: RefCell<Option<Arc<dyn LogSink>>>,
    /// `None`: the worker has no tails.
    pub traces: RefCell<Option<Traces>>,
    pub dynamic: Cell<bool>,
    /// True while the top level of the modules runs: no I/O yet.
    pub starting: Cell<bool>,
    /// Objects that asked to be reset in this turn, and why. Handled when the turn has unwound.
    pub resets: RefCell<Vec<(u32, Failure)>>,
    /// `abortIsolate()` was called.
    pub condemned: RefCell<Option<Failure>>,
}

impl IsolateState {
    pub fn new(inbox: Inbox) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            identity: LAST.fetch_add(1, Ordering::Relaxed),
            inbox,
            callbacks: RefCell::default(),
            contexts: RefCell::default(),
            objects: RefCell::default(),
            events: RefCell::default(),
            calls: RefCell::default(),
            exports: RefCell::default(),
            watchers: RefCell::default(),
            collected_workers: Rc::default(),
            sockets: RefCell::default(),
            fresh_sockets: RefCell::default(),
            send_budget: SendBudget::default(),
            next_id: Cell::new(0),
            ids_were_used: Cell::new(false),
            outbox: RefCell::default(),
            emptied_outbox: RefCell::default(),
            worker: RefCell::default(),
            outbound: RefCell::default(),
            log: RefCell::default(),
            traces: RefCell::default(),
            dynamic: Cell::new(false),
            starting: Cell::new(false),
            resets: RefCell::default(),
            condemned: RefCell::default(),
        }
    }

    /// A number no context, event or call of this isolate has; never 0.
    pub fn next_id(&self) -> u32 {
        loop {
            let (id, began_anew) = self.next_id.get().overflowing_add(1);
            self.next_id.set(id);
            if began_anew {
                self.ids_were_used.set(true);
            }
            if !self.ids_were_used.get() {
                return id;
            }
            let taken = id == 0
                || self.contexts.borrow().contains_key(&id)
                || self.events.borrow().contains_key(&id)
                || self.calls.borrow().contains_key(&id)
                || self.sockets.borrow().contains_key(&id)
                || self.watchers.borrow().contains_key(&id);
            if !taken {
                return id;
            }
        }
    }

    pub fn callbacks(&self) -> Rc<Callbacks> {
        self.callbacks
            .borrow()
            .clone()
            .expect("the bootstrap script set the callbacks")
    }

    /// Notes that JS waits for something, and says under which number it will be told.
    pub fn begin_call(&self, context: u32, event: u32, section: u32) -> u32 {
        let call = self.next_id();
        let section = (section != 0).then_some(SectionId(section));
        self.calls.borrow_mut().insert(
            call,
            Call {
                context,
                event,
                section,
                stop: None,
                is_timer: false,
            },
        );
        call
    }

    /// Something that must not leave before this turn's writes are durable.
    pub fn send_later(
        &self,
        context: u32,
        message: impl FnOnce(Result<(), Failure>) + Send + 'static,
    ) {
        self.leaves_later(context, Outgoing::Other(Box::new(message)));
    }

    fn leaves_later(&self, context: u32, outgoing: Outgoing) {
        let message = (context, Waits::ForConfirmed, outgoing);
        self.outbox.borrow_mut().push(message);
    }

    /// Something to be told once all writes are durable, this turn's and unconfirmed ones included.
    pub fn when_durable(
        &self,
        context: u32,
        message: impl FnOnce(Result<(), Failure>) + Send + 'static,
    ) {
        let message = Outgoing::Other(Box::new(message));
        self.outbox
            .borrow_mut()
            .push((context, Waits::ForAll, message));
    }

    /// Lets the messages of the turn go, each through the gate of the object that sent it.
    pub fn flush_outbox(&self) {
        if self.outbox.borrow().is_empty() {
            return;
        }
        // Whoever is dropped or told here may send in its turn, and that is for the next flush.
        let mut messages = self
            .outbox
            .replace(std::mem::take(&mut *self.emptied_outbox.borrow_mut()));
        for (context, waits, message) in messages.drain(..) {
            match (self.output_gate(context), waits) {
                (Some(gate), Waits::ForConfirmed) => {
                    gate.send(move |durable| message.leave(durable))
                }
                (Some(gate), Waits::ForAll) => {
                    gate.when_durable(Box::new(move |durable| message.leave(durable)));
                }
                (None, _) => message.leave(Ok(())),
            }
        }
        *self.emptied_outbox.borrow_mut() = messages;
    }

    pub fn output_gate(&self, context: u32) -> Option<Arc<OutputGate>> {
        self.with_object(context, |object| object.port.output_gate().clone())
    }

    pub fn object_port(&self, context: u32) -> Option<Arc<dyn ObjectPort>> {
        self.with_object(context, |object| object.port.clone())
    }

    /// Runs `f` with the object of `context`; `None`: there is none, or it is gone.
    pub fn with_object<R>(
        &self,
        context: u32,
        f: impl FnOnce(&mut ObjectContext) -> R,
    ) -> Option<R> {
        let mut contexts = self.contexts.borrow_mut();
        contexts.get_mut(&context)?.object.as_mut().map(f)
    }

    /// The context is over: whoever works on its calls is told.
    pub fn give_up_calls(&self, context: u32) {
        let given_up: Vec<Call> = {
            let mut calls = self.calls.borrow_mut();
            let of_it = calls.extract_if(|_, call| call.context == context);
            of_it.map(|(_, call)| call).collect()
        };
        for stop in given_up.into_iter().filter_map(|call| call.stop) {
            stop.now();
        }
    }

    /// Something is broken for good: whoever watches it is told.
    pub fn tell_watchers(&self, of: Watched, failure: &Failure) {
        let told: Vec<Watcher> = {
            let mut watchers = self.watchers.borrow_mut();
            let of_it = watchers.extract_if(.., |_, watcher| watcher.of == of);
            of_it.map(|(_, watcher)| watcher).collect()
        };
        for watcher in told {
            watcher.reply.send(Err(failure.clone()));
        }
    }

    /// The context is over: what it has passed out is broken, what it was given is let go.
    pub fn end_context(&self, context: u32) {
        // What it has passed out stays in the table until nobody refers to it, and is found dead there.
        let ended = self.contexts.borrow_mut().remove(&context);
        if let Some(stubs) = ended.map(|ended| ended.stubs)
            && !stubs.is_empty()
        {
            // After the calls of them that are on their way out.
            self.send_later(0, move |_| {
                for target in stubs.iter().filter_map(std::sync::Weak::upgrade) {
                    target.dispose();
                }
            });
        }
        if !self.watchers.borrow().is_empty() {
            self.tell_watchers(Watched::Context(context), &Failure::error(HOST_GONE));
        }
        self.drop_sockets(context);
    }

    /// `context` holds a stub of `target` from now on.
    pub fn adopt_stub(&self, context: u32, target: &Arc<dyn Target>) {
        if let Some(context) = self.contexts.borrow_mut().get_mut(&context) {
            let stubs = &mut context.stubs;
            if stubs.len() >= 64 && stubs.len().is_power_of_two() {
                stubs.retain(|stub| stub.strong_count() > 0);
            }
            stubs.push(Arc::downgrade(target));
        }
    }

    pub fn fresh_sockets_len(&self) -> usize {
        let fresh = self.fresh_sockets.borrow();
        let open = |slot: &FreshSocket| slot.upgrade().is_some_and(|slot| slot.borrow().is_some());
        fresh.iter().filter(|(_, slot)| open(slot)).count()
    }

    /// `slot` belongs to `context`, until somebody takes what is in it.
    pub fn adopt_socket(&self, context: u32, slot: &SocketSlot) {
        let mut fresh = self.fresh_sockets.borrow_mut();
        if fresh.len() >= 64 && fresh.len().is_power_of_two() {
            fresh.retain(|(_, slot)| slot.upgrade().is_some_and(|slot| slot.borrow().is_some()));
        }
        fresh.push((context, Rc::downgrade(slot)));
    }

    /// The context is over: the other ends of its sockets notice.
    pub fn drop_sockets(&self, context: u32) {
        let mut fresh = self.fresh_sockets.borrow_mut();
        if !fresh.is_empty() {
            fresh.retain(|(of, slot)| {
                if *of == context {
                    drop(slot.upgrade().map(|slot| slot.take()));
                }
                *of != context
            });
        }
        drop(fresh);
        self.sockets.borrow_mut().retain(|_, socket| {
            let stays = socket.context != context;
            if !stays {
                socket.end.vanish();
            }
            stays
        });
    }

    /// Sends an event on behalf of the event that made `call`; the outcome completes it.
    ///
    /// # Errors
    /// The event of the caller may send no more of them, it is too deep, or too much is on its way.
    pub fn send_event(
        &self,
        target: Arc<dyn Target>,
        kind: EventKind,
        call: u32,
    ) -> Result<(), Failure> {
        if let Some((context, event)) = self.outgoing(kind, call)? {
            self.leaves_later(context, Outgoing::Event(target, event));
        }
        Ok(())
    }

    /// As `send_event`, to the result of a call that has none yet.
    ///
    /// # Errors
    /// As `send_event`.
    pub fn send_pipelined(
        &self,
        to: Reservation,
        kind: EventKind,
        call: u32,
    ) -> Result<(), Failure> {
        if let Some((context, outgoing)) = self.outgoing(kind, call)? {
            self.send_later(context, move |durable| match durable {
                Ok(()) => to.send(outgoing),
                Err(failure) => outgoing.reply.send(Err(failure)),
            });
        }
        Ok(())
    }

    /// The event of `call`, paid for, and the context whose writes it waits for. `None`: no such call.
    fn outgoing(&self, kind: EventKind, call: u32) -> Result<Option<(u32, Event)>, Failure> {
        let outgoing = self.paid_for(kind, call);
        if outgoing.is_err() {
            self.calls.borrow_mut().remove(&call);
        }
        outgoing
    }

    fn paid_for(&self, kind: EventKind, call: u32) -> Result<Option<(u32, Event)>, Failure> {
        let mut calls = self.calls.borrow_mut();
        let Some(begun) = calls.get_mut(&call) else {
            return Ok(None);
        };
        let mut above = None;
        if let Some(state) = self.events.borrow_mut().get_mut(&begun.event) {
            if state
                .limits
                .sub_requests
                .is_some_and(|max| state.sub_requests >= max)
            {
                return Err(Failure::error("Too many subrequests."));
            }
            // To watch is not to ask for anything.
            state.sub_requests += u64::from(!matches!(kind, EventKind::Watch));
            above = state.link.clone();
        }
        // Of no event: a constructor, and what it has started.
        let depth = match begun.event {
            0 => self
                .with_object(begun.context, |object| object.born_depth)
                .unwrap_or(0),
            _ => 0,
        };
        let link = Link::below(above, depth).ok_or_else(|| Failure::error(TOO_DEEP))?;
        let charge = match self.send_budget.charge_event(kind.cost_bytes()) {
            Ok(charge) => charge,
            Err(OverBudget::Bytes) => {
                return Err(facetd_core::HostError::new("RangeError", TOO_MUCH).into());
            }
            Err(OverBudget::Events) => {
                // As the receiver would have refused it, flags included.
                self.inbox.send(Message::Completed {
                    call,
                    with: Completed::Outcome(Err(Failure::overloaded(TOO_MANY))),
                });
                return Ok(None);
            }
        };
        begun.stop = Some(Stop::Link(link.clone()));
        let mut event = Event::with_reply(kind, self.inbox.completing(call));
        event.link = Some(link);
        event.charge = Some(charge);
        event.caller = Some(Caller {
            isolate: self.identity,
            call,
        });
        Ok(Some((begun.context, event)))
    }

    /// The outcome of `event`, to be sent when the turn is over. True: calls were pipelined on the result.
    pub fn answer(&self, event: u32, outcome: Outcome) -> bool {
        let reply = match self.events.borrow_mut().get_mut(&event) {
            Some(state) => state.reply.take().map(|reply| {
                let pipelined = match (&state.link, &outcome) {
                    (Some(link), Ok(Answer::Value(_))) => link.answer(),
                    _ => false,
                };
                (state.context, reply, pipelined)
            }),
            None => None,
        };
        let Some((context, reply, pipelined)) = reply else {
            return false;
        };
        if let Some(traces) = self.traces.borrow().as_ref() {
            traces.answered(event, &outcome);
        }
        self.leaves_later(context, Outgoing::Answer(reply, outcome));
        pipelined
    }

    /// The event, and everything it started, is over. A stateless context ends with it.
    pub fn event_done(&self, event: u32) {
        let Some(ended) = self.events.borrow_mut().remove(&event) else {
            return;
        };
        if let Some(traces) = self.traces.borrow().as_ref() {
            for (tail, told) in traces.ended(event, &ended, None) {
                self.leaves_later(ended.context, Outgoing::Event(tail, told));
            }
        }
        let of_object = self.with_object(ended.context, |object| object.add_busy(-1));
        // An exported function's event runs in the context of the event that exported it.
        if of_object.is_none() && ended.context == event {
            self.end_context(event);
        }
        // Whatever keeps the worker alive is let go when the turn is over, not under our feet.
        self.send_later(0, move |_| drop(ended.keep));
    }

    /// Nobody knows whether the event ever ends, or it has not by itself: its tails, if it has any, are told now. No gate
    /// holds that: what failed is no secret.
    pub fn trace_failed(&self, event: u32, failure: &Failure) {
        if let (Some(traces), Some(state)) = (
            self.traces.borrow().as_ref(),
            self.events.borrow().get(&event),
        ) {
            for (tail, told) in traces.ended(event, state, Some(failure)) {
                tail.send(told);
            }
        }
    }

    /// What to do with an input now: run it, or nothing because it waits.
    pub fn admit(&self, context: u32, section: Option<SectionId>, input: Input) -> Option<Input> {
        let mut contexts = self.contexts.borrow_mut();
        match contexts.get_mut(&context).and_then(|c| c.object.as_mut()) {
            Some(object) => object.gate.offer(section, input),
            None => Some(input),
        }
    }

    /// Objects that wait for something though no event of theirs runs: a timer, the answer to a call that nobody awaits.
    pub fn pending_contexts(&self) -> HashSet<u32> {
        self.calls
            .borrow()
            .values()
            .map(|call| call.context)
            .collect()
    }

    pub fn next_ready(&self, context: u32) -> Option<Ready<Input>> {
        self.with_object(context, |object| object.gate.next_ready())?
    }

    /// Enters a critical section of `context`; `None`: `call` is completed with it later.
    pub fn enter_section(&self, context: u32, parent: u32, call: u32) -> Option<SectionId> {
        let parent = (parent != 0).then_some(SectionId(parent));
        let mut contexts = self.contexts.borrow_mut();
        let object = contexts.get_mut(&context)?.object.as_mut()?;
        let waiting = Input::Completed {
            call,
            with: Completed::Timer,
        };
        match object.gate.enter(parent, waiting) {
            Entered::Now(section) => Some(section),
            Entered::Later => None,
        }
    }
}
