//! Bad input: a clear message, the documented exit code, and nothing lost.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::harness::process::{Ended, facetd, files_below, run};
use crate::harness::{Project, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(60);
const GOOD_CONFIG: &str =
    r#"{ "name": "x", "main": "worker.js", "compatibility_date": "2026-09-01" }"#;
const GOOD_WORKER: &str = "export default { fetch() { return new Response('good'); } };\n";

/// `facetd serve` of something that cannot be served.
#[track_caller]
fn refused(project: &Path, args: &[&str], code: i32, words: &[&str]) -> Ended {
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = facetd(["serve"]);
    command.arg(project).args(["--port", "0"]);
    if !args.contains(&"--data") {
        command.arg("--data").arg(data.path());
    }
    let ended = run(command.args(args), SOON);
    assert_eq!(ended.code, Some(code), "the exit code\n{}", ended.both());
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "the message should say {word:?}:\n{}",
            ended.stderr
        );
    }
    assert_eq!(ended.stdout, "", "messages go to stderr");
    for noise in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!ended.stderr.contains(noise), "{}", ended.stderr);
    }
    ended
}

#[track_caller]
fn project_refused(files: &[(&str, &str)], code: i32, words: &[&str]) -> Ended {
    refused(Project::of(files).path(), &[], code, words)
}

#[test]
fn a_project_that_is_not_there_is_named() {
    refused(
        Path::new("no/such/project"),
        &[],
        3,
        &["no such project", "no/such/project"],
    );
}

#[test]
fn a_folder_without_a_config_says_what_was_looked_for() {
    project_refused(
        &[("readme.txt", "hello")],
        3,
        &["no config", "wrangler.jsonc", "wrangler.toml"],
    );
}

#[test]
fn broken_jsonc_is_shown_with_line_and_column() {
    let words = ["wrangler.jsonc:3:11", "3 | "];
    project_refused(
        &[
            ("wrangler.jsonc", "{\n  \"name\": \"x\",\n  \"main\": }\n"),
            ("worker.js", GOOD_WORKER),
        ],
        3,
        &words,
    );
    project_refused(
        &[(
            "wrangler.jsonc",
            "{ \"name\": \"x\", \"main\": \"worker.js\"",
        )],
        3,
        &["wrangler.jsonc:1:"],
    );
    project_refused(&[("wrangler.jsonc", "")], 3, &["wrangler.jsonc"]);
    project_refused(&[("wrangler.json", "[1]")], 3, &["wrangler.json"]);
}

#[test]
fn broken_toml_is_shown_with_line_and_column() {
    project_refused(
        &[("wrangler.toml", "name = \"x\"\nmain = = \"worker.js\"\n")],
        3,
        &["wrangler.toml:2:8", "2 | "],
    );
}

#[test]
fn a_missing_main_says_what_to_do() {
    project_refused(
        &[("wrangler.jsonc", r#"{ "name": "x" }"#)],
        3,
        &["main", "missing"],
    );
    project_refused(
        &[("wrangler.jsonc", GOOD_CONFIG)],
        3,
        &["main", "worker.js", "does not exist"],
    );
}

#[test]
fn wrong_types_in_the_config_name_the_key() {
    for (config, key) in [
        (r#"{ "name": 5, "main": "worker.js" }"#, "name"),
        (
            r#"{ "name": "x", "main": "worker.js", "vars": [] }"#,
            "vars",
        ),
        (
            r#"{ "name": "x", "main": "worker.js", "compatibility_date": "2026-13-77" }"#,
            "2026-13-77",
        ),
        (
            r#"{ "name": "x", "main": "worker.js", "compatibility_date": "2026-09-01", "compatibility_flags": ["no_such_flag"] }"#,
            "no_such_flag",
        ),
        (
            r#"{ "name": "x", "main": "worker.js", "durable_objects": { "bindings": [{ "name": "A" }] } }"#,
            "class_name",
        ),
        (
            r#"{ "name": "x", "main": "worker.js", "limits": { "cpu_ms": "many" } }"#,
            "cpu_ms",
        ),
        (
            r#"{ "name": "x", "main": "worker.js", "facetd": { "limits": { "memory_mb": -1 } } }"#,
            "memory_mb",
        ),
    ] {
        project_refused(
            &[("wrangler.jsonc", config), ("worker.js", GOOD_WORKER)],
            3,
            &[key],
        );
    }
}

#[test]
fn unknown_keys_are_a_warning_and_it_serves() {
    let config = r#"{ "name": "x", "main": "worker.js", "compatibility_date": "2026-09-01", "compatibility-flag": [], "facetd": { "limit": {} } }"#;
    let project = Project::of(&[("wrangler.jsonc", config), ("worker.js", GOOD_WORKER)]);
    let server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(server.get("/").text(), "good");
    let log = server.stderr();
    for words in [
        "unknown key \"compatibility-flag\"",
        "did you mean \"compatibility_flags\"?",
        "unknown key \"facetd.limit\"",
    ] {
        assert!(log.contains(words), "{words:?} in\n{log}");
    }
}

#[test]
fn a_syntax_error_is_shown_with_file_line_column_and_code() {
    let worker = "export default {\n  fetch() {\n    return new Response(\"a\" \"b\");\n  }\n};\n";
    let words = [
        "SyntaxError",
        "worker.js:3:",
        "return new Response(\"a\" \"b\");",
        "^",
    ];
    project_refused(
        &[("wrangler.jsonc", GOOD_CONFIG), ("worker.js", worker)],
        4,
        &words,
    );
}

#[test]
fn a_syntax_error_in_an_imported_module_names_that_module() {
    let files = [
        ("wrangler.jsonc", GOOD_CONFIG),
        (
            "worker.js",
            "import { x } from './lib/deep.js';\nexport default { fetch() { return new Response(x); } };\n",
        ),
        ("lib/deep.js", "export const x = 1;\n\nexport class {\n"),
    ];
    project_refused(&files, 4, &["SyntaxError", "lib/deep.js:3:"]);
}

#[test]
fn what_the_top_level_throws_is_shown_with_its_place() {
    let worker = "const a = 1;\nthrow new RangeError('at the top');\n";
    project_refused(
        &[("wrangler.jsonc", GOOD_CONFIG), ("worker.js", worker)],
        4,
        &["RangeError: at the top", "worker.js:2:7"],
    );
}

#[test]
fn an_import_of_nothing_names_both_sides() {
    let worker = "import './gone.js';\nexport default {};\n";
    project_refused(
        &[("wrangler.jsonc", GOOD_CONFIG), ("worker.js", worker)],
        4,
        &["gone.js", "worker.js"],
    );
}

#[test]
fn a_missing_export_of_a_bound_class_is_named() {
    let config = r#"{ "name": "x", "main": "worker.js", "compatibility_date": "2026-09-01",
        "durable_objects": { "bindings": [{ "name": "ROOM", "class_name": "Room" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }] }"#;
    project_refused(
        &[("wrangler.jsonc", config), ("worker.js", GOOD_WORKER)],
        4,
        &["\"Room\"", "not exported", "\"x\""],
    );
    let handler = "export const Room = { fetch() {} };\nexport default {};\n";
    project_refused(
        &[("wrangler.jsonc", config), ("worker.js", handler)],
        4,
        &["\"Room\""],
    );
}

#[test]
fn a_port_in_use_is_exit_5() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let project = Project::of(&[("wrangler.jsonc", GOOD_CONFIG), ("worker.js", GOOD_WORKER)]);
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = facetd(["serve"]);
    command
        .arg(project.path())
        .args(["--port", &port, "--data"])
        .arg(data.path());
    let ended = run(&mut command, SOON);
    assert_eq!(ended.code, Some(5), "{}", ended.both());
    for word in ["in use", &port, "--port"] {
        assert!(ended.stderr.contains(word), "{word:?} in\n{}", ended.stderr);
    }
}

#[test]
fn an_address_that_is_not_ours_is_exit_5() {
    let project = Project::of(&[("wrangler.jsonc", GOOD_CONFIG), ("worker.js", GOOD_WORKER)]);
    refused(project.path(), &["--host", "192.0.2.1"], 5, &["192.0.2.1"]);
}

#[test]
fn a_data_dir_that_cannot_be_written_is_exit_6() {
    let project = Project::of(&[
        ("wrangler.jsonc", GOOD_CONFIG),
        ("worker.js", GOOD_WORKER),
        ("file", "not a folder"),
    ]);
    // Below a regular file: nobody can write there, not even root.
    for path in ["file", "file/data"] {
        let data = project.join(path);
        refused(
            project.path(),
            &["--data", data.to_str().expect("UTF-8")],
            6,
            &["data directory", path],
        );
    }
    assert_eq!(
        fs::read_to_string(project.join("file")).expect("still there"),
        "not a folder",
        "nothing is lost"
    );
}

#[test]
fn a_data_dir_in_use_is_exit_6_and_the_first_one_goes_on() {
    let project = Project::of(&[("wrangler.jsonc", GOOD_CONFIG), ("worker.js", GOOD_WORKER)]);
    let mut first = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let data = first.data_folder().to_str().expect("UTF-8").to_owned();
    refused(
        project.path(),
        &["--data", &data],
        6,
        &["data directory", "facetd"],
    );
    assert_eq!(first.get("/").text(), "good", "the first goes on");
    first.kill9();
    first
        .start_again()
        .unwrap_or_else(|error| panic!("a lock of the dead holds nobody up: {error}"));
    assert_eq!(first.get("/").text(), "good");
}

#[test]
fn wrong_arguments_are_exit_2() {
    for args in [
        &["serve", "--durability", "sometimes"][..],
        &["bogus"],
        &["serve", "--port", "99999"],
        &["serve", "--var", "x"],
    ] {
        let ended = run(&mut facetd(args), SOON);
        assert_eq!(ended.code, Some(2), "{args:?}\n{}", ended.both());
    }
}

const OBJECTS: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Room extends DurableObject {
  constructor(ctx, env) { super(ctx, env); if (ctx.id.name === "throws") throw new RangeError("secret: not today"); }
  add() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
  facet(kind) {
    const { LOADER } = this.env;
    const rubbish = { undefined: () => undefined, number: () => 7, text: () => "code", empty: () => ({}), nothing: () => null,
      throws: () => { throw new RangeError("no code today"); }, rejects: async () => { throw new TypeError("later neither"); },
      modules: () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "b.js": "" } }) };
    return this.ctx.facets.get(`facet ${kind}`, () => ({ class: LOADER.load ? LOADER.get(kind, rubbish[kind]).getDurableObjectClass() : 0 })).run();
  }
}
export default {
  async fetch(request, env) {
    const [, name, method, ...args] = new URL(request.url).pathname.split("/");
    if (name === "nothing") return method === "undefined" ? undefined : 5;
    try { return Response.json({ ok: await env.ROOM.getByName(name)[method](...args) }); }
    catch (e) { return Response.json({ name: e.name, message: e.message }); }
  },
};
"#;
const OBJECTS_CONFIG: &str = r#"{ "name": "x", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
    "durable_objects": { "bindings": [{ "name": "ROOM", "class_name": "Room" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }] }"#;

fn objects() -> (Project, Server) {
    let project = Project::of(&[("wrangler.jsonc", OBJECTS_CONFIG), ("worker.js", OBJECTS)]);
    let server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

#[test]
fn a_corrupt_database_fails_its_object_and_no_other() {
    let (_project, mut server) = objects();
    assert_eq!(server.get("/first/add").text(), r#"{"ok":1}"#);
    server.sigterm();
    let first = files_below(server.data_folder(), ".sqlite")
        .into_iter()
        .filter(|path| !path.ends_with("metadata.sqlite"))
        .collect::<Vec<_>>();
    assert_eq!(first.len(), 1, "one object stored something: {first:?}");
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(server.get("/second/add").text(), r#"{"ok":1}"#);
    server.sigterm();
    let kept = fs::read(&first[0]).expect("the file can be read");
    for (what, content) in [
        (
            "no database at all",
            b"this is not a database, it is a text of some length".repeat(200),
        ),
        ("a damaged page", {
            let mut damaged = kept.clone();
            for byte in &mut damaged[100..4096] {
                *byte = 0xa5;
            }
            damaged
        }),
    ] {
        for ending in ["-wal", "-shm"] {
            let mut path = first[0].clone().into_os_string();
            path.push(ending);
            let _ = fs::remove_file(path);
        }
        fs::write(&first[0], &content).expect("the file can be written");
        server
            .start_again()
            .unwrap_or_else(|error| panic!("{what}: the server starts all the same: {error}"));
        let answer = server.get("/first/add").text();
        assert!(
            answer.contains(r#""name":"Error""#),
            "{what}: the object fails: {answer}"
        );
        assert!(
            answer.contains("corrupt")
                || answer.contains("malformed")
                || answer.contains("not a database"),
            "{what}: the message is clear: {answer}"
        );
        assert!(
            !answer.contains(".sqlite"),
            "{what}: without a path: {answer}"
        );
        assert!(
            server.get("/second/add").text().contains("ok"),
            "{what}: others go on"
        );
        let log = server.stderr();
        assert!(
            log.contains(".sqlite"),
            "{what}: the operator is told which file\n{log}"
        );
        server.sigterm();
        assert!(
            fs::read(&first[0]).expect("still there") == content,
            "{what}: the file is left as it was found"
        );
    }
    fs::write(&first[0], kept).expect("the file can be written");
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        server.get("/first/add").text(),
        r#"{"ok":2}"#,
        "a restored file works again"
    );
}

#[test]
fn a_constructor_that_throws_fails_its_caller_and_nobody_else() {
    let (_project, server) = objects();
    for _ in 0..2 {
        assert_eq!(
            server.get("/throws/add").text(),
            r#"{"name":"RangeError","message":"secret: not today"}"#,
            "the very error"
        );
    }
    assert_eq!(
        server.get("/fine/add").text(),
        r#"{"ok":1}"#,
        "others go on"
    );
}

#[test]
fn a_handler_without_a_response_is_a_500_and_a_line_in_the_log() {
    let (_project, server) = objects();
    for path in ["/nothing/undefined", "/nothing/number"] {
        assert_eq!(server.get(path).status, 500, "{path}");
    }
    wait_for("the log says what was expected", SOON, || {
        server.stderr().contains("'Response'")
    });
    assert_eq!(
        server.get("/fine/add").text(),
        r#"{"ok":1}"#,
        "the worker goes on"
    );
}

#[test]
fn loader_callbacks_that_return_rubbish_fail_with_the_documented_texts() {
    let (_project, server) = objects();
    let code = r#"{"name":"TypeError","message":"getCode() must return a WorkerCode object."}"#;
    for (kind, expected) in [
        ("undefined", code),
        ("number", code),
        ("text", code),
        ("nothing", code),
        (
            "empty",
            r#"{"name":"TypeError","message":"Incorrect type for the 'modules' field on 'WorkerCode': the provided value is not of type 'object'."}"#,
        ),
        (
            "throws",
            r#"{"name":"RangeError","message":"no code today"}"#,
        ),
        (
            "rejects",
            r#"{"name":"TypeError","message":"later neither"}"#,
        ),
        (
            "modules",
            r#"{"name":"Error","message":"Failed to start Worker:\nUncaught Error: No such module: a.js"}"#,
        ),
    ] {
        for _ in 0..2 {
            assert_eq!(
                server.get(&format!("/room/facet/{kind}")).text(),
                expected,
                "{kind}"
            );
        }
    }
    assert_eq!(
        server.get("/room/add").text(),
        r#"{"ok":1}"#,
        "the supervisor goes on"
    );
}

#[test]
fn bad_input_over_http_does_not_need_a_restart() {
    let (_project, server) = objects();
    for path in [
        "/room/constructor",
        "/room/__proto__",
        "/room/nope",
        "/%ff/add",
        "//add",
        "/room/fetch",
    ] {
        let answer = server
            .send(&Request::get(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(
            answer.status == 200 || answer.status == 500,
            "{path}: {}",
            answer.status
        );
    }
    assert!(server.get("/room/add").text().contains("ok"), "it goes on");
}
