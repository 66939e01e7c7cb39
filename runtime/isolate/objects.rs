//! Objects in this isolate: constructing, delivering, resetting, evicting.

use crate::descriptors;
use crate::isolate::Isolate;
use crate::turn::Payer;
use deno_core::cppgc::make_cppgc_object;
use deno_core::v8;
use facetd_core::{
    Answer, Body, Completed, Event, EventKind, EventTarget, Failure, FetchRequest, FetchResponse,
    Headers, InputGate, Limits, Message, ObjectName, ObjectPort, Outcome, Payload, Ready, Received,
    SocketMessage,
};
use facetd_rpc::{
    Context, EventState, Handle, Input, IsolateState, ObjectContext, Timer, Via, add_reader,
    deserialize, thrown_failure,
};
use facetd_storage::Databases;
use facetd_store::OpenOptions;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Numbers `deliver` in `40_events.js` knows.
const TO_ENTRYPOINT: u32 = 0;
const TO_OBJECT: u32 = 1;
const TO_EXPORT: u32 = 2;
const TO_SOCKET: u32 = 3;
const FETCH: u32 = 0;
const RPC: u32 = 1;
const TEST: u32 = 2;
const DESCRIBE: u32 = 3;
const SOCKET: u32 = 4;
/// Of what came through a socket.
const TEXT: u32 = 0;
const BINARY: u32 = 1;
const CLOSE: u32 = 2;
const LOST: u32 = 3;

const GONE: &str = "The execution context which hosts this callback is no longer running.";

const OVERLOADED: &str =
    "Durable Object is overloaded. Too many objects are open at the same time.";

type Keep = Option<Arc<dyn Any + Send + Sync>>;

impl Isolate {
    pub(crate) fn handle_event(
        &mut self,
        target: EventTarget,
        event: Event,
        limits: Limits,
        keep: Keep,
    ) {
        if let Some(failure) = &self.start_failure {
            if let EventTarget::Object(port) = &target {
                port.broken(failure.clone(), false);
            }
            event.reply.send(Err(failure.clone()));
            return;
        }
        let Event {
            kind,
            reply,
            abort,
            charge,
        } = event;
        let number = self.state.next_id();
        let context = match &target {
            EventTarget::Entrypoint { .. } => {
                self.state
                    .contexts
                    .borrow_mut()
                    .insert(number, Context { object: None });
                number
            }
            EventTarget::Export(export) => {
                let home = self.state.exports.borrow().get(export).copied();
                match home.filter(|home| self.state.contexts.borrow().contains_key(home)) {
                    Some(home) => home,
                    None => {
                        reply.send(Err(Failure::error(GONE)));
                        return;
                    }
                }
            }
            EventTarget::Socket(socket) => {
                let open = self.state.sockets.borrow().get(socket).map(|s| s.context);
                match open {
                    Some(context) => context,
                    None => return, // ended meanwhile
                }
            }
            EventTarget::Object(port) => match self.object_context(port) {
                Ok(context) => context,
                Err(failure) => {
                    reply.send(Err(failure));
                    return;
                }
            },
        };
        let limits = limits.lower(self.limits);
        let timer = limits.wall_ms.map(|wall_ms| {
            let inbox = self.control.inbox.clone();
            let task = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wall_ms)).await;
                inbox.send(Message::TimedOut { event: number });
            });
            Timer(task.abort_handle())
        });
        let known = EventState {
            context,
            reply: Some(reply),
            limits,
            cpu_used_ns: 0,
            sub_requests: 0,
            keep,
            timer,
            charge,
        };
        self.state.events.borrow_mut().insert(number, known);
        if let Some(abort) = abort {
            let inbox = self.control.inbox.clone();
            abort.on_abort(move || inbox.send(Message::Cancelled { event: number }));
        }
        let via = match &target {
            EventTarget::Export(export) => Via::Export(*export),
            EventTarget::Socket(socket) => Via::Socket(*socket),
            EventTarget::Object(_) | EventTarget::Entrypoint { .. } => Via::Itself,
        };
        match target {
            EventTarget::Object(_) | EventTarget::Export(_) | EventTarget::Socket(_) => {
                self.state.with_object(context, |object| object.add_busy(1));
                if let Some(input) = self.state.admit(
                    context,
                    None,
                    Input::Event {
                        event: number,
                        kind,
                        via,
                    },
                ) {
                    self.run_input(context, input);
                }
                self.run_ready(context);
            }
            EventTarget::Entrypoint { name, props } => {
                self.deliver(
                    number,
                    context,
                    TO_ENTRYPOINT,
                    Name::Text(name),
                    props,
                    kind,
                );
            }
        }
    }

    /// The context of an object, which is constructed when it is not in memory.
    fn object_context(&mut self, port: &Arc<dyn ObjectPort>) -> Result<u32, Failure> {
        if let Some(failure) = port.failure() {
            return Err(failure); // sent before the end of this life, and only now delivered
        }
        if let Some(context) = self.state.objects.borrow().get(&port.key()) {
            return Ok(*context);
        }
        self.construct(port)
    }

    fn construct(&mut self, port: &Arc<dyn ObjectPort>) -> Result<u32, Failure> {
        self.make_room()?;
        let start = port.start();
        let context = self.state.next_id();
        let control = self.control.clone();
        let options = OpenOptions {
            storage_bytes_max: start
                .limits
                .lower(self.limits)
                .storage_mb
                .map(|mb| mb << 20),
            interrupt: Some(Arc::new(move || {
                control.stopping.load(Ordering::Acquire)
                    || control.interrupted.load(Ordering::Acquire)
            })),
        };
        if !port.open_database() {
            // It broke meanwhile, and its successor may have the file by now.
            return Err(port.failure().unwrap_or_else(Failure::disconnected));
        }
        if let Err(error) = self.databases.open(context, &start.database, options) {
            tracing::error!(%error, "the database of an object could not be opened");
            port.database_closed();
            let failure = Failure::error(error.js_message());
            port.broken(failure.clone(), true);
            return Err(failure);
        }
        let object = ObjectContext {
            port: port.clone(),
            gate: InputGate::default(),
            busy: 0,
            idle_since: None,
        };
        self.state.contexts.borrow_mut().insert(
            context,
            Context {
                object: Some(object),
            },
        );
        self.state.objects.borrow_mut().insert(port.key(), context);
        self.control.objects.lock().insert(port.key(), port.clone());
        let made = self.turn(Payer::Event { event: 0, context }, |scope, state| {
            construct(scope, state, context, port.as_ref())
        });
        if self.control.stopping.load(Ordering::Acquire) {
            let killed = *self.control.killed.lock();
            return Err(killed.map_or_else(Failure::disconnected, |k| k.failure()));
        }
        if !self.state.contexts.borrow().contains_key(&context) {
            // The constructor's own turn reset it, by `ctx.abort()` or a commit that failed.
            return Err(self.last_reset.take().unwrap_or_else(Failure::disconnected));
        }
        match made {
            Some(Ok(())) => {
                // Idle from here on, until its first event comes through the gate.
                self.state.with_object(context, |object| object.add_busy(0));
                Ok(context)
            }
            Some(Err((failure, freed))) => {
                self.reset_object(context, failure.clone(), freed);
                Err(failure)
            }
            None => {
                self.reset_object(context, Failure::disconnected(), true);
                Err(Failure::disconnected())
            }
        }
    }

    fn run_input(&mut self, context: u32, input: Input) {
        match input {
            Input::Event { event, kind, via } => {
                let (target, name) = match via {
                    Via::Itself => (TO_OBJECT, Name::Text(None)),
                    Via::Export(export) => (TO_EXPORT, Name::Number(export)),
                    Via::Socket(socket) => (TO_SOCKET, Name::Number(socket)),
                };
                self.deliver(event, context, target, name, None, kind);
            }
            Input::Completed { call, with } => self.complete(call, with),
        }
    }

    /// Runs whatever the input gate of `context` lets in now.
    pub(crate) fn run_ready(&mut self, context: u32) {
        while let Some(ready) = self.state.next_ready(context) {
            match ready {
                Ready::Deliver(input) => self.run_input(context, input),
                Ready::Section(section, Input::Completed { call, .. }) => {
                    self.complete(call, Completed::Section(section));
                }
                Ready::Section(..) => {}
            }
            if self.control.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Something JS waits for has happened: tell it when its object's gate lets it in.
    pub(crate) fn handle_completed(&mut self, call: u32, with: Completed) {
        if call == 0 {
            // A critical section was left.
            if let Completed::Section(context) = with {
                self.run_ready(context.0);
            }
            return;
        }
        let begun = self
            .state
            .calls
            .borrow()
            .get(&call)
            .map(|c| (c.context, c.section));
        let Some((context, section)) = begun else {
            return;
        };
        if let Some(Input::Completed { call, with }) =
            self.state
                .admit(context, section, Input::Completed { call, with })
        {
            self.complete(call, with);
        }
        self.run_ready(context);
    }

    /// Its life is over, though the isolate has not been told yet: none of its code runs on.
    fn is_over(&self, context: u32) -> bool {
        self.state
            .with_object(context, |object| object.port.failure().is_some())
            .unwrap_or(false)
    }

    fn complete(&mut self, call: u32, with: Completed) {
        let Some(begun) = self.state.calls.borrow_mut().remove(&call) else {
            return;
        };
        if self.is_over(begun.context) {
            return;
        }
        let payer = Payer::Event {
            event: begun.event,
            context: begun.context,
        };
        let told = self.turn(payer, |scope, state| complete(scope, state, call, with));
        if told == Some(None) {
            // What came cannot be read here (too deep, or this isolate's built-ins were tampered with).
            let unreadable = Err(Failure::type_error("The answer could not be read."));
            self.turn(payer, |scope, state| {
                complete(scope, state, call, Completed::Outcome(unreadable))
            });
        }
    }

    fn deliver(
        &mut self,
        event: u32,
        context: u32,
        target: u32,
        name: Name,
        props: Option<Arc<Payload>>,
        kind: EventKind,
    ) {
        if self.is_over(context) {
            return; // its abort, which is on its way, answers the event
        }
        let delivered = self.turn(Payer::Event { event, context }, |scope, state| {
            deliver(scope, state, event, context, target, name, props, kind)
        });
        if let Some(event) = self.state.events.borrow_mut().get_mut(&event) {
            event.charge = None;
        }
        if delivered == Some(None) {
            // Our own JS threw before it could answer: never user code's doing.
            self.state.answer(event, Err(Failure::internal()));
            self.state.flush_outbox();
        }
        if target == TO_SOCKET {
            // Not an answer, so no gate holds it: the next message may come.
            let reply = {
                let mut events = self.state.events.borrow_mut();
                events.get_mut(&event).and_then(|event| event.reply.take())
            };
            drop(reply);
        }
    }

    /// Throws an object out of memory. Whoever waits for it gets `failure`.
    pub(crate) fn reset_object(&mut self, context: u32, failure: Failure, freed: bool) {
        let Some(port) = self.state.object_port(context) else {
            return;
        };
        // First: whoever is told must find a new incarnation when it asks for the name again.
        port.broken(failure.clone(), freed);
        port.output_gate().break_with(&failure);
        self.state.flush_outbox();
        let events: Vec<u32> = {
            let events = self.state.events.borrow();
            events
                .iter()
                .filter(|(_, e)| e.context == context)
                .map(|(number, _)| *number)
                .collect()
        };
        for event in events {
            let known = self.state.events.borrow_mut().remove(&event);
            if let Some(reply) = known.and_then(|known| known.reply) {
                reply.send(Err(failure.clone()));
            }
        }
        self.forget_object(context, &port);
        self.last_reset = Some(failure);
    }

    fn forget_object(&mut self, context: u32, port: &Arc<dyn ObjectPort>) {
        self.state.give_up_calls(context);
        self.state.contexts.borrow_mut().remove(&context);
        self.state.objects.borrow_mut().remove(&port.key());
        self.control.objects.lock().remove(&port.key());
        self.state.drop_sockets(context);
        self.databases.close(context);
        port.database_closed();
        let destroy = self.state.callbacks().destroy.clone();
        // Not a turn, and may be called at the end of one. It runs no user code; should some get in through
        // a built-in after all, the CPU limit covers it.
        self.begin(Payer::Isolate);
        let main_context = self.runtime.main_context();
        {
            v8::scope_with_context!(let scope, self.runtime.v8_isolate(), main_context);
            let destroy = v8::Local::new(scope, &destroy);
            let this = v8::undefined(scope).into();
            let number = v8::Integer::new_from_unsigned(scope, context).into();
            destroy.call(scope, this, &[number]);
        }
        self.end(Payer::Isolate);
    }

    /// Each open database holds descriptors of the process. An isolate that has its share of them gives
    /// up the object that was idle for longest before it opens one more.
    ///
    /// # Errors
    /// All of its objects are busy.
    fn make_room(&mut self) -> Result<(), Failure> {
        let most = descriptors::databases_max();
        let (share, of_all) = if self.state.dynamic.get() {
            (most / 4, most * 3 / 4)
        } else {
            (most / 2, most)
        };
        if self.databases.open_here() < share && Databases::open_anywhere() < of_all {
            return Ok(());
        }
        let idlest = {
            let contexts = self.state.contexts.borrow();
            let idle = contexts.iter().filter_map(|(context, known)| {
                let object = known.object.as_ref()?;
                Some((object.idle_since?, *context, object.port.clone()))
            });
            idle.min_by_key(|(since, ..)| *since)
        };
        match idlest {
            Some((_, context, port)) => {
                self.forget_object(context, &port);
                Ok(())
            }
            None => Err(facetd_core::HostError {
                overloaded: true,
                ..facetd_core::HostError::new("Error", OVERLOADED)
            }
            .into()),
        }
    }

    /// Drops objects that have had nothing to do for long enough. Returns how long the next one has.
    pub(crate) fn evict_idle(&mut self) -> Option<Duration> {
        let mut evict = Vec::new();
        let mut next: Option<Duration> = None;
        for (context, known) in self.state.contexts.borrow().iter() {
            let Some(object) = &known.object else {
                continue;
            };
            let after = Duration::from_millis(object.port.start().evict_after_ms);
            let idle = object
                .idle_since
                .map_or(Duration::ZERO, |since| since.elapsed());
            if idle >= after {
                evict.push((*context, object.port.clone()));
            } else {
                next = Some(next.map_or(after - idle, |next| next.min(after - idle)));
            }
        }
        for (context, port) in evict {
            self.forget_object(context, &port);
        }
        next
    }
}

enum Name {
    Text(Option<String>),
    Number(u32),
}

type Scope<'a, 's, 'i> = &'a mut v8::PinScope<'s, 'i>;

fn string<'s>(scope: Scope<'_, 's, '_>, text: &str) -> v8::Local<'s, v8::Value> {
    // V8 refuses only strings longer than half a gigabyte; limits keep them away.
    v8::String::new(scope, text).map_or_else(|| v8::undefined(scope).into(), Into::into)
}

fn number<'s>(scope: Scope<'_, 's, '_>, n: u32) -> v8::Local<'s, v8::Value> {
    v8::Integer::new_from_unsigned(scope, n).into()
}

fn optional<'s>(scope: Scope<'_, 's, '_>, text: Option<&str>) -> v8::Local<'s, v8::Value> {
    match text {
        Some(text) => string(scope, text),
        None => v8::null(scope).into(),
    }
}

fn headers<'s>(scope: Scope<'_, 's, '_>, headers: &Headers) -> v8::Local<'s, v8::Value> {
    let mut flat = Vec::with_capacity(headers.len() * 2);
    for (name, value) in headers {
        flat.push(string(scope, name));
        flat.push(string(scope, value));
    }
    v8::Array::new_with_elements(scope, &flat).into()
}

fn body<'s>(scope: Scope<'_, 's, '_>, body: Body) -> v8::Local<'s, v8::Value> {
    match body {
        Body::Empty => v8::null(scope).into(),
        Body::Bytes(bytes) => {
            let length = bytes.len();
            let store = v8::ArrayBuffer::new_backing_store_from_vec(bytes.into()).make_shared();
            let buffer = v8::ArrayBuffer::with_backing_store(scope, &store);
            v8::Uint8Array::new(scope, buffer, 0, length)
                .map_or_else(|| v8::null(scope).into(), Into::into)
        }
        Body::Stream(stream) => {
            let op_state = deno_core::JsRuntime::op_state_from(scope);
            let rid = add_reader(&mut op_state.borrow_mut(), stream);
            number(scope, rid)
        }
    }
}

fn props_value<'s>(
    scope: Scope<'_, 's, '_>,
    state: &Rc<IsolateState>,
    props: Option<&Arc<Payload>>,
) -> Option<v8::Local<'s, v8::Value>> {
    match props {
        Some(props) => deserialize(scope, state, props),
        None => Some(v8::undefined(scope).into()),
    }
}

/// Calls `deliver` in `40_events.js`. `None`: our own JS threw.
#[allow(
    clippy::too_many_arguments,
    reason = "one per argument of the JS function"
)]
fn deliver<'s>(
    scope: Scope<'_, 's, '_>,
    state: &Rc<IsolateState>,
    event: u32,
    context: u32,
    target: u32,
    name: Name,
    props: Option<Arc<Payload>>,
    kind: EventKind,
) -> Option<()> {
    let name = match name {
        Name::Text(text) => optional(scope, text.as_deref()),
        Name::Number(n) => number(scope, n),
    };
    let props = props_value(scope, state, props.as_ref())?;
    let mut arguments = vec![
        number(scope, event),
        number(scope, context),
        number(scope, target),
        name,
        props,
    ];
    match kind {
        EventKind::Fetch(FetchRequest {
            method,
            url,
            headers: list,
            body: content,
            cf,
        }) => {
            arguments.push(number(scope, FETCH));
            arguments.push(string(scope, &method));
            arguments.push(string(scope, &url));
            arguments.push(headers(scope, &list));
            arguments.push(body(scope, content));
            arguments.push(optional(scope, cf.as_deref()));
        }
        EventKind::Rpc { path, args } => {
            let names: Vec<_> = path.iter().map(|name| string(scope, name)).collect();
            let args = match &args {
                Some(payload) => deserialize(scope, state, payload)?,
                None => v8::undefined(scope).into(),
            };
            arguments.push(number(scope, RPC));
            arguments.push(v8::Array::new_with_elements(scope, &names).into());
            arguments.push(args);
        }
        EventKind::Socket(received) => {
            arguments.push(number(scope, SOCKET));
            match received {
                Received::Message(SocketMessage::Text(text)) => {
                    arguments.push(number(scope, TEXT));
                    arguments.push(string(scope, &text));
                }
                Received::Message(SocketMessage::Binary(bytes)) => {
                    arguments.push(number(scope, BINARY));
                    arguments.push(body(scope, Body::Bytes(bytes)));
                }
                Received::Message(SocketMessage::Close { code, reason }) => {
                    arguments.push(number(scope, CLOSE));
                    arguments.push(number(scope, u32::from(code.unwrap_or(0))));
                    arguments.push(string(scope, &reason));
                }
                Received::Lost => arguments.push(number(scope, LOST)),
            }
        }
        EventKind::Test => arguments.push(number(scope, TEST)),
        EventKind::Describe => arguments.push(number(scope, DESCRIBE)),
    }
    let callbacks = state.callbacks();
    let deliver = v8::Local::new(scope, &callbacks.deliver);
    let this = v8::undefined(scope).into();
    deliver.call(scope, this, &arguments)?;
    Some(())
}

/// Calls `complete` in `00_context.js` with what a call was answered.
fn complete<'s>(
    scope: Scope<'_, 's, '_>,
    state: &Rc<IsolateState>,
    call: u32,
    with: Completed,
) -> Option<()> {
    let mut arguments = vec![number(scope, call)];
    match with {
        Completed::Outcome(outcome) => arguments.extend(outcome_arguments(scope, state, outcome)?),
        Completed::Drained(gone) => {
            arguments.push(number(scope, 4));
            arguments.push(v8::Boolean::new(scope, gone).into());
        }
        Completed::Durable(Ok(())) => arguments.push(number(scope, 5)),
        Completed::Durable(Err(failure)) => {
            arguments.extend(outcome_arguments(scope, state, Err(failure))?)
        }
        Completed::Section(section) => {
            arguments.push(number(scope, 6));
            arguments.push(number(scope, section.0));
        }
        Completed::Timer => arguments.push(number(scope, 7)),
    }
    let callbacks = state.callbacks();
    let complete = v8::Local::new(scope, &callbacks.complete);
    let this = v8::undefined(scope).into();
    complete.call(scope, this, &arguments)?;
    Some(())
}

fn flags(reset: bool, retryable: bool, overloaded: bool, remote: bool) -> u32 {
    u32::from(reset)
        | u32::from(retryable) << 1
        | u32::from(overloaded) << 2
        | u32::from(remote) << 3
}

fn outcome_arguments<'s>(
    scope: Scope<'_, 's, '_>,
    state: &Rc<IsolateState>,
    outcome: Outcome,
) -> Option<Vec<v8::Local<'s, v8::Value>>> {
    Some(match outcome {
        Ok(Answer::Value(payload)) => vec![number(scope, 0), deserialize(scope, state, &payload)?],
        Ok(Answer::Response(FetchResponse {
            status,
            status_text,
            headers: list,
            body: content,
            socket,
        })) => vec![
            number(scope, 1),
            number(scope, u32::from(status)),
            string(scope, &status_text),
            headers(scope, &list),
            body(scope, content),
            match socket {
                Some(end) => make_cppgc_object(scope, Handle::socket(end)).into(),
                None => v8::null(scope).into(),
            },
        ],
        Err(Failure::Host(error)) => {
            let limit = match error.limit {
                Some((code, limit, used)) => {
                    let parts = [
                        string(scope, code),
                        v8::Number::new(scope, limit as f64).into(),
                        v8::Number::new(scope, used as f64).into(),
                    ];
                    v8::Array::new_with_elements(scope, &parts).into()
                }
                None => v8::undefined(scope).into(),
            };
            vec![
                number(scope, 2),
                string(scope, error.class),
                string(scope, &error.message),
                number(
                    scope,
                    flags(error.reset, error.retryable, error.overloaded, error.remote),
                ),
                limit,
            ]
        }
        Err(Failure::Thrown {
            value,
            reset,
            remote,
            ..
        }) => {
            vec![
                number(scope, 3),
                deserialize(scope, state, &value)?,
                number(scope, flags(reset, false, false, remote)),
            ]
        }
    })
}

/// Calls `construct` in `40_events.js`. Err: why it failed, and whether its name is free again.
fn construct<'s>(
    scope: Scope<'_, 's, '_>,
    state: &Rc<IsolateState>,
    context: u32,
    port: &dyn ObjectPort,
) -> Result<(), (Failure, bool)> {
    v8::tc_scope!(let scope, scope);
    let start = port.start();
    let id: v8::Local<v8::Value> = match &start.id {
        ObjectName::Text(text) => string(scope, text),
        ObjectName::Id { id, name } => {
            let known = name
                .as_deref()
                .filter(|n| n.len() <= facetd_core::OBJECT_NAME_BYTES_MAX);
            let parts = [string(scope, &id.to_string()), optional(scope, known)];
            v8::Array::new_with_elements(scope, &parts).into()
        }
    };
    let depth = number(scope, u32::from(start.depth));
    let id = v8::Array::new_with_elements(scope, &[id, depth]).into();
    let props = props_value(scope, state, start.props.as_ref());
    let class = optional(scope, start.class_name.as_deref());
    let made = props.and_then(|props| {
        let callbacks = state.callbacks();
        let construct = v8::Local::new(scope, &callbacks.construct);
        let this = v8::undefined(scope).into();
        let context = number(scope, context);
        construct.call(scope, this, &[context, class, id, props])
    });
    match made {
        Some(complaint) if complaint.is_string() => {
            Err((Failure::error(complaint.to_rust_string_lossy(scope)), false))
        }
        Some(_) => Ok(()),
        None => {
            if scope.has_terminated() {
                return Err((Failure::disconnected(), true));
            }
            let thrown = scope
                .exception()
                .unwrap_or_else(|| v8::undefined(scope).into());
            scope.reset();
            Err((thrown_failure(scope, state, thrown, false, true), true))
        }
    }
}
