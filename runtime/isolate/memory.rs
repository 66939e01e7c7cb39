//! Counts what V8's heap limit and the array buffer allocator do not see: resizable buffers, WebAssembly
//! memories, results that were made from our own vectors.
//!
//! And tells when it gets tight: then idle objects leave memory before anything has to be killed.
//!
//! V8 knows of all of them (it collects garbage because of them), so the look is taken after each
//! collection. Dropped: a look per turn, since a single turn can take gigabytes.

use crate::control::{Control, Killed};
use deno_core::v8;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) struct Watch {
    control: Arc<Control>,
    limit_mb: u64,
}

/// Kills the isolate when more than `limit_mb` lie outside its heap after a collection. The result must
/// live as long as the isolate.
pub(crate) fn watch(isolate: &mut v8::Isolate, control: Arc<Control>, limit_mb: u64) -> Box<Watch> {
    let watch = Box::new(Watch { control, limit_mb });
    let data = std::ptr::from_ref::<Watch>(&watch).cast_mut().cast();
    isolate.add_gc_epilogue_callback(collected, data, v8::GCType::kGCTypeAll);
    watch
}

/// Of the limit, in per cent: more than this after a full collection, inside the heap or outside, is tight. What is left
/// must do for the turns until idle objects are gone and their memory is collected.
const TIGHT_PERCENT: u64 = 70;

/// What the allocator refuses ends in a `RangeError`; only more than that is a reason to kill.
const SLACK: u64 = 8;

unsafe extern "C" fn collected(
    mut isolate: v8::UnsafeRawIsolatePtr,
    kind: v8::GCType,
    _flags: v8::GCCallbackFlags,
    data: *mut c_void,
) {
    // SAFETY: the box that `watch` returned outlives the isolate, and V8 passes its address on.
    let watch = unsafe { &*data.cast::<Watch>() };
    // SAFETY: V8 calls with its own live isolate, on its thread.
    let isolate = unsafe { v8::Isolate::ref_from_raw_isolate_ptr_mut(&mut isolate) };
    let statistics = isolate.get_heap_statistics();
    let outside_mb = (statistics.external_memory() >> 20) as u64;
    // Only a full collection says what is in use; after a small one most of the heap may be garbage.
    if kind == v8::GCType::kGCTypeMarkSweepCompact {
        let inside_mb = (statistics.used_heap_size() >> 20) as u64;
        let tight = outside_mb.max(inside_mb) * 100 > watch.limit_mb * TIGHT_PERCENT;
        watch.control.tight.store(tight, Ordering::Relaxed);
    }
    if outside_mb > watch.limit_mb + watch.limit_mb / SLACK {
        watch.control.kill(Killed::Memory {
            limit_mb: watch.limit_mb,
        });
    }
}
