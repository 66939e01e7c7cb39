//! `WebSocket` and `WebSocketPair`. API: README.md.

use bytes::Bytes;
use deno_core::{OpState, op2, v8};
use deno_error::JsErrorBox;
use facetd_core::{
    Event, EventKind, EventTarget, Inbox, Limits, Message, Received, SocketEnd, SocketMessage,
    socket_pair,
};
use facetd_rpc::{
    CloneMode, Handle, OpenSocket, WrongHandle, deserialize_stored, isolate, isolate_of, serialize,
};
use std::sync::{Arc, Weak};

/// The two coupled ends of a new WebSocket, as handles.
#[op2]
fn op_socket_pair<'s>(scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Array> {
    let (client, server) = socket_pair();
    let ends = [client, server]
        .map(|end| deno_core::cppgc::make_cppgc_object(scope, Handle::socket(end)).into());
    v8::Array::new_with_elements(scope, &ends)
}

/// The socket belongs to `context` from now on: when that ends before the socket is accepted or sent
/// away with a Response, the other end notices.
#[op2(fast)]
fn op_socket_adopt(state: &mut OpState, #[cppgc] socket: &Handle, context: u32) {
    if let Handle::Socket(slot) = socket {
        isolate(state).adopt_socket(context, slot);
    }
}

/// Begins to receive: each message is an event of `context`, with the limits of the event that accepts.
/// Returns the number that JS knows the socket by from now on.
///
/// # Errors
/// The handle was used up, by a Response or by another accept.
#[op2(fast)]
fn op_socket_accept(
    state: &mut OpState,
    #[cppgc] socket: &Handle,
    context: u32,
    event: u32,
) -> Result<u32, WrongHandle> {
    let end = socket.take_socket()?;
    let isolate = isolate(state);
    let number = isolate.next_id();
    let limits = isolate
        .events
        .borrow()
        .get(&event)
        .map_or_else(Limits::default, |event| event.limits);
    listen(&end, isolate.inbox.clone(), number, limits);
    let open = OpenSocket { context, end };
    isolate.sockets.borrow_mut().insert(number, open);
    isolate.with_object(context, |object| object.add_busy(1));
    Ok(number)
}

/// Delivers the next message as an event; the one after it when that event has run.
fn listen(end: &Arc<SocketEnd>, inbox: Inbox, number: u32, limits: Limits) {
    // Weak: the closure waits inside the very end.
    let again: Weak<SocketEnd> = Arc::downgrade(end);
    end.receive(move |received| {
        let last = received == Received::Lost;
        let next = inbox.clone();
        deliver(&inbox, number, limits, received, move || {
            if let Some(end) = again.upgrade()
                && !last
                && !next.is_closed()
            {
                listen(&end, next, number, limits);
            }
        });
    });
}

/// Posts an event to the socket `number`; `done` is called when it has run.
fn deliver(
    inbox: &Inbox,
    number: u32,
    limits: Limits,
    received: Received,
    done: impl FnOnce() + Send + 'static,
) {
    inbox.send(Message::Event {
        target: EventTarget::Socket(number),
        event: Event::new(EventKind::Socket(received), move |_outcome| done()),
        limits,
        keep: None,
    });
}

/// Sends a string, or the bytes of a view, once what it could reveal is durable.
#[op2(nofast)]
fn op_socket_send<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &mut OpState,
    number: u32,
    data: v8::Local<'s, v8::Value>,
) {
    let message = match v8::Local::<v8::ArrayBufferView>::try_from(data) {
        Ok(view) => {
            let mut bytes = vec![0; view.byte_length()];
            view.copy_contents(&mut bytes);
            SocketMessage::Binary(Bytes::from(bytes))
        }
        Err(_) => SocketMessage::Text(data.to_rust_string_lossy(scope)),
    };
    send(state, number, message);
}

/// The last message. `code` 0: a close without one.
#[op2(fast)]
fn op_socket_close(state: &mut OpState, number: u32, code: u32, #[string] reason: String) {
    let code = u16::try_from(code).ok().filter(|code| *code != 0);
    send(state, number, SocketMessage::Close { code, reason });
}

/// Bytes sent and not received yet at the other end.
#[op2(fast)]
fn op_socket_buffered(state: &mut OpState, number: u32) -> f64 {
    let isolate = isolate(state);
    let sockets = isolate.sockets.borrow();
    sockets
        .get(&number)
        .map_or(0.0, |socket| socket.end.buffered_bytes() as f64)
}

fn send(state: &mut OpState, number: u32, message: SocketMessage) {
    let isolate = isolate(state);
    let sockets = isolate.sockets.borrow();
    let Some(socket) = sockets.get(&number) else {
        return;
    };
    let end = socket.end.clone();
    if end.is_gone() {
        return; // cut off before, and JS will hear of it
    }
    match end.pack(message, &isolate.send_budget) {
        Some(parcel) => isolate.send_later(socket.context, move |durable| match durable {
            Ok(()) => end.send(parcel),
            Err(_) => end.vanish(), // the object is gone, and with it what it said last
        }),
        None => {
            // Somebody does not read what this isolate sends: the connection goes, and JS is told.
            end.sever();
            deliver(
                &isolate.inbox,
                number,
                Limits::default(),
                Received::Lost,
                || {},
            );
        }
    }
}

/// Nothing more is sent or received: both sides have closed, or one is lost.
#[op2(fast)]
fn op_socket_end(state: &mut OpState, number: u32) {
    let isolate = isolate(state);
    let ended = isolate.sockets.borrow_mut().remove(&number);
    if let Some(socket) = ended {
        isolate.with_object(socket.context, |object| object.add_busy(-1));
        // After what this turn has sent through it.
        isolate.send_later(socket.context, move |_| drop(socket.end));
    }
}

/// Serialises an attachment, by the rules of storage.
///
/// # Errors
/// Throws what the clone throws.
#[op2(reentrant)]
fn op_socket_attachment<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> v8::Local<'s, v8::Value> {
    let isolate = isolate_of(scope);
    match serialize(scope, &isolate, value, CloneMode::Storage) {
        Some(payload) => {
            let length = payload.bytes.len();
            let store = v8::ArrayBuffer::new_backing_store_from_vec(payload.bytes).make_shared();
            let buffer = v8::ArrayBuffer::with_backing_store(scope, &store);
            v8::Uint8Array::new(scope, buffer, 0, length)
                .map_or_else(|| v8::undefined(scope).into(), Into::into)
        }
        None => v8::undefined(scope).into(), // an exception is pending
    }
}

#[op2(reentrant)]
fn op_socket_attached<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[buffer] bytes: &[u8],
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let isolate = isolate_of(scope);
    deserialize_stored(scope, &isolate, bytes.to_vec())
        .ok_or_else(|| JsErrorBox::generic("The attachment could not be read."))
}

deno_core::extension!(
    facetd_websocket,
    deps = [facetd_rpc],
    ops = [
        op_socket_pair,
        op_socket_accept,
        op_socket_adopt,
        op_socket_attached,
        op_socket_attachment,
        op_socket_buffered,
        op_socket_send,
        op_socket_close,
        op_socket_end,
    ],
    esm = [dir ".", "00_websocket.js", "10_response.js"],
);
