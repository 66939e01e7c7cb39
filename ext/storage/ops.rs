//! The ops behind `ctx.storage`.

use crate::databases::{AlarmStart, Databases, OpenCursor};
use deno_core::{GarbageCollected, OpState, op2, v8};
use deno_error::{AdditionalProperties, JsErrorBox, JsErrorClass, PropertyValue};
use facetd_core::{AlarmAnswer, AlarmEvent, Answer, Failure};
use facetd_rpc::{CloneMode, deserialize_stored, isolate, isolate_of, serialize};
use facetd_store::{Database, KvRange, Moment, SqlValue, StoreError, ValueRef};
use std::borrow::Cow;
use std::rc::{Rc, Weak};
use std::time::SystemTime;

fn databases(state: &OpState) -> Rc<Databases> {
    state.borrow::<Rc<Databases>>().clone()
}

fn databases_of(scope: &v8::Isolate) -> Rc<Databases> {
    databases(&deno_core::JsRuntime::op_state_from(scope).borrow())
}

/// A full database, told as every limit is.
#[derive(Debug)]
struct StorageExceeded {
    message: String,
    limit_mb: f64,
    used_mb: f64,
}

impl std::fmt::Display for StorageExceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StorageExceeded {}

impl JsErrorClass for StorageExceeded {
    fn get_class(&self) -> Cow<'static, str> {
        "Error".into()
    }

    fn get_message(&self) -> Cow<'static, str> {
        self.message.clone().into()
    }

    fn get_additional_properties(&self) -> AdditionalProperties {
        let properties = [
            ("code", PropertyValue::from("EXCEEDED_STORAGE")),
            ("limit", PropertyValue::from(self.limit_mb)),
            ("used", PropertyValue::from(self.used_mb)),
        ];
        Box::new(
            properties
                .into_iter()
                .map(|(name, value)| (name.into(), value)),
        )
    }

    fn get_ref(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }
}

/// What JS sees of a store error: SQLite's words, never a path.
fn js_error(error: &StoreError) -> JsErrorBox {
    let message = error.js_message();
    match error {
        StoreError::DiskFull {
            quota: Some(quota), ..
        } => {
            let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            JsErrorBox::from_err(StorageExceeded {
                message,
                limit_mb: mb(quota.limit_bytes),
                used_mb: mb(quota.used_bytes),
            })
        }
        _ => JsErrorBox::generic(message),
    }
}

fn gone() -> JsErrorBox {
    JsErrorBox::generic("The storage of this Durable Object is closed.")
}

/// Reading is of interest to the end of the turn, too: it can find out that the database is damaged.
fn reading(databases: &Databases, context: u32) -> Result<Database, JsErrorBox> {
    databases.use_in_turn(context).ok_or_else(gone)
}

fn writing(databases: &Databases, context: u32) -> Result<Database, JsErrorBox> {
    databases.get_for_write(context).ok_or_else(gone)
}

/// As `writing`; an unconfirmed write holds nothing back.
fn writing_key(
    databases: &Databases,
    context: u32,
    unconfirmed: bool,
) -> Result<Database, JsErrorBox> {
    if unconfirmed {
        databases.use_in_turn(context)
    } else {
        databases.get_for_write(context)
    }
    .ok_or_else(gone)
}

/// A string as V8 writes it: surrogates without a partner stay what they are, so that different keys stay different.
/// Such bytes are no UTF-8, and reading makes replacement characters of them.
fn bytes_of(scope: &v8::PinScope<'_, '_>, value: v8::Local<'_, v8::Value>) -> Vec<u8> {
    let Ok(string) = v8::Local::<v8::String>::try_from(value) else {
        return Vec::new();
    };
    let mut bytes = vec![0; string.utf8_length(scope)];
    let written = string.write_utf8_v2(scope, &mut bytes, v8::WriteFlags::empty(), None);
    bytes.truncate(written);
    bytes
}

fn optional_bytes(
    scope: &v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
) -> Option<Vec<u8>> {
    (!value.is_null_or_undefined()).then(|| bytes_of(scope, value))
}

// ---- key-value

#[op2(reentrant)]
pub fn op_kv_get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    key: v8::Local<'s, v8::Value>,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let database = reading(&databases_of(scope), context)?;
    let key = bytes_of(scope, key);
    match database.kv_get(&key).map_err(|e| js_error(&e))? {
        Some(bytes) => read_value(scope, bytes),
        None => Ok(v8::undefined(scope).into()),
    }
}

/// `[[key, value], ...]` of those of `keys` that exist, in the order of their bytes, each once.
#[op2(reentrant)]
pub fn op_kv_get_all<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    keys: v8::Local<'s, v8::Array>,
) -> Result<v8::Local<'s, v8::Array>, JsErrorBox> {
    let database = reading(&databases_of(scope), context)?;
    let mut sorted = Vec::with_capacity(keys.length() as usize);
    for at in 0..keys.length() {
        if let Some(key) = keys.get_index(scope, at) {
            sorted.push(bytes_of(scope, key));
        }
    }
    sorted.sort();
    sorted.dedup();
    let mut found: Vec<v8::Local<v8::Value>> = Vec::new();
    for key in sorted {
        if let Some(bytes) = database.kv_get(&key).map_err(|e| js_error(&e))? {
            found.push(entry(scope, &key, bytes)?.into());
        }
    }
    Ok(v8::Array::new_with_elements(scope, &found))
}

fn read_value<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: Vec<u8>,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let isolate = isolate_of(scope);
    deserialize_stored(scope, &isolate, bytes)
        .ok_or_else(|| JsErrorBox::generic("The stored value could not be read."))
}

/// Throws what the clone throws.
#[op2(nofast, reentrant)]
pub fn op_kv_put<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    key: v8::Local<'s, v8::Value>,
    value: v8::Local<'s, v8::Value>,
    unconfirmed: bool,
) -> Result<(), JsErrorBox> {
    let isolate = isolate_of(scope);
    // `None`: the DataCloneError is pending already.
    let Some(payload) = serialize(scope, &isolate, value, CloneMode::Storage) else {
        return Ok(());
    };
    let database = writing_key(&databases_of(scope), context, unconfirmed)?;
    let key = bytes_of(scope, key);
    database
        .kv_put(&key, &payload.bytes)
        .map_err(|e| js_error(&e))
}

/// `put` of several entries. All or nothing: everything is serialised before anything is written.
#[op2(nofast, reentrant)]
pub fn op_kv_put_all<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    names: v8::Local<'s, v8::Array>,
    values: v8::Local<'s, v8::Array>,
    unconfirmed: bool,
) -> Result<(), JsErrorBox> {
    let isolate = isolate_of(scope);
    let mut entries = Vec::with_capacity(names.length() as usize);
    for at in 0..names.length() {
        let (Some(name), Some(value)) = (names.get_index(scope, at), values.get_index(scope, at))
        else {
            return Ok(());
        };
        let Some(payload) = serialize(scope, &isolate, value, CloneMode::Storage) else {
            return Ok(()); // thrown already
        };
        entries.push((bytes_of(scope, name), payload.bytes));
    }
    writing_key(&databases_of(scope), context, unconfirmed)?
        .kv_put_all(&entries)
        .map_err(|e| js_error(&e))
}

/// Throws what `put` would throw of this value.
#[op2(nofast, reentrant)]
pub fn op_kv_check_value<'s>(scope: &mut v8::PinScope<'s, '_>, value: v8::Local<'s, v8::Value>) {
    let isolate = isolate_of(scope);
    drop(serialize(scope, &isolate, value, CloneMode::Storage));
}

#[op2(nofast)]
pub fn op_kv_delete<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    key: v8::Local<'s, v8::Value>,
    unconfirmed: bool,
) -> Result<bool, JsErrorBox> {
    let database = writing_key(&databases_of(scope), context, unconfirmed)?;
    let key = bytes_of(scope, key);
    database.kv_delete(&key).map_err(|e| js_error(&e))
}

fn range(
    start: Option<Vec<u8>>,
    start_exclusive: bool,
    end: Option<Vec<u8>>,
    prefix: Option<Vec<u8>>,
    reverse: bool,
    limit: f64,
) -> KvRange {
    let limit = (limit >= 0.0).then_some(limit as u64);
    KvRange {
        start,
        start_exclusive,
        end,
        prefix,
        reverse,
        limit,
    }
}

/// `[[key, value], ...]`.
#[op2(reentrant)]
#[allow(clippy::too_many_arguments, reason = "one per option of list()")]
pub fn op_kv_list<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    start: v8::Local<'s, v8::Value>,
    start_exclusive: bool,
    end: v8::Local<'s, v8::Value>,
    prefix: v8::Local<'s, v8::Value>,
    reverse: bool,
    limit: f64,
) -> Result<v8::Local<'s, v8::Array>, JsErrorBox> {
    let database = reading(&databases_of(scope), context)?;
    let range = range(
        optional_bytes(scope, start),
        start_exclusive,
        optional_bytes(scope, end),
        optional_bytes(scope, prefix),
        reverse,
        limit,
    );
    let entries = database.kv_list(&range).map_err(|e| js_error(&e))?;
    let mut list: Vec<v8::Local<v8::Value>> = Vec::with_capacity(entries.len());
    for (key, bytes) in entries {
        list.push(entry(scope, &key, bytes)?.into());
    }
    Ok(v8::Array::new_with_elements(scope, &list))
}

fn entry<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    key: &[u8],
    bytes: Vec<u8>,
) -> Result<v8::Local<'s, v8::Array>, JsErrorBox> {
    let value = read_value(scope, bytes)?;
    let key = v8::String::new_from_utf8(scope, key, v8::NewStringType::Normal).ok_or_else(gone)?;
    Ok(v8::Array::new_with_elements(scope, &[key.into(), value]))
}

/// A cursor as JS holds it. Collected, it closes.
pub struct CursorHandle {
    number: u32,
    databases: Weak<Databases>,
}

// SAFETY: holds no V8 handle, so there is nothing to trace.
unsafe impl GarbageCollected for CursorHandle {
    fn trace(&self, _visitor: &mut v8::cppgc::Visitor) {}

    fn get_name(&self) -> &'static std::ffi::CStr {
        c"Cursor"
    }
}

impl Drop for CursorHandle {
    fn drop(&mut self) {
        if let Some(databases) = self.databases.upgrade() {
            databases.drop_cursor(self.number);
        }
    }
}

fn handle(databases: &Rc<Databases>, context: u32, cursor: OpenCursor) -> CursorHandle {
    let number = databases.add_cursor(context, cursor);
    CursorHandle {
        number,
        databases: Rc::downgrade(databases),
    }
}

#[op2]
#[cppgc]
#[allow(clippy::too_many_arguments, reason = "one per option of list()")]
pub fn op_kv_cursor<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    start: v8::Local<'s, v8::Value>,
    start_exclusive: bool,
    end: v8::Local<'s, v8::Value>,
    prefix: v8::Local<'s, v8::Value>,
    reverse: bool,
    limit: f64,
) -> Result<CursorHandle, JsErrorBox> {
    let databases = databases_of(scope);
    let database = reading(&databases, context)?;
    let range = range(
        optional_bytes(scope, start),
        start_exclusive,
        optional_bytes(scope, end),
        optional_bytes(scope, prefix),
        reverse,
        limit,
    );
    let cursor = database.kv_cursor(&range).map_err(|e| js_error(&e))?;
    Ok(handle(&databases, context, OpenCursor::Keys(cursor)))
}

/// `[key, value]`, or undefined at the end.
#[op2(reentrant)]
pub fn op_kv_cursor_next<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] cursor: &CursorHandle,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let next = databases_of(scope).with_cursor(cursor.number, |open| match open {
        OpenCursor::Keys(cursor) => cursor.next().map_err(|e| js_error(&e)),
        OpenCursor::Rows(_) => Err(gone()),
    });
    match next.ok_or_else(gone)?? {
        Some((key, bytes)) => Ok(entry(scope, &key, bytes)?.into()),
        None => Ok(v8::undefined(scope).into()),
    }
}

// ---- SQL

fn binding_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> SqlValue {
    if value.is_number() {
        let number = value.number_value(scope).unwrap_or(f64::NAN);
        return if number.is_nan() {
            SqlValue::Null
        } else {
            SqlValue::Real(number)
        };
    }
    if value.is_null_or_undefined() {
        return SqlValue::Null;
    }
    if let Ok(buffer) = v8::Local::<v8::ArrayBuffer>::try_from(value) {
        let store = buffer.get_backing_store();
        return SqlValue::Blob(store.iter().map(std::cell::Cell::get).collect());
    }
    if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
        let mut bytes = vec![0; view.byte_length()];
        view.copy_contents(&mut bytes);
        return SqlValue::Blob(bytes);
    }
    match String::from_utf8(bytes_of(scope, value)) {
        Ok(text) => SqlValue::Text(text),
        Err(not_utf8) => SqlValue::RawText(not_utf8.into_bytes()),
    }
}

#[op2]
#[cppgc]
pub fn op_sql_exec<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    #[string] sql: &str,
    bindings: v8::Local<'s, v8::Array>,
) -> Result<CursorHandle, JsErrorBox> {
    let databases = databases_of(scope);
    let database = writing(&databases, context)?;
    let mut values = Vec::with_capacity(bindings.length() as usize);
    for at in 0..bindings.length() {
        if let Some(value) = bindings.get_index(scope, at) {
            values.push(binding_from_js(scope, value));
        }
    }
    let cursor = database.exec(sql, &values).map_err(|e| js_error(&e))?;
    Ok(handle(&databases, context, OpenCursor::Rows(cursor)))
}

fn value_to_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: ValueRef<'_>,
) -> v8::Local<'s, v8::Value> {
    match value {
        ValueRef::Null => v8::null(scope).into(),
        ValueRef::Integer(n) => match i32::try_from(n) {
            Ok(n) => v8::Integer::new(scope, n).into(),
            Err(_) => v8::Number::new(scope, n as f64).into(),
        },
        ValueRef::Real(n) => v8::Number::new(scope, n).into(),
        ValueRef::Text(bytes) => {
            let string = v8::String::new_from_utf8(scope, bytes, v8::NewStringType::Normal);
            string.map_or_else(|| v8::null(scope).into(), Into::into)
        }
        ValueRef::Blob(bytes) => {
            let store = v8::ArrayBuffer::new_backing_store_from_vec(bytes.to_vec()).make_shared();
            v8::ArrayBuffer::with_backing_store(scope, &store).into()
        }
    }
}

/// The next row, as an object or a raw array; `None` at the end.
fn next_row<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cursor: &mut OpenCursor,
    names: &[v8::Local<'s, v8::Name>],
    raw: bool,
) -> Result<Option<v8::Local<'s, v8::Value>>, JsErrorBox> {
    let OpenCursor::Rows(cursor) = cursor else {
        return Err(gone());
    };
    let mut values: Vec<v8::Local<v8::Value>> = Vec::with_capacity(names.len());
    let more = cursor
        .next_row(&mut |row| values.extend(row.iter().map(|value| value_to_js(scope, value))))
        .map_err(|e| js_error(&e))?;
    if !more {
        return Ok(None);
    }
    if raw {
        return Ok(Some(v8::Array::new_with_elements(scope, &values).into()));
    }
    let object = v8::Object::new(scope);
    for (name, value) in names.iter().zip(values) {
        // Not `set`: a column called `__proto__` is a column.
        object.create_data_property(scope, *name, value);
    }
    Ok(Some(object.into()))
}

fn names<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    cursor: &OpenCursor,
) -> Vec<v8::Local<'s, v8::Name>> {
    let OpenCursor::Rows(cursor) = cursor else {
        return Vec::new();
    };
    let columns = cursor.column_names().iter();
    let texts = columns.filter_map(|name| {
        v8::String::new_from_utf8(scope, name.as_bytes(), v8::NewStringType::Internalized)
    });
    texts.map(Into::into).collect()
}

#[op2(reentrant)]
pub fn op_sql_next<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] cursor: &CursorHandle,
    raw: bool,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let row = databases_of(scope).with_cursor(cursor.number, |open| {
        let names = names(scope, open);
        next_row(scope, open, &names, raw)
    });
    Ok(row
        .ok_or_else(gone)??
        .unwrap_or_else(|| v8::undefined(scope).into()))
}

#[op2(reentrant)]
pub fn op_sql_all<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] cursor: &CursorHandle,
    raw: bool,
) -> Result<v8::Local<'s, v8::Array>, JsErrorBox> {
    let rows = databases_of(scope).with_cursor(cursor.number, |open| {
        let names = names(scope, open);
        // Not `set_index`: it would run setters that user code put on Array.prototype.
        let mut rows = Vec::new();
        while let Some(row) = next_row(scope, open, &names, raw)? {
            rows.push(row);
        }
        Ok(v8::Array::new_with_elements(scope, &rows))
    });
    rows.ok_or_else(gone)?
}

/// The cursor has no more rows from here on. Did it have some?
#[op2(fast)]
pub fn op_sql_stop(state: &mut OpState, #[cppgc] cursor: &CursorHandle) -> bool {
    let stopped = databases(state).with_cursor(cursor.number, |open| match open {
        OpenCursor::Rows(cursor) => cursor.stop(),
        OpenCursor::Keys(_) => false,
    });
    stopped.unwrap_or(false)
}

#[op2]
pub fn op_sql_columns<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] cursor: &CursorHandle,
) -> Result<v8::Local<'s, v8::Array>, JsErrorBox> {
    let names = databases_of(scope).with_cursor(cursor.number, |open| names(scope, open));
    let names: Vec<v8::Local<v8::Value>> = names
        .ok_or_else(gone)?
        .into_iter()
        .map(Into::into)
        .collect();
    Ok(v8::Array::new_with_elements(scope, &names))
}

fn counted(
    state: &OpState,
    cursor: &CursorHandle,
    count: impl FnOnce(&facetd_store::Cursor) -> u64,
) -> f64 {
    let counted = databases(state).with_cursor(cursor.number, |open| match open {
        OpenCursor::Rows(cursor) => count(cursor) as f64,
        OpenCursor::Keys(_) => 0.0,
    });
    counted.unwrap_or(0.0)
}

#[op2(fast)]
pub fn op_sql_read(state: &mut OpState, #[cppgc] cursor: &CursorHandle) -> f64 {
    counted(state, cursor, facetd_store::Cursor::rows_read)
}

#[op2(fast)]
pub fn op_sql_written(state: &mut OpState, #[cppgc] cursor: &CursorHandle) -> f64 {
    counted(state, cursor, facetd_store::Cursor::rows_written)
}

#[op2(fast)]
pub fn op_sql_size(state: &mut OpState, context: u32) -> Result<f64, JsErrorBox> {
    let database = reading(&databases(state), context)?;
    database
        .database_size()
        .map(|bytes| bytes as f64)
        .map_err(|e| js_error(&e))
}

// ---- the alarm

const NS_PER_MS: i64 = 1_000_000;
const NOT_A_DATE: &str = "The value cannot be converted because it is not a valid Date.";
const TOO_LATE: &str = "This API doesn't support dates after 2189.";
const TOO_EARLY: &str = "setAlarm() cannot be called with an alarm time <= 0";

/// The wall clock, in nanoseconds since 1970.
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

/// Milliseconds since 1970, or null.
#[op2]
pub fn op_alarm_get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let alarm = databases_of(scope)
        .alarm(context)
        .map_err(|e| js_error(&e))?;
    match alarm {
        Some(ns) => Ok(v8::Number::new(scope, (ns / NS_PER_MS) as f64).into()),
        None => Ok(v8::null(scope).into()),
    }
}

/// A time that is over is as good as now.
#[op2(fast)]
pub fn op_alarm_set(state: &mut OpState, context: u32, time_ms: f64) -> Result<(), JsErrorBox> {
    if !time_ms.is_finite() {
        return Err(JsErrorBox::type_error(NOT_A_DATE));
    }
    let time_ms = time_ms.trunc();
    if time_ms > (i64::MAX / NS_PER_MS) as f64 {
        return Err(JsErrorBox::type_error(TOO_LATE));
    }
    if time_ms <= 0.0 {
        return Err(JsErrorBox::type_error(TOO_EARLY));
    }
    let now_ms = now_ns() / NS_PER_MS;
    let time_ns = (time_ms as i64).max(now_ms) * NS_PER_MS;
    databases(state)
        .set_alarm(context, Some(time_ns))
        .map_err(|e| js_error(&e))
}

#[op2(fast)]
pub fn op_alarm_delete(state: &mut OpState, context: u32) -> Result<(), JsErrorBox> {
    databases(state)
        .set_alarm(context, None)
        .map_err(|e| js_error(&e))
}

/// The alarm of `event` is due, says the wake-up list; the database decides. `[scheduledTime,
/// retryCount, isRetry]` if the handler is to run; null if the event has been answered.
#[op2]
pub fn op_alarm_begin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    event: u32,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let (isolate, databases) = (isolate_of(scope), databases_of(scope));
    let alarm = {
        let events = isolate.events.borrow();
        events.get(&event).and_then(|event| event.alarm)
    };
    let answer = match alarm {
        None => AlarmAnswer::Absent,
        Some(AlarmEvent::GiveUp { time_ns }) => {
            databases
                .clear_alarm(context, time_ns)
                .map_err(|e| js_error(&e))?;
            AlarmAnswer::Absent
        }
        Some(AlarmEvent::Run {
            time_ns,
            retry_count,
            is_retry,
        }) => match databases
            .begin_alarm(context, now_ns())
            .map_err(|e| js_error(&e))?
        {
            AlarmStart::Absent => AlarmAnswer::Absent,
            AlarmStart::Later(time_ns) => AlarmAnswer::Later(time_ns),
            AlarmStart::Run(stored_ns) => {
                // Another alarm than the one that was tried before is no retry.
                let (retry_count, is_retry) = if stored_ns == time_ns {
                    (retry_count, is_retry)
                } else {
                    (0, false)
                };
                let info = [
                    v8::Number::new(scope, (stored_ns / NS_PER_MS) as f64).into(),
                    v8::Integer::new_from_unsigned(scope, retry_count).into(),
                    v8::Boolean::new(scope, is_retry).into(),
                ];
                return Ok(v8::Array::new_with_elements(scope, &info).into());
            }
        },
    };
    isolate.answer(event, Ok(Answer::Alarm(answer)));
    Ok(v8::null(scope).into())
}

/// The handler is over. Success is answered here, behind the commit of what it wrote.
#[op2(fast)]
pub fn op_alarm_end(
    state: &mut OpState,
    context: u32,
    event: u32,
    success: bool,
) -> Result<(), JsErrorBox> {
    databases(state)
        .end_alarm(context, success)
        .map_err(|e| js_error(&e))?;
    if success {
        isolate(state).answer(event, Ok(Answer::Alarm(AlarmAnswer::Done)));
    }
    Ok(())
}

/// The object is about to reset itself: the alarm that runs, if one does, goes with it.
#[op2(fast)]
pub fn op_alarm_abandon(state: &mut OpState, context: u32) {
    databases(state).abandon_alarm(context);
}

// ---- point-in-time recovery

/// Microseconds since 1970; the turn's own writes, finished or not, are in that state.
#[op2(fast)]
pub fn op_bookmark_now(state: &mut OpState, context: u32) -> Result<f64, JsErrorBox> {
    // Not only a look: it decides the time of the turn's commit.
    writing(&databases(state), context)?
        .bookmark()
        .map(|time| time as f64)
        .map_err(|e| js_error(&e))
}

/// `time`, if there is such a past.
#[op2(fast)]
pub fn op_bookmark_at(state: &mut OpState, context: u32, time: f64) -> Result<f64, JsErrorBox> {
    let database = reading(&databases(state), context)?;
    database
        .check_moment(Moment::At(time.max(0.0) as u64))
        .map(|()| time)
        .map_err(|e| js_error(&e))
}

/// Gives the time whose `undo` bookmark leads back.
#[op2(fast)]
pub fn op_bookmark_restore(
    state: &mut OpState,
    context: u32,
    time: f64,
    undo: bool,
) -> Result<f64, JsErrorBox> {
    let time = time.max(0.0) as u64;
    let moment = if undo {
        Moment::BeforeRestorationAfter(time)
    } else {
        Moment::At(time)
    };
    writing(&databases(state), context)?
        .restore_at_next_open(moment)
        .map(|undoes| undoes.time_us() as f64)
        .map_err(|e| js_error(&e))
}

// ---- transactions

/// `keep_alarm`: the alarm survives, as it did before compatibility date 2026-02-24.
#[op2(fast)]
pub fn op_storage_delete_all(
    state: &mut OpState,
    context: u32,
    keep_alarm: bool,
) -> Result<(), JsErrorBox> {
    let databases = databases(state);
    let database = writing(&databases, context)?;
    let kept = if keep_alarm {
        database.alarm_ns().map_err(|e| js_error(&e))?
    } else {
        None
    };
    databases.touch_alarm(context);
    database.delete_all().map_err(|e| js_error(&e))?;
    if kept.is_some() {
        database.set_alarm_ns(kept).map_err(|e| js_error(&e))?;
    }
    Ok(())
}

#[op2(fast)]
pub fn op_txn_savepoint(state: &mut OpState, context: u32) -> Result<u32, JsErrorBox> {
    writing(&databases(state), context)?
        .savepoint_begin()
        .map_err(|e| js_error(&e))
}

#[op2(fast)]
pub fn op_txn_savepoint_end(
    state: &mut OpState,
    context: u32,
    savepoint: u32,
    keep: bool,
) -> Result<(), JsErrorBox> {
    let database = writing(&databases(state), context)?;
    let ended = if keep {
        database.savepoint_release(savepoint)
    } else {
        database.savepoint_rollback(savepoint)
    };
    ended.map_err(|e| js_error(&e))
}

#[op2(fast)]
pub fn op_txn_begin(state: &mut OpState, context: u32) -> Result<(), JsErrorBox> {
    let databases = databases(state);
    let ticket = writing(&databases, context)?
        .transaction_begin()
        .map_err(|e| js_error(&e))?;
    if let Some(ticket) = ticket {
        databases.note_commit(context, ticket);
    }
    Ok(())
}

/// A commit that fails resets the object: the code stops here.
#[op2(nofast)]
pub fn op_txn_commit(scope: &mut v8::PinScope<'_, '_>, context: u32) -> Result<(), JsErrorBox> {
    let databases = databases_of(scope);
    match writing(&databases, context)?.transaction_commit() {
        Ok(Some(ticket)) => databases.note_commit(context, ticket),
        Ok(None) => {}
        Err(error) => {
            let failure = Failure::error(error.js_message()).with_reset();
            isolate_of(scope)
                .resets
                .borrow_mut()
                .push((context, failure));
            scope.terminate_execution();
        }
    }
    Ok(())
}

#[op2(fast)]
pub fn op_txn_rollback(state: &mut OpState, context: u32) -> Result<(), JsErrorBox> {
    writing(&databases(state), context)?
        .transaction_rollback()
        .map_err(|e| js_error(&e))
}
