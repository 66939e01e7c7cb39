//! Stack traces as user code and the log see them: without the frames of our own scripts.

use deno_core::error::prepare_stack_trace_callback;
use deno_core::v8;

/// What V8 asks when somebody reads `error.stack` for the first time.
pub(crate) fn without_our_frames<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    error: v8::Local<'s, v8::Value>,
    frames: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    let mut theirs = Vec::with_capacity(frames.length() as usize);
    for at in 0..frames.length() {
        if let Some(frame) = frames.get_index(scope, at)
            && !is_ours(scope, frame)
        {
            theirs.push(frame);
        }
    }
    let frames = v8::Array::new_with_elements(scope, &theirs);
    prepare_stack_trace_callback(scope, error, frames)
}

/// `frame.getFileName()` names one of our scripts. A call site that user code has tampered with is theirs.
fn is_ours<'s>(scope: &mut v8::PinScope<'s, '_>, frame: v8::Local<'s, v8::Value>) -> bool {
    v8::tc_scope!(let scope, scope);
    let name = (|| {
        let frame: v8::Local<v8::Object> = frame.try_into().ok()?;
        let key = v8::String::new(scope, "getFileName")?;
        let get: v8::Local<v8::Function> = frame.get(scope, key.into())?.try_into().ok()?;
        let name = get.call(scope, frame.into(), &[])?;
        name.is_string().then(|| name.to_rust_string_lossy(scope))
    })();
    let ours = name.is_some_and(|name: String| name.starts_with("ext:"));
    scope.reset();
    ours
}
