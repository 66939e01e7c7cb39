//! Bodies as resources: JS reads and writes them by number, and a body that JS did not touch moves on
//! without passing through it.

use bytes::Bytes;
use deno_core::{
    AsyncRefCell, AsyncResult, BufView, CancelHandle, CancelTryFuture, OpState, RcRef, Resource,
    ResourceId,
};
use deno_error::JsErrorBox;
use facetd_core::{Body, BodyStream, BodyWriter};
use futures::StreamExt;
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// An incoming body.
struct BodyReader {
    stream: AsyncRefCell<Option<BodyStream>>,
    /// What is left of a chunk larger than the reader's buffer.
    rest: RefCell<Bytes>,
    cancel: CancelHandle,
}

impl Resource for BodyReader {
    fn name(&self) -> Cow<'_, str> {
        "body".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        Box::pin(async move {
            let cancel = RcRef::map(&self, |r| &r.cancel);
            let read = {
                let this = self.clone();
                async move {
                    let mut stream = RcRef::map(&this, |r| &r.stream).borrow_mut().await;
                    let mut chunk = this.rest.take();
                    while chunk.is_empty() {
                        let Some(body) = stream.as_mut() else {
                            return Ok(BufView::empty());
                        };
                        match body.chunks.next().await {
                            Some(Ok(next)) => chunk = next,
                            Some(Err(error)) => {
                                *stream = None;
                                return Err(JsErrorBox::generic(error.to_string()));
                            }
                            None => {
                                *stream = None;
                                return Ok(BufView::empty());
                            }
                        }
                    }
                    if chunk.len() > limit {
                        *this.rest.borrow_mut() = chunk.split_off(limit);
                    }
                    Ok(BufView::from(chunk))
                }
            };
            read.try_or_cancel(cancel).await
        })
    }

    fn close(self: Rc<Self>) {
        self.cancel.cancel();
    }
}

/// An outgoing body: JS writes, somebody else takes the stream.
pub(crate) struct BodyPipe {
    /// Shared with the chunks that wait at the output gate.
    pub writer: RefCell<Option<Arc<BodyWriter>>>,
    stream: RefCell<Option<BodyStream>>,
}

impl Resource for BodyPipe {
    fn name(&self) -> Cow<'_, str> {
        "bodyPipe".into()
    }
}

pub fn add_reader(state: &mut OpState, stream: BodyStream) -> ResourceId {
    state.resource_table.add(BodyReader {
        stream: AsyncRefCell::new(Some(stream)),
        rest: RefCell::default(),
        cancel: CancelHandle::default(),
    })
}

pub(crate) fn add_pipe(state: &mut OpState, len: Option<u64>) -> ResourceId {
    let (writer, stream) = facetd_core::body_channel(len);
    state.resource_table.add(BodyPipe {
        writer: RefCell::new(Some(Arc::new(writer))),
        stream: RefCell::new(Some(stream)),
    })
}

pub(crate) fn pipe(state: &OpState, rid: ResourceId) -> Option<Rc<BodyPipe>> {
    state.resource_table.get::<BodyPipe>(rid).ok()
}

/// Takes the stream of a pipe, or a reader with all that has not been read of it. `None`: no such body.
pub fn take_body(state: &mut OpState, rid: ResourceId) -> Option<Body> {
    if let Some(pipe) = pipe(state, rid) {
        return pipe.stream.take().map(Body::Stream);
    }
    let reader = state.resource_table.take::<BodyReader>(rid).ok()?;
    let stream = RcRef::map(&reader, |r| &r.stream).try_borrow_mut()?.take();
    let rest = reader.rest.take();
    match stream {
        None => Some(Body::Bytes(rest)),
        Some(stream) if rest.is_empty() => Some(Body::Stream(stream)),
        Some(stream) => {
            let first = futures::stream::once(async move { Ok(rest) });
            let chunks = Box::pin(first.chain(stream.chunks));
            Some(Body::Stream(BodyStream { chunks, len: None }))
        }
    }
}
