//! The `facetd` binary: command line, logs, and what the process says when it ends.

mod admin;
mod cli;
mod db;
mod exit;
mod http;
mod serve;
mod test_command;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.log);
    abort_on_panic();
    raise_file_limit();
    forget_proxies();
    let ended = match cli.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Test(arguments) => test_command::run(&arguments),
        Command::Db(arguments) => db::run(&arguments),
    };
    match ended {
        Ok(code) => code.into(),
        Err(stopped) => {
            eprintln!("facetd: {stopped}");
            stopped.code().into()
        }
    }
}

/// Every object and facet in memory has three files open; the usual soft limit is 1024.
fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads and writes one rlimit, which is ours. If it fails the old limit stays.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// The HTTP client would send workers' requests through a proxy the environment names, and the proxy
/// would look names up by itself: past the rule about private addresses.
fn forget_proxies() {
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ] {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::remove_var(name) };
    }
}

fn start_log(format: cli::LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("FACETD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        cli::LogFormat::Text => log.with_target(true).init(),
        cli::LogFormat::Json => log.json().init(),
    }
}

/// Nothing may unwind through V8, and a thread that died must not leave callers waiting. The build
/// script shares our crates, so the profile cannot say `panic = "abort"` without compiling them twice.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}
