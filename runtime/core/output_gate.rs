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
    /// The newest commit that messages wait for; later ones are unconfirmed.
    holding: u64,
    durable: u64,
    held: VecDeque<Waiting>,
    /// Those who wait for every commit, unconfirmed ones too.
    waiting: VecDeque<(u64, Held)>,
    broken: Option<Failure>,
    last_hold: u64,
    /// In order.
    holds: Vec<u64>,
}

/// A message, and what it waits for: every commit and every hold up to these.
struct Waiting {
    commit: u64,
    hold: u64,
    message: Held,
}

impl OutputGate {
    /// Announces a commit that is not yet durable. What is sent from now on waits for it.
    pub fn close(&self) -> u64 {
        let mut state = self.lock();
        state.issued += 1;
        state.holding = state.issued;
        state.issued
    }

    /// Announces a commit of unconfirmed writes only: nothing that is sent waits for it.
    pub fn note(&self) -> u64 {
        let mut state = self.lock();
        state.issued += 1;
        state.issued
    }

    /// Sends `message` as soon as every commit announced before it is durable.
    pub fn send(&self, message: impl FnOnce(Result<(), Failure>) + Send + 'static) {
        let mut state = self.lock();
        if let Some(failure) = state.broken.clone() {
            message(Err(failure));
        } else if state.durable >= state.holding && state.holds.is_empty() {
            message(Ok(()));
        } else {
            let (commit, hold) = (state.holding, state.last_hold);
            state.held.push_back(Waiting {
                commit,
                hold,
                message: Box::new(message),
            });
        }
    }

    /// Calls `message` as soon as every commit announced before, held for or not, is durable.
    pub fn when_durable(&self, message: Held) {
        let mut state = self.lock();
        if let Some(failure) = state.broken.clone() {
            message(Err(failure));
        } else if state.durable >= state.issued {
            message(Ok(()));
        } else {
            let ticket = state.issued;
            state.waiting.push_back((ticket, message));
        }
    }

    /// Holds what is sent from now on, whatever becomes of commits: for something beside the database
    /// that must be durable first.
    pub fn hold(&self) -> u64 {
        let mut state = self.lock();
        state.last_hold += 1;
        let hold = state.last_hold;
        state.holds.push(hold);
        hold
    }

    /// What `hold` stood for has happened.
    pub fn release(&self, hold: u64) {
        let mut state = self.lock();
        state.holds.retain(|held| *held != hold);
        state.let_go();
    }

    /// The commit of `ticket`, and with it every earlier one, is durable.
    pub fn open(&self, ticket: u64) {
        let mut state = self.lock();
        state.durable = state.durable.max(ticket);
        while state
            .waiting
            .front()
            .is_some_and(|(waits_for, _)| *waits_for <= state.durable)
        {
            if let Some((_, message)) = state.waiting.pop_front() {
                message(Ok(()));
            }
        }
        state.let_go();
    }

    /// A commit failed or the object was reset: nothing held or sent later gets out.
    pub fn break_with(&self, failure: &Failure) {
        let mut state = self.lock();
        if state.broken.is_none() {
            state.broken = Some(failure.clone());
        }
        for held in std::mem::take(&mut state.held) {
            (held.message)(Err(failure.clone()));
        }
        for (_, message) in std::mem::take(&mut state.waiting) {
            message(Err(failure.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn let_go(&mut self) {
        while let Some(first) = self.held.front() {
            let held = self.holds.first().is_some_and(|hold| *hold <= first.hold);
            if held || first.commit > self.durable {
                break;
            }
            if let Some(first) = self.held.pop_front() {
                (first.message)(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Log = Arc<Mutex<Vec<(u32, bool)>>>;

    fn send(gate: &OutputGate, log: &Log, n: u32) {
        let log = log.clone();
        gate.send(move |r| log.lock().expect("not poisoned").push((n, r.is_ok())));
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
    fn a_hold_is_not_lifted_by_a_later_commit() {
        let (gate, log) = (OutputGate::default(), Log::default());
        let sent = || log.lock().expect("not poisoned").len();
        let first = gate.close();
        let hold = gate.hold();
        send(&gate, &log, 1);
        let second = gate.close();
        let other = gate.hold();
        send(&gate, &log, 2);
        gate.open(first);
        gate.open(second);
        assert_eq!(
            sent(),
            0,
            "both commits are durable, what is held beside them is not"
        );
        gate.release(other);
        assert_eq!(sent(), 0, "no message overtakes another");
        gate.release(hold);
        assert_eq!(
            *log.lock().expect("not poisoned"),
            [(1, true), (2, true)],
            "in order"
        );
        send(&gate, &log, 3);
        assert_eq!(sent(), 3, "open again");
    }

    #[test]
    fn an_unconfirmed_commit_holds_nothing_but_those_who_ask_for_it() {
        let (gate, log) = (OutputGate::default(), Log::default());
        let unconfirmed = gate.note();
        send(&gate, &log, 1);
        let asked = log.clone();
        gate.when_durable(Box::new(move |r| {
            asked.lock().expect("not poisoned").push((2, r.is_ok()))
        }));
        send(&gate, &log, 3);
        assert_eq!(
            *log.lock().expect("not poisoned"),
            [(1, true), (3, true)],
            "messages pass, also after somebody waits"
        );
        let confirmed = gate.close();
        gate.note();
        send(&gate, &log, 4);
        gate.open(unconfirmed);
        assert_eq!(
            log.lock().expect("not poisoned").len(),
            3,
            "who asked is told; the confirmed commit still holds"
        );
        gate.open(confirmed);
        assert_eq!(
            log.lock().expect("not poisoned").last(),
            Some(&(4, true)),
            "the unconfirmed one behind it holds nothing"
        );
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
