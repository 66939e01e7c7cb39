//! Carries one end of a WebSocket over a connection.
//!
//! Called by: the server, for clients that connected to it; the network, for connections that workers
//! open. Frames, pings, UTF-8 and the closing handshake are tungstenite's.

use facetd_core::{Received, SOCKET_MESSAGE_BYTES_MAX, SocketEnd, SocketMessage};
use futures::future::{Either, select};
use futures::{SinkExt, Stream, StreamExt};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

pub use tokio_tungstenite::tungstenite::handshake::client::generate_key;
pub use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
pub use tokio_tungstenite::tungstenite::protocol::Role;

/// How long the other side may take to answer a close.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// How long a peer may take for what fills its buffers.
const WRITE_WAIT: Duration = Duration::from_secs(120);

/// How the reading side ended.
enum ReadEnd {
    /// The peer has closed, or the connection is gone.
    Over,
    /// It broke the protocol; it is told so.
    Refused(CloseCode),
}

/// Moves messages between `stream` and `end` until one side closes or is lost, or `stop` completes: then
/// the peer is told that the server goes away.
///
/// # Cancel safety
/// Dropping the future drops the connection without a close frame, and the other end notices.
pub async fn carry<S>(
    stream: S,
    role: Role,
    end: Arc<SocketEnd>,
    stop: impl Future<Output = ()> + Send,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(SOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(SOCKET_MESSAGE_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(stream, role, Some(config)).await;
    let (mut to_peer, mut from_peer) = socket.split();
    let refused = {
        let reading = pin!(read(&mut from_peer, &end));
        let writing = pin!(async {
            // Nobody hears the peer any more; for a while it may take what was sent to it before.
            let cut = async {
                poll_fn(|cx| end.poll_other_gone(cx)).await;
                tokio::time::sleep(CLOSE_WAIT).await;
            };
            let (stop, cut) = (pin!(stop), pin!(cut));
            let interrupted = select(stop, cut);
            match select(pin!(write(&mut to_peer, &end)), interrupted).await {
                Either::Left((closed, _)) => closed,
                Either::Right((Either::Left(_), _)) => {
                    end.vanish();
                    Closed::Going
                }
                Either::Right((Either::Right(_), _)) => Closed::Lost,
            }
        });
        match select(reading, writing).await {
            Either::Left((ReadEnd::Over, _)) => None,
            Either::Left((ReadEnd::Refused(code), _)) => Some(code),
            // No close frame: the peer sees that it was cut off.
            Either::Right((Closed::Lost, _)) => return,
            Either::Right((Closed::Going, _)) => Some(CloseCode::Away),
            Either::Right((Closed::Told, reading)) => {
                match tokio::time::timeout(CLOSE_WAIT, reading).await {
                    Ok(ReadEnd::Refused(code)) => Some(code),
                    Ok(ReadEnd::Over) | Err(_) => None,
                }
            }
        }
    };
    if let Some(code) = refused {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        let close = to_peer.send(Message::Close(Some(frame)));
        let _gone_already = tokio::time::timeout(CLOSE_WAIT, close).await;
    }
}

async fn read(
    from_peer: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    end: &SocketEnd,
) -> ReadEnd {
    let mut closed = false;
    loop {
        // Nobody hears the peer any more, so it is not read from. After a close, reading on finishes the handshake.
        if !poll_fn(|cx| end.poll_room(cx)).await && !closed {
            return pending().await;
        }
        let message = match from_peer.next().await {
            Some(Ok(Message::Text(text))) => SocketMessage::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(bytes))) => SocketMessage::Binary(bytes),
            Some(Ok(Message::Close(frame))) => {
                closed = true;
                let (code, reason) = match frame {
                    Some(frame) => (Some(frame.code.into()), frame.reason.as_str().to_owned()),
                    None => (None, String::new()),
                };
                SocketMessage::Close { code, reason }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                return ReadEnd::Refused(CloseCode::Size);
            }
            Some(Err(Error::Utf8(_))) => return ReadEnd::Refused(CloseCode::Invalid),
            Some(Err(Error::Protocol(error))) => {
                tracing::debug!(%error, "a WebSocket peer broke the protocol");
                return ReadEnd::Refused(CloseCode::Protocol);
            }
            Some(Err(_)) | None => return ReadEnd::Over,
        };
        end.send(message);
    }
}

enum Closed {
    /// The other end has closed and the peer was told.
    Told,
    /// The other end is gone without a word, or the connection is.
    Lost,
    /// The server stops.
    Going,
}

async fn write(
    to_peer: &mut (impl SinkExt<Message, Error = Error> + Unpin),
    end: &SocketEnd,
) -> Closed {
    loop {
        // Whatever is ready goes out in one write.
        let mut received = poll_fn(|cx| end.poll_receive(cx)).await;
        loop {
            let message = match received {
                Received::Message(SocketMessage::Text(text)) => Message::Text(text.into()),
                Received::Message(SocketMessage::Binary(bytes)) => Message::Binary(bytes),
                Received::Message(SocketMessage::Close { code, reason }) => {
                    let frame = code.map(|code| CloseFrame {
                        code: code.into(),
                        reason: reason.into(),
                    });
                    // The peer may have closed first: then it has its answer already.
                    in_time(to_peer.send(Message::Close(frame))).await;
                    return Closed::Told;
                }
                Received::Lost => {
                    in_time(to_peer.flush()).await;
                    return Closed::Lost;
                }
            };
            if !in_time(to_peer.feed(message)).await {
                return Closed::Lost;
            }
            match poll_fn(|cx| std::task::Poll::Ready(end.poll_receive(cx))).await {
                std::task::Poll::Ready(next) => received = next,
                std::task::Poll::Pending => break,
            }
        }
        if !in_time(to_peer.flush()).await {
            return Closed::Lost;
        }
    }
}

/// Waits for a write, but not for a peer that takes nothing. False: it failed.
async fn in_time(write: impl Future<Output = Result<(), Error>>) -> bool {
    matches!(tokio::time::timeout(WRITE_WAIT, write).await, Ok(Ok(())))
}
