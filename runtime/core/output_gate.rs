//! The output gate of one object: holds what could reveal a write until that write is durable.
//!
//! Owns: the messages held back, in order. Called by the isolate's thread at the end of a turn and by
//! the sync thread when a commit is on disk. Messages run under the lock, so none overtakes another;
//! they only post to mailboxes and never come back here.

use crate::Failure;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Held = Box<dyn FnOnce(Result<(), Failure>) + Send>;

#[derive(Default)]
pub struct OutputGate(Mutex<State>);

#[derive(Default)]
struct State {
    issued: u64,
    durable: u64,
    held: VecDeque<(u64, Held)>,
    broken: Option<Failure>,
}

impl OutputGate {
    /// Announces a commit that is not yet durable. What is sent from now on waits for it.
    pub fn close(&self) -> u64 {
        let mut state = self.lock();
        state.issued += 1;
        state.issued
    }

    /// Sends `message` as soon as every commit announced before it is durable.
    pub fn send(&self, message: Held) {
        let mut state = self.lock();
        if let Some(failure) = state.broken.clone() {
            message(Err(failure));
        } else if state.durable == state.issued {
            message(Ok(()));
        } else {
            let ticket = state.issued;
            state.held.push_back((ticket, message));
        }
    }

    /// The commit of `ticket`, and with it every earlier one, is durable.
    pub fn open(&self, ticket: u64) {
        let mut state = self.lock();
        state.durable = state.durable.max(ticket);
        while let Some((waits_for, _)) = state.held.front() {
            if *waits_for > state.durable {
                break;
            }
            if let Some((_, message)) = state.held.pop_front() {
                message(Ok(()));
            }
        }
    }

    /// A commit failed or the object was reset: nothing held or sent later gets out.
    pub fn break_with(&self, failure: &Failure) {
        let mut state = self.lock();
        if state.broken.is_none() {
            state.broken = Some(failure.clone());
        }
        for (_, message) in std::mem::take(&mut state.held) {
            message(Err(failure.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Log = Arc<Mutex<Vec<(u32, bool)>>>;

    fn send(gate: &OutputGate, log: &Log, n: u32) {
        let log = log.clone();
        gate.send(Box::new(move |r| {
            log.lock().expect("not poisoned").push((n, r.is_ok()))
        }));
    }

    #[test]
    fn a_message_waits_for_the_writes_before_it_and_for_no_later_one() {
        let (gate, log) = (OutputGate::default(), Log::default());
        send(&gate, &log, 1);
        let first = gate.close();
        send(&gate, &log, 2);
        let second = gate.close();
        send(&gate, &log, 3);
        assert_eq!(
            *log.lock().expect("not poisoned"),
            [(1, true)],
            "nothing written, not held"
        );
        gate.open(first);
        assert_eq!(
            log.lock().expect("not poisoned").len(),
            2,
            "the first write is durable"
        );
        gate.open(second);
        assert_eq!(log.lock().expect("not poisoned").len(), 3, "the second too");
    }

    #[test]
    fn a_failed_commit_lets_nothing_out() {
        let (gate, log) = (OutputGate::default(), Log::default());
        gate.close();
        send(&gate, &log, 1);
        gate.break_with(&Failure::error("disk"));
        send(&gate, &log, 2);
        assert_eq!(
            *log.lock().expect("not poisoned"),
            [(1, false), (2, false)],
            "both are told"
        );
    }
}
