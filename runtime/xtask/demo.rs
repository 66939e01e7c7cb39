//! `cargo xtask demo`: facetd serving an example, as the README's first command.

use crate::cargo::{Checkout, Profile};
use crate::{Usage, v8};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const MAIN_EXAMPLE: &str = "app-host";

pub fn run(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let mut port = 8787_u16;
    let mut profile = Profile::Release;
    let mut example = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--port" => port = port_of(args.next().map_or("", String::as_str))?,
            "--dev" => profile = Profile::Dev,
            _ if arg.starts_with("--port=") => port = port_of(&arg["--port=".len()..])?,
            _ if arg.starts_with('-') || example.is_some() => {
                return Err(Usage(format!("`{arg}` is not understood here")).into());
            }
            _ => example = Some(arg.as_str()),
        }
    }
    let example = example.unwrap_or(MAIN_EXAMPLE);
    // Before the build, which takes minutes. The name becomes part of a path.
    let project = checkout.path("examples").join(example);
    if example.contains(['/', '\\']) || example.starts_with('.') || !project.is_dir() {
        bail!(
            "there is no example `{example}`; there are: {}",
            crate::examples::names(checkout)?.join(", ")
        );
    }
    let data = checkout.path(".facetd/demo").join(example);
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let archive = v8::ensure(checkout, profile == Profile::Release)?;
    let binary = checkout.build_facetd(&archive, profile)?;
    eprintln!("xtask: example {example}, data in {}", data.display());
    eprintln!("xtask: open http://127.0.0.1:{port} once facetd says it listens; Ctrl-C stops it");
    // In our place, so that Ctrl-C and SIGTERM reach facetd itself and its exit code is ours.
    let error = Command::new(&binary)
        .arg("serve")
        .arg(project)
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--data"])
        .arg(data)
        .exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}

fn port_of(text: &str) -> Result<u16> {
    text.parse()
        .map_err(|_| Usage(format!("--port wants a number up to 65535, not `{text}`")).into())
}
