//! `facetd test`: runs every export with a `test(controller, env, ctx)` handler.

use crate::cli::TestArguments;
use crate::exit::{Code, Stopped};
use crate::serve::host_options;
use facetd_config::LoadOptions;
use facetd_core::{EventKind, Failure};
use facetd_host::{Host, ask};
use std::path::Path;

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

pub fn run(arguments: &TestArguments) -> Result<Code, Stopped> {
    facetd_isolate::init_platform();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stopped::Io("the test runner's threads could not be started", error))?;
    let mut tally = Tally::default();
    for project in &arguments.projects {
        if let Err(stopped) = runtime.block_on(run_project(
            project,
            arguments.filter.as_deref(),
            &mut tally,
        )) {
            eprintln!("facetd: {stopped}");
            return Ok(Code::Usage); // could not run
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 {
        Code::Ok
    } else {
        Code::Failed
    })
}

async fn run_project(path: &Path, filter: Option<&str>, tally: &mut Tally) -> Result<(), Stopped> {
    let mut project = facetd_config::load(path, &LoadOptions::default())?;
    for worker in &mut project.workers {
        worker.instances = None; // cases see what cases before them left in globals, every time
    }
    for warning in &project.warnings {
        tracing::warn!("{warning}");
    }
    let data = tempfile::tempdir()
        .map_err(|error| Stopped::Io("no temporary folder for the data", error))?;
    let options = host_options(&project, data.path().to_owned(), false);
    let host = Host::new(project, options, tokio::runtime::Handle::current())?;
    let exports = host.start().await?;
    for export in exports.iter().filter(|export| export.has_test) {
        if filter.is_some_and(|part| !export.name.contains(part)) {
            continue;
        }
        let target = host.entrypoint(&export.name);
        match ask(target.as_ref(), EventKind::Test).await {
            Ok(_) => {
                tally.passed += 1;
                println!("ok {}", export.name);
            }
            Err(failure) => {
                tally.failed += 1;
                println!("FAIL {}: {}", export.name, message_of(&failure));
            }
        }
    }
    let stopped = tokio::task::spawn_blocking(move || host.shutdown()).await;
    stopped.map_err(|error| Stopped::Io("the workers did not stop", std::io::Error::other(error)))
}

fn message_of(failure: &Failure) -> String {
    match failure {
        Failure::Host(error) => error.message.clone(),
        Failure::Thrown { text, .. } => text.to_string(),
    }
}
