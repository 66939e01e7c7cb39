//! Structured clone with capabilities: how values cross from one isolate to another.
//!
//! V8 writes plain data itself. For every object that is not plain it asks JS (`10_clone.js`), which
//! either refuses it or describes it: a tag, a value that is written in its place, and perhaps a
//! handle that goes into the payload's table of capabilities.

use crate::handle::Handle;
use crate::state::IsolateState;
use crate::stored;
use deno_core::{cppgc, v8};
use facetd_core::{Capability, Failure, Payload, RPC_BYTES_MAX};
use std::cell::RefCell;
use std::rc::Rc;
use v8::{ValueDeserializerHelper, ValueSerializerHelper};

/// What a clone is for: decides what is allowed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloneMode {
    Rpc = 0,
    Env = 1,
    Props = 2,
    Storage = 3,
}

impl CloneMode {
    pub fn from_js(mode: u32) -> Self {
        match mode {
            1 => Self::Env,
            2 => Self::Props,
            3 => Self::Storage,
            _ => Self::Rpc,
        }
    }
}

struct Serializer {
    state: Rc<IsolateState>,
    mode: CloneMode,
    capabilities: Rc<RefCell<Vec<Capability>>>,
}

impl v8::ValueSerializerImpl for Serializer {
    fn throw_data_clone_error<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        message: v8::Local<'s, v8::String>,
    ) {
        throw_clone_error(scope, &self.state, message);
    }

    fn has_custom_host_object(&self, _isolate: &v8::Isolate) -> bool {
        true
    }

    fn is_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
    ) -> Option<bool> {
        let Some(prototype) = object.get_prototype(scope) else {
            return Some(false);
        };
        if prototype.is_null() {
            // The platform does not send objects without a prototype.
            return Some(self.mode == CloneMode::Rpc);
        }
        // The prototype of a stub is a Proxy; the prototype of a plain object is the end of its chain.
        if prototype.is_proxy() {
            return Some(true);
        }
        let prototype: v8::Local<v8::Object> = prototype.try_into().ok()?;
        if prototype
            .get_prototype(scope)
            .is_none_or(|end| end.is_null())
        {
            return Some(false);
        }
        if self.mode != CloneMode::Storage {
            return Some(true);
        }
        // Stored class instances become plain objects; only what JS knows to refuse is asked about.
        let described = describe(scope, &self.state, object, self.mode)?;
        Some(!described.is_undefined())
    }

    fn write_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        writer: &dyn ValueSerializerHelper,
    ) -> Option<bool> {
        let described = describe(scope, &self.state, object, self.mode)?;
        let described: v8::Local<v8::Array> = described.try_into().ok()?;
        if self.mode == CloneMode::Storage {
            return stored::write(scope, described, writer);
        }
        let tag = described.get_index(scope, 0)?.uint32_value(scope)?;
        let stand_in = described.get_index(scope, 1)?;
        let handle = described.get_index(scope, 2)?;
        let capability = match cppgc::try_unwrap_cppgc_object::<Handle>(scope, handle) {
            Some(handle) => {
                let capability = handle.capability();
                // Made for this clone alone: the payload is its only holder from now on.
                if matches!(tag, TAG_FUNCTION | TAG_WRITABLE | TAG_OWNED)
                    && let Ok(target) = handle.target()
                {
                    target.dispose();
                }
                capability
            }
            None => take_stream(scope, handle),
        };
        let slot = match capability {
            Some(capability) => {
                let mut capabilities = self.capabilities.borrow_mut();
                capabilities.push(capability);
                capabilities.len() as u32
            }
            None => 0,
        };
        writer.write_uint32(tag);
        writer.write_uint32(slot);
        let context = scope.get_current_context();
        writer.write_value(context, stand_in)
    }
}

/// `10_clone.js` says so of what it has just exported: functions, `RpcTarget`s, writable streams, results with a disposer.
const TAG_FUNCTION: u32 = 8;
const TAG_WRITABLE: u32 = 10;
const TAG_OWNED: u32 = 11;

/// A number in the place of a handle is the resource of a body: its stream moves into the payload.
fn take_stream(
    scope: &mut v8::PinScope<'_, '_>,
    handle: v8::Local<v8::Value>,
) -> Option<Capability> {
    let rid = handle
        .is_uint32()
        .then(|| handle.uint32_value(scope))
        .flatten()?;
    let op_state = deno_core::JsRuntime::op_state_from(scope);
    let mut op_state = op_state.borrow_mut();
    match crate::body::take_body(&mut op_state, rid) {
        Some(facetd_core::Body::Stream(stream)) => Some(Capability::Stream(std::sync::Arc::new(
            std::sync::Mutex::new(Some(stream)),
        ))),
        _ => None,
    }
}

fn describe<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &IsolateState,
    object: v8::Local<'s, v8::Object>,
    mode: CloneMode,
) -> Option<v8::Local<'s, v8::Value>> {
    let callbacks = state.callbacks();
    let describe = v8::Local::new(scope, &callbacks.describe);
    let this = v8::undefined(scope).into();
    let mode = v8::Integer::new_from_unsigned(scope, mode as u32).into();
    describe.call(scope, this, &[object.into(), mode])
}

fn throw_clone_error<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &IsolateState,
    message: v8::Local<'s, v8::String>,
) {
    let callbacks = state.callbacks();
    let make = v8::Local::new(scope, &callbacks.clone_error);
    let this = v8::undefined(scope).into();
    if let Some(error) = make.call(scope, this, &[message.into()]) {
        scope.throw_exception(error);
    }
}

/// Writes `value`. `None`: a JS exception is pending.
pub fn serialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    value: v8::Local<'s, v8::Value>,
    mode: CloneMode,
) -> Option<Payload> {
    let refused = {
        v8::tc_scope!(let scope, scope);
        if let Some(payload) = serialize_once(scope, state, value, mode) {
            return Some(payload);
        }
        if scope.has_terminated() {
            return None;
        }
        let refused = scope.exception();
        scope.reset();
        refused?
    };
    // V8 refuses callables before it asks us. JS looks whether there are any that may be passed.
    let callbacks = state.callbacks();
    let passable = v8::Local::new(scope, &callbacks.passable);
    let this = v8::undefined(scope).into();
    let mode_number = v8::Integer::new_from_unsigned(scope, mode as u32).into();
    let replaced = passable.call(scope, this, &[value, refused, mode_number])?;
    if replaced.is_undefined() {
        scope.throw_exception(refused);
        return None;
    }
    // JS wraps what it replaced, so that a value that is itself replaced by undefined is told apart.
    let replaced: v8::Local<v8::Array> = replaced.try_into().ok()?;
    let value = replaced.get_index(scope, 0)?;
    serialize_once(scope, state, value, mode)
}

fn serialize_once<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    value: v8::Local<'s, v8::Value>,
    mode: CloneMode,
) -> Option<Payload> {
    let capabilities = Rc::new(RefCell::new(Vec::new()));
    let delegate = Serializer {
        state: state.clone(),
        mode,
        capabilities: capabilities.clone(),
    };
    let serializer = v8::ValueSerializer::new(scope, Box::new(delegate));
    serializer.write_header();
    let context = scope.get_current_context();
    let written = serializer.write_value(context, value)?;
    if !written {
        return None;
    }
    let bytes = serializer.release();
    drop(serializer);
    if mode == CloneMode::Rpc && bytes.len() > RPC_BYTES_MAX {
        let text = format!(
            "Serialized RPC arguments or return values are limited to 32MiB, but the size of this value was: {} bytes.",
            bytes.len()
        );
        let text = v8::String::new(scope, &text)?;
        let error = v8::Exception::error(scope, text);
        scope.throw_exception(error);
        return None;
    }
    let capabilities = capabilities.take();
    Some(Payload {
        bytes,
        capabilities,
        ..Payload::default()
    })
}

struct Deserializer<'a> {
    state: Rc<IsolateState>,
    capabilities: &'a [Capability],
    mode: CloneMode,
}

impl v8::ValueDeserializerImpl for Deserializer<'_> {
    fn read_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        reader: &dyn ValueDeserializerHelper,
    ) -> Option<v8::Local<'s, v8::Object>> {
        if self.mode == CloneMode::Storage {
            return stored::read(scope, &self.state, reader);
        }
        let (mut tag, mut slot) = (0, 0);
        if !reader.read_uint32(&mut tag) || !reader.read_uint32(&mut slot) {
            return None;
        }
        let context = scope.get_current_context();
        let stand_in = reader.read_value(context)?;
        v8::allow_javascript_execution_scope!(let scope, scope);
        let mut kind = 0;
        let handle: v8::Local<v8::Value> =
            match self.capabilities.get((slot as usize).wrapping_sub(1)) {
                Some(Capability::Target(target)) => {
                    kind = target.kind() as u32;
                    cppgc::make_cppgc_object(scope, Handle::Target(target.clone())).into()
                }
                Some(Capability::Class(class)) => {
                    cppgc::make_cppgc_object(scope, Handle::Class(class.clone())).into()
                }
                Some(Capability::Stream(slot)) => {
                    let stream = slot
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .take();
                    let op_state = deno_core::JsRuntime::op_state_from(scope);
                    match stream {
                        Some(stream) => {
                            let rid = crate::body::add_reader(&mut op_state.borrow_mut(), stream);
                            v8::Integer::new_from_unsigned(scope, rid).into()
                        }
                        None => v8::null(scope).into(),
                    }
                }
                None => v8::undefined(scope).into(),
            };
        let callbacks = self.state.callbacks();
        let revive = v8::Local::new(scope, &callbacks.revive);
        let this = v8::undefined(scope).into();
        let tag = v8::Integer::new_from_unsigned(scope, tag).into();
        let kind = v8::Integer::new_from_unsigned(scope, kind).into();
        let revived = revive.call(scope, this, &[tag, stand_in, handle, kind])?;
        revived.try_into().ok()
    }
}

/// Reads what [`serialize`] wrote. `None`: a JS exception is pending.
pub fn deserialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    payload: &Payload,
) -> Option<v8::Local<'s, v8::Value>> {
    deserialize_as(scope, state, payload, CloneMode::Rpc)
}

/// Reads a stored value. `None`: a JS exception is pending.
pub fn deserialize_stored<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    bytes: Vec<u8>,
) -> Option<v8::Local<'s, v8::Value>> {
    let payload = Payload {
        bytes,
        capabilities: Vec::new(),
        ..Payload::default()
    };
    deserialize_as(scope, state, &payload, CloneMode::Storage)
}

fn deserialize_as<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    payload: &Payload,
    mode: CloneMode,
) -> Option<v8::Local<'s, v8::Value>> {
    let delegate = Deserializer {
        state: state.clone(),
        capabilities: &payload.capabilities,
        mode,
    };
    let deserializer = v8::ValueDeserializer::new(scope, Box::new(delegate), &payload.bytes);
    let context = scope.get_current_context();
    if !deserializer.read_header(context).unwrap_or(false) {
        let text = v8::String::new(scope, "The stored value could not be read.")?;
        let error = v8::Exception::error(scope, text);
        scope.throw_exception(error);
        return None;
    }
    deserializer.read_value(context)
}

/// The failure a caller gets for the JS value `thrown`. A value that cannot be serialised is told by
/// its text.
pub fn thrown_failure<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    thrown: v8::Local<'s, v8::Value>,
    remote: bool,
    reset: bool,
) -> Failure {
    v8::tc_scope!(let scope, scope);
    let text = thrown.to_rust_string_lossy(scope);
    scope.reset(); // a thrown Proxy may throw when it is made a string
    let callbacks = state.callbacks();
    // JS packs errors: V8 keeps class, message and stack, but not the other own properties.
    let pack = v8::Local::new(scope, &callbacks.pack_error);
    let this = v8::undefined(scope).into();
    if let Some(packed) = pack.call(scope, this, &[thrown])
        && let Some(payload) = serialize(scope, state, packed, CloneMode::Rpc)
    {
        return Failure::Thrown {
            value: payload.into(),
            text: text.into(),
            reset,
            remote,
        };
    }
    scope.reset();
    let error = facetd_core::HostError {
        remote,
        reset,
        ..facetd_core::HostError::new("Error", text)
    };
    error.into()
}
