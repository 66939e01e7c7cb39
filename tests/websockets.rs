//! WebSockets as clients see them: through a worker, its object and a facet of loaded code; closed, lost, refused,
//! flooded. What a worker sees is in conformance/websockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use tungstenite::client::IntoClientRequest;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Error, Message, WebSocket};

use crate::harness::{Connection, Project, Request, Server, process, wait_for};

const SOON: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;

// The same class as an object and, as text, as a facet of loaded code.
const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
const chunk = new Uint8Array(1 << 20);
class Room extends DurableObject {
  sockets = [];
  fetch(request) {
    const { pathname } = new URL(request.url);
    const [client, server] = Object.values(new WebSocketPair());
    server.binaryType = "arraybuffer";
    const log = (what) => { this.log = (this.log ?? "") + what + "\n"; };
    server.addEventListener("close", (e) => log(`close ${e.code} ${e.reason} ${e.wasClean}`));
    server.addEventListener("error", (e) => log(`error ${e.message}`));
    if (pathname === "/log") return new Response(this.log ?? "");
    if (pathname === "/abort") { this.sockets = []; this.ctx.abort("gone"); }
    server.accept();
    this.sockets.push(server);
    if (pathname === "/flood") { for (let i = 0; i < 2000 && server.readyState === 1; i++) server.send(chunk); }
    server.addEventListener("message", async ({ data }) => {
      if (pathname === "/count") {
        const n = (this.ctx.storage.kv.get("n") ?? 0) + 1;
        this.ctx.storage.kv.put("n", n);
        server.send(`${n}`);
      } else if (data === "close") server.close(4001, "as asked");
      else if (data === "throw") throw new Error("in the handler");
      else if (data === "reject") { server.send("rejecting"); throw new Error("in the handler"); }
      else if (data === "loop") for (;;);
      else if (data === "burn") { const until = Date.now() + 100; while (Date.now() < until); server.send("burnt"); }
      else server.send(data);
    });
    return new Response(null, { status: 101, webSocket: client, headers: { "x-room": pathname, "sec-websocket-protocol": "chat" } });
  }
  stored() { return this.ctx.storage.kv.get("n") ?? 0; }
  log_() { return this.log ?? ""; }
}
const LOADED = `import { DurableObject } from "cloudflare:workers"; const chunk = new Uint8Array(1 << 20); ${Room}; export { Room as App };`;
export class Supervisor extends Room {
  #facet() {
    return this.ctx.facets.get("room", () => ({
      class: this.env.LOADER.get("room", () => ({
        compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": LOADED }, globalOutbound: null, limits: { cpuMs: 500 },
      })).getDurableObjectClass("App"),
    }));
  }
  fetch(request) {
    const url = new URL(request.url);
    if (!url.pathname.startsWith("/facet")) return super.fetch(request);
    if (url.pathname === "/facet/delete") { this.ctx.facets.delete("room"); return new Response("deleted"); }
    url.pathname = url.pathname.slice("/facet".length);
    return this.#facet().fetch(new Request(url, request));
  }
  storedBy(where) { return where === "facet" ? this.#facet().stored() : this.stored(); }
  logOf(where) { return where === "facet" ? this.#facet().log_() : this.log_(); }
}
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const main = env.SUPERVISOR.getByName("main");
    if (url.pathname === "/stored") return Response.json(await main.storedBy(url.search.slice(1)));
    if (url.pathname === "/logs") return new Response(await main.logOf(url.search.slice(1)));
    if (url.pathname === "/plain") return new Response("no socket", { status: 403 });
    if (url.pathname === "/client") {
      const [, to, how] = /to=([^&]*)&how=(.*)/.exec(url.search);
      return new Response(await talk(decodeURIComponent(to), how).catch((e) => `${e.name}: ${e.message}`));
    }
    return main.fetch(request);
  },
};
async function talk(to, how) {
  let ws;
  if (how === "fetch") {
    ws = (await fetch(to, { headers: { Upgrade: "websocket" } })).webSocket;
    if (ws === null) return "no socket";
    ws.accept();
  } else {
    ws = new WebSocket(to.replace("http:", "ws:"), "chat");
    const opened = new Promise((resolve, reject) => { ws.addEventListener("open", resolve); ws.addEventListener("error", (e) => reject(e.error)); });
    await opened;
  }
  const next = (type) => new Promise((resolve) => ws.addEventListener(type, resolve, { once: true }));
  const message = next("message");
  ws.send("over there");
  const { data } = await message;
  const closed = next("close");
  ws.close(3001, "done");
  const { code, reason, wasClean } = await closed;
  return [data, ws.protocol, code, reason, wasClean, ws.readyState].join(" ");
}
"#;

fn project() -> Project {
    let config = r#"{ "name": "sockets", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
        "durable_objects": { "bindings": [{ "name": "SUPERVISOR", "class_name": "Supervisor" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Supervisor"] }],
        "facetd": { "egress": { "allow": ["private"] } } }"#;
    Project::of(&[("wrangler.jsonc", config), ("worker.js", WORKER)])
}

fn start() -> (Project, Server) {
    let project = project();
    let server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

type Socket = WebSocket<TcpStream>;

fn try_connect(to: SocketAddr, path: &str) -> Result<(Socket, Response), String> {
    let stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.set_write_timeout(Some(SOON)).expect("a timeout");
    let mut request = format!("ws://{to}{path}")
        .into_client_request()
        .expect("a URL");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "chat".parse().expect("a header"));
    tungstenite::client(request, stream).map_err(|error| error.to_string())
}

#[track_caller]
fn connect(to: SocketAddr, path: &str) -> Socket {
    let (socket, _response) =
        try_connect(to, path).unwrap_or_else(|error| panic!("{path}: {error}"));
    socket
}

#[track_caller]
fn read(socket: &mut Socket) -> Message {
    socket
        .read()
        .unwrap_or_else(|error| panic!("a message: {error}"))
}

#[track_caller]
fn say(socket: &mut Socket, text: &str) -> String {
    socket
        .send(Message::text(text))
        .expect("it takes the message");
    read(socket).to_text().expect("text").to_owned()
}

/// What ended the connection: a close frame's code, or none.
fn end_of(socket: &mut Socket) -> Option<u16> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => {
                return Some(frame.map_or(1005, |frame| frame.code.into()));
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

#[test]
fn messages_of_both_kinds_come_back_from_object_and_facet() {
    let (_project, server) = start();
    for path in ["/echo", "/facet/echo"] {
        let (mut socket, response) = try_connect(server.address(), path).expect("an upgrade");
        assert_eq!(response.status(), 101, "{path}");
        assert_eq!(
            response.headers()["x-room"],
            "/echo",
            "the room's own headers arrive"
        );
        assert_eq!(
            response.headers()["sec-websocket-protocol"],
            "chat",
            "the protocol too"
        );
        assert_eq!(say(&mut socket, "grüße"), "grüße", "{path}: text");
        assert_eq!(say(&mut socket, ""), "", "{path}: an empty text");
        let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
        socket
            .send(Message::Binary(bytes.clone()))
            .expect("it takes bytes");
        assert_eq!(read(&mut socket), Message::Binary(bytes), "{path}: bytes");
        let large = "x".repeat(5 * MIB);
        assert_eq!(
            say(&mut socket, &large).len(),
            large.len(),
            "{path}: a large message"
        );
        socket
            .send(Message::Ping(Bytes::from_static(b"there?")))
            .expect("it takes a ping");
        assert_eq!(
            read(&mut socket),
            Message::Pong(Bytes::from_static(b"there?")),
            "pings are answered"
        );
    }
}

#[test]
fn thousands_of_messages_in_flight_keep_their_order() {
    let (_project, server) = start();
    let mut socket = connect(server.address(), "/facet/echo");
    for n in 0..5_000 {
        socket
            .write(Message::text(n.to_string()))
            .expect("it takes the message");
    }
    socket.flush().expect("it takes them all");
    for n in 0..5_000 {
        assert_eq!(
            read(&mut socket).to_text().expect("text"),
            n.to_string(),
            "in order, each once"
        );
    }
}

#[test]
fn either_side_closes_and_the_other_is_told() {
    let (_project, server) = start();
    for (path, place) in [("/echo", "object"), ("/facet/echo", "facet")] {
        let mut socket = connect(server.address(), path);
        socket
            .send(Message::text("close"))
            .expect("it takes the message");
        assert_eq!(
            end_of(&mut socket),
            Some(4001),
            "{path}: the worker's code arrives"
        );
        assert_eq!(
            end_of(&mut socket),
            None,
            "and the connection is closed after the handshake"
        );

        let mut socket = connect(server.address(), path);
        let frame = CloseFrame {
            code: CloseCode::from(3456),
            reason: "leaving".into(),
        };
        socket.close(Some(frame)).expect("it takes the close");
        assert_eq!(
            end_of(&mut socket),
            Some(3456),
            "{path}: our code comes back"
        );
        let mut socket = connect(server.address(), path);
        socket.close(None).expect("it takes the close");
        assert_eq!(
            end_of(&mut socket),
            Some(1005),
            "{path}: a close without a code too"
        );
        drop(connect(server.address(), path));
        let expected = [
            "close 4001 as asked true",
            "close 3456 leaving true",
            "close 1005  true",
            "close 1006 WebSocket disconnected without sending Close frame. false",
        ];
        wait_for("the worker hears all four", SOON, || {
            let log = server.get(&format!("/logs?{place}")).text();
            log.lines().eq(expected)
        });
    }
}

#[test]
fn an_object_that_goes_away_cuts_its_sockets_off() {
    let (_project, server) = start();
    let (mut of_object, mut of_facet) = (
        connect(server.address(), "/echo"),
        connect(server.address(), "/facet/echo"),
    );
    assert_eq!(say(&mut of_object, "a"), "a", "it works");
    assert_eq!(say(&mut of_facet, "b"), "b", "it works");
    assert_eq!(server.get("/facet/delete").text(), "deleted");
    assert_eq!(
        end_of(&mut of_facet),
        None,
        "a deleted facet's socket ends without a close frame"
    );
    assert_eq!(say(&mut of_object, "c"), "c", "the parent's socket goes on");
    let mut of_facet = connect(server.address(), "/facet/echo");
    assert_eq!(
        say(&mut of_facet, "d"),
        "d",
        "the next facet takes sockets again"
    );
    assert_eq!(server.get("/abort").status, 500, "the object resets itself");
    assert_eq!(end_of(&mut of_object), None, "its socket is cut off");
    assert_eq!(end_of(&mut of_facet), None, "and so is that of its facet");
}

#[test]
fn a_facet_that_loops_in_a_message_loses_its_sockets_and_nobody_elses() {
    let (_project, server) = start();
    let (mut of_object, mut looping) = (
        connect(server.address(), "/echo"),
        connect(server.address(), "/facet/echo"),
    );
    assert_eq!(say(&mut looping, "a"), "a", "it works");
    looping
        .send(Message::text("loop"))
        .expect("it takes the message");
    assert_eq!(
        say(&mut of_object, "b"),
        "b",
        "the parent answers meanwhile"
    );
    assert_eq!(
        end_of(&mut looping),
        None,
        "the CPU limit ends the isolate and its sockets"
    );
    assert_eq!(say(&mut of_object, "c"), "c", "the parent's socket goes on");
    assert_eq!(
        say(&mut connect(server.address(), "/facet/echo"), "d"),
        "d",
        "the facet starts again"
    );
}

#[test]
fn messages_queued_behind_a_loop_do_not_take_the_process_along() {
    let (_project, server) = start();
    let mut looping = connect(server.address(), "/facet/echo");
    looping
        .write(Message::text("loop"))
        .expect("it takes the message");
    for _ in 0..10_000 {
        looping
            .write(Message::text(""))
            .expect("it takes the message");
    }
    let _cut = looping.flush();
    assert_eq!(
        end_of(&mut looping),
        None,
        "the CPU limit ends the isolate and its sockets"
    );
    assert_eq!(
        say(&mut connect(server.address(), "/facet/echo"), "x"),
        "x",
        "the process goes on"
    );
}

#[test]
fn a_client_that_does_nothing_is_let_go_when_its_object_is_gone() {
    let (_project, server) = start();
    let before = process::open_files(server.pid());
    let silent: Vec<_> = (0..5)
        .map(|_| connect(server.address(), "/flood"))
        .collect();
    assert_eq!(server.get("/abort").status, 500, "the object resets itself");
    wait_for("their connections are cut", Duration::from_secs(40), || {
        process::open_files(server.pid()) <= before
    });
    drop(silent);
}

#[test]
fn each_message_has_a_cpu_budget_of_its_own() {
    let (_project, server) = start();
    let mut socket = connect(server.address(), "/facet/echo");
    // The limit is 500 ms per event; the connection uses twice that.
    for _ in 0..10 {
        assert_eq!(say(&mut socket, "burn"), "burnt", "still there");
    }
}

#[test]
fn a_listener_that_throws_costs_its_socket_and_a_rejection_does_not() {
    let (_project, server) = start();
    let (mut one, mut other) = (
        connect(server.address(), "/facet/echo"),
        connect(server.address(), "/facet/echo"),
    );
    assert_eq!(
        say(&mut one, "reject"),
        "rejecting",
        "an async handler that rejects"
    );
    assert_eq!(say(&mut one, "still here"), "still here", "costs nothing");
    assert_eq!(say(&mut other, "x"), "x", "another socket of the facet");
}

#[test]
fn what_is_no_proper_handshake_gets_no_socket() {
    let (_project, server) = start();
    assert_eq!(
        server.get("/echo").status,
        500,
        "a request that asks for no socket"
    );
    let handshakes = [
        (
            "no key",
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n",
        ),
        (
            "an old version",
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 8\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        ),
        (
            "another protocol",
            "upgrade: h2c\r\nconnection: upgrade\r\n",
        ),
        (
            "no connection header",
            "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        ),
    ];
    for (what, headers) in handshakes {
        let mut connection = Connection::open(server.address());
        connection
            .write(format!("GET /echo HTTP/1.1\r\nhost: x\r\n{headers}\r\n"))
            .expect("it reads");
        assert_eq!(
            connection.answer().expect("an answer").status,
            500,
            "{what}"
        );
    }
    let files = process::open_files(server.pid());
    for body in [
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "content-length: 5\r\n\r\nhello",
    ] {
        for method in ["POST", "GET"] {
            let mut connection = Connection::open(server.address());
            let head = format!(
                "{method} /echo HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{body}"
            );
            connection.write(head).expect("it reads");
            assert_eq!(
                connection.answer().expect("an answer").status,
                500,
                "{method} with a body"
            );
        }
    }
    wait_for("nothing is kept of them", SOON, || {
        process::open_files(server.pid()) <= files
    });
    let refused = try_connect(server.address(), "/plain")
        .map(drop)
        .unwrap_err();
    assert!(
        refused.contains("403"),
        "a worker can refuse in its own words: {refused}"
    );
    assert_eq!(
        say(&mut connect(server.address(), "/echo"), "x"),
        "x",
        "and the server goes on"
    );
}

/// A masked client frame: `head` is its first byte.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![head];
    match payload.len() {
        n @ 0..126 => bytes.push(0x80 | n as u8),
        n => {
            bytes.push(0x80 | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]); // a mask that changes nothing
    bytes.extend(payload);
    bytes
}

#[test]
fn frames_that_break_the_protocol_end_the_connection_with_a_reason() {
    let (_project, server) = start();
    let cases: [(&str, Vec<u8>, u16); 5] = [
        ("a reserved opcode", frame(0x83, b"x"), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("a fragmented ping", frame(0x09, b"x"), 1002),
        ("text that is not UTF-8", frame(0x81, b"\xff\xfe"), 1007),
        ("a frame of 33 MiB", frame(0x82, &vec![0; 33 * MIB]), 1009),
    ];
    for (what, bytes, code) in cases {
        let mut socket = connect(server.address(), "/facet/echo");
        let stream = socket.get_mut();
        // The server may answer and hang up before it has read all of it.
        let _cut = stream.write_all(&bytes);
        let ended = end_of(&mut socket);
        assert!(
            ended == Some(code) || (ended.is_none() && code == 1009),
            "{what} is answered with {code}: {ended:?}"
        );
    }
    let mut socket = connect(server.address(), "/facet/echo");
    let fragments = [
        frame(0x02, &vec![1; 20 * MIB]),
        frame(0x80, &vec![2; 20 * MIB]),
    ]
    .concat();
    let _cut = socket.get_mut().write_all(&fragments);
    assert_ne!(end_of(&mut socket), Some(1000), "fragments count together");
    assert_eq!(
        say(&mut connect(server.address(), "/facet/echo"), "x"),
        "x",
        "and the server goes on"
    );
}

#[test]
fn what_nobody_reads_does_not_fill_the_memory() {
    let (_project, server) = start();
    let mut flooded = connect(server.address(), "/facet/flood");
    assert_eq!(
        say(&mut connect(server.address(), "/echo"), "x"),
        "x",
        "others are served"
    );
    let held = process::rss_mib(server.pid());
    assert!(
        held < 700,
        "two gigabytes were sent and not read; the server holds {held} MiB"
    );
    let mut received = 0;
    loop {
        match flooded.read() {
            Ok(message) => received += message.len(),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_)) => {
                break;
            }
            Err(error) => panic!("cut off: {error}"),
        }
    }
    assert!(
        received < 1_000 * MIB,
        "the flood was cut off: {} MiB arrived",
        received / MIB
    );
}

#[test]
fn a_client_that_sends_faster_than_the_worker_reads_is_held_back() {
    let (_project, server) = start();
    let mut socket = connect(server.address(), "/facet/echo");
    socket
        .get_mut()
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    let before = process::rss_mib(server.pid());
    // Nobody reads the echoes, so sooner or later the server stops reading us, or cuts us off.
    let chunk = frame(0x82, &vec![7; MIB]);
    let mut sent = 0;
    while sent < 1_000 && socket.get_mut().write_all(&chunk).is_ok() {
        sent += 1;
    }
    assert!(sent < 1_000, "it does not take a gigabyte");
    let held = process::rss_mib(server.pid());
    assert!(held < before + 500, "it holds {held} MiB, {before} before");
    assert_eq!(
        say(&mut connect(server.address(), "/echo"), "x"),
        "x",
        "others are served"
    );
}

#[test]
fn sigterm_says_goodbye_to_open_sockets() {
    let (_project, mut server) = start();
    let address = server.address();
    let mut socket = connect(address, "/facet/echo");
    assert_eq!(say(&mut socket, "x"), "x", "it is open");
    let client = thread::spawn(move || end_of(&mut socket));
    assert_eq!(
        server.sigterm(),
        Some(0),
        "an open socket does not hold the server up"
    );
    assert_eq!(client.join().expect("no panic"), Some(1001), "going away");
}

#[test]
fn an_answered_message_has_its_writes_on_disk() {
    let (_project, mut server) = start();
    for (path, place) in [("/count", "object"), ("/facet/count", "facet")] {
        let mut socket = connect(server.address(), path);
        let mut last = 0;
        for _ in 0..20 {
            last = say(&mut socket, "more").parse::<u64>().expect("a number");
        }
        server.kill9();
        server
            .start_again()
            .unwrap_or_else(|error| panic!("{error}"));
        let stored: u64 = server
            .get(&format!("/stored?{place}"))
            .text()
            .parse()
            .expect("a number");
        assert!(
            stored >= last,
            "{place}: {last} was answered, {stored} is stored"
        );
    }
}

#[test]
fn workers_open_sockets_to_other_servers() {
    let ((_project, server), (_other, there)) = (start(), start());
    let ask = |how: &str, path: &str| {
        let to = format!("http%3A%2F%2F{}{path}", there.address());
        server.get(&format!("/client?to={to}&how={how}")).text()
    };
    assert_eq!(
        ask("fetch", "/echo"),
        "over there  3001 done true 3",
        "fetch with an Upgrade header"
    );
    assert_eq!(
        ask("constructor", "/facet/echo"),
        "over there chat 3001 done true 3",
        "new WebSocket()"
    );
    assert_eq!(
        ask("fetch", "/plain"),
        "no socket",
        "an ordinary answer is an ordinary Response"
    );
    assert!(
        ask("constructor", "/plain").contains("403"),
        "to the constructor it is an error"
    );
}

#[test]
fn loopback_is_out_of_reach_for_sockets_too() {
    let (_there, there) = start();
    let project = project();
    let config = r#"{ "name": "sockets", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
        "durable_objects": { "bindings": [{ "name": "SUPERVISOR", "class_name": "Supervisor" }] } }"#;
    project.write("wrangler.jsonc", config);
    let server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    for how in ["fetch", "constructor"] {
        let to = format!("http%3A%2F%2F{}/echo", there.address());
        let answer = server.get(&format!("/client?to={to}&how={how}")).text();
        assert_eq!(answer, "Error: Network connection lost.", "{how}");
    }
}

#[test]
fn a_peer_that_lies_about_the_handshake_is_refused() {
    let (_project, server) = start();
    let liar = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = liar.local_addr().expect("bound");
    let lying = thread::spawn(move || {
        let (mut stream, _) = liar.accept().expect("the worker connects");
        let mut asked = [0; 4096];
        let _length = stream.read(&mut asked).expect("a request");
        let lie = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: bm8=\r\n\r\n";
        stream.write_all(lie.as_bytes()).expect("it reads");
    });
    let answer = server
        .get(&format!("/client?to=http%3A%2F%2F{address}&how=fetch"))
        .text();
    assert_eq!(
        answer, "Error: Network connection lost.",
        "a wrong key is no socket"
    );
    lying.join().expect("no panic");
    let request = Request::get("/logs?object");
    assert_eq!(
        server.send(&request).expect("an answer").status,
        200,
        "the server goes on"
    );
}
