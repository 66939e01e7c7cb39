//! Builds one worker from its config, or from a single file.
//!
//! Owns: the order in which a config is judged, and the keys that belong to no larger topic: name, date,
//! limits, dev, triggers, assets. Looks at this worker only; `lib` checks what refers to others.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::LoadOptions;
use crate::bindings::{Bindings, optional_name};
use crate::compatibility::{Compatibility, SUPPORTED_DATE};
use crate::config_file::parse;
use crate::cron::Cron;
use crate::error::ConfigError;
use crate::migrations::{self, Severity, fold};
use crate::modules::{discover, normalize, single_file};
use crate::project::{
    AssetsConfig, DevConfig, Durability, HistoryConfig, LimitsConfig, LoaderBinding, MailboxConfig,
    WorkerConfig,
};
use crate::secrets;
use crate::settings::{Settings, did_you_mean, shown};
use crate::value::{Field, Object};

/// Longer names are refused by Cloudflare too; with a class name this stays a valid directory name.
const NAME_BYTES_MAX: usize = 128;

/// `options.vars` go to this worker: pass them for the primary only.
pub(crate) fn from_config(
    file: &Path,
    options: &LoadOptions,
    vars: &[(String, String)],
    warnings: &mut Vec<String>,
) -> Result<WorkerConfig, ConfigError> {
    let config = parse(file)?;
    let settings = Settings::select(file, &config, options.env.as_deref(), warnings)?;
    let config_file = file.canonicalize().map_err(ConfigError::io("open", file))?;
    // The folder the config was found in, not the one a linked config lives in.
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let root = folder
        .canonicalize()
        .map_err(ConfigError::io("open", folder))?;

    let name = name(&settings)?;
    let compatibility = compatibility(&settings, warnings)?;
    let assets = assets(&settings, &root)?;
    let mut secrets = secrets::load(&root, settings.env_name())?;
    secrets.extend_from_slice(vars);
    let bindings = Bindings::parse(&settings, secrets, assets.as_ref())?;

    let migrations = migrations::parse(&settings)?;
    let (class_map, issues) = fold(&name, &migrations, &bindings.objects);
    for issue in issues {
        match issue.severity {
            Severity::Error => return Err(ConfigError::invalid(file, issue.key, issue.message)),
            Severity::Warning => warnings.push(format!(
                "{} in {}: {}",
                issue.key,
                shown(file),
                issue.message
            )),
        }
    }

    let mut limits = LimitsConfig::default();
    for field in [settings.get("limits"), settings.facetd("limits")?]
        .into_iter()
        .flatten()
    {
        limits = limits.lower(read_limits(&field, warnings)?);
    }
    let dynamic_limits = settings.facetd("dynamic_limits")?;
    let dynamic_limits = dynamic_limits.map_or(Ok(LimitsConfig::default()), |field| {
        read_limits(&field, warnings)
    })?;
    let instances = settings
        .facetd("instances")?
        .map(|field| read_instances(&field))
        .transpose()?;
    let durability = settings
        .facetd("durability")?
        .map(|field| read_durability(&field))
        .transpose()?;
    let history = settings
        .facetd("history")?
        .map(|field| read_history(&field, warnings))
        .transpose()?;
    let confine = settings
        .facetd("confine")?
        .map(|field| field.boolean())
        .transpose()?;
    let evict_after_ms = settings
        .facetd("evict_after_ms")?
        .map(|field| field.positive())
        .transpose()?;
    let mailbox = settings
        .facetd("mailbox")?
        .map_or(Ok(MailboxConfig::default()), |field| {
            read_mailbox(&field, warnings)
        })?;
    let egress = settings.facetd("egress")?.map(|field| field.value.clone());
    let dev = dev(&settings, warnings)?;
    let crons = crons(&settings)?;
    let tail_consumers = tail_consumers(&settings)?;

    // Last, as it reads files: a wrong config is reported without them.
    let modules = discover(&settings, &root, warnings)?;
    Ok(WorkerConfig {
        name,
        root,
        config_file: Some(config_file),
        main: modules.main,
        modules: modules.list,
        compatibility,
        vars: bindings.vars,
        classes: class_map.classes,
        object_bindings: bindings.objects,
        class_bindings: bindings.classes,
        worker_loaders: bindings.loaders,
        services: bindings.services,
        kv_namespaces: bindings.kv_namespaces,
        tail_consumers,
        crons,
        assets,
        migrations,
        limits,
        dynamic_limits,
        durability,
        history,
        instances,
        evict_after_ms,
        mailbox,
        egress,
        confine,
        dev,
        single_file: false,
    })
}

/// A worker that is one file: the newest behaviour, `env.LOADER`, and what `--var` gives it.
pub(crate) fn from_single_file(
    file: &Path,
    options: &LoadOptions,
    vars: &[(String, String)],
    warnings: &mut Vec<String>,
) -> Result<WorkerConfig, ConfigError> {
    if let Some(env) = &options.env {
        warnings.push(format!(
            "{} has no environments: \"{env}\" is ignored",
            shown(file)
        ));
    }
    let file = std::path::absolute(file).map_err(ConfigError::io("open", file))?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let root = folder
        .canonicalize()
        .map_err(ConfigError::io("open", folder))?;
    let modules = single_file(&file, &root, warnings)?;
    let loader = LoaderBinding {
        binding: "LOADER".to_owned(),
        id: None,
    };
    let vars = vars
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(value.clone())))
        .collect();
    Ok(WorkerConfig {
        name: name_from_stem(&file),
        root,
        config_file: None,
        main: modules.main,
        modules: modules.list,
        compatibility: Compatibility::newest(),
        vars,
        classes: Vec::new(),
        object_bindings: Vec::new(),
        class_bindings: Vec::new(),
        worker_loaders: vec![loader],
        services: Vec::new(),
        kv_namespaces: Vec::new(),
        tail_consumers: Vec::new(),
        crons: Vec::new(),
        assets: None,
        migrations: Vec::new(),
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
        single_file: true,
    })
}

fn name(settings: &Settings) -> Result<String, ConfigError> {
    let (own, top) = settings.own_name();
    let (field, suffix) = match (own, top) {
        (Some(own), _) => (own, None),
        (None, Some(top)) => (top, settings.env_name()),
        (None, None) => {
            let message = "missing; set it to the worker's name: letters, digits and dashes";
            return Err(ConfigError::invalid(settings.file(), "name", message));
        }
    };
    let name = match suffix {
        Some(env) => format!("{}-{env}", field.name()?),
        None => field.name()?.to_owned(),
    };
    // `_` is not in the rules, but wrangler lets it through.
    if name.len() > NAME_BYTES_MAX
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    {
        return Err(field.invalid(format!(
            "\"{name}\" is not a worker name: use up to {NAME_BYTES_MAX} letters, digits and dashes"
        )));
    }
    Ok(name)
}

fn name_from_stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
            c
        } else {
            '-'
        }
    };
    stem.chars().map(plain).take(NAME_BYTES_MAX).collect()
}

fn compatibility(
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Compatibility, ConfigError> {
    let date = match settings.get("compatibility_date") {
        Some(field) => field.string()?,
        None => {
            warnings.push(format!(
                "no \"compatibility_date\" in {}: using {SUPPORTED_DATE}. Set it, or an update of facetd may change behaviour",
                shown(settings.file())
            ));
            SUPPORTED_DATE
        }
    };
    let flags = settings
        .get("compatibility_flags")
        .map_or(Ok(Vec::new()), |field| field.strings())?;
    // The operator's own code may use experimental flags, as under `wrangler dev`.
    Compatibility::resolve(date, &flags, true)
        .map_err(|error| ConfigError::invalid(settings.file(), "", error.to_string()))
}

const LIMIT_KEYS: [&str; 6] = [
    "cpu_ms",
    "subrequests",
    "memory_mb",
    "wall_ms",
    "storage_mb",
    "wait_until_ms",
];

fn read_limits(field: &Field, warnings: &mut Vec<String>) -> Result<LimitsConfig, ConfigError> {
    let object = field.object()?;
    warn_of_others(field, &object, &LIMIT_KEYS, warnings);
    let limit = |key| object.get(key).map(|field| field.positive()).transpose();
    Ok(LimitsConfig {
        cpu_ms: limit("cpu_ms")?,
        subrequests: limit("subrequests")?,
        memory_mb: limit("memory_mb")?,
        wall_ms: limit("wall_ms")?,
        storage_mb: limit("storage_mb")?,
        wait_until_ms: limit("wait_until_ms")?,
    })
}

fn warn_of_others(field: &Field, object: &Object, known: &[&str], warnings: &mut Vec<String>) {
    for key in object
        .map
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
    {
        let suggestion = did_you_mean(key, known.iter().copied());
        warnings.push(format!(
            "unknown key \"{}.{key}\" in {}{suggestion}",
            field.path,
            shown(field.file)
        ));
    }
}

fn read_durability(field: &Field) -> Result<Durability, ConfigError> {
    match field.string()? {
        "fsync" => Ok(Durability::Fsync),
        "relaxed" => Ok(Durability::Relaxed),
        other => Err(field.invalid(format!(
            "expected \"fsync\" or \"relaxed\", found \"{other}\""
        ))),
    }
}

/// More isolates of one worker than this are a mistake: each is a thread.
const INSTANCES_MAX: u64 = 256;

fn read_instances(field: &Field) -> Result<u64, ConfigError> {
    match field.value {
        Value::String(text) if text == "cores" => {
            let cores = std::thread::available_parallelism();
            Ok(cores
                .map_or(1, |cores| cores.get() as u64)
                .min(INSTANCES_MAX))
        }
        Value::Number(_) => match field.positive()? {
            number if number <= INSTANCES_MAX => Ok(number),
            number => {
                Err(field.invalid(format!("expected at most {INSTANCES_MAX}, found {number}")))
            }
        },
        _ => Err(field.expected("a number or \"cores\"")),
    }
}

fn read_mailbox(field: &Field, warnings: &mut Vec<String>) -> Result<MailboxConfig, ConfigError> {
    let object = field.object()?;
    warn_of_others(
        field,
        &object,
        &["length", "wait_ms", "in_flight"],
        warnings,
    );
    let number = |key| object.get(key).map(|field| field.positive()).transpose();
    Ok(MailboxConfig {
        length: number("length")?,
        wait_ms: number("wait_ms")?,
        in_flight: number("in_flight")?,
    })
}

fn read_history(field: &Field, warnings: &mut Vec<String>) -> Result<HistoryConfig, ConfigError> {
    if field.value.as_bool() == Some(false) {
        return Ok(HistoryConfig::Off);
    }
    let HistoryConfig::Kept { days, mb } = HistoryConfig::DEFAULT else {
        return Ok(HistoryConfig::Off);
    };
    let object = field.object()?;
    warn_of_others(field, &object, &["days", "mb"], warnings);
    let number = |key, default| {
        object
            .get(key)
            .map_or(Ok(default), |field| field.positive())
    };
    Ok(HistoryConfig::Kept {
        days: number("days", days)?,
        mb: number("mb", mb)?,
    })
}

fn dev(settings: &Settings, warnings: &mut Vec<String>) -> Result<DevConfig, ConfigError> {
    let Some(field) = settings.get("dev") else {
        return Ok(DevConfig::default());
    };
    let dev = field.object()?;
    let port = dev.get("port").map(|field| {
        let port = field.positive()?;
        u16::try_from(port)
            .map_err(|_| field.invalid(format!("expected a port below 65536, found {port}")))
    });
    if dev
        .get("local_protocol")
        .is_some_and(|field| field.value == "https")
    {
        let file = shown(settings.file());
        warnings.push(format!(
            "\"dev.local_protocol\" in {file}: https is not supported, serving http"
        ));
    }
    Ok(DevConfig {
        ip: optional_name(&dev, "ip")?,
        port: port.transpose()?,
    })
}

/// More than the platform allows; each costs a look per minute.
const CRONS_MAX: usize = 1000;

fn crons(settings: &Settings) -> Result<Vec<Cron>, ConfigError> {
    let Some(field) = settings.get("triggers") else {
        return Ok(Vec::new());
    };
    let Some(crons) = field.object()?.get("crons") else {
        return Ok(Vec::new());
    };
    let items = crons.items()?;
    if items.len() > CRONS_MAX {
        return Err(crons.invalid(format!(
            "expected at most {CRONS_MAX} cron expressions, found {}",
            items.len()
        )));
    }
    let parse = |item: &Field| {
        let text = item.string()?;
        Cron::parse(text).map_err(|error| item.invalid(format!("\"{text}\": {error}")))
    };
    items.iter().map(parse).collect()
}

fn tail_consumers(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    let Some(field) = settings.get("tail_consumers") else {
        return Ok(Vec::new());
    };
    let service = |item: &Field| Ok(item.object()?.required("service")?.name()?.to_owned());
    field.items()?.iter().map(service).collect()
}

fn assets(settings: &Settings, root: &Path) -> Result<Option<AssetsConfig>, ConfigError> {
    let Some(field) = settings.get("assets") else {
        return Ok(None);
    };
    let assets = field.object()?;
    let directory: PathBuf = normalize(&root.join(assets.required("directory")?.name()?));
    Ok(Some(AssetsConfig {
        directory,
        binding: optional_name(&assets, "binding")?,
        html_handling: optional_name(&assets, "html_handling")?,
        not_found_handling: optional_name(&assets, "not_found_handling")?,
        run_worker_first: assets
            .get("run_worker_first")
            .map(|field| field.value.clone()),
    }))
}
