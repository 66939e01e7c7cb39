//! `cargo xtask`: our scripts, written in Rust.
//!
//! Owns: the command line of the project's own tasks. Never links V8, so that it compiles in seconds on a fresh
//! clone and can find V8 for everything else. Called by: people, the aliases in `.cargo/config.toml`, `.ci/run`.
//! Always true: exit code 0 all is well, 1 something failed, 2 wrong usage.

mod bench;
mod cargo;
mod case;
mod demo;
mod examples;
mod http;
mod ready;
mod tally;
mod v8;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo [--port 8787] [--dev] [EXAMPLE]  build facetd (release; --dev: quicker to build) and serve an example
                                        (app-host) on 127.0.0.1, data in .facetd/demo/EXAMPLE
  test [FILTER] [-- ARGS]               every test, then every example; ends with `N passed, N failed`.
                                        ARGS go to the test programs
  ready [--no-docs] [--no-test]         format check, lint, docs, test: what CI runs (also: cargo ready)
  fmt [--check]                         cargo fmt over the workspace
  lint                                  clippy over everything, warnings are errors
  examples [FILTER]                     start every folder under examples/ and ask it the question in its example.json
  conformance [FILTER]                  the conformance cases only (also: cargo conformance)
  new-case AREA/NAME                    begin a conformance case (also: cargo new-case)
  bench [ARGS]                          build release, run ../shared/bench/bench.mjs on it, ARGS passed on
  v8 status                             say which V8 archive a build would use
  v8 link                               let plain `cargo build`, `cargo test` and editors find that archive too
  v8 build [--yes] [-- ARGS]            build the archive from source into .v8/ (hours, root, Debian);
                                        ARGS go to runtime/xtask/build-v8.sh, e.g. `-- --dry-run`, `-- --work DIR`

The V8 archive is looked for in this order: RUSTY_V8_ARCHIVE, .v8/ in the checkout, ../shared/v8/, the v8 crate's own
download. Where none of these works, `cargo xtask v8 build` makes one.
";

/// What the user typed cannot be carried out; `main` adds where to find help.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) if error.is::<Usage>() => {
            eprintln!("xtask: {error}\nsee `cargo xtask --help`");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let Some((command, rest)) = args.split_first() else {
        eprint!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    // `bench --help` is the harness's; everything else is on our one page.
    let asks_help = |arg: &String| arg == "--help" || arg == "-h";
    let own = rest.iter().take_while(|arg| *arg != "--");
    if command == "help"
        || asks_help(command)
        || (command != "bench" && own.into_iter().any(asks_help))
    {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let checkout = cargo::Checkout::find()?;
    match command.as_str() {
        "demo" => demo::run(&checkout, rest),
        "test" => ready::test(&checkout, rest),
        "ready" => ready::run(&checkout, rest),
        "fmt" => ready::fmt(&checkout, rest),
        "lint" => ready::lint(&checkout, rest),
        "examples" => examples::run(&checkout, rest),
        "conformance" => case::run(&checkout, rest),
        "new-case" => case::create(&checkout, rest),
        "bench" => bench::run(&checkout, rest),
        "v8" => v8::run(&checkout, rest),
        other => Err(Usage(format!("there is no command `{other}`")).into()),
    }
}

/// For commands that take no arguments, or whose arguments are all read.
fn nothing_left(rest: &[String]) -> anyhow::Result<()> {
    match rest.first() {
        Some(arg) => Err(Usage(format!("`{arg}` is not understood here")).into()),
        None => Ok(()),
    }
}

/// The one optional word that `test`, `examples` and `conformance` take to run less.
fn one_filter(rest: &[String]) -> anyhow::Result<Option<&str>> {
    match rest {
        [] => Ok(None),
        [filter] if !filter.starts_with('-') => Ok(Some(filter)),
        [first, ..] if first.starts_with('-') => {
            nothing_left(rest)?;
            Ok(None)
        }
        [_, more @ ..] => {
            nothing_left(more)?;
            Ok(None)
        }
    }
}

fn exit_code(ok: bool) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
