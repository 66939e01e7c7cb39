//! Stored host objects in workerd's layout, so that either program reads what the other wrote.
//!
//! JS (`12_stored.js`) knows what the parts mean; here they are only written and read.

use crate::state::IsolateState;
use deno_core::v8;
use v8::{ValueDeserializerHelper, ValueSerializerHelper};

// workerd's tags, and the parts behind each.
const HEADERS: u32 = 4;
const REQUEST: u32 = 5;
const RESPONSE: u32 = 6;
const DOM_EXCEPTION: u32 = 8;
const ERROR: u32 = 10;
const BLOB: u32 = 15;

/// How a part is written; JS says which.
const NUMBER: u32 = 0;
const BYTES: u32 = 1;

/// Writes `[tag, kind, part, kind, part, ...]`.
pub(crate) fn write<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    described: v8::Local<'s, v8::Array>,
    writer: &dyn ValueSerializerHelper,
) -> Option<bool> {
    let context = scope.get_current_context();
    writer.write_uint32(described.get_index(scope, 0)?.uint32_value(scope)?);
    let mut at = 1;
    while at + 1 < described.length() {
        let kind = described.get_index(scope, at)?.uint32_value(scope)?;
        let part = described.get_index(scope, at + 1)?;
        match kind {
            NUMBER => writer.write_uint32(part.uint32_value(scope)?),
            BYTES => {
                let view: v8::Local<v8::ArrayBufferView> = part.try_into().ok()?;
                let mut bytes = vec![0; view.byte_length()];
                view.copy_contents(&mut bytes);
                writer.write_uint32(u32::try_from(bytes.len()).ok()?);
                writer.write_raw_bytes(&bytes);
            }
            _ => {
                if !writer.write_value(context, part)? {
                    return Some(false);
                }
            }
        }
        at += 2;
    }
    Some(true)
}

/// Reads what [`write`], or workerd, wrote.
pub(crate) fn read<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &IsolateState,
    reader: &dyn ValueDeserializerHelper,
) -> Option<v8::Local<'s, v8::Object>> {
    let context = scope.get_current_context();
    let tag = number(reader)?;
    let mut parts: Vec<v8::Local<v8::Value>> = Vec::new();
    match tag {
        ERROR => {
            parts.push(v8::Integer::new_from_unsigned(scope, number(reader)?).into());
            parts.push(reader.read_value(context)?);
            parts.push(reader.read_value(context)?);
        }
        HEADERS => {
            let _guard = number(reader)?;
            for _ in 0..number(reader)? {
                let id = number(reader)?;
                parts.push(v8::Integer::new_from_unsigned(scope, id).into());
                if id == 0 {
                    parts.push(bytes(scope, reader)?);
                }
                parts.push(bytes(scope, reader)?);
            }
        }
        BLOB => {
            parts.push(bytes(scope, reader)?);
            parts.push(bytes(scope, reader)?);
        }
        DOM_EXCEPTION => {
            for _ in 0..3 {
                parts.push(bytes(scope, reader)?);
            }
        }
        RESPONSE => {
            parts.push(reader.read_value(context)?);
            parts.push(reader.read_value(context)?);
        }
        REQUEST => {
            parts.push(bytes(scope, reader)?);
            parts.push(reader.read_value(context)?);
        }
        _ => return None,
    }
    v8::allow_javascript_execution_scope!(let scope, scope);
    let callbacks = state.callbacks();
    let revive = v8::Local::new(scope, &callbacks.revive_stored);
    let this = v8::undefined(scope).into();
    let tag = v8::Integer::new_from_unsigned(scope, tag).into();
    let parts = v8::Array::new_with_elements(scope, &parts).into();
    revive.call(scope, this, &[tag, parts])?.try_into().ok()
}

fn number(reader: &dyn ValueDeserializerHelper) -> Option<u32> {
    let mut number = 0;
    reader.read_uint32(&mut number).then_some(number)
}

fn bytes<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    reader: &dyn ValueDeserializerHelper,
) -> Option<v8::Local<'s, v8::Value>> {
    let length = number(reader)? as usize;
    let bytes = reader.read_raw_bytes(length)?.to_vec();
    let store = v8::ArrayBuffer::new_backing_store_from_vec(bytes).make_shared();
    let buffer = v8::ArrayBuffer::with_backing_store(scope, &store);
    Some(v8::Uint8Array::new(scope, buffer, 0, length)?.into())
}
