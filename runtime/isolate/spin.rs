//! Whether it pays to look for the next message a little longer before the thread sleeps.
//!
//! Two isolates that call each other wait for each other all the time, and waking a thread costs more than
//! most calls. Never spins blindly: it yields the processor every microsecond or so, tries after waits that were so
//! short that waking must have been most of them, and stops when trying did not help. Owns: one number.
//! Called by: the isolate's loop, each time it has nothing to do.

use std::time::{Duration, Instant};

/// How long it looks. Twice what waking a thread takes.
const LOOK: Duration = Duration::from_micros(50);
/// A wait no longer than this, asleep, may have been mostly waking up: the other side's and our own.
const NEAR: Duration = Duration::from_micros(150);
/// Looks between two offers of the processor to others.
const GLANCES: u32 = 16;
/// So many near messages make it try.
const SURE: u8 = 3;

#[derive(Default)]
pub(crate) struct Spin {
    /// How much the last waits speak for it.
    confidence: u8,
    idle_since: Option<Instant>,
}

impl Spin {
    /// There is nothing to do. Looks a little longer if that promises something; true: `came` says that it did.
    pub(crate) fn look(&mut self, came: impl Fn() -> bool) -> bool {
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if self.confidence < SURE {
            return false;
        }
        while since.elapsed() < LOOK {
            for _ in 0..GLANCES {
                if came() {
                    return true;
                }
                std::hint::spin_loop();
            }
            std::thread::yield_now();
        }
        false
    }

    /// Something came.
    pub(crate) fn busy(&mut self) {
        if let Some(since) = self.idle_since.take() {
            self.learn(since.elapsed());
        }
    }

    fn learn(&mut self, waited: Duration) {
        let looked_in_vain = self.confidence >= SURE && waited > LOOK;
        self.confidence = if looked_in_vain {
            self.confidence.saturating_sub(2)
        } else if waited <= NEAR {
            (self.confidence + 1).min(2 * SURE)
        } else {
            self.confidence.saturating_sub(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spins(spin: &mut Spin) -> bool {
        spin.idle_since = None;
        spin.look(|| true)
    }

    #[test]
    fn it_looks_after_near_messages_and_not_after_far_ones() {
        let mut spin = Spin::default();
        assert!(!spins(&mut spin), "nothing speaks for it yet");
        (0..SURE).for_each(|_| spin.learn(NEAR));
        assert!(spins(&mut spin), "the last messages were near");
        (0..10).for_each(|_| spin.learn(LOOK / 2));
        assert!(spins(&mut spin), "looking helps");
        (0..10).for_each(|_| spin.learn(NEAR * 2));
        assert!(!spins(&mut spin), "the last messages were far");
    }

    #[test]
    fn looking_in_vain_ends_it_before_long() {
        let mut spin = Spin::default();
        let tries = (0..300)
            .filter(|_| {
                let tried = spins(&mut spin);
                spin.learn(LOOK * 2);
                tried
            })
            .count();
        assert!(
            tries <= 100,
            "messages just out of reach: {tries} of 300 looks"
        );
    }
}
