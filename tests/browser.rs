//! `examples/app-host` driven in a real browser: create, kill -9, restart, the data is there; new code, the data is
//! still there. The steps are in browser/app_host.mjs.

use std::path::Path;
use std::time::Duration;

use crate::harness::Server;
use crate::harness::process::{run, tool};

const PHASE_MAX: Duration = Duration::from_secs(180);

fn drive(server: &Server, phases: &str, playwright: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/app_host.mjs");
    let mut node = tool("node", "Node 20 or newer");
    let ended = run(
        node.arg(script)
            .arg(phases)
            .arg(server.url("/"))
            .env("PLAYWRIGHT_CORE", playwright),
        PHASE_MAX,
    );
    assert_eq!(
        ended.code,
        Some(0),
        "{phases}\n{}\n{}",
        ended.both(),
        server.stderr()
    );
    for phase in phases.split(',') {
        assert!(
            ended.stdout.contains(&format!("ok {phase}")),
            "{}",
            ended.both()
        );
    }
}

#[test]
fn an_app_made_in_the_browser_survives_kill_9_and_new_code() {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    assert!(
        Path::new(&chromium).exists(),
        "this test needs {chromium}: install Chromium, or set CHROMIUM to where it is"
    );
    let npm = tempfile::tempdir().expect("a temporary folder can be made");
    let playwright = match std::env::var_os("PLAYWRIGHT_CORE") {
        Some(folder) => folder.into(),
        None => {
            // Once for all phases.
            std::fs::write(npm.path().join("package.json"), "{}").expect("files can be written");
            let mut install = tool("npm", "npm, which comes with Node");
            install
                .args([
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--loglevel=error",
                    "playwright-core",
                ])
                .current_dir(npm.path());
            let ended = run(&mut install, PHASE_MAX);
            assert_eq!(
                ended.code,
                Some(0),
                "npm install playwright-core\n{}",
                ended.both()
            );
            npm.path().join("node_modules/playwright-core")
        }
    };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/app-host");
    let mut server = Server::of(example)
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    drive(&server, "create,verify", &playwright);
    server.kill9();
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    drive(&server, "verify,update,verify", &playwright);
    server.kill9();
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    drive(&server, "verify,delete", &playwright);
    assert_eq!(server.sigterm(), Some(0), "a clean end");
}
