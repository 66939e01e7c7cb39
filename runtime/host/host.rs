//! Building everything from a project, and taking it down.

use crate::alarms::Alarms;
use crate::incarnation::Incarnation;
use crate::loader::{Loader, LoaderBinding, WorkerLog, flags_of, limits_of};
use crate::namespace::Namespace;
use crate::network::Network;
use crate::pool::Pool;
use crate::seats::Seats;
use crate::worker::{Own, Worker};
use facetd_config::{Cron, ModuleKind, Project, WorkerConfig};
use facetd_core::{
    Answer, Binding, Body, ClassPort, Event, EventKind, Failure, Limits, LoaderPort, MailboxLimits,
    Module, ModuleSource, NamespacePort, Outcome, Payload, Target, UniqueKey, WorkerBundle,
    WorkerPort,
};
use facetd_store::{CommitLog, DataDirLock, Durability, LogOptions, Retention, StoreError};
use futures::channel::oneshot;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Where workers' outgoing fetches may go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Egress {
    /// Loopback, private and link-local addresses too.
    pub private: bool,
}

#[derive(Clone, Debug)]
pub struct HostOptions {
    pub data_dir: PathBuf,
    /// Answers that could reveal a write wait for `fdatasync`.
    pub fsync: bool,
    /// How much of each database's past is kept.
    pub retention: Option<Retention>,
    pub static_limits: Limits,
    pub dynamic_limits: Limits,
    pub egress: Egress,
    pub evict_after_ms: u64,
    pub mailbox: MailboxLimits,
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Config(#[from] facetd_config::ConfigError),
    #[error("the worker \"{worker}\" did not start.\n{message}")]
    Start { worker: String, message: String },
    #[error("Durable Object class \"{class}\" is not exported by worker \"{worker}\".")]
    MissingClass { class: String, worker: String },
    #[error(
        "the binding \"{binding}\" of worker \"{worker}\" refers to the entry point \"{entrypoint}\" of worker \"{service}\", which exports no such handler or WorkerEntrypoint (it has: {known})"
    )]
    MissingEntrypoint {
        binding: String,
        worker: String,
        service: String,
        entrypoint: String,
        known: String,
    },
    #[error("the HTTP client for outgoing requests could not be made: {0}")]
    Network(String),
}

pub(crate) struct HostInner {
    pub options: HostOptions,
    pub pool: Pool,
    /// Makes every commit of this process durable.
    pub log: CommitLog,
    pub seats: Seats,
    pub alarms: Arc<Alarms>,
    pub runtime: tokio::runtime::Handle,
    /// The heap of an isolate whose worker has no limit of its own.
    pub memory_mb_max: u64,
    /// Objects and facets that were asked for and could not start yet.
    pub waiting: Mutex<Vec<Weak<Incarnation>>>,
    /// Workers made by loaders, to be stopped with the others.
    pub loaded: Mutex<Vec<Weak<Worker>>>,
    pub lock: DataDirLock,
    keys: AtomicU64,
}

impl HostInner {
    pub fn loaded_alive(&self) -> usize {
        let loaded = self.loaded.lock();
        loaded
            .iter()
            .filter(|known| known.strong_count() > 0)
            .count()
    }

    /// A number nothing else in this process has.
    pub fn next_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }
}

/// Everything that is alive. Dropping it does not wait; [`Host::shutdown`] does.
pub struct Host {
    inner: Arc<HostInner>,
    workers: Vec<Arc<Worker>>,
    /// Classes each worker must export.
    classes: Vec<Vec<String>>,
    /// Entry points that bindings name.
    wanted: Vec<WantedEntrypoint>,
    /// When each worker's `scheduled` runs.
    crons: Vec<Vec<Cron>>,
    running_crons: Mutex<Option<tokio::task::AbortHandle>>,
    /// By unique key.
    namespaces: HashMap<String, Namespace>,
}

/// Heap of an isolate without a limit of its own.
const MEMORY_MB_MAX: u64 = 2048;

impl Host {
    /// Locks the data directory, applies migrations and prepares every worker of `project`. No user
    /// code runs yet.
    ///
    /// # Errors
    /// The data directory is in use, not writable, or the project does not fit together.
    pub fn new(
        project: Project,
        options: HostOptions,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, HostError> {
        let lock = DataDirLock::acquire(&options.data_dir)?;
        let durability = if options.fsync {
            Durability::Fsync
        } else {
            Durability::Relaxed
        };
        // Before anything is opened: it repairs what a crash left behind.
        let log = CommitLog::open(
            &options.data_dir,
            LogOptions {
                retention: options.retention,
                ..LogOptions::new(durability)
            },
        )?;
        for worker in &project.workers {
            facetd_config::apply_migrations(&options.data_dir.join("do"), worker)?;
        }
        log.forget_deleted_classes()?;
        let pool_memory = options.dynamic_limits.memory_mb.unwrap_or(MEMORY_MB_MAX);
        let inner = Arc::new(HostInner {
            pool: Pool::new(pool_memory, log.clone()),
            log,
            seats: Seats::default(),
            alarms: Arc::default(),
            runtime: runtime.clone(),
            memory_mb_max: MEMORY_MB_MAX,
            waiting: Mutex::default(),
            loaded: Mutex::default(),
            lock,
            keys: AtomicU64::new(1),
            options,
        });
        let network = Network::new(inner.options.egress, runtime).map_err(HostError::Network)?;
        let classes = project
            .workers
            .iter()
            .map(|worker| {
                worker
                    .classes
                    .iter()
                    .map(|class| class.class_name.clone())
                    .collect()
            })
            .collect();
        let wanted = project
            .workers
            .iter()
            .flat_map(WantedEntrypoint::of)
            .collect();
        let crons = project.workers.iter().map(|w| w.crons.clone()).collect();
        let builder = Builder::new(&inner, Arc::new(network), project)?;
        let mut listed: Vec<_> = builder.namespaces.values().map(|n| n.0.clone()).collect();
        listed.sort_by_key(|namespace| namespace.number());
        let listed = listed.iter().map(Arc::downgrade).collect();
        inner
            .alarms
            .open(listed, inner.log.clone(), inner.options.fsync)?;
        let namespaces = builder.by_key();
        let workers = builder.build()?;
        Ok(Self {
            inner,
            workers,
            classes,
            wanted,
            crons,
            running_crons: Mutex::default(),
            namespaces,
        })
    }

    /// Where HTTP requests go: the default export of the first worker.
    pub fn main(&self) -> Arc<dyn Target> {
        self.workers[0].stub(None, None, Limits::default())
    }

    /// The entry point `name` of the first worker.
    pub fn entrypoint(&self, name: &str) -> Arc<dyn Target> {
        let name = Some(name.to_owned()).filter(|name| name != "default");
        self.workers[0].stub(name, None, Limits::default())
    }

    /// Runs the workers' cron triggers from now on.
    pub fn start_crons(&self) {
        let workers: Vec<_> = self
            .workers
            .iter()
            .cloned()
            .zip(self.crons.iter().cloned())
            .collect();
        *self.running_crons.lock() = crate::crons::start(&workers, &self.inner.runtime);
    }

    fn stop_crons(&self) {
        if let Some(task) = self.running_crons.lock().take() {
            task.abort();
        }
    }

    /// Starts every worker of the project, waits until its modules have run, and checks that they
    /// export the classes and entry points they should. Then alarms fire, missed ones at once. Returns the exports of the first worker.
    ///
    /// # Errors
    /// Some worker did not start, or lacks a class or entry point that a binding or migration names.
    pub async fn start(&self) -> Result<Vec<Export>, HostError> {
        let mut main = None;
        let mut entrypoints: HashMap<String, Vec<String>> = HashMap::new();
        for (worker, classes) in self.workers.iter().zip(&self.classes) {
            let target = worker.stub(None, None, Limits::default());
            let exports = match ask(target.as_ref(), EventKind::Describe)
                .await
                .and_then(Export::list)
            {
                Ok(exports) => exports,
                Err(failure) => {
                    let message = start_message(&failure);
                    return Err(HostError::Start {
                        worker: worker.name.clone(),
                        message,
                    });
                }
            };
            let missing = classes
                .iter()
                .find(|class| !exports.iter().any(|e| e.is_class && e.name == **class));
            if let Some(class) = missing {
                return Err(HostError::MissingClass {
                    class: class.clone(),
                    worker: worker.name.clone(),
                });
            }
            let names = exports.iter().filter(|e| !e.is_class);
            entrypoints.insert(worker.name.clone(), names.map(|e| e.name.clone()).collect());
            main.get_or_insert(exports);
        }
        for wanted in &self.wanted {
            let known = entrypoints
                .get(&wanted.service)
                .map_or(&[][..], Vec::as_slice);
            if !known.contains(&wanted.entrypoint) {
                return Err(HostError::MissingEntrypoint {
                    binding: wanted.binding.clone(),
                    worker: wanted.worker.clone(),
                    service: wanted.service.clone(),
                    entrypoint: wanted.entrypoint.clone(),
                    known: known.join(", "),
                });
            }
        }
        self.inner.alarms.start(&self.inner.runtime);
        self.inner
            .runtime
            .spawn(refuse_late(Arc::downgrade(&self.inner)));
        Ok(main.unwrap_or_default())
    }

    pub(crate) fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    pub(crate) fn inner(&self) -> &Arc<HostInner> {
        &self.inner
    }

    /// The namespace with this unique key, if a worker of the project has it.
    pub(crate) fn namespace(&self, key: &str) -> Option<&Namespace> {
        self.namespaces.get(key)
    }

    pub fn data_dir(&self) -> &std::path::Path {
        &self.inner.options.data_dir
    }

    /// Has a few isolates made for workers that will be loaded.
    pub fn warm_up(&self) {
        self.inner.pool.fill();
    }

    /// Stops every worker, commits nothing more, waits (bounded) until their threads have let go, and empties the commit log
    /// into the databases.
    pub fn shutdown(&self) {
        self.stop_crons();
        self.inner.alarms.stop();
        self.inner.pool.drain();
        let loaded = std::mem::take(&mut *self.inner.loaded.lock());
        let loaded = loaded.iter().filter_map(Weak::upgrade);
        let workers = self.workers.iter().cloned().chain(loaded);
        let stopped: Vec<_> = workers
            .flat_map(|worker| worker.stop(&Failure::disconnected()))
            .collect();
        for _ in 0..500 {
            if stopped.iter().all(|running| running.isolate.has_ended()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.inner.alarms.close();
        if let Err(error) = self.inner.log.close() {
            // Nothing is lost: the next start reads it.
            tracing::warn!(%error, "the commit log could not be emptied");
        }
    }
}

/// An entry point that a service binding names.
struct WantedEntrypoint {
    binding: String,
    worker: String,
    service: String,
    entrypoint: String,
}

impl WantedEntrypoint {
    fn of(worker: &WorkerConfig) -> Vec<Self> {
        let named = worker.services.iter().filter_map(|service| {
            Some(Self {
                binding: service.binding.clone(),
                worker: worker.name.clone(),
                service: service.service.clone(),
                entrypoint: service.entrypoint.clone()?,
            })
        });
        named.collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop_crons();
        self.inner.alarms.stop();
    }
}

/// Refuses events that wait too long for an object that does not start, until the host is gone.
async fn refuse_late(host: Weak<HostInner>) {
    while let Some(inner) = host.upgrade() {
        let look_every = Duration::from_millis((inner.options.mailbox.wait_ms / 4).max(10));
        let waiting = std::mem::take(&mut *inner.waiting.lock());
        let mut still = Vec::new();
        for object in waiting {
            if object.upgrade().is_some_and(|object| object.refuse_late()) {
                still.push(object);
            }
        }
        inner.waiting.lock().extend(still);
        drop(inner);
        tokio::time::sleep(look_every).await;
    }
}

/// An export of a main module.
#[derive(Clone, Debug)]
pub struct Export {
    pub name: String,
    pub is_class: bool,
    /// Has a `test(controller, env, ctx)` handler.
    pub has_test: bool,
}

impl Export {
    fn list(answer: Answer) -> Result<Vec<Self>, Failure> {
        let Answer::Response(response) = answer else {
            return Err(Failure::internal());
        };
        let Body::Bytes(json) = response.body else {
            return Err(Failure::internal());
        };
        let value: serde_json::Value =
            serde_json::from_slice(&json).map_err(|_| Failure::internal())?;
        let export = |value: &serde_json::Value| Self {
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            is_class: value["kind"] == "class",
            has_test: value["test"] == true,
        };
        Ok(value
            .as_array()
            .map(|list| list.iter().map(export).collect())
            .unwrap_or_default())
    }
}

/// Sends one event and waits for its outcome.
pub async fn ask(target: &dyn Target, kind: EventKind) -> Outcome {
    let (told, outcome) = oneshot::channel();
    target.send(Event::new(kind, move |outcome| drop(told.send(outcome))));
    outcome
        .await
        .unwrap_or_else(|_| Err(Failure::disconnected()))
}

fn start_message(failure: &Failure) -> String {
    match failure {
        Failure::Host(error) => {
            let message = error.message.as_str();
            message
                .strip_prefix("Failed to start Worker:\n")
                .unwrap_or(message)
                .to_owned()
        }
        Failure::Thrown { .. } => "its top level threw".to_owned(),
    }
}

/// Puts the workers of a project together: first the namespaces, then the workers, then what binds them.
struct Builder<'a> {
    inner: &'a Arc<HostInner>,
    network: Arc<Network>,
    project: Project,
    namespaces: HashMap<(String, String), Namespace>,
    loaders: HashMap<String, Arc<Loader>>,
}

type Slots = Arc<Mutex<HashMap<String, Weak<Worker>>>>;

impl<'a> Builder<'a> {
    fn new(
        inner: &'a Arc<HostInner>,
        network: Arc<Network>,
        project: Project,
    ) -> Result<Self, HostError> {
        let mut namespaces = HashMap::new();
        for worker in &project.workers {
            for class in &worker.classes {
                let key = UniqueKey::new(class.unique_key.clone());
                let namespace = Namespace::new(inner.clone(), key, class.class_name.clone());
                namespaces.insert((worker.name.clone(), class.class_name.clone()), namespace);
            }
        }
        Ok(Self {
            inner,
            network,
            project,
            namespaces,
            loaders: HashMap::new(),
        })
    }

    fn by_key(&self) -> HashMap<String, Namespace> {
        self.namespaces
            .values()
            .map(|namespace| (namespace.0.key().as_str().to_owned(), namespace.clone()))
            .collect()
    }

    fn build(mut self) -> Result<Vec<Arc<Worker>>, HostError> {
        let slots: Slots = Arc::default();
        let mut workers = Vec::new();
        for config in std::mem::take(&mut self.project.workers) {
            let name = config.name.clone();
            let limits = limits_of(&config.limits).or(self.inner.options.static_limits);
            let bindings = self.bindings(&config, &slots)?;
            let own: Vec<(String, Namespace)> = config
                .classes
                .iter()
                .map(|class| {
                    (
                        class.class_name.clone(),
                        self.namespaces[&(name.clone(), class.class_name.clone())].clone(),
                    )
                })
                .collect();
            let ours = own.clone();
            let modules = modules_of(&config);
            let tail_slots = slots.clone();
            let network: Arc<dyn Target> = self.network.clone();
            let instances = usize::try_from(config.instances.unwrap_or(1)).unwrap_or(1);
            let make = Box::new(move |worker: &Arc<Worker>, instance: usize| WorkerBundle {
                name: config.name.clone(),
                main: config.main.clone(),
                modules: modules.clone(),
                flags: flags_of(&config.compatibility),
                bindings: bindings
                    .iter()
                    .map(|(name, make)| (name.clone(), make()))
                    .collect(),
                env: None,
                namespaces: own
                    .iter()
                    .map(|(class, namespace)| {
                        let namespace: Arc<dyn NamespacePort> = Arc::new(namespace.clone());
                        (class.clone(), namespace)
                    })
                    .collect(),
                worker: Arc::new(Own {
                    worker: Arc::downgrade(worker),
                    dynamic: false,
                    instance: Some(instance),
                }),
                outbound: network.clone(),
                limits: worker.limits(),
                dynamic: false,
                log: Arc::new(WorkerLog {
                    worker: config.name.clone(),
                    dynamic: false,
                }),
                tails: tails_of(&config, &tail_slots),
                started: Box::new(|_outcome| {}),
            });
            let worker =
                Worker::of_project(self.inner.clone(), name.clone(), limits, instances, make);
            for (_, namespace) in ours {
                namespace.bind(&worker);
            }
            slots.lock().insert(name, Arc::downgrade(&worker));
            workers.push(worker);
        }
        Ok(workers)
    }

    /// What `env` has, as functions: a worker that is started again gets fresh ones.
    #[allow(clippy::type_complexity, reason = "a list of names and makers")]
    fn bindings(
        &mut self,
        config: &WorkerConfig,
        slots: &Slots,
    ) -> Result<Vec<(String, Box<dyn Fn() -> Binding + Send + Sync>)>, HostError> {
        let mut bindings: Vec<(String, Box<dyn Fn() -> Binding + Send + Sync>)> = Vec::new();
        for (name, value) in &config.vars {
            let text = value.to_string();
            bindings.push((name.clone(), Box::new(move || Binding::Json(text.clone()))));
        }
        for object in &config.object_bindings {
            let script = object.script_name.as_ref().unwrap_or(&config.name);
            let key = (script.clone(), object.class_name.clone());
            let namespace =
                self.namespaces
                    .get(&key)
                    .cloned()
                    .ok_or_else(|| HostError::MissingClass {
                        class: object.class_name.clone(),
                        worker: script.clone(),
                    })?;
            let make = move || Binding::Namespace(Arc::new(namespace.clone()));
            bindings.push((object.binding.clone(), Box::new(make)));
        }
        for loader in &config.worker_loaders {
            let shared = match &loader.id {
                Some(id) => self
                    .loaders
                    .entry(id.clone())
                    .or_insert_with(|| Loader::new(self.inner.clone()))
                    .clone(),
                None => Loader::new(self.inner.clone()),
            };
            let make = move || {
                let loader: Arc<dyn LoaderPort> = Arc::new(LoaderBinding(shared.clone()));
                Binding::Loader(loader)
            };
            bindings.push((loader.binding.clone(), Box::new(make)));
        }
        for service in &config.services {
            let props = props_of(service.props.as_ref());
            let (slots, name) = (slots.clone(), service.service.clone());
            let entrypoint = service.entrypoint.clone().filter(|name| name != "default");
            let make = move || {
                let target = Lazily {
                    slots: slots.clone(),
                    name: name.clone(),
                };
                Binding::Service(target.entrypoint(
                    entrypoint.clone(),
                    props.clone(),
                    Limits::default(),
                ))
            };
            bindings.push((service.binding.clone(), Box::new(make)));
        }
        for class in &config.class_bindings {
            let props = props_of(class.props.as_ref());
            let (slots, name) = (
                slots.clone(),
                class.service.clone().unwrap_or_else(|| config.name.clone()),
            );
            let class_name = Some(class.class_name.clone()).filter(|name| name != "default");
            let make = move || {
                let target = Lazily {
                    slots: slots.clone(),
                    name: name.clone(),
                };
                Binding::Class(target.class(class_name.clone(), props.clone(), Limits::default()))
            };
            bindings.push((class.binding.clone(), Box::new(make)));
        }
        Ok(bindings)
    }
}

/// The workers that are told of what this one does. All of them are there when the first one starts.
fn tails_of(config: &WorkerConfig, slots: &Slots) -> Vec<Arc<dyn Target>> {
    let tail = |name: &String| {
        let worker = Lazily {
            slots: slots.clone(),
            name: name.clone(),
        };
        worker.entrypoint(None, None, Limits::default())
    };
    config.tail_consumers.iter().map(tail).collect()
}

/// Another worker of the project, found by name once all of them are there.
struct Lazily {
    slots: Slots,
    name: String,
}

impl Lazily {
    fn own(&self) -> Own {
        let known = self.slots.lock().get(&self.name).cloned();
        Own {
            worker: known.unwrap_or_default(),
            dynamic: false,
            instance: None,
        }
    }
}

impl WorkerPort for Lazily {
    fn entrypoint(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn Target> {
        self.own().entrypoint(name, props, limits)
    }

    fn class(
        &self,
        name: Option<String>,
        props: Option<Payload>,
        limits: Limits,
    ) -> Arc<dyn ClassPort> {
        self.own().class(name, props, limits)
    }
}

/// `props` from the config. JSON is a subset of what structured clone carries, written by hand here
/// because the host has no V8.
fn props_of(props: Option<&serde_json::Value>) -> Option<Payload> {
    props.map(|value| Payload {
        bytes: crate::wire::from_json(value),
        capabilities: Vec::new(),
        ..Payload::default()
    })
}

fn modules_of(config: &WorkerConfig) -> Vec<Module> {
    let text = |bytes: &[u8]| Arc::from(String::from_utf8_lossy(bytes));
    let module = |m: &facetd_config::ModuleSource| {
        let source = match m.kind {
            ModuleKind::EsModule => ModuleSource::EsModule(text(&m.bytes)),
            ModuleKind::CommonJs => ModuleSource::CommonJs(text(&m.bytes)),
            ModuleKind::Text => ModuleSource::Text(text(&m.bytes)),
            ModuleKind::Data => ModuleSource::Data(Arc::from(m.bytes.as_slice())),
            ModuleKind::Json => ModuleSource::Json(text(&m.bytes)),
            ModuleKind::Wasm => ModuleSource::Wasm(Arc::from(m.bytes.as_slice())),
        };
        Module {
            name: m.name.clone(),
            source,
        }
    };
    config.modules.iter().map(module).collect()
}
