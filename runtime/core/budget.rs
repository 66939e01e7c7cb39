//! What is on its way: how much one isolate has sent that nobody has received, and how many events wait for one receiver.
//!
//! Arguments, bodies and WebSocket messages on their way are copies in the host's memory, where no heap
//! limit sees them. A budget is shared by everything an isolate sends, so that neither one slow receiver nor a
//! thousand calls in one turn fill that memory. A queue is shared by everything that is sent to one object or isolate.
//!
//! A *guest* is code from a loader. All guests together get half of a queue, and each of them has a limit of events on
//! their way to whomever: so one that floods a receiver leaves room for the other guests, and all of them leave room for the
//! project's own workers and for HTTP.

use crate::limits::{GUEST_EVENTS_MAX, SEND_BYTES_MAX};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Above the bytes: how many events they are in.
const ONE_EVENT: u64 = 1 << 44;
const BYTES: u64 = ONE_EVENT - 1;

#[derive(Debug, Default)]
struct Sent {
    /// Bytes, and events times `ONE_EVENT`.
    underway: AtomicU64,
    guest: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub struct SendBudget(Arc<Sent>);

/// Why something cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBudget {
    Bytes,
    Events,
}

/// Part of a budget, and a place in a queue: both given back when dropped.
#[derive(Debug, Default)]
pub struct Charge {
    budget: Option<(SendBudget, u64)>,
    place: Option<Place>,
    /// Since when it waits, as far as anybody has looked.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Place {
    queue: Arc<Queue>,
    weight: u64,
}

impl SendBudget {
    /// The isolate runs code from a loader.
    pub fn set_guest(&self) {
        self.0.guest.store(true, Ordering::Relaxed);
    }

    /// For something that goes along with events. `None`: too much is on its way.
    #[must_use]
    pub fn charge(&self, bytes: usize) -> Option<Charge> {
        self.take(bytes as u64).ok()
    }

    /// For an event and what it carries.
    ///
    /// # Errors
    /// Too much is on its way, or, from a guest, too many events.
    pub fn charge_event(&self, bytes: usize) -> Result<Charge, OverBudget> {
        self.take(bytes as u64 + ONE_EVENT)
    }

    fn take(&self, amount: u64) -> Result<Charge, OverBudget> {
        let after = self.0.underway.fetch_add(amount, Ordering::AcqRel) + amount;
        let charge = Charge {
            budget: Some((self.clone(), amount)),
            place: None,
            since: None,
        };
        if after & BYTES > SEND_BYTES_MAX as u64 {
            return Err(OverBudget::Bytes);
        }
        let too_many = after / ONE_EVENT > GUEST_EVENTS_MAX;
        if too_many && amount >= ONE_EVENT && self.0.guest.load(Ordering::Relaxed) {
            return Err(OverBudget::Events);
        }
        Ok(charge)
    }

    #[cfg(test)]
    pub fn used_bytes(&self) -> u64 {
        self.0.underway.load(Ordering::Acquire) & BYTES
    }
}

impl Charge {
    /// Whoever sent it is code from a loader.
    pub fn is_guest(&self) -> bool {
        let budget = self.budget.as_ref();
        budget.is_some_and(|(budget, _)| budget.0.guest.load(Ordering::Relaxed))
    }

    /// Takes a place in `queue` until this is dropped. False: it is full. `now` is asked only if somebody is waiting already:
    /// else there is nothing to wait for, as far as can be seen from here.
    #[must_use]
    pub fn wait_in(
        &mut self,
        queue: &Arc<Queue>,
        len_max: usize,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        let guest = self.is_guest();
        let Some((weight, before)) = queue.enter(guest, len_max) else {
            return false;
        };
        self.place = Some(Place {
            queue: queue.clone(),
            weight,
        });
        if before > 0 {
            self.since = Some(now());
        }
        true
    }

    /// It has to wait, as is known by now.
    pub fn waits(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Since when, if it has a place in a queue: else it is never given up.
    pub fn waits_since(&self) -> Option<Instant> {
        self.place.as_ref().and(self.since)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some((budget, amount)) = &self.budget {
            budget.0.underway.fetch_sub(*amount, Ordering::AcqRel);
        }
        if let Some(place) = &self.place {
            place.queue.leave(place.weight);
        }
    }
}

/// How many wait for one receiver, or are on their way through it.
#[derive(Debug, Default)]
pub struct Queue(AtomicU64);

/// Above the count of all: how many of them are guests.
const ONE_GUEST: u64 = 1 << 32;

impl Queue {
    /// One more, if there is room. Returns what to [`leave`](Self::leave) with, and how many were there.
    pub fn enter(&self, guest: bool, len_max: usize) -> Option<(u64, u64)> {
        let weight = if guest { ONE_GUEST + 1 } else { 1 };
        let before = self.0.fetch_add(weight, Ordering::AcqRel);
        let (all, guests) = (before % ONE_GUEST, before / ONE_GUEST);
        let len_max = len_max as u64;
        if all >= len_max || (guest && guests >= len_max.div_ceil(2)) {
            self.leave(weight);
            return None;
        }
        Some((weight, all))
    }

    pub fn leave(&self, weight: u64) {
        self.0.fetch_sub(weight, Ordering::AcqRel);
    }

    pub fn len(&self) -> u64 {
        self.0.load(Ordering::Relaxed) % ONE_GUEST
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_received_can_be_sent_again() {
        let budget = SendBudget::default();
        let most = budget.charge(SEND_BYTES_MAX - 1).expect("it fits");
        assert!(budget.charge(2).is_none(), "one byte too many");
        assert_eq!(
            budget.used_bytes(),
            SEND_BYTES_MAX as u64 - 1,
            "a refusal costs nothing"
        );
        drop(most);
        assert_eq!(budget.used_bytes(), 0, "all of it is back");
    }

    #[test]
    fn a_guest_has_so_many_events_underway_and_others_have_more() {
        for (guest, refused) in [(true, Some(OverBudget::Events)), (false, None)] {
            let budget = SendBudget::default();
            if guest {
                budget.set_guest();
            }
            let sent: Vec<Charge> = (0..GUEST_EVENTS_MAX)
                .map(|_| budget.charge_event(1).expect("it may"))
                .collect();
            assert_eq!(budget.charge_event(1).err(), refused, "guest: {guest}");
            assert!(budget.charge(1).is_some(), "a body is no event");
            drop(sent);
            assert!(
                budget.charge_event(1).is_ok(),
                "guest: {guest}, once they are delivered"
            );
            assert_eq!(
                budget.charge_event(SEND_BYTES_MAX + 1).err(),
                Some(OverBudget::Bytes)
            );
        }
    }

    #[test]
    fn guests_share_half_of_a_queue() {
        let queue = Arc::new(Queue::default());
        let guest = SendBudget::default();
        guest.set_guest();
        let enter = |guest: Option<&SendBudget>| {
            let charge = guest.map(|budget| budget.charge_event(0).expect("in budget"));
            let mut charge = charge.unwrap_or_default();
            charge.wait_in(&queue, 10, Instant::now).then_some(charge)
        };
        let mut inside: Vec<Charge> = (0..5).map_while(|_| enter(Some(&guest))).collect();
        assert_eq!(inside.len(), 5);
        assert!(enter(Some(&guest)).is_none(), "their half is full");
        inside.extend((0..5).map_while(|_| enter(None)));
        assert_eq!(
            (inside.len(), queue.len()),
            (10, 10),
            "the other half is not theirs"
        );
        assert!(enter(None).is_none(), "now it is full");
        assert_eq!(queue.len(), 10, "a refusal takes no place");
        inside.clear();
        assert!(queue.is_empty());
        assert!(enter(Some(&guest)).is_some(), "all places are free again");
    }

    #[test]
    fn only_what_finds_others_waiting_has_its_time_taken() {
        let queue = Arc::new(Queue::default());
        let mut first = Charge::default();
        let mut second = Charge::default();
        assert!(first.wait_in(&queue, 10, || panic!("a look at the clock")));
        assert_eq!(first.waits_since(), None);
        let now = Instant::now();
        assert!(second.wait_in(&queue, 10, || now));
        assert_eq!(second.waits_since(), Some(now));
        first.waits(now);
        assert_eq!(first.waits_since(), Some(now), "the gate was closed");
        let mut alarm = Charge::default();
        alarm.waits(now);
        assert_eq!(
            alarm.waits_since(),
            None,
            "what is in no queue waits as long as it takes"
        );
    }
}
