//! What one isolate has sent and nobody has received yet, in bytes.
//!
//! Arguments, bodies and WebSocket messages on their way are copies in the host's memory, where no heap
//! limit sees them. Shared by everything an isolate sends, so that neither one slow receiver nor a
//! thousand calls in one turn fill that memory.

use crate::limits::SEND_BYTES_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug, Default)]
pub struct SendBudget(Arc<AtomicUsize>);

/// Part of a budget, given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: SendBudget,
    bytes: usize,
}

impl SendBudget {
    /// `None`: too much is on its way.
    #[must_use]
    pub fn charge(&self, bytes: usize) -> Option<Charge> {
        let before = self.0.fetch_add(bytes, Ordering::AcqRel);
        let charge = Charge {
            budget: self.clone(),
            bytes,
        };
        (before + bytes <= SEND_BYTES_MAX).then_some(charge)
    }

    #[cfg(test)]
    pub fn used_bytes(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::AcqRel);
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
            SEND_BYTES_MAX - 1,
            "a refusal costs nothing"
        );
        drop(most);
        assert_eq!(budget.used_bytes(), 0, "all of it is back");
    }
}
