//! What a project is once it is loaded: the data other crates read.
//!
//! Owns: the shapes only. Always true of a value made by `load`: names and dates are valid, binding
//! names of a worker are unique, every `service` and `script_name` is the name of a worker in
//! `Project::workers`, and every module's bytes are in memory.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::compatibility::Compatibility;
use crate::cron::Cron;
use crate::migrations::Migration;

/// One or more workers that run together.
#[derive(Debug, Clone)]
pub struct Project {
    /// The first is the primary: it answers HTTP.
    pub workers: Vec<WorkerConfig>,
    /// For the operator, one line each. Nothing here stops the project from running.
    pub warnings: Vec<String>,
    /// Absolute folder of the primary worker; the default data directory is below it.
    pub root: PathBuf,
}

/// A worker ready to be started.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// What services and `script_name` refer to; letters, digits, `-` and `_`.
    pub name: String,
    /// Absolute folder of its config, or of its file.
    pub root: PathBuf,
    /// Absolute path; `None` for a single file.
    pub config_file: Option<PathBuf>,
    /// The `name` of one of `modules`, always an ES module.
    pub main: String,
    /// Starts with the main module.
    pub modules: Vec<ModuleSource>,
    pub compatibility: Compatibility,
    /// `vars`, then secrets (always strings) over them.
    pub vars: Map<String, Value>,
    /// Classes with a namespace: those of the migrations, then those only bound.
    pub classes: Vec<DurableClass>,
    pub object_bindings: Vec<ObjectBinding>,
    pub class_bindings: Vec<ClassBinding>,
    pub worker_loaders: Vec<LoaderBinding>,
    pub services: Vec<ServiceBinding>,
    pub kv_namespaces: Vec<KvBinding>,
    /// Names of workers that get the trace items of this one.
    pub tail_consumers: Vec<String>,
    /// When `scheduled` is called.
    pub crons: Vec<Cron>,
    pub assets: Option<AssetsConfig>,
    pub migrations: Vec<Migration>,
    /// The lower of `limits` and `facetd.limits`, field by field.
    pub limits: LimitsConfig,
    /// What workers loaded by this one get unless their code says less.
    pub dynamic_limits: LimitsConfig,
    pub durability: Option<Durability>,
    /// How much of each database's past is kept; `None`: the default.
    pub history: Option<HistoryConfig>,
    /// How many isolates share the load of this worker.
    pub instances: Option<u64>,
    /// How long an idle object stays in memory; `None`: the default.
    pub evict_after_ms: Option<u64>,
    pub mailbox: MailboxConfig,
    /// `facetd.egress` as written.
    pub egress: Option<Value>,
    /// `facetd.confine`: whether the daemon confines itself.
    pub confine: Option<bool>,
    pub dev: DevConfig,
    /// Made from one JavaScript file: classes are known only once it runs.
    pub single_file: bool,
}

/// `facetd.mailbox`: how much may wait. `None`: the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailboxConfig {
    /// Events for one object.
    pub length: Option<u64>,
    /// How long each.
    pub wait_ms: Option<u64>,
    /// Requests in one isolate, not for objects.
    pub in_flight: Option<u64>,
}

/// `facetd.history`: what point-in-time recovery keeps per database, whichever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryConfig {
    /// `false`: nothing.
    Off,
    Kept {
        days: u64,
        mb: u64,
    },
}

impl HistoryConfig {
    /// Seven days or 1 GiB.
    pub const DEFAULT: Self = Self::Kept { days: 7, mb: 1024 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    EsModule,
    CommonJs,
    Text,
    Data,
    Json,
    Wasm,
}

/// One module with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleSource {
    /// Virtual path below the base directory, with `/`: `lib/util.js`. May end in `?module`.
    pub name: String,
    pub kind: ModuleKind,
    /// Where the bytes came from.
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// A Durable Object class with storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableClass {
    pub class_name: String,
    /// Names its storage directory, and ids derive from it.
    pub unique_key: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectBinding {
    pub binding: String,
    pub class_name: String,
    /// The worker that exports the class; `None`: this one.
    pub script_name: Option<String>,
}

/// `facetd.durable_object_classes`: a class to make facets of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassBinding {
    pub binding: String,
    pub class_name: String,
    /// The worker that exports the class; `None`: this one.
    pub service: Option<String>,
    /// An object.
    pub props: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderBinding {
    pub binding: String,
    /// Loaders of the same id share their workers; `None`: private to this binding.
    pub id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBinding {
    pub binding: String,
    pub service: String,
    /// A named export; `None`: the default one.
    pub entrypoint: Option<String>,
    /// An object.
    pub props: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvBinding {
    pub binding: String,
    /// Keys the store; the binding's name if the config gives none.
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetsConfig {
    /// Absolute; not checked to exist.
    pub directory: PathBuf,
    pub binding: Option<String>,
    pub html_handling: Option<String>,
    pub not_found_handling: Option<String>,
    /// `true`, `false` or an array of route patterns.
    pub run_worker_first: Option<Value>,
}

/// `None`: the default of the command. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitsConfig {
    pub cpu_ms: Option<u64>,
    pub subrequests: Option<u64>,
    pub memory_mb: Option<u64>,
    pub wall_ms: Option<u64>,
    pub storage_mb: Option<u64>,
    pub wait_until_ms: Option<u64>,
}

impl LimitsConfig {
    /// The lower of two limits, field by field; no limit gives way to any.
    pub fn lower(self, other: Self) -> Self {
        let lower = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            cpu_ms: lower(self.cpu_ms, other.cpu_ms),
            subrequests: lower(self.subrequests, other.subrequests),
            memory_mb: lower(self.memory_mb, other.memory_mb),
            wall_ms: lower(self.wall_ms, other.wall_ms),
            storage_mb: lower(self.storage_mb, other.storage_mb),
            wait_until_ms: lower(self.wait_until_ms, other.wait_until_ms),
        }
    }
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk: survives a crash of the machine.
    Fsync,
    /// Handed to the kernel: survives a crash of the process.
    Relaxed,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DevConfig {
    pub ip: Option<String>,
    pub port: Option<u16>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::migrations::tests::history;

    /// A worker `w` with nothing but migrations, in the notation of `history`.
    pub(crate) fn worker(entries: &[&str]) -> WorkerConfig {
        WorkerConfig {
            name: "w".to_owned(),
            root: PathBuf::new(),
            config_file: None,
            main: "main.js".to_owned(),
            modules: Vec::new(),
            compatibility: Compatibility::newest(),
            vars: Map::new(),
            classes: Vec::new(),
            object_bindings: Vec::new(),
            class_bindings: Vec::new(),
            worker_loaders: Vec::new(),
            services: Vec::new(),
            kv_namespaces: Vec::new(),
            tail_consumers: Vec::new(),
            crons: Vec::new(),
            assets: None,
            migrations: history(entries),
            limits: LimitsConfig::default(),
            dynamic_limits: LimitsConfig::default(),
            durability: None,
            history: None,
            instances: None,
            evict_after_ms: None,
            mailbox: MailboxConfig::default(),
            egress: None,
            confine: None,
            dev: DevConfig::default(),
            single_file: false,
        }
    }
}
