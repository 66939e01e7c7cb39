//! `cargo xtask ready` and its steps: what must hold before a change is shown to others. CI runs the same.

use crate::cargo::{Checkout, status};
use crate::tally::Tally;
use crate::v8::{self, Archive};
use crate::{Usage, examples, exit_code, nothing_left, one_filter};
use anyhow::Result;
use std::env;
use std::process::ExitCode;
use std::time::Instant;

/// `cargo xtask ready`: stops at the first step that fails, the cheapest come first.
pub fn run(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let (mut docs, mut tests) = (true, true);
    for arg in args {
        match arg.as_str() {
            "--no-docs" => docs = false,
            "--no-test" => tests = false,
            other => return Err(Usage(format!("`{other}` is not understood here")).into()),
        }
    }
    let mut report = Report::default();
    if !report.step("format", || check_format(checkout, true))? {
        eprintln!("xtask: `cargo xtask fmt` formats it");
        return Ok(ExitCode::FAILURE);
    }
    let archive = v8::ensure(checkout, false)?;
    if !report.step("lint", || clippy(checkout, &archive))? {
        return Ok(ExitCode::FAILURE);
    }
    if docs && !report.step("docs", || document(checkout, &archive))? {
        return Ok(ExitCode::FAILURE);
    }
    let mut tally = Tally::default();
    let good = !tests
        || report.step("test", || {
            tally = test_all(checkout, &archive, None, &[])?;
            Ok(tally.is_good())
        })?;
    report.show();
    if tests {
        println!("{tally}");
    }
    Ok(exit_code(good))
}

/// How long each step took.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<bool>) -> Result<bool> {
        eprintln!("xtask: {name} ...");
        let began = Instant::now();
        let good = work()?;
        let verdict = if good { "ok" } else { "FAILED" };
        let line = format!("{name}: {verdict}, {:.0} s", began.elapsed().as_secs_f64());
        eprintln!("xtask: {line}");
        self.0.push(line);
        Ok(good)
    }

    fn show(&self) {
        println!("\n{}", self.0.join("; "));
    }
}

/// `cargo xtask test [FILTER] [-- ARGS]`
pub fn test(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let (own, program_args) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[][..]),
    };
    let filter = one_filter(own)?;
    let archive = v8::ensure(checkout, false)?;
    let tally = test_all(checkout, &archive, filter, program_args)?;
    if filter.is_some() && tally == Tally::default() {
        eprintln!("xtask: no test fits that filter");
    }
    println!("{tally}");
    Ok(exit_code(tally.is_good()))
}

fn test_all(
    checkout: &Checkout,
    archive: &Archive,
    filter: Option<&str>,
    program_args: &[String],
) -> Result<Tally> {
    let mut args: Vec<&str> = filter.into_iter().collect();
    if !program_args.is_empty() {
        args.push("--");
        args.extend(program_args.iter().map(String::as_str));
    }
    let mut tally = checkout.test(archive, &args, None)?;
    tally.add(examples::run_all(checkout, archive, filter)?);
    println!();
    if tally.ignored > 0 {
        println!("{} ignored", tally.ignored);
    }
    Ok(tally)
}

/// `cargo xtask fmt [--check]`
pub fn fmt(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let check = args.first().is_some_and(|arg| arg == "--check");
    nothing_left(if check { &args[1..] } else { args })?;
    Ok(exit_code(check_format(checkout, check)?))
}

fn check_format(checkout: &Checkout, check_only: bool) -> Result<bool> {
    let mut command = checkout.cargo(None)?;
    command.args(["fmt", "--all"]);
    if check_only {
        command.arg("--check");
    }
    Ok(status(&mut command)?.success())
}

/// `cargo xtask lint`
pub fn lint(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    nothing_left(args)?;
    let archive = v8::ensure(checkout, false)?;
    Ok(exit_code(clippy(checkout, &archive)?))
}

fn clippy(checkout: &Checkout, archive: &Archive) -> Result<bool> {
    let mut command = checkout.cargo(Some(archive))?;
    command.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    Ok(status(&mut command)?.success())
}

fn document(checkout: &Checkout, archive: &Archive) -> Result<bool> {
    let flags = env::var("RUSTDOCFLAGS").unwrap_or_default();
    let mut command = checkout.cargo(Some(archive))?;
    command
        .args(["doc", "--no-deps", "--workspace"])
        .env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim());
    Ok(status(&mut command)?.success())
}
