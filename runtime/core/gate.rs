//! The input gate of one object: which event or continuation may run now.
//!
//! Owns: the stack of critical sections (`blockConcurrencyWhile`, async `transaction`) and what waits
//! for them. Never runs JS, never reads a clock. Always true: while a section is open, only what
//! carries its id gets in; what waits is let in in arrival order.

use std::collections::VecDeque;

/// A critical section. Continuations started inside carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SectionId(pub u32);

/// Whether a section was entered at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Entered {
    Now(SectionId),
    /// The waiting item comes back from [`InputGate::next_ready`] when it is its turn.
    Later,
}

/// Something whose turn has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Ready<T> {
    Deliver(T),
    /// The section `T` asked for is open now.
    Section(SectionId, T),
}

#[derive(Debug)]
struct Waiting<T> {
    section: Option<SectionId>,
    wants_section: bool,
    item: T,
}

#[derive(Debug)]
pub struct InputGate<T> {
    open_sections: Vec<SectionId>,
    waiting: VecDeque<Waiting<T>>,
    last_section: u32,
}

impl<T> Default for InputGate<T> {
    fn default() -> Self {
        Self {
            open_sections: Vec::new(),
            waiting: VecDeque::new(),
            last_section: 0,
        }
    }
}

impl<T> InputGate<T> {
    /// Gives `item` back if it may run now, else keeps it. `section`: the one it was started in.
    pub fn offer(&mut self, section: Option<SectionId>, item: T) -> Option<T> {
        // Nothing overtakes what already waits, or an event could be starved for ever.
        let queued = self.waiting.iter().any(|w| self.admits(w.section));
        if self.admits(section) && !queued {
            return Some(item);
        }
        self.waiting.push_back(Waiting {
            section,
            wants_section: false,
            item,
        });
        None
    }

    /// Opens a critical section inside `parent`, or keeps `item` until that is possible.
    pub fn enter(&mut self, parent: Option<SectionId>, item: T) -> Entered {
        if self.admits(parent) {
            return Entered::Now(self.open());
        }
        self.waiting.push_back(Waiting {
            section: parent,
            wants_section: true,
            item,
        });
        Entered::Later
    }

    /// Closes `section` and everything opened inside it. Closing twice is fine.
    pub fn leave(&mut self, section: SectionId) {
        if let Some(at) = self.open_sections.iter().position(|s| *s == section) {
            self.open_sections.truncate(at);
        }
    }

    /// The next thing that may run. Ask again after running it: it may have opened a section.
    pub fn next_ready(&mut self) -> Option<Ready<T>> {
        let at = self.waiting.iter().position(|w| self.admits(w.section))?;
        let waiting = self.waiting.remove(at)?;
        if waiting.wants_section {
            let section = self.open();
            return Some(Ready::Section(section, waiting.item));
        }
        Some(Ready::Deliver(waiting.item))
    }

    /// Takes out of the queue what `gives_up` says of.
    pub fn remove(&mut self, mut gives_up: impl FnMut(&T) -> bool) -> Vec<T> {
        let (gone, stay) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| gives_up(&waiting.item));
        self.waiting = stay;
        VecDeque::into_iter(gone)
            .map(|waiting| waiting.item)
            .collect()
    }

    /// From the outermost in.
    pub fn open_sections(&self) -> &[SectionId] {
        &self.open_sections
    }

    /// What waits to be let in, in order.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.item)
    }

    pub fn is_locked(&self) -> bool {
        !self.open_sections.is_empty()
    }

    /// How many sections are open inside each other.
    pub fn depth(&self) -> usize {
        self.open_sections.len()
    }

    /// Everything that waits, when the object dies.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.open_sections.clear();
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|w| w.item)
    }

    fn admits(&self, section: Option<SectionId>) -> bool {
        match self.open_sections.last() {
            None => true,
            // A continuation of an outer section waits for the inner one, like anybody else.
            Some(innermost) => section == Some(*innermost),
        }
    }

    fn open(&mut self) -> SectionId {
        self.last_section += 1;
        let section = SectionId(self.last_section);
        self.open_sections.push(section);
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(gate: &mut InputGate<u32>, parent: Option<SectionId>) -> SectionId {
        match gate.enter(parent, 0) {
            Entered::Now(section) => section,
            Entered::Later => panic!("the gate was free"),
        }
    }

    #[test]
    fn events_wait_for_a_section_and_come_in_order() {
        let mut gate = InputGate::default();
        let section = entered(&mut gate, None);
        assert_eq!(gate.offer(None, 1), None, "a new event waits");
        assert_eq!(gate.offer(None, 2), None, "the next one too");
        assert_eq!(
            gate.offer(Some(section), 3),
            Some(3),
            "its own continuation does not"
        );
        assert_eq!(gate.next_ready(), None, "nobody may enter yet");
        gate.leave(section);
        assert_eq!(gate.next_ready(), Some(Ready::Deliver(1)), "first come");
        assert_eq!(gate.offer(None, 4), None, "nobody overtakes");
        assert_eq!(gate.next_ready(), Some(Ready::Deliver(2)), "first served");
        assert_eq!(
            gate.next_ready(),
            Some(Ready::Deliver(4)),
            "and the newcomer"
        );
        assert_eq!(gate.offer(None, 5), Some(5), "open again");
    }

    #[test]
    fn what_waits_in_vain_can_be_withdrawn() {
        let mut gate = InputGate::default();
        let section = entered(&mut gate, None);
        assert_eq!(gate.open_sections(), [section], "one is open");
        for item in [1, 2, 3] {
            assert_eq!(gate.offer(None, item), None, "it waits");
        }
        assert_eq!(gate.remove(|item| *item == 2), [2], "it was there");
        assert_eq!(gate.remove(|item| *item == 2), [0; 0], "it is gone");
        assert!(gate.waiting().eq(&[1, 3]), "the others are in order");
        gate.leave(section);
        assert_eq!(gate.next_ready(), Some(Ready::Deliver(1)), "first come");
        assert_eq!(
            gate.next_ready(),
            Some(Ready::Deliver(3)),
            "and nobody misses it"
        );
    }

    #[test]
    fn sections_nest_and_queue() {
        let mut gate = InputGate::default();
        let outer = entered(&mut gate, None);
        let inner = entered(&mut gate, Some(outer));
        assert_eq!(
            gate.enter(None, 7),
            Entered::Later,
            "another section waits for both"
        );
        assert_eq!(
            gate.offer(Some(outer), 8),
            None,
            "the outer one waits for the inner"
        );
        gate.leave(inner);
        assert_eq!(
            gate.next_ready(),
            Some(Ready::Deliver(8)),
            "the outer one goes on"
        );
        gate.leave(outer);
        let Some(Ready::Section(other, 7)) = gate.next_ready() else {
            panic!("its turn")
        };
        assert_eq!(gate.offer(None, 9), None, "and it locks in turn");
        gate.leave(other);
        assert_eq!(
            gate.next_ready(),
            Some(Ready::Deliver(9)),
            "until it is left"
        );
        gate.leave(other);
        assert!(!gate.is_locked(), "leaving twice is fine");
    }

    #[test]
    fn leaving_an_outer_section_closes_the_inner_ones() {
        let mut gate = InputGate::<u32>::default();
        let outer = entered(&mut gate, None);
        entered(&mut gate, Some(outer));
        gate.leave(outer);
        assert_eq!(gate.depth(), 0, "nothing is left open");
    }

    /// Thousands of seeded schedules: what goes in comes out once, and never past a foreign section.
    #[test]
    fn random_schedules_lose_and_leak_nothing() {
        for seed in 1..2000_u64 {
            let mut state = seed;
            let mut random = move |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let mut gate = InputGate::default();
            let mut open: Vec<SectionId> = Vec::new();
            let (mut sent, mut seen) = (0_u32, Vec::new());
            for _ in 0..60 {
                match random(4) {
                    0 => {
                        sent += 1;
                        let inside = open.last().copied().filter(|_| random(2) == 0);
                        if let Some(item) = gate.offer(inside, sent) {
                            assert!(
                                open.is_empty() || inside.is_some(),
                                "seed {seed}: leaked in"
                            );
                            seen.push(item);
                        }
                    }
                    1 if open.len() < 4 => {
                        if let Entered::Now(s) = gate.enter(open.last().copied(), 0) {
                            open.push(s);
                        }
                    }
                    _ => {
                        if let Some(section) = open.pop() {
                            gate.leave(section);
                        }
                        while let Some(ready) = gate.next_ready() {
                            match ready {
                                Ready::Deliver(item) => seen.push(item),
                                Ready::Section(section, _) => open.push(section),
                            }
                        }
                    }
                }
            }
            while let Some(section) = open.pop() {
                gate.leave(section);
                while let Some(Ready::Deliver(item)) = gate.next_ready() {
                    seen.push(item);
                }
            }
            seen.sort_unstable();
            assert_eq!(
                seen,
                (1..=sent).collect::<Vec<_>>(),
                "seed {seed}: each event once"
            );
        }
    }
}
