//! `cargo xtask bench`: the comparison with workerd, whose harness lies beside the checkout.

use crate::cargo::{Checkout, Profile, status};
use crate::{exit_code, v8};
use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

const HARNESS: &str = "../shared/bench/bench.mjs";

pub fn run(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let harness = checkout.path(HARNESS);
    if !harness.is_file() {
        bail!("there is no {HARNESS} beside this checkout: the side-by-side benchmark cannot run");
    }
    let mut command = Command::new("node");
    command.arg(harness.canonicalize()?);
    // These ask the harness about itself; it needs no facetd for them.
    let needs_facetd = |arg: &str| {
        !matches!(arg, "--help" | "--list" | "--peer-only" | "--facetd")
            && !arg.starts_with("--facetd=")
    };
    if args.iter().all(|arg| needs_facetd(arg)) {
        let archive = v8::ensure(checkout, true)?;
        let binary = checkout.build_facetd(&archive, Profile::Release)?;
        let binary = binary.display().to_string();
        if binary.contains(char::is_whitespace) {
            bail!(
                "the harness splits its command at blanks, and there is one in {binary}: set CARGO_TARGET_DIR"
            );
        }
        command.args([
            "--facetd",
            &format!("{binary} serve {{project}} --port {{port}} --data {{data}}"),
        ]);
    }
    Ok(exit_code(status(command.args(args))?.success()))
}
