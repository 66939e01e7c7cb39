//! Durable Object namespaces and `ctx`. API: README.md.

use deno_core::op2;
use deno_error::JsErrorBox;
use facetd_core::{Event, Failure, Target, TargetKind};
use facetd_rpc::Handle;
use std::sync::Arc;

const BY_NAME: u32 = 0;
const UNIQUE: u32 = 1;

/// An id of this namespace, as hex digits.
#[op2]
#[string]
fn op_namespace_id(
    #[cppgc] namespace: &Handle,
    how: u32,
    #[string] text: &str,
) -> Result<String, JsErrorBox> {
    let namespace = namespace.namespace().map_err(JsErrorBox::from_err)?;
    let id = match how {
        BY_NAME => namespace.id_from_name(text),
        UNIQUE => namespace.new_unique_id(),
        _ => namespace
            .id_from_string(text)
            .map_err(|error| JsErrorBox::type_error(error.to_string()))?,
    };
    Ok(id.to_string())
}

/// The stub of an id that another namespace made. The mistake is told when it is used, as every other is.
struct Foreign(String);

impl Target for Foreign {
    fn send(&self, event: Event) {
        event.reply.send(Err(Failure::type_error(self.0.clone())));
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Object
    }
}

/// A stub of the object `id`. An id of another namespace gives a stub that fails.
#[op2]
#[cppgc]
fn op_namespace_object(
    #[cppgc] namespace: &Handle,
    #[string] id: &str,
    #[string] name: Option<String>,
) -> Result<Handle, JsErrorBox> {
    let namespace = namespace.namespace().map_err(JsErrorBox::from_err)?;
    Ok(Handle::Target(match namespace.id_from_string(id) {
        Ok(id) => namespace.object(id, name),
        Err(error) => Arc::new(Foreign(error.to_string())),
    }))
}

deno_core::extension!(
    facetd_durable_object,
    deps = [facetd_rpc, facetd_storage, facetd_facets],
    ops = [op_namespace_id, op_namespace_object],
    esm = [dir ".", "00_durable_object.js"],
);
