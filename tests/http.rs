//! HTTP as clients see it: streams both ways, cancellation, odd headers, errors that say nothing.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Connection, Project, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;

const WORKER: &str = r#"
const seen = { produced: 0, consumed: 0, aborted: 0, cancelled: 0, waited: 0, hanging: 0 };
const routes = {
  "/seen": () => Response.json(seen),
  "/endless": () => new Response(new ReadableStream({
    pull(controller) { controller.enqueue(new Uint8Array(65536)); seen.produced += 65536; },
    cancel() { seen.cancelled += 1; },
  })),
  "/chunks": () => {
    let n = 0;
    return new Response(new ReadableStream({
      async pull(controller) { if (n === 5) return controller.close(); await scheduler.wait(1); controller.enqueue(new TextEncoder().encode(`chunk ${n++}\n`)); },
    }));
  },
  "/breaks": () => {
    let n = 0;
    return new Response(new ReadableStream({
      async pull(controller) { await scheduler.wait(1); if (n++ > 2) throw new Error("secret: the stream broke"); controller.enqueue(new Uint8Array(10)); },
    }));
  },
  "/echo": (request) => new Response(request.body),
  "/echo-buffered": async (request) => new Response(await request.arrayBuffer()),
  "/count": async (request) => { let n = 0; for await (const chunk of request.body) { n += chunk.byteLength; seen.consumed += chunk.byteLength; } return Response.json(n); },
  "/ignore": () => new Response("did not read it"),
  "/one-chunk": async (request) => { const { value } = await request.body.getReader().read(); seen.consumed += value.byteLength; await scheduler.wait(60_000); return new Response("late"); },
  "/hang": async (request) => {
    seen.hanging += 1;
    request.signal.addEventListener("abort", () => { seen.aborted += 1; });
    await scheduler.wait(60_000);
    return new Response("late");
  },
  "/wait-until": (request, env, ctx) => {
    ctx.waitUntil(scheduler.wait(20).then(() => { seen.waited += 1; }));
    return Response.json(seen.waited);
  },
  "/wait-until-fails": (request, env, ctx) => { ctx.waitUntil(Promise.reject(new Error("secret"))); return new Response("fine"); },
  "/throw": () => { throw new Error("secret: thrown at /some/path.js"); },
  "/reject": async () => { await scheduler.wait(1); throw new TypeError("secret: rejected"); },
  "/throw-null": () => { throw null; },
  "/nothing": () => undefined,
  "/text": () => "not a response",
  "/never": () => new Promise(() => {}),
  "/used": async () => { const r = new Response("x"); await r.text(); return r; },
  "/headers": (request) => Response.json([...request.headers]),
  "/url": (request) => Response.json([request.method, request.url]),
  "/latin1": () => new Response(null, { headers: { "x-latin1": "gr\u00fc\u00dfe" } }),
  "/cookies": () => { const r = new Response("ok"); r.headers.append("set-cookie", "a=1; Path=/"); r.headers.append("set-cookie", "b=2"); r.headers.append("x-list", "1"); r.headers.append("x-list", "2"); return r; },
  "/length": () => new Response("12345", { headers: { "content-length": "99999", "transfer-encoding": "chunked", connection: "close" } }),
  "/wrong-length": () => new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array(10)); c.close(); } }), { headers: { "content-length": "5" } }),
  "/status": (request) => new Response(null, { status: Number(new URL(request.url).search.slice(1)) }),
  "/slow": async () => { await scheduler.wait(30); return new Response("slow"); },
};
export default {
  async fetch(request, env, ctx) {
    const route = routes[new URL(request.url).pathname];
    return route ? route(request, env, ctx) : new Response(`hello ${new URL(request.url).pathname}`);
  },
};
"#;

fn start() -> (Project, Server) {
    let project = Project::of(&[
        ("worker.js", WORKER),
        (
            "wrangler.jsonc",
            r#"{ "name": "http", "main": "worker.js", "compatibility_date": "2026-09-01", "compatibility_flags": ["enable_request_signal"], "facetd": { "instances": 1 } }"#,
        ),
    ]);
    let server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

fn seen(server: &Server, what: &str) -> u64 {
    let seen: Value = server.get("/seen").json().expect("the counters are JSON");
    seen[what]
        .as_u64()
        .unwrap_or_else(|| panic!("no counter {what}"))
}

/// The value once it no longer changes between two looks that are far enough apart.
fn settled(what: &str, mut value: impl FnMut() -> u64) -> u64 {
    let mut last = value();
    let mut same = 0;
    wait_for(&format!("{what} stops changing"), SOON, || {
        let now = value();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same >= 30
    });
    last
}

#[test]
fn a_slow_reader_stops_the_worker_from_producing() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    client
        .write("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    client.read(1000).expect("the stream begins");
    let produced = settled("what the worker produced", || seen(&server, "produced"));
    // Socket buffers on both sides take a few MiB; an unbounded queue would take all there is.
    assert!(
        produced < 24 * MIB as u64,
        "the worker produced {produced} bytes for a reader of 1000"
    );
    client.read(16 * MIB).expect("the stream goes on");
    wait_for("the worker goes on when the reader does", SOON, || {
        seen(&server, "produced") > produced
    });
    drop(client);
    wait_for("a reader that went away cancels the stream", SOON, || {
        seen(&server, "cancelled") == 1
    });
    let after = settled("what the worker produced", || seen(&server, "produced"));
    assert_eq!(
        seen(&server, "produced"),
        after,
        "nobody reads, so nothing is produced"
    );
}

#[test]
fn a_worker_that_does_not_read_stops_the_client_from_sending() {
    let (_project, server) = start();
    let address = server.address();
    let sender = thread::spawn(move || {
        let mut client = Connection::open(address);
        client
            .write(format!(
                "POST /one-chunk HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
                512 * MIB
            ))
            .expect("sent");
        let chunk = vec![1; 65536];
        let mut sent = 0_usize;
        client.limit_writes(Duration::from_secs(2));
        while sent < 512 * MIB && client.write(&chunk).is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let sent = sender.join().expect("the client does not panic");
    assert!(
        sent < 32 * MIB,
        "the server took {sent} bytes that nobody read"
    );
}

#[test]
fn chunks_arrive_as_they_are_produced() {
    let (_project, server) = start();
    let answer = server.get("/chunks");
    assert_eq!(
        answer.header("transfer-encoding"),
        Some("chunked"),
        "no length is known"
    );
    assert_eq!(
        answer.text(),
        "chunk 0\nchunk 1\nchunk 2\nchunk 3\nchunk 4\n"
    );
}

#[test]
fn a_stream_that_breaks_breaks_the_answer_and_tells_nothing() {
    let (_project, server) = start();
    let error = server
        .send(&Request::get("/breaks"))
        .expect_err("the answer must not look complete");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(server.get("/x").text(), "hello /x", "the server goes on");
}

#[test]
fn a_body_of_20_mib_comes_back_as_it_was_sent() {
    let (_project, server) = start();
    let body: Vec<u8> = (0..20 * MIB).map(|at| (at * 7 + at / 251) as u8).collect();
    for route in ["/echo", "/echo-buffered"] {
        let address = server.address();
        // Sent and read at the same time: an echo that streams fills both directions.
        let sent = body.clone();
        let mut client = Connection::open(address);
        let mut writer = client.second_half();
        let sending = thread::spawn(move || {
            writer.write(format!("POST {route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", sent.len()))?;
            writer.write(&sent)
        });
        let answer = client
            .answer()
            .unwrap_or_else(|error| panic!("{route}: {error}"));
        sending.join().expect("no panic").expect("sent");
        assert_eq!(answer.status, 200, "{route}");
        assert!(
            answer.body == body,
            "{route}: {} bytes came back, not the same {}",
            answer.body.len(),
            body.len()
        );
    }
}

#[test]
fn a_chunked_upload_is_read_to_its_end() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    client
        .write("POST /count HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .expect("sent");
    for size in [1_usize, 70_000, 3, 16_384] {
        client.write(format!("{size:x}\r\n")).expect("sent");
        client.write(vec![b'a'; size]).expect("sent");
        client.write("\r\n").expect("sent");
    }
    client.write("0\r\n\r\n").expect("sent");
    assert_eq!(client.answer().expect("an answer").text(), "86388");
}

#[test]
fn a_broken_chunked_upload_does_not_look_complete() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    client.write("POST /count HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n").expect("sent");
    if let Ok(answer) = client.answer() {
        assert!(
            answer.status >= 400,
            "the worker must not count 5 bytes as all: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert_eq!(server.get("/x").text(), "hello /x", "the server goes on");
}

#[test]
fn an_upload_that_is_not_read_still_gets_its_answer() {
    let (_project, server) = start();
    let answer = server
        .send(&Request::new("POST", "/ignore").body(vec![1; 300_000]))
        .expect("an answer");
    assert_eq!(answer.text(), "did not read it");
}

#[test]
fn a_client_that_goes_away_aborts_request_signal() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    client
        .write("GET /hang HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    wait_for("the request is being handled", SOON, || {
        seen(&server, "hanging") == 1
    });
    assert_eq!(seen(&server, "aborted"), 0, "the client is still there");
    drop(client);
    wait_for("request.signal fires", SOON, || {
        seen(&server, "aborted") == 1
    });
}

#[test]
fn an_answered_request_is_not_aborted_when_the_client_leaves() {
    let (_project, server) = start();
    assert_eq!(server.get("/x").status, 200);
    assert_eq!(server.get("/wait-until").status, 200);
    wait_for("waitUntil goes on after the client has left", SOON, || {
        seen(&server, "waited") == 1
    });
    assert_eq!(seen(&server, "aborted"), 0, "nobody was aborted");
}

#[test]
fn wait_until_runs_after_the_answer() {
    let (_project, server) = start();
    assert_eq!(
        server.get("/wait-until").text(),
        "0",
        "the answer does not wait for it"
    );
    wait_for("it runs", SOON, || seen(&server, "waited") == 1);
    assert_eq!(
        server.get("/wait-until-fails").text(),
        "fine",
        "its failure is not the client's"
    );
}

#[test]
fn error_pages_tell_nothing_of_the_inside() {
    let (project, server) = start();
    for path in [
        "/throw",
        "/reject",
        "/throw-null",
        "/nothing",
        "/text",
        "/never",
        "/used",
        "/status?99",
        "/status?1000",
        "/status?x",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 500, "{path}");
        let all = format!("{:?} {}", answer.headers, answer.text());
        for secret in [
            "secret",
            "worker.js",
            ".js:",
            " at ",
            "ext:",
            "facetd",
            &project.path().to_string_lossy(),
        ] {
            assert!(!all.contains(secret), "{path} tells {secret:?}: {all}");
        }
        assert!(
            answer.body.len() < 200,
            "a neutral page is short: {}",
            answer.text()
        );
    }
    wait_for("the author finds the stack in the log", SOON, || {
        let log = server.stderr();
        log.contains("secret: thrown") && log.contains("secret: rejected")
    });
    assert_eq!(server.get("/x").text(), "hello /x", "the server goes on");
}

#[test]
fn head_has_the_headers_and_no_body() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    for path in ["/x", "/chunks", "/endless"] {
        client
            .write(format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .expect("sent");
        assert_eq!(
            client
                .answer_to_head()
                .unwrap_or_else(|error| panic!("{path}: {error}"))
                .status,
            200,
            "{path}"
        );
    }
    client
        .write("GET /url HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    assert_eq!(
        client.answer().expect("no stray body bytes").text(),
        r#"["GET","http://x/url"]"#
    );
    client
        .write("HEAD /url HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    let head = client.answer_to_head().expect("an answer");
    assert_eq!(
        head.header("content-length"),
        Some("23"),
        "the length GET would have"
    );
}

#[test]
fn statuses_without_a_body_keep_the_connection_usable() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    for status in [200, 204, 205, 304, 404, 418, 503, 599] {
        client
            .write(format!("GET /status?{status} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .expect("sent");
        let answer = client
            .answer()
            .unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!(
            (answer.status, answer.body.len()),
            (status, 0),
            "status {status}"
        );
    }
}

#[test]
fn a_status_of_101_without_a_websocket_is_an_error() {
    let (_project, server) = start();
    if let Ok(answer) = server.send(&Request::get("/status?101")) {
        assert_eq!(answer.status, 500, "there is nothing to switch to");
    }
    assert_eq!(server.get("/x").text(), "hello /x", "the server goes on");
}

#[test]
fn the_worker_cannot_break_the_framing() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    for _ in 0..2 {
        client
            .write("GET /length HTTP/1.1\r\nhost: x\r\n\r\n")
            .expect("sent");
        let answer = client.answer().expect("a whole answer");
        assert_eq!(answer.text(), "12345", "{:?}", answer.headers);
        assert_eq!(
            answer.header_all("content-length"),
            ["5"],
            "the true length"
        );
    }
    // A length that lies is an error of this answer, not of the next one.
    let _ = server.send(&Request::get("/wrong-length"));
    assert_eq!(server.get("/x").text(), "hello /x", "the server goes on");
}

#[test]
fn header_bytes_above_ascii_are_latin1_both_ways() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    client
        .write(b"GET /headers HTTP/1.1\r\nhost: x\r\nx-latin1: gr\xfc\xdfe\r\n\r\n")
        .expect("sent");
    let answer = client.answer().expect("an answer");
    let headers: Vec<(String, String)> = serde_json::from_slice(&answer.body).expect("pairs");
    assert!(
        headers.contains(&("x-latin1".into(), "gr\u{fc}\u{df}e".into())),
        "{headers:?}"
    );
    client
        .write("GET /latin1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let raw = client.rest();
    let expected = b"x-latin1: gr\xfc\xdfe\r\n";
    assert!(
        raw.windows(expected.len()).any(|window| window == expected),
        "{}",
        String::from_utf8_lossy(&raw)
    );
}

#[test]
fn set_cookie_headers_stay_apart_and_others_may_join() {
    let (_project, server) = start();
    let answer = server.get("/cookies");
    assert_eq!(
        answer.header_all("set-cookie"),
        ["a=1; Path=/", "b=2"],
        "one header each"
    );
    assert_eq!(answer.header_all("x-list").join(", "), "1, 2", "in order");
}

#[test]
fn repeated_request_headers_reach_the_worker_joined() {
    let (_project, server) = start();
    let answer = server
        .send(
            &Request::get("/headers")
                .header("x-a", "1")
                .header("X-A", "2")
                .header("x-empty", "")
                .header("cookie", "a=1"),
        )
        .expect("an answer");
    let headers: Vec<(String, String)> = serde_json::from_slice(&answer.body).expect("pairs");
    for expected in [("x-a", "1, 2"), ("x-empty", ""), ("cookie", "a=1")] {
        assert!(
            headers
                .iter()
                .any(|(name, value)| (name.as_str(), value.as_str()) == expected),
            "{expected:?} in {headers:?}"
        );
    }
}

#[test]
fn many_answers_come_over_one_connection() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    for at in 0..50 {
        client
            .write(format!("GET /{at} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .expect("sent");
        assert_eq!(
            client.answer().expect("kept alive").text(),
            format!("hello /{at}")
        );
    }
    // Pipelined: answers in order.
    client
        .write("GET /slow HTTP/1.1\r\nhost: x\r\n\r\nGET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    assert_eq!(client.answer().expect("first").text(), "slow");
    assert_eq!(client.answer().expect("second").text(), "hello /a");
    client
        .write("GET /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("sent");
    assert_eq!(client.answer().expect("last").text(), "hello /b");
    assert!(client.is_at_end(), "closed when asked");
}

#[test]
fn many_requests_at_once_get_their_own_answers() {
    let (_project, server) = start();
    let address = server.address();
    thread::scope(|scope| {
        for client in 0..32 {
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for at in 0..20 {
                    let (path, expected) = if at % 5 == 0 {
                        ("/slow".to_owned(), "slow".to_owned())
                    } else {
                        (format!("/{client}-{at}"), format!("hello /{client}-{at}"))
                    };
                    connection
                        .write(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
                        .expect("sent");
                    assert_eq!(connection.answer().expect("an answer").text(), expected);
                }
            });
        }
    });
}

#[test]
fn odd_requests_get_an_answer_and_harm_nobody() {
    let (_project, server) = start();
    let mut odd: Vec<String> = Vec::new();
    for (request, statuses) in [
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", &[400][..]),
        ("GET / HTTP/1.1\r\nhost: \r\n\r\n", &[200, 400]),
        ("GET / HTTP/1.1\r\nhost: [::1\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nhost: x:99999\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\n\r\n", &[200, 400]),
        ("GET / HTTP/1.0\r\n\r\n", &[200]),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", &[200, 400]),
        (
            "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
            &[400, 405, 500, 501],
        ),
        ("TRACE / HTTP/1.1\r\nhost: x\r\n\r\n", &[200, 400, 405, 501]),
        (
            "BREW /pot HTTP/1.1\r\nhost: x\r\n\r\n",
            &[200, 400, 405, 501],
        ),
        ("GET //evil.example/x HTTP/1.1\r\nhost: x\r\n\r\n", &[200]),
        ("GET /%00%ff/../a HTTP/1.1\r\nhost: x\r\n\r\n", &[200]),
        (
            "GET http://other.example/abs HTTP/1.1\r\nhost: x\r\n\r\n",
            &[200, 400],
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            &[200, 400],
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            &[400],
        ),
        ("nonsense\r\n\r\n", &[400]),
    ] {
        let mut client = Connection::open(server.address());
        client.write(request).expect("sent");
        match client.answer() {
            Ok(answer) if statuses.contains(&answer.status) => {}
            Ok(answer) => odd.push(format!("{request:?}: {} {}", answer.status, answer.text())),
            Err(error) => odd.push(format!("{request:?}: {error}")),
        }
    }
    assert!(odd.is_empty(), "answered otherwise:\n{}", odd.join("\n"));
    let mut client = Connection::open(server.address());
    let long = "a".repeat(2 << 20);
    let _ = client.write(format!(
        "GET /{long} HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"
    ));
    if let Ok(answer) = client.answer() {
        assert!(
            (400..500).contains(&answer.status),
            "too long: {}",
            answer.status
        );
    }
    assert_eq!(server.get("/x").text(), "hello /x", "the server goes on");
}

#[test]
fn the_url_has_the_clients_host_and_the_exact_path() {
    let (_project, server) = start();
    let mut client = Connection::open(server.address());
    client.write("PUT /url?a=%20b&c=d%2Fe+f HTTP/1.1\r\nhost: app.example:8080\r\ncontent-length: 0\r\n\r\n").expect("sent");
    assert_eq!(
        client.answer().expect("an answer").text(),
        r#"["PUT","http://app.example:8080/url?a=%20b&c=d%2Fe+f"]"#
    );
}
