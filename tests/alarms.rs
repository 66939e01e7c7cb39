//! Alarms of objects and facets: through restarts and kills, against a wake-up list that is wrong, with
//! hostile code, and at what cost while they sleep.
//!
//! After a restart the tests ask nobody but the `Log`: whatever else is in memory then was woken.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{run, status_of, tool};
use crate::harness::{Project, Random, Request, Server, wait_for};

const SOON: Duration = Duration::from_secs(60);
const WORKER: &str = include_str!("alarms/worker.js");
const CLASSES: [&str; 5] = ["Log", "Supervisor", "Registers", "NoHandler", "Silent"];

fn config(classes: &[&str], migrations: &Value) -> String {
    let bindings: Vec<Value> = classes
        .iter()
        .map(|class| json!({ "name": class.to_uppercase(), "class_name": class }))
        .collect();
    json!({
        "name": "alarms", "main": "worker.js", "compatibility_date": "2026-09-01",
        "worker_loaders": [{ "binding": "LOADER" }],
        "durable_objects": { "bindings": bindings }, "migrations": migrations,
    })
    .to_string()
}

fn start(arguments: &[&str]) -> (Project, Server) {
    let migrations = json!([{ "tag": "v1", "new_sqlite_classes": CLASSES }]);
    let project = Project::of(&[
        ("wrangler.jsonc", &config(&CLASSES, &migrations)),
        ("worker.js", WORKER),
    ]);
    let builder = arguments
        .iter()
        .fold(Server::of(project.path()), |server, argument| {
            server.arg(argument)
        });
    let server = builder.start().unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

#[track_caller]
fn call(server: &Server, target: &str, arguments: Value) -> Value {
    let request = Request::new("POST", &format!("/{target}")).body(arguments.to_string());
    let answer = server
        .send(&request)
        .unwrap_or_else(|error| panic!("{target}: {error}\n{}", server.stderr()));
    assert_eq!(
        answer.status,
        200,
        "{target}: {}\n{}",
        answer.text(),
        server.stderr()
    );
    answer.json().expect("JSON")
}

fn log(server: &Server) -> Vec<Value> {
    let Value::Array(entries) = call(server, "LOG/log/all", json!([])) else {
        panic!("the log is a list")
    };
    entries
}

fn runs_of(server: &Server, who: &str) -> Vec<Value> {
    log(server)
        .into_iter()
        .filter(|entry| entry["who"] == who)
        .collect()
}

/// Waits until `who` has run this often, and returns the runs.
#[track_caller]
fn wait_for_runs(server: &Server, who: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} runs of {who}"), SOON, || {
        runs_of(server, who).len() >= count
    });
    let runs = runs_of(server, who);
    assert!(
        runs.iter().all(|run| run["early"] != true),
        "no run is early: {runs:?}"
    );
    runs
}

fn again(server: &mut Server) {
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Runs Python's own SQLite over the data folder; returns what it prints, as JSON.
fn sqlite(script: &str, arguments: &[&str]) -> Value {
    let mut python = tool("python3", "python3 with its sqlite3 module");
    let ended = run(python.args(["-c", script]).args(arguments), SOON);
    assert_eq!(ended.code, Some(0), "{}", ended.both());
    serde_json::from_str(&ended.stdout).unwrap_or(Value::Null)
}

fn list_of(server: &Server, class: &str) -> String {
    let path = server
        .data_folder()
        .join(format!("do/alarms-{class}/metadata.sqlite"));
    path.to_str().expect("UTF-8").to_owned()
}

// ---- objects

#[test]
fn a_missed_alarm_fires_at_start_after_a_restart_and_after_kill_9_with_its_name() {
    for kill in [false, true] {
        let (_project, mut server) = start(&[]);
        call(&server, "SUPERVISOR/overdue/set", json!([300]));
        call(&server, "SUPERVISOR/far/set", json!([4_000_000_000_u64]));
        if kill {
            server.kill9();
        } else {
            assert_eq!(server.sigterm(), Some(0), "a clean end");
        }
        again(&mut server);
        let runs = wait_for_runs(&server, "root", 1);
        assert_eq!(runs[0]["name"], "overdue", "the name is restored: {runs:?}");
        assert_eq!(runs.len(), 1, "the other one is not due: {runs:?}");
        assert!(
            call(&server, "SUPERVISOR/far/get", json!([])).is_number(),
            "and still there"
        );
        wait_for("the alarm is gone", SOON, || {
            call(&server, "SUPERVISOR/overdue/get", json!([])).is_null()
        });
    }
}

#[test]
fn a_handler_cut_off_by_kill_9_runs_again() {
    let (_project, mut server) = start(&[]);
    call(&server, "SUPERVISOR/x/set", json!([0, "hang"]));
    wait_for_runs(&server, "root", 1);
    assert_eq!(
        call(&server, "SUPERVISOR/x/get", json!([])),
        Value::Null,
        "absent while it runs"
    );
    server.kill9();
    again(&mut server);
    wait_for_runs(&server, "root", 2);
    call(&server, "SUPERVISOR/x/set", json!([0]));
}

#[test]
fn a_failing_alarm_is_retried_and_a_deleted_one_is_not() {
    let (_project, server) = start(&[]);
    call(&server, "SUPERVISOR/once/set", json!([0, "throw once"]));
    let runs = wait_for_runs(&server, "root", 2);
    assert_eq!(
        (&runs[1]["retryCount"], &runs[1]["isRetry"]),
        (&json!(1), &json!(true)),
        "the second run is told that it is one"
    );
    call(&server, "SUPERVISOR/always/set", json!([0, "throw"]));
    wait_for_runs(&server, "root", 3);
    assert!(
        call(&server, "SUPERVISOR/always/get", json!([])).is_number(),
        "it waits for its retry"
    );
    call(&server, "SUPERVISOR/always/delete", json!([]));
    // A later alarm of another object fires after the deleted one's retry would have been due.
    call(&server, "SUPERVISOR/later/set", json!([3_000]));
    let runs = wait_for_runs(&server, "root", 4);
    assert_eq!(runs[3]["name"], "later", "no retry came: {runs:?}");
}

#[test]
fn an_alarm_without_a_handler_is_logged_and_dropped() {
    let (_project, server) = start(&[]);
    call(&server, "NOHANDLER/x/get", json!([]));
    wait_for("it is dropped", SOON, || {
        call(&server, "NOHANDLER/x/get", json!([])).is_null()
    });
    let told = "Attempted to run a scheduled alarm without a handler";
    wait_for("it is logged", SOON, || server.stderr().contains(told));
}

#[test]
fn the_database_is_the_truth_and_the_list_is_put_right() {
    let (_project, mut server) = start(&[]);
    let late = call(&server, "SUPERVISOR/late/set", json!([2_500]));
    let gone = call(&server, "SUPERVISOR/gone/set", json!([4_000_000_000_u64]));
    let unlisted = call(&server, "SUPERVISOR/unlisted/set", json!([600]));
    assert_eq!(server.sigterm(), Some(0), "a clean end");
    let list = list_of(&server, "Supervisor");
    let tampered = format!(
        "import sqlite3, sys\nlist = sqlite3.connect(sys.argv[1])\n\
         list.execute('UPDATE _cf_ALARM SET scheduled_time = 1 WHERE actor_id IN ({late}, {gone})')\n\
         list.execute('DELETE FROM _cf_ALARM WHERE actor_id = {unlisted}')\nlist.commit()\n\
         db = sqlite3.connect(sys.argv[2])\ndb.execute('DELETE FROM _cf_METADATA')\ndb.commit()",
    );
    let database = server.data_folder().join(format!(
        "do/alarms-Supervisor/{}.sqlite",
        gone.as_str().expect("an id")
    ));
    sqlite(&tampered, &[&list, database.to_str().expect("UTF-8")]);
    again(&mut server);
    // Listed much too early: the database says when.
    let runs = wait_for_runs(&server, "root", 1);
    assert_eq!(runs[0]["name"], "late", "{runs:?}");
    // Not listed at all: found when the object is next in memory.
    call(&server, "SUPERVISOR/unlisted/get", json!([]));
    let runs = wait_for_runs(&server, "root", 2);
    assert_eq!(runs[1]["name"], "unlisted", "{runs:?}");
    assert_eq!(runs.len(), 2, "what the database lost never ran: {runs:?}");
    assert_eq!(server.sigterm(), Some(0), "a clean end");
    let left = sqlite(
        "import sqlite3, sys, json\nprint(json.dumps(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM _cf_ALARM').fetchall()))",
        &[&list],
    );
    assert_eq!(left, json!([[0]]), "the list is empty in the end");
}

/// Of every object: what its database has, and what is listed.
const COMPARE: &str = "import sqlite3, sys, json, glob, os
def ask(path, sql, *args):
    db = sqlite3.connect(path)
    try: return db.execute(sql, args).fetchall()
    except sqlite3.OperationalError: return []
found = []
for path in glob.glob(os.path.join(sys.argv[1], '*.sqlite')):
    name = os.path.basename(path)
    if name == 'metadata.sqlite': continue
    id = name.split('.')[0]
    facet = int(name.split('.')[1]) if name.count('.') == 2 else 0
    stored = ask(path, 'SELECT value FROM _cf_METADATA WHERE key = 1')
    list = os.path.join(sys.argv[1], 'metadata.sqlite')
    if facet: listed = ask(list, 'SELECT scheduled_time FROM _cf_facetd_FACET_ALARM WHERE actor_id = ? AND facet = ?', id, facet)
    else: listed = ask(list, 'SELECT scheduled_time FROM _cf_ALARM WHERE actor_id = ?', id)
    found.append([name, stored[0][0] if stored else None, listed[0][0] if listed else None])
print(json.dumps(found))";

#[test]
fn the_list_is_never_later_than_an_answered_write_whenever_it_is_killed() {
    const DAY_MS: u64 = 86_400_000;
    for durability in ["fsync", "relaxed"] {
        let (_project, mut server) = start(&["--durability", durability]);
        let mut random = Random::from_env(6);
        call(&server, "SUPERVISOR/o/how", json!(["f", {}]));
        for round in 0..8 {
            // What was last answered, by target; a pending request's outcome is unknown.
            for _ in 0..1 + random.below(12) {
                let at = DAY_MS + random.below(1000) as u64 * 60_000;
                let deletes = random.below(4) == 0;
                let (object, facet) = match random.below(3) {
                    0 => ("SUPERVISOR/o/call", Some("f")),
                    1 => ("SUPERVISOR/o", None),
                    _ => ("SUPERVISOR/p", None),
                };
                match (facet, deletes) {
                    (Some(facet), false) => call(&server, object, json!([[facet], "set", at])),
                    (Some(facet), true) => call(&server, object, json!([[facet], "delete"])),
                    (None, false) => call(&server, &format!("{object}/set"), json!([at])),
                    (None, true) => call(&server, &format!("{object}/delete"), json!([])),
                };
            }
            server.kill9();
            let folder = server.data_folder().join("do/alarms-Supervisor");
            let found = sqlite(COMPARE, &[folder.to_str().expect("UTF-8")]);
            for entry in found.as_array().expect("a list") {
                let (stored, listed) = (entry[1].as_i64(), entry[2].as_i64());
                let holds =
                    stored.is_none_or(|stored| listed.is_some_and(|listed| listed <= stored));
                assert!(
                    holds,
                    "{durability}, round {round}: stored, listed: {entry}"
                );
            }
            again(&mut server);
        }
    }
}

#[test]
fn sleeping_alarms_cost_no_thread_and_all_of_them_fire() {
    const OBJECTS: usize = 300;
    let (_project, mut server) = start(&["--durability", "relaxed"]);
    for object in 0..OBJECTS {
        call(
            &server,
            &format!("SUPERVISOR/far-{object}/set"),
            json!([86_400_000]),
        );
    }
    assert_eq!(server.sigterm(), Some(0), "a clean end");
    again(&mut server);
    let threads = status_of(server.pid(), "Threads");
    assert!(threads < 40, "{threads} threads for {OBJECTS} alarms");
    for object in 0..OBJECTS {
        call(&server, &format!("SUPERVISOR/far-{object}/set"), json!([0]));
    }
    let runs = wait_for_runs(&server, "root", OBJECTS);
    let names: std::collections::HashSet<&str> =
        runs.iter().filter_map(|run| run["name"].as_str()).collect();
    assert_eq!(names.len(), OBJECTS, "each of them");
}

#[test]
fn a_migration_that_deletes_a_class_drops_its_alarms() {
    let (project, mut server) = start(&[]);
    call(&server, "SILENT/x/set", json!([1_000]));
    assert_eq!(server.sigterm(), Some(0), "a clean end");
    let list = list_of(&server, "Silent");
    assert!(Path::new(&list).exists(), "it was listed");
    let deleted = json!([
        { "tag": "v1", "new_sqlite_classes": CLASSES },
        { "tag": "v2", "deleted_classes": ["Silent"] },
    ]);
    project.write("wrangler.jsonc", config(&CLASSES[..4], &deleted));
    again(&mut server);
    assert!(!Path::new(&list).exists(), "the list went with the objects");
    call(&server, "SUPERVISOR/after/set", json!([1_500]));
    let runs = wait_for_runs(&server, "root", 1);
    assert_eq!(
        runs[0]["name"], "after",
        "the deleted one has not fired: {runs:?}"
    );
}

// ---- facets

#[test]
fn an_overdue_facet_alarm_wakes_root_and_facet_after_kill_9() {
    let (_project, mut server) = start(&[]);
    for (name, how) in [
        ("static", json!({})),
        ("loaded", json!({ "limits": { "cpuMs": 1000 } })),
    ] {
        call(&server, "SUPERVISOR/root/how", json!([name, how]));
        call(&server, "SUPERVISOR/root/call", json!([[name], "set", 300]));
    }
    call(&server, "REGISTERS/root/how", json!(["registered", {}]));
    call(
        &server,
        "REGISTERS/root/call",
        json!([["registered"], "set", 300]),
    );
    server.kill9();
    again(&mut server);
    for name in ["static", "loaded"] {
        let runs = wait_for_runs(&server, name, 1);
        assert_eq!(
            runs[0]["name"], "root",
            "a facet inherits its parent's id: {runs:?}"
        );
        let asked = runs_of(&server, &format!("asked for {name}"));
        assert_eq!(asked.len(), 1, "the supervisor was asked once: {asked:?}");
    }
    wait_for_runs(&server, "registered", 1);
}

#[test]
fn every_parent_of_a_nested_facet_is_woken_in_turn() {
    let (_project, mut server) = start(&[]);
    call(&server, "SUPERVISOR/root/how", json!(["a", {}]));
    call(
        &server,
        "SUPERVISOR/root/call",
        json!([["a", "b", "c"], "set", 300]),
    );
    server.kill9();
    again(&mut server);
    wait_for_runs(&server, "a/b/c", 1);
    let others: Vec<Value> = log(&server)
        .into_iter()
        .filter(|entry| entry["who"] != "a/b/c")
        .collect();
    assert_eq!(
        others,
        [json!({ "who": "asked for a" })],
        "nobody else's alarm ran"
    );
}

#[test]
fn a_facet_that_nobody_wants_or_knows_waits_until_it_is_started() {
    let (_project, mut server) = start(&[]);
    for root in ["SUPERVISOR/root", "SILENT/root"] {
        call(&server, &format!("{root}/how"), json!(["f", {}]));
        call(&server, &format!("{root}/call"), json!([["f"], "set", 300]));
    }
    call(&server, "SUPERVISOR/root/how", json!(["f", null]));
    server.kill9();
    again(&mut server);
    wait_for_runs(&server, "asked for f", 1);
    wait_for("the operator is told", SOON, || {
        server.stderr().contains("neither called facets.get()")
    });
    assert_eq!(runs_of(&server, "f"), [] as [Value; 0], "neither has run");
    // Started for any other reason, it is found overdue and runs.
    call(&server, "SUPERVISOR/root/how", json!(["f", {}]));
    call(&server, "SUPERVISOR/root/call", json!([["f"], "get"]));
    wait_for_runs(&server, "f", 1);
    call(&server, "SILENT/root/call", json!([["f"], "get"]));
    wait_for_runs(&server, "f", 2);
}

#[test]
fn a_supervisor_that_throws_is_asked_again_and_its_facet_is_not_poisoned() {
    let (_project, mut server) = start(&[]);
    call(&server, "SUPERVISOR/root/how", json!(["f", {}]));
    call(&server, "SUPERVISOR/root/call", json!([["f"], "set", 300]));
    call(
        &server,
        "SUPERVISOR/root/how",
        json!(["f", { "fails": true }]),
    );
    server.kill9();
    again(&mut server);
    wait_for_runs(&server, "asked for f", 1);
    call(&server, "SUPERVISOR/root/how", json!(["f", {}]));
    let runs = wait_for_runs(&server, "f", 1);
    assert_eq!(
        runs[0]["retryCount"], 1,
        "the failed start counts: {runs:?}"
    );
    assert_eq!(runs_of(&server, "asked for f").len(), 2, "asked again");
}

#[test]
fn code_that_does_not_start_for_an_alarm_leaves_the_name_usable() {
    let (_project, mut server) = start(&[]);
    let (limits, broken) = (json!({ "cpuMs": 1000 }), true);
    let good = json!(["f", { "limits": limits }]);
    call(&server, "SUPERVISOR/root/how", good.clone());
    call(&server, "SUPERVISOR/root/call", json!([["f"], "set", 300]));
    let bad = json!(["f", { "limits": limits, "broken": broken }]);
    call(&server, "SUPERVISOR/root/how", bad);
    server.kill9();
    again(&mut server);
    // Asked a second time: then the first start has failed.
    wait_for_runs(&server, "asked for f", 2);
    call(&server, "SUPERVISOR/root/how", good);
    assert!(
        call(&server, "SUPERVISOR/root/call", json!([["f"], "get"])).is_number(),
        "the supervisor starts it without having to abort it first"
    );
    wait_for_runs(&server, "f", 1);
}

#[test]
fn deleted_facets_lose_their_alarms_and_clones_have_their_own() {
    let (_project, mut server) = start(&[]);
    for name in ["kept", "deleted", "over"] {
        call(&server, "SUPERVISOR/root/how", json!([name, {}]));
        call(&server, "SUPERVISOR/root/call", json!([[name], "set", 800]));
    }
    call(&server, "SUPERVISOR/root/how", json!(["copy", {}]));
    call(
        &server,
        "SUPERVISOR/root/call",
        json!([["kept", "below"], "set", 800]),
    );
    call(&server, "SUPERVISOR/root/deleteFacet", json!(["deleted"]));
    call(&server, "SUPERVISOR/root/clone", json!(["kept", "copy"]));
    call(
        &server,
        "SUPERVISOR/root/clone",
        json!(["never there", "over"]),
    );
    call(&server, "SUPERVISOR/emptied/how", json!(["emptied", {}]));
    call(
        &server,
        "SUPERVISOR/emptied/call",
        json!([["emptied"], "set", 800]),
    );
    call(&server, "SUPERVISOR/emptied/deleteAll", json!([]));
    server.kill9();
    again(&mut server);
    for name in ["kept", "kept/below", "copy", "copy/below"] {
        wait_for_runs(&server, name, 1);
    }
    call(&server, "SUPERVISOR/last/set", json!([0]));
    wait_for_runs(&server, "root", 1);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for entry in log(&server) {
        *counts
            .entry(entry["who"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    for name in ["deleted", "over", "emptied"] {
        assert!(!counts.contains_key(name), "{name} is gone: {counts:?}");
        assert!(
            !counts.contains_key(&format!("asked for {name}")),
            "and nobody was asked: {counts:?}"
        );
    }
}

#[test]
fn a_facet_that_sets_its_alarm_to_now_for_ever_is_paced() {
    let (_project, server) = start(&[]);
    let how = json!(["f", { "limits": { "cpuMs": 1000 } }]);
    call(&server, "SUPERVISOR/root/how", how);
    call(
        &server,
        "SUPERVISOR/root/call",
        json!([["f"], "set", 0, "again"]),
    );
    let runs = wait_for_runs(&server, "f", 21);
    let at = |run: &Value| run["now"].as_u64().expect("a time");
    let took = at(&runs[20]) - at(&runs[0]);
    // 20 intervals of 100 ms; the first run may have been late itself.
    assert!(took >= 1_000, "20 runs within {took} ms");
    call(&server, "SUPERVISOR/root/call", json!([["f"], "set", 0]));
}

#[test]
fn a_facets_limits_hold_for_its_alarm_and_spare_its_neighbours() {
    let (_project, server) = start(&[]);
    for (name, limits, doing) in [
        ("loops", json!({ "cpuMs": 50 }), "loop"),
        ("hangs", json!({ "wallMs": 200 }), "hang"),
    ] {
        call(
            &server,
            "SUPERVISOR/root/how",
            json!([name, { "limits": limits }]),
        );
        call(
            &server,
            "SUPERVISOR/root/call",
            json!([[name], "set", 0, doing]),
        );
        let runs = wait_for_runs(&server, name, 2);
        let counts: Vec<&Value> = runs.iter().map(|run| &run["retryCount"]).collect();
        assert_eq!(
            counts[..2],
            [&json!(0), &json!(1)],
            "{name} is stopped, and that is counted"
        );
        call(&server, "SUPERVISOR/root/deleteFacet", json!([name]));
    }
    assert_eq!(
        call(&server, "SUPERVISOR/root/get", json!([])),
        Value::Null,
        "the supervisor noticed nothing"
    );
}
