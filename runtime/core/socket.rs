//! WebSockets between isolates and connections: two coupled ends, each of which sends to the other.
//!
//! Owns: the messages that have not been received, in order, with a bound on their bytes. Knows nothing
//! of frames or handshakes: an end is held by JS, or by whoever carries it over a connection.
//! Always true: an end that goes away without a close message is noticed at the other as `Lost`, after
//! everything that was sent before.

use crate::SendBudget;
use crate::budget::Charge;
use crate::limits::SOCKET_QUEUE_BYTES_MAX;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A connection stops reading from its client while this much waits to be received.
const HIGH_WATER_BYTES: usize = 256 << 10;
/// What a message costs beside its bytes.
const MESSAGE_BYTES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketMessage {
    Text(String),
    Binary(Bytes),
    /// The last message. `code` `None`: a close frame without one.
    Close {
        code: Option<u16>,
        reason: String,
    },
}

impl SocketMessage {
    /// Of the payload; a close has none.
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Close { .. } => 0,
        }
    }

    fn cost_bytes(&self) -> usize {
        let reason = if let Self::Close { reason, .. } = self {
            reason.len()
        } else {
            0
        };
        MESSAGE_BYTES + self.payload_bytes() + reason
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Message(SocketMessage),
    /// The other end has gone away without saying so.
    Lost,
}

/// A message and its share of a budget.
#[derive(Debug)]
pub struct Parcel {
    message: SocketMessage,
    _charge: Option<Charge>,
}

/// What comes from a connection is bounded by its reader, which waits for room.
impl From<SocketMessage> for Parcel {
    fn from(message: SocketMessage) -> Self {
        Self {
            message,
            _charge: None,
        }
    }
}

type Take = Box<dyn FnOnce(Received) + Send>;

/// Who waits for the next message.
#[derive(Default)]
enum Waiting {
    #[default]
    Nobody,
    Taker(Take),
    Task(Waker),
}

/// One direction.
#[derive(Default)]
struct Lane(Mutex<LaneState>);

#[derive(Default)]
struct LaneState {
    queue: VecDeque<Parcel>,
    queued_bytes: usize,
    /// What the sender calls buffered: payloads that are announced or queued.
    buffered_bytes: usize,
    sender_gone: bool,
    receiver_gone: bool,
    waiting: Waiting,
    /// The sender waits for room.
    for_room: Option<Waker>,
    /// The sender wants to know when nobody receives any more.
    for_end: Option<Waker>,
}

impl LaneState {
    fn next(&mut self) -> Option<Received> {
        if let Some(Parcel { message, .. }) = self.queue.pop_front() {
            self.queued_bytes -= message.cost_bytes();
            self.buffered_bytes = self.buffered_bytes.saturating_sub(message.payload_bytes());
            if self.queued_bytes <= HIGH_WATER_BYTES
                && let Some(sender) = self.for_room.take()
            {
                sender.wake();
            }
            return Some(Received::Message(message));
        }
        self.sender_gone.then_some(Received::Lost)
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the next thing to whoever waits for it, outside the lock.
    fn tell(&self) {
        let taker = {
            let mut state = self.lock();
            match std::mem::take(&mut state.waiting) {
                Waiting::Nobody => None,
                Waiting::Task(task) => {
                    task.wake();
                    None
                }
                Waiting::Taker(take) => match state.next() {
                    Some(received) => Some((take, received)),
                    None => {
                        state.waiting = Waiting::Taker(take);
                        None
                    }
                },
            }
        };
        if let Some((take, received)) = taker {
            take(received);
        }
    }

    fn sender_left(&self) {
        self.lock().sender_gone = true;
        self.tell();
    }

    fn receiver_left(&self) {
        let mut state = self.lock();
        state.receiver_gone = true;
        state.queue.clear();
        state.queued_bytes = 0;
        state.buffered_bytes = 0;
        state.waiting = Waiting::Nobody;
        let waiting = [state.for_room.take(), state.for_end.take()];
        for sender in waiting.into_iter().flatten() {
            sender.wake();
        }
    }
}

/// One end of a WebSocket. Dropping it loses the other end.
pub struct SocketEnd {
    outgoing: Arc<Lane>,
    incoming: Arc<Lane>,
    gone: AtomicBool,
}

impl fmt::Debug for SocketEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketEnd")
    }
}

/// Two coupled ends.
pub fn socket_pair() -> (Arc<SocketEnd>, Arc<SocketEnd>) {
    let (there, back) = (Arc::<Lane>::default(), Arc::<Lane>::default());
    let end = |outgoing: &Arc<Lane>, incoming: &Arc<Lane>| {
        Arc::new(SocketEnd {
            outgoing: outgoing.clone(),
            incoming: incoming.clone(),
            gone: AtomicBool::new(false),
        })
    };
    (end(&there, &back), end(&back, &there))
}

impl SocketEnd {
    /// Packs a message that is sent later, and counts it as buffered from now on. `None`: too much waits
    /// already, here or in the whole budget.
    pub fn pack(&self, message: SocketMessage, budget: &SendBudget) -> Option<Parcel> {
        let charge = budget.charge(message.cost_bytes())?;
        let mut state = self.outgoing.lock();
        let buffered = state.buffered_bytes + message.payload_bytes();
        if state.buffered_bytes > 0 && buffered > SOCKET_QUEUE_BYTES_MAX {
            return None;
        }
        state.buffered_bytes = buffered;
        drop(state);
        Some(Parcel {
            message,
            _charge: Some(charge),
        })
    }

    /// Sends without waiting.
    pub fn send(&self, parcel: impl Into<Parcel>) {
        let parcel = parcel.into();
        {
            let mut state = self.outgoing.lock();
            if state.receiver_gone || state.sender_gone {
                return;
            }
            state.queued_bytes += parcel.message.cost_bytes();
            state.queue.push_back(parcel);
        }
        self.outgoing.tell();
    }

    /// Payload bytes that the other end has not received. Only messages that were announced count.
    pub fn buffered_bytes(&self) -> usize {
        self.outgoing.lock().buffered_bytes
    }

    /// Calls `take` with the next message, at once if there is one. One caller at a time: a second call
    /// replaces the first.
    pub fn receive(&self, take: impl FnOnce(Received) + Send + 'static) {
        self.incoming.lock().waiting = Waiting::Taker(Box::new(take));
        self.incoming.tell();
    }

    /// As [`Self::receive`], for a task.
    ///
    /// # Cancel safety
    /// A message is taken out only when it is returned.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Received> {
        let mut state = self.incoming.lock();
        match state.next() {
            Some(received) => Poll::Ready(received),
            None => {
                state.waiting = Waiting::Task(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Ready when the other end has caught up. False: it is gone.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.outgoing.lock();
        if state.queued_bytes <= HIGH_WATER_BYTES || state.receiver_gone {
            return Poll::Ready(!state.receiver_gone);
        }
        state.for_room = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the other end is gone.
    pub fn poll_other_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.outgoing.lock();
        if state.receiver_gone {
            return Poll::Ready(());
        }
        state.for_end = Some(cx.waker().clone());
        Poll::Pending
    }

    /// As [`Self::vanish`], and what was sent and not received is lost too.
    pub fn sever(&self) {
        {
            let mut state = self.outgoing.lock();
            state.queue.clear();
            state.queued_bytes = 0;
        }
        self.vanish();
    }

    /// It went away.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Goes away: nothing more is sent or received here, and the other end notices.
    pub fn vanish(&self) {
        if !self.gone.swap(true, Ordering::AcqRel) {
            self.outgoing.sender_left();
            self.incoming.receiver_left();
        }
    }
}

impl Drop for SocketEnd {
    fn drop(&mut self) {
        self.vanish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SEND_BYTES_MAX;
    use futures::executor::block_on;
    use std::future::poll_fn;
    use std::sync::mpsc;

    fn text(text: &str) -> SocketMessage {
        SocketMessage::Text(text.to_owned())
    }

    fn next(end: &SocketEnd) -> Option<Received> {
        let (told, received) = mpsc::channel();
        end.receive(move |message| told.send(message).expect("the test listens"));
        received.try_recv().ok()
    }

    #[test]
    fn messages_arrive_in_order_and_the_loss_after_them() {
        let (a, b) = socket_pair();
        a.send(text("1"));
        a.send(text("2"));
        drop(a);
        assert_eq!(next(&b), Some(Received::Message(text("1"))), "the first");
        assert_eq!(next(&b), Some(Received::Message(text("2"))), "the second");
        assert_eq!(next(&b), Some(Received::Lost), "then the loss");
        assert_eq!(next(&b), Some(Received::Lost), "which lasts");
    }

    #[test]
    fn whoever_waits_is_told_once() {
        let (a, b) = socket_pair();
        let (told, received) = mpsc::channel();
        b.receive(move |message| told.send(message).expect("the test listens"));
        assert!(received.try_recv().is_err(), "nothing was sent yet");
        a.send(text("1"));
        a.send(text("2"));
        assert_eq!(received.try_recv(), Ok(Received::Message(text("1"))));
        assert!(received.try_recv().is_err(), "one message per call");
        assert_eq!(
            next(&b),
            Some(Received::Message(text("2"))),
            "the other waits"
        );
    }

    #[test]
    fn a_full_lane_makes_a_connection_wait_and_a_lost_receiver_lets_it_go() {
        let (a, b) = socket_pair();
        let ready =
            |end: &SocketEnd| block_on(poll_fn(|cx| Poll::Ready(end.poll_room(cx).is_ready())));
        a.send(SocketMessage::Binary(vec![0; HIGH_WATER_BYTES + 1].into()));
        assert!(!ready(&a), "too much waits");
        assert!(next(&b).is_some(), "it is received");
        assert!(ready(&a), "there is room again");
        a.send(SocketMessage::Binary(vec![0; HIGH_WATER_BYTES + 1].into()));
        b.vanish();
        assert!(ready(&a), "nobody will receive: no reason to wait");
    }

    #[test]
    fn a_budget_bounds_what_nobody_receives() {
        let budget = SendBudget::default();
        let pairs: Vec<_> = (0..10).map(|_| socket_pair()).collect();
        let chunk = SocketMessage::Binary(vec![0; SEND_BYTES_MAX / 4].into());
        for (a, _) in &pairs {
            if let Some(parcel) = a.pack(chunk.clone(), &budget) {
                a.send(parcel);
            } else {
                a.vanish();
            }
        }
        let lost = |b: &SocketEnd| next(b) == Some(Received::Lost);
        assert!(!lost(&pairs[0].1), "the first fits");
        assert!(lost(&pairs[9].1), "the last is cut off instead");
        drop(pairs);
        assert_eq!(budget.used_bytes(), 0, "all of it is given back");
    }

    #[test]
    fn one_socket_holds_one_large_message_or_several_small_ones() {
        let budget = SendBudget::default();
        let (a, b) = socket_pair();
        let message = |bytes: usize| SocketMessage::Binary(vec![0; bytes].into());
        let large = a.pack(message(SOCKET_QUEUE_BYTES_MAX * 2), &budget);
        a.send(large.expect("a single message may be larger"));
        assert!(
            a.pack(message(1), &budget).is_none(),
            "nothing goes on top of it"
        );
        assert!(next(&b).is_some(), "it is received");
        assert_eq!(a.buffered_bytes(), 0, "nothing waits");
        let small = a.pack(message(1), &budget).expect("there is room again");
        a.send(small);
        a.sever();
        assert_eq!(
            next(&b),
            Some(Received::Lost),
            "what was not received is lost"
        );
        assert_eq!(budget.used_bytes(), 0, "and given back");
    }

    #[test]
    fn a_task_can_wait_too() {
        let (a, b) = socket_pair();
        let sender = std::thread::spawn(move || {
            a.send(text("1"));
            a
        });
        let received = block_on(poll_fn(|cx| b.poll_receive(cx)));
        assert_eq!(received, Received::Message(text("1")));
        drop(sender.join());
        assert_eq!(block_on(poll_fn(|cx| b.poll_receive(cx))), Received::Lost);
    }
}
