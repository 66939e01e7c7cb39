//! `ctx.facets`: child objects with a class, an isolate and a database of their own. API: README.md.

use deno_core::{OpState, cppgc, op2, v8};
use deno_error::JsErrorBox;
use facetd_core::{
    Answer, FACET_DEPTH_MAX, FACET_NAME_BYTES_MAX, FacetDue, FacetLookup, ObjectId, ObjectName,
    ObjectPort,
};
use facetd_rpc::{Handle, IsolateState, failure_error, isolate, isolate_of, thrown_failure};
use std::cell::RefCell;
use std::sync::Arc;

fn port(isolate: &IsolateState, context: u32) -> Result<Arc<dyn ObjectPort>, JsErrorBox> {
    isolate
        .object_port(context)
        .ok_or_else(|| JsErrorBox::generic("This Durable Object does not support creating facets."))
}

/// JS has checked the name and the depth, for good messages; it runs beside user code, so Rust does again.
fn check_name(name: &str) -> Result<(), JsErrorBox> {
    if name.is_empty() {
        return Err(JsErrorBox::type_error("Facet name cannot be empty"));
    }
    if name.len() > FACET_NAME_BYTES_MAX {
        return Err(JsErrorBox::type_error(format!(
            "Facet name is too long (max {FACET_NAME_BYTES_MAX} characters)."
        )));
    }
    Ok(())
}

/// `[target, start?]`: `start` is there when the facet must be started by its callback. `for_alarm`: a
/// start that fails leaves no trace on the name.
#[op2]
fn op_facet_lookup<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    #[string] name: &str,
    for_alarm: bool,
) -> Result<v8::Local<'s, v8::Array>, JsErrorBox> {
    check_name(name)?;
    let port = port(&isolate_of(scope), context)?;
    if port.start().depth + 1 >= FACET_DEPTH_MAX {
        return Err(JsErrorBox::generic(format!(
            "Facet nesting depth limit exceeded. The maximum depth including the root Durable Object is {FACET_DEPTH_MAX}."
        )));
    }
    let lookup = if for_alarm {
        port.facet_for_alarm(name)
    } else {
        port.facet(name)
    };
    let (target, start) = match lookup {
        FacetLookup::Known(target) => (target, None),
        FacetLookup::Start(target, start) => (target, Some(start)),
    };
    let target = cppgc::make_cppgc_object(scope, Handle::Target(target)).into();
    let start: v8::Local<v8::Value> = match start {
        Some(start) => {
            cppgc::make_cppgc_object(scope, Handle::FacetStart(RefCell::new(Some(start)))).into()
        }
        None => v8::undefined(scope).into(),
    };
    Ok(v8::Array::new_with_elements(scope, &[target, start]))
}

const INHERITED: u32 = 0;
const ID: u32 = 1;

/// What the start callback returned. `how`: the kind of id.
#[op2]
fn op_facet_start(
    #[cppgc] start: &Handle,
    #[cppgc] class: &Handle,
    how: u32,
    #[string] id: &str,
    #[string] name: Option<String>,
) -> Result<(), JsErrorBox> {
    let class = class.class().map_err(JsErrorBox::from_err)?.clone();
    let id = match how {
        INHERITED => None,
        ID => {
            let id = ObjectId::from_hex(id).map_err(|e| JsErrorBox::type_error(e.to_string()))?;
            Some(ObjectName::Id { id, name })
        }
        _ => Some(ObjectName::Text(id.to_owned())),
    };
    start
        .take_facet_start()
        .map_err(JsErrorBox::from_err)?
        .start(class, id);
    Ok(())
}

/// The start callback threw: everybody who waits for the facet gets the same.
#[op2(nofast, reentrant)]
fn op_facet_fail<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[cppgc] start: &Handle,
    error: v8::Local<'s, v8::Value>,
) {
    // Used up: the callback threw after the start was accepted, which nobody waits for.
    let Ok(start) = start.take_facet_start() else {
        return;
    };
    let failure = thrown_failure(scope, &isolate_of(scope), error, false, false);
    start.fail(failure);
}

const STARTED: u32 = 0;
const UNCLAIMED: u32 = 1;

/// Answers the event that asks to start a facet whose alarm is due.
#[op2(nofast)]
fn op_facet_due<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    event: u32,
    how: u32,
    target: v8::Local<'s, v8::Value>,
) -> Result<(), JsErrorBox> {
    let due = match how {
        STARTED => {
            let handle = cppgc::try_unwrap_cppgc_object::<Handle>(scope, target)
                .ok_or_else(|| JsErrorBox::type_error("Illegal invocation"))?;
            FacetDue::Started(handle.target().map_err(JsErrorBox::from_err)?.clone())
        }
        UNCLAIMED => FacetDue::Unclaimed,
        _ => FacetDue::Unwanted,
    };
    isolate_of(scope).answer(event, Ok(Answer::FacetDue(due)));
    Ok(())
}

#[op2(nofast, reentrant)]
fn op_facet_abort<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    context: u32,
    #[string] name: &str,
    reason: v8::Local<'s, v8::Value>,
) -> Result<(), JsErrorBox> {
    let isolate = isolate_of(scope);
    let failure = thrown_failure(scope, &isolate, reason, false, false);
    port(&isolate, context)?.facet_abort(name, failure);
    Ok(())
}

#[op2(fast)]
fn op_facet_delete(
    state: &mut OpState,
    context: u32,
    #[string] name: &str,
) -> Result<(), JsErrorBox> {
    check_name(name)?;
    port(&isolate(state), context)?
        .facet_delete(name)
        .map_err(|failure| failure_error(&failure))
}

#[op2(fast)]
fn op_facet_clone(
    state: &mut OpState,
    context: u32,
    #[string] src: &str,
    #[string] dst: &str,
) -> Result<(), JsErrorBox> {
    check_name(src)?;
    check_name(dst)?;
    port(&isolate(state), context)?
        .facet_clone(src, dst)
        .map_err(|failure| failure_error(&failure))
}

#[op2(fast)]
fn op_facet_delete_all(state: &mut OpState, context: u32) -> Result<(), JsErrorBox> {
    port(&isolate(state), context)?
        .facet_delete_all()
        .map_err(|failure| failure_error(&failure))
}

deno_core::extension!(
    facetd_facets,
    deps = [facetd_rpc],
    ops = [
        op_facet_lookup,
        op_facet_start,
        op_facet_fail,
        op_facet_due,
        op_facet_abort,
        op_facet_delete,
        op_facet_clone,
        op_facet_delete_all,
    ],
    esm = [dir ".", "00_facets.js"],
);
