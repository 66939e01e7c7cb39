//! Turns: every entry into JS, from the first instruction until its microtasks are drained.

use crate::control::Killed;
use crate::isolate::Isolate;
use crate::watchdog::thread_cpu_ns;
use deno_core::v8;
use facetd_core::{Failure, ObjectPort};
use facetd_rpc::IsolateState;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Whose CPU time a turn uses.
#[derive(Clone, Copy)]
pub(crate) enum Payer {
    /// An event and its context; event 0: what has outlived its event, or a constructor. Each such turn
    /// has a fresh budget.
    Event { event: u32, context: u32 },
    /// The top level of the modules.
    Startup,
    /// Nobody in particular: streams, unowned promises. Each turn has a fresh budget.
    Isolate,
}

const NS_PER_MS: u64 = 1_000_000;

/// A turn no longer than this is taken to have used the processor all the time. Looking at the thread's CPU clock is a system
/// call; most turns are shorter than ten of them.
const SHORT: Duration = Duration::from_micros(50);
/// After so many turns the clock is looked at all the same.
const SHORT_TURNS_MAX: u64 = 64;

/// CPU time of turns. One that follows a long one is measured exactly. The first long one after short ones is charged what the
/// thread has used since the clock was last looked at, and never more than the time that passed.
#[derive(Default)]
pub(crate) struct TurnClock {
    /// Turns begun so far.
    turns: u64,
    began: Option<Instant>,
    /// The thread's CPU time when it was last looked at.
    looked_ns: u64,
    /// The last turn was long.
    exact: bool,
}

impl TurnClock {
    /// Returns the number of the turn.
    fn begin(&mut self) -> u64 {
        self.turns += 1;
        if self.exact || self.turns.is_multiple_of(SHORT_TURNS_MAX) {
            self.looked_ns = thread_cpu_ns();
        }
        self.began = Some(Instant::now());
        self.turns
    }

    /// CPU time the turn has used, in nanoseconds.
    fn end(&mut self) -> u64 {
        let passed = self
            .began
            .take()
            .map_or(Duration::ZERO, |began| began.elapsed());
        let passed_ns = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        self.exact = passed > SHORT;
        if !self.exact {
            return passed_ns;
        }
        let now = thread_cpu_ns();
        let used = now.saturating_sub(self.looked_ns);
        self.looked_ns = now;
        used.min(passed_ns)
    }
}

impl Isolate {
    /// Runs `f` in the isolate, drains the microtasks, then does what the end of a turn asks for:
    /// commits, lets messages out, resets objects. `None`: the turn was terminated.
    pub(crate) fn turn<R>(
        &mut self,
        payer: Payer,
        f: impl FnOnce(&mut v8::PinScope<'_, '_>, &Rc<IsolateState>) -> R,
    ) -> Option<R> {
        let state = self.state.clone();
        self.begin(payer);
        let result = {
            v8::scope_with_context!(let scope, self.runtime.v8_isolate(), &self.main_context);
            v8::tc_scope!(let scope, scope);
            let result = f(scope, &state);
            if !scope.is_execution_terminating() {
                scope.perform_microtask_checkpoint();
            }
            let terminated = scope.has_terminated() || scope.is_execution_terminating();
            (!terminated).then_some(result)
        };
        let interrupted = self.end(payer);
        self.after_turn(result.is_none() || interrupted);
        result
    }

    pub(crate) fn begin(&mut self, payer: Payer) {
        let object = if let Payer::Event { context, .. } = payer {
            self.state
                .with_object(context, |object| object.port.key())
                .unwrap_or(0)
        } else {
            0
        };
        self.control.turn_begins(object);
        let (limit_ms, used_ns) = match payer {
            Payer::Event { event, .. } => {
                let events = self.state.events.borrow();
                let event = events.get(&event);
                let lower = event.and_then(|e| e.limits.cpu_ms);
                let limit = match (lower, self.limits.cpu_ms) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                (limit, event.map_or(0, |e| e.cpu_used_ns))
            }
            Payer::Startup => (self.limits.startup_cpu_ms, 0),
            Payer::Isolate => (self.limits.cpu_ms, 0),
        };
        let turn = self.clock.begin();
        let control = &self.control;
        // Even an event that has used all it may gets the moment it takes to notice.
        let budget = limit_ms.map_or(u64::MAX, |limit_ms| {
            (limit_ms * NS_PER_MS)
                .saturating_sub(used_ns)
                .max(NS_PER_MS)
        });
        let limit_ms = limit_ms.unwrap_or(u64::MAX);
        control.turn_limit_ms.store(limit_ms, Ordering::Relaxed);
        control
            .turn_used_before_ns
            .store(used_ns, Ordering::Relaxed);
        control.turn_budget_ns.store(budget, Ordering::Relaxed);
        control.turn.store(turn, Ordering::Release);
    }

    /// True: the turn was interrupted, because its object was aborted from outside.
    pub(crate) fn end(&mut self, payer: Payer) -> bool {
        let aborted = self.control.turn_ends();
        let interrupted = aborted.is_some();
        if let (Payer::Event { context, .. }, Some(failure)) = (payer, aborted) {
            self.state.resets.borrow_mut().push((context, failure));
        }
        self.control.turn.store(0, Ordering::Release);
        let used_ns = self.clock.end();
        if let Payer::Event { event, .. } = payer
            && let Some(event) = self.state.events.borrow_mut().get_mut(&event)
        {
            event.cpu_used_ns += used_ns;
            let limit_ms = self.control.turn_limit_ms.load(Ordering::Relaxed);
            // Many short turns: the watchdog sees none of them twice.
            if event.cpu_used_ns > limit_ms.saturating_mul(NS_PER_MS) {
                self.control.kill(Killed::Cpu {
                    limit_ms,
                    used_ms: event.cpu_used_ns / NS_PER_MS,
                });
            }
        }
        interrupted
    }

    /// Commits, resets and messages, in this order: nothing leaves before what it could reveal.
    pub(crate) fn after_turn(&mut self, terminated: bool) {
        if self.control.stopping.load(Ordering::Acquire) {
            return; // condemned: the loop tears everything down
        }
        if terminated {
            // Our own op stopped the code to reset an object (or `abortIsolate`), or the host did.
            self.runtime.v8_isolate().cancel_terminate_execution();
        }
        let resets = self.state.resets.take();
        // An object that asked to be reset must not commit what it wrote in this turn.
        for (context, _) in &resets {
            self.databases.discard(*context);
        }
        if let Err(error) = self.databases.clear_abandoned_alarms() {
            tracing::warn!(%error, "an abandoned alarm could not be removed and will be retried");
        }
        self.commit();
        for (context, failure) in resets {
            self.reset_object(context, failure, true);
        }
        self.state.flush_outbox();
        if self.blobs.wants_collection() {
            self.runtime.v8_isolate().low_memory_notification();
            self.blobs.collected();
        }
    }

    fn commit(&mut self) {
        // Resetting lets messages of the turn go: every gate that holds some is closed first.
        let mut failed = Vec::new();
        for commit in self.databases.commit_turn() {
            let Some(port) = self.state.object_port(commit.context) else {
                continue;
            };
            let durable = commit.alarm.map(|alarm| list_alarm(&port, alarm));
            match commit.outcome {
                Ok(Some(ticket)) if port.start().fsync => {
                    let gate = port.output_gate().clone();
                    let waits_for = if commit.holds {
                        gate.close()
                    } else {
                        gate.note()
                    };
                    ticket.when_durable(Box::new(move |synced| match synced {
                        Ok(()) => {
                            gate.open(waits_for);
                            if let Some(durable) = durable {
                                durable();
                            }
                        }
                        Err(error) => {
                            tracing::error!(%error, "a commit could not be synced");
                            let failure = Failure::ours(error.js_message());
                            gate.break_with(&failure);
                            port.broken(failure, true);
                        }
                    }));
                }
                Ok(_) => {
                    if let Some(durable) = durable {
                        durable();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a commit failed; the object is reset");
                    failed.push((commit.context, Failure::error(error.js_message())));
                }
            }
        }
        for (context, failure) in failed {
            self.reset_object(context, failure, true);
        }
    }
}

/// Tells the host of a new alarm. What reveals it stays until the wake-up list knows it too. The
/// returned function is for when the commit is durable.
fn list_alarm(port: &Arc<dyn ObjectPort>, alarm: Option<i64>) -> Box<dyn FnOnce() + Send> {
    let gate = port.output_gate().clone();
    let hold = gate.hold();
    let owner = port.clone();
    let listed = Box::new(move |listed: Result<(), Failure>| match listed {
        Ok(()) => gate.release(hold),
        Err(failure) => {
            gate.break_with(&failure);
            owner.broken(failure, true);
        }
    });
    port.alarm_committed(alarm, listed)
}
