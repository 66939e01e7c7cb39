//! `env.LOADER`: workers made from source text at run time. API: README.md.

use deno_core::{cppgc, op2, v8};
use deno_error::JsErrorBox;
use facetd_core::{
    CODE_BYTES_MAX, ENV_BYTES_MAX, Event, Failure, Limits, Module, ModuleSource, TAILS_MAX, Target,
    TargetKind, WorkerCode,
};
use facetd_rpc::{
    CloneMode, Handle, WorkerHandle, isolate_of, props_from_js, serialize, thrown_failure,
};
use std::cell::RefCell;
use std::sync::Arc;

/// Where `fetch()` goes when `globalOutbound` is `null`.
struct Blocked;

const BLOCKED: &str = "This worker is not permitted to access the internet via global functions like fetch(). It must use capabilities (such as bindings in 'env') to talk to the outside world.";

impl Target for Blocked {
    fn send(&self, event: Event) {
        event.reply.send(Err(Failure::error(BLOCKED)));
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Service
    }
}

#[op2]
#[cppgc]
fn op_loader_blocked() -> Handle {
    Handle::Target(Arc::new(Blocked))
}

/// About what a loaded worker weighs.
const WORKER_BYTES: i64 = 4 << 20;

/// The context that loaded an anonymous worker is over.
#[op2(fast)]
fn op_loader_let_go(#[cppgc] worker: &Handle) {
    if let Handle::Worker(handle) = worker {
        handle.worker.take();
    }
}

/// `[worker, slot?]`: `slot` is there when the worker needs its code.
#[op2]
fn op_loader_get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] loader: &Handle,
    #[string] id: Option<String>,
) -> Result<v8::Local<'s, v8::Array>, JsErrorBox> {
    let loader = loader.loader().map_err(JsErrorBox::from_err)?;
    let (worker, slot) = loader.get(id.as_deref());
    let isolate = isolate_of(scope);
    // An isolate hangs on a handle of a few bytes: V8 must know, or it sees no reason to collect.
    // A worker that was there already weighs nothing more.
    let made = i64::from(slot.is_some());
    let collected = i64::from(isolate.collected_workers.replace(0));
    if made != collected {
        scope.adjust_amount_of_external_allocated_memory((made - collected) * WORKER_BYTES);
    }
    let handle = WorkerHandle {
        worker: RefCell::new(Some(worker)),
        collected: slot.is_some().then(|| isolate.collected_workers.clone()),
    };
    let worker = cppgc::make_cppgc_object(scope, Handle::Worker(handle)).into();
    let slot: v8::Local<v8::Value> = match slot {
        Some(slot) => {
            cppgc::make_cppgc_object(scope, Handle::CodeSlot(RefCell::new(Some(slot)))).into()
        }
        None => v8::undefined(scope).into(),
    };
    Ok(v8::Array::new_with_elements(scope, &[worker, slot]))
}

fn limits_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    numbers: v8::Local<'s, v8::Array>,
) -> Limits {
    let at = |index| {
        let number = numbers
            .get_index(scope, index)
            .and_then(|n| n.number_value(scope))
            .unwrap_or(-1.0);
        (number >= 0.0).then_some(number as u64)
    };
    Limits {
        cpu_ms: at(0),
        sub_requests: at(1),
        memory_mb: at(2),
        wall_ms: at(3),
        storage_mb: at(4),
        startup_cpu_ms: None,
        wait_until_ms: None,
    }
}

/// The bytes of a view, or the wire bytes of a `WebAssembly.Module`.
fn bytes_from_js(value: v8::Local<v8::Value>) -> Arc<[u8]> {
    if let Ok(module) = v8::Local::<v8::WasmModuleObject>::try_from(value) {
        return module.get_compiled_module().get_wire_bytes_ref().into();
    }
    match v8::Local::<v8::ArrayBufferView>::try_from(value) {
        Ok(view) => {
            let mut bytes = vec![0; view.byte_length()];
            view.copy_contents(&mut bytes);
            bytes.into()
        }
        Err(_) => Arc::new([]),
    }
}

/// Reads `[name, kind, content, ...]`.
fn modules_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    flat: v8::Local<'s, v8::Array>,
) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut at = 0;
    while at + 2 < flat.length() {
        let name = flat
            .get_index(scope, at)
            .map(|v| v.to_rust_string_lossy(scope));
        let kind = flat
            .get_index(scope, at + 1)
            .and_then(|v| v.uint32_value(scope));
        let content = flat.get_index(scope, at + 2);
        at += 3;
        let (Some(name), Some(kind), Some(content)) = (name, kind, content) else {
            continue;
        };
        let text =
            |scope: &mut v8::PinScope<'s, '_>| Arc::from(content.to_rust_string_lossy(scope));
        let source = match kind {
            0 => ModuleSource::EsModule(text(scope)),
            1 => ModuleSource::CommonJs(text(scope)),
            2 => ModuleSource::Text(text(scope)),
            3 => ModuleSource::Data(bytes_from_js(content)),
            4 => ModuleSource::Json(text(scope)),
            _ => ModuleSource::Wasm(bytes_from_js(content)),
        };
        modules.push(Module { name, source });
    }
    modules
}

fn throw<'s>(scope: &mut v8::PinScope<'s, '_>, class: &str, message: &str) {
    if let Some(text) = v8::String::new(scope, message) {
        let error = match class {
            "TypeError" => v8::Exception::type_error(scope, text),
            _ => v8::Exception::error(scope, text),
        };
        scope.throw_exception(error);
    }
}

/// May a loaded worker be given `target`, as its outbound or a tail?
fn may_be_given(target: &dyn Target) -> Result<(), JsErrorBox> {
    match target.kind() {
        TargetKind::Facet => {
            let text = "Stubs pointing to Durable Object facets are not serializable.";
            Err(JsErrorBox::new("DOMExceptionDataCloneError", text))
        }
        TargetKind::DynamicService => {
            let text = "Entrypoints to dynamically-loaded workers cannot be transferred to other Workers, because the system does not know how to reload this Worker from scratch. Instead, have the parent Worker expose an entrypoint which constructs the dynamic worker and forwards to it.";
            Err(JsErrorBox::new("DOMExceptionDataCloneError", text))
        }
        TargetKind::Service | TargetKind::Object | TargetKind::Export => Ok(()),
    }
}

fn tails_from_js<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    list: v8::Local<'s, v8::Array>,
) -> Result<Vec<Arc<dyn Target>>, JsErrorBox> {
    if list.length() > TAILS_MAX {
        return Err(JsErrorBox::generic(format!(
            "Dynamic Worker has {} tails, the limit is {TAILS_MAX}.",
            list.length()
        )));
    }
    let mut tails = Vec::new();
    for at in 0..list.length() {
        let handle = list
            .get_index(scope, at)
            .and_then(|value| deno_core::cppgc::try_unwrap_cppgc_object::<Handle>(scope, value));
        // Each was looked at in JS.
        let Some(handle) = handle else { continue };
        let target = handle.target().map_err(JsErrorBox::from_err)?.clone();
        may_be_given(&*target)?;
        tails.push(target);
    }
    Ok(tails)
}

/// The checked code of a worker. Throws what is wrong with it.
#[op2(reentrant)]
#[allow(clippy::too_many_arguments, reason = "one per field of WorkerCode")]
fn op_loader_provide<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] slot: &Handle,
    #[string] compatibility_date: Option<String>,
    flags: v8::Local<'s, v8::Array>,
    #[string] main: String,
    modules: v8::Local<'s, v8::Array>,
    env: v8::Local<'s, v8::Value>,
    #[cppgc] outbound: &Handle,
    limits: v8::Local<'s, v8::Array>,
    tails: v8::Local<'s, v8::Array>,
) -> Result<(), JsErrorBox> {
    let isolate = isolate_of(scope);
    let outbound = outbound.target().map_err(JsErrorBox::from_err)?.clone();
    may_be_given(&*outbound)?;
    let tails = tails_from_js(scope, tails)?;
    let mut compatibility_flags = Vec::new();
    for at in 0..flags.length() {
        let flag = flags
            .get_index(scope, at)
            .map(|f| f.to_rust_string_lossy(scope));
        compatibility_flags.extend(flag);
    }
    let modules = modules_from_js(scope, modules);
    let code_bytes: usize = modules.iter().map(|module| module.source.len_bytes()).sum();
    if code_bytes > CODE_BYTES_MAX {
        return Err(JsErrorBox::generic(format!(
            "Dynamic Worker code size ({code_bytes} bytes) exceeds the maximum allowed size of {CODE_BYTES_MAX} bytes."
        )));
    }
    let limits = limits_from_js(scope, limits);
    let env = if env.is_undefined() {
        None
    } else {
        let Some(env) = serialize(scope, &isolate, env, CloneMode::Env) else {
            return Ok(());
        };
        if env.bytes.len() > ENV_BYTES_MAX {
            let text = format!(
                "Dynamic Worker env size ({} bytes) exceeds the maximum allowed size of {ENV_BYTES_MAX} bytes.",
                env.bytes.len()
            );
            throw(scope, "Error", &text);
            return Ok(());
        }
        Some(env)
    };
    let code = WorkerCode {
        compatibility_date,
        compatibility_flags,
        allow_experimental: false,
        main,
        modules,
        env,
        outbound,
        tails,
        limits,
    };
    let slot = slot.take_code_slot().map_err(JsErrorBox::from_err)?;
    if let Err(Failure::Host(error)) = slot.provide(code) {
        throw(scope, error.class, &error.message);
    }
    Ok(())
}

/// `getCode()` threw: everybody who waits for the worker gets the same.
#[op2(nofast, reentrant)]
fn op_loader_fail<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] slot: &Handle,
    error: v8::Local<'s, v8::Value>,
) {
    // Used up: `provide` refused the code and told the waiting callers itself.
    let Ok(slot) = slot.take_code_slot() else {
        return;
    };
    let failure = thrown_failure(scope, &isolate_of(scope), error, false, false);
    slot.fail(failure);
}

#[op2(reentrant)]
#[cppgc]
fn op_loader_entrypoint<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] worker: &Handle,
    #[string] name: Option<String>,
    props: v8::Local<'s, v8::Value>,
    limits: v8::Local<'s, v8::Array>,
) -> Result<Handle, JsErrorBox> {
    let worker = worker.worker().map_err(JsErrorBox::from_err)?;
    let isolate = isolate_of(scope);
    let limits = limits_from_js(scope, limits);
    let props = props_from_js(scope, &isolate, props)?;
    Ok(Handle::Target(worker.entrypoint(name, props, limits)))
}

#[op2(reentrant)]
#[cppgc]
fn op_loader_class<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] worker: &Handle,
    #[string] name: Option<String>,
    props: v8::Local<'s, v8::Value>,
    limits: v8::Local<'s, v8::Array>,
) -> Result<Handle, JsErrorBox> {
    let worker = worker.worker().map_err(JsErrorBox::from_err)?;
    let isolate = isolate_of(scope);
    let limits = limits_from_js(scope, limits);
    let props = props_from_js(scope, &isolate, props)?;
    Ok(Handle::Class(worker.class(name, props, limits)))
}

deno_core::extension!(
    facetd_loader,
    deps = [facetd_rpc, facetd_durable_object],
    ops = [
        op_loader_blocked,
        op_loader_get,
        op_loader_let_go,
        op_loader_provide,
        op_loader_fail,
        op_loader_entrypoint,
        op_loader_class,
    ],
    esm = [dir ".", "00_loader.js"],
);
