//! The outside world, as one more thing a fetch can be sent to.
//!
//! Owns: the HTTP client all workers share, and the rule about addresses: loopback, private and
//! link-local ones (where cloud metadata lives) only if the project allows them.

use crate::host::Egress;
use crate::socket::{Role, carry, derive_accept_key, generate_key};
use deno_error::JsErrorBox;
use deno_fetch::dns::{Resolve, Resolver, Resolving};
use deno_fetch::{Client, CreateHttpClientOptions, ReqBody, create_http_client};
use facetd_core::{
    Answer, Body, BodyError, BodyStream, Event, EventKind, Failure, FetchRequest, FetchResponse,
    Outcome, Target, TargetKind, socket_pair,
};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, TryStreamExt};
use http::header;
use http_body_util::{BodyDataStream, StreamBody};
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tower_service::Service;

pub(crate) struct Network {
    client: Client,
    /// For WebSockets, which need a connection of their own and HTTP/1.1.
    upgrading: Client,
    egress: Egress,
    runtime: tokio::runtime::Handle,
}

impl Egress {
    fn allows(self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        if self.private {
            return true;
        }
        match address {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                let shared = a == 100 && (64..128).contains(&b);
                !(v4.is_loopback()
                    || v4.is_private()
                    || v4.is_link_local()
                    || v4.is_unspecified()
                    || v4.is_broadcast()
                    || v4.is_multicast()
                    || v4.is_documentation()
                    || shared
                    || (a == 198 && (b == 18 || b == 19))
                    || (a == 192 && b == 0)
                    || a == 0
                    || a >= 240)
            }
            IpAddr::V6(v6) => {
                let first = v6.segments()[0];
                let (unique_local, link_local) =
                    (first & 0xfe00 == 0xfc00, first & 0xffc0 == 0xfe80);
                let [_, second, third, fourth, fifth, sixth, ..] = v6.segments();
                let compatible = first | second | third | fourth | fifth | sixth == 0;
                let teredo = first == 0x2001 && second == 0;
                let embeds_v4 = first == 0x2002 || (first == 0x64 && v6.segments()[1] == 0xff9b);
                !(v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_multicast()
                    || unique_local
                    || link_local
                    || compatible
                    || teredo
                    || embeds_v4)
            }
        }
    }
}

/// Looks names up as the system does, and drops addresses the project does not allow. The connection
/// goes to one of the addresses that were checked, so a second look-up cannot change the answer.
#[derive(Debug)]
struct Filtered(Egress);

impl Resolve for Filtered {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.0;
        let lookup = GaiResolver::new().call(name);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> =
                lookup.await?.filter(|a| egress.allows(a.ip())).collect();
            if addresses.is_empty() {
                return Err(io::Error::other("no address of this host is allowed"));
            }
            Ok(addresses.into_iter())
        })
    }
}

impl Network {
    pub fn new(egress: Egress, runtime: tokio::runtime::Handle) -> Result<Self, String> {
        let client = |http2| {
            let options = CreateHttpClientOptions {
                dns_resolver: Resolver::custom(std::sync::Arc::new(Filtered(egress))),
                http2,
                ..Default::default()
            };
            create_http_client("facetd", options).map_err(|error| error.to_string())
        };
        Ok(Self {
            client: client(true)?,
            upgrading: client(false)?,
            egress,
            runtime,
        })
    }
}

impl Target for Network {
    fn send(&self, event: Event) {
        let Event {
            kind,
            reply,
            link,
            charge,
            caller: _,
        } = event;
        let EventKind::Fetch(request) = kind else {
            let text = "The global outbound has no RPC methods.";
            reply.send(Err(Failure::type_error(text)));
            return;
        };
        let upgrade = request.asks_for_socket();
        let client = if upgrade {
            self.upgrading.clone()
        } else {
            self.client.clone()
        };
        let egress = self.egress;
        let task = self.runtime.spawn(async move {
            reply.send(fetch(client, egress, request, upgrade).await);
            drop(charge);
        });
        if let Some(link) = link {
            let task = task.abort_handle();
            link.on_abort(move || task.abort());
        }
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Service
    }
}

async fn fetch(client: Client, egress: Egress, request: FetchRequest, upgrade: bool) -> Outcome {
    let uri: http::Uri = request
        .url
        .parse()
        .map_err(|_| Failure::type_error(format!("Invalid URL: {}", request.url)))?;
    // A literal address is never looked up, so the resolver does not see it.
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if let Ok(address) = host.parse::<IpAddr>()
        && !egress.allows(address)
    {
        tracing::warn!(%address, "a worker asked for an address that is not allowed");
        return Err(Failure::disconnected());
    }
    let mut builder = http::Request::builder()
        .method(request.method.as_str())
        .uri(uri);
    for (name, value) in &request.headers {
        let ours = ["host", "content-length"]
            .iter()
            .any(|n| name.eq_ignore_ascii_case(n));
        let handshake = [
            "connection",
            "upgrade",
            "sec-websocket-key",
            "sec-websocket-version",
        ];
        if ours || (upgrade && handshake.iter().any(|n| name.eq_ignore_ascii_case(n))) {
            continue;
        }
        let latin1: Vec<u8> = value.chars().map(|c| c as u8).collect();
        builder = builder.header(name.as_str(), latin1);
    }
    let key = generate_key();
    if upgrade {
        builder = builder
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
    }
    let body = match request.body {
        Body::Empty => ReqBody::empty(),
        Body::Bytes(bytes) => ReqBody::full(bytes),
        Body::Stream(stream) => {
            // The client wants a body other threads may look at; a channel is one.
            let (mut sender, receiver) = mpsc::channel(1);
            let mut chunks = stream.chunks;
            tokio::spawn(async move {
                while let Some(chunk) = chunks.next().await {
                    let frame = chunk
                        .map(http_body::Frame::data)
                        .map_err(|e| JsErrorBox::generic(e.to_string()));
                    if sender.send(frame).await.is_err() {
                        break;
                    }
                }
            });
            ReqBody::streaming(StreamBody::new(receiver))
        }
    };
    let request = builder
        .body(body)
        .map_err(|error| Failure::type_error(error.to_string()))?;
    let mut response = client.send(request).await.map_err(|error| {
        tracing::debug!(%error, "an outgoing fetch failed");
        Failure::disconnected()
    })?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                value.as_bytes().iter().map(|b| char::from(*b)).collect(),
            )
        })
        .collect();
    if status == 101 {
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if !upgrade || accepted.is_none_or(|a| a != derive_accept_key(key.as_bytes()).as_str()) {
            tracing::debug!("a server switched protocols and not to the one it was asked for");
            return Err(Failure::disconnected());
        }
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(|error| {
            tracing::debug!(%error, "an outgoing WebSocket failed");
            Failure::disconnected()
        })?;
        let (socket, end) = socket_pair();
        tokio::spawn(carry(TokioIo::new(upgraded), Role::Client, end, pending()));
        return Ok(Answer::Response(FetchResponse {
            status,
            status_text: String::new(),
            headers,
            body: Body::Empty,
            socket: Some(socket),
        }));
    }
    let chunks =
        BodyDataStream::new(response.into_body()).map_err(|error| BodyError(error.to_string()));
    let body = Body::Stream(BodyStream {
        chunks: Box::pin(chunks),
        len: None,
    });
    Ok(Answer::Response(FetchResponse {
        status,
        status_text: String::new(),
        headers,
        body,
        socket: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached_by_default() {
        let public = Egress { private: false };
        for refused in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "198.18.0.1",
            "2001:0:1::1",
            "::7f00:1",
            "255.255.255.255",
        ] {
            let address: IpAddr = refused.parse().expect("an address");
            assert!(!public.allows(address), "{refused} is not public");
            assert!(
                Egress { private: true }.allows(address),
                "{refused} can be allowed"
            );
        }
        for reached in ["1.1.1.1", "2606:4700::1111"] {
            assert!(
                public.allows(reached.parse().expect("an address")),
                "{reached} is public"
            );
        }
    }
}
