//! Stubs, events and everything that crosses between isolates. API: README.md.

mod body;
mod clone;
mod handle;
mod ops;
mod state;
mod stored;
mod traces;

pub use body::{add_reader, take_body};
pub use clone::{
    CloneMode, UNREADABLE, deserialize, deserialize_stored, serialize, thrown_failure,
};
pub use handle::{Handle, WorkerHandle, WrongHandle};
pub use ops::{failure_error, isolate, isolate_of, props_from_js};
pub use state::{
    Call, Callbacks, Context, EventState, Exported, HOST_GONE, Input, IsolateState, ObjectContext,
    OpenSocket, Stop, Timer, Via, Watched, Watcher,
};
pub use traces::Traces;

use std::time::Duration;

async fn sleep(delay: Duration) {
    tokio::time::sleep(delay).await;
}

deno_core::extension!(
    facetd_rpc,
    deps = [deno_webidl, deno_web, deno_fetch],
    ops = [
        ops::op_rpc_callbacks,
        ops::op_rpc_fetch,
        ops::op_rpc_scheduled,
        ops::op_rpc_call,
        ops::op_rpc_pipeline,
        ops::op_rpc_route,
        ops::op_rpc_watch,
        ops::op_rpc_adopt,
        ops::op_rpc_give_up,
        ops::op_rpc_answer_value,
        ops::op_rpc_answer_error,
        ops::op_rpc_answer_response,
        ops::op_rpc_done,
        ops::op_rpc_busy,
        ops::op_event_linger,
        ops::op_event_unwind,
        ops::op_rpc_own_entrypoint,
        ops::op_rpc_own_class,
        ops::op_rpc_outbound,
        ops::op_rpc_export,
        ops::op_rpc_may_pass,
        ops::op_rpc_dispose,
        ops::op_body_pipe,
        ops::op_body_write,
        ops::op_body_end,
        ops::op_timer_start,
        ops::op_gate_limit,
        ops::op_gate_enter,
        ops::op_gate_depth,
        ops::op_gate_leave,
        ops::op_gate_durable,
        ops::op_object_reset,
        ops::op_isolate_abort,
        ops::op_log,
        traces::op_trace_begin,
        traces::op_trace_log,
        traces::op_trace_exception,
        traces::op_trace_outcome,
        ops::op_blob_bytes,
    ],
    esm = [
        dir ".",
        "00_context.js",
        "05_ids.js",
        "10_clone.js",
        "12_stored.js",
        "15_errors.js",
        "16_overlay.js",
        "17_headers.js",
        "17_ownership.js",
        "18_body.js",
        "19_request.js",
        "19_response.js",
        "20_fetch.js",
        "30_stub.js",
        "35_tracing.js",
        "40_events.js",
        "45_scheduled.js",
        "46_tail.js",
    ],
);
