//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// Asks until `condition` gives a value; `None` if it gave none within `at_most`.
pub fn until<T>(at_most: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + at_most;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(10)); // between two looks, not instead of one
    }
}

/// Panics with `what` if `condition` does not come true within `at_most`.
#[track_caller]
pub fn wait_for(what: &str, at_most: Duration, mut condition: impl FnMut() -> bool) {
    assert!(
        until(at_most, || condition().then_some(())).is_some(),
        "not within {} s: {what}",
        at_most.as_secs()
    );
}
