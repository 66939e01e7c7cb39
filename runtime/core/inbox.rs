//! The way into an isolate: many threads put messages in, one takes them out.
//!
//! The receiver takes all that has come in one exchange of buffers, so that under load a message costs neither an
//! allocation nor a lock of its own, and it is woken only when it sleeps: a burst of messages is one wake-up. It can also
//! look whether something has come without taking part in anything, which is what an isolate does before it sleeps.

use crate::{Completed, Message, Outcome, Replies, Reply};
use futures::task::AtomicWaker;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// The queue is not empty. Written under its lock, read without.
    filled: AtomicBool,
    /// The receiver sleeps, or is about to.
    asleep: AtomicBool,
    waker: AtomicWaker,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end of an isolate's mailbox.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

/// The receiving end.
pub struct Messages {
    shared: Arc<Shared>,
    /// Taken out of the queue and not handed on yet.
    taken: VecDeque<Message>,
}

impl Inbox {
    pub fn new() -> (Self, Messages) {
        let shared = Arc::<Shared>::default();
        let messages = Messages {
            shared: shared.clone(),
            taken: VecDeque::new(),
        };
        (Self(shared), messages)
    }

    /// The isolate has ended, or is about to.
    pub fn is_closed(&self) -> bool {
        self.0.queue().closed
    }

    /// A message to an isolate that has ended is dropped, and with it its reply, which says so.
    pub fn send(&self, message: Message) {
        self.0.send(message);
    }

    /// Completes `call` with the outcome.
    pub fn completing(&self, call: u32) -> Reply {
        Reply::numbered(self.0.clone(), u64::from(call))
    }
}

impl Shared {
    fn send(&self, message: Message) {
        let mut queue = self.queue();
        if queue.closed {
            drop(queue); // what is dropped may send in its turn
            drop(message);
            return;
        }
        queue.messages.push_back(message);
        self.filled.store(true, Ordering::Release);
        drop(queue);
        // Either this sees that the receiver sleeps, or the receiver sees the message when it looks once more.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

/// Outcomes of this isolate's calls.
impl Replies for Shared {
    fn reply(&self, call: u64, outcome: Outcome) {
        if let Ok(call) = u32::try_from(call) {
            let with = Completed::Outcome(outcome);
            self.send(Message::Completed { call, with });
        }
    }
}

impl Messages {
    /// Something has come. Cheap enough to ask in a loop.
    pub fn is_filled(&self) -> bool {
        !self.taken.is_empty() || self.shared.filled.load(Ordering::Acquire)
    }

    /// The next message, if one has come.
    pub fn try_next(&mut self) -> Option<Message> {
        if self.taken.is_empty() {
            if !self.shared.filled.load(Ordering::Acquire) {
                return None;
            }
            let mut queue = self.shared.queue();
            self.shared.filled.store(false, Ordering::Release);
            std::mem::swap(&mut queue.messages, &mut self.taken);
        }
        self.taken.pop_front()
    }

    /// Ready when something has come. Pending: the task of `cx` is woken when something does.
    pub fn poll_filled(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_filled() {
            return Poll::Ready(());
        }
        self.shared.waker.register(cx.waker());
        self.shared.asleep.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.is_filled() {
            self.shared.asleep.store(false, Ordering::Relaxed);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Refuses whatever is sent from now on. What has come before can still be taken.
    pub fn close(&mut self) {
        self.shared.queue().closed = true;
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let left = {
            let mut queue = self.shared.queue();
            queue.closed = true;
            std::mem::take(&mut queue.messages)
        };
        drop(left); // without the lock: its replies may come back here
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    fn numbered(call: u32) -> Message {
        Message::Completed {
            call,
            with: Completed::Timer,
        }
    }

    fn number(message: &Message) -> u32 {
        match message {
            Message::Completed { call, .. } => *call,
            _ => panic!("another message was sent"),
        }
    }

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[test]
    fn a_burst_is_one_wake_up_and_keeps_its_order() {
        let (inbox, mut messages) = Inbox::new();
        let woken = Arc::new(Counts::default());
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        assert!(messages.poll_filled(&cx).is_pending(), "nothing has come");
        (1..=100).for_each(|call| inbox.send(numbered(call)));
        assert_eq!(woken.0.load(Ordering::Acquire), 1, "one wake-up for all");
        for call in 1..=100 {
            let message = messages.try_next().expect("it was sent");
            assert_eq!(number(&message), call, "in order");
        }
        assert!(!messages.is_filled(), "that was all");
        inbox.send(numbered(101));
        assert_eq!(woken.0.load(Ordering::Acquire), 1, "awake: nobody to wake");
        assert!(messages.is_filled(), "it came all the same");
    }

    #[test]
    fn no_message_is_missed_by_a_receiver_about_to_sleep() {
        let (inbox, mut messages) = Inbox::new();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let inbox = inbox.clone();
                std::thread::spawn(move || (0..20_000).for_each(|n| inbox.send(numbered(n))))
            })
            .collect();
        for _ in 0..40_000 {
            block_on(poll_fn(|cx| messages.poll_filled(cx)));
            messages.try_next().expect("it said so");
        }
        for sender in senders {
            sender.join().expect("it sends and ends");
        }
        assert!(!messages.is_filled(), "as many as were sent");
    }

    #[test]
    fn a_closed_inbox_drops_what_is_sent() {
        let (inbox, mut messages) = Inbox::new();
        inbox.send(numbered(1));
        messages.close();
        inbox.send(numbered(2));
        assert!(inbox.is_closed(), "it says so");
        assert_eq!(messages.try_next().as_ref().map(number), Some(1), "before");
        assert!(messages.try_next().is_none(), "nothing after");
    }
}
