//! `facetd test`: lines, exit codes, the diff of a failed assertion, fresh storage for every run.

use std::path::Path;
use std::time::Duration;

use crate::harness::Project;
use crate::harness::process::{Ended, facetd, run};

const SOON: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"{ "name": "tests", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
    "durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }] }"#;

const PASSING: &str = r#"
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import assert from "node:assert";
import { deepStrictEqual, rejects } from "node:assert/strict";
export class Counter extends DurableObject {
  add() { const n = (this.ctx.storage.kv.get("n") ?? 0) + 1; this.ctx.storage.kv.put("n", n); return n; }
  fail() { throw new RangeError("as asked"); }
  loaded() {
    const code = { compatibilityDate: "2026-09-01", mainModule: "a.js", modules: { "a.js": "import { DurableObject } from 'cloudflare:workers'; export class App extends DurableObject { hello() { return 'from a facet'; } }" } };
    return this.ctx.facets.get("f", () => ({ class: this.env.LOADER.load(code).getDurableObjectClass("App") })).hello();
  }
}
export const storageStartsEmpty = {
  async test(controller, env, ctx) {
    assert.strictEqual(await env.COUNTER.getByName("a").add(), 1);
    assert.strictEqual(await env.COUNTER.getByName("a").add(), 2);
    assert.ok(ctx && typeof ctx.waitUntil === "function");
  },
};
export const errorsCross = { async test(controller, env) { await rejects(() => env.COUNTER.getByName("b").fail(), { name: "RangeError", message: "as asked" }); } };
export const facetsWork = { async test(controller, env) { deepStrictEqual(await env.COUNTER.getByName("c").loaded(), "from a facet"); } };
export class AsClass extends WorkerEntrypoint { test() { assert.equal(typeof this.env.COUNTER, "object"); } }
export const notATest = { fetch() { return new Response("x"); } };
export default { test() { assert.throws(() => { throw new TypeError("x"); }, TypeError); } };
"#;

const FAILING: &str = r#"
import assert from "node:assert";
export const good = { test() {} };
export const wrongNumber = { test() { assert.strictEqual(1 + 1, 3); } };
export const wrongShape = { async test() { assert.deepStrictEqual({ name: "ada", list: [1, 2, 3] }, { name: "ada", list: [1, 4, 3] }); } };
export const throws = { test() { throw new RangeError("out of range"); } };
export const rejects = { async test() { await scheduler.wait(1); throw new Error("later"); } };
export const loops = { test() { for (;;) {} } };
"#;

fn test_of(path: &Path, args: &[&str]) -> Ended {
    run(facetd(["test"]).arg(path).args(args), SOON)
}

fn lines(ended: &Ended) -> Vec<&str> {
    ended.stdout.lines().collect()
}

#[test]
fn passing_tests_are_listed_and_exit_0() {
    let project = Project::of(&[("wrangler.jsonc", CONFIG), ("worker.js", PASSING)]);
    let ended = test_of(project.path(), &[]);
    let mut said = lines(&ended);
    assert_eq!(
        said.pop(),
        Some("5 passed, 0 failed"),
        "the last line\n{}",
        ended.both()
    );
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "ok AsClass",
            "ok default",
            "ok errorsCross",
            "ok facetsWork",
            "ok storageStartsEmpty"
        ],
        "{}",
        ended.both()
    );
    assert_eq!(ended.code, Some(0), "{}", ended.both());
}

#[test]
fn every_run_has_fresh_storage_and_leaves_none_behind() {
    let project = Project::of(&[("wrangler.jsonc", CONFIG), ("worker.js", PASSING)]);
    for round in 0..2 {
        assert_eq!(test_of(project.path(), &[]).code, Some(0), "round {round}");
    }
    assert!(
        !project.join(".facetd").exists(),
        "the project's own data folder is not touched"
    );
}

#[test]
fn failing_tests_say_why_and_exit_1() {
    let config = CONFIG.replace(r#""durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }]"#, r#""limits": { "cpu_ms": 300 }"#);
    let project = Project::of(&[("wrangler.jsonc", &config), ("worker.js", FAILING)]);
    let ended = test_of(project.path(), &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.both());
    let said = &ended.stdout;
    assert_eq!(
        said.lines().last(),
        Some("1 passed, 5 failed"),
        "{}",
        ended.both()
    );
    for line in [
        "ok good",
        "FAIL throws: ",
        "out of range",
        "FAIL rejects: ",
        "later",
        "FAIL loops: ",
        "exceeded CPU time limit",
    ] {
        assert!(said.contains(line), "{line:?} in\n{}", ended.both());
    }
    let number = said
        .split("FAIL wrongNumber: ")
        .nth(1)
        .expect("it failed")
        .split("FAIL ")
        .next()
        .unwrap_or_default();
    assert!(
        number.contains('2') && number.contains('3'),
        "both values are shown:\n{number}"
    );
    let shape = said
        .split("FAIL wrongShape: ")
        .nth(1)
        .expect("it failed")
        .split("FAIL ")
        .next()
        .unwrap_or_default();
    assert!(
        shape.contains("+") && shape.contains("-") && shape.contains('4') && shape.contains("list"),
        "a diff is shown:\n{shape}"
    );
}

#[test]
fn a_filter_runs_some_tests_only() {
    let project = Project::of(&[("wrangler.jsonc", CONFIG), ("worker.js", PASSING)]);
    let ended = test_of(project.path(), &["--filter", "Cross"]);
    assert_eq!(
        lines(&ended),
        ["ok errorsCross", "1 passed, 0 failed"],
        "{}",
        ended.both()
    );
    assert_eq!(ended.code, Some(0));
}

#[test]
fn several_projects_are_counted_together() {
    let project = Project::of(&[
        ("a.js", "export const one = { test() {} };"),
        (
            "b.js",
            "export const two = { test() { throw new Error('no'); } };",
        ),
    ]);
    let ended = run(
        facetd(["test"])
            .arg(project.join("a.js"))
            .arg(project.join("b.js")),
        SOON,
    );
    assert_eq!(
        ended.stdout.lines().last(),
        Some("1 passed, 1 failed"),
        "{}",
        ended.both()
    );
    assert_eq!(ended.code, Some(1));
}

#[test]
fn what_cannot_run_exits_2_and_says_why() {
    let project = Project::of(&[
        ("broken.js", "export const x = {"),
        ("config/wrangler.jsonc", "{"),
        ("class/wrangler.jsonc", CONFIG),
        ("class/worker.js", "export default {};"),
    ]);
    for (path, word) in [
        ("nowhere", "no such project"),
        ("broken.js", "SyntaxError"),
        ("config", "wrangler.jsonc:1:"),
        ("class", "\"Counter\""),
    ] {
        let ended = test_of(&project.join(path), &[]);
        assert_eq!(ended.code, Some(2), "{path}\n{}", ended.both());
        assert!(
            ended.stderr.contains(word),
            "{path}: {word:?} in\n{}",
            ended.both()
        );
    }
}

#[test]
fn a_project_without_tests_says_so() {
    let project = Project::of(&[(
        "worker.js",
        "export default { fetch() { return new Response('x'); } };",
    )]);
    let ended = test_of(&project.join("worker.js"), &[]);
    assert_eq!(
        ended.stdout.lines().last(),
        Some("0 passed, 0 failed"),
        "{}",
        ended.both()
    );
}

#[test]
fn a_test_may_take_the_process_with_it_in_no_way() {
    let project = Project::of(&[(
        "worker.js",
        "export const bomb = { test() { const a = []; for (;;) a.push({}); } };\nexport const after = { test() {} };",
    )]);
    let ended = test_of(&project.join("worker.js"), &[]);
    assert!(ended.stdout.contains("FAIL bomb: "), "{}", ended.both());
    assert_eq!(ended.code, Some(1), "{}", ended.both());
}
