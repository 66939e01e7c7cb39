//! Objects in this isolate: constructing, delivering, resetting, evicting.

use crate::descriptors;
use crate::entry::{
    Name, TO_ENTRYPOINT, TO_EXPORT, TO_OBJECT, TO_SOCKET, complete, construct, deliver,
};
use crate::isolate::Isolate;
use crate::turn::Payer;
use deno_core::v8;
use facetd_core::{
    ALARM_WALL_MS_MAX, Charge, Completed, Event, EventKind, EventTarget, Failure, InputGate,
    Limits, Link, Message, ObjectPort, Payload, Ready, Reply,
};
use facetd_rpc::{
    Context, EventState, HOST_GONE, Input, ObjectContext, Stop, Timer, Via, Watched, Watcher,
};
use facetd_storage::Databases;
use facetd_store::OpenOptions;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const OVERLOADED: &str =
    "Durable Object is overloaded. Too many objects are open at the same time.";

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
        } = event;
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
        if matches!(kind, EventKind::Alarm(_) | EventKind::FacetDue { .. }) {
            let wall_ms = limits.wall_ms.unwrap_or(ALARM_WALL_MS_MAX);
            limits.wall_ms = Some(wall_ms.min(ALARM_WALL_MS_MAX));
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
            let unreadable = Err(Failure::type_error("The answer could not be read."));
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
        if delivered == Some(None) {
            // Our own JS threw before it could answer: never user code's doing.
            self.state.answer(event, Err(Failure::internal()));
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
        let main_context = self.runtime.main_context();
        {
            v8::scope_with_context!(let scope, self.runtime.v8_isolate(), main_context);
            let destroy = v8::Local::new(scope, &destroy);
            let this = v8::undefined(scope).into();
            let number = v8::Integer::new_from_unsigned(scope, context).into();
            destroy.call(scope, this, &[number]);
        }
        self.end(Payer::Isolate);
    }

    /// Each open database holds descriptors of the process. An isolate that has its share of them gives
    /// up the object that was idle for longest before it opens one more.
    ///
    /// # Errors
    /// All of its objects are busy.
    fn make_room(&mut self) -> Result<(), Failure> {
        let most = descriptors::databases_max();
        let (share, of_all) = if self.state.dynamic.get() {
            (most / 4, most * 3 / 4)
        } else {
            (most / 2, most)
        };
        if self.databases.open_here() < share && Databases::open_anywhere() < of_all {
            return Ok(());
        }
        let idlest = {
            let contexts = self.state.contexts.borrow();
            let idle = contexts.iter().filter_map(|(context, known)| {
                let object = known.object.as_ref()?;
                Some((object.idle_since?, *context, object.port.clone()))
            });
            idle.min_by_key(|(since, ..)| *since)
        };
        match idlest {
            Some((_, context, port)) => {
                self.forget_object(context, &port);
                Ok(())
            }
            None => Err(facetd_core::HostError {
                overloaded: true,
                ..facetd_core::HostError::new("Error", OVERLOADED)
            }
            .into()),
        }
    }

    /// Drops objects that have had nothing to do for long enough. Returns how long the next one has.
    pub(crate) fn evict_idle(&mut self) -> Option<Duration> {
        let mut evict = Vec::new();
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
            } else {
                next = Some(next.map_or(after - idle, |next| next.min(after - idle)));
            }
        }
        for (context, port) in evict {
            self.forget_object(context, &port);
        }
        next
    }
}
