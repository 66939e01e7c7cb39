//! A process without threads: objects with their gates, tasks that run in turns, commits that become durable later or
//! never, messages on their way. Everything that could happen next is a choice of the seed.
//!
//! The turn, the end of a turn and the reset do what `isolate` does, in its order. What is checked is kept apart from the
//! gates: how far each object's commits are durable, which sections its tasks hold, who was told what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use facetd_core::{Entered, Failure, Ready, SectionId};

use crate::flaws::{Flaw, Input, Output};

const OBJECTS: usize = 5;
const CLIENTS: usize = 3;
const REQUESTS_MAX: usize = 12;
const STEPS_PER_TASK_MAX: usize = 9;
/// Far more than any schedule needs to come to its end.
const CHOICES_MAX: usize = 20_000;

/// One thing a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write,
    /// `allowUnconfirmed`: committed like any other write, but nobody waits for it.
    WriteUnconfirmed,
    /// Calls another object; `awaited`: goes on when it has answered.
    Call {
        to: usize,
        awaited: bool,
    },
    /// Waits for a timer: the turn ends here.
    Wait,
    Enter,
    /// Also ends what was opened inside.
    Leave,
    /// Starts so many more steps beside its own, like an async function that is not awaited.
    Fork(usize),
    /// `ctx.abort()`: this life of the object ends.
    Abort,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sender {
    Client(usize),
    Object(usize, u32),
}

struct Call {
    from: Sender,
    to: usize,
    /// Counts the calls of one sender to one object.
    number: u64,
    /// Of the sender, which goes on when it is told.
    task: Option<usize>,
    told: u32,
}

struct Task {
    object: usize,
    life: u32,
    /// What it answers in the end.
    call: Option<usize>,
    steps: VecDeque<Step>,
    /// The critical sections it is in, innermost last.
    sections: Vec<SectionId>,
}

/// What came of one turn.
#[derive(Default)]
struct Turn {
    outbox: Vec<Body>,
    wrote: bool,
    unconfirmed: bool,
    aborted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Request { call: usize },
    Continue { task: usize },
}

/// One life of an object.
struct Object {
    life: u32,
    input: Input<Event>,
    output: Arc<Output>,
    /// Commits of this life that hold messages, and how many of them are durable.
    commits: u64,
    durable: u64,
    /// Tickets whose sync is under way.
    syncing: Vec<u64>,
    /// What the tasks have entered and not left, kept apart from the gate.
    open: Vec<SectionId>,
    /// Calls that were delivered to this life, or wait for it, and have no answer yet.
    unanswered: Vec<usize>,
    held: Vec<usize>,
    last_left: usize,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Request { call: usize },
    Reply { call: usize },
}

struct Message {
    body: Body,
    object: usize,
    life: u32,
    /// How many commits were made before it.
    needs: u64,
}

/// What happened in all schedules, so that none of it is only believed to be tested.
#[derive(Debug, Default)]
pub struct Seen {
    pub held: u64,
    pub sections_waited_for: u64,
    pub events_waited: u64,
    pub syncs_out_of_order: u64,
    pub failed_syncs: u64,
    pub failed_commits: u64,
    pub aborts: u64,
    pub unconfirmed: u64,
    pub refused: u64,
    pub answers: u64,
}

impl Seen {
    fn all(&self) -> [(&'static str, u64); 10] {
        [
            ("held messages", self.held),
            ("sections waited for", self.sections_waited_for),
            ("events that waited", self.events_waited),
            ("syncs out of order", self.syncs_out_of_order),
            ("failed syncs", self.failed_syncs),
            ("failed commits", self.failed_commits),
            ("aborts", self.aborts),
            ("unconfirmed writes", self.unconfirmed),
            ("messages refused by a broken gate", self.refused),
            ("answers", self.answers),
        ]
    }

    pub fn add(&mut self, other: &Self) {
        self.held += other.held;
        self.sections_waited_for += other.sections_waited_for;
        self.events_waited += other.events_waited;
        self.syncs_out_of_order += other.syncs_out_of_order;
        self.failed_syncs += other.failed_syncs;
        self.failed_commits += other.failed_commits;
        self.aborts += other.aborts;
        self.unconfirmed += other.unconfirmed;
        self.refused += other.refused;
        self.answers += other.answers;
    }

    pub fn assert_everything_happened(&self) {
        for (what, count) in self.all() {
            assert!(count >= 1000, "only {count} {what} in all schedules");
        }
    }
}

pub struct World {
    random: u64,
    flaw: Option<Flaw>,
    objects: Vec<Object>,
    tasks: Vec<Task>,
    calls: Vec<Call>,
    messages: Vec<Message>,
    /// Messages that left a gate just now, in order, and whether they may go on.
    left: Arc<Mutex<VecDeque<(usize, bool)>>>,
    /// On its way, by sender and object: each pair keeps its order.
    requests: BTreeMap<(Sender, usize), VecDeque<usize>>,
    /// Outcomes on their way to who waits for them.
    outcomes: Vec<usize>,
    timers: Vec<usize>,
    numbers: BTreeMap<(Sender, usize), u64>,
    /// The highest number that started, by pair.
    started: BTreeMap<(Sender, usize), u64>,
    to_send: usize,
    seen: Seen,
}

/// What could happen next.
#[derive(Clone, Copy)]
enum Choice {
    Send,
    Deliver(Sender, usize),
    Tell(usize),
    Fire(usize),
    /// A sync of this object ends.
    Sync(usize),
}

type Checked<T = ()> = Result<T, String>;

impl World {
    pub fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut world = Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            flaw,
            objects: Vec::new(),
            tasks: Vec::new(),
            calls: Vec::new(),
            messages: Vec::new(),
            left: Arc::default(),
            requests: BTreeMap::new(),
            outcomes: Vec::new(),
            timers: Vec::new(),
            numbers: BTreeMap::new(),
            started: BTreeMap::new(),
            to_send: 0,
            seen: Seen::default(),
        };
        world.objects = (0..OBJECTS).map(|_| world.new_life(0)).collect();
        world.to_send = 1 + world.below(REQUESTS_MAX);
        world
    }

    fn new_life(&self, life: u32) -> Object {
        Object {
            life,
            input: Input::new(self.flaw),
            output: Arc::new(Output::new(self.flaw)),
            commits: 0,
            durable: 0,
            syncing: Vec::new(),
            open: Vec::new(),
            unanswered: Vec::new(),
            held: Vec::new(),
            last_left: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    /// Until nothing can happen any more. An error says which promise was broken.
    pub fn run(mut self) -> Checked<Seen> {
        for _ in 0..CHOICES_MAX {
            let choices = self.choices();
            if choices.is_empty() {
                self.check_the_end()?;
                return Ok(self.seen);
            }
            let at = self.below(choices.len());
            self.follow(choices[at])?;
            self.check_held()?;
        }
        Err("the schedule does not end".to_owned())
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        if self.to_send > 0 {
            choices.push(Choice::Send);
        }
        let waiting = self.requests.iter().filter(|(_, calls)| !calls.is_empty());
        choices.extend(waiting.map(|((from, to), _)| Choice::Deliver(*from, *to)));
        choices.extend((0..self.outcomes.len()).map(Choice::Tell));
        choices.extend((0..self.timers.len()).map(Choice::Fire));
        let syncing = (0..OBJECTS).filter(|at| !self.objects[*at].syncing.is_empty());
        choices.extend(syncing.map(Choice::Sync));
        choices
    }

    fn follow(&mut self, choice: Choice) -> Checked {
        match choice {
            Choice::Send => {
                self.to_send -= 1;
                let (from, to) = (Sender::Client(self.below(CLIENTS)), self.below(OBJECTS));
                let call = self.new_call(from, to, None);
                self.requests.entry((from, to)).or_default().push_back(call);
                Ok(())
            }
            Choice::Deliver(from, to) => {
                let requests = self.requests.get_mut(&(from, to));
                match requests.and_then(VecDeque::pop_front) {
                    Some(call) => self.deliver(to, call),
                    None => Ok(()),
                }
            }
            Choice::Tell(at) => {
                let call = self.outcomes.swap_remove(at);
                self.tell(call)
            }
            Choice::Fire(at) => {
                let task = self.timers.swap_remove(at);
                self.resume(task)
            }
            Choice::Sync(object) => self.sync(object),
        }
    }

    // ---- messages

    fn new_call(&mut self, from: Sender, to: usize, task: Option<usize>) -> usize {
        let number = self.numbers.entry((from, to)).or_default();
        *number += 1;
        self.calls.push(Call {
            from,
            to,
            number: *number,
            task,
            told: 0,
        });
        self.calls.len() - 1
    }

    fn deliver(&mut self, object: usize, call: usize) -> Checked {
        self.objects[object].unanswered.push(call);
        match self.objects[object]
            .input
            .offer(None, Event::Request { call })
        {
            Some(event) => self.run_event(object, event)?,
            None => self.seen.events_waited += 1,
        }
        self.run_ready(object)
    }

    /// A timer fired or an answer came for `task`.
    fn resume(&mut self, task: usize) -> Checked {
        let Task {
            object,
            life,
            ref sections,
            ..
        } = self.tasks[task];
        let section = sections.last().copied();
        let known = &mut self.objects[object];
        if known.life != life {
            return Ok(()); // nobody is there any more
        }
        if let Some(event) = known.input.offer(section, Event::Continue { task }) {
            self.run_event(object, event)?;
        }
        self.run_ready(object)
    }

    /// The outcome of `call` has reached who waits for it.
    fn tell(&mut self, call: usize) -> Checked {
        self.calls[call].told += 1;
        if self.calls[call].told > 1 {
            return Err(format!("call {call} was told twice"));
        }
        match self.calls[call].task {
            Some(task) => self.resume(task),
            None => Ok(()),
        }
    }

    /// Takes what left the gate of `object` in the order in which it left.
    fn take_left(&mut self) -> Checked {
        loop {
            let next = self.left.lock().expect("one thread").pop_front();
            let Some((message, allowed)) = next else {
                return Ok(());
            };
            let Message {
                body,
                object,
                life,
                needs,
            } = self.messages[message];
            let known = &mut self.objects[object];
            known.held.retain(|held| *held != message);
            if allowed {
                if known.life != life {
                    return Err(format!(
                        "message {message} left object {object} after its life was over"
                    ));
                }
                if known.durable < needs {
                    return Err(format!(
                        "message {message} left object {object} before what was written: {needs} commits, {} durable",
                        known.durable
                    ));
                }
                if message < known.last_left {
                    return Err(format!("message {} overtook {message}", known.last_left));
                }
                known.last_left = message;
            } else {
                self.seen.refused += 1;
            }
            match body {
                Body::Request { call } if allowed => {
                    let Call { from, to, .. } = self.calls[call];
                    self.requests.entry((from, to)).or_default().push_back(call);
                }
                // Allowed or not, whoever waits is told: the answer, or that there is none.
                Body::Request { call } | Body::Reply { call } => self.outcomes.push(call),
            }
        }
    }

    // ---- turns

    fn run_ready(&mut self, object: usize) -> Checked {
        while let Some(ready) = self.objects[object].input.next_ready() {
            match ready {
                Ready::Deliver(event) => self.run_event(object, event)?,
                Ready::Section(section, Event::Continue { task }) => {
                    self.seen.sections_waited_for += 1;
                    self.enter(object, task, section);
                    self.turn(object, task)?;
                }
                Ready::Section(_, Event::Request { .. }) => {
                    return Err("a request asked for no section".to_owned());
                }
            }
        }
        Ok(())
    }

    fn run_event(&mut self, object: usize, event: Event) -> Checked {
        match event {
            Event::Request { call } => {
                let Call {
                    from, to, number, ..
                } = self.calls[call];
                let last = self.started.entry((from, to)).or_default();
                if number < *last {
                    return Err(format!(
                        "request {last} of {from:?} to {to} overtook {number}"
                    ));
                }
                *last = number;
                let length = self.below(STEPS_PER_TASK_MAX);
                let steps = self.script(object, length);
                self.tasks.push(Task {
                    object,
                    life: self.objects[object].life,
                    call: Some(call),
                    steps,
                    sections: Vec::new(),
                });
                self.turn(object, self.tasks.len() - 1)
            }
            Event::Continue { task } => self.turn(object, task),
        }
    }

    fn script(&mut self, object: usize, length: usize) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        let mut open = 0;
        for _ in 0..length {
            steps.push_back(match self.below(24) {
                0..=5 => Step::Write,
                6 | 7 => Step::WriteUnconfirmed,
                // Only upwards, or two objects could wait for each other for ever.
                8..=12 if object + 1 < OBJECTS => Step::Call {
                    to: object + 1 + self.below(OBJECTS - object - 1),
                    awaited: self.below(2) == 0,
                },
                13..=16 => {
                    open += 1;
                    Step::Enter
                }
                17 | 18 if open > 0 => {
                    open -= 1;
                    Step::Leave
                }
                19 if self.below(4) == 0 => Step::Abort,
                20..=22 => Step::Fork(self.below(STEPS_PER_TASK_MAX)),
                _ => Step::Wait,
            });
        }
        steps.extend(std::iter::repeat_n(Step::Leave, open));
        steps
    }

    fn enter(&mut self, object: usize, task: usize, section: SectionId) {
        self.tasks[task].sections.push(section);
        self.objects[object].open.push(section);
    }

    fn turn(&mut self, object: usize, task: usize) -> Checked {
        if let Some(innermost) = self.objects[object].open.last()
            && self.tasks[task].sections.last() != Some(innermost)
        {
            return Err(format!(
                "task {task} runs on object {object} inside a foreign section"
            ));
        }
        let mut turn = Turn::default();
        self.run_steps(object, task, &mut turn);
        self.end_turn(object, turn)
    }

    /// Until the task waits for something.
    fn run_steps(&mut self, object: usize, task: usize, turn: &mut Turn) {
        while !turn.aborted {
            let Some(step) = self.tasks[task].steps.pop_front() else {
                if let Some(call) = self.tasks[task].call.take() {
                    turn.outbox.push(Body::Reply { call });
                }
                return;
            };
            match step {
                Step::Write => turn.wrote = true,
                Step::WriteUnconfirmed => turn.unconfirmed = true,
                Step::Call { to, awaited } => {
                    let from = Sender::Object(object, self.objects[object].life);
                    let call = self.new_call(from, to, awaited.then_some(task));
                    turn.outbox.push(Body::Request { call });
                    if awaited {
                        return;
                    }
                }
                Step::Wait => {
                    self.timers.push(task);
                    return;
                }
                Step::Enter => {
                    let parent = self.tasks[task].sections.last().copied();
                    let known = &mut self.objects[object];
                    match known.input.enter(parent, Event::Continue { task }) {
                        Entered::Now(section) => self.enter(object, task, section),
                        Entered::Later => return,
                    }
                }
                Step::Leave => {
                    if let Some(section) = self.tasks[task].sections.pop() {
                        let known = &mut self.objects[object];
                        if let Some(at) = known.open.iter().position(|open| *open == section) {
                            known.open.truncate(at);
                        }
                        known.input.leave(section);
                    }
                }
                Step::Fork(length) => {
                    let steps = self.script(object, length.min(self.tasks[task].steps.len()));
                    let beside = Task {
                        object,
                        life: self.tasks[task].life,
                        call: None,
                        steps,
                        sections: self.tasks[task].sections.clone(),
                    };
                    self.tasks.push(beside);
                    self.run_steps(object, self.tasks.len() - 1, turn);
                }
                Step::Abort => turn.aborted = true,
            }
        }
    }

    /// Commit, reset, messages: in the order of `Isolate::after_turn`.
    fn end_turn(&mut self, object: usize, turn: Turn) -> Checked {
        let Turn {
            outbox,
            wrote,
            unconfirmed,
            aborted,
        } = turn;
        let fails = (wrote || unconfirmed) && !aborted && self.below(30) == 0;
        if fails {
            self.seen.failed_commits += 1;
        } else if wrote && !aborted {
            let known = &mut self.objects[object];
            let ticket = known.output.close();
            known.commits += 1;
            known.syncing.push(ticket);
        } else if unconfirmed {
            self.seen.unconfirmed += 1;
        }
        let ends = fails || aborted;
        if aborted {
            self.seen.aborts += 1;
        }
        let (life, needs) = (self.objects[object].life, self.objects[object].commits);
        let output = self.objects[object].output.clone();
        if ends {
            output.break_with(&Failure::error("over"));
        }
        for body in outbox {
            if let Body::Reply { call } = body {
                self.objects[object].unanswered.retain(|open| *open != call);
            }
            let message = self.messages.len();
            self.messages.push(Message {
                body,
                object,
                life,
                needs,
            });
            self.objects[object].held.push(message);
            let left = self.left.clone();
            output.send(Box::new(move |durable| {
                left.lock()
                    .expect("one thread")
                    .push_back((message, durable.is_ok()));
            }));
        }
        if ends {
            self.reset(object)?;
        }
        self.take_left()?;
        self.seen.held += self.objects[object].held.len() as u64;
        Ok(())
    }

    /// The gate is broken already. Whoever waits for this life is told, and the next one begins.
    fn reset(&mut self, object: usize) -> Checked {
        let next = self.new_life(self.objects[object].life + 1);
        let mut over = std::mem::replace(&mut self.objects[object], next);
        self.take_left()?;
        self.outcomes.append(&mut over.unanswered);
        drop(over.input.drain());
        Ok(())
    }

    // ---- durability

    /// One of the syncs that are under way ends; it covers every commit before it.
    fn sync(&mut self, object: usize) -> Checked {
        let at = self.below(self.objects[object].syncing.len());
        let fails = self.below(20) == 0;
        let known = &mut self.objects[object];
        let ticket = known.syncing.swap_remove(at);
        let output = known.output.clone();
        if fails {
            self.seen.failed_syncs += 1;
            output.break_with(&Failure::error("not durable"));
            return self.reset(object);
        }
        if known.syncing.iter().any(|other| *other < ticket) {
            self.seen.syncs_out_of_order += 1;
        }
        known.durable = known.durable.max(ticket);
        output.open(ticket);
        self.take_left()
    }

    // ---- what must hold after every step, and at the end

    /// Nothing is held whose writes are durable.
    fn check_held(&self) -> Checked {
        for (number, object) in self.objects.iter().enumerate() {
            let late = object
                .held
                .iter()
                .find(|held| self.messages[**held].needs <= object.durable);
            if let Some(message) = late {
                return Err(format!(
                    "message {message} of object {number} is held, though what it waits for is durable"
                ));
            }
        }
        Ok(())
    }

    fn check_the_end(&mut self) -> Checked {
        for (number, call) in self.calls.iter().enumerate() {
            let waits = match call.from {
                Sender::Client(_) => true,
                // Whoever has died waits for nothing.
                Sender::Object(object, life) => self.objects[object].life == life,
            };
            if waits && call.told != 1 {
                return Err(format!("call {number} of {:?} was never told", call.from));
            }
            self.seen.answers += u64::from(call.told);
        }
        let locked = self
            .objects
            .iter()
            .position(|object| !object.open.is_empty());
        match locked {
            Some(object) => Err(format!("object {object} stays locked")),
            None => Ok(()),
        }
    }
}
