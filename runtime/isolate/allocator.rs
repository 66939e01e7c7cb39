//! Counts the bytes of array buffers, which V8 keeps outside its heap, and refuses them above a limit.
//!
//! V8 turns a refusal into a `RangeError`, so a worker that asks for too much gets an exception, not
//! the process the out-of-memory killer.

use deno_core::v8;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Alignment V8 expects of a backing store.
const ALIGN: usize = 16;

pub(crate) struct Budget {
    used_bytes: AtomicUsize,
    max_bytes: usize,
}

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let before = self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = before
            .checked_add(bytes)
            .is_some_and(|total| total <= self.max_bytes);
        if !fits {
            self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), ALIGN).ok()
}

unsafe extern "C" fn allocate(budget: &Budget, bytes: usize) -> *mut c_void {
    match layout(bytes) {
        // SAFETY: the layout has a non-zero size.
        Some(layout) if budget.take(bytes) => unsafe { alloc_zeroed(layout).cast() },
        _ => ptr::null_mut(),
    }
}

unsafe extern "C" fn allocate_uninitialized(budget: &Budget, bytes: usize) -> *mut c_void {
    match layout(bytes) {
        // SAFETY: the layout has a non-zero size.
        Some(layout) if budget.take(bytes) => unsafe { alloc(layout).cast() },
        _ => ptr::null_mut(),
    }
}

unsafe extern "C" fn free(budget: &Budget, data: *mut c_void, bytes: usize) {
    let Some(layout) = layout(bytes) else { return };
    budget.give_back(bytes);
    // SAFETY: V8 gives back what `allocate` gave it, with the same length, so the same layout.
    unsafe { dealloc(data.cast(), layout) };
}

unsafe extern "C" fn drop_budget(budget: *const Budget) {
    // SAFETY: the pointer is the one `Arc::into_raw` gave when the allocator was made.
    drop(unsafe { Arc::from_raw(budget) });
}

static VTABLE: v8::RustAllocatorVtable<Budget> = v8::RustAllocatorVtable {
    allocate,
    allocate_uninitialized,
    free,
    drop: drop_budget,
};

/// An allocator that gives out at most `max_bytes` at a time.
pub(crate) fn limited(max_bytes: usize) -> v8::UniqueRef<v8::Allocator> {
    let budget = Arc::new(Budget {
        used_bytes: AtomicUsize::new(0),
        max_bytes,
    });
    // SAFETY: the vtable's functions are made for this type, and `Budget` is Send and Sync.
    unsafe { v8::new_rust_allocator(Arc::into_raw(budget), &VTABLE) }
}
