//! Runs the conformance cases against the real binary.
//!
//! A case is a folder `<area>/<name>/` with `worker.js`, `case.jsonc` and possibly more modules; README.md says
//! what is in them. The runner copies the folder and `probe.js` into a temporary project, starts facetd, runs the
//! steps and compares answer by answer: a probe is one key of a JSON answer, or a whole answer that is no object.
//!
//! Environment: `FACETD_CONFORMANCE=part-of-a-name` runs some cases only, `FACETD_WRITE_COMPAT=1` writes the table
//! of results to `runtime/COMPAT.md`.

mod case;
mod compare;
mod report;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use case::{Case, Step};
use report::{KnownFailures, Outcome};

use crate::harness::{Project, Server};

/// Two cores are what we may count on; a case mostly waits for its server.
const CASES_AT_ONCE: usize = 2;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

#[test]
fn conformance_cases_answer_as_recorded() {
    let filter = std::env::var("FACETD_CONFORMANCE").unwrap_or_default();
    let cases = Case::find_all(&folder());
    assert!(!cases.is_empty(), "there are cases to run");
    let chosen: VecDeque<Case> = cases
        .into_iter()
        .filter(|case| case.name.contains(&filter))
        .collect();
    assert!(
        !chosen.is_empty(),
        "FACETD_CONFORMANCE={filter} names no case"
    );

    let queue = Mutex::new(chosen);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = next(&queue) {
                    let outcome = run(&case);
                    eprintln!("{}", outcome.line());
                    outcomes
                        .lock()
                        .expect("no thread panics while it holds this")
                        .push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no thread panicked");
    outcomes.sort_by(|a, b| a.case.cmp(&b.case));

    let known = KnownFailures::read(&folder().join("known_failures.jsonc"));
    if std::env::var_os("FACETD_WRITE_COMPAT").is_some_and(|value| !value.is_empty()) {
        assert!(filter.is_empty(), "a table of some cases would mislead");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/COMPAT.md");
        std::fs::write(&path, report::compat_table(&outcomes, &known))
            .expect("COMPAT.md can be written");
    }
    let problems = report::problems(&outcomes, &known);
    assert!(
        problems.is_empty(),
        "\n{problems}\n{}",
        report::summary(&outcomes)
    );
    eprintln!("{}", report::summary(&outcomes));
}

/// Not inlined into the `while let`: the guard would live as long as the case runs.
fn next(queue: &Mutex<VecDeque<Case>>) -> Option<Case> {
    queue
        .lock()
        .expect("no thread panics while it holds this")
        .pop_front()
}

fn run(case: &Case) -> Outcome {
    let mut outcome = Outcome::new(&case.name);
    let project = Project::new().copy_of(&case.folder, &["case.jsonc"]).file(
        "probe.js",
        std::fs::read(folder().join("probe.js")).expect("probe.js is there"),
    );
    if !case.folder.join("wrangler.jsonc").exists() {
        project.write("wrangler.jsonc", case.wrangler_config());
    }
    let mut server = match Server::of(project.path()).start() {
        Ok(server) => server,
        Err(error) => {
            for step in &case.steps {
                outcome.all_failed(step.probes(), "(start)", &error.to_string());
            }
            return outcome;
        }
    };
    for (at, step) in case.steps.iter().enumerate() {
        let started = match step {
            Step::Ask { request, expect } => {
                match server.send(request) {
                    Ok(answer) => compare::answer(
                        &mut outcome,
                        at,
                        request,
                        expect,
                        &answer,
                        case.steps.len() > 1,
                    ),
                    Err(error) => {
                        let why = format!("step {at}: {error}\n{}", tail(&server.stderr()));
                        outcome.all_failed(step.probes(), "(answer)", &why);
                    }
                }
                Ok(())
            }
            Step::Restart => {
                let code = server.sigterm();
                outcome.check(&format!("exit code of step {at}"), code == Some(0), || {
                    format!("SIGTERM should end it with 0, not {code:?}")
                });
                server.start_again()
            }
            Step::Kill => {
                server.kill9();
                server.start_again()
            }
        };
        if let Err(error) = started {
            for step in &case.steps[at..] {
                outcome.all_failed(step.probes(), "(restart)", &error.to_string());
            }
            break;
        }
    }
    outcome
}

/// The last lines of a log: enough to see why, short enough to read.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
