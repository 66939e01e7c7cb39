//! One thread that watches the CPU time of every isolate's running turn.
//!
//! A tick costs nothing where no turn runs, and a turn stores four numbers. What it may use is counted from the first tick that
//! sees it. Dropped: a timer per turn, and a look at the thread's CPU clock when it begins: each is a system call on the hot path.

use crate::control::{Control, Killed};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

/// A kill comes up to two of them late.
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

struct Watched {
    control: Weak<Control>,
    /// The turn that ran at the last tick, and the thread's CPU time then.
    turn: u64,
    seen_at_ns: u64,
}

static WATCHED: OnceLock<Mutex<Vec<Watched>>> = OnceLock::new();

/// Watches `control` until it is dropped.
pub(crate) fn watch(control: &Arc<Control>) {
    let watched = WATCHED.get_or_init(|| {
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(run)
            .expect("the operating system gives one more thread");
        Mutex::new(Vec::new())
    });
    watched.lock().push(Watched {
        control: Arc::downgrade(control),
        turn: 0,
        seen_at_ns: 0,
    });
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
        watched
            .lock()
            .retain_mut(|watched| match watched.control.upgrade() {
                Some(control) => {
                    watched.check(&control);
                    true
                }
                None => false,
            });
    }
}

/// How long a killed isolate may take to come back from its code.
const GRACE: Duration = Duration::from_secs(1);

impl Watched {
    fn check(&mut self, control: &Control) {
        let turn = control.turn.load(Ordering::Acquire);
        if control.stopping.load(Ordering::Acquire) {
            let overdue = control
                .killed_at
                .lock()
                .is_some_and(|at| at.elapsed() >= GRACE);
            // Its thread says that the turn is over before it tears down: then it did come back.
            if overdue && turn != 0 && !control.ended.load(Ordering::Acquire) {
                *control.killed_at.lock() = None;
                control.abandon();
            }
            return;
        }
        if turn == 0 || control.ended.load(Ordering::Acquire) {
            return;
        }
        let Some(now) = control.clock.get().and_then(|clock| cpu_ns(*clock)) else {
            return;
        };
        if turn != self.turn {
            (self.turn, self.seen_at_ns) = (turn, now);
            return;
        }
        let used = now.saturating_sub(self.seen_at_ns);
        let budget = control.turn_budget_ns.load(Ordering::Acquire);
        let before = control.turn_used_before_ns.load(Ordering::Acquire);
        let limit_ms = control.turn_limit_ms.load(Ordering::Acquire);
        // The turn may have ended since it was looked at: then another, or 0, stands there, and those are its numbers.
        if used >= budget && control.turn.load(Ordering::Acquire) == turn {
            control.kill(Killed::Cpu {
                limit_ms,
                used_ms: (before + used) / 1_000_000,
            });
        }
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
