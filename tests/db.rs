//! `facetd db`, beside a running server and without one: what it shows, changes and refuses, and what is left
//! when it is killed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::{Ended, facetd, files_below, open_files, rss_mib, run, status_of};
use crate::harness::{Project, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(120);
const NAMESPACE: &str = "shop-Supervisor";

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
class Notes extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text, data)");
    this.started = crypto.randomUUID();
  }
  add(text) { this.ctx.storage.sql.exec("INSERT INTO notes (text, data) VALUES (?, ?)", text, new Uint8Array([0, 255])); return this.list(); }
  list() { return this.ctx.storage.sql.exec("SELECT text FROM notes ORDER BY id").toArray().map((row) => row.text); }
  fill(rows) { for (let n = 0; n < rows; n++) this.ctx.storage.sql.exec("INSERT INTO notes (text) VALUES (?)", "x".repeat(1000)); return this.list().length; }
  life() { return this.started; }
  loop() { this.add("never committed"); for (;;); }
  delete(name) { this.ctx.facets.delete(name); return null; }
}
const LOADED = `import { DurableObject } from "cloudflare:workers"; ${Notes};
export class App extends Notes {
  inner(method, argument) { return this.ctx.facets.get("inner", () => ({ class: this.ctx.exports.Notes })) [method](argument); }
}
export { Notes };`;
export class Supervisor extends Notes {
  facet(name, method, argument) {
    const worker = () => this.env.LOADER.get("app", () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": LOADED }, globalOutbound: null }));
    return this.ctx.facets.get(name, () => ({ class: worker().getDurableObjectClass("App") }))[method](argument);
  }
  async nested(name, argument) {
    const worker = () => this.env.LOADER.get("app", () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": LOADED }, globalOutbound: null }));
    return this.ctx.facets.get(name, () => ({ class: worker().getDurableObjectClass("App") })).inner("add", argument);
  }
}
export default {
  async fetch(request, env) {
    const [, object, method, ...rest] = new URL(request.url).pathname.split("/").map(decodeURIComponent);
    return Response.json(await env.SUPERVISOR.getByName(object)[method](...rest));
  },
};
"#;

const CONFIG: &str = r#"{ "name": "shop", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
    "durable_objects": { "bindings": [{ "name": "SUPERVISOR", "class_name": "Supervisor" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Supervisor"] }] }"#;

fn project() -> Project {
    Project::of(&[("wrangler.jsonc", CONFIG), ("worker.js", WORKER)])
}

fn serve(project: &Project, data: &Path) -> Server {
    Server::of(project.path())
        .data(data)
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("facetd-db-")
        .tempdir()
        .expect("a temporary folder can be made")
}

/// `facetd db ...`, whatever comes of it.
fn try_db(data: &Path, args: &[&str]) -> Ended {
    run(facetd(["db"]).args(args).arg("--data").arg(data), SOON)
}

#[track_caller]
fn db(data: &Path, args: &[&str]) -> String {
    let ended = try_db(data, args);
    assert_eq!(ended.code, Some(0), "db {args:?}\n{}", ended.both());
    ended.stdout
}

/// It ends with this code, and its message has these words.
#[track_caller]
fn refused(data: &Path, args: &[&str], code: i32, words: &[&str]) {
    let ended = try_db(data, args);
    assert_eq!(ended.code, Some(code), "db {args:?}\n{}", ended.both());
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "db {args:?} should say {word:?}:\n{}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[track_caller]
fn ask(server: &Server, path: &str) -> Value {
    server.get_json(path)
}

/// The rows of the only statement.
#[track_caller]
fn rows(data: &Path, database: &str, sql: &str) -> Value {
    let text = db(data, &["query", database, sql, "--json"]);
    let all: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    all[0]["rows"].clone()
}

fn root(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Two objects, one with a facet that has a facet.
fn fill(server: &Server) {
    ask(server, "/one/add/in%20one");
    ask(server, "/two/add/in%20two");
    ask(server, "/one/facet/app/add/in%20the%20facet");
    ask(server, "/one/nested/app/in%20the%20inner%20facet");
}

fn names(listing: &Value) -> Value {
    let object =
        |object: &Value| json!({ "id": object["id"], "facets": facets(&object["facets"]) });
    fn facets(list: &Value) -> Vec<Value> {
        let facet = |facet: &Value| json!([facet["name"], facets(&facet["facets"])]);
        list.as_array().into_iter().flatten().map(facet).collect()
    }
    let namespace = &listing["namespaces"][0];
    json!({ "namespace": namespace["namespace"], "objects": namespace["objects"].as_array().into_iter().flatten().map(object).collect::<Vec<_>>() })
}

#[test]
fn everything_is_listed_and_read_beside_a_server_and_without() {
    let (project, data) = (project(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    let listed = || serde_json::from_str(&db(data.path(), &["ls", "--json"])).expect("JSON");
    let live: Value = listed();
    let objects = live["namespaces"][0]["objects"]
        .as_array()
        .expect("objects");
    assert_eq!(objects.len(), 2);
    assert!(
        objects
            .iter()
            .all(|object| object["bytes"].as_u64() > Some(0)
                && object["changedMs"].as_u64() > Some(0))
    );
    let with_facets = objects
        .iter()
        .find(|object| object["facets"][0]["name"] == "app")
        .expect("the facet by its name");
    assert_eq!(
        with_facets["facets"][0]["facets"][0]["name"], "inner",
        "and the one below it"
    );
    let table = db(data.path(), &["ls", &root("one")]);
    assert!(
        table.contains("\n    app ") && table.contains("\n      inner "),
        "{table}"
    );

    let check = || {
        let address = |facets: &str| format!("{NAMESPACE}/one{facets}");
        assert_eq!(
            rows(data.path(), &address(""), "SELECT text FROM notes"),
            json!([["in one"]])
        );
        assert_eq!(
            rows(data.path(), &address("/app"), "SELECT text FROM notes"),
            json!([["in the facet"]])
        );
        assert_eq!(
            rows(
                data.path(),
                &address("/app/inner"),
                "SELECT text FROM notes"
            ),
            json!([["in the inner facet"]])
        );
        let id = with_facets["id"].as_str().expect("an id");
        assert_eq!(
            rows(data.path(), &root(id), "SELECT text FROM notes"),
            json!([["in one"]]),
            "by id"
        );
        assert_eq!(
            rows(data.path(), &root("name:two"), "SELECT text FROM notes"),
            json!([["in two"]]),
            "by name"
        );
        let shown = db(
            data.path(),
            &[
                "query",
                &root("one"),
                "SELECT id, NULL AS none, data FROM notes; SELECT 'second'",
            ],
        );
        assert_eq!(
            shown,
            "id  none  data\n--  ----  -------\n 1  NULL  x'00ff'\n(1 row)\n'second'\n--------\nsecond\n(1 row)\n"
        );
    };
    check();
    assert_eq!(server.sigterm(), Some(0));
    let before = files_below(data.path(), "");
    check();
    assert_eq!(names(&listed()), names(&live), "the same without a server");
    let databases = |files: &[std::path::PathBuf]| {
        files
            .iter()
            .filter(|path| !text(path).contains("facetd.lock"))
            .count()
    };
    assert_eq!(
        databases(&files_below(data.path(), "")),
        databases(&before),
        "reading leaves nothing behind"
    );
}

#[test]
fn a_query_changes_nothing_unless_it_may() {
    let (project, data) = (project(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    let life = ask(&server, "/one/life");
    for sql in [
        "DELETE FROM notes",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM",
        "ATTACH 'x' AS y",
        "CREATE TABLE x(a)",
    ] {
        refused(data.path(), &["query", &root("one"), sql], 7, &["--write"]);
    }
    refused(
        data.path(),
        &["query", &root("one"), "SELECT nonsense"],
        7,
        &["no such column"],
    );
    refused(
        data.path(),
        &["query", &root("one"), "SELECT ?"],
        7,
        &["parameters"],
    );
    assert_eq!(
        ask(&server, "/one/life"),
        life,
        "the object was not disturbed"
    );

    for running in [true, false] {
        let sql = "INSERT INTO notes (text) VALUES ('from outside'); SELECT count(*) FROM notes; UPDATE notes SET text = upper(text)";
        let written: Value = serde_json::from_str(&db(
            data.path(),
            &["query", &root("one"), sql, "--write", "--json"],
        ))
        .expect("JSON");
        let count = if running { 2 } else { 3 };
        assert_eq!(written[1]["rows"], json!([[count]]), "{written}");
        assert_eq!(written[0]["written"], 1);
        refused(
            data.path(),
            &[
                "query",
                &root("one"),
                "DELETE FROM notes; nonsense",
                "--write",
            ],
            7,
            &["syntax error"],
        );
        refused(
            data.path(),
            &[
                "query",
                &root("one"),
                "DELETE FROM notes; COMMIT",
                "--write",
            ],
            7,
            &[],
        );
        if running {
            assert_eq!(
                ask(&server, "/one/list"),
                json!(["IN ONE", "FROM OUTSIDE"]),
                "the object sees it"
            );
            assert_ne!(ask(&server, "/one/life"), life, "for it has been reset");
            let facet = ask(&server, "/one/facet/app/life");
            db(
                data.path(),
                &["query", &root("one/app"), "DELETE FROM notes", "--write"],
            );
            assert_eq!(
                ask(&server, "/one/facet/app/list"),
                json!([]),
                "in a facet too"
            );
            assert_ne!(ask(&server, "/one/facet/app/life"), facet);
            assert_eq!(server.sigterm(), Some(0));
        }
    }
    assert_eq!(
        rows(data.path(), &root("one"), "SELECT count(*) FROM notes"),
        json!([[3]])
    );
}

#[test]
fn a_query_that_does_not_end_is_ended() {
    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let (project, data) = (project(), folder());
    let server = serve(&project, data.path());
    fill(&server);
    refused(
        data.path(),
        &["query", &root("one"), ENDLESS, "--timeout", "1"],
        7,
        &["--timeout"],
    );
    refused(
        data.path(),
        &[
            "query",
            &root("one"),
            "--write",
            &format!("INSERT INTO notes (id) {ENDLESS}"),
            "--timeout",
            "1",
        ],
        7,
        &["--timeout", "Nothing was changed"],
    );
    assert_eq!(ask(&server, "/one/list"), json!(["in one"]));
    // The client goes: the server's descriptors for the connection and the database come back.
    let before = open_files(server.pid());
    let mut client = facetd([
        "db",
        "query",
        &root("two"),
        ENDLESS,
        "--timeout",
        "3000",
        "--data",
    ])
    .arg(data.path())
    .stdout(Stdio::null())
    .spawn()
    .expect("facetd starts");
    wait_for("the query runs", SOON, || {
        open_files(server.pid()) > before + 1
    });
    client.kill().expect("our own child can be killed");
    client.wait().expect("our own child can be waited for");
    wait_for("the query has been stopped", SOON, || {
        open_files(server.pid()) <= before
    });
    assert_eq!(ask(&server, "/two/list"), json!(["in two"]));
}

#[test]
fn an_object_that_loops_is_stopped_for_a_change() {
    let (project, data) = (project(), folder());
    let server = serve(&project, data.path());
    fill(&server);
    let address = server.address();
    for (path, database) in [("/one/loop", "one"), ("/one/facet/app/loop", "one/app")] {
        let looping = thread::spawn(move || Request::get(path).send(address));
        // Its isolate is busy from the moment it no longer answers.
        let busy = path.replace("loop", "list");
        wait_for("it loops", SOON, || {
            Request::get(&busy)
                .send_within(address, Duration::from_millis(300))
                .is_err()
        });
        db(
            data.path(),
            &[
                "query",
                &root(database),
                "INSERT INTO notes (text) VALUES ('changed')",
                "--write",
            ],
        );
        assert_eq!(
            looping.join().expect("no panic").expect("an answer").status,
            500
        );
        let texts = rows(data.path(), &root(database), "SELECT text FROM notes");
        assert!(
            texts
                .as_array()
                .is_some_and(|rows| rows.len() == 2 && rows[1] == json!(["changed"])),
            "{texts}"
        );
        assert_eq!(
            ask(&server, &busy).as_array().map(Vec::len),
            Some(2),
            "and it goes on"
        );
    }
}

#[test]
fn sigterm_does_not_wait_for_a_query() {
    let (project, data) = (project(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    let before = open_files(server.pid());
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let query = thread::spawn({
        let data = data.path().to_path_buf();
        move || {
            try_db(
                &data,
                &["query", &root("one"), endless, "--timeout", "3000"],
            )
        }
    });
    wait_for("the query runs", SOON, || {
        open_files(server.pid()) > before + 1
    });
    assert_eq!(server.sigterm(), Some(0));
    let ended = query.join().expect("no panic");
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    assert!(ended.stderr.contains("facetd stops"), "{}", ended.stderr);
    assert!(db(data.path(), &["verify"]).contains("all sound"));
}

#[test]
fn reading_an_idle_object_leaves_no_log_beside_it() {
    let (project, data) = (project(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    server.restart().unwrap_or_else(|error| panic!("{error}"));
    let before = files_below(&data.path().join("do"), "");
    assert_eq!(
        rows(data.path(), &root("one"), "SELECT text FROM notes"),
        json!([["in one"]])
    );
    db(data.path(), &["verify"]);
    db(data.path(), &["export", &root("one/app"), "-", "--sql"]);
    assert_eq!(files_below(&data.path().join("do"), ""), before);
    ask(&server, "/one/add/x");
}

#[test]
fn a_large_result_does_not_fill_the_memory_of_the_server() {
    let (project, data) = (project(), folder());
    let server = serve(&project, data.path());
    fill(&server);
    let before = rss_mib(server.pid());
    let views = "CREATE VIEW many AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 600000) SELECT hex(zeroblob(300)) || i AS x FROM n;
        CREATE VIEW wide AS SELECT zeroblob(15000000) AS a, zeroblob(15000000) AS b, zeroblob(15000000) AS c;
        CREATE VIEW large AS SELECT zeroblob(15000000) AS a FROM json_each('[' || rtrim(replace(hex(zeroblob(20)), '0', '0,'), ',') || ']');
        CREATE VIEW huge AS SELECT zeroblob(17000000) AS a";
    db(data.path(), &["query", &root("one"), views, "--write"]);
    assert_eq!(
        rows(
            data.path(),
            &root("one"),
            "SELECT count(DISTINCT x) FROM many"
        ),
        json!([[600_000]])
    );
    refused(
        data.path(),
        &["query", &root("one"), "SELECT * FROM wide"],
        7,
        &["larger than 32 MiB"],
    );
    refused(
        data.path(),
        &["query", &root("one"), "SELECT * FROM huge"],
        7,
        &["too big"],
    );
    let shown = db(data.path(), &["query", &root("one"), "SELECT * FROM large"]);
    assert!(shown.ends_with("(40 rows)\n"), "{shown}");
    let peak = status_of(server.pid(), "VmHWM") / 1024;
    assert!(
        peak < before + 300,
        "from {before} MiB to {peak} MiB: 360 MiB were set apart, 1200 MiB sent"
    );
}

#[test]
fn a_database_goes_out_and_comes_back() {
    let (project, data, files) = (project(), folder(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    let (plain, dump) = (
        files.path().join("one.sqlite"),
        files.path().join("one.sql"),
    );
    for running in [true, false] {
        for (file, extra) in [(&plain, None), (&dump, Some("--sql"))] {
            let with =
                |args: &[&'static str]| args.iter().copied().chain(extra).collect::<Vec<_>>();
            let _left = fs::remove_file(file);
            db(
                data.path(),
                &[&["export", &root("one"), text(file)], &with(&[])[..]].concat(),
            );
            refused(
                data.path(),
                &[&["export", &root("one"), text(file)], &with(&[])[..]].concat(),
                7,
                &["--force"],
            );
            db(
                data.path(),
                &[
                    &["export", &root("one"), text(file)],
                    &with(&["--force"])[..],
                ]
                .concat(),
            );
            // Over another object, a new one, and a new facet.
            refused(
                data.path(),
                &[&["import", &root("two"), text(file)], &with(&[])[..]].concat(),
                7,
                &["--force"],
            );
            db(
                data.path(),
                &[
                    &["import", &root("two"), text(file)],
                    &with(&["--force"])[..],
                ]
                .concat(),
            );
            let new = format!("{running}{}", extra.unwrap_or_default());
            db(
                data.path(),
                &[&["import", &root(&new), text(file)], &with(&[])[..]].concat(),
            );
            db(
                data.path(),
                &[
                    &["import", &root(&format!("{new}/app/inner")), text(file)],
                    &with(&[])[..],
                ]
                .concat(),
            );
            for object in ["two".to_owned(), new.clone(), format!("{new}/app/inner")] {
                assert_eq!(
                    rows(data.path(), &root(&object), "SELECT text, data FROM notes"),
                    json!([["in one", { "blob": "00ff" }]]),
                    "{object}"
                );
            }
            if running {
                assert_eq!(
                    ask(&server, "/two/list"),
                    json!(["in one"]),
                    "the object has it"
                );
                assert_eq!(
                    ask(&server, &format!("/{new}/list")),
                    json!(["in one"]),
                    "the new one is reachable"
                );
                ask(&server, "/two/add/more");
                assert_eq!(
                    ask(&server, &format!("/{new}/nested/app/more")),
                    json!(["in one", "more"]),
                    "so is the new facet's facet"
                );
            }
        }
        let header = fs::read(&plain).expect("the export");
        assert_eq!(&header[18..20], [1, 1], "a plain file, not in WAL mode");
        if running {
            assert_eq!(server.sigterm(), Some(0));
        }
    }
    assert!(
        files_below(files.path(), "").len() == 2,
        "nothing is left over"
    );
    let out = db(data.path(), &["export", &root("one"), "-", "--sql"]);
    assert!(
        out.contains("INSERT INTO \"notes\"") && out.trim_end().ends_with("COMMIT;"),
        "{out}"
    );
    assert!(db(data.path(), &["verify"]).contains("all sound"));
}

#[test]
fn what_cannot_be_imported_leaves_everything_as_it_was() {
    let (project, data, files) = (project(), folder(), folder());
    let server = serve(&project, data.path());
    fill(&server);
    let write = |name: &str, bytes: &[u8]| {
        let path = files.path().join(name);
        fs::write(&path, bytes).expect("files can be written");
        path
    };
    let plain = files.path().join("good");
    ask(&server, "/two/fill/100");
    db(data.path(), &["export", &root("two"), text(&plain)]);
    let mut damaged = fs::read(&plain).expect("the export");
    damaged[4096 * 4..4096 * 5].fill(0xa5);
    for (path, words) in [
        (write("text", b"CREATE TABLE x(a);"), "--sql"),
        (write("empty", b""), "empty"),
        (write("zeros", &[0; 9000]), "some other kind of file"),
        (
            write("half", &damaged[..9000]),
            "not a sound SQLite database",
        ),
        (write("damaged", &damaged), "not a sound SQLite database"),
        (files.path().join("absent"), "absent"),
        (files.path().to_path_buf(), "facetd-db-"),
    ] {
        let ended = try_db(
            data.path(),
            &["import", &root("two"), text(&path), "--force"],
        );
        assert!(
            matches!(ended.code, Some(1 | 7)) && ended.stderr.contains(words),
            "{}: {}",
            path.display(),
            ended.both()
        );
    }
    refused(
        data.path(),
        &[
            "import",
            &root("two"),
            text(&write("cut", b"BEGIN; CREATE TABLE x(a);")),
            "--sql",
            "--force",
        ],
        7,
        &["not whole"],
    );
    refused(
        data.path(),
        &["import", &root(&"0".repeat(64)), text(&plain)],
        7,
        &["not an id of namespace"],
    );
    refused(
        data.path(),
        &["import", "other/x", text(&plain)],
        7,
        &["there is no namespace other", NAMESPACE],
    );
    assert_eq!(
        ask(&server, "/two/list").as_array().map(Vec::len),
        Some(101)
    );
}

#[test]
fn addresses_that_lead_nowhere_are_explained() {
    let (project, data) = (project(), folder());
    let server = serve(&project, data.path());
    fill(&server);
    for (database, code, words) in [
        ("nonsense", 2, "NAMESPACE/OBJECT"),
        ("shop-Supervisor/one/", 2, "empty part"),
        ("shop-Super/one", 7, "there is no namespace"),
        ("..%2Fx/one", 7, "there is no namespace"),
        ("shop-Supervisor/three", 7, "no object named \"three\""),
        ("shop-Supervisor/..%2F..%2Fetc", 7, "no object named"),
        ("shop-Supervisor/one/nobody", 7, "no facet \"nobody\""),
        ("shop-Supervisor/one/app/..", 7, "no facet"),
    ] {
        refused(
            data.path(),
            &["query", database, "SELECT 1"],
            code,
            &[words],
        );
    }
    let foreign = "0".repeat(64);
    refused(
        data.path(),
        &["query", &root(&foreign), "SELECT 1"],
        7,
        &["no object"],
    );
    ask(&server, "/one/delete/app");
    refused(
        data.path(),
        &["query", &root("one/app"), "SELECT 1"],
        7,
        &["has no database"],
    );
    assert!(
        !db(data.path(), &["ls"]).contains("app"),
        "what is deleted is not listed"
    );
    refused(
        &data.path().join("absent"),
        &["ls"],
        6,
        &["there is no data directory", "--data"],
    );
    assert!(!data.path().join("absent").exists());
}

#[test]
fn a_backup_under_load_restores_to_what_was_written() {
    let (project, data, to, new) = (project(), folder(), folder(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    // Not a number of rows but a chain: whatever moment was copied, it has no gap.
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let backup = to.path().join("backup");
    thread::scope(|scope| {
        for writer in 0..2 {
            let (server, stop, written) = (&server, &stop, &written);
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    ask(server, &format!("/busy{writer}/add/{n}"));
                    ask(server, &format!("/busy{writer}/facet/app/add/{n}"));
                    n += 1;
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            let before = written.load(Ordering::Relaxed);
            wait_for("writes happen", SOON, || {
                written.load(Ordering::Relaxed) > before + 2
            });
            let ended = try_db(data.path(), &["backup", text(&backup)]);
            if ended.code != Some(0) {
                stop.store(true, Ordering::Relaxed);
                panic!("{}", ended.both());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.sigterm(), Some(0));
    assert!(db(data.path(), &["verify", text(&backup)]).contains("all sound"));
    let restored = new.path().join("data");
    db(&restored, &["restore", text(&backup)]);
    assert!(db(&restored, &["verify"]).contains("all sound"));
    for database in ["busy0", "busy1", "busy0/app", "busy1/app"] {
        let texts = rows(
            &restored,
            &root(database),
            "SELECT CAST(text AS INTEGER) FROM notes ORDER BY id",
        );
        let texts = texts.as_array().expect("rows");
        assert!(!texts.is_empty());
        for (expected, found) in texts.iter().enumerate() {
            assert_eq!(*found, json!([expected]), "{database}");
        }
    }
    let server = serve(&project, &restored);
    assert_eq!(
        ask(&server, "/one/facet/app/list"),
        json!(["in the facet"]),
        "and it serves"
    );
    assert_eq!(
        ask(&server, "/one/nested/app/x"),
        json!(["in the inner facet", "x"])
    );
}

#[test]
fn a_second_backup_copies_what_changed() {
    let (project, data, to, new) = (project(), folder(), folder(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    let backup = to.path().join("b");
    let first = db(data.path(), &["backup", text(&backup)]);
    // Two objects, two facets, an index, the migrations.
    assert!(
        first.contains("backup of 6 files") && first.contains("6 copied"),
        "{first}"
    );
    let stored = |backup: &Path| files_below(&backup.join("files"), "");
    let times = |files: &[std::path::PathBuf]| {
        files
            .iter()
            .map(|path| {
                fs::metadata(path)
                    .and_then(|m| m.modified())
                    .expect("a time")
            })
            .collect::<Vec<_>>()
    };
    let (files, before) = (stored(&backup), times(&stored(&backup)));
    let again = db(data.path(), &["backup", text(&backup)]);
    assert!(
        again.contains("0 copied") && again.contains("6 unchanged"),
        "{again}"
    );
    assert_eq!(
        (stored(&backup), times(&stored(&backup))),
        (files.clone(), before),
        "not one file was touched"
    );
    wait_for(
        "the last change is long enough ago to go by size and time",
        SOON,
        || db(data.path(), &["backup", text(&backup)]).contains("6 unchanged (6 by size and time)"),
    );
    ask(&server, "/two/add/more");
    let changed = db(data.path(), &["backup", text(&backup)]);
    assert!(
        changed.contains("1 copied") && changed.contains("5 unchanged"),
        "{changed}"
    );
    assert_eq!(
        stored(&backup).len(),
        files.len(),
        "what nobody needs is removed"
    );
    // What moves from the log into the file is no change.
    assert_eq!(server.sigterm(), Some(0));
    let offline = db(data.path(), &["backup", text(&backup)]);
    assert!(
        offline.contains("0 copied") && offline.contains("6 unchanged"),
        "{offline}"
    );

    let restored = new.path().join("data");
    db(&restored, &["restore", text(&backup)]);
    refused(
        &restored,
        &["restore", text(&backup)],
        7,
        &["is not empty", "--force"],
    );
    db(&restored, &["restore", text(&backup), "--force"]);
    for database in ["one", "two", "one/app", "one/app/inner"] {
        let all = "SELECT * FROM notes ORDER BY id";
        assert_eq!(
            rows(&restored, &root(database), all),
            rows(data.path(), &root(database), all),
            "{database}"
        );
    }
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(backup.join("manifest.json")).expect("there"))
            .expect("JSON");
    assert_eq!(manifest["files"].as_array().map(Vec::len), Some(6));
}

#[test]
fn one_object_is_restored_while_the_others_go_on() {
    let (project, data, to) = (project(), folder(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    let backup = to.path().join("b");
    db(data.path(), &["backup", text(&backup)]);
    for running in [true, false] {
        if running {
            ask(&server, "/one/add/later");
            ask(&server, "/one/facet/app/add/later");
            ask(&server, "/one/facet/young/add/later");
            ask(&server, "/two/add/later");
        }
        let life = running.then(|| ask(&server, "/two/life"));
        refused(
            data.path(),
            &["restore", text(&backup), "--only", &root("one")],
            7,
            &["--force"],
        );
        refused(
            data.path(),
            &["restore", text(&backup), "--only", &root("none"), "--force"],
            7,
            &["the backup has no object"],
        );
        refused(
            data.path(),
            &[
                "restore",
                text(&backup),
                "--only",
                &root("one/app"),
                "--force",
            ],
            2,
            &["whole object"],
        );
        if running {
            refused(
                data.path(),
                &["restore", text(&backup), "--force"],
                6,
                &["while no facetd runs", "--only"],
            );
        }
        db(
            data.path(),
            &["restore", text(&backup), "--only", &root("one"), "--force"],
        );
        let all = "SELECT text FROM notes ORDER BY id";
        assert_eq!(rows(data.path(), &root("one"), all), json!([["in one"]]));
        assert_eq!(
            rows(data.path(), &root("one/app"), all),
            json!([["in the facet"]])
        );
        refused(
            data.path(),
            &["query", &root("one/young"), all],
            7,
            &["no facet"],
        );
        assert_eq!(
            rows(data.path(), &root("two"), all),
            json!([["in two"], ["later"]]),
            "not asked for"
        );
        if running {
            assert_eq!(
                ask(&server, "/one/list"),
                json!(["in one"]),
                "the object has it"
            );
            assert_eq!(
                ask(&server, "/one/facet/young/list"),
                json!([]),
                "a facet made after the backup is gone"
            );
            assert_eq!(ask(&server, "/one/facet/app/list"), json!(["in the facet"]));
            assert_eq!(
                Some(ask(&server, "/two/life")),
                life,
                "its neighbour noticed nothing"
            );
            assert_eq!(server.sigterm(), Some(0));
        }
    }
    assert!(db(data.path(), &["verify"]).contains("all sound"));
}

#[test]
fn an_object_that_is_restored_while_it_works_stays_of_one_piece() {
    let (project, data, to) = (project(), folder(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    let backup = to.path().join("b");
    db(data.path(), &["backup", text(&backup)]);
    let (address, stop, made) = (server.address(), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                // New facets all the time, under new names; being reset is no answer to worry about.
                while !stop.load(Ordering::Relaxed) {
                    let name = made.load(Ordering::Relaxed);
                    let answer = Request::get(&format!("/one/facet/f{name}/add/x")).send(address);
                    if answer.is_ok_and(|answer| answer.status == 200) {
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..8 {
            let before = made.load(Ordering::Relaxed);
            wait_for("facets are made", SOON, || {
                made.load(Ordering::Relaxed) > before + 2
            });
            let ended = try_db(
                data.path(),
                &["restore", text(&backup), "--only", &root("one"), "--force"],
            );
            if ended.code != Some(0) {
                stop.store(true, Ordering::Relaxed);
                panic!("{}", ended.both());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(ask(&server, "/one/facet/app/list"), json!(["in the facet"]));
    assert_eq!(server.sigterm(), Some(0));
    let ended = try_db(data.path(), &["verify"]);
    assert_eq!(
        ended.code,
        Some(0),
        "every facet has its name: {}",
        ended.both()
    );
}

#[test]
fn verify_finds_what_is_wrong_and_says_what_to_do() {
    let (project, data, to) = (project(), folder(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    ask(&server, "/two/fill/300");
    assert!(
        db(data.path(), &["verify"]).contains("all sound"),
        "beside a server"
    );
    assert_eq!(server.sigterm(), Some(0));
    let backup = to.path().join("b");
    db(data.path(), &["backup", text(&backup)]);
    let problems = |args: &[&str]| {
        let ended = try_db(data.path(), args);
        assert_eq!(ended.code, Some(8), "{}", ended.both());
        ended.stdout
    };
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).expect("the file");
        let at = bytes.len() / 2 / 4096 * 4096;
        bytes[at..at + 4096].fill(0xa5);
        fs::write(path, bytes).expect("files can be written");
    };
    let databases = files_below(&data.path().join("do"), ".sqlite");
    let largest = |files: &[std::path::PathBuf]| {
        files
            .iter()
            .max_by_key(|path| fs::metadata(path).map_or(0, |m| m.len()))
            .cloned()
            .expect("a file")
    };
    let two = largest(&databases);
    damage(&two);
    let found = problems(&["verify"]);
    assert!(
        found.contains(text(two.strip_prefix(data.path()).expect("below")))
            && found.contains("facetd db restore"),
        "{found}"
    );

    let namespace = two.parent().expect("a folder");
    let index = files_below(namespace, ".facets").remove(0);
    let id = text(&index)
        .rsplit('/')
        .next()
        .expect("a name")
        .trim_end_matches(".facets")
        .to_owned();
    for (name, bytes) in [("notes.txt", &b"x"[..]), ("x.sqlite.copying", b"x")] {
        fs::write(namespace.join(name), bytes).expect("files can be written");
    }
    fs::write(
        namespace.join(format!("{}.sqlite-wal", "e".repeat(64))),
        b"x",
    )
    .expect("files can be written");
    fs::copy(
        namespace.join(format!("{id}.1.sqlite")),
        namespace.join(format!("{id}.77.sqlite")),
    )
    .expect("files can be copied");
    let mut entries = fs::OpenOptions::new()
        .append(true)
        .open(&index)
        .expect("the index");
    entries
        .write_all(&[0, 0, 200, 0, b'x'])
        .expect("files can be written");
    fs::write(data.path().join("migrations.json"), "{").expect("files can be written");
    let found = problems(&["verify"]);
    for words in [
        "notes.txt",
        ".copying: is a copy that was never finished",
        "-wal: belongs to a database that is not there",
        "77.sqlite: is the database of a facet that the index does not name",
        "its last 5 bytes are no entry",
        "migrations.json: ",
    ] {
        assert!(found.contains(words), "{words}\n{found}");
    }
    assert!(found.ends_with("7 problems\n"), "each once: {found}");

    // The backup was made before, and brings everything back.
    assert!(db(data.path(), &["verify", text(&backup)]).contains("all sound"));
    refused(data.path(), &["restore", text(&backup)], 7, &["--force"]);
    db(data.path(), &["restore", text(&backup), "--force"]);
    assert!(db(data.path(), &["verify"]).contains("all sound"));
    // Until a page of it goes bad as well.
    damage(&largest(&files_below(&backup.join("files"), "")));
    fs::write(backup.join("files/arriving"), b"half").expect("files can be written");
    let found = problems(&["verify", text(&backup)]);
    assert!(
        found.contains("checksum")
            && found.contains("broke off")
            && found.ends_with("2 problems\n"),
        "{found}"
    );
    refused(
        data.path(),
        &["restore", text(&backup), "--force"],
        7,
        &["the backup is damaged", "nothing was restored"],
    );
    refused(
        data.path(),
        &["restore", text(&backup), "--only", &root("two"), "--force"],
        7,
        &["the backup is damaged", "nothing was restored"],
    );
    assert!(
        db(data.path(), &["verify"]).contains("all sound"),
        "the data is as it was"
    );
}

#[test]
fn a_damaged_object_is_restored_beside_a_server() {
    let (project, data, to) = (project(), folder(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    assert_eq!(server.sigterm(), Some(0));
    let backup = to.path().join("b");
    db(data.path(), &["backup", text(&backup)]);
    for path in files_below(&data.path().join("do"), ".sqlite") {
        fs::write(path, [0xa5; 8192]).expect("files can be written");
    }
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(server.get("/one/list").status, 200, "it cannot be opened");
    refused(
        data.path(),
        &["query", &root("one"), "SELECT 1 FROM notes"],
        7,
        &["not a SQLite database", "facetd db verify"],
    );
    db(
        data.path(),
        &["restore", text(&backup), "--only", &root("one"), "--force"],
    );
    assert_eq!(ask(&server, "/one/list"), json!(["in one"]));
    assert_eq!(ask(&server, "/one/facet/app/list"), json!(["in the facet"]));
    assert_ne!(server.get("/two/list").status, 200);
}

#[test]
fn kill_9_during_a_backup_leaves_the_one_before_it_whole() {
    let (project, data, to, new) = (project(), folder(), folder(), folder());
    let server = serve(&project, data.path());
    for object in 0..40 {
        ask(&server, &format!("/{object}/fill/200"));
    }
    let backup = to.path().join("b");
    let start = || {
        facetd(["db", "backup", text(&backup), "--data"])
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("facetd starts")
    };
    /// Ends it once it has said that a part is done; false if it was faster.
    fn kill_half_way(mut child: std::process::Child) -> bool {
        let mut line = String::new();
        let stderr = child.stderr.take().expect("piped");
        BufReader::new(stderr).read_line(&mut line).expect("a line");
        assert!(line.starts_with("backup: "), "{line}");
        child.kill().expect("our own child can be killed");
        child
            .wait()
            .expect("our own child can be waited for")
            .code()
            .is_none()
    }
    assert!(kill_half_way(start()), "it was killed in the middle");
    refused(
        data.path(),
        &["verify", text(&backup)],
        7,
        &["no whole backup", "manifest.json"],
    );
    refused(
        &new.path().join("a"),
        &["restore", text(&backup)],
        7,
        &["no whole backup"],
    );
    assert!(!new.path().join("a/do").exists());
    db(data.path(), &["backup", text(&backup)]);
    for object in 0..40 {
        ask(&server, &format!("/{object}/fill/10"));
    }
    assert!(kill_half_way(start()), "so was the second");
    let restored = new.path().join("b");
    db(&restored, &["restore", text(&backup)]);
    for object in [0, 20, 39] {
        assert_eq!(
            rows(
                &restored,
                &root(&object.to_string()),
                "SELECT count(*) FROM notes"
            ),
            json!([[200]]),
            "the first backup"
        );
    }
    db(data.path(), &["backup", text(&backup)]);
    assert!(
        db(data.path(), &["verify", text(&backup)]).contains("all sound"),
        "and what it left is gone"
    );
    db(&restored, &["restore", text(&backup), "--force"]);
    assert_eq!(
        rows(&restored, &root("39"), "SELECT count(*) FROM notes"),
        json!([[210]])
    );
    drop(server);
}

#[test]
fn kill_9_during_an_import_leaves_old_or_new() {
    let (project, data, files) = (project(), folder(), folder());
    let mut server = serve(&project, data.path());
    ask(&server, "/big/fill/3000");
    fill(&server);
    let big = files.path().join("big.sqlite");
    db(data.path(), &["export", &root("big"), text(&big)]);
    let staging = data.path().join(".facetd-admin");
    for round in 0..6 {
        let to_server = round % 2 == 0;
        if to_server && round > 0 {
            server
                .start_again()
                .unwrap_or_else(|error| panic!("{error}"));
        }
        let mut client = facetd([
            "db",
            "import",
            &root("two"),
            text(&big),
            "--force",
            "--data",
        ])
        .arg(data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("facetd starts");
        // Later each time: while the file is taken in, while it is checked, while it replaces the other.
        wait_for("the import has begun", SOON, || {
            let staged = files_below(&staging, ".copying").len();
            staged > round / 2 || client.try_wait().expect("our own child").is_some()
        });
        let _faster = client.kill();
        client.wait().expect("our own child can be waited for");
        if to_server {
            server.kill9();
        }
        assert!(
            db(data.path(), &["verify"]).contains("all sound"),
            "round {round}"
        );
        let found = rows(data.path(), &root("two"), "SELECT count(*) FROM notes");
        assert!(
            found == json!([[1]]) || found == json!([[3000]]),
            "round {round}: {found}"
        );
        assert!(!staging.exists(), "round {round}: nothing is left over");
        db(
            data.path(),
            &[
                "query",
                &root("two"),
                "DELETE FROM notes WHERE id > 1",
                "--write",
            ],
        );
    }
}

/// Says so many bytes to the socket and returns what it answers until it closes, or `lines` lines.
fn say(data: &Path, bytes: &[u8], lines: usize) -> Vec<String> {
    let mut stream = UnixStream::connect(data.join("facetd.sock")).expect("the socket is there");
    stream
        .set_read_timeout(Some(SOON))
        .expect("a timeout can be set");
    let _refused_meanwhile = stream.write_all(bytes);
    BufReader::new(stream)
        .lines()
        .take(lines)
        .map_while(Result::ok)
        .collect()
}

#[test]
fn the_socket_is_private_bounded_and_cleaned_up() {
    let (project, data) = (project(), folder());
    let socket = data.path().join("facetd.sock");
    // What a killed server leaves.
    drop(UnixListener::bind(&socket).expect("a socket can be made"));
    assert!(UnixStream::connect(&socket).is_err(), "nobody is there");
    let mut server = serve(&project, data.path());
    fill(&server);
    db(data.path(), &["ls"]);
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&data.path().join(".facetd-admin")), 0o700);

    let answer = |bytes: &[u8]| say(data.path(), bytes, 2).pop().expect("a line");
    assert!(answer(&vec![b'x'; 2 << 20]).contains("at most"));
    assert!(answer(b"hello\n").contains("not JSON"));
    assert!(answer(b"{\"protocol\":99,\"do\":\"list\"}\n").contains("version 99"));
    assert!(answer(b"{\"protocol\":1,\"do\":\"fetch\",\"file\":{\"kind\":\"index\",\"namespace\":\"..\",\"object\":\"x\"}}\n").contains("names no file"));
    assert!(answer(b"{\"protocol\":1,\"do\":\"import\",\"database\":{\"namespace\":\"shop-Supervisor\",\"object\":\"x\"},\"force\":true,\"bytes\":3}\nabc").contains("not a sound"));
    let before = open_files(server.pid());
    // Clients that say nothing, or only half of something, take the places; HTTP goes on, and so do we when they go.
    let half = b"{\"protocol\":1,\"do\":\"import\",\"database\":{\"namespace\":\"n\",\"object\":\"x\"},\"force\":true,\"bytes\":900}\nabc";
    let mut silent = Vec::new();
    // In several goes: clients before them may still be leaving.
    wait_for("all places are taken", SOON, || {
        for n in 0..40 {
            let mut stream = UnixStream::connect(&socket).expect("the socket is there");
            let _refused_meanwhile =
                stream.write_all(&half[..if n % 2 == 0 { half.len() } else { 20 }]);
            silent.push(stream);
        }
        let ended = try_db(data.path(), &["ls"]);
        ended.code == Some(7) && ended.stderr.contains("commands are at work")
    });
    assert_eq!(ask(&server, "/one/list"), json!(["in one"]));
    drop(silent);
    wait_for("their places are free", SOON, || {
        try_db(data.path(), &["ls"]).code == Some(0)
    });
    wait_for("their descriptors too", SOON, || {
        open_files(server.pid()) <= before
    });

    assert_eq!(server.sigterm(), Some(0));
    assert!(
        !socket.exists() && !data.path().join(".facetd-admin").exists(),
        "removed at exit"
    );
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    server.kill9();
    assert!(socket.exists(), "left by a kill");
    db(data.path(), &["ls"]);
}

#[test]
fn a_data_directory_with_a_long_path_has_a_socket() {
    let (project, outer) = (project(), folder());
    let data = outer.path().join("d".repeat(120)).join("e".repeat(120));
    let server = serve(&project, &data);
    fill(&server);
    assert!(db(&data, &["ls"]).contains(NAMESPACE));
    db(
        &data,
        &["query", &root("one"), "DELETE FROM notes", "--write"],
    );
    assert_eq!(ask(&server, "/one/list"), json!([]));
}

#[test]
fn an_owner_that_cannot_be_talked_to_is_not_worked_around() {
    let data = folder();
    let lock = fs::File::create(data.path().join("facetd.lock")).expect("files can be written");
    lock.lock().expect("nobody else has it");
    refused(data.path(), &["ls"], 6, &["owns", "facetd.sock", "stop it"]);
    // Something that answers, in another language.
    let listener =
        UnixListener::bind(data.path().join("facetd.sock")).expect("a socket can be made");
    let answers = [
        "{\"facetd\":\"9.9.9\",\"protocol\":99,\"pid\":1}\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "",
    ];
    let listening = thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a client comes");
            stream.write_all(answer.as_bytes()).expect("it listens");
            let _until_it_goes = stream.shutdown(std::net::Shutdown::Write);
            let _its_end = stream.read(&mut [0; 8]);
        }
    });
    refused(
        data.path(),
        &["ls"],
        6,
        &["version 9.9.9", "version 99", "same version"],
    );
    refused(data.path(), &["ls"], 6, &["does not know", "same version"]);
    refused(data.path(), &["ls"], 1, &["went away"]);
    listening.join().expect("no panic");
}

#[test]
fn a_command_without_a_server_keeps_a_server_out() {
    let (project, data) = (project(), folder());
    let mut server = serve(&project, data.path());
    fill(&server);
    assert_eq!(server.sigterm(), Some(0));
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let mut command = facetd([
        "db",
        "query",
        &root("one"),
        endless,
        "--timeout",
        "3000",
        "--data",
    ])
    .arg(data.path())
    .stdout(Stdio::null())
    .spawn()
    .expect("facetd starts");
    wait_for("the command works", SOON, || {
        data.path().join(".facetd-admin").exists()
    });
    let error = server.start_again().expect_err("the data is in use");
    assert_eq!(error.exit_code, Some(6), "{error}");
    refused(data.path(), &["ls"], 6, &["If it is another `facetd db`"]);
    command.kill().expect("our own child can be killed");
    command.wait().expect("our own child can be waited for");
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ask(&server, "/one/list"), json!(["in one"]));
}

#[test]
fn state_made_by_workerd_is_listed_read_and_backed_up() {
    for kill in [false, true] {
        let (data, to) = (folder(), folder());
        crate::interop::workerd("write", data.path(), kill);
        let listing: Value =
            serde_json::from_str(&db(data.path(), &["ls", "--json"])).expect("JSON");
        assert_eq!(
            listing["namespaces"][0]["namespace"],
            "interop-state-Keeper"
        );
        let objects = listing["namespaces"][0]["objects"]
            .as_array()
            .expect("objects");
        assert!(
            objects
                .iter()
                .any(|object| !object["facets"].as_array().expect("facets").is_empty()),
            "{listing}"
        );
        for object in objects {
            let address = format!(
                "interop-state-Keeper/{}",
                object["id"].as_str().expect("an id")
            );
            assert_ne!(
                rows(data.path(), &address, "SELECT count(*) FROM sqlite_schema"),
                json!([[0]])
            );
        }
        let ended = try_db(data.path(), &["verify"]);
        assert_eq!(ended.code, Some(0), "{}", ended.both());
        let backup = to.path().join("b");
        db(data.path(), &["backup", text(&backup)]);
        let restored = to.path().join("data");
        db(&restored, &["restore", text(&backup)]);
        let again: Value = serde_json::from_str(&db(&restored, &["ls", "--json"])).expect("JSON");
        assert_eq!(names(&again), names(&listing));
    }
}

#[test]
fn one_database_goes_back_in_time_beside_a_server_and_without() {
    let (project, data) = (project(), folder());
    let mut server = serve(&project, data.path());
    for facet in ["one", "two"] {
        ask(&server, &format!("/desk/facet/{facet}/add/first"));
    }
    ask(&server, "/desk/add/first");
    let first = a_second_passes();
    for facet in ["one", "two"] {
        ask(&server, &format!("/desk/facet/{facet}/add/second"));
    }
    ask(&server, "/desk/add/second");
    let utc = utc(first);
    let at = |address: &str| {
        let only = format!("{NAMESPACE}/{address}");
        db(
            data.path(),
            &["restore", "--at", &utc, "--only", &only, "--force"],
        )
    };
    at("desk/one");
    let list = |server: &Server, path: &str| ask(server, path);
    assert_eq!(
        list(&server, "/desk/facet/one/list"),
        json!(["first"]),
        "beside a server"
    );
    assert_eq!(
        list(&server, "/desk/facet/two/list"),
        json!(["first", "second"]),
        "only that one"
    );
    refused(
        data.path(),
        &[
            "restore",
            "--at",
            &utc,
            "--only",
            &format!("{NAMESPACE}/desk"),
        ],
        7,
        &["--force"],
    );
    refused(
        data.path(),
        &[
            "restore",
            "--at",
            "2001-01-01 00:00",
            "--only",
            &format!("{NAMESPACE}/desk/two"),
            "--force",
        ],
        7,
        &[],
    );
    refused(
        data.path(),
        &[
            "restore",
            "--at",
            "soon",
            "--only",
            &format!("{NAMESPACE}/desk"),
            "--force",
        ],
        2,
        &["no time"],
    );
    assert_eq!(server.sigterm(), Some(0));
    at("desk");
    let mut server = serve(&project, data.path());
    assert_eq!(
        list(&server, "/desk/list"),
        json!(["first"]),
        "without a server"
    );
    assert_eq!(
        list(&server, "/desk/facet/two/list"),
        json!(["first", "second"])
    );
    ask(&server, "/desk/add/third");
    server.kill9();
    at("desk/two");
    let server = serve(&project, data.path());
    assert_eq!(
        list(&server, "/desk/list"),
        json!(["first", "third"]),
        "after kill -9, nothing is lost"
    );
    assert_eq!(list(&server, "/desk/facet/two/list"), json!(["first"]));
}

#[test]
fn after_a_crash_a_database_goes_back_in_time_too() {
    let (project, data) = (project(), folder());
    let mut server = serve(&project, data.path());
    ask(&server, "/desk/facet/one/add/first");
    let first = a_second_passes();
    ask(&server, "/desk/facet/one/add/second");
    server.kill9();
    let only = format!("{NAMESPACE}/desk/one");
    db(
        data.path(),
        &["restore", "--at", &utc(first), "--only", &only, "--force"],
    );
    let server = serve(&project, data.path());
    assert_eq!(ask(&server, "/desk/facet/one/list"), json!(["first"]));
}

/// Which it was, in seconds since 1970: everything so far is in it or before it, everything from here on behind it.
fn a_second_passes() -> u64 {
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs()
    };
    let first = now();
    wait_for("the next second but one", SOON, || now() > first + 1);
    first
}

/// In the words of `date`.
fn utc(seconds: u64) -> String {
    let mut date = crate::harness::process::tool("date", "the coreutils");
    let ended = run(
        date.args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%d %H:%M:%S"]),
        SOON,
    );
    ended.stdout.trim().to_owned()
}
