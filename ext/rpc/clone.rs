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
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
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
    /// A thrown value: data only, the instances of any class included.
    Thrown = 4,
}

impl CloneMode {
    pub fn from_js(mode: u32) -> Self {
        match mode {
            1 => Self::Env,
            2 => Self::Props,
            3 => Self::Storage,
            4 => Self::Thrown,
            _ => Self::Rpc,
        }
    }
}

struct Serializer {
    state: Rc<IsolateState>,
    mode: CloneMode,
    capabilities: Rc<RefCell<Vec<Capability>>>,
    refusal: Rc<Cell<Refusal>>,
    /// What a first attempt took from its objects for good, for the second one.
    taken: Taken,
}

/// By the identity hashes of the objects.
type Taken = Rc<RefCell<HashMap<i32, Vec<TakenFrom>>>>;

/// A stream moved out of `object`, or a stub was made of it: that happens once.
struct TakenFrom {
    object: v8::Global<v8::Object>,
    tag: u32,
    stand_in: v8::Global<v8::Value>,
    /// None: a body that did not need a stream, and is marked as used.
    capability: Option<Capability>,
}

/// What happens when V8 refuses a value by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It is noted. JS looks for what may pass nevertheless, and most often finds it: no error is made.
    Noted,
    /// As `Noted`, and it has happened.
    Happened,
    /// It is thrown.
    Thrown,
}

impl v8::ValueSerializerImpl for Serializer {
    fn throw_data_clone_error<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        message: v8::Local<'s, v8::String>,
    ) {
        if self.refusal.get() == Refusal::Thrown {
            throw_clone_error(scope, &self.state, message);
        } else {
            self.refusal.set(Refusal::Happened);
            let nothing = v8::undefined(scope).into();
            scope.throw_exception(nothing);
        }
    }

    fn get_shared_array_buffer_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        _buffer: v8::Local<'s, v8::SharedArrayBuffer>,
    ) -> Option<u32> {
        let text = v8::String::new(scope, "#<SharedArrayBuffer> could not be cloned.")?;
        throw_clone_error(scope, &self.state, text);
        None
    }

    fn has_custom_host_object(&self, _isolate: &v8::Isolate) -> bool {
        true
    }

    fn is_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
    ) -> Option<bool> {
        // Errors have properties that V8 does not write, whatever their prototype.
        if object.is_native_error() {
            return Some(true);
        }
        let Some(prototype) = object.get_prototype(scope) else {
            return Some(false);
        };
        if prototype.is_null() {
            // The platform does not send objects without a prototype; it throws them.
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
        if !matches!(self.mode, CloneMode::Storage | CloneMode::Thrown) {
            return Some(true);
        }
        // Class instances become plain objects; only what JS knows to refuse is asked about.
        let described = describe(scope, &self.state, object, self.mode)?;
        Some(!described.is_undefined())
    }

    fn write_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        writer: &dyn ValueSerializerHelper,
    ) -> Option<bool> {
        if let Some(taken) = self.taken_from(scope, object) {
            let stand_in = v8::Local::new(scope, taken.stand_in);
            return self.write_parts(scope, writer, taken.tag, stand_in, taken.capability);
        }
        let described = describe(scope, &self.state, object, self.mode)?;
        let described: v8::Local<v8::Array> = described.try_into().ok()?;
        if self.mode == CloneMode::Storage {
            return stored::write(scope, described, writer);
        }
        self.write_described(scope, object, described, writer)
    }
}

impl Serializer {
    /// What the first attempt took from `object`, if this is the second one.
    fn taken_from<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
    ) -> Option<TakenFrom> {
        let mut taken = self.taken.borrow_mut();
        if self.refusal.get() != Refusal::Thrown || taken.is_empty() {
            return None;
        }
        let same_hash = taken.get_mut(&object.get_identity_hash().get())?;
        let at = same_hash
            .iter()
            .position(|taken| v8::Local::new(scope, &taken.object) == object)?;
        Some(same_hash.swap_remove(at))
    }

    /// Writes `[tag, standIn, handle?]` as the body of a host object.
    fn write_described<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        described: v8::Local<'s, v8::Array>,
        writer: &dyn ValueSerializerHelper,
    ) -> Option<bool> {
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
        if self.refusal.get() == Refusal::Noted
            && matches!(
                tag,
                TAG_FUNCTION | TAG_WRITABLE | TAG_OWNED | TAG_REQUEST | TAG_RESPONSE | TAG_STREAM
            )
        {
            let taken = TakenFrom {
                object: v8::Global::new(scope, object),
                tag,
                stand_in: v8::Global::new(scope, stand_in),
                capability: capability.clone(),
            };
            let hash = object.get_identity_hash().get();
            self.taken.borrow_mut().entry(hash).or_default().push(taken);
        }
        self.write_parts(scope, writer, tag, stand_in, capability)
    }

    fn write_parts<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        writer: &dyn ValueSerializerHelper,
        tag: u32,
        stand_in: v8::Local<'s, v8::Value>,
        capability: Option<Capability>,
    ) -> Option<bool> {
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

// The tags of `10_clone.js` for what is taken from an object when it is described: a body or stream moves, functions,
// `RpcTarget`s, writable streams and results with a disposer are exported.
const TAG_REQUEST: u32 = 4;
const TAG_RESPONSE: u32 = 5;
const TAG_STREAM: u32 = 6;
const TAG_FUNCTION: u32 = 8;
const TAG_WRITABLE: u32 = 10;
const TAG_OWNED: u32 = 11;
/// A value in which V8 refused something callable: see [`write_callables`].
const TAG_CALLABLES: u32 = 100;

/// How V8's format begins a host object.
const HOST_OBJECT: &[u8] = b"\\";

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
    let refusal = Rc::new(Cell::new(Refusal::Noted));
    let taken = Taken::default();
    {
        v8::tc_scope!(let scope, scope);
        if let Some(payload) = serialize_once(scope, state, value, mode, (&refusal, &taken), None) {
            return Some(payload);
        }
        if scope.has_terminated() {
            return None;
        }
        if refusal.get() != Refusal::Happened {
            scope.rethrow();
            return None;
        }
        scope.reset();
    }
    // V8 refuses callables before it asks us. JS looks whether there are any that may pass.
    let callbacks = state.callbacks();
    let callables = v8::Local::new(scope, &callbacks.callables);
    let this = v8::undefined(scope).into();
    let mode_number = v8::Integer::new_from_unsigned(scope, mode as u32).into();
    let found = callables.call(scope, this, &[value, mode_number])?;
    let found = v8::Local::<v8::Array>::try_from(found).ok();
    serialize_once(scope, state, value, mode, (&refusal, &taken), found)
}

fn serialize_once<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    value: v8::Local<'s, v8::Value>,
    mode: CloneMode,
    (refusal, taken): (&Rc<Cell<Refusal>>, &Taken),
    callables: Option<v8::Local<'s, v8::Array>>,
) -> Option<Payload> {
    let again = refusal.get() == Refusal::Happened;
    let capabilities = Rc::new(RefCell::new(Vec::new()));
    let delegate = || Serializer {
        state: state.clone(),
        mode,
        capabilities: capabilities.clone(),
        refusal: refusal.clone(),
        taken: taken.clone(),
    };
    let serializer = v8::ValueSerializer::new(scope, Box::new(delegate()));
    serializer.write_header();
    if let Some(callables) = callables {
        write_callables(scope, &serializer, &delegate(), callables)?;
    }
    if again {
        refusal.set(Refusal::Thrown);
    }
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

/// Begins a value with the callables that are in it, `[object, description, ...]`.
///
/// V8 numbers what it meets, refuses callables only then, and writes a number where it meets a thing again. So each
/// callable is offered once, in vain; the stand-ins are written in front, where the reader numbers them alike; and V8
/// itself writes the rest, with its identities, holes and views as they are. One more number goes to the host object that
/// holds it all together.
fn write_callables<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    serializer: &v8::ValueSerializer<'_>,
    delegate: &Serializer,
    callables: v8::Local<'s, v8::Array>,
) -> Option<()> {
    let context = scope.get_current_context();
    let count = callables.length() / 2;
    let number = |scope: &mut v8::PinScope<'s, '_>, object: v8::Local<'s, v8::Value>| {
        v8::tc_scope!(let scope, scope);
        let refused = serializer.write_value(context, object) != Some(true);
        let terminated = scope.has_terminated();
        scope.reset();
        (refused && !terminated).then_some(())
    };
    let holder = v8::Local::new(scope, &delegate.state.callbacks().callables);
    number(scope, holder.into())?;
    for at in 0..count {
        let object = callables.get_index(scope, at * 2)?;
        number(scope, object)?;
    }
    serializer.write_raw_bytes(HOST_OBJECT);
    serializer.write_uint32(TAG_CALLABLES);
    serializer.write_uint32(count);
    for at in 0..count {
        let object = callables.get_index(scope, at * 2)?.try_into().ok()?;
        let described = callables.get_index(scope, at * 2 + 1)?.try_into().ok()?;
        serializer.write_raw_bytes(HOST_OBJECT);
        delegate.write_described(scope, object, described, serializer)?;
    }
    Some(())
}

/// V8's words for bytes it cannot read: too deep for this stack, or an error that contains itself.
pub const UNREADABLE: &str = "Unable to deserialize cloned data.";

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
        if tag == TAG_CALLABLES {
            for _ in 0..slot {
                reader.read_value(context)?;
            }
            return reader.read_value(context)?.try_into().ok();
        }
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
    let text = text_of(scope, thrown);
    for whole in [true, false] {
        if let Some(payload) = pack_thrown(scope, state, thrown, whole, &text) {
            return Failure::Thrown {
                value: payload.into(),
                text: text.into(),
                reset,
                remote,
            };
        }
        if scope.has_terminated() {
            break;
        }
        scope.reset();
    }
    let error = facetd_core::HostError {
        remote,
        reset,
        ..facetd_core::HostError::new("Error", text)
    };
    error.into()
}

/// What V8 would print of an uncaught `thrown`: runs no code of it.
fn text_of<'s>(scope: &mut v8::PinScope<'s, '_>, thrown: v8::Local<'s, v8::Value>) -> String {
    let message = v8::Exception::create_message(scope, thrown).get(scope);
    let text = message.to_rust_string_lossy(scope);
    match text.strip_prefix("Uncaught ") {
        Some(bare) => bare.to_owned(),
        None => text,
    }
}

/// `None`: it cannot cross like that, or could not be read at the other end.
fn pack_thrown<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &Rc<IsolateState>,
    thrown: v8::Local<'s, v8::Value>,
    whole: bool,
    text: &str,
) -> Option<Payload> {
    let callbacks = state.callbacks();
    let pack = v8::Local::new(scope, &callbacks.pack_thrown);
    let this = v8::undefined(scope).into();
    let arguments = [
        thrown,
        v8::Boolean::new(scope, whole).into(),
        v8::String::new(scope, text)?.into(),
    ];
    let packed = pack.call(scope, this, &arguments)?;
    let payload = serialize(scope, state, packed, CloneMode::Thrown)?;
    // An error that has itself as a property can be written, but nobody can read it.
    if whole && thrown.is_object() {
        deserialize(scope, state, &payload)?;
    }
    Some(payload)
}
