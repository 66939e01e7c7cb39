//! Wakes objects and facets for their alarms.
//!
//! Owns: the schedule of all alarms of this process (its order is `core::alarms`), one timer, and what the
//! wake-up lists on disk say (`alarm_list` writes them). Told by isolates of each commit that changes an
//! alarm. Never trusts itself: the isolate asks the object's database before it runs a handler.
//! Always true: no thread, timer or task per sleeping object. Whatever an alarm ends with comes back to
//! the one task here through a channel, because replies run under the lock of an output gate.

use crate::alarm_list::{Change, ListThread};
use crate::incarnation::{ChildNow, Incarnation};
use crate::namespace::NamespaceInner;
use facetd_core::{
    After, AlarmAnswer, AlarmEvent, AlarmKey, Answer, Ended, Event, EventKind, FacetDue, Failure,
    ListNow, Listed, Listing, ObjectId, Outcome, Run, Schedule,
};
use facetd_store::{CommitLog, StoreError};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Whose alarm it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub namespace: u32,
    pub object: ObjectId,
    /// Storage id; 0: the root object itself.
    pub facet: u16,
}

impl AlarmKey for Key {
    type Tree = (u32, ObjectId);

    fn tree(&self) -> Option<Self::Tree> {
        (self.facet != 0).then_some((self.namespace, self.object))
    }
}

/// The timer looks at the wall clock at least this often while an alarm waits: it may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Runs started before whoever else is waiting for this thread gets it.
const BATCH: usize = 64;

#[derive(Default)]
struct Known {
    listing: Listing,
    /// The root object's, to be told when it is woken.
    name: Option<Arc<str>>,
}

#[derive(Default)]
struct State {
    schedule: Schedule<Key>,
    known: HashMap<Key, Known>,
    /// When the timer rings next; a change to something earlier must tell it.
    rings_at_ns: Option<i64>,
    stopped: bool,
}

/// A run, or the clearing of an alarm that has failed too often.
#[derive(Clone, Copy)]
struct Job {
    run: Run<Key>,
    give_up: bool,
}

/// What comes back of a job.
enum Heard {
    Ran {
        outcome: Outcome,
        /// Whoever was sent the alarm. Nobody else may hold a life that still waits for its database; and
        /// it must not end under the lock that a reply runs under.
        _target: Arc<dyn Any + Send + Sync>,
    },
    /// A parent was asked to start the first facet of `rest`.
    Asked {
        parent: Arc<Incarnation>,
        rest: VecDeque<String>,
        outcome: Outcome,
    },
}

pub(crate) struct Alarms {
    state: Mutex<State>,
    wake: Notify,
    directories: Mutex<Vec<PathBuf>>,
    namespaces: OnceLock<Vec<Weak<NamespaceInner>>>,
    list: OnceLock<ListThread>,
    heard: UnboundedSender<(Job, Heard)>,
    hears: Mutex<Option<UnboundedReceiver<(Job, Heard)>>>,
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

impl Default for Alarms {
    fn default() -> Self {
        let (heard, hears) = unbounded_channel();
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            directories: Mutex::default(),
            namespaces: OnceLock::new(),
            list: OnceLock::new(),
            heard,
            hears: Mutex::new(Some(hears)),
        }
    }
}

impl Alarms {
    /// The number of a namespace whose objects are in `directory`.
    pub fn add_namespace(&self, directory: PathBuf) -> u32 {
        let mut directories = self.directories.lock();
        directories.push(directory);
        u32::try_from(directories.len() - 1).expect("a project has few classes")
    }

    /// Reads the wake-up lists. `namespaces`: by their numbers.
    ///
    /// # Errors
    /// A list cannot be read: its alarms would be lost.
    pub fn open(
        &self,
        namespaces: Vec<Weak<NamespaceInner>>,
        log: CommitLog,
        fsync: bool,
    ) -> Result<(), StoreError> {
        let directories = self.directories.lock().clone();
        let (list, loaded) = ListThread::start(directories, log, fsync)?;
        let mut state = self.state.lock();
        for (number, alarms) in loaded.into_iter().enumerate() {
            let Some(namespace) = namespaces.get(number).and_then(Weak::upgrade) else {
                continue;
            };
            for alarm in alarms {
                let Ok(object) = namespace.key().id_from_string(&alarm.object) else {
                    tracing::warn!(object = alarm.object, "an alarm of no object of its class");
                    continue;
                };
                let key = Key {
                    namespace: u32::try_from(number).unwrap_or(u32::MAX),
                    object,
                    facet: alarm.facet,
                };
                let known = Known {
                    listing: Listing::listed(alarm.time_ns),
                    name: alarm.name.map(Into::into),
                };
                state.known.insert(key, known);
                state.schedule.set(key, Some(alarm.time_ns));
            }
        }
        drop(state);
        let _set_before = self.list.set(list);
        let _set_before = self.namespaces.set(namespaces);
        Ok(())
    }

    /// Begins to fire.
    pub fn start(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        if let Some(hears) = self.hears.lock().take() {
            runtime.spawn(live(Arc::downgrade(self), hears));
        }
    }

    /// Fires no more.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.wake.notify_one();
    }

    /// Writes what is to be written to the lists. Nothing may change any more.
    pub fn close(&self) {
        if let Some(list) = self.list.get() {
            list.close();
        }
    }

    // ---- what isolates report

    /// A commit has changed the alarm of `key`. `listed`: see `ObjectPort::alarm_committed`. Returns
    /// what to report by `durable`.
    pub fn committed(
        &self,
        key: Key,
        name: Option<&str>,
        time_ns: Option<i64>,
        listed: Listed,
    ) -> Option<u64> {
        let mut state = self.state.lock();
        state.schedule.set(key, time_ns);
        let known = state.known.entry(key).or_default();
        if let Some(name) = name
            && known.name.as_deref() != Some(name)
        {
            known.name = Some(name.into());
        }
        let version = match known.listing.committed(time_ns) {
            ListNow::Write(time_ns) => {
                let name = known.name.clone();
                self.write(key, Some((time_ns, name)), Some(listed));
                None
            }
            ListNow::Later(version) => {
                let waiting = Some(version);
                // Outside the lock: what was held goes out now.
                self.tell_timer(&mut state);
                drop(state);
                listed(Ok(()));
                return waiting;
            }
        };
        self.tell_timer(&mut state);
        version
    }

    /// The commit that `version` was returned for is durable.
    pub fn durable(&self, key: Key, version: u64) {
        let mut state = self.state.lock();
        let Some(known) = state.known.get_mut(&key) else {
            return;
        };
        if let Some(time_ns) = known.listing.durable(version) {
            let name = known.name.clone();
            self.write(key, time_ns.map(|time_ns| (time_ns, name)), None);
        }
        if known.listing.is_void() {
            state.known.remove(&key);
        }
    }

    /// The object of `key` is in memory, and its database has this alarm.
    pub fn found(&self, key: Key, name: Option<&str>, time_ns: i64) {
        let mut state = self.state.lock();
        if state.schedule.found(key, time_ns) {
            let known = state.known.entry(key).or_default();
            known.name = name.map(Into::into).or(known.name.take());
            if let ListNow::Write(time_ns) = known.listing.committed(Some(time_ns)) {
                let name = known.name.clone();
                self.write(key, Some((time_ns, name)), None);
            }
        }
        self.tell_timer(&mut state);
    }

    /// The facets of this object are gone with their data.
    pub fn forget(&self, namespace: u32, object: ObjectId, facets: &[u16]) {
        let mut state = self.state.lock();
        for facet in facets {
            let key = Key {
                namespace,
                object,
                facet: *facet,
            };
            state.schedule.forget(key);
            if state.known.remove(&key).is_some() {
                self.write(key, None, None);
            }
        }
    }

    /// Under the lock of the state, so that changes reach the list in the order they were decided.
    fn write(&self, key: Key, alarm: Option<(i64, Option<Arc<str>>)>, told: Option<Listed>) {
        let change = Change { key, alarm, told };
        match self.list.get() {
            Some(list) => list.change(change),
            None => change.tell(Err(Failure::internal())),
        }
    }

    fn tell_timer(&self, state: &mut State) {
        let next = state.schedule.next_due_ns();
        if let Some(next) = next
            && state.rings_at_ns.is_none_or(|rings| next < rings)
        {
            state.rings_at_ns = Some(next);
            self.wake.notify_one();
        }
    }

    // ---- firing

    /// Starts what is due. How long there is nothing more to do: `None` is for ever.
    fn fire(&self) -> Option<Duration> {
        let runs = {
            let mut state = self.state.lock();
            state.schedule.take_due(now_ns(), BATCH)
        };
        for run in runs {
            self.begin(Job {
                run,
                give_up: false,
            });
        }
        let mut state = self.state.lock();
        let next = state.schedule.next_due_ns();
        state.rings_at_ns = next;
        let left = next?.saturating_sub(now_ns()).max(0);
        Some(Duration::from_nanos(left.unsigned_abs()).min(LOOK_EVERY))
    }

    fn begin(&self, job: Job) {
        let key = job.run.key;
        let namespace = self
            .namespaces
            .get()
            .and_then(|all| all.get(key.namespace as usize))
            .and_then(Weak::upgrade);
        let name = {
            let state = self.state.lock();
            state.known.get(&key).and_then(|known| known.name.clone())
        };
        let root = match namespace {
            Some(namespace) => namespace.incarnation(key.object, name.as_deref()),
            None => Err(Failure::disconnected()),
        };
        match root {
            Ok(root) => match root.tree.facet_path(key.facet) {
                Ok(Some(path)) => self.descend(job, root, path.into()),
                Ok(None) => self.settle(job, Ended::Absent),
                Err(error) => {
                    tracing::error!(%error, "the names of facets cannot be read");
                    self.settle(job, Ended::Failed { counted: false });
                }
            },
            Err(failure) => self.failed(job, &failure),
        }
    }

    /// From `object` down to the facet, waking each parent in turn.
    fn descend(&self, job: Job, mut object: Arc<Incarnation>, mut rest: VecDeque<String>) {
        while let Some(name) = rest.front() {
            match object.child(name) {
                ChildNow::Alive(child) => {
                    rest.pop_front();
                    object = child;
                }
                ChildNow::Poisoned(failure) => return self.failed(job, &failure),
                ChildNow::Asleep => return self.ask(job, object, rest),
            }
        }
        object.send_event(self.event(job, object.clone()));
    }

    fn ask(&self, job: Job, parent: Arc<Incarnation>, rest: VecDeque<String>) {
        let Some(name) = rest.front().cloned() else {
            return;
        };
        let (heard, asked) = (self.heard.clone(), parent.clone());
        parent.send_event(Event::new(EventKind::FacetDue { name }, move |outcome| {
            let heard_now = Heard::Asked {
                parent: asked,
                rest,
                outcome,
            };
            let _stopped = heard.send((job, heard_now));
        }));
    }

    fn event(&self, job: Job, target: Arc<dyn Any + Send + Sync>) -> Event {
        let run = job.run;
        let alarm = if job.give_up {
            AlarmEvent::GiveUp {
                time_ns: run.time_ns,
            }
        } else {
            AlarmEvent::Run {
                time_ns: run.time_ns,
                retry_count: run.retry_count,
                is_retry: run.is_retry,
            }
        };
        let heard = self.heard.clone();
        Event::new(EventKind::Alarm(alarm), move |outcome| {
            let heard_now = Heard::Ran {
                outcome,
                _target: target,
            };
            let _stopped = heard.send((job, heard_now));
        })
    }

    fn hear(&self, job: Job, heard: Heard) {
        match heard {
            Heard::Ran {
                outcome: Ok(Answer::Alarm(answer)),
                ..
            } => {
                let how = match answer {
                    AlarmAnswer::Done => Ended::Done,
                    AlarmAnswer::Absent => Ended::Absent,
                    AlarmAnswer::Later(time_ns) => Ended::Later(time_ns),
                };
                self.settle(job, how);
            }
            Heard::Ran {
                outcome: Err(failure),
                ..
            }
            | Heard::Asked {
                outcome: Err(failure),
                ..
            } => self.failed(job, &failure),
            Heard::Asked {
                parent,
                rest,
                outcome: Ok(Answer::FacetDue(due)),
            } => self.answered(job, parent, rest, due),
            Heard::Ran { .. } | Heard::Asked { .. } => self.failed(job, &Failure::internal()),
        }
    }

    /// A parent has answered whether it starts the facet.
    fn answered(
        &self,
        job: Job,
        parent: Arc<Incarnation>,
        mut rest: VecDeque<String>,
        due: FacetDue,
    ) {
        let name = rest.front().cloned().unwrap_or_default();
        match (due, parent.child(&name)) {
            // The stub tells why, should the facet have broken at once.
            (FacetDue::Started(facet), _) if rest.len() == 1 => {
                facet.send(self.event(job, Arc::new(facet.clone())));
            }
            (_, ChildNow::Alive(child)) => {
                rest.pop_front();
                self.descend(job, child, rest);
            }
            (_, ChildNow::Poisoned(failure)) => self.failed(job, &failure),
            (FacetDue::Started(_), ChildNow::Asleep) => {
                self.settle(job, Ended::Failed { counted: true });
            }
            (FacetDue::Unwanted, ChildNow::Asleep) => self.settle(job, Ended::Unwanted),
            (FacetDue::Unclaimed, ChildNow::Asleep) => {
                tracing::warn!(
                    facet = name,
                    object = %job.run.key.object,
                    "the alarm of a facet is due, and its parent has neither called facets.get() for it nor a facetAlarm() method"
                );
                self.settle(job, Ended::Unclaimed);
            }
        }
    }

    fn failed(&self, job: Job, failure: &Failure) {
        self.settle(
            job,
            Ended::Failed {
                counted: failure.is_users(),
            },
        );
    }

    fn settle(&self, job: Job, how: Ended) {
        // However the clearing went, it was the last thing; what is left in the database is found again.
        let how = if job.give_up { Ended::Absent } else { how };
        let random = RandomState::new().hash_one(job.run.number);
        let mut state = self.state.lock();
        match state.schedule.ended(&job.run, how, now_ns(), random) {
            Some(After::Gone) if how == Ended::Absent => {
                let key = job.run.key;
                // A commit that removed it removes it from the list too, when it is durable.
                let known = state.known.get_mut(&key);
                if let Some(known) = known
                    && known.listing.has_alarm()
                {
                    state.known.remove(&key);
                    self.write(key, None, None);
                }
            }
            Some(After::GiveUp) => {
                drop(state);
                let (object, facet) = (job.run.key.object, job.run.key.facet);
                tracing::warn!(%object, facet, "an alarm has failed too often and is dropped");
                self.begin(Job {
                    give_up: true,
                    ..job
                });
            }
            Some(After::Gone | After::Waits | After::Parked) | None => {}
        }
    }
}

/// Fires and hears until the host is gone or stops.
async fn live(alarms: Weak<Alarms>, mut hears: UnboundedReceiver<(Job, Heard)>) {
    while let Some(alarms) = alarms.upgrade() {
        if alarms.state.lock().stopped {
            return;
        }
        let wait = alarms.fire().unwrap_or(LOOK_EVERY * 3600);
        tokio::select! {
            heard = hears.recv() => {
                if let Some((job, heard)) = heard {
                    alarms.hear(job, heard);
                }
                // What ended together is heard together, before the heap is looked at again.
                for _ in 0..BATCH {
                    let Ok((job, heard)) = hears.try_recv() else {
                        break;
                    };
                    alarms.hear(job, heard);
                }
            }
            () = alarms.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
