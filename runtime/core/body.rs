//! Request and response bodies on their way between isolates and HTTP: chunk streams with
//! back-pressure, never one buffer.

use bytes::Bytes;
use futures::Stream;
use futures::channel::mpsc;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// A writer is asked to pause while this much waits to be read.
const HIGH_WATER_BYTES: usize = 256 << 10;

/// Why a body ended early.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(pub String);

#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Bytes(Bytes),
    Stream(BodyStream),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(stream) => write!(f, "Stream({:?})", stream.len),
        }
    }
}

/// Chunks as they come. Dropping it tells the writer that nobody reads on.
pub struct BodyStream {
    pub chunks: Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>,
    /// Total bytes, when known beforehand.
    pub len: Option<u64>,
}

type OnDrain = Box<dyn FnOnce(bool) + Send>;

struct Shared {
    queued_bytes: AtomicUsize,
    reader_gone: AtomicBool,
    on_drain: Mutex<Option<OnDrain>>,
}

impl Shared {
    fn drained(&self) {
        let waiting = self
            .on_drain
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(tell) = waiting {
            tell(self.reader_gone.load(Ordering::Acquire));
        }
    }
}

/// The writing end of [`body_channel`]. Dropping it without [`BodyWriter::finish`] ends the body
/// with an error, so that a cut answer never looks whole.
pub struct BodyWriter {
    chunks: mpsc::UnboundedSender<Result<Bytes, BodyError>>,
    shared: Arc<Shared>,
    finished: AtomicBool,
}

struct Reader {
    chunks: mpsc::UnboundedReceiver<Result<Bytes, BodyError>>,
    shared: Arc<Shared>,
}

/// A body written chunk by chunk and read elsewhere.
pub fn body_channel(len: Option<u64>) -> (BodyWriter, BodyStream) {
    let (sender, receiver) = mpsc::unbounded();
    let shared = Arc::new(Shared {
        queued_bytes: AtomicUsize::new(0),
        reader_gone: AtomicBool::new(false),
        on_drain: Mutex::new(None),
    });
    let reader = Reader {
        chunks: receiver,
        shared: shared.clone(),
    };
    let writer = BodyWriter {
        chunks: sender,
        shared,
        finished: AtomicBool::new(false),
    };
    (
        writer,
        BodyStream {
            chunks: Box::pin(reader),
            len,
        },
    )
}

impl BodyWriter {
    /// Queues `chunk`. False: the reader is gone and nothing more is wanted.
    pub fn write(&self, chunk: Bytes) -> bool {
        self.shared
            .queued_bytes
            .fetch_add(chunk.len(), Ordering::AcqRel);
        self.chunks.unbounded_send(Ok(chunk)).is_ok()
            && !self.shared.reader_gone.load(Ordering::Acquire)
    }

    /// Calls `tell(reader_gone)` once the reader has caught up or has gone away; at once if it has.
    pub fn when_drained(&self, tell: OnDrain) {
        *self
            .shared
            .on_drain
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(tell);
        let gone = self.shared.reader_gone.load(Ordering::Acquire);
        if gone || self.shared.queued_bytes.load(Ordering::Acquire) <= HIGH_WATER_BYTES {
            self.shared.drained();
        }
    }

    /// The body is whole.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.chunks.close_channel();
    }

    /// The body ends here with `error`.
    pub fn fail(&self, error: BodyError) {
        self.finished.store(true, Ordering::Release);
        let _reader_gone = self.chunks.unbounded_send(Err(error));
        self.chunks.close_channel();
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if !self.finished.load(Ordering::Acquire) {
            let cut = BodyError("the body was cut off by its sender".to_owned());
            let _reader_gone = self.chunks.unbounded_send(Err(cut));
        }
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.chunks).poll_next(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            let before = self
                .shared
                .queued_bytes
                .fetch_sub(chunk.len(), Ordering::AcqRel);
            if before - chunk.len() <= HIGH_WATER_BYTES {
                self.shared.drained();
            }
        }
        next
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.reader_gone.store(true, Ordering::Release);
        self.shared.drained();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use futures::executor::block_on;
    use std::sync::mpsc as std_mpsc;

    #[test]
    fn a_slow_reader_holds_the_writer_back() {
        let (writer, mut body) = body_channel(None);
        let (tell, told) = std_mpsc::channel();
        assert!(
            writer.write(Bytes::from(vec![1; HIGH_WATER_BYTES + 1])),
            "somebody reads"
        );
        writer.when_drained(Box::new(move |gone| {
            tell.send(gone).expect("the test listens")
        }));
        assert!(told.try_recv().is_err(), "too much waits");
        block_on(body.chunks.next())
            .expect("a chunk")
            .expect("no error");
        assert_eq!(told.try_recv(), Ok(false), "drained, reader still there");
    }

    #[test]
    fn a_reader_that_leaves_is_noticed() {
        let (writer, body) = body_channel(None);
        drop(body);
        let (tell, told) = std_mpsc::channel();
        writer.when_drained(Box::new(move |gone| {
            tell.send(gone).expect("the test listens")
        }));
        assert_eq!(told.try_recv(), Ok(true), "told at once");
        assert!(
            !writer.write(Bytes::from_static(b"x")),
            "and not wanted any more"
        );
    }

    #[test]
    fn a_body_that_was_cut_off_does_not_look_whole() {
        let (writer, mut body) = body_channel(None);
        writer.write(Bytes::from_static(b"half"));
        drop(writer);
        assert!(
            block_on(body.chunks.next()).expect("a chunk").is_ok(),
            "what was sent"
        );
        assert!(
            block_on(body.chunks.next()).expect("an end").is_err(),
            "then the error"
        );
        let (writer, mut body) = body_channel(None);
        writer.finish();
        assert!(
            block_on(body.chunks.next()).is_none(),
            "a finished one just ends"
        );
    }
}
