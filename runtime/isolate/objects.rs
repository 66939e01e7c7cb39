//! Objects in this isolate: constructing, delivering, resetting, evicting.

use crate::descriptors;
use crate::entry::{
    Name, TO_ENTRYPOINT, TO_EXPORT, TO_OBJECT, TO_SOCKET, complete, construct, deliver,
};
use crate::isolate::Isolate;
use crate::turn::Payer;
use deno_core::v8;
use facetd_core::{
    ALARM_WALL_MS_MAX, CRON_WALL_MS_MAX, Charge, Completed, Event, EventKind, EventTarget, Failure,
    InputGate, Limits, Link, Message, ObjectPort, Payload, Ready, Reply,
};
use facetd_rpc::{
    Context, EventState, HOST_GONE, Input, ObjectContext, Stop, Timer, Via, Watched, Watcher,
};
use facetd_storage::Databases;
use facetd_store::OpenOptions;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const OVERLOADED: &str =
    "Durable Object is overloaded. Too many objects are open at the same time.";

const QUEUED_TOO_LONG: &str = "Durable Object is overloaded. Requests queued for too long.";

/// Isolates of the project's workers that have objects.
static STATIC_HOLDERS: AtomicUsize = AtomicUsize::new(0);

/// Counts an isolate among the holders for as long as it lives.
pub(crate) struct Holder(());

impl Holder {
    fn new() -> Self {
        STATIC_HOLDERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        STATIC_HOLDERS.fetch_sub(1, Ordering::Relaxed);
    }
}

type Keep = Option<Arc<dyn Any + Send + Sync>>;

impl Isolate {
    pub(crate) fn handle_event(
        &mut self,
        target: EventTarget,
        event: Event,
        limits: Limits,
        keep: Keep,
    ) {
        if let Some(failure) = &self.start_failure {
            if let EventTarget::Object(port) = &target {
                port.broken(failure.clone(), false);
            }
            event.reply.send(Err(failure.clone()));
            return;
        }
        let Event {
            kind,
            reply,
            link,
            charge,
            caller,
        } = event;
        if let (EventTarget::Object(port), Some(since)) =
            (&target, charge.as_ref().and_then(Charge::waits_since))
            && since.elapsed() >= Duration::from_millis(port.start().wait_ms_max)
        {
            reply.send(Err(Failure::overloaded(QUEUED_TOO_LONG)));
            return;
        }
        if matches!(kind, EventKind::Watch) {
            self.watch(&target, reply, link, charge);
            return;
        }
        let number = self.state.next_id();
        let mut section = None;
        let context = match &target {
            EventTarget::Entrypoint { .. } => {
                self.state
                    .contexts
                    .borrow_mut()
                    .insert(number, Context::default());
                number
            }
            EventTarget::Export(export) => {
                let exported = self.state.exports.borrow().get(export).copied();
                let contexts = self.state.contexts.borrow();
                match exported.filter(|exported| contexts.contains_key(&exported.context)) {
                    Some(exported) => {
                        section = exported.section;
                        exported.context
                    }
                    None => {
                        drop(contexts);
                        reply.send(Err(Failure::error(HOST_GONE)));
                        return;
                    }
                }
            }
            EventTarget::Socket(socket) => {
                let open = self.state.sockets.borrow().get(socket).map(|s| s.context);
                match open {
                    Some(context) => context,
                    None => return, // ended meanwhile
                }
            }
            EventTarget::Object(port) => match self.object_context(port, link.as_ref()) {
                Ok(context) => context,
                Err(failure) => {
                    reply.send(Err(failure));
                    return;
                }
            },
        };
        let mut limits = limits.lower(self.limits);
        let alarm = if let EventKind::Alarm(alarm) = &kind {
            Some(*alarm)
        } else {
            None
        };
        let wall_ms_max = match kind {
            EventKind::Alarm(_) | EventKind::FacetDue { .. } => Some(ALARM_WALL_MS_MAX),
            EventKind::Scheduled(_) | EventKind::Tail(_) => Some(CRON_WALL_MS_MAX),
            _ => None,
        };
        if let Some(most) = wall_ms_max {
            limits.wall_ms = Some(limits.wall_ms.map_or(most, |wall_ms| wall_ms.min(most)));
        }
        let timer = limits.wall_ms.map(|wall_ms| {
            let inbox = self.control.inbox.clone();
            let task = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wall_ms)).await;
                inbox.send(Message::TimedOut { event: number });
            });
            Timer(task.abort_handle())
        });
        let known = EventState {
            context,
            reply: Some(reply),
            link: link.clone(),
            limits,
            cpu_used_ns: 0,
            sub_requests: 0,
            alarm,
            keep,
            timer,
            lingers: false,
            caller,
            stuck_while: None,
            charge,
        };
        self.state.events.borrow_mut().insert(number, known);
        if let Some(link) = link {
            link.served_as(&self.control.inbox, number);
        }
        let via = match &target {
            EventTarget::Export(export) => Via::Export(*export),
            EventTarget::Socket(socket) => Via::Socket(*socket),
            EventTarget::Object(_) | EventTarget::Entrypoint { .. } => Via::Itself,
        };
        match target {
            EventTarget::Object(_) | EventTarget::Export(_) | EventTarget::Socket(_) => {
                self.state.with_object(context, |object| object.add_busy(1));
                if let Some(input) = self.state.admit(
                    context,
                    section,
                    Input::Event {
                        event: number,
                        kind,
                        via,
                    },
                ) {
                    self.run_input(context, input);
                } else {
                    self.note_waiting(number);
                    self.suspect(context, number);
                }
                self.run_ready(context);
            }
            EventTarget::Entrypoint { name, props } => {
                self.deliver(
                    number,
                    context,
                    TO_ENTRYPOINT,
                    Name::Text(name),
                    props,
                    kind,
                );
            }
        }
    }

    /// The input gate keeps this event.
    fn note_waiting(&self, event: u32) {
        let mut events = self.state.events.borrow_mut();
        if let Some(charge) = events.get_mut(&event).and_then(|e| e.charge.as_mut()) {
            charge.waits(Instant::now());
        }
    }

    /// Refuses what has waited for too long at the gate of `context`. The gate opens in order, so a caller that
    /// was told so was not overtaken.
    fn refuse_late(&mut self, context: u32, wait_max: Duration) {
        let failure = Failure::overloaded(QUEUED_TOO_LONG);
        self.refuse_waiting(context, &failure, |_, event| {
            let charge = event.and_then(|event| event.charge.as_ref());
            let since = charge.and_then(Charge::waits_since);
            since.is_some_and(|since| since.elapsed() >= wait_max)
        });
    }

    /// Takes events out of the queue at the gate of `context`: those that `is_it` says so of, by number and state, get
    /// `failure`.
    pub(crate) fn refuse_waiting(
        &mut self,
        context: u32,
        failure: &Failure,
        is_it: impl Fn(u32, Option<&EventState>) -> bool,
    ) {
        let mut refused = Vec::new();
        {
            let mut events = self.state.events.borrow_mut();
            let mut contexts = self.state.contexts.borrow_mut();
            let Some(object) = contexts.get_mut(&context).and_then(|c| c.object.as_mut()) else {
                return;
            };
            let removed = object.gate.remove(|input| match input {
                Input::Event { event, .. } => is_it(*event, events.get(event)),
                Input::Completed { .. } => false,
            });
            for input in removed {
                if let Input::Event { event, .. } = input {
                    object.add_busy(-1);
                    refused.extend(events.remove(&event));
                }
            }
        }
        for reply in refused.into_iter().filter_map(|event| event.reply) {
            reply.send(Err(failure.clone()));
        }
    }

    /// Keeps `reply` until the target is broken.
    fn watch(
        &mut self,
        target: &EventTarget,
        reply: Reply,
        link: Option<Link>,
        charge: Option<Charge>,
    ) {
        let (of, failure) = match target {
            EventTarget::Object(port) => (Watched::Object(port.key()), port.failure()),
            EventTarget::Export(export) => {
                let exported = self.state.exports.borrow().get(export).copied();
                let contexts = self.state.contexts.borrow();
                match exported.filter(|exported| contexts.contains_key(&exported.context)) {
                    Some(exported) => (Watched::Context(exported.context), None),
                    None => (Watched::Isolate, Some(Failure::error(HOST_GONE))),
                }
            }
            EventTarget::Entrypoint { .. } | EventTarget::Socket(_) => (Watched::Isolate, None),
        };
        if let Some(failure) = failure {
            reply.send(Err(failure));
            return;
        }
        let number = self.state.next_id();
        let watcher = Watcher { of, reply, charge };
        self.state.watchers.borrow_mut().insert(number, watcher);
        if let Some(link) = link {
            link.served_as(&self.control.inbox, number);
        }
    }

    /// The context of an object, which is constructed when it is not in memory.
    fn object_context(
        &mut self,
        port: &Arc<dyn ObjectPort>,
        link: Option<&Link>,
    ) -> Result<u32, Failure> {
        if let Some(failure) = port.failure() {
            return Err(failure); // sent before the end of this life, and only now delivered
        }
        if let Some(context) = self.state.objects.borrow().get(&port.key()) {
            return Ok(*context);
        }
        self.construct(port, link)
    }

    fn construct(
        &mut self,
        port: &Arc<dyn ObjectPort>,
        link: Option<&Link>,
    ) -> Result<u32, Failure> {
        if self.holder.is_none() && !self.state.dynamic.get() {
            self.holder = Some(Holder::new());
        }
        self.make_room()?;
        let start = port.start();
        let context = self.state.next_id();
        let control = self.control.clone();
        let options = OpenOptions {
            storage_bytes_max: start
                .limits
                .lower(self.limits)
                .storage_mb
                .map(|mb| mb << 20),
            log: Some(self.log.clone()),
            interrupt: Some(Arc::new(move || {
                control.stopping.load(Ordering::Acquire)
                    || control.interrupted.load(Ordering::Acquire)
            })),
        };
        if !port.open_database() {
            // It broke meanwhile, and its successor may have the file by now.
            return Err(port.failure().unwrap_or_else(Failure::disconnected));
        }
        match self.databases.open(context, &start.database, options) {
            Ok(Some(alarm_ns)) => port.alarm_found(alarm_ns),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the database of an object could not be opened");
                port.database_closed();
                let failure = Failure::ours(error.js_message());
                port.broken(failure.clone(), true);
                return Err(failure);
            }
        }
        if let Some(failure) = port.failure() {
            // Ended while its database was being opened, and perhaps deleted: then this is the file of its successor, who
            // waits until it is closed.
            self.databases.close(context);
            port.database_closed();
            return Err(failure);
        }
        let object = ObjectContext {
            port: port.clone(),
            gate: InputGate::default(),
            busy: 0,
            idle_since: None,
            was_pending: false,
            born_depth: link.map_or(0, Link::depth),
        };
        self.state
            .contexts
            .borrow_mut()
            .insert(context, Context::of(object));
        self.state.objects.borrow_mut().insert(port.key(), context);
        self.control.objects.lock().insert(port.key(), port.clone());
        let made = self.turn(Payer::Event { event: 0, context }, |scope, state| {
            construct(scope, state, context, port.as_ref())
        });
        if self.control.stopping.load(Ordering::Acquire) {
            let killed = *self.control.killed.lock();
            return Err(killed.map_or_else(Failure::disconnected, |k| k.failure()));
        }
        if !self.state.contexts.borrow().contains_key(&context) {
            // The constructor's own turn reset it, by `ctx.abort()` or a commit that failed.
            return Err(self.last_reset.take().unwrap_or_else(Failure::disconnected));
        }
        match made {
            Some(Ok(())) => {
                // Idle from here on, until its first event comes through the gate.
                self.state.with_object(context, |object| object.add_busy(0));
                Ok(context)
            }
            Some(Err((failure, freed))) => {
                self.reset_object(context, failure.clone(), freed);
                Err(failure)
            }
            None => {
                self.reset_object(context, Failure::disconnected(), true);
                Err(Failure::disconnected())
            }
        }
    }

    fn run_input(&mut self, context: u32, input: Input) {
        match input {
            Input::Event { event, kind, via } => {
                let (target, name) = match via {
                    Via::Itself => (TO_OBJECT, Name::Text(None)),
                    Via::Export(export) => (TO_EXPORT, Name::Number(export)),
                    Via::Socket(socket) => (TO_SOCKET, Name::Number(socket)),
                };
                self.deliver(event, context, target, name, None, kind);
            }
            Input::Completed { call, with } => self.complete(call, with),
        }
    }

    /// Runs whatever the input gate of `context` lets in now.
    pub(crate) fn run_ready(&mut self, context: u32) {
        while let Some(ready) = self.state.next_ready(context) {
            match ready {
                Ready::Deliver(input) => self.run_input(context, input),
                Ready::Section(section, Input::Completed { call, .. }) => {
                    self.complete(call, Completed::Section(section));
                }
                Ready::Section(..) => {}
            }
            if self.control.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Something JS waits for has happened: tell it when its object's gate lets it in.
    pub(crate) fn handle_completed(&mut self, call: u32, with: Completed) {
        if call == 0 {
            // A critical section was left.
            if let Completed::Section(context) = with {
                self.run_ready(context.0);
            }
            return;
        }
        let begun = self
            .state
            .calls
            .borrow()
            .get(&call)
            .map(|c| (c.context, c.section));
        let Some((context, section)) = begun else {
            return;
        };
        if let Some(Input::Completed { call, with }) =
            self.state
                .admit(context, section, Input::Completed { call, with })
        {
            self.complete(call, with);
        }
        self.run_ready(context);
    }

    /// Its life is over, though the isolate has not been told yet: none of its code runs on.
    fn is_over(&self, context: u32) -> bool {
        self.state
            .with_object(context, |object| object.port.failure().is_some())
            .unwrap_or(false)
    }

    fn complete(&mut self, call: u32, with: Completed) {
        let Some(begun) = self.state.calls.borrow_mut().remove(&call) else {
            return;
        };
        if let (Some(Stop::Link(link)), Completed::Outcome(outcome)) = (&begun.stop, &with) {
            link.complete(outcome.as_ref().err());
        }
        if self.is_over(begun.context) {
            return;
        }
        let payer = Payer::Event {
            event: begun.event,
            context: begun.context,
        };
        let told = self.turn(payer, |scope, state| complete(scope, state, call, with));
        if told == Some(None) {
            // What came cannot be read here (too deep, or this isolate's built-ins were tampered with).
            let unreadable = Err(Failure::error(facetd_rpc::UNREADABLE));
            self.turn(payer, |scope, state| {
                complete(scope, state, call, Completed::Outcome(unreadable))
            });
        }
    }

    fn deliver(
        &mut self,
        event: u32,
        context: u32,
        target: u32,
        name: Name,
        props: Option<Arc<Payload>>,
        kind: EventKind,
    ) {
        if self.is_over(context) {
            return; // its abort, which is on its way, answers the event
        }
        let delivered = self.turn(Payer::Event { event, context }, |scope, state| {
            deliver(scope, state, event, context, target, name, props, kind)
        });
        if let Some(event) = self.state.events.borrow_mut().get_mut(&event) {
            event.charge = None;
        }
        if let Some(Err(failure)) = delivered {
            self.state.answer(event, Err(failure));
            self.state.event_done(event);
            self.state.flush_outbox();
        }
        if target == TO_SOCKET {
            // Not an answer, so no gate holds it: the next message may come.
            let reply = {
                let mut events = self.state.events.borrow_mut();
                events.get_mut(&event).and_then(|event| event.reply.take())
            };
            drop(reply);
        }
    }

    /// Throws an object out of memory. Whoever waits for it gets `failure`.
    pub(crate) fn reset_object(&mut self, context: u32, failure: Failure, freed: bool) {
        let Some(port) = self.state.object_port(context) else {
            return;
        };
        // First: whoever is told must find a new incarnation when it asks for the name again.
        port.broken(failure.clone(), freed);
        port.output_gate().break_with(&failure);
        self.state.flush_outbox();
        let events: Vec<u32> = {
            let events = self.state.events.borrow();
            events
                .iter()
                .filter(|(_, e)| e.context == context)
                .map(|(number, _)| *number)
                .collect()
        };
        for event in events {
            self.state.trace_failed(event, &failure);
            let known = self.state.events.borrow_mut().remove(&event);
            if let Some(reply) = known.and_then(|known| known.reply) {
                reply.send(Err(failure.clone()));
            }
        }
        self.forget_object(context, &port);
        self.state
            .tell_watchers(Watched::Object(port.key()), &failure);
        self.last_reset = Some(failure);
    }

    fn forget_object(&mut self, context: u32, port: &Arc<dyn ObjectPort>) {
        self.state.give_up_calls(context);
        self.state.end_context(context);
        self.state.objects.borrow_mut().remove(&port.key());
        self.control.objects.lock().remove(&port.key());
        self.databases.close(context);
        port.database_closed();
        let destroy = self.state.callbacks().destroy.clone();
        // Not a turn, and may be called at the end of one. It runs no user code; should some get in through
        // a built-in after all, the CPU limit covers it.
        self.begin(Payer::Isolate);
        {
            v8::scope_with_context!(let scope, self.runtime.v8_isolate(), &self.main_context);
            let destroy = v8::Local::new(scope, &destroy);
            let this = v8::undefined(scope).into();
            let number = v8::Integer::new_from_unsigned(scope, context).into();
            destroy.call(scope, this, &[number]);
        }
        self.end(Payer::Isolate);
        // Readers of its bodies are told that no more will come.
        self.state.flush_outbox();
    }

    /// Each open database holds descriptors of the process. An isolate that has its share of them gives
    /// up the object that was idle for longest before it opens one more.
    ///
    /// # Errors
    /// All of its objects are busy.
    fn make_room(&mut self) -> Result<(), Failure> {
        if self.control.tight.load(Ordering::Relaxed) {
            self.evict_for_memory();
        }
        let most = descriptors::databases_max();
        let (share, of_all) = if self.state.dynamic.get() {
            (most / 4, most * 3 / 4)
        } else {
            // Instances of one worker fill up together: their shares must fit.
            let holders = STATIC_HOLDERS.load(Ordering::Relaxed);
            (most / holders.max(2), most)
        };
        let (here, anywhere) = (self.databases.open_here(), Databases::open_anywhere());
        if here < share && anywhere < of_all {
            return Ok(());
        }
        // More than one if the share has become smaller.
        let excess = (here + 1).saturating_sub(share).max(1);
        for given_up in 0..excess {
            match self.give_up_idlest() {
                Ok(()) => {}
                // What is open already may stay open: it was within a share once.
                Err(_) if given_up > 0 => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Throws the object out of memory that was idle for longest.
    ///
    /// # Errors
    /// None is idle.
    fn give_up_idlest(&mut self) -> Result<(), Failure> {
        let idlest = {
            let pending = self.state.pending_contexts();
            let contexts = self.state.contexts.borrow();
            let idle = contexts.iter().filter_map(|(context, known)| {
                let object = known.object.as_ref()?;
                let waits = pending.contains(context);
                Some((waits, object.idle_since?, *context, object.port.clone()))
            });
            // One that waits for its own timers goes only if all do.
            idle.min_by_key(|(waits, since, ..)| (*waits, *since))
        };
        match idlest {
            Some((_, _, context, port)) => {
                self.forget_object(context, &port);
                Ok(())
            }
            None => Err(Failure::overloaded(OVERLOADED)),
        }
    }

    /// Memory gets tight: whatever is idle goes now, and a collection is asked for, which says whether that was enough.
    pub(crate) fn evict_for_memory(&mut self) {
        self.control.tight.store(false, Ordering::Relaxed);
        let idle: Vec<(u32, Arc<dyn ObjectPort>)> = {
            let pending = self.state.pending_contexts();
            let contexts = self.state.contexts.borrow();
            let idle = contexts.iter().filter_map(|(context, known)| {
                let object = known.object.as_ref()?;
                let goes = object.idle_since.is_some() && !pending.contains(context);
                goes.then(|| (*context, object.port.clone()))
            });
            idle.collect()
        };
        if idle.is_empty() {
            return;
        }
        tracing::debug!(
            objects = idle.len(),
            "memory gets tight: idle objects leave it"
        );
        for (context, port) in idle {
            self.forget_object(context, &port);
        }
        self.runtime.v8_isolate().low_memory_notification();
    }

    /// Drops objects that have had nothing to do for long enough. Returns how long the next one has.
    pub(crate) fn evict_idle(&mut self) -> Option<Duration> {
        let mut evict = Vec::new();
        let mut waited_for = Vec::new();
        let mut next: Option<Duration> = None;
        for (context, known) in self.state.contexts.borrow().iter() {
            let Some(object) = &known.object else {
                continue;
            };
            let after = Duration::from_millis(object.port.start().evict_after_ms);
            let idle = object
                .idle_since
                .map_or(Duration::ZERO, |since| since.elapsed());
            if idle >= after {
                evict.push((*context, object.port.clone()));
                continue;
            }
            let mut look = after - idle;
            if object.busy > 0 {
                // Something may come to wait at its gate before the next look.
                let wait_max = Duration::from_millis(object.port.start().wait_ms_max);
                look = look.min(wait_max / 4);
                if object.gate.is_locked() {
                    waited_for.push((*context, wait_max));
                }
            }
            next = Some(next.map_or(look, |next| next.min(look)));
        }
        for (context, wait_max) in waited_for {
            self.refuse_late(context, wait_max);
        }
        if !evict.is_empty() {
            let pending = self.state.pending_contexts();
            evict.retain(|(context, port)| {
                let stays = self.stays(*context, pending.contains(context));
                if stays {
                    let after = Duration::from_millis(port.start().evict_after_ms);
                    next = Some(next.map_or(after, |next| next.min(after)));
                }
                !stays
            });
        }
        for (context, port) in evict {
            self.forget_object(context, &port);
        }
        next
    }

    /// Whether an object that could leave memory now stays for another while: it waits for something of its own, or did so
    /// when it was looked at before, and then it has not been idle for long.
    fn stays(&self, context: u32, is_pending: bool) -> bool {
        let looked_at = self.state.with_object(context, |object| {
            let stays = is_pending || object.was_pending;
            object.was_pending = is_pending;
            if stays {
                object.idle_since = Some(Instant::now());
            }
            stays
        });
        looked_at.unwrap_or(false)
    }
}
