//! One thread that watches the CPU time of every isolate's running turn.
//!
//! A tick costs nothing where no turn runs. Dropped: a timer per turn, which cost two system calls on
//! the hot path; a turn now stores four numbers.

use crate::control::{Control, Killed};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

/// How late a kill may come.
const TICK: Duration = Duration::from_millis(5);

/// Set when an isolate has ended and its memory can go back to the system.
static TRIM: AtomicBool = AtomicBool::new(false);
/// Ticks between two trims: isolates tend to end in numbers.
const TRIM_TICKS: u32 = 40;

/// Gives freed memory back to the system before long. glibc keeps it otherwise: 200 isolates that
/// lived at once leave more than 200 MiB behind.
pub(crate) fn trim_soon() {
    TRIM.store(true, Ordering::Release);
}

static WATCHED: OnceLock<Mutex<Vec<Weak<Control>>>> = OnceLock::new();

/// Watches `control` until it is dropped.
pub(crate) fn watch(control: &Arc<Control>) {
    let watched = WATCHED.get_or_init(|| {
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(run)
            .expect("the operating system gives one more thread");
        Mutex::new(Vec::new())
    });
    watched.lock().push(Arc::downgrade(control));
}

fn run() {
    let mut ticks = 0_u32;
    loop {
        std::thread::sleep(TICK);
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(TRIM_TICKS) && TRIM.swap(false, Ordering::AcqRel) {
            // SAFETY: takes no pointers; glibc locks its own arenas.
            unsafe { libc::malloc_trim(0) };
        }
        let Some(watched) = WATCHED.get() else {
            continue;
        };
        watched.lock().retain(|control| match control.upgrade() {
            Some(control) => {
                check(&control);
                true
            }
            None => false,
        });
    }
}

/// How long a killed isolate may take to come back from its code.
const GRACE: Duration = Duration::from_secs(1);

fn check(control: &Control) {
    if control.stopping.load(Ordering::Acquire) {
        let overdue = control
            .killed_at
            .lock()
            .is_some_and(|at| at.elapsed() >= GRACE);
        // Its thread says that the turn is over before it tears down: then it did come back.
        let in_turn = control.turn_deadline_ns.load(Ordering::Acquire) != 0;
        if overdue && in_turn && !control.ended.load(Ordering::Acquire) {
            *control.killed_at.lock() = None;
            control.abandon();
        }
        return;
    }
    let deadline = control.turn_deadline_ns.load(Ordering::Acquire);
    if deadline == 0 || control.ended.load(Ordering::Acquire) {
        return;
    }
    let Some(clock) = control.clock.get() else {
        return;
    };
    let Some(now) = cpu_ns(*clock) else { return };
    // The turn may have ended since the deadline was read: then another, or 0, stands there.
    if now >= deadline && control.turn_deadline_ns.load(Ordering::Acquire) == deadline {
        let in_turn = now.saturating_sub(control.turn_began_ns.load(Ordering::Acquire));
        let used = control.turn_used_before_ns.load(Ordering::Acquire) + in_turn;
        let limit_ms = control.turn_limit_ms.load(Ordering::Acquire);
        control.kill(Killed::Cpu {
            limit_ms,
            used_ms: used / 1_000_000,
        });
    }
}

/// CPU time on `clock`; `None`: its thread has ended.
fn cpu_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec, which is ours; a clock of a dead thread makes the call fail.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
    (!failed).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu_ns() -> u64 {
    cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

/// A clock other threads can read the calling thread's CPU time on.
pub(crate) fn thread_clock() -> libc::clockid_t {
    let mut clock = 0;
    // SAFETY: pthread_self is the calling thread, which is alive; the call writes one clockid.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) } != 0;
    assert!(!failed, "a thread has a CPU clock");
    clock
}
