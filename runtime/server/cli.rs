//! What the user types.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;

/// Runs Cloudflare-Workers-style JavaScript on your own machine, centred on Durable Object Facets.
#[derive(Parser)]
#[command(name = "facetd", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// How log lines are written to stderr. Which ones: FACETD_LOG, e.g. `debug` or `worker=warn`.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
pub enum Command {
    /// Serve a project over HTTP.
    Serve(ServeArguments),
    /// Run the `test(controller, env, ctx)` handlers of a project.
    Test(TestArguments),
}

#[derive(Args)]
pub struct ServeArguments {
    /// Folders with wrangler.jsonc, .json or .toml, or single .js files. The first answers HTTP.
    #[arg(default_value = ".")]
    pub projects: Vec<PathBuf>,
    /// 0 picks a free port. Default: the config's `dev.port`, or 8787.
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Default: the config's `dev.ip`, or 127.0.0.1.
    #[arg(long)]
    pub host: Option<IpAddr>,
    /// Where objects are stored. Default: .facetd in the project.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The admin listener's address, or `off`. There is none yet: anything but `off` is refused.
    #[arg(long, hide = true, default_value = "off")]
    pub admin: String,
    /// `fsync`: answered writes survive a power cut. `relaxed`: they survive a crash of the process.
    #[arg(long, value_enum)]
    pub durability: Option<Durability>,
    /// The `env.NAME` section of the config to use.
    #[arg(long)]
    pub env: Option<String>,
    /// Sets a variable, over what the config says.
    #[arg(long = "var", value_name = "KEY=VALUE", value_parser = key_value)]
    pub vars: Vec<(String, String)>,
}

#[derive(Args)]
pub struct TestArguments {
    /// Folders or single .js files; each is run on its own.
    #[arg(default_value = ".")]
    pub projects: Vec<PathBuf>,
    /// Run only exports whose name contains this.
    #[arg(long)]
    pub filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    Fsync,
    Relaxed,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
