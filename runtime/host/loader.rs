//! The Worker Loader: named and anonymous workers made at run time.

use crate::host::HostInner;
use crate::worker::{Held, Own, Worker};
use facetd_config::Compatibility;
use facetd_core::{
    CodeSlot, Failure, Limits, LoadedWorker, LoaderPort, LogLevel, LogLine, LogSink, WorkerBundle,
    WorkerCode,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Named workers kept when nobody holds them. The least recently asked for goes first.
const IDLE_MAX: usize = 256;

/// One loader namespace: bindings with the same id share it.
pub(crate) struct Loader {
    host: Arc<HostInner>,
    workers: Mutex<HashMap<String, (u64, Arc<Worker>)>>,
}

impl Loader {
    pub fn new(host: Arc<HostInner>) -> Arc<Self> {
        Arc::new(Self {
            host,
            workers: Mutex::default(),
        })
    }

    fn forget(&self, id: &str, worker: &Worker) {
        let mut workers = self.workers.lock();
        if workers
            .get(id)
            .is_some_and(|(_, known)| std::ptr::eq(Arc::as_ptr(known), worker))
        {
            let forgotten = workers.remove(id);
            drop(workers);
            drop(forgotten);
        }
    }

    /// Lets go of workers nobody holds, oldest first, while there are too many.
    fn evict(workers: &mut HashMap<String, (u64, Arc<Worker>)>) -> Vec<Arc<Worker>> {
        let mut evicted = Vec::new();
        while workers.len() > IDLE_MAX {
            let idle = workers
                .iter()
                .filter(|(_, (_, worker))| Arc::strong_count(worker) == 1);
            let Some(oldest) = idle
                .min_by_key(|(_, (used, _))| *used)
                .map(|(id, _)| id.clone())
            else {
                break;
            };
            evicted.extend(workers.remove(&oldest).map(|(_, worker)| worker));
        }
        evicted
    }
}

/// What JS holds as `env.LOADER`.
pub(crate) struct LoaderBinding(pub Arc<Loader>);

impl LoaderPort for LoaderBinding {
    fn get(&self, id: Option<&str>) -> (Arc<dyn LoadedWorker>, Option<Box<dyn CodeSlot>>) {
        let loader = &self.0;
        let limits = loader.host.options.dynamic_limits;
        let Some(id) = id else {
            let worker = Worker::loading(loader.host.clone(), "loaded".to_owned(), limits);
            let slot = Slot {
                worker: Some(worker.clone()),
                home: None,
            };
            return (Arc::new(Held(worker)), Some(Box::new(slot)));
        };
        let used = loader.host.next_key();
        let mut workers = loader.workers.lock();
        if let Some((last_used, worker)) = workers.get_mut(id)
            && !worker.is_gone()
        {
            *last_used = used;
            return (Arc::new(Held(worker.clone())), None);
        }
        let worker = Worker::loading(loader.host.clone(), id.to_owned(), limits);
        let before = workers.insert(id.to_owned(), (used, worker.clone()));
        let evicted = Loader::evict(&mut workers);
        drop(workers);
        drop((before, evicted));
        let home = Some((Arc::downgrade(loader), id.to_owned()));
        let slot = Slot {
            worker: Some(worker.clone()),
            home,
        };
        (Arc::new(Held(worker)), Some(Box::new(slot)))
    }
}

struct Slot {
    worker: Option<Arc<Worker>>,
    home: Option<(Weak<Loader>, String)>,
}

impl Slot {
    /// Everybody who waits is told; the next `get()` tries again.
    fn fail_worker(&mut self, failure: Failure) {
        let Some(worker) = self.worker.take() else {
            return;
        };
        if let Some((loader, id)) = &self.home
            && let Some(loader) = loader.upgrade()
        {
            loader.forget(id, &worker);
        }
        worker.fail(failure);
    }
}

impl CodeSlot for Slot {
    fn provide(mut self: Box<Self>, code: WorkerCode) -> Result<(), Failure> {
        let date = code.compatibility_date.as_deref().unwrap_or("undefined");
        let resolved =
            Compatibility::resolve(date, &code.compatibility_flags, code.allow_experimental);
        let compatibility = match resolved {
            Ok(compatibility) => compatibility,
            Err(error) => {
                let failure = Failure::error(error.to_string());
                self.fail_worker(failure.clone());
                return Err(failure);
            }
        };
        let Some(worker) = self.worker.take() else {
            return Ok(());
        };
        let limits = code.limits.lower(worker.limits());
        let home = self.home.take();
        let weak = Arc::downgrade(&worker);
        let started = {
            let weak = weak.clone();
            move |outcome: Result<(), Failure>| {
                let failed = outcome.is_err();
                if failed
                    && let Some((loader, id)) = home
                    && let (Some(loader), Some(worker)) = (loader.upgrade(), weak.upgrade())
                {
                    // Delivered to all stubs of the failed load; the next `get()` retries.
                    loader.forget(&id, &worker);
                }
            }
        };
        let bundle = WorkerBundle {
            name: worker.name.clone(),
            main: code.main,
            modules: code.modules,
            flags: flags_of(&compatibility),
            bindings: Vec::new(),
            env: code.env,
            namespaces: Vec::new(),
            worker: Arc::new(Own {
                worker: weak,
                dynamic: true,
                instance: None,
            }),
            outbound: code.outbound,
            limits,
            dynamic: true,
            log: Arc::new(WorkerLog {
                worker: worker.name.clone(),
                dynamic: true,
            }),
            tails: code.tails,
            started: Box::new(started),
        };
        worker.start(bundle);
        Ok(())
    }

    fn fail(mut self: Box<Self>, failure: Failure) {
        self.fail_worker(failure);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.fail_worker(Failure::error(
            "The request which initiated this worker load has already completed.",
        ));
    }
}

/// A worker's console, as structured log lines.
pub(crate) struct WorkerLog {
    pub worker: String,
    pub dynamic: bool,
}

/// Longest log line a worker may write, in bytes.
const LINE_MAX: usize = 16 << 10;

impl LogSink for WorkerLog {
    fn log(&self, line: LogLine<'_>) {
        let end = line.message.len().min(LINE_MAX);
        let end = (0..=end)
            .rev()
            .find(|at| line.message.is_char_boundary(*at))
            .unwrap_or(0);
        // A worker's line break must not look like the start of another line.
        let message = line.message[..end].replace('\n', "\n    ");
        let (worker, loaded) = (self.worker.as_str(), self.dynamic);
        match line.level {
            LogLevel::Debug => tracing::debug!(target: "worker", worker, loaded, "{message}"),
            LogLevel::Info | LogLevel::Log => {
                tracing::info!(target: "worker", worker, loaded, "{message}")
            }
            LogLevel::Warn => tracing::warn!(target: "worker", worker, loaded, "{message}"),
            LogLevel::Error => tracing::error!(target: "worker", worker, loaded, "{message}"),
        }
    }
}

/// The flags this runtime looks at, by date or by name.
pub(crate) fn flags_of(compatibility: &Compatibility) -> std::collections::BTreeSet<String> {
    [
        "allow_eval_during_startup",
        "delete_all_deletes_alarm",
        "enable_ctx_exports",
        "enhanced_error_serialization",
        "global_navigator",
        "nodejs_compat",
        "rpc_params_dup_stubs",
        "service_binding_extra_handlers",
        "web_socket_auto_reply_to_close",
        "websocket_close_reason_byte_limit",
        "websocket_standard_binary_type",
    ]
    .into_iter()
    .filter(|flag| compatibility.enable(flag))
    .map(str::to_owned)
    .collect()
}

/// Limits from the config, in the words of the core.
pub fn limits_of(config: &facetd_config::LimitsConfig) -> Limits {
    Limits {
        cpu_ms: config.cpu_ms,
        startup_cpu_ms: None,
        sub_requests: config.subrequests,
        memory_mb: config.memory_mb,
        wall_ms: config.wall_ms,
        storage_mb: config.storage_mb,
        wait_until_ms: config.wait_until_ms,
    }
}
