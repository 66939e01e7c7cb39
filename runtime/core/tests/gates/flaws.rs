//! The gates as the simulation uses them: the real ones, or ones that are broken on purpose.

use std::collections::VecDeque;
use std::sync::Mutex;

use facetd_core::{Entered, Failure, InputGate, OutputGate, Ready, SectionId};

pub type Held = Box<dyn FnOnce(Result<(), Failure>) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    // of the output gate
    OpensEarly,
    Overtakes,
    ForgetsHeld,
    LetsHeldOut,
    WaitsForLaterWrites,
    // of the input gate
    LetsIn,
    NewestFirst,
    WakesNobody,
}

pub enum Output {
    Real(OutputGate),
    Flawed(Flaw, Mutex<State>),
}

#[derive(Default)]
pub struct State {
    issued: u64,
    durable: u64,
    held: VecDeque<(u64, Held)>,
    broken: Option<Failure>,
}

impl Output {
    pub fn new(flaw: Option<Flaw>) -> Self {
        match flaw {
            Some(
                flaw @ (Flaw::OpensEarly
                | Flaw::Overtakes
                | Flaw::ForgetsHeld
                | Flaw::LetsHeldOut
                | Flaw::WaitsForLaterWrites),
            ) => Self::Flawed(flaw, Mutex::default()),
            _ => Self::Real(OutputGate::default()),
        }
    }

    pub fn close(&self) -> u64 {
        match self {
            Self::Real(gate) => gate.close(),
            Self::Flawed(_, state) => {
                let mut state = state.lock().expect("one thread");
                state.issued += 1;
                state.issued
            }
        }
    }

    pub fn send(&self, message: Held) {
        let (flaw, state) = match self {
            Self::Real(gate) => return gate.send(message),
            Self::Flawed(flaw, state) => (*flaw, state),
        };
        let mut state = state.lock().expect("one thread");
        let free = state.durable == state.issued || flaw == Flaw::OpensEarly;
        match state.broken.clone() {
            Some(failure) => message(Err(failure)),
            None if free => message(Ok(())),
            None => {
                let ticket = state.issued;
                state.held.push_back((ticket, message));
            }
        }
    }

    pub fn open(&self, ticket: u64) {
        let (flaw, state) = match self {
            Self::Real(gate) => return gate.open(ticket),
            Self::Flawed(flaw, state) => (*flaw, state),
        };
        let mut state = state.lock().expect("one thread");
        state.durable = state.durable.max(ticket);
        let durable = match flaw {
            Flaw::WaitsForLaterWrites if state.durable < state.issued => 0,
            _ => state.durable,
        };
        let held = std::mem::take(&mut state.held);
        let (mut free, held): (Vec<_>, _) =
            held.into_iter().partition(|(needs, _)| *needs <= durable);
        state.held = held.into();
        if flaw == Flaw::Overtakes {
            free.reverse();
        }
        for (_, message) in free {
            message(Ok(()));
        }
    }

    pub fn break_with(&self, failure: &Failure) {
        let (flaw, state) = match self {
            Self::Real(gate) => return gate.break_with(failure),
            Self::Flawed(flaw, state) => (*flaw, state),
        };
        let mut state = state.lock().expect("one thread");
        state.broken.get_or_insert_with(|| failure.clone());
        for (_, message) in std::mem::take(&mut state.held) {
            match flaw {
                Flaw::ForgetsHeld => drop(message),
                Flaw::LetsHeldOut => message(Ok(())),
                _ => message(Err(failure.clone())),
            }
        }
    }
}

pub struct Input<T> {
    gate: InputGate<T>,
    flaw: Option<Flaw>,
    /// Only of the gate that lets the newest in first.
    stack: Vec<T>,
}

impl<T> Input<T> {
    pub fn new(flaw: Option<Flaw>) -> Self {
        Self {
            gate: InputGate::default(),
            flaw,
            stack: Vec::new(),
        }
    }

    pub fn offer(&mut self, section: Option<SectionId>, item: T) -> Option<T> {
        match self.flaw {
            Some(Flaw::LetsIn) => Some(item),
            _ => self.gate.offer(section, item),
        }
    }

    pub fn enter(&mut self, parent: Option<SectionId>, item: T) -> Entered {
        self.gate.enter(parent, item)
    }

    pub fn leave(&mut self, section: SectionId) {
        self.gate.leave(section);
    }

    pub fn next_ready(&mut self) -> Option<Ready<T>> {
        match self.flaw {
            Some(Flaw::WakesNobody) => None,
            Some(Flaw::NewestFirst) if !self.gate.is_locked() => {
                while let Some(ready) = self.gate.next_ready() {
                    match ready {
                        Ready::Deliver(item) => self.stack.push(item),
                        section @ Ready::Section(..) => return Some(section),
                    }
                }
                self.stack.pop().map(Ready::Deliver)
            }
            _ => self.gate.next_ready(),
        }
    }

    /// What still waited when the object was thrown out of memory.
    pub fn drain(&mut self) -> Vec<T> {
        let mut waiting = std::mem::take(&mut self.stack);
        waiting.extend(self.gate.drain());
        waiting
    }
}
