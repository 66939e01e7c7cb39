//! Turns the path of a project into a validated description of everything facetd needs to run it.
//!
//! Owns: wrangler configs and what facetd adds to them, module discovery, secrets, compatibility dates and flags,
//! Durable Object migrations. Knows no V8 and no tokio; it reads files, once, and writes only
//! `migrations.json`. Read by: `server` at start, `loader` for compatibility dates, `host` for the rest.
//! Start-up time is a feature: a config with one module costs a handful of system calls.
//!
//! The way of a config: `config_file` finds and parses it, `settings` looks through the selected
//! environment, `worker` judges the keys with the help of `bindings`, `migrations`, `modules` (which
//! uses `rules` and `imports`) and `secrets`; at last this file checks what workers say of each other.

#![forbid(unsafe_code)]

mod bindings;
mod compatibility;
mod config_file;
mod cron;
mod error;
mod flags;
mod imports;
mod migration_log;
mod migrations;
mod modules;
mod project;
mod rules;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;
mod value;
mod worker;

use std::path::Path;

pub use compatibility::{Compatibility, CompatibilityError, SUPPORTED_DATE};
pub use cron::{Cron, CronError};
pub use error::ConfigError;
pub use migration_log::{MigrationReport, apply_migrations, check_migration_log};
pub use migrations::{ClassMap, DeletedClass, Migration, RenamedClass};
pub use project::{
    AssetsConfig, ClassBinding, DevConfig, Durability, DurableClass, HistoryConfig, KvBinding,
    LimitsConfig, LoaderBinding, MailboxConfig, ModuleKind, ModuleSource, ObjectBinding, Project,
    ServiceBinding, WorkerConfig,
};

use config_file::{Located, locate};

/// What the command line adds to a project.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Selects `env.<name>`.
    pub env: Option<String>,
    /// `--var K=V`: over `vars` and secrets of the primary worker, which alone gets them.
    pub vars: Vec<(String, String)>,
}

/// Loads one project: a folder with a config, a config file, or a single JavaScript file.
///
/// # Errors
/// See [`ConfigError`]. A service binding to a worker of another project is an error here: projects that
/// run together are loaded together, by [`load_all`].
pub fn load(path: &Path, options: &LoadOptions) -> Result<Project, ConfigError> {
    load_all(&[path], options)
}

/// Loads projects that run in one process; the first is the primary. Every config must know the
/// selected environment or have none at all.
///
/// # Errors
/// Those of [`load`]; also two workers of one name.
///
/// # Panics
/// If `paths` is empty.
pub fn load_all(paths: &[&Path], options: &LoadOptions) -> Result<Project, ConfigError> {
    assert!(!paths.is_empty(), "a project has at least one path");
    let mut warnings = Vec::new();
    let mut workers: Vec<WorkerConfig> = Vec::new();
    for path in paths {
        let vars = if workers.is_empty() {
            options.vars.as_slice()
        } else {
            &[]
        };
        let worker = match locate(path)? {
            Located::Config(file) => worker::from_config(&file, options, vars, &mut warnings)?,
            Located::SingleFile(file) => {
                worker::from_single_file(&file, options, vars, &mut warnings)?
            }
        };
        if workers.iter().any(|other| other.name == worker.name) {
            let message = format!(
                "two workers are called \"{}\": services could not tell them apart",
                worker.name
            );
            return Err(ConfigError::invalid(path, "name", message));
        }
        workers.push(worker);
    }
    for worker in &workers {
        check_references(worker, &workers)?;
    }
    let root = workers[0].root.clone();
    Ok(Project {
        workers,
        warnings,
        root,
    })
}

/// Every worker and class that `worker` names must be among `workers`.
fn check_references(worker: &WorkerConfig, workers: &[WorkerConfig]) -> Result<(), ConfigError> {
    let invalid = |key: String, message: String| {
        ConfigError::invalid(
            worker.config_file.as_deref().unwrap_or(&worker.root),
            key,
            message,
        )
    };
    let find = |key: String, what: &str, name: &str| {
        workers.iter().find(|other| other.name == name).ok_or_else(|| {
            let names: Vec<&str> = workers.iter().map(|other| other.name.as_str()).collect();
            let message = format!(
                "{what} refers to worker \"{name}\", which is not loaded (loaded: {}). Correct the name, or give that \
                 worker's project on the command line too",
                names.join(", ")
            );
            invalid(key, message)
        })
    };
    for (at, service) in worker.services.iter().enumerate() {
        find(
            format!("services[{at}].service"),
            &format!("binding \"{}\"", service.binding),
            &service.service,
        )?;
    }
    for (at, consumer) in worker.tail_consumers.iter().enumerate() {
        find(
            format!("tail_consumers[{at}].service"),
            "the tail consumer",
            consumer,
        )?;
    }
    for (at, class) in worker.class_bindings.iter().enumerate() {
        if let Some(service) = &class.service {
            let key = format!("facetd.durable_object_classes[{at}].service");
            find(key, &format!("binding \"{}\"", class.binding), service)?;
        }
    }
    for (at, object) in worker.object_bindings.iter().enumerate() {
        let Some(script) = &object.script_name else {
            continue;
        };
        let key = format!("durable_objects.bindings[{at}].script_name");
        let target = find(
            key.clone(),
            &format!("binding \"{}\"", object.binding),
            script,
        )?;
        if !target
            .classes
            .iter()
            .any(|class| class.class_name == object.class_name)
        {
            let message = format!(
                "worker \"{script}\" declares no Durable Object class \"{}\": add it to \"new_sqlite_classes\" of a \
                 migration there",
                object.class_name
            );
            return Err(invalid(key, message));
        }
    }
    Ok(())
}
