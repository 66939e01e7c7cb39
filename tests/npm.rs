//! A real package from npm, installed now, unmodified, as the code of a facet. See npm/hono_facet.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{run, tool};
use crate::harness::{Request, Response, Server};

fn send(server: &Server, method: &str, path: &str, body: Option<Value>) -> Response {
    let mut request = Request::new(method, path);
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    server
        .send(&request)
        .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", server.stderr()))
}

#[test]
fn a_hono_app_from_npm_runs_as_a_facet_with_sql() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let _npm = tool("npm", "npm, which comes with Node"); // prepare.mjs calls it
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm/hono_facet/prepare.mjs");
    let prepared = run(
        tool("node", "Node 20 or newer")
            .arg(script)
            .arg(folder.path()),
        Duration::from_secs(180),
    );
    assert_eq!(prepared.code, Some(0), "{}", prepared.both());
    let mut server = Server::of(prepared.stdout.trim())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let home = send(&server, "GET", "/", None);
    assert_eq!(
        (home.status, home.text()),
        (200, "<h1>Notes</h1>".into()),
        "{}",
        server.stderr()
    );
    assert_eq!(
        home.header("x-notes"),
        Some("0"),
        "Hono's middleware ran over SQL"
    );
    let made = send(&server, "POST", "/notes", Some(json!({ "text": "Grüße" })));
    assert_eq!(
        (made.status, made.json().expect("JSON")),
        (201, json!({ "id": 1, "text": "Grüße" }))
    );
    send(&server, "POST", "/notes", Some(json!({ "text": "two" })));
    let one = send(&server, "GET", "/notes/2", None);
    assert_eq!(
        (one.status, one.json().expect("JSON")),
        (200, json!({ "id": 2, "text": "two" })),
        "Hono's router took the path apart"
    );
    assert_eq!(
        send(&server, "GET", "/notes/3", None).status,
        404,
        "the app's own 404"
    );
    assert_eq!(
        send(&server, "GET", "/nowhere", None).text(),
        "404 Not Found",
        "Hono's 404"
    );
    let broken = server
        .send(&Request::new("POST", "/notes").body("{"))
        .expect("an answer");
    assert_eq!(
        broken.status,
        500,
        "the app's error handler: {}",
        broken.text()
    );
    server.kill9();
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    let all = send(&server, "GET", "/notes", None);
    assert_eq!(
        all.json().expect("JSON"),
        json!([{ "id": 1, "text": "Grüße" }, { "id": 2, "text": "two" }]),
        "after kill -9"
    );
    assert_eq!(all.header("x-notes"), Some("2"));
}
