//! The ops behind stubs, answers, timers, gates and bodies.

use crate::body;
use crate::clone::{CloneMode, serialize, thrown_failure};
use crate::handle::{Handle, WrongHandle};
use crate::state::{Callbacks, Exported, IsolateState, Stop, TOO_MUCH, Timer};
use bytes::Bytes;
use deno_core::{OpState, ResourceId, op2, v8};
use deno_error::JsErrorBox;
use facetd_core::{
    Answer, Body, BodyError, Charge, Completed, Event, EventKind, EventTarget, Failure,
    FetchRequest, FetchResponse, Headers, Inbox, Limits, LogLevel, LogLine, Message, Payload,
    ScheduledEvent, SectionId, Target, TargetKind,
};
use futures::FutureExt;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

pub fn isolate(state: &OpState) -> Rc<IsolateState> {
    state.borrow::<Rc<IsolateState>>().clone()
}

pub fn isolate_of(scope: &v8::Isolate) -> Rc<IsolateState> {
    let op_state = deno_core::JsRuntime::op_state_from(scope);
    let op_state = op_state.borrow();
    isolate(&op_state)
}

/// What an op throws for a failure of the host's.
pub fn failure_error(failure: &Failure) -> JsErrorBox {
    match failure {
        Failure::Host(error) => JsErrorBox::new(error.class, error.message.clone()),
        Failure::Thrown { .. } => JsErrorBox::generic("internal error"),
    }
}

#[op2(nofast)]
pub fn op_rpc_callbacks<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    callbacks: v8::Local<'s, v8::Object>,
) -> Result<(), JsErrorBox> {
    let get = |name: &str| -> Result<v8::Global<v8::Function>, JsErrorBox> {
        let missing = || JsErrorBox::type_error(format!("callback {name} is missing"));
        let key = v8::String::new(scope, name).ok_or_else(missing)?;
        let value = callbacks.get(scope, key.into()).ok_or_else(missing)?;
        let function: v8::Local<v8::Function> = value.try_into().map_err(|_| missing())?;
        Ok(v8::Global::new(scope, function))
    };
    let callbacks = Callbacks {
        deliver: get("deliver")?,
        complete: get("complete")?,
        construct: get("construct")?,
        destroy: get("destroy")?,
        boot: get("boot")?,
        describe: get("describe")?,
        revive: get("revive")?,
        clone_error: get("cloneError")?,
        pack_thrown: get("packThrown")?,
        callables: get("callables")?,
        revive_stored: get("reviveStored")?,
        cancel: get("cancel")?,
        release: get("release")?,
        too_long: get("tooLong")?,
        census: get("census")?,
    };
    *isolate_of(scope).callbacks.borrow_mut() = Some(Rc::new(callbacks));
    Ok(())
}

/// Reads `[name, value, name, value, ...]`.
pub fn headers_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    flat: v8::Local<'s, v8::Array>,
) -> Headers {
    let mut headers = Vec::with_capacity(flat.length() as usize / 2);
    let mut at = 0;
    while at + 1 < flat.length() {
        let name = flat
            .get_index(scope, at)
            .map(|v| v.to_rust_string_lossy(scope));
        let value = flat
            .get_index(scope, at + 1)
            .map(|v| v.to_rust_string_lossy(scope));
        if let (Some(name), Some(value)) = (name, value) {
            headers.push((name, value));
        }
        at += 2;
    }
    headers
}

/// `null`: none; a string or bytes: those; a number: the resource of a body.
fn body_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &mut OpState,
    value: v8::Local<'s, v8::Value>,
) -> Result<Body, JsErrorBox> {
    if value.is_null_or_undefined() {
        return Ok(Body::Empty);
    }
    if value.is_uint32() {
        let rid = value.uint32_value(scope).unwrap_or(0);
        return body::take_body(state, rid)
            .ok_or_else(|| JsErrorBox::type_error("Body has already been used. It can only be used once. Use tee() first if you need to read it twice."));
    }
    let bytes = match v8::Local::<v8::ArrayBufferView>::try_from(value) {
        Ok(view) => {
            let mut bytes = vec![0; view.byte_length()];
            view.copy_contents(&mut bytes);
            bytes
        }
        Err(_) => value.to_rust_string_lossy(scope).into_bytes(),
    };
    charged(&isolate(state), bytes).map(Body::Bytes)
}

/// Bytes on their way, which the isolate pays for until their last reader lets go of them.
fn charged(isolate: &IsolateState, bytes: Vec<u8>) -> Result<Bytes, JsErrorBox> {
    let charge = isolate
        .send_budget
        .charge(bytes.len())
        .ok_or_else(|| JsErrorBox::new("RangeError", TOO_MUCH))?;
    Ok(Bytes::from_owner(Charged {
        bytes,
        _charge: charge,
    }))
}

struct Charged {
    bytes: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Sends a fetch through a stub. Returns the call that is completed with the response.
#[op2]
pub fn op_rpc_fetch<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: Rc<RefCell<OpState>>,
    #[cppgc] target: &Handle,
    context: u32,
    event: u32,
    section: u32,
    #[string] method: String,
    #[string] url: String,
    headers: v8::Local<'s, v8::Array>,
    body: v8::Local<'s, v8::Value>,
    #[string] cf: Option<String>,
) -> Result<u32, JsErrorBox> {
    let target = target.target().map_err(JsErrorBox::from_err)?.clone();
    let headers = headers_from_js(scope, headers);
    let body = body_from_js(scope, &mut state.borrow_mut(), body)?;
    let isolate = isolate(&state.borrow());
    let request = FetchRequest {
        method,
        url,
        headers,
        body,
        cf,
    };
    let call = isolate.begin_call(context, event, section);
    isolate
        .send_event(target, EventKind::Fetch(request), call)
        .map_err(|failure| failure_error(&failure))?;
    Ok(call)
}

/// Sends an RPC through a stub: a call if there are arguments, else a property read. Returns the call
/// that is completed with the result; 0: a JS exception is pending.
#[op2(nofast, reentrant)]
pub fn op_rpc_call<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] target: &Handle,
    context: u32,
    event: u32,
    section: u32,
    path: v8::Local<'s, v8::Array>,
    args: v8::Local<'s, v8::Value>,
) -> Result<u32, JsErrorBox> {
    let target = target.target().map_err(JsErrorBox::from_err)?.clone();
    let isolate = isolate_of(scope);
    let Some(kind) = rpc_from_js(scope, &isolate, path, args) else {
        return Ok(0);
    };
    let call = isolate.begin_call(context, event, section);
    isolate
        .send_event(target, kind, call)
        .map_err(|failure| failure_error(&failure))?;
    Ok(call)
}

/// `None`: a JS exception is pending.
fn rpc_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    isolate: &Rc<IsolateState>,
    path: v8::Local<'s, v8::Array>,
    args: v8::Local<'s, v8::Value>,
) -> Option<EventKind> {
    let mut names = Vec::with_capacity(path.length() as usize);
    for at in 0..path.length() {
        let name = path.get_index(scope, at);
        names.push(
            name.map(|n| n.to_rust_string_lossy(scope))
                .unwrap_or_default(),
        );
    }
    let args: Option<Payload> = if args.is_undefined() {
        None
    } else {
        Some(serialize(scope, isolate, args, CloneMode::Rpc)?)
    };
    Some(EventKind::Rpc { path: names, args })
}

/// As `op_rpc_call`, on the result of call `on`, which is not there yet. 0: it is on its way already, or a JS exception
/// is pending.
#[op2(nofast, reentrant)]
pub fn op_rpc_pipeline<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    on: u32,
    context: u32,
    event: u32,
    section: u32,
    path: v8::Local<'s, v8::Array>,
    args: v8::Local<'s, v8::Value>,
) -> Result<u32, JsErrorBox> {
    let isolate = isolate_of(scope);
    let reserved = match isolate.calls.borrow().get(&on).map(|call| &call.stop) {
        Some(Some(Stop::Link(link))) => link.reserve(),
        Some(Some(Stop::Task(_) | Stop::Limit(_)) | None) | None => None,
    };
    let Some(reserved) = reserved else {
        return Ok(0);
    };
    let Some(kind) = rpc_from_js(scope, &isolate, path, args) else {
        return Ok(0);
    };
    let call = isolate.begin_call(context, event, section);
    isolate
        .send_pipelined(reserved, kind, call)
        .map_err(|failure| failure_error(&failure))?;
    Ok(call)
}

/// The result of `event` is kept as `export`, for the calls that were pipelined on it.
#[op2(fast)]
pub fn op_rpc_route(state: &mut OpState, event: u32, export: u32, context: u32) {
    let isolate = isolate(state);
    let target: Arc<dyn Target> = Arc::new(export_target(&isolate, export, context, 0));
    let link = {
        let events = isolate.events.borrow();
        events.get(&event).and_then(|event| event.link.clone())
    };
    if let Some(link) = link {
        link.route(&target);
    }
}

/// Returns the call that is completed with an error once what `target` points to is broken; 0: it never is.
#[op2(fast)]
pub fn op_rpc_watch(
    state: &mut OpState,
    #[cppgc] target: &Handle,
    context: u32,
    event: u32,
) -> Result<u32, JsErrorBox> {
    let target = target.target().map_err(JsErrorBox::from_err)?.clone();
    if target.kind() == TargetKind::Service {
        return Ok(0); // whoever serves it is replaced
    }
    let isolate = isolate(state);
    let call = isolate.begin_call(context, event, 0);
    isolate
        .send_event(target, EventKind::Watch, call)
        .map_err(|failure| failure_error(&failure))?;
    Ok(call)
}

/// Sends a cron trigger through a stub. Returns the call that is completed with a response, the outcome as JSON.
#[op2(fast)]
pub fn op_rpc_scheduled(
    state: &mut OpState,
    #[cppgc] target: &Handle,
    context: u32,
    event: u32,
    section: u32,
    time_ms: f64,
    #[string] cron: String,
) -> Result<u32, JsErrorBox> {
    let target = target.target().map_err(JsErrorBox::from_err)?.clone();
    let isolate = isolate(state);
    let kind = EventKind::Scheduled(ScheduledEvent { time_ms, cron });
    let call = isolate.begin_call(context, event, section);
    isolate
        .send_event(target, kind, call)
        .map_err(|failure| failure_error(&failure))?;
    Ok(call)
}

/// Gives up waiting for `call`; its target is told.
#[op2(fast)]
pub fn op_rpc_give_up(state: &mut OpState, call: u32) {
    let stop = isolate(state)
        .calls
        .borrow_mut()
        .remove(&call)
        .and_then(|call| call.stop);
    if let Some(stop) = stop {
        stop.now();
    }
}

/// True: calls were pipelined on the result, which want it kept (`op_rpc_route`).
#[op2(nofast, reentrant)]
pub fn op_rpc_answer_value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    event: u32,
    value: v8::Local<'s, v8::Value>,
) -> Result<bool, JsErrorBox> {
    let isolate = isolate_of(scope);
    let Some(mut payload) = serialize(scope, &isolate, value, CloneMode::Rpc) else {
        return Ok(false);
    };
    let charge = isolate.send_budget.charge(payload.bytes.len());
    payload.charge = Some(Arc::new(
        charge.ok_or_else(|| JsErrorBox::new("RangeError", TOO_MUCH))?,
    ));
    Ok(isolate.answer(event, Ok(Answer::Value(payload))))
}

#[op2(nofast, reentrant)]
pub fn op_rpc_answer_error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    event: u32,
    thrown: v8::Local<'s, v8::Value>,
    remote: bool,
) {
    let isolate = isolate_of(scope);
    let failure = thrown_failure(scope, &isolate, thrown, remote, false);
    isolate.answer(event, Err(failure));
}

#[op2(nofast)]
pub fn op_rpc_answer_response<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: Rc<RefCell<OpState>>,
    event: u32,
    status: u32,
    #[string] status_text: String,
    headers: v8::Local<'s, v8::Array>,
    body: v8::Local<'s, v8::Value>,
    socket: v8::Local<'s, v8::Value>,
) -> Result<(), JsErrorBox> {
    let headers = headers_from_js(scope, headers);
    let body = body_from_js(scope, &mut state.borrow_mut(), body)?;
    let status = u16::try_from(status).unwrap_or(500);
    let socket = match deno_core::cppgc::try_unwrap_cppgc_object::<Handle>(scope, socket) {
        Some(handle) => Some(handle.take_socket().map_err(JsErrorBox::from_err)?),
        None => None,
    };
    let response = FetchResponse {
        status,
        status_text,
        headers,
        body,
        socket,
    };
    isolate(&state.borrow()).answer(event, Ok(Answer::Response(response)));
    Ok(())
}

/// The event, and everything it started, is over. A stateless context ends with it.
#[op2(fast)]
pub fn op_rpc_done(state: &mut OpState, event: u32) {
    isolate(state).event_done(event);
}

/// The event is answered, and only `waitUntil` keeps it: it has its time from now on.
#[op2(fast)]
pub fn op_event_linger(state: &mut OpState, event: u32) {
    let isolate = isolate(state);
    let mut events = isolate.events.borrow_mut();
    let Some(known) = events.get_mut(&event) else {
        return;
    };
    let Some(limit_ms) = known.limits.wait_until_ms.filter(|_| !known.lingers) else {
        return;
    };
    known.lingers = true;
    let inbox = isolate.inbox.clone();
    let waiting = deno_core::unsync::spawn(async move {
        crate::sleep(std::time::Duration::from_millis(limit_ms)).await;
        inbox.send(Message::TimedOut { event });
    });
    known.timer = Some(Timer(waiting.abort_handle()));
}

/// The running code belongs to an event that has ended: it stops here.
#[op2(nofast)]
pub fn op_event_unwind(scope: &mut v8::PinScope<'_, '_>) {
    scope.terminate_execution();
}

/// Keeps an object in memory for `by` more (or fewer) reasons.
#[op2(fast)]
pub fn op_rpc_busy(state: &mut OpState, context: u32, by: i32) {
    let isolate = isolate(state);
    isolate.with_object(context, |object| object.add_busy(by));
}

#[op2(fast)]
pub fn op_body_pipe(state: &mut OpState, len: f64) -> u32 {
    let len = (len >= 0.0).then_some(len as u64);
    body::add_pipe(state, len)
}

/// Writes a chunk. Returns the call that is completed when the reader has caught up.
#[op2(nofast)]
pub fn op_body_write(
    state: &mut OpState,
    context: u32,
    event: u32,
    rid: u32,
    #[buffer] chunk: &[u8],
) -> u32 {
    let isolate = isolate(state);
    let call = isolate.begin_call(context, event, 0);
    // Continuations of a stream are not held by the input gate: no event order hangs on them.
    if let Some(begun) = isolate.calls.borrow_mut().get_mut(&call) {
        begun.context = 0;
    }
    let inbox = isolate.inbox.clone();
    let drained = move |gone| {
        inbox.send(Message::Completed {
            call,
            with: Completed::Drained(gone),
        })
    };
    let Some(pipe) = body::pipe(state, rid) else {
        drained(true);
        return call;
    };
    let Some(writer) = pipe.writer.borrow().clone() else {
        drained(true);
        return call;
    };
    let Ok(chunk) = charged(&isolate, chunk.to_vec()) else {
        pipe.writer.take();
        writer.fail(BodyError(TOO_MUCH.to_owned()));
        drained(true);
        return call;
    };
    // A chunk can reveal a write like any answer, so it waits like one.
    isolate.send_later(context, move |durable| match durable {
        Ok(()) => {
            writer.write(chunk);
            writer.when_drained(Box::new(drained));
        }
        Err(_) => drained(true),
    });
    call
}

#[op2]
pub fn op_body_end(
    state: &mut OpState,
    context: u32,
    rid: ResourceId,
    #[string] error: Option<String>,
) {
    let isolate = isolate(state);
    let writer = body::pipe(state, rid).and_then(|pipe| pipe.writer.take());
    drop(state.resource_table.take_any(rid));
    isolate.send_later(context, move |durable| match (writer, durable, error) {
        (Some(writer), Ok(()), None) => writer.finish(),
        (Some(writer), _, error) => {
            writer.fail(BodyError(
                error.unwrap_or_else(|| "the object was reset".into()),
            ));
        }
        (None, ..) => {}
    });
}

#[op2(fast)]
pub fn op_timer_start(
    state: &mut OpState,
    context: u32,
    event: u32,
    section: u32,
    delay_ms: f64,
) -> u32 {
    let call = isolate(state).begin_call(context, event, section);
    start_timer(state, call, delay_ms, Stop::Task)
}

/// As `op_timer_start`: how long a critical section may take.
#[op2(fast)]
pub fn op_gate_limit(
    state: &mut OpState,
    context: u32,
    event: u32,
    section: u32,
    delay_ms: f64,
) -> u32 {
    let call = isolate(state).begin_call(context, event, section);
    start_timer(state, call, delay_ms, Stop::Limit)
}

fn start_timer(
    state: &OpState,
    call: u32,
    delay_ms: f64,
    stop: fn(tokio::task::AbortHandle) -> Stop,
) -> u32 {
    let isolate = isolate(state);
    let delay = std::time::Duration::from_millis(delay_ms.clamp(0.0, 2_147_483_647.0) as u64);
    let inbox = isolate.inbox.clone();
    let sleeping = deno_core::unsync::spawn(async move {
        crate::sleep(delay).await;
        inbox.send(Message::Completed {
            call,
            with: Completed::Timer,
        });
    });
    if let Some(begun) = isolate.calls.borrow_mut().get_mut(&call) {
        begun.stop = Some(stop(sleeping.abort_handle()));
        begun.is_timer = true;
    }
    call
}

/// Enters a critical section: its number, or minus the call that is completed with it.
#[op2(fast)]
pub fn op_gate_enter(state: &mut OpState, context: u32, event: u32, section: u32) -> i32 {
    let isolate = isolate(state);
    let call = isolate.begin_call(context, event, section);
    match isolate.enter_section(context, section, call) {
        Some(entered) => {
            isolate.calls.borrow_mut().remove(&call);
            entered.0 as i32
        }
        None => -(call as i32),
    }
}

#[op2(fast)]
pub fn op_gate_depth(state: &mut OpState, context: u32) -> u32 {
    let isolate = isolate(state);
    isolate
        .with_object(context, |object| object.gate.depth() as u32)
        .unwrap_or(0)
}

#[op2(fast)]
pub fn op_gate_leave(state: &mut OpState, context: u32, section: u32) {
    let isolate = isolate(state);
    isolate.with_object(context, |object| {
        object.gate.leave(facetd_core::SectionId(section))
    });
    // Whoever waited is let in once this turn is over.
    isolate.inbox.send(Message::Completed {
        call: 0,
        with: Completed::Section(facetd_core::SectionId(context)),
    });
}

/// Completes when every write made so far is durable.
#[op2(fast)]
pub fn op_gate_durable(state: &mut OpState, context: u32, event: u32, section: u32) -> u32 {
    let isolate = isolate(state);
    let call = isolate.begin_call(context, event, section);
    let inbox = isolate.inbox.clone();
    isolate.when_durable(context, move |durable| {
        inbox.send(Message::Completed {
            call,
            with: Completed::Durable(durable),
        });
    });
    call
}

/// Resets the object of `context`: its callers get `reason`. With `unwind` the running code stops here.
#[op2(nofast, reentrant)]
pub fn op_object_reset<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    reason: v8::Local<'s, v8::Value>,
    overloaded: bool,
    unwind: bool,
) {
    let isolate = isolate_of(scope);
    let mut failure = thrown_failure(scope, &isolate, reason, false, true);
    if overloaded {
        let text = error_message(scope, reason);
        failure = facetd_core::HostError {
            overloaded: true,
            reset: true,
            ..facetd_core::HostError::new("Error", text)
        }
        .into();
    }
    isolate.resets.borrow_mut().push((context, failure));
    if unwind {
        scope.terminate_execution();
    }
}

fn error_message<'s>(scope: &mut v8::PinScope<'s, '_>, error: v8::Local<'s, v8::Value>) -> String {
    let message = v8::String::new(scope, "message");
    let object = error.to_object(scope);
    match (message, object) {
        (Some(key), Some(object)) => object
            .get(scope, key.into())
            .map(|m| m.to_rust_string_lossy(scope))
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// `abortIsolate()`: nothing more runs here.
#[op2(nofast, reentrant)]
pub fn op_isolate_abort<'s>(scope: &mut v8::PinScope<'s, '_>, reason: v8::Local<'s, v8::Value>) {
    let isolate = isolate_of(scope);
    let failure = thrown_failure(scope, &isolate, reason, false, false);
    *isolate.condemned.borrow_mut() = Some(failure);
    scope.terminate_execution();
}

/// A stub for an entry point of this very worker. `null` props: none.
#[op2(reentrant)]
#[cppgc]
pub fn op_rpc_own_entrypoint<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[string] name: Option<String>,
    props: v8::Local<'s, v8::Value>,
) -> Result<Handle, JsErrorBox> {
    let isolate = isolate_of(scope);
    let props = props_from_js(scope, &isolate, props)?;
    let worker = isolate
        .worker
        .borrow()
        .clone()
        .ok_or_else(|| JsErrorBox::generic("internal error"))?;
    Ok(Handle::Target(worker.entrypoint(
        name,
        props,
        Limits::default(),
    )))
}

/// A class of this very worker, for facets.
#[op2(reentrant)]
#[cppgc]
pub fn op_rpc_own_class<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[string] name: Option<String>,
    props: v8::Local<'s, v8::Value>,
) -> Result<Handle, JsErrorBox> {
    let isolate = isolate_of(scope);
    let props = props_from_js(scope, &isolate, props)?;
    let worker = isolate
        .worker
        .borrow()
        .clone()
        .ok_or_else(|| JsErrorBox::generic("internal error"))?;
    Ok(Handle::Class(worker.class(name, props, Limits::default())))
}

/// Serialises `props`, unless they are `null`.
///
/// # Errors
/// The pending JS exception, as an error that op2 can throw again.
pub fn props_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    isolate: &Rc<IsolateState>,
    props: v8::Local<'s, v8::Value>,
) -> Result<Option<facetd_core::Payload>, JsErrorBox> {
    if props.is_null_or_undefined() {
        return Ok(None);
    }
    v8::tc_scope!(let scope, scope);
    match serialize(scope, isolate, props, CloneMode::Props) {
        Some(payload) => Ok(Some(payload)),
        None => {
            let error = scope.exception();
            scope.reset();
            Err(clone_error_box(scope, error))
        }
    }
}

/// The pending exception of a failed clone as an error for op2.
pub fn clone_error_box<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: Option<v8::Local<'s, v8::Value>>,
) -> JsErrorBox {
    let Some(error) = error else {
        return JsErrorBox::generic("internal error");
    };
    JsErrorBox::new("DOMExceptionDataCloneError", error_message(scope, error))
}

/// The global outbound of this worker.
#[op2]
#[cppgc]
pub fn op_rpc_outbound(state: &mut OpState) -> Result<Handle, WrongHandle> {
    isolate(state)
        .outbound
        .borrow()
        .clone()
        .map(Handle::Target)
        .ok_or(WrongHandle)
}

/// An exported function or `RpcTarget`. It is let go when its last holder is.
struct Export {
    inbox: Inbox,
    number: u32,
}

impl Drop for Export {
    fn drop(&mut self) {
        self.inbox.send(Message::ReleaseExport {
            export: self.number,
        });
    }
}

/// What one holder has of an export: a stub and its duplicates in one isolate, or a payload on its way.
struct ExportTarget(Mutex<Option<Arc<Export>>>);

impl ExportTarget {
    fn export(&self) -> Option<Arc<Export>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Target for ExportTarget {
    fn send(&self, event: Event) {
        match self.export() {
            Some(export) => export.inbox.send(Message::Event {
                target: EventTarget::Export(export.number),
                event,
                limits: Limits::default(),
                keep: None,
            }),
            None => event.reply.send(Err(Failure::disconnected())),
        }
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Export
    }

    fn dispose(&self) {
        let export = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(export);
    }

    fn dup(&self) -> Option<Arc<dyn Target>> {
        let export = self.export()?;
        Some(Arc::new(Self(Mutex::new(Some(export)))))
    }
}

/// The one holder of what JS keeps under `export`.
fn export_target(isolate: &IsolateState, export: u32, context: u32, section: u32) -> ExportTarget {
    let section = (section != 0).then_some(SectionId(section));
    let exported = Exported { context, section };
    isolate.exports.borrow_mut().insert(export, exported);
    let inbox = isolate.inbox.clone();
    let export = Arc::new(Export {
        inbox,
        number: export,
    });
    ExportTarget(Mutex::new(Some(export)))
}

/// A stub for the function or `RpcTarget` that JS keeps under `export`.
#[op2]
#[cppgc]
pub fn op_rpc_export(state: &mut OpState, export: u32, context: u32, section: u32) -> Handle {
    let target = export_target(&isolate(state), export, context, section);
    Handle::Target(Arc::new(target))
}

/// A stub of `target` has come to `context`.
#[op2(fast)]
pub fn op_rpc_adopt(state: &mut OpState, #[cppgc] target: &Handle, context: u32) {
    if let Handle::Target(target) = target {
        isolate(state).adopt_stub(context, target);
    }
}

/// May this stub be passed in a clone of `mode`? 0 yes; else why not: 1 facet, 2 loaded worker,
/// 3 no storage for stubs, 4 exported function outside RPC, 5 the same in storage.
#[op2(fast)]
pub fn op_rpc_may_pass(#[cppgc] handle: &Handle, mode: u32) -> u32 {
    let mode = CloneMode::from_js(mode);
    match handle {
        Handle::Target(target) => match target.kind() {
            TargetKind::Facet => 1,
            TargetKind::DynamicService => 2,
            TargetKind::Export if mode == CloneMode::Storage => 5,
            TargetKind::Export if mode != CloneMode::Rpc => 4,
            _ if mode == CloneMode::Storage => 3,
            _ => 0,
        },
        Handle::Class(class) if class.is_dynamic() => 2,
        Handle::Class(_) if mode == CloneMode::Storage => 3,
        _ => 0,
    }
}

/// JS has disposed of its last stub of this target.
#[op2(fast)]
pub fn op_rpc_dispose(state: &mut OpState, #[cppgc] handle: &Handle, context: u32) {
    if let Handle::Target(target) = handle {
        let target = target.clone();
        // In its place among the calls: those made before still arrive.
        isolate(state).send_later(context, move |_| target.dispose());
    }
}

/// The bytes of a blob, from the ids of its parts. Blobs are in memory, so nobody waits.
#[op2]
#[buffer]
pub fn op_blob_bytes(
    state: &mut OpState,
    #[serde] parts: Vec<String>,
) -> Result<Vec<u8>, JsErrorBox> {
    let store = state.borrow::<Arc<dyn deno_web::BlobStoreTrait>>();
    let mut bytes = Vec::new();
    for part in parts {
        let id = part
            .parse()
            .map_err(|_| JsErrorBox::type_error("Blob part not found"))?;
        let part = store
            .get_part(&id)
            .ok_or_else(|| JsErrorBox::type_error("Blob part not found"))?;
        let read = part.read().now_or_never();
        bytes.extend_from_slice(read.ok_or_else(|| JsErrorBox::type_error("Blob part not found"))?);
    }
    Ok(bytes)
}

#[op2(fast)]
pub fn op_log(state: &mut OpState, level: u32, #[string] message: &str) {
    let level = match level {
        0 => LogLevel::Debug,
        1 => LogLevel::Info,
        3 => LogLevel::Warn,
        4 => LogLevel::Error,
        _ => LogLevel::Log,
    };
    if let Some(log) = isolate(state).log.borrow().as_ref() {
        log.log(LogLine { level, message });
    }
}
