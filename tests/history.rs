//! Point-in-time recovery of objects and facets: bookmarks, restoring, undoing, through crashes and in odd hands.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Project, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(30);

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
class Notes extends DurableObject {
  add(text) {
    const { sql, kv } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS notes (text TEXT)");
    sql.exec("INSERT INTO notes VALUES (?)", text);
    kv.put("last", text);
    return this.ctx.storage.getCurrentBookmark();
  }
  wipe() { return this.ctx.storage.deleteAll(); }
  all() {
    const { sql, kv } = this.ctx.storage;
    const there = sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = 'notes'").one().n;
    return { notes: there ? sql.exec("SELECT text FROM notes").toArray().map((row) => row.text) : [], last: kv.get("last") ?? null };
  }
  now() { return this.ctx.storage.getCurrentBookmark(); }
  at(time) { return this.ctx.storage.getBookmarkForTime(time); }
  restore(bookmark) { return this.ctx.storage.onNextSessionRestoreBookmark(bookmark); }
  over() { this.ctx.abort("restarting"); }
}
const LOADED = `import { DurableObject } from "cloudflare:workers"; ${Notes}; export { Notes as App };`;
export class Supervisor extends Notes {
  #target(name) {
    if (name === "object") return this;
    return this.ctx.facets.get(name, () => ({
      class: this.env.LOADER.get("notes", () => ({ compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": LOADED }, globalOutbound: null })).getDurableObjectClass("App"),
    }));
  }
  async call(name, method, args) { return (await this.#target(name)[method](...args)) ?? null; }
  remove(name) { this.ctx.facets.delete(name); }
}
export default {
  async fetch(request, env) {
    const { name, method, args = [] } = await request.json();
    const supervisor = env.SUPERVISOR.getByName("main");
    try {
      if (method === "remove") return Response.json((await supervisor.remove(name)) ?? null);
      return Response.json(await supervisor.call(name, method, args));
    } catch (error) {
      return Response.json({ error: `${error.name}: ${error.message}` });
    }
  },
};
"#;

fn start(facetd: &str) -> (Project, Server) {
    let config = format!(
        r#"{{ "name": "history", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{{ "binding": "LOADER" }}],
        "durable_objects": {{ "bindings": [{{ "name": "SUPERVISOR", "class_name": "Supervisor" }}] }},
        "migrations": [{{ "tag": "v1", "new_sqlite_classes": ["Supervisor"] }}]{facetd} }}"#
    );
    let project = Project::of(&[("wrangler.jsonc", &config), ("worker.js", WORKER)]);
    let server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

#[track_caller]
fn call(server: &Server, name: &str, method: &str, args: Value) -> Value {
    let body = json!({ "name": name, "method": method, "args": args }).to_string();
    let answer = server
        .send(&Request::new("POST", "/").body(body))
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().expect("JSON")
}

#[track_caller]
fn notes(server: &Server, name: &str) -> Value {
    call(server, name, "all", json!([]))
}

/// Restores and waits for the next life.
fn restore(server: &Server, name: &str, bookmark: &Value) -> Value {
    let undo = call(server, name, "restore", json!([bookmark]));
    assert!(undo.is_string(), "{undo}");
    let gone = call(server, name, "over", json!([]));
    assert!(gone["error"].is_string(), "{gone}");
    undo
}

#[test]
fn objects_and_facets_go_back_to_a_bookmark_and_forth_again() {
    let (_project, mut server) = start("");
    for name in ["object", "facet"] {
        let one = call(&server, name, "add", json!(["one"]));
        let two = call(&server, name, "add", json!(["two"]));
        assert!(one.as_str() < two.as_str(), "bookmarks grow: {one} {two}");
        call(&server, name, "wipe", json!([]));
        call(&server, name, "add", json!(["three"]));
        let undo = restore(&server, name, &two);
        let both = json!({ "notes": ["one", "two"], "last": "two" });
        assert_eq!(notes(&server, name), both, "{name}: past deleteAll()");
        server.kill9();
        server
            .start_again()
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(notes(&server, name), both, "{name}: after kill -9");
        restore(&server, name, &undo);
        assert_eq!(
            notes(&server, name),
            json!({ "notes": ["three"], "last": "three" }),
            "{name}: undone"
        );
        restore(&server, name, &one);
        assert_eq!(server.sigterm(), Some(0));
        server
            .start_again()
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            notes(&server, name),
            json!({ "notes": ["one"], "last": "one" }),
            "{name}: after a clean end"
        );
        call(&server, name, "add", json!(["four"]));
        restore(&server, name, &two);
        assert_eq!(notes(&server, name), both, "{name}: once more");
    }
    assert_eq!(
        notes(&server, "other")["notes"],
        json!([]),
        "its neighbour has none of it"
    );
}

#[test]
fn a_request_survives_a_crash_and_a_rolled_back_one_does_not_count() {
    let (_project, mut server) = start("");
    let one = call(&server, "facet", "add", json!(["one"]));
    call(&server, "facet", "add", json!(["two"]));
    call(&server, "facet", "restore", json!([one]));
    server.kill9();
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(notes(&server, "facet")["notes"], json!(["one"]));
}

#[test]
fn moments_are_found_by_time() {
    let (_project, server) = start("");
    call(&server, "object", "add", json!(["one"]));
    let millis = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_millis() as u64
    };
    let between = millis();
    wait_for("the next millisecond but one", SOON, || {
        millis() > between + 2
    });
    call(&server, "object", "add", json!(["two"]));
    let bookmark = call(&server, "object", "at", json!([between + 1]));
    restore(&server, "object", &bookmark);
    assert_eq!(notes(&server, "object")["notes"], json!(["one"]));
}

#[test]
fn odd_bookmarks_are_refused_and_change_nothing() {
    let (_project, server) = start("");
    let one = call(&server, "facet", "add", json!(["one"]));
    let far = "ffffffff-ffffffff-00000000-00000000000000000000000000000000";
    let future = "00070000-00000000-00000000-00000000000000000000000000000000";
    let never = one
        .as_str()
        .expect("a bookmark")
        .replacen("-00000000-", "-00000001-", 1);
    for (bookmark, error) in [
        ("", "TypeError: Invalid bookmark."),
        ("x", "TypeError: Invalid bookmark."),
        (far, "TypeError: Invalid bookmark."),
        ("../../../../etc/passwd", "TypeError: Invalid bookmark."),
        (
            future,
            "Error: The requested point in time is not available",
        ),
        (
            never.as_str(),
            "Error: The requested point in time is not available",
        ),
    ] {
        let answer = call(&server, "facet", "restore", json!([bookmark]));
        let text = answer["error"].as_str().unwrap_or_default();
        assert!(text.starts_with(error), "{bookmark}: {answer}");
    }
    for time in [json!("x"), json!(1), json!(9e15), json!(-5)] {
        let answer = call(&server, "facet", "at", json!([time]));
        // Before the first commit there was an empty database.
        let fine = time == 1 || time == -5;
        assert_eq!(answer.is_string(), fine, "{time}: {answer}");
    }
    assert_eq!(notes(&server, "facet")["notes"], json!(["one"]));
    // A facet that is deleted takes its past along.
    call(&server, "facet", "remove", json!([]));
    call(&server, "facet", "add", json!(["new"]));
    let answer = call(&server, "facet", "restore", json!([one]));
    let undone = answer["error"].is_string() || {
        call(&server, "facet", "over", json!([]));
        notes(&server, "facet")["notes"] == json!([])
    };
    assert!(undone, "nothing of the old life comes back: {answer}");
}

#[test]
fn without_history_there_are_no_bookmarks() {
    let (_project, server) = start(r#", "facetd": { "history": false }"#);
    let answer = call(&server, "object", "add", json!(["one"]));
    assert!(answer["error"].is_string(), "{answer}");
    assert!(!server.data_folder().join("history").exists());
}
