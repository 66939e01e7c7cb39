//! An isolate's thread, from birth to death.

use crate::allocator;
use crate::blobs::Blobs;
use crate::control::{Control, IsolateHandle, Killed};
use crate::cycles::Cycles;
use crate::extensions::extensions;
use crate::hung::hung_events;
use crate::memory;
use crate::modules::{ModuleMap, import_dynamically, import_with_phase, no_import_meta};
use crate::objects::Holder;
use crate::spin::Spin;
use crate::stack::without_our_frames;
use crate::turn::{Payer, TurnClock};
use crate::watchdog;
use deno_core::{JsRuntime, PollEventLoopOptions, RuntimeOptions, v8};
use deno_web::BlobStoreTrait;
use facetd_core::{Binding, Failure, Inbox, Limits, Message, Messages, WorkerBundle};
use facetd_rpc::{Handle, IsolateState, Traces, Watched, deserialize};
use facetd_storage::Databases;
use facetd_store::CommitLog;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/isolate.snapshot"));

include!(concat!(env!("OUT_DIR"), "/lazy_scripts.rs"));

const ALARM_TOO_LONG: &str = "Alarm exceeded its allowed execution time";

/// Messages handled before the event loop gets its turn.
const BATCH: usize = 64;
/// Extra heap an isolate gets so that code stopped at the limit can unwind. The stop takes effect at
/// V8's next check, and a single allocation before it can need more than a gigabyte; V8 ends the whole
/// process when that does not fit.
const UNWIND_BYTES: usize = 4 << 30;
/// JS recursion ends where V8 says; this leaves room for our frames below it.
const STACK_BYTES: usize = 4 << 20;

pub struct IsolateOptions {
    /// Heap limit, and as much again for array buffers. Fixed at birth.
    pub memory_mb: u64,
    /// Makes the commits of its objects durable.
    pub log: CommitLog,
}

/// Sets V8 up, once per process, before the first isolate.
pub fn init_platform() {
    // Without the first, the pages of dead isolates stay with the process for ever.
    v8::V8::set_flags_from_string(
        "--no-memory-pool-share-memory-on-teardown --wasm-max-mem-pages=2048 --no-harmony-temporal --js-explicit-resource-management --js-source-phase-imports",
    );
    JsRuntime::init_platform(None);
}

/// Starts a pristine isolate on a thread of its own. It becomes a worker by [`Message::Boot`].
pub fn spawn(options: IsolateOptions) -> IsolateHandle {
    let (inbox, messages) = Inbox::new();
    let control = Arc::new(Control::new(inbox));
    let handle = IsolateHandle(control.clone());
    std::thread::Builder::new()
        .name("isolate".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || run(control, messages, options))
        .expect("the operating system gives one more thread");
    handle
}

pub(crate) struct Isolate {
    pub(crate) runtime: JsRuntime,
    pub(crate) state: Rc<IsolateState>,
    pub(crate) databases: Rc<Databases>,
    pub(crate) control: Arc<Control>,
    pub(crate) limits: Limits,
    pub(crate) log: CommitLog,
    pub(crate) clock: TurnClock,
    /// Why the modules did not start: what every event gets.
    pub(crate) start_failure: Option<Failure>,
    pub(crate) cycles: Cycles,
    /// Why the last object was reset, for whoever was constructing it.
    pub(crate) last_reset: Option<Failure>,
    /// Set once it has objects, unless it runs loaded code.
    pub(crate) holder: Option<Holder>,
    builtins: v8::Global<v8::Object>,
    /// Kept: asking the runtime for it makes a new handle each time.
    pub(crate) main_context: v8::Global<v8::Context>,
    pub(crate) blobs: Arc<Blobs>,
    /// V8 calls into it until the runtime is dropped.
    memory: Box<memory::Watch>,
}

fn run(control: Arc<Control>, messages: Messages, options: IsolateOptions) {
    let clock = control.clock.set(watchdog::thread_clock());
    debug_assert!(clock.is_ok(), "one thread per control");
    watchdog::watch(&control);
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("the operating system gives a timer");
    tokio.block_on(async {
        let isolate = Isolate::new(control.clone(), options);
        isolate.live(messages).await;
    });
    control.ended.store(true, Ordering::Release);
    watchdog::trim_soon();
}

impl Isolate {
    fn new(control: Arc<Control>, options: IsolateOptions) -> Self {
        let heap_bytes = (options.memory_mb as usize) << 20;
        let params = v8::CreateParams::default()
            .heap_limits(0, heap_bytes)
            // A thread that waits for ever uses no CPU, so no limit would stop it.
            .allow_atomics_wait(false)
            .array_buffer_allocator(allocator::limited(heap_bytes).make_shared());
        let mut runtime = JsRuntime::new(RuntimeOptions {
            extensions: extensions(),
            startup_snapshot: Some(SNAPSHOT),
            residual_lazy_js_sources: LAZY_SCRIPTS,
            create_params: Some(params),
            ..RuntimeOptions::default()
        });
        let state = Rc::new(IsolateState::new(control.inbox.clone()));
        let blobs = Arc::new(Blobs::new(control.clone(), options.memory_mb));
        let databases = {
            let op_state = runtime.op_state();
            let mut op_state = op_state.borrow_mut();
            op_state.put(state.clone());
            op_state.put::<Arc<dyn BlobStoreTrait>>(blobs.clone());
            op_state.borrow::<Rc<Databases>>().clone()
        };
        let killer = control.clone();
        let memory_mb = options.memory_mb;
        runtime.add_near_heap_limit_callback(move |current, _initial| {
            killer.kill(Killed::Memory {
                limit_mb: memory_mb,
            });
            current + UNWIND_BYTES
        });
        let memory = memory::watch(runtime.v8_isolate(), control.clone(), options.memory_mb);
        let v8 = runtime.v8_isolate();
        v8.set_prepare_stack_trace_callback(without_our_frames);
        v8.set_host_import_module_dynamically_callback(import_dynamically);
        v8.set_host_import_module_with_phase_dynamically_callback(import_with_phase);
        v8.set_host_initialize_import_meta_object_callback(no_import_meta);
        v8.set_allow_wasm_code_generation_callback(allow_wasm_code);
        let set = control.v8.set(v8.thread_safe_handle());
        debug_assert!(set.is_ok(), "one V8 isolate per control");
        let builtins = start_script(&mut runtime);
        let main_context = runtime.main_context();
        Self {
            runtime,
            state,
            databases,
            control,
            limits: Limits::default(),
            log: options.log,
            clock: TurnClock::default(),
            start_failure: None,
            cycles: Cycles::default(),
            last_reset: None,
            holder: None,
            builtins,
            main_context,
            blobs,
            memory,
        }
    }

    async fn live(mut self, mut messages: Messages) {
        let failure = match self.become_worker(&mut messages).await {
            Ok(()) => self.serve(&mut messages).await,
            Err(failure) => failure,
        };
        let killed = *self.control.killed.lock();
        let condemned = self.state.condemned.take();
        self.tear_down(
            killed.map(Killed::failure).or(condemned).unwrap_or(failure),
            messages,
        );
    }

    /// The first message says which worker this is. `Err`: it will never be one, and why.
    async fn become_worker(&mut self, messages: &mut Messages) -> Result<(), Failure> {
        poll_fn(|cx| messages.poll_filled(cx)).await;
        match messages.try_next() {
            Some(Message::Boot(bundle)) => {
                self.boot(*bundle).await;
                if self.is_condemned() {
                    return Err(Failure::disconnected());
                }
                Ok(())
            }
            Some(Message::Shutdown { failure }) => Err(failure),
            Some(_) | None => Err(Failure::disconnected()),
        }
    }

    /// Handles messages until the end; why it came, if nobody else says.
    async fn serve(&mut self, messages: &mut Messages) -> Failure {
        let mut failure = Failure::disconnected();
        let mut eviction = Box::pin(tokio::time::sleep(Duration::MAX));
        let mut eviction_due: Option<Instant> = None;
        let mut spin = Spin::default();
        poll_fn(|cx| {
            // What the runtime said when it was last polled, if nothing has run since.
            let mut idle: Option<bool> = None;
            loop {
                let polled = self.handle_messages(messages);
                match polled {
                    Handled::Shutdown(why) => {
                        failure = why;
                        return Poll::Ready(());
                    }
                    Handled::Some => {
                        spin.busy();
                        idle = None;
                    }
                    Handled::None => {}
                }
                if self.is_condemned() {
                    return Poll::Ready(());
                }
                let idle = match idle {
                    Some(idle) => idle,
                    None => *idle.insert(self.poll_runtime(cx)),
                };
                if self.is_condemned() {
                    return Poll::Ready(());
                }
                if matches!(polled, Handled::Some) || spin.look(|| messages.is_filled()) {
                    continue; // there may be more
                }
                if idle && self.settle_cycles() {
                    continue;
                }
                if idle {
                    self.fail_hung_events();
                    debug_assert_eq!(self.left_over(), None, "an event takes all it had along");
                }
                if self.control.tight.load(Ordering::Relaxed) {
                    self.evict_for_memory();
                }
                let now = Instant::now();
                if eviction_due.is_none_or(|due| now >= due) {
                    eviction_due = self
                        .evict_idle()
                        .map(|wait| now + wait.max(Duration::from_millis(10)));
                    if let Some(due) = eviction_due {
                        eviction.as_mut().reset(due.into());
                    }
                }
                if eviction_due.is_some() && eviction.as_mut().poll_it(cx).is_ready() {
                    eviction_due = None;
                    continue;
                }
                if messages.poll_filled(cx).is_ready() {
                    continue;
                }
                return Poll::Pending;
            }
        })
        .await;
        failure
    }

    fn is_condemned(&self) -> bool {
        self.control.stopping.load(Ordering::Acquire) || self.state.condemned.borrow().is_some()
    }

    fn handle_messages(&mut self, messages: &mut Messages) -> Handled {
        let mut handled = Handled::None;
        for _ in 0..BATCH {
            match messages.try_next() {
                Some(Message::Shutdown { failure }) => return Handled::Shutdown(failure),
                Some(message) => {
                    self.handle(message);
                    handled = Handled::Some;
                }
                None => break,
            }
            if self.is_condemned() {
                break;
            }
        }
        handled
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Event {
                target,
                event,
                limits,
                keep,
            } => self.handle_event(target, event, limits, keep),
            Message::Completed { call, with } => self.handle_completed(call, with),
            Message::Cancelled { event } => {
                if self.state.watchers.borrow_mut().remove(&event).is_some() {
                    return; // its reply, dropped, says so to nobody
                }
                let cancel = self.state.callbacks().cancel.clone();
                let by_code = {
                    let events = self.state.events.borrow();
                    events.get(&event).is_some_and(|e| e.caller.is_some())
                };
                self.call_with_numbers(&cancel, &[f64::from(event), f64::from(by_code)]);
            }
            Message::TimedOut { event } => {
                let known = {
                    let events = self.state.events.borrow();
                    events
                        .get(&event)
                        .map(|e| (e.limits, e.context, e.alarm.is_some(), e.lingers))
                };
                if let Some((limits, .., true)) = known {
                    let too_long = self.state.callbacks().too_long.clone();
                    let limit_ms = limits.wait_until_ms.unwrap_or_default();
                    self.call_with_numbers(&too_long, &[f64::from(event), limit_ms as f64]);
                } else if let Some((_, context, true, _)) = known {
                    // It must not go on beside its retry.
                    self.reset_object(context, Failure::error(ALARM_TOO_LONG), true);
                } else if let Some(limit) = known.and_then(|(limits, ..)| limits.wall_ms) {
                    let error = facetd_core::HostError {
                        limit: Some(("EXCEEDED_WALL", limit, limit)),
                        ..facetd_core::HostError::new("Error", "Worker exceeded wall time limit.")
                    };
                    let failure = Failure::from(error);
                    self.state.trace_failed(event, &failure);
                    self.state.answer(event, Err(failure));
                    self.state.flush_outbox();
                }
            }
            Message::Ask { event, on, tell } => self.ask(event, on, tell),
            Message::Told => {} // looked at when nothing else is to be done
            Message::AbortObject { object, failure } => {
                let context = self.state.objects.borrow().get(&object).copied();
                match context {
                    Some(context) => self.reset_object(context, failure, true),
                    // It is asleep, and may be watched all the same.
                    None => self.state.tell_watchers(Watched::Object(object), &failure),
                }
            }
            Message::ReleaseExport { export } => {
                self.state.exports.borrow_mut().remove(&export);
                let release = self.state.callbacks().release.clone();
                self.call_with_number(&release, export);
            }
            Message::Census(request) => self.census(request),
            // The first message and the last: whoever reads them deals with them.
            Message::Boot(_) | Message::Shutdown { .. } => {}
        }
    }

    fn call_with_number(&mut self, function: &v8::Global<v8::Function>, number: u32) {
        self.call_with_numbers(function, &[f64::from(number)]);
    }

    fn call_with_numbers(&mut self, function: &v8::Global<v8::Function>, numbers: &[f64]) {
        self.turn(Payer::Isolate, |scope, _state| {
            let function = v8::Local::new(scope, function);
            let this = v8::undefined(scope).into();
            let numbers: Vec<v8::Local<v8::Value>> = numbers
                .iter()
                .map(|number| v8::Number::new(scope, *number).into())
                .collect();
            function.call(scope, this, &numbers);
        });
    }

    /// Runs ops and their continuations. True: nothing is pending.
    fn poll_runtime(&mut self, cx: &mut Context<'_>) -> bool {
        self.begin(Payer::Isolate);
        let polled = self
            .runtime
            .poll_event_loop(cx, PollEventLoopOptions::default());
        self.end(Payer::Isolate); // nobody's turn, so nobody interrupts it
        let terminated = self.runtime.v8_isolate().is_execution_terminating();
        if let Poll::Ready(Err(error)) = &polled
            && !terminated
        {
            tracing::debug!(%error, "an error reached the event loop");
        }
        self.after_turn(terminated);
        matches!(polled, Poll::Ready(Ok(())))
    }

    /// What is left of stateless events that are over, when none runs. For assertions.
    fn left_over(&mut self) -> Option<String> {
        let state = &self.state;
        if !state.events.borrow().is_empty() || self.is_condemned() {
            return None;
        }
        let contexts = state.contexts.borrow();
        let stateless = contexts.values().filter(|c| c.object.is_none()).count();
        // Calls of the isolate's own have no context: the chunks of a body that is written.
        let mut calls: Vec<u32> = state.calls.borrow().values().map(|c| c.context).collect();
        calls.retain(|context| *context != 0 && !contexts.contains_key(context));
        let mut bodies = 0;
        if contexts.is_empty() {
            let op_state = self.runtime.op_state();
            let op_state = op_state.borrow();
            let names = op_state.resource_table.names();
            bodies = names.filter(|(_, name)| name.starts_with("body")).count();
        }
        (stateless + calls.len() + bodies > 0).then(|| {
            format!(
                "{stateless} contexts, {} calls, {bodies} bodies",
                calls.len()
            )
        })
    }

    /// A stateless event that waits while nothing can happen any more will never be answered.
    fn fail_hung_events(&mut self) {
        if self.state.events.borrow().is_empty() {
            return;
        }
        let hung = hung_events(&self.state);
        for event in hung {
            let error = facetd_core::HostError {
                remote: true,
                ..facetd_core::HostError::new("Error", HUNG)
            };
            let failure = Failure::from(error);
            self.state.trace_failed(event, &failure);
            self.state.answer(event, Err(failure));
        }
        self.state.flush_outbox();
    }

    // ---- boot

    async fn boot(&mut self, bundle: WorkerBundle) {
        self.limits = bundle.limits;
        *self.state.worker.borrow_mut() = Some(bundle.worker.clone());
        *self.state.outbound.borrow_mut() = Some(bundle.outbound.clone());
        *self.state.log.borrow_mut() = Some(bundle.log.clone());
        self.state.dynamic.set(bundle.dynamic);
        let is_traced = !bundle.tails.is_empty();
        if is_traced {
            // A loaded worker's name is its loader's business, as on the platform.
            let script = (!bundle.dynamic).then(|| bundle.name.clone());
            let traces = Traces::new(bundle.tails, script, bundle.dynamic, bundle.log.clone());
            *self.state.traces.borrow_mut() = Some(traces);
        }
        if bundle.dynamic {
            self.state.send_budget.set_guest();
        }
        let builtins = self.builtins.clone();
        let allow_eval = bundle.flags.contains("allow_eval_during_startup");
        let WorkerBundle {
            main,
            modules,
            flags,
            bindings,
            env,
            namespaces,
            started,
            ..
        } = bundle;
        self.state.starting.set(true);
        let map = ModuleMap::new(modules, builtins);
        let began = self.turn(Payer::Startup, |scope, state| {
            let context = scope.get_current_context();
            context.set_allow_generation_from_strings(allow_eval);
            v8::tc_scope!(let scope, scope);
            if boot_env(
                scope,
                state,
                bindings,
                env.as_ref(),
                namespaces,
                &flags,
                is_traced,
            )
            .is_none()
            {
                return Err(start_error(scope));
            }
            let Some((module, promise)) = map.start(scope, &main) else {
                return Err(start_error(scope));
            };
            Ok((
                v8::Global::new(scope, module),
                v8::Global::new(scope, promise),
            ))
        });
        let began = match began {
            Some(Ok((module, promise))) => self.finish_top_level(&module, &promise).await,
            Some(Err(failure)) => Some(Err(failure)),
            None => None,
        };
        self.state.starting.set(false);
        {
            v8::scope_with_context!(let scope, self.runtime.v8_isolate(), &self.main_context);
            scope
                .get_current_context()
                .set_allow_generation_from_strings(false);
        }
        let outcome = match began {
            Some(outcome) => outcome,
            None => {
                let killed = *self.control.killed.lock();
                Err(killed.map_or_else(Failure::disconnected, Killed::failure))
            }
        };
        self.start_failure = outcome.as_ref().err().cloned();
        started(outcome);
    }

    /// Runs what a top-level `await` waits for; only computation can, as I/O is refused there.
    /// `None`: the isolate was told to stop.
    async fn finish_top_level(
        &mut self,
        module: &v8::Global<v8::Module>,
        promise: &v8::Global<v8::Promise>,
    ) -> Option<Result<(), Failure>> {
        let mut given_up = Box::pin(tokio::time::sleep(TOP_LEVEL_WAIT));
        poll_fn(|cx| {
            let settled = self.top_level_outcome(module, promise);
            if settled.is_ready() {
                return settled;
            }
            let idle = self.poll_runtime(cx);
            let settled = self.top_level_outcome(module, promise);
            if settled.is_ready() {
                return settled;
            }
            if idle || self.is_condemned() || given_up.as_mut().poll_it(cx).is_ready() {
                return Poll::Ready(Some(Err(Failure::error(format!(
                    "Failed to start Worker:\n{TLA}"
                )))));
            }
            Poll::Pending
        })
        .await
    }

    /// What became of the top level, if it is over. `None`: the isolate was told to stop.
    fn top_level_outcome(
        &mut self,
        module: &v8::Global<v8::Module>,
        promise: &v8::Global<v8::Promise>,
    ) -> Poll<Option<Result<(), Failure>>> {
        let settled = self.turn(Payer::Startup, |scope, state| {
            v8::tc_scope!(let scope, scope);
            let promise = v8::Local::new(scope, promise);
            match promise.state() {
                v8::PromiseState::Pending => None,
                v8::PromiseState::Fulfilled => {
                    let module = v8::Local::new(scope, module);
                    Some(boot_exports(scope, state, module))
                }
                v8::PromiseState::Rejected => {
                    let reason = promise.result(scope);
                    promise.mark_as_handled();
                    Some(Err(describe_start_error(scope, reason)))
                }
            }
        });
        match settled {
            Some(None) => Poll::Pending,
            Some(Some(outcome)) => Poll::Ready(Some(outcome)),
            None => Poll::Ready(None),
        }
    }

    // ---- the end

    /// The one order of teardown: refuse events, answer who waits, close databases, drop our handles
    /// on V8's objects, drop the runtime.
    fn tear_down(self, failure: Failure, mut messages: Messages) {
        self.control.stopping.store(true, Ordering::Release);
        messages.close();
        while let Some(message) = messages.try_next() {
            if let Message::Event { event, target, .. } = message {
                if let facetd_core::EventTarget::Object(port) = target {
                    port.broken(failure.clone(), true);
                }
                event.reply.send(Err(failure.clone()));
            }
        }
        let contexts: Vec<u32> = self.state.contexts.borrow().keys().copied().collect();
        for context in contexts {
            let Some(port) = self.state.object_port(context) else {
                continue;
            };
            port.output_gate().break_with(&failure);
            self.databases.close(context);
            port.database_closed();
            port.broken(failure.clone(), true);
        }
        // Whoever sees a socket go finds a new instance when it connects again.
        for (_, socket) in self.state.sockets.take() {
            socket.end.vanish();
        }
        self.state.flush_outbox();
        if let Some(traces) = self.state.traces.take() {
            for (number, event) in self.state.events.borrow().iter() {
                for (tail, told) in traces.ended(*number, event, Some(&failure)) {
                    tail.send(told);
                }
            }
        }
        for (_, event) in self.state.events.take() {
            if let Some(reply) = event.reply {
                reply.send(Err(failure.clone()));
            }
        }
        self.control.objects.lock().clear();
        self.state.contexts.take();
        self.state.objects.take();
        for (_, call) in self.state.calls.take() {
            if let Some(stop) = call.stop {
                stop.now();
            }
        }
        self.state.exports.take();
        for (_, watcher) in self.state.watchers.take() {
            watcher.reply.send(Err(failure.clone()));
        }
        self.state.callbacks.take();
        self.state.worker.take();
        self.state.outbound.take();
        let Self {
            runtime,
            builtins,
            main_context,
            state,
            databases,
            memory,
            ..
        } = self;
        drop(builtins);
        drop(main_context);
        drop(databases);
        drop_runtime(runtime);
        drop(memory);
        debug_assert_eq!(
            Rc::strong_count(&state),
            1,
            "nothing of the isolate outlives it"
        );
    }
}

fn drop_runtime(mut runtime: JsRuntime) {
    // Slots hold our Globals: they must go before the isolate does.
    runtime.v8_isolate().cancel_terminate_execution();
    drop(runtime.v8_isolate().remove_slot::<Rc<ModuleMap>>());
    drop(runtime);
}

enum Handled {
    None,
    Some,
    Shutdown(Failure),
}

const HUNG: &str = "The Workers runtime canceled this request because it detected that your Worker's code had hung and would never generate a response. Refer to: https://developers.cloudflare.com/workers/observability/errors/";
/// How long a top-level `await` may wait for what runs on other threads (hashing, say).
const TOP_LEVEL_WAIT: Duration = Duration::from_secs(1);
const TLA: &str = "Uncaught Error: Top-level await in module is unresolved.";

/// Runs the bootstrap's start function; gives the built-in modules.
fn start_script(runtime: &mut JsRuntime) -> v8::Global<v8::Object> {
    let context = runtime.main_context();
    v8::scope_with_context!(let scope, runtime.v8_isolate(), context);
    let global = scope.get_current_context().global(scope);
    let key = v8::String::new(scope, "__facetd_start").expect("a short string");
    let start = global.get(scope, key.into()).expect("the snapshot has it");
    global.delete(scope, key.into());
    let start: v8::Local<v8::Function> = start.try_into().expect("the snapshot has it");
    let this = v8::undefined(scope).into();
    let builtins = start.call(scope, this, &[]).expect("our own script runs");
    let builtins: v8::Local<v8::Object> = builtins.try_into().expect("it returns an object");
    v8::Global::new(scope, builtins)
}

/// WebAssembly may be made of bytes whenever JS may be made of text: while the top level runs.
unsafe extern "C" fn allow_wasm_code(
    context: v8::Local<v8::Context>,
    _source: v8::Local<v8::String>,
) -> bool {
    context.is_code_generation_from_strings_allowed()
}

type Scope<'a, 's, 'i> = &'a mut v8::PinScope<'s, 'i>;

fn handle<'s>(scope: Scope<'_, 's, '_>, handle: Handle) -> v8::Local<'s, v8::Value> {
    deno_core::cppgc::make_cppgc_object(scope, handle).into()
}

/// Gives the worker its `env`. `None`: an exception is pending.
fn boot_env(
    scope: Scope<'_, '_, '_>,
    state: &Rc<IsolateState>,
    bindings: Vec<(String, Binding)>,
    env: Option<&facetd_core::Payload>,
    namespaces: Vec<(String, Arc<dyn facetd_core::NamespacePort>)>,
    flags: &std::collections::BTreeSet<String>,
    is_traced: bool,
) -> Option<()> {
    let list = v8::Array::new(scope, 0);
    for (at, (name, binding)) in bindings.into_iter().enumerate() {
        let (kind, value): (i32, v8::Local<v8::Value>) = match binding {
            Binding::Json(text) => (0, v8::String::new(scope, &text)?.into()),
            Binding::Namespace(namespace) => (1, handle(scope, Handle::Namespace(namespace))),
            Binding::Service(target) => (2, handle(scope, Handle::Target(target))),
            Binding::Class(class) => (3, handle(scope, Handle::Class(class))),
            Binding::Loader(loader) => (4, handle(scope, Handle::Loader(loader))),
        };
        let name = v8::String::new(scope, &name)?.into();
        let kind = v8::Integer::new(scope, kind).into();
        let entry = v8::Array::new_with_elements(scope, &[name, kind, value]);
        list.set_index(scope, at as u32, entry.into());
    }
    let classes = v8::Array::new(scope, 0);
    for (at, (name, namespace)) in namespaces.into_iter().enumerate() {
        let name = v8::String::new(scope, &name)?.into();
        let namespace = handle(scope, Handle::Namespace(namespace));
        let entry = v8::Array::new_with_elements(scope, &[name, namespace]);
        classes.set_index(scope, at as u32, entry.into());
    }
    let callbacks = state.callbacks();
    let boot = v8::Local::new(scope, &callbacks.boot);
    let this = v8::undefined(scope).into();
    let phase = v8::Integer::new(scope, 0).into();
    boot.call(scope, this, &[phase])?;
    let env = match env {
        Some(payload) => deserialize(scope, state, payload)?,
        None => v8::undefined(scope).into(),
    };
    let names = v8::Array::new(scope, 0);
    for (at, flag) in flags.iter().enumerate() {
        let flag = v8::String::new(scope, flag)?;
        names.set_index(scope, at as u32, flag.into());
    }
    let phase = v8::Integer::new(scope, 1).into();
    boot.call(
        scope,
        this,
        &[
            phase,
            list.into(),
            env,
            classes.into(),
            names.into(),
            v8::Boolean::new(scope, is_traced).into(),
        ],
    )?;
    Some(())
}

/// Hands the main module's exports to JS, which checks them.
fn boot_exports(
    scope: Scope<'_, '_, '_>,
    state: &Rc<IsolateState>,
    module: v8::Local<v8::Module>,
) -> Result<(), Failure> {
    let callbacks = state.callbacks();
    let boot = v8::Local::new(scope, &callbacks.boot);
    let this = v8::undefined(scope).into();
    let phase = v8::Integer::new(scope, 2).into();
    let namespace = module.get_module_namespace();
    match boot.call(scope, this, &[phase, namespace]) {
        Some(complaint) if complaint.is_string() => {
            let text = complaint.to_rust_string_lossy(scope);
            Err(Failure::error(format!(
                "Failed to start Worker:\nUncaught TypeError: {text}"
            )))
        }
        Some(_) => Ok(()),
        None => Err(Failure::internal()),
    }
}

fn start_error(
    scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, '_, v8::HandleScope<'_>>>,
) -> Failure {
    if scope.has_terminated() {
        return Failure::disconnected();
    }
    let exception = scope.exception();
    let message = scope.message();
    scope.reset();
    match exception {
        Some(exception) if !exception.is_object() => {
            let text = exception.to_rust_string_lossy(scope);
            Failure::error(format!("Failed to start Worker:\nUncaught Error: {text}"))
        }
        Some(exception) => {
            let message =
                message.unwrap_or_else(|| v8::Exception::create_message(scope, exception));
            start_failure(scope, message)
        }
        None => Failure::internal(),
    }
}

fn describe_start_error(scope: Scope<'_, '_, '_>, exception: v8::Local<v8::Value>) -> Failure {
    if !exception.is_object() {
        let text = exception.to_rust_string_lossy(scope);
        return Failure::error(format!("Failed to start Worker:\nUncaught Error: {text}"));
    }
    let message = v8::Exception::create_message(scope, exception);
    start_failure(scope, message)
}

/// `Failed to start Worker:`, the message, and where.
fn start_failure(scope: Scope<'_, '_, '_>, message: v8::Local<v8::Message>) -> Failure {
    let with_frame = !facetd_rpc::isolate_of(scope).dynamic.get();
    let mut text = format!(
        "Failed to start Worker:\n{}",
        message.get(scope).to_rust_string_lossy(scope)
    );
    let file = message
        .get_script_resource_name(scope)
        .filter(|name| name.is_string());
    if let (Some(file), Some(line)) = (file, message.get_line_number(scope)) {
        let file = file.to_rust_string_lossy(scope);
        // Frames of our own scripts tell the author nothing.
        if !file.starts_with("ext:") {
            // The platform counts columns of what runs from 1, of what does not compile from 0.
            let compiled = !text.starts_with("Failed to start Worker:\nUncaught SyntaxError");
            let column = message.get_start_column() + usize::from(compiled);
            text.push_str(&format!("\n  at {file}:{line}:{column}"));
            // Callers of loaded code compare the text; the author of a project wants to see the place.
            if with_frame && let Some(source) = message.get_source_line(scope) {
                let source = source.to_rust_string_lossy(scope);
                let (number, marker) = (line.to_string(), message.get_start_column());
                let source: String = source.chars().take(200).collect();
                let indent = " ".repeat(marker.min(200));
                let gutter = " ".repeat(number.len());
                text.push_str(&format!(
                    "\n\n  {number} | {source}\n  {gutter} | {indent}^"
                ));
            }
        }
    }
    Failure::error(text)
}

trait PollSleep {
    fn poll_it(self, cx: &mut Context<'_>) -> Poll<()>;
}

impl PollSleep for std::pin::Pin<&mut tokio::time::Sleep> {
    fn poll_it(self, cx: &mut Context<'_>) -> Poll<()> {
        std::future::Future::poll(self, cx)
    }
}
