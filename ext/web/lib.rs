//! The Workers global scope on top of the Web API crates. API: README.md.

use deno_core::convert::Uint8Array;
use deno_core::{OpState, op2};
use facetd_rpc::IsolateState;
use md5::{Digest, Md5};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// True while the top level of the user's modules runs: clocks stand at 0, no I/O.
#[op2(fast)]
fn op_web_starting(state: &mut OpState) -> bool {
    state.borrow::<Rc<IsolateState>>().starting.get()
}

/// Milliseconds since this process started.
#[op2(fast)]
fn op_web_elapsed_ms() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3
}

/// Milliseconds since 1970.
#[op2(fast)]
fn op_web_now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| (d.as_secs_f64() * 1e3).floor())
}

/// The MD5 digest of `bytes`.
#[op2]
fn op_web_md5(#[buffer] bytes: &[u8]) -> Uint8Array {
    Md5::digest(bytes).to_vec().into()
}

deno_core::extension!(
    facetd_web,
    deps = [facetd_rpc],
    ops = [op_web_starting, op_web_elapsed_ms, op_web_now_ms, op_web_md5],
    esm = [
        dir ".",
        "00_timers.js",
        "05_clock.js",
        "10_console.js",
        "20_crypto.js",
        "22_encoding_and_url.js",
        "24_events.js",
        "26_streams.js",
        "30_globals.js",
    ],
);
