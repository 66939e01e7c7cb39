//! Real packages from npm, installed now, unmodified: Hono and drizzle-orm as the code of facets, Cap'n Web between Node and a
//! Durable Object. See the folders in npm/. What drizzle-orm and Cap'n Web are expected to answer is what workerd made them
//! answer, with the same projects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{run, tool};
use crate::harness::{Request, Response, Server};

const PREPARE_MAX: Duration = Duration::from_secs(180);

/// Makes the project of `npm/NAME` below `folder`, with esbuild. Returns where it is.
fn bundled(name: &str, folder: &Path) -> PathBuf {
    let _npm = tool("npm", "npm, which comes with Node"); // bundle.mjs calls it
    let npm = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    let prepared = run(
        tool("node", "Node 20 or newer")
            .arg(npm.join("bundle.mjs"))
            .arg(npm.join(name))
            .arg(folder),
        PREPARE_MAX,
    );
    assert_eq!(prepared.code, Some(0), "{}", prepared.both());
    PathBuf::from(prepared.stdout.trim())
}

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
        PREPARE_MAX,
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

#[test]
fn drizzle_orm_from_npm_keeps_its_tables_in_a_facet() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let project = bundled("drizzle_facet", folder.path());
    let mut server = Server::of(&project)
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let step = |server: &Server, name: &str| {
        let answer = send(server, "GET", &format!("/{name}"), None);
        assert_eq!(answer.status, 200, "{name}\n{}", server.stderr());
        answer.json().expect("JSON")
    };
    assert_eq!(
        step(&server, "fill"),
        json!([
            [1, "Ursula", 1_700_000_000_000_u64, { "born": 1929, "tags": ["a", "b"] }],
            [2, "Stanisław", null, null],
            [3, "Octavia", null, null]
        ])
    );
    assert_eq!(
        step(&server, "select"),
        json!({
            "all": [
                { "name": "Ursula", "title": "Dispossessed" },
                { "name": "Ursula", "title": "Left Hand" },
                { "name": "Stanisław", "title": "Solaris" },
                { "name": "Octavia", "title": "Kindred" }
            ],
            "left": [["Ursula", "Dispossessed"], ["Stanisław", null], ["Octavia", null]],
            "counts": [
                { "name": "Ursula", "books": 2 },
                { "name": "Stanisław", "books": 1 },
                { "name": "Octavia", "books": 1 }
            ],
            "one": { "title": "Solaris" },
            "none": null,
            "values": [["Solaris", 1961], ["Left Hand", 1969], ["Dispossessed", 1974]],
            "relational": [
                { "name": "Ursula", "books": [{ "title": "Left Hand" }, { "title": "Dispossessed" }] },
                { "name": "Stanisław", "books": [{ "title": "Solaris" }] },
                { "name": "Octavia", "books": [{ "title": "Kindred" }] }
            ],
            "prepared": [{ "title": "Dispossessed" }]
        })
    );
    assert_eq!(
        step(&server, "change"),
        json!({
            "updated": [{ "title": "Solaris", "year": 1962 }, { "title": "Kindred", "year": 1901 }],
            "upserted": [{ "id": 1, "extra": [2] }],
            "ignored": [],
            "cover": [1, 2, 255],
            "refused": "UNIQUE constraint failed: authors.name: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
        })
    );
    assert_eq!(
        step(&server, "transactions"),
        json!({
            "kept": 4,
            "thrown": ["RangeError", "on purpose"],
            "names": ["In", "Octavia", "Stanisław", "Ursula"],
            "books": 4
        })
    );
    let titles = json!([
        "Left Hand",
        "Dispossessed",
        "Solaris",
        "Kindred",
        1969,
        1974,
        1962,
        1901
    ]);
    assert_eq!(step(&server, "iterate"), titles);
    server.kill9();
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(step(&server, "iterate"), titles, "after kill -9");
    assert_eq!(
        step(&server, "remove"),
        json!({
            "books": [{ "title": "Solaris" }, { "title": "Kindred" }],
            "migrations": [[1_760_000_000_000_u64], [1_760_000_100_000_u64]]
        }),
        "the migrations ran once, and the books went with their author"
    );
}

#[test]
fn capnweb_from_npm_talks_between_node_and_an_object() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let project = bundled("capnweb", folder.path());
    let server = Server::of(&project)
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let client = run(
        tool("node", "Node 20 or newer")
            .arg(project.join("client.mjs"))
            .arg(server.url("/")),
        Duration::from_secs(60),
    );
    assert_eq!(
        client.code,
        Some(0),
        "{}\n{}",
        client.both(),
        server.stderr()
    );
    let heard: Value = serde_json::from_str(client.stdout.trim()).expect("JSON");
    assert_eq!(
        heard,
        json!({
            "isSame": true,
            "greet": "Hello, socket!",
            "values": [0, "1180591620717411303424", [1, 255], [[1], null, "ü"], ["TypeError", "carried"], ["nothing"]],
            "pipelined": "first",
            "noteId": 2,
            "callback": [10, 20, 30],
            "mapped": ["first", "second"],
            "told": [[1], [2], ["a", "b"]],
            "failed": ["RangeError", "too far"],
            "missing": "TypeError",
            "builtIn": 5,
            "across": 7,
            "callbackFails": ["SyntaxError", "mine"],
            "disposedBefore": true,
            "batch": {
                "greeting": "Hello, batch!",
                "text": "third",
                "ids": [1, 2, 3],
                "mapped": ["first", "second", "third"],
                "failed": ["RangeError", "in a batch"]
            }
        })
    );
}
