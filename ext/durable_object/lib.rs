//! Durable Object namespaces and `ctx`. API: README.md.

use deno_core::op2;
use deno_error::JsErrorBox;
use facetd_core::ObjectId;
use facetd_rpc::Handle;

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

/// A stub of the object `id`. An id of another namespace gives a stub that fails.
#[op2]
#[cppgc]
fn op_namespace_object(
    #[cppgc] namespace: &Handle,
    #[string] id: &str,
    #[string] name: Option<String>,
) -> Result<Handle, JsErrorBox> {
    let namespace = namespace.namespace().map_err(JsErrorBox::from_err)?;
    let id: ObjectId = namespace
        .id_from_string(id)
        .map_err(|error| JsErrorBox::type_error(error.to_string()))?;
    Ok(Handle::Target(namespace.object(id, name)))
}

deno_core::extension!(
    facetd_durable_object,
    deps = [facetd_rpc, facetd_storage, facetd_facets],
    ops = [op_namespace_id, op_namespace_object],
    esm = [dir ".", "00_durable_object.js"],
);
