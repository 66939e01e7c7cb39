//! `facetd serve`: a project over HTTP, until SIGTERM or Ctrl-C.

use crate::admin::Admin;
use crate::cli::{Durability, ServeArguments};
use crate::exit::{Code, Stopped};
use crate::http;
use facetd_config::{HistoryConfig, LoadOptions, MailboxConfig, Project};
use facetd_core::{Limits, MailboxLimits};
use facetd_host::{Egress, Host, HostOptions, Retention, limits_of};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long running requests may take after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);
/// How long an object may idle in memory. The platform's number.
const EVICT_AFTER_MS: u64 = 10_000;

pub fn run(arguments: &ServeArguments) -> Result<Code, Stopped> {
    if arguments.admin != "off" {
        return Err(Stopped::Usage(
            "--admin: there is no admin listener yet; only `off` is accepted".to_owned(),
        ));
    }
    let paths: Vec<&Path> = arguments.projects.iter().map(PathBuf::as_path).collect();
    let load = LoadOptions {
        env: arguments.env.clone(),
        vars: arguments.vars.clone(),
    };
    let project = facetd_config::load_all(&paths, &load)?;
    for warning in &project.warnings {
        tracing::warn!("{warning}");
    }
    let data = arguments
        .data
        .clone()
        .unwrap_or_else(|| project.root.join(".facetd"));
    let fsync = match (arguments.durability, project.workers[0].durability) {
        (Some(asked), _) => asked == Durability::Fsync,
        (None, Some(configured)) => configured == facetd_config::Durability::Fsync,
        (None, None) => true,
    };
    let address = address(arguments, &project);
    let options = host_options(&project, data, fsync);
    facetd_isolate::init_platform();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("server")
        .build()
        .map_err(|error| Stopped::Io("the server's threads could not be started", error))?;
    runtime.block_on(serve(project, options, address))
}

/// The host's options for a project.
pub fn host_options(project: &Project, data_dir: PathBuf, fsync: bool) -> HostOptions {
    let main = &project.workers[0];
    HostOptions {
        data_dir,
        fsync,
        retention: retention(main.history.unwrap_or(HistoryConfig::DEFAULT)),
        static_limits: Limits::STATIC,
        dynamic_limits: limits_of(&main.dynamic_limits).or(Limits::DYNAMIC),
        egress: egress(main.egress.as_ref()),
        evict_after_ms: main.evict_after_ms.unwrap_or(EVICT_AFTER_MS),
        mailbox: mailbox(main.mailbox),
    }
}

fn mailbox(config: MailboxConfig) -> MailboxLimits {
    let usual = MailboxLimits::default();
    let number = |configured: Option<u64>, usual| {
        configured.map_or(usual, |number| {
            usize::try_from(number).unwrap_or(usize::MAX)
        })
    };
    MailboxLimits {
        len: number(config.length, usual.len),
        wait_ms: config.wait_ms.unwrap_or(usual.wait_ms),
        in_flight: number(config.in_flight, usual.in_flight),
    }
}

fn retention(history: HistoryConfig) -> Option<Retention> {
    match history {
        HistoryConfig::Off => None,
        HistoryConfig::Kept { days, mb } => Some(Retention {
            seconds: days.saturating_mul(86_400),
            bytes: mb.saturating_mul(1 << 20),
        }),
    }
}

/// `"egress": {"allow": ["public", "private", "local"]}`. Public addresses are always allowed.
fn egress(config: Option<&serde_json::Value>) -> Egress {
    let allow = config.and_then(|c| c["allow"].as_array());
    let private =
        allow.is_some_and(|list| list.iter().any(|kind| kind == "private" || kind == "local"));
    Egress { private }
}

fn address(arguments: &ServeArguments, project: &Project) -> SocketAddr {
    let dev = &project.workers[0].dev;
    let configured = dev.ip.as_deref().and_then(|ip| {
        if ip == "localhost" {
            None
        } else {
            ip.parse().ok()
        }
    });
    let ip = arguments
        .host
        .or(configured)
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(ip, arguments.port.or(dev.port).unwrap_or(8787))
}

async fn serve(
    project: Project,
    options: HostOptions,
    address: SocketAddr,
) -> Result<Code, Stopped> {
    // The port before the data directory: a second start fails for the reason the user can see.
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Stopped::Address(address, error))?;
    let address = listener
        .local_addr()
        .map_err(|error| Stopped::Address(address, error))?;
    let host = Arc::new(Host::new(
        project,
        options,
        tokio::runtime::Handle::current(),
    )?);
    host.start().await?;
    host.start_crons();
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| Stopped::Io("SIGTERM cannot be handled", e))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|e| Stopped::Io("SIGINT cannot be handled", e))?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let admin = match Admin::open(host.clone()) {
        Ok(admin) => Some(tokio::spawn(admin.serve(stopping.clone()))),
        Err(error) => {
            // A file system without sockets, say. Serving goes on.
            tracing::warn!("`facetd db` cannot reach this server: {error}");
            None
        }
    };
    println!("facetd listening on http://{address}");
    // A closed stdout is no reason to stop serving.
    let _flushed = std::io::stdout().flush();
    host.warm_up();
    let server = tokio::spawn(http::serve(listener, host.main(), stopping));
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: no new connections, finishing what runs"),
        _ = interrupt.recv() => tracing::info!("interrupted: no new connections, finishing what runs"),
    }
    let _server_ended = stop.send(true);
    if tokio::time::timeout(DRAIN, server).await.is_err() {
        tracing::warn!(
            "requests still run after {} s and are cut off",
            DRAIN.as_secs()
        );
    }
    if let Some(admin) = admin {
        let _admin_ended = admin.await; // bounded: see `admin.rs`
    }
    let stopped = tokio::task::spawn_blocking(move || host.shutdown());
    if stopped.await.is_err() {
        return Ok(Code::Failed);
    }
    Ok(Code::Ok)
}
