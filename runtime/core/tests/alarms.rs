//! Alarms under crashes, failures and clock jumps: thousands of seeded schedules, and the same check
//! with parts deliberately broken, which it must catch.

use facetd_core::{ALARM_RETRIES_MAX, After, AlarmKey, Ended, ListNow, Listing, Run, Schedule};
use std::collections::VecDeque;

const SEEDS: u64 = 2_000;
const STEPS: usize = 400;
const OBJECTS: u8 = 4;
const S: i64 = 1_000_000_000;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A later time is listed before its commit is durable.
    ListsLaterTimesAtOnce,
    /// An earlier time is answered before it is listed.
    AnswersBeforeListing,
    /// A wake-up runs the handler without a look at the database.
    TrustsTheList,
    /// The alarm is removed when its handler starts, not when it has succeeded.
    RemovesBeforeRunning,
    /// A run that ends says nothing of what was committed meanwhile.
    ForgetsChanges,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u8);

impl AlarmKey for Key {
    type Tree = ();
    fn tree(&self) -> Option<()> {
        None
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A file: what is durable, and writes that a crash may still lose, oldest first.
#[derive(Default)]
struct Disk {
    durable: Option<i64>,
    /// The value, and what to do when it is durable.
    pending: VecDeque<(Option<i64>, Then)>,
}

#[derive(Clone, Copy)]
enum Then {
    Nothing,
    /// Of a commit.
    Durable(u64),
}

impl Disk {
    fn latest(&self) -> Option<i64> {
        self.pending
            .back()
            .map_or(self.durable, |(value, _)| *value)
    }

    /// Any prefix of what was pending survives.
    fn crash(&mut self, random: &mut Random) {
        for _ in 0..random.below(self.pending.len() as u64 + 1) {
            if let Some((value, _)) = self.pending.pop_front() {
                self.durable = value;
            }
        }
        self.pending.clear();
    }
}

#[derive(Default)]
struct Object {
    database: Disk,
    list: Disk,
    listing: Listing,
    /// What was last answered: set when everything before it was durable.
    answered: Option<i64>,
    /// An answered alarm that has neither run to its end nor been replaced.
    owed: Option<i64>,
    /// Never answered, and kept by a crash all the same: it is listed when its object is constructed.
    survivor: Option<i64>,
    /// Commits and list writes handed over, whose answer is still held.
    holding: bool,
    running: Option<Run<Key>>,
    /// The stored time of the run, as the isolate saw it.
    running_ns: i64,
    failed_in_a_row: u32,
}

struct World {
    fault: Fault,
    random: Random,
    now_ns: i64,
    schedule: Schedule<Key>,
    objects: Vec<Object>,
    runs: u64,
    serial: i64,
}

type Checked = Result<(), String>;

impl World {
    fn new(seed: u64, fault: Fault) -> Self {
        Self {
            fault,
            random: Random(seed),
            now_ns: 1_000 * S,
            schedule: Schedule::default(),
            objects: (0..OBJECTS).map(|_| Object::default()).collect(),
            runs: 0,
            serial: 0,
        }
    }

    fn commit(&mut self, key: Key, value: Option<i64>) {
        let object = &mut self.objects[usize::from(key.0)];
        let now = if self.fault == Fault::ListsLaterTimesAtOnce {
            let _ = object.listing.committed(value);
            object.list.pending.push_back((value, Then::Nothing));
            ListNow::Later(0)
        } else {
            object.listing.committed(value)
        };
        match now {
            ListNow::Write(time_ns) => {
                object
                    .list
                    .pending
                    .push_back((Some(time_ns), Then::Nothing));
                object.database.pending.push_back((value, Then::Nothing));
            }
            ListNow::Later(version) => {
                object
                    .database
                    .pending
                    .push_back((value, Then::Durable(version)));
            }
        }
        object.holding = true;
        let running = object.running.is_some();
        if !(running && self.fault == Fault::ForgetsChanges) {
            self.schedule.set(key, value);
        }
    }

    /// Some of what is pending becomes durable; then the answer that waited for it leaves.
    fn sync(&mut self, key: Key) {
        let object = &mut self.objects[usize::from(key.0)];
        if self.random.one_in(2)
            && let Some((value, then)) = object.database.pending.pop_front()
        {
            object.database.durable = value;
            if let Then::Durable(version) = then
                && let Some(value) = object.listing.durable(version)
            {
                object.list.pending.push_back((value, Then::Nothing));
            }
        }
        if self.random.one_in(2)
            && let Some((value, _)) = object.list.pending.pop_front()
        {
            object.list.durable = value;
        }
        let listed = object.list.pending.is_empty() || self.fault == Fault::AnswersBeforeListing;
        if object.holding && object.database.pending.is_empty() && listed {
            object.holding = false;
            object.answered = object.database.durable;
            object.owed = object.answered.or(object.owed);
        }
    }

    /// Everything in memory is gone; what the disks kept is read again.
    fn crash(&mut self) -> Checked {
        self.schedule = Schedule::default();
        for at in 0..self.objects.len() {
            let object = &mut self.objects[at];
            object.database.crash(&mut self.random);
            object.list.crash(&mut self.random);
            let (stored, listed) = (object.database.durable, object.list.durable);
            let answered =
                (!object.holding || stored == object.answered) && stored != object.survivor;
            if answered && let Some(stored) = stored {
                check(listed.is_some_and(|listed| listed <= stored), || {
                    format!("object {at}: {stored} is stored and answered, {listed:?} is listed")
                })?;
            }
            check(object.owed.is_none_or(|owed| stored == Some(owed)), || {
                format!(
                    "object {at}: {:?} was answered, {stored:?} is stored",
                    object.owed
                )
            })?;
            object.owed = None;
            object.listing = listed.map_or_else(Listing::default, Listing::listed);
            object.running = None;
            object.holding = false;
            object.answered = stored.filter(|_| answered);
            object.survivor = stored.filter(|_| !answered);
            object.failed_in_a_row = 0;
            if let Some(listed) = listed {
                self.schedule.set(Key(at as u8), Some(listed));
            }
        }
        Ok(())
    }

    fn fire(&mut self) -> Checked {
        for run in self.schedule.take_due(self.now_ns, 2) {
            let at = usize::from(run.key.0);
            check(self.objects[at].running.is_none(), || {
                format!("object {at} runs twice at a time")
            })?;
            check(run.time_ns <= self.now_ns, || {
                format!("object {at} woke early")
            })?;
            let stored = self.objects[at].database.latest();
            let how = match stored {
                _ if self.fault == Fault::TrustsTheList => None,
                None => Some(Ended::Absent),
                Some(stored) if stored > self.now_ns => Some(Ended::Later(stored)),
                Some(_) => None,
            };
            if let Some(how) = how {
                self.end(run, how)?;
                continue;
            }
            check(stored.is_some_and(|stored| stored <= self.now_ns), || {
                format!("object {at} runs at {} with {stored:?} stored", self.now_ns)
            })?;
            self.runs += 1;
            let object = &mut self.objects[at];
            object.running = Some(run);
            object.running_ns = stored.unwrap_or(0);
            if self.fault == Fault::RemovesBeforeRunning {
                self.commit(run.key, None);
            }
        }
        Ok(())
    }

    /// A handler that runs comes to its end, one way or the other.
    fn finish(&mut self, key: Key) -> Checked {
        let object = &mut self.objects[usize::from(key.0)];
        let Some(run) = object.running.take() else {
            return Ok(());
        };
        let unchanged = object.database.latest() == Some(object.running_ns);
        if self.random.one_in(3) {
            let counted = !self.random.one_in(4);
            if unchanged && counted {
                object.failed_in_a_row += 1;
                let most = ALARM_RETRIES_MAX + 1;
                check(object.failed_in_a_row <= most, || {
                    format!("object {} failed {} times", key.0, object.failed_in_a_row)
                })?;
            }
            return self.end(run, Ended::Failed { counted });
        }
        object.owed = None;
        if unchanged {
            self.commit(key, None);
        }
        self.end(run, Ended::Done)
    }

    fn end(&mut self, run: Run<Key>, how: Ended) -> Checked {
        let random = self.random.next();
        let after = self.schedule.ended(&run, how, self.now_ns, random);
        let object = &mut self.objects[usize::from(run.key.0)];
        if !matches!(how, Ended::Failed { counted: true }) || after != Some(After::Waits) {
            object.failed_in_a_row = 0;
        }
        if after == Some(After::GiveUp) {
            object.owed = None;
            self.commit(run.key, None);
            let after = self.schedule.ended(&run, Ended::Absent, self.now_ns, 0);
            check(after == Some(After::Gone), || {
                format!("given up, then {after:?}")
            })?;
        }
        Ok(())
    }

    fn step(&mut self) -> Checked {
        let key = Key(self.random.below(u64::from(OBJECTS)) as u8);
        match self.random.below(12) {
            0..=2 => {
                // No two are equal, so that a stored one tells which commit it is from.
                self.serial += 1;
                let at = self.now_ns + self.random.below(20) as i64 * S + self.serial;
                self.commit(key, Some(at));
                self.objects[usize::from(key.0)].failed_in_a_row = 0;
                self.objects[usize::from(key.0)].owed = None;
            }
            3 => {
                self.commit(key, None);
                self.objects[usize::from(key.0)].owed = None;
            }
            4 | 5 => self.finish(key)?,
            6 if self.random.one_in(4) => self.crash()?,
            7 if self.random.one_in(6) => {
                self.now_ns += self.random.below(4000) as i64 * S - 2000 * S;
            }
            _ => {
                self.now_ns += self.random.below(3) as i64 * S / 2;
                self.sync(key);
            }
        }
        self.fire()
    }

    /// Nothing more happens but time: every stored alarm must run or be given up.
    fn settle(&mut self) -> Checked {
        for _ in 0..2_000 {
            for at in 0..OBJECTS {
                self.sync(Key(at));
                self.finish(Key(at))?;
            }
            self.fire()?;
            if self
                .objects
                .iter()
                .all(|o| o.database.latest().is_none() && o.running.is_none())
            {
                return Ok(());
            }
            match self.schedule.next_due_ns() {
                Some(due) => self.now_ns = self.now_ns.max(due),
                None => {
                    let lost = self
                        .objects
                        .iter()
                        .find(|o| o.running.is_none() && o.database.latest().is_some());
                    check(lost.is_none(), || {
                        format!(
                            "an alarm at {:?} is stored and nobody will wake it",
                            lost.map(|o| o.database.latest())
                        )
                    })?;
                }
            }
        }
        Err("alarms do not come to an end".to_owned())
    }
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

fn simulate(seed: u64, fault: Fault) -> Result<u64, String> {
    let mut world = World::new(seed, fault);
    for step in 0..STEPS {
        world
            .step()
            .map_err(|what| format!("seed {seed}, step {step}: {what}"))?;
    }
    // As long as what nobody was answered is the only thing missing from the list.
    for at in 0..world.objects.len() {
        let object = &world.objects[at];
        if object.running.is_none()
            && let Some(stored) = object.database.latest()
        {
            world.schedule.found(Key(at as u8), stored);
        }
    }
    world
        .settle()
        .map_err(|what| format!("seed {seed}, at the end: {what}"))?;
    Ok(world.runs)
}

#[test]
fn alarms_survive_crashes_failures_and_clock_jumps() {
    let mut runs = 0;
    for seed in 0..SEEDS {
        runs += simulate(seed, Fault::None).unwrap_or_else(|what| panic!("{what}"));
    }
    assert!(runs > SEEDS * 20, "the simulation runs handlers: {runs}");
}

#[test]
fn the_check_catches_what_is_broken() {
    for fault in [
        Fault::ListsLaterTimesAtOnce,
        Fault::AnswersBeforeListing,
        Fault::TrustsTheList,
        Fault::RemovesBeforeRunning,
        Fault::ForgetsChanges,
    ] {
        let caught = (0..SEEDS).any(|seed| simulate(seed, fault).is_err());
        assert!(caught, "{fault:?} goes unnoticed");
    }
}
