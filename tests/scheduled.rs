//! Cron triggers: from the config, and by hand.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Project, Request, Server, wait_for};

const WORKER: &str = r#"
let seen = [];
export default {
  async scheduled(controller, env, ctx) {
    const { cron, scheduledTime, type } = controller;
    if (cron === "throws") throw new Error("on purpose");
    if (cron === "no retry") controller.noRetry();
    if (cron === "loops") for (;;);
    ctx.waitUntil(scheduler.wait(10).then(() => seen.push([cron, scheduledTime, type])));
  },
  fetch: () => Response.json(seen),
};
"#;

fn serve(more: &str) -> (Project, Server) {
    let config = format!(
        r#"{{ "name": "crons", "main": "worker.js", "compatibility_date": "2026-09-01" {more} }}"#
    );
    let project = Project::of(&[("worker.js", WORKER), ("wrangler.jsonc", &config)]);
    let server = Server::of(project.path())
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    (project, server)
}

fn by_hand(server: &Server, query: &str) -> (u16, String) {
    let answer = server.get(&format!("/cdn-cgi/handler/scheduled{query}"));
    (answer.status, answer.text())
}

#[test]
fn a_trigger_runs_when_its_minute_comes() {
    let (_project, server) = serve(r#", "triggers": { "crons": ["* * * * *", "0 0 29 2 *"] }"#);
    // The next minute begins within one, whenever this is.
    wait_for("it ran", Duration::from_secs(90), || {
        server.get_json("/") != json!([])
    });
    let seen = server.get_json("/");
    let [cron, time, kind] = &seen[0].as_array().expect("an entry")[..] else {
        panic!("{seen}");
    };
    assert_eq!((cron, kind), (&json!("* * * * *"), &json!("scheduled")));
    let time = time.as_i64().expect("milliseconds");
    assert_eq!(time % 60_000, 0, "the minute it was for, not when it ran");
}

#[test]
fn a_run_by_hand_is_answered_when_all_of_it_is_over() {
    let (_project, server) = serve("");
    assert_eq!(
        by_hand(&server, "?cron=*%2F5+*+*+*+*&time=1700000000000"),
        (200, "ok".into())
    );
    assert_eq!(
        server.get_json("/"),
        json!([["*/5 * * * *", 1_700_000_000_000_i64, "scheduled"]]),
        "waitUntil is over by then"
    );
    assert_eq!(by_hand(&server, "?cron=throws"), (500, "exception".into()));
    assert_eq!(
        by_hand(&server, "?cron=no+retry&format=json"),
        (200, r#"{"outcome":"ok","noRetry":true}"#.into())
    );
    assert_eq!(by_hand(&server, "?time=soon").0, 400, "not a time");
    assert_eq!(by_hand(&server, "").0, 200, "everything is optional");
}

#[test]
fn a_run_that_a_limit_ends_is_an_exception() {
    let (_project, server) = serve(r#", "limits": { "cpu_ms": 100 }"#);
    assert_eq!(by_hand(&server, "?cron=loops"), (500, "exception".into()));
    assert_eq!(
        by_hand(&server, "?cron=fine"),
        (200, "ok".into()),
        "and the next one works"
    );
}

#[test]
fn nobody_else_causes_a_run_by_hand() {
    let (_project, server) = serve("");
    let ask = |name: &str, value: &str| {
        let request = Request::get("/cdn-cgi/handler/scheduled?cron=x").header(name, value);
        server.send(&request).expect("an answer").status
    };
    assert_eq!(
        ask("x-forwarded-for", "203.0.113.1"),
        403,
        "through a proxy"
    );
    assert_eq!(
        ask("sec-fetch-site", "cross-site"),
        403,
        "from another site's page"
    );
    assert_eq!(ask("sec-fetch-site", "none"), 200, "typed into a browser");
    let mut connection = crate::harness::Connection::open(server.address());
    connection
        .write("GET /cdn-cgi/handler/scheduled HTTP/1.1\r\nhost: rebound.example\r\n\r\n")
        .expect("written");
    assert_eq!(
        connection.answer().expect("an answer").status,
        403,
        "under another name"
    );
    assert_eq!(
        server.get_json("/").as_array().map(Vec::len),
        Some(1),
        "only the typed one ran"
    );
}

#[test]
fn a_listener_that_others_reach_has_no_such_path() {
    let config = r#"{ "name": "crons", "main": "worker.js", "compatibility_date": "2026-09-01" }"#;
    let project = Project::of(&[("worker.js", WORKER), ("wrangler.jsonc", config)]);
    let server = Server::of(project.path())
        .arg("--host")
        .arg("0.0.0.0")
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let port = server.address().port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let answer = Request::get("/cdn-cgi/handler/scheduled").send(address);
    assert_eq!(
        answer.expect("an answer").text(),
        "[]",
        "the worker answers, as for any path"
    );
}

#[test]
fn a_wrong_expression_stops_the_start_and_is_named() {
    let config = r#"{ "name": "crons", "main": "worker.js", "compatibility_date": "2026-09-01",
        "triggers": { "crons": ["0 0 * * 1", "0 0 * * 0"] } }"#;
    let project = Project::of(&[("worker.js", WORKER), ("wrangler.jsonc", config)]);
    let Err(error) = Server::of(project.path()).start() else {
        panic!("it started");
    };
    assert_eq!(error.exit_code, Some(3));
    let wanted = r#"triggers.crons[1]: "0 0 * * 0": day of week: "0" is not a value: expected 1 to 7 or sun to sat"#;
    assert!(error.stderr.contains(wanted), "{error}");
}
