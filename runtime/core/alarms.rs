//! Orders the alarms of every object and facet on this machine.
//!
//! Owns: the heap of due times, what runs, the retry policy, the pace of facets, and (`Listing`) which
//! change of the wake-up list must be on disk before what. Never reads a clock, never runs JS: callers
//! pass the wall clock in nanoseconds since 1970. Called by: `host::alarms`.
//! Always true: one alarm per key; at most one run per key; no run before the stored time. The object's
//! database is the truth; what is here is a wake-up list that the isolate checks against it.
//! Dropped: a timer per alarm; ten thousand sleeping objects meant ten thousand timers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_S: i64 = 1_000 * NS_PER_MS;

/// Counted retries before an alarm is dropped. The platform's number.
pub const ALARM_RETRIES_MAX: u32 = 6;
/// The delay doubles with each retry, up to this many times.
const DOUBLINGS_MAX: u32 = 9;
/// How often an alarm asks a supervisor that knows no way to start the facet; then it waits until the
/// facet is started for another reason.
const UNCLAIMED_MAX: u32 = 10;
/// The least time between two alarm runs of one facet: its code may set the next alarm to "now" for ever.
pub const FACET_ALARM_INTERVAL_NS: i64 = 100 * NS_PER_MS;
/// The least time between two alarm runs of all facets below one root object, nested ones included: a
/// facet may have thousands of facets of its own.
pub const FACET_TREE_ALARM_INTERVAL_NS: i64 = 5 * NS_PER_MS;

/// Whose alarm it is.
pub trait AlarmKey: Copy + Eq + Ord + Hash {
    /// What facets of one root share.
    type Tree: Copy + Eq + Hash;
    /// `None`: a root object, whose alarms are not paced.
    fn tree(&self) -> Option<Self::Tree>;
}

/// One run of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<K> {
    pub key: K,
    /// Tells this run from later ones of the same key.
    pub number: u64,
    pub time_ns: i64,
    /// Counted retries so far.
    pub retry_count: u32,
    /// It ran before, counted or not.
    pub is_retry: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The handler resolved and its writes are durable.
    Done,
    /// The database has no alarm (any more), or it has been dropped.
    Absent,
    /// The database has a later one: this was a wake-up too early.
    Later(i64),
    /// `counted`: it was user code's fault.
    Failed { counted: bool },
    /// The facet does not run and its supervisor has no callback to start it.
    Unclaimed,
    /// The supervisor does not want the facet started.
    Unwanted,
}

/// What becomes of the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It waits for its time, or for a retry.
    Waits,
    /// There is none any more.
    Gone,
    /// It stays in the database and the list; it is found again when the object is next constructed.
    Parked,
    /// Too many failures: clear it from the database, then say `Absent`.
    GiveUp,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Parked,
    Running {
        number: u64,
        /// What was committed meanwhile.
        changed: Option<Option<i64>>,
    },
}

#[derive(Debug)]
struct Entry {
    time_ns: i64,
    /// Not before this, because of a retry. 0: none.
    retry_at_ns: i64,
    /// Not before this, because of the pace of facets. Survives a change of the alarm.
    paced_until_ns: i64,
    /// `paced_until_ns` is a slot of its tree that was given to it.
    has_slot: bool,
    /// Its item in the heap; older items are stale.
    stamp: u64,
    state: State,
    counted: u32,
    tries: u32,
    /// The last try found nobody to start the facet.
    unclaimed: bool,
}

impl Entry {
    fn new(time_ns: i64, (paced_until_ns, has_slot): (i64, bool)) -> Self {
        Self {
            time_ns,
            retry_at_ns: 0,
            paced_until_ns,
            has_slot,
            stamp: 0,
            state: State::Waiting,
            counted: 0,
            tries: 0,
            unclaimed: false,
        }
    }

    fn due_ns(&self) -> i64 {
        self.time_ns.max(self.retry_at_ns).max(self.paced_until_ns)
    }

    /// A new alarm in the old one's place.
    fn replace(&mut self, time_ns: i64) {
        self.time_ns = time_ns;
        self.retry_at_ns = 0;
        (self.counted, self.tries) = (0, 0);
        self.unclaimed = false;
        self.state = State::Waiting;
    }
}

pub struct Schedule<K: AlarmKey> {
    entries: HashMap<K, Entry>,
    heap: BinaryHeap<Reverse<(i64, u64, K)>>,
    last_stamp: u64,
    /// Pace of facets that have no alarm now: until when, and whether that is a slot of its tree.
    recent: HashMap<K, (i64, bool)>,
    /// The next free slot of each tree.
    trees: HashMap<K::Tree, i64>,
    /// How many of both there may be before those that are over are forgotten.
    prune_at: usize,
    last_now_ns: i64,
}

const PRUNE_AT_LEAST: usize = 1024;

impl<K: AlarmKey> Default for Schedule<K> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            heap: BinaryHeap::new(),
            last_stamp: 0,
            recent: HashMap::new(),
            trees: HashMap::new(),
            prune_at: PRUNE_AT_LEAST,
            last_now_ns: i64::MIN,
        }
    }
}

impl<K: AlarmKey> Schedule<K> {
    /// The database of `key` now has this alarm, or none.
    pub fn set(&mut self, key: K, time_ns: Option<i64>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            if let Some(time_ns) = time_ns {
                let pace = self.recent.remove(&key).unwrap_or_default();
                self.entries.insert(key, Entry::new(time_ns, pace));
                self.push(key);
            }
            return;
        };
        match (&mut entry.state, time_ns) {
            (State::Running { changed, .. }, time_ns) => *changed = Some(time_ns),
            (_, Some(time_ns)) => {
                entry.replace(time_ns);
                self.push(key);
            }
            (_, None) => self.remove(key),
        }
    }

    /// The object was constructed, and this is what its database says. True: it was not known.
    pub fn found(&mut self, key: K, time_ns: i64) -> bool {
        let known = match self.entries.get_mut(&key) {
            None => false,
            Some(entry) => match &mut entry.state {
                State::Waiting if entry.unclaimed && entry.time_ns == time_ns => {
                    // Somebody has started it after all.
                    entry.replace(time_ns);
                    self.push(key);
                    return false;
                }
                State::Waiting => entry.time_ns == time_ns,
                State::Parked => {
                    entry.replace(time_ns);
                    self.push(key);
                    return false;
                }
                // What it says may be older than what was committed since.
                State::Running { changed, .. } => changed.is_some() || entry.time_ns == time_ns,
            },
        };
        if !known {
            self.set(key, Some(time_ns));
        }
        !known
    }

    /// The object is gone with all its data.
    pub fn forget(&mut self, key: K) {
        self.remove(key);
    }

    pub fn time_ns(&self, key: &K) -> Option<i64> {
        let entry = self.entries.get(key)?;
        match entry.state {
            State::Running {
                changed: Some(changed),
                ..
            } => changed,
            _ => Some(entry.time_ns),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the next run is due.
    pub fn next_due_ns(&mut self) -> Option<i64> {
        while let Some(Reverse((due_ns, stamp, key))) = self.heap.peek() {
            let current = self.entries.get(key).is_some_and(|e| e.stamp == *stamp);
            if current {
                return Some(*due_ns);
            }
            self.heap.pop();
        }
        None
    }

    /// Starts what is due, earliest first, at most `most` runs.
    pub fn take_due(&mut self, now_ns: i64, most: usize) -> Vec<Run<K>> {
        self.notice(now_ns);
        let mut runs = Vec::new();
        while runs.len() < most
            && let Some(due_ns) = self.next_due_ns()
            && due_ns <= now_ns
        {
            let Some(Reverse((_, _, key))) = self.heap.pop() else {
                break;
            };
            if self.wait_for_slot(key, now_ns) {
                continue;
            }
            self.last_stamp += 1;
            let number = self.last_stamp;
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.stamp = number;
            entry.state = State::Running {
                number,
                changed: None,
            };
            if key.tree().is_some() {
                entry.has_slot = false;
                entry.paced_until_ns = now_ns + FACET_ALARM_INTERVAL_NS;
            }
            runs.push(Run {
                key,
                number,
                time_ns: entry.time_ns,
                retry_count: entry.counted,
                is_retry: entry.tries > 0,
            });
        }
        runs
    }

    /// Gives a facet its slot among the facets of its tree. True: the slot is still to come.
    fn wait_for_slot(&mut self, key: K, now_ns: i64) -> bool {
        let (Some(tree), Some(entry)) = (key.tree(), self.entries.get_mut(&key)) else {
            return false;
        };
        if entry.has_slot {
            return false; // and it has come, or the entry would not be due
        }
        let next = self.trees.entry(tree).or_insert(now_ns);
        let slot = (*next).max(now_ns);
        *next = slot + FACET_TREE_ALARM_INTERVAL_NS;
        if slot <= now_ns {
            return false;
        }
        entry.has_slot = true;
        entry.paced_until_ns = slot;
        self.push(key);
        true
    }

    /// A run is over. `random`: any number, for the jitter. `None`: the run was not this key's present one.
    pub fn ended(&mut self, run: &Run<K>, how: Ended, now_ns: i64, random: u64) -> Option<After> {
        self.notice(now_ns);
        let entry = self.entries.get_mut(&run.key)?;
        let State::Running { number, changed } = &entry.state else {
            return None;
        };
        if *number != run.number {
            return None;
        }
        // What was committed while it ran stands, however the run ended.
        let next = match (*changed, how) {
            (Some(changed), _) => changed,
            (None, Ended::Done | Ended::Absent) => None,
            (None, Ended::Later(time_ns)) => Some(time_ns),
            (None, Ended::Unwanted) => {
                entry.state = State::Parked;
                return Some(After::Parked);
            }
            (None, Ended::Unclaimed) if entry.tries >= UNCLAIMED_MAX => {
                entry.state = State::Parked;
                return Some(After::Parked);
            }
            (None, Ended::Failed { counted: true }) if entry.counted >= ALARM_RETRIES_MAX => {
                return Some(After::GiveUp);
            }
            (None, Ended::Failed { .. } | Ended::Unclaimed) => {
                entry.retry_at_ns = now_ns.saturating_add(retry_delay_ns(entry.tries, random));
                entry.tries = entry.tries.saturating_add(1);
                entry.counted += u32::from(how == Ended::Failed { counted: true });
                entry.unclaimed = how == Ended::Unclaimed;
                entry.state = State::Waiting;
                self.push(run.key);
                return Some(After::Waits);
            }
        };
        match next {
            Some(time_ns) => {
                entry.replace(time_ns);
                self.push(run.key);
                Some(After::Waits)
            }
            None => {
                self.remove(run.key);
                Some(After::Gone)
            }
        }
    }

    fn push(&mut self, key: K) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        self.last_stamp += 1;
        entry.stamp = self.last_stamp;
        self.heap.push(Reverse((entry.due_ns(), entry.stamp, key)));
        // A loop that sets its alarm over and over leaves one stale item each time.
        if self.heap.len() > 2 * self.entries.len() + 64 {
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        let waiting = self
            .entries
            .iter()
            .filter(|(_, e)| e.state == State::Waiting);
        self.heap = waiting
            .map(|(key, entry)| Reverse((entry.due_ns(), entry.stamp, *key)))
            .collect();
    }

    fn remove(&mut self, key: K) {
        let Some(entry) = self.entries.remove(&key) else {
            return;
        };
        if entry.paced_until_ns > self.last_now_ns {
            self.recent
                .insert(key, (entry.paced_until_ns, entry.has_slot));
        }
    }

    /// Follows the clock. When it was set back, what was counted from the old time moves with it.
    fn notice(&mut self, now_ns: i64) {
        let back = self.last_now_ns.saturating_sub(now_ns);
        self.last_now_ns = now_ns;
        if back > 0 && back < i64::MAX {
            let move_back = |time: &mut i64| *time = time.saturating_sub(back).max(0);
            for entry in self.entries.values_mut() {
                move_back(&mut entry.retry_at_ns);
                move_back(&mut entry.paced_until_ns);
            }
            self.recent
                .values_mut()
                .for_each(|(until, _)| move_back(until));
            self.trees.values_mut().for_each(move_back);
            self.rebuild();
        }
        if self.recent.len() + self.trees.len() > self.prune_at {
            self.recent.retain(|_, (until, _)| *until > now_ns);
            self.trees.retain(|_, next| *next > now_ns);
            self.prune_at = PRUNE_AT_LEAST.max(2 * (self.recent.len() + self.trees.len()));
        }
    }
}

/// `2 s << tries`, plus up to a quarter.
fn retry_delay_ns(tries: u32, random: u64) -> i64 {
    let delay = (2 * NS_PER_S) << tries.min(DOUBLINGS_MAX);
    let jitter = random % (delay.unsigned_abs() / 4 + 1);
    delay.saturating_add_unsigned(jitter)
}

/// What the wake-up list on disk says of one alarm, and what it must say before what.
///
/// The list may be earlier than the database (a wake-up in vain) and never later, whichever commits a
/// crash leaves: so an earlier time is listed at once and the answer waits for it, a later one only when
/// the commit that made it later can no longer be lost.
#[derive(Debug, Default)]
pub struct Listing {
    /// As it was last handed to the list.
    listed_ns: Option<i64>,
    committed_ns: Option<i64>,
    version: u64,
}

/// What to do after a commit that changed the alarm.
#[derive(Debug, PartialEq, Eq)]
pub enum ListNow {
    /// Write this, and let nothing out before it is durable.
    Write(i64),
    /// Nothing now: say `durable` with this version when the commit is.
    Later(u64),
}

impl Listing {
    /// Read from the list at start.
    pub fn listed(time_ns: i64) -> Self {
        Self {
            listed_ns: Some(time_ns),
            committed_ns: Some(time_ns),
            version: 0,
        }
    }

    pub fn committed(&mut self, time_ns: Option<i64>) -> ListNow {
        self.version += 1;
        self.committed_ns = time_ns;
        match (time_ns, self.listed_ns) {
            (Some(time_ns), None) => self.write(time_ns),
            (Some(time_ns), Some(listed_ns)) if time_ns < listed_ns => self.write(time_ns),
            _ => ListNow::Later(self.version),
        }
    }

    fn write(&mut self, time_ns: i64) -> ListNow {
        self.listed_ns = Some(time_ns);
        ListNow::Write(time_ns)
    }

    /// The commit of `version` is durable. `Some`: write this; nobody needs to wait for it.
    pub fn durable(&mut self, version: u64) -> Option<Option<i64>> {
        // A newer commit, which may still be lost, must not be listed; it will say so itself.
        (version == self.version && self.listed_ns != self.committed_ns).then(|| {
            self.listed_ns = self.committed_ns;
            self.committed_ns
        })
    }

    /// The last commit left an alarm.
    pub fn has_alarm(&self) -> bool {
        self.committed_ns.is_some()
    }

    /// True: the list has nothing of it, and nothing is under way.
    pub fn is_void(&self) -> bool {
        self.listed_ns.is_none() && self.committed_ns.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = NS_PER_S;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Key(u32, u32);

    impl AlarmKey for Key {
        type Tree = u32;
        fn tree(&self) -> Option<u32> {
            (self.1 != 0).then_some(self.0)
        }
    }

    const ROOT: Key = Key(1, 0);

    fn one(schedule: &mut Schedule<Key>, now_ns: i64) -> Run<Key> {
        let runs = schedule.take_due(now_ns, 9);
        assert_eq!(runs.len(), 1, "one run is due at {now_ns}: {runs:?}");
        runs[0]
    }

    #[test]
    fn retries_double_and_end_after_six() {
        let mut schedule = Schedule::default();
        schedule.set(ROOT, Some(S));
        assert_eq!(schedule.take_due(S - 1, 9), [], "never early");
        let mut now = S;
        for retry in 0..=ALARM_RETRIES_MAX {
            let run = one(&mut schedule, now);
            assert_eq!((run.retry_count, run.is_retry), (retry, retry > 0), "told");
            assert_eq!(run.time_ns, S, "the scheduled time stays");
            let after = schedule.ended(&run, Ended::Failed { counted: true }, now, u64::MAX);
            if retry == ALARM_RETRIES_MAX {
                assert_eq!(after, Some(After::GiveUp), "enough");
                assert_eq!(schedule.next_due_ns(), None, "it waits for being cleared");
                let cleared = schedule.ended(&run, Ended::Absent, now, 0);
                assert_eq!(cleared, Some(After::Gone), "cleared");
                assert!(schedule.is_empty(), "nothing is left");
                return;
            }
            assert_eq!(after, Some(After::Waits), "again");
            let delay = schedule.next_due_ns().expect("a retry") - now;
            let least = (2 * S) << retry;
            assert!(
                delay >= least && delay <= least + least / 4,
                "retry {retry} after {delay} ns"
            );
            now += delay;
        }
    }

    #[test]
    fn failures_that_are_nobodys_fault_are_not_counted_and_their_delay_is_bounded() {
        let mut schedule = Schedule::default();
        schedule.set(ROOT, Some(S));
        let mut now = S;
        for _ in 0..50 {
            let run = one(&mut schedule, now);
            assert_eq!(run.retry_count, 0, "not counted");
            schedule.ended(&run, Ended::Failed { counted: false }, now, 0);
            let delay = schedule.next_due_ns().expect("always again") - now;
            assert!(delay <= (2 * S) << 9, "{delay} ns");
            now += delay;
        }
    }

    #[test]
    fn what_was_committed_while_it_ran_stands() {
        for how in [Ended::Done, Ended::Failed { counted: true }, Ended::Absent] {
            let mut schedule = Schedule::default();
            schedule.set(ROOT, Some(S));
            let run = one(&mut schedule, S);
            schedule.set(ROOT, Some(9 * S));
            assert_eq!(schedule.take_due(99 * S, 9), [], "one run at a time");
            assert_eq!(
                schedule.ended(&run, how, 2 * S, 0),
                Some(After::Waits),
                "{how:?}"
            );
            assert_eq!(schedule.next_due_ns(), Some(9 * S), "{how:?}: the new one");
            let run = one(&mut schedule, 9 * S);
            assert!(!run.is_retry, "{how:?}: it is no retry");
            schedule.set(ROOT, None);
            assert_eq!(
                schedule.ended(&run, Ended::Failed { counted: true }, 9 * S, 0),
                Some(After::Gone),
                "deleted by its own handler, which then failed"
            );
        }
    }

    #[test]
    fn a_run_that_was_overtaken_by_a_deletion_says_nothing() {
        let mut schedule = Schedule::default();
        schedule.set(ROOT, Some(S));
        let old = one(&mut schedule, S);
        schedule.forget(ROOT);
        schedule.set(ROOT, Some(2 * S));
        assert_eq!(
            schedule.ended(&old, Ended::Done, S, 0),
            None,
            "another's run"
        );
        assert_eq!(schedule.next_due_ns(), Some(2 * S), "untouched");
    }

    #[test]
    fn a_clock_set_back_delays_alarms_and_not_retries() {
        let mut schedule = Schedule::default();
        schedule.set(ROOT, Some(1000 * S));
        let run = one(&mut schedule, 1000 * S);
        schedule.ended(&run, Ended::Failed { counted: true }, 1000 * S, 0);
        schedule.set(Key(2, 0), Some(1001 * S));
        assert_eq!(schedule.take_due(100 * S, 9), [], "neither is due");
        let due = schedule.next_due_ns().expect("the retry");
        assert_eq!(due, 1000 * S, "no earlier than the alarm itself");
        assert_eq!(schedule.take_due(1000 * S, 9).len(), 1, "the retry");
        assert_eq!(
            schedule.take_due(1001 * S, 9).len(),
            1,
            "the alarm at its time"
        );
    }

    #[test]
    fn an_unwanted_or_unclaimed_alarm_is_found_again() {
        let mut schedule = Schedule::default();
        let facet = Key(1, 1);
        schedule.set(facet, Some(S));
        let run = one(&mut schedule, S);
        assert_eq!(
            schedule.ended(&run, Ended::Unwanted, S, 0),
            Some(After::Parked)
        );
        assert_eq!(schedule.next_due_ns(), None, "nobody is asked again");
        assert!(!schedule.found(facet, S), "it was known");
        let run = one(&mut schedule, 2 * S);
        assert_eq!(
            schedule.ended(&run, Ended::Unclaimed, 2 * S, 0),
            Some(After::Waits)
        );
        assert!(schedule.next_due_ns() > Some(3 * S), "asked again later");
        schedule.found(facet, S);
        let mut now = 3 * S;
        assert!(
            schedule.next_due_ns() <= Some(now),
            "started: no need to wait"
        );
        for _ in 0..UNCLAIMED_MAX {
            let run = one(&mut schedule, now);
            assert_eq!(
                schedule.ended(&run, Ended::Unclaimed, now, 0),
                Some(After::Waits)
            );
            now = schedule.next_due_ns().expect("asked again");
        }
        let run = one(&mut schedule, now);
        assert_eq!(run.retry_count, 0, "the facet has failed at nothing");
        assert_eq!(
            schedule.ended(&run, Ended::Unclaimed, now, 0),
            Some(After::Parked)
        );
    }

    #[test]
    fn a_facet_that_sets_its_alarm_to_now_for_ever_is_paced() {
        let mut schedule = Schedule::default();
        let facet = Key(1, 1);
        let (mut now, mut runs) = (S, 0);
        schedule.set(facet, Some(now));
        while now < 11 * S {
            now = schedule.next_due_ns().expect("it always has one");
            let run = one(&mut schedule, now);
            runs += 1;
            // Deleted and set again: that does not shake the pace off.
            schedule.set(facet, None);
            schedule.ended(&run, Ended::Done, now, 0);
            schedule.set(facet, Some(now));
        }
        assert!(
            runs <= 10 * S / FACET_ALARM_INTERVAL_NS + 2,
            "{runs} runs in 10 s"
        );
    }

    #[test]
    fn facets_of_one_root_share_its_pace_in_order_and_others_do_not_wait() {
        let mut schedule = Schedule::default();
        for facet in 1..=1000 {
            schedule.set(Key(1, facet), Some(S));
        }
        schedule.set(Key(2, 1), Some(S + 1));
        schedule.set(Key(1, 2000), Some(S + 2));
        let first: Vec<Key> = schedule.take_due(S + 2, 9).iter().map(|r| r.key).collect();
        assert_eq!(first, [Key(1, 1), Key(2, 1)], "one of each tree");
        // Setting it again and again does not push the others back.
        for _ in 0..100 {
            schedule.set(Key(1, 2), None);
            schedule.set(Key(1, 2), Some(S));
            assert_eq!(schedule.take_due(S + 3, 9), [], "no slot yet");
        }
        let (mut now, mut count) = (S + 3, 1);
        while let Some(due) = schedule.next_due_ns() {
            now = now.max(due);
            let runs = schedule.take_due(now, 9);
            assert!(runs.len() <= 1, "one at a time");
            for run in runs {
                count += 1;
                schedule.ended(&run, Ended::Absent, now, 0);
            }
        }
        assert_eq!(count, 1001, "each runs");
        let most = 1002 * FACET_TREE_ALARM_INTERVAL_NS;
        assert!(now <= S + most, "the last one after {} ns", now - S);
    }

    #[test]
    fn setting_an_alarm_over_and_over_leaves_no_heap_behind() {
        let mut schedule = Schedule::default();
        for n in 0..100_000 {
            schedule.set(ROOT, Some(S + n));
        }
        assert!(schedule.heap.len() < 200, "{} items", schedule.heap.len());
        assert_eq!(
            one(&mut schedule, 2 * S).time_ns,
            S + 99_999,
            "the last one"
        );
    }

    #[test]
    fn the_list_waits_for_the_commit_that_makes_an_alarm_later() {
        let mut listing = Listing::default();
        assert_eq!(listing.committed(Some(5)), ListNow::Write(5), "none before");
        assert_eq!(listing.durable(1), None, "it is written");
        let ListNow::Later(later) = listing.committed(Some(9)) else {
            panic!("a later time must not be listed yet")
        };
        let ListNow::Later(gone) = listing.committed(None) else {
            panic!("nor a deletion")
        };
        assert_eq!(listing.durable(later), None, "a newer commit is on its way");
        assert_eq!(listing.durable(gone), Some(None), "now");
        assert!(listing.is_void(), "nothing left");
    }
}
