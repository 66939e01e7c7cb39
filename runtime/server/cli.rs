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
    /// Look after the data: list, query, export, import, back up, restore, verify.
    Db(DbArguments),
}

#[derive(Args)]
#[command(
    after_help = "DATABASE is NAMESPACE/OBJECT[/FACET...]. OBJECT is an id as `ls` shows it (64 hex digits) or the name it was made \
    from; `name:TEXT` for a name that looks like an id. A slash within a name is written %2F."
)]
pub struct DbArguments {
    /// The data directory. A facetd may be running on it.
    #[arg(long, global = true, default_value = ".facetd")]
    pub data: PathBuf,
    #[command(subcommand)]
    pub command: DbCommand,
}

#[derive(Subcommand)]
pub enum DbCommand {
    /// Namespaces, objects and facets, with sizes and the time of the last change (UTC).
    Ls {
        /// Only this NAMESPACE, or NAMESPACE/OBJECT.
        only: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Run SQL against the database of an object or facet. Read-only unless --write.
    Query {
        /// NAMESPACE/OBJECT[/FACET...]
        database: String,
        /// One or more statements; without it they are read from stdin.
        sql: Option<String>,
        /// Allow changes: all statements are committed together, or none. The object is reset first if it is running.
        #[arg(long)]
        write: bool,
        /// All values in full, as JSON: one object with columns and rows per statement.
        #[arg(long)]
        json: bool,
        /// Stop after so many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
    /// Write a database to a SQLite file, or as SQL.
    Export {
        /// NAMESPACE/OBJECT[/FACET...]
        database: String,
        /// The file; with --sql, `-` is stdout.
        to: PathBuf,
        /// A dump instead of a SQLite file.
        #[arg(long)]
        sql: bool,
        /// Replace the file if there is one.
        #[arg(long)]
        force: bool,
    },
    /// Replace a database by the contents of a SQLite file or a dump. Objects and facets that are not there are made.
    Import {
        /// NAMESPACE/OBJECT[/FACET...]
        database: String,
        /// The file; with --sql, `-` is stdin.
        from: PathBuf,
        /// The file is an SQL dump.
        #[arg(long)]
        sql: bool,
        /// Replace the database if there is one.
        #[arg(long)]
        force: bool,
    },
    /// Copy everything to a folder, also while a facetd runs. A second time, only what changed.
    Backup {
        /// An empty folder, or that of an earlier backup.
        to: PathBuf,
    },
    /// Bring a backup back: everything, while no facetd runs; or one object at any time. Or take one database back in time.
    Restore {
        /// The folder of a backup. Not with --at.
        #[arg(required_unless_present = "at", conflicts_with = "at")]
        from: Option<PathBuf>,
        /// From the history instead: the state at this time, `2026-11-24 12:00:00` (UTC) or `10m` (ago; s, m, h, d).
        #[arg(long, value_name = "TIME", requires = "only")]
        at: Option<String>,
        /// Replace what is there.
        #[arg(long)]
        force: bool,
        /// Only this NAMESPACE/OBJECT, with its facets. With --at: just this object's or facet's database.
        #[arg(long, value_name = "NAMESPACE/OBJECT")]
        only: Option<String>,
    },
    /// Check every database, index and file name. Exits with 8 if something is wrong.
    Verify {
        /// The folder of a backup, instead of the data directory.
        backup: Option<PathBuf>,
    },
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
