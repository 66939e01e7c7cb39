//! HTTP in, events out: the router of the server.

use axum::Router;
use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use facetd_core::{
    Answer, Body, BodyError, BodyStream, Event, EventKind, Failure, FetchRequest, FetchResponse,
    Headers, Link, Outcome, Reply, SocketEnd, Target,
};
use facetd_host::{Role, carry, derive_accept_key, now_ms, run_scheduled};
use futures::StreamExt;
use futures::channel::oneshot;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Bodies up to this size are read before the event is delivered: one chunk, no stream.
const SMALL_BODY_BYTES: u64 = 16 << 10;

/// How long a connection may take to become a WebSocket once that is agreed.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Answers HTTP until told to stop, then finishes what runs.
pub async fn serve(
    listener: TcpListener,
    target: Arc<dyn Target>,
    mut stopping: watch::Receiver<bool>,
) {
    let by_hand = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback());
    let served = Served {
        target,
        stopping: stopping.clone(),
    };
    let mut router = Router::new().fallback(answer);
    if by_hand {
        router = router.route(SCHEDULED_PATH, get(scheduled_by_hand));
    }
    let router = router.with_state(served);
    let stopped = async move {
        // The other end only goes away when the process ends.
        let _told = stopping.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(stopped)
        .await
    {
        tracing::error!(%error, "the HTTP server stopped");
    }
}

#[derive(Clone)]
struct Served {
    target: Arc<dyn Target>,
    stopping: watch::Receiver<bool>,
}

/// Tells the worker that the client went away, unless it has had its answer.
struct Disconnect {
    link: Link,
    answered: bool,
}

impl Drop for Disconnect {
    fn drop(&mut self) {
        if !self.answered {
            self.link.abort();
        }
    }
}

async fn answer(State(served): State<Served>, mut request: Request) -> Response {
    let upgrade = Upgrade::take(&mut request);
    let request = match fetch_request(request).await {
        Ok(request) => request,
        Err(status) => return plain(status),
    };
    let (told, outcome) = oneshot::channel();
    let mut disconnect = Disconnect {
        link: Link::default(),
        answered: false,
    };
    served.target.send(Event {
        kind: EventKind::Fetch(request),
        reply: Reply::new(move |outcome| drop(told.send(outcome))),
        link: Some(disconnect.link.clone()),
        charge: None,
        caller: None,
    });
    let outcome: Outcome = outcome
        .await
        .unwrap_or_else(|_| Err(Failure::disconnected()));
    disconnect.answered = true;
    match outcome {
        Ok(Answer::Response(mut response)) => match response.socket.take() {
            Some(socket) => switch_protocols(response, socket, upgrade, served.stopping),
            None => http_response(response),
        },
        Ok(Answer::Value(_) | Answer::Alarm(_) | Answer::FacetDue(_)) => {
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Err(failure) => {
            let mut response = plain(status_of(&failure));
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                let a_second = HeaderValue::from_static("1");
                response.headers_mut().insert(RETRY_AFTER, a_second);
            }
            response
        }
    }
}

/// What `wrangler dev` runs cron triggers at, by hand.
const SCHEDULED_PATH: &str = "/cdn-cgi/handler/scheduled";

/// Runs the worker's `scheduled` handler: `?cron=` and `?time=` (ms) are what it is told. Answers with the outcome, as text
/// or, with `?format=json`, as `{outcome, noRetry}`; 200 if it is `ok`. Only on loopback, and only for the machine itself: a
/// page of another site that a browser here shows may not cause runs.
async fn scheduled_by_hand(State(served): State<Served>, request: Request) -> Response {
    if !is_from_here(request.headers()) {
        return plain(StatusCode::FORBIDDEN);
    }
    let query = request.uri().query().unwrap_or_default();
    let parameter = |wanted: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let time_ms = match parameter("time").map(|time| time.parse::<i64>()) {
        None => now_ms(),
        Some(Ok(time)) => time,
        Some(Err(_)) => return plain(StatusCode::BAD_REQUEST),
    };
    let cron = parameter("cron").unwrap_or_default();
    let run = run_scheduled(served.target.as_ref(), cron, time_ms as f64).await;
    let (outcome, no_retry) = match run {
        Ok(done) => (done.outcome, done.no_retry),
        Err(failure) => {
            let _logged = status_of(&failure);
            ("exception".to_owned(), false)
        }
    };
    let status = if outcome == "ok" {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    if parameter("format").as_deref() == Some("json") {
        let json = serde_json::json!({ "outcome": outcome, "noRetry": no_retry });
        let mut response = Response::new(HttpBody::from(json.to_string()));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        return response;
    }
    let mut response = plain(status);
    *response.body_mut() = HttpBody::from(outcome);
    response
}

/// Asked by this machine, for itself: its name for itself is in the URL, no proxy has added a header, and no other site's page is behind it.
fn is_from_here(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    let names_us = authority.is_some_and(|authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    });
    let forwarded = ["forwarded", "via", "x-forwarded-for", "x-real-ip"]
        .iter()
        .any(|name| headers.contains_key(*name));
    let own_page = headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "none" || site == "same-origin");
    names_us && !forwarded && own_page
}

/// What it takes to turn a connection into a WebSocket.
struct Upgrade {
    connection: OnUpgrade,
    accept: String,
}

impl Upgrade {
    /// `None`: the client did not ask for one, or not properly.
    fn take(request: &mut Request) -> Option<Self> {
        // A body would stand between the handshake and the frames.
        let plain = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && request.body().is_end_stream();
        let headers = request.headers();
        let asks = headers
            .get(UPGRADE)
            .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let connection = headers.get(CONNECTION).map(HeaderValue::as_bytes);
        let switches = connection.is_some_and(|options| {
            options
                .split(|byte| *byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        });
        let version = headers.get(SEC_WEBSOCKET_VERSION);
        if !plain || !asks || !switches || version.is_none_or(|version| version != "13") {
            return None;
        }
        let accept = derive_accept_key(headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
        let connection = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(Self { connection, accept })
    }
}

/// Answers the handshake; the connection is carried by a task of its own from then on.
fn switch_protocols(
    response: FetchResponse,
    socket: Arc<SocketEnd>,
    upgrade: Option<Upgrade>,
    mut stopping: watch::Receiver<bool>,
) -> Response {
    let Some(Upgrade { connection, accept }) = upgrade else {
        tracing::warn!("a worker answered a request that did not ask for a WebSocket with one");
        return plain(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut http = Response::new(HttpBody::empty());
    *http.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = http.headers_mut();
    add_headers(headers, response.headers, false);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    tokio::spawn(async move {
        match tokio::time::timeout(HANDSHAKE, connection).await {
            Err(_elapsed) => tracing::debug!("a client did not finish its handshake"),
            Ok(Ok(upgraded)) => {
                let stop = async move {
                    let _told = stopping.wait_for(|stop| *stop).await;
                };
                carry(TokioIo::new(upgraded), Role::Server, socket, stop).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a client left during the handshake"),
        }
    });
    http
}

/// The one place where a failure becomes a status. What went wrong is for the log, not the client.
///
/// | failure | status |
/// |---|---|
/// | overloaded | 503, with `Retry-After` |
/// | anything else | 500 |
fn status_of(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Host(error) => {
            tracing::warn!(error = %error.message, "a request failed");
            if error.overloaded {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
        Failure::Thrown { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn plain(status: StatusCode) -> Response {
    let text = status.canonical_reason().unwrap_or("Error");
    let mut response = Response::new(HttpBody::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain;charset=UTF-8"),
    );
    response
}

async fn fetch_request(request: Request) -> Result<FetchRequest, StatusCode> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => match parts.headers.get(HOST) {
            Some(host) => host.to_str().map_err(|_| StatusCode::BAD_REQUEST)?,
            None => "localhost",
        },
    };
    let authority: http::uri::Authority = host.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
        return Err(StatusCode::BAD_REQUEST);
    }
    if parts.method == http::Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut url = String::with_capacity(7 + host.len() + path.len());
    url.push_str("http://");
    url.push_str(host);
    url.push_str(path);
    let mut headers = Vec::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        headers.push((name.as_str().to_owned(), latin1(value)));
    }
    let body = if body.is_end_stream() {
        Body::Empty
    } else if body
        .size_hint()
        .exact()
        .is_some_and(|len| len <= SMALL_BODY_BYTES)
    {
        let bytes = body
            .collect()
            .await
            .map_err(|_| StatusCode::BAD_REQUEST)?
            .to_bytes();
        if bytes.is_empty() {
            Body::Empty
        } else {
            Body::Bytes(bytes)
        }
    } else {
        let len = body.size_hint().exact();
        let chunks = body
            .into_data_stream()
            .map(|chunk| chunk.map_err(|error| BodyError(error.to_string())));
        Body::Stream(BodyStream {
            chunks: Box::pin(chunks),
            len,
        })
    };
    let method = parts.method.as_str().to_owned();
    Ok(FetchRequest {
        method,
        url,
        headers,
        body,
        cf: Some("{}".to_owned()),
    })
}

/// Header bytes as the chars of the same numbers, as the platform shows them to JS.
fn latin1(value: &HeaderValue) -> String {
    match value.to_str() {
        Ok(ascii) => ascii.to_owned(),
        Err(_) => value
            .as_bytes()
            .iter()
            .map(|byte| char::from(*byte))
            .collect(),
    }
}

fn http_response(response: FetchResponse) -> Response {
    let FetchResponse {
        status,
        headers,
        body,
        ..
    } = response;
    // A 101 promises a socket, and there is none here.
    if !(200..600).contains(&status) {
        return plain(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let streamed = matches!(body, Body::Stream(_));
    let length = if let Body::Stream(stream) = &body {
        stream.len
    } else {
        None
    };
    let mut http = Response::new(http_body(body));
    *http.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let target = http.headers_mut();
    add_headers(target, headers, streamed);
    if let Some(length) = length {
        target.insert(CONTENT_LENGTH, length.into());
    }
    http
}

/// The worker's headers, less what is ours to say.
fn add_headers(target: &mut HeaderMap, headers: Headers, streamed: bool) {
    target.reserve(headers.len());
    for (name, value) in headers {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        // Framing is ours; a length the body does not have would break the connection.
        if name == CONNECTION || name == TRANSFER_ENCODING || (name == CONTENT_LENGTH && !streamed)
        {
            continue;
        }
        let bytes: Vec<u8> = if value.is_ascii() {
            value.into_bytes()
        } else {
            value.chars().map(|c| c as u8).collect()
        };
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            target.append(name, value);
        }
    }
}

fn http_body(body: Body) -> HttpBody {
    match body {
        Body::Empty => HttpBody::empty(),
        Body::Bytes(bytes) => HttpBody::from(bytes),
        Body::Stream(stream) => {
            let chunks = stream
                .chunks
                .map(|chunk: Result<Bytes, BodyError>| chunk.map_err(io::Error::other));
            HttpBody::from_stream(chunks)
        }
    }
}
