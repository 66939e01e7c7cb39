//! Entering JS: events, completions and constructors as arguments of our entry functions.

use deno_core::cppgc::make_cppgc_object;
use deno_core::v8;
use facetd_core::{
    Answer, Body, Completed, EventKind, Failure, FetchRequest, FetchResponse, Headers, ObjectName,
    ObjectPort, Outcome, Payload, Received, SocketMessage,
};
use facetd_rpc::{Handle, IsolateState, add_reader, deserialize, thrown_failure};
use std::rc::Rc;
use std::sync::Arc;

/// Numbers `deliver` in `40_events.js` knows.
pub(crate) const TO_ENTRYPOINT: u32 = 0;
pub(crate) const TO_OBJECT: u32 = 1;
pub(crate) const TO_EXPORT: u32 = 2;
pub(crate) const TO_SOCKET: u32 = 3;
const FETCH: u32 = 0;
const RPC: u32 = 1;
const TEST: u32 = 2;
const DESCRIBE: u32 = 3;
const SOCKET: u32 = 4;
const ALARM: u32 = 5;
const FACET_DUE: u32 = 6;
const SCHEDULED: u32 = 7;
const TAIL: u32 = 8;
/// Of what came through a socket.
const TEXT: u32 = 0;
const BINARY: u32 = 1;
const CLOSE: u32 = 2;
const LOST: u32 = 3;

pub(crate) enum Name {
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

/// A value from elsewhere. Err: it was written, but cannot be read here. `remote`: whoever is told is elsewhere.
fn read<'s>(
    scope: Scope<'_, 's, '_>,
    state: &Rc<IsolateState>,
    payload: &Payload,
    remote: bool,
) -> Result<v8::Local<'s, v8::Value>, Failure> {
    v8::tc_scope!(let scope, scope);
    if let Some(value) = deserialize(scope, state, payload) {
        return Ok(value);
    }
    match scope.exception() {
        Some(thrown) if !scope.has_terminated() => {
            scope.reset();
            Err(thrown_failure(scope, state, thrown, remote, false))
        }
        _ => Err(Failure::internal()),
    }
}

/// Calls `deliver` in `40_events.js`. Err: user code was not reached, and why.
#[allow(
    clippy::too_many_arguments,
    reason = "one per argument of the JS function"
)]
pub(crate) fn deliver<'s>(
    scope: Scope<'_, 's, '_>,
    state: &Rc<IsolateState>,
    event: u32,
    context: u32,
    target: u32,
    name: Name,
    props: Option<Arc<Payload>>,
    kind: EventKind,
) -> Result<(), Failure> {
    let name = match name {
        Name::Text(text) => optional(scope, text.as_deref()),
        Name::Number(n) => number(scope, n),
    };
    let props = props_value(scope, state, props.as_ref()).ok_or_else(Failure::internal)?;
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
                Some(payload) => read(scope, state, payload, true)?,
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
        EventKind::Watch => return Err(Failure::internal()), // kept in Rust
        EventKind::Alarm(_) => arguments.push(number(scope, ALARM)),
        EventKind::FacetDue { name } => {
            arguments.push(number(scope, FACET_DUE));
            arguments.push(string(scope, &name));
        }
        EventKind::Scheduled(scheduled) => {
            arguments.push(number(scope, SCHEDULED));
            arguments.push(v8::Number::new(scope, scheduled.time_ms).into());
            arguments.push(string(scope, &scheduled.cron));
        }
        EventKind::Tail(item) => {
            arguments.push(number(scope, TAIL));
            arguments.push(string(scope, &item));
        }
        EventKind::Test => arguments.push(number(scope, TEST)),
        EventKind::Describe => arguments.push(number(scope, DESCRIBE)),
    }
    let callbacks = state.callbacks();
    let deliver = v8::Local::new(scope, &callbacks.deliver);
    let this = v8::undefined(scope).into();
    match deliver.call(scope, this, &arguments) {
        Some(_) => Ok(()),
        // Our own JS threw before it could answer: never user code's doing.
        None => Err(Failure::internal()),
    }
}

/// Calls `complete` in `00_context.js` with what a call was answered.
pub(crate) fn complete<'s>(
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
        Ok(Answer::Value(payload)) => match read(scope, state, &payload, false) {
            Ok(value) => vec![number(scope, 0), value],
            Err(failure) => return outcome_arguments(scope, state, Err(failure)),
        },
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
        // The host's own questions: no call in JS waits for them.
        Ok(Answer::Alarm(_) | Answer::FacetDue(_)) => {
            return outcome_arguments(scope, state, Err(Failure::internal()));
        }
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
pub(crate) fn construct<'s>(
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
