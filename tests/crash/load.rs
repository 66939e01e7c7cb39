//! Many clients on many objects and facets, a server that is killed under them, and one that comes after it.
//!
//! Each client alone writes its slots, one request after the other, so it knows what must be there. Some objects are shared by
//! three clients, some belong to one, which also wipes, deletes and clones there.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::{Place, Slot};
use crate::harness::process::{files_below, run, tool};
use crate::harness::{Connection, Project, Random, Server};

const CLIENTS: usize = 16;
const SHARED_OBJECTS: usize = 8;
const SHARED_BY: usize = 3;
/// One object per client is its own; this many of these have two facets, and each of those one below it.
const WITH_FACETS: usize = 6;
const FACETS: [&str; 2] = ["a", "b"];
const BELOW: &str = "n";
/// The server may have so few files open that objects leave memory all the time, and come back.
const OPEN_FILES_MAX: usize = 230;
const ANSWERS_PER_ROUND_MAX: usize = 300;
/// Another program looks at every database so often.
const CHECK_EVERY: usize = 20;
const SOON: Duration = Duration::from_secs(60);

const WORKER: &str = include_str!("worker.js");
const CONFIG: &str = r#"{ "name": "crash", "main": "worker.js", "compatibility_date": "2026-09-01", "worker_loaders": [{ "binding": "LOADER" }],
    "durable_objects": { "bindings": [{ "name": "ROOT", "class_name": "Root" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Root"] }] }"#;

/// How the worker writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    Sound,
    /// Broken on purpose: the answer does not wait for the write.
    AnswersFirst,
    /// Broken on purpose: a kill can come between the halves of a write.
    InTwoTurns,
}

pub struct Load {
    pub durability: &'static str,
    pub writes: Writes,
    pub seed: u64,
}

/// What a run has seen.
#[derive(Debug, Default)]
pub struct Report {
    pub answers: usize,
    /// How many more objects one isolate constructed than there are: so many left memory and came back.
    pub came_back: u64,
}

/// Something that must not be.
#[derive(Debug)]
pub struct Damage {
    pub round: usize,
    pub what: String,
}

/// What became of a request.
enum Told {
    Ok(Value),
    /// It was refused; whether it had an effect is not known.
    Overloaded,
    /// The connection broke.
    Nothing,
}

/// Counts answers and says when it is time for the kill.
struct Round {
    answers: AtomicUsize,
    kill_after: usize,
    over: AtomicBool,
    tell: Sender<Result<(), String>>,
}

impl Round {
    fn answered(&self) {
        if self.answers.fetch_add(1, Ordering::Relaxed) + 1 == self.kill_after {
            let _ = self.tell.send(Ok(()));
        }
    }
}

struct Client {
    slots: Vec<Slot>,
    /// The object that is only this client's.
    own: String,
    has_facets: bool,
    last_value: u64,
    /// Objects that one isolate says it has constructed: the highest number.
    constructed: u64,
    random: Random,
    writes: Writes,
}

impl Load {
    /// Kills the server so many times, and stops at the first damage.
    pub fn run(&self, kills: usize) -> Result<Report, Damage> {
        let project = Project::of(&[("wrangler.jsonc", CONFIG), ("worker.js", WORKER)]);
        let start = format!(
            "#!/bin/sh\nulimit -n {OPEN_FILES_MAX}\nexec '{}' \"$@\"\n",
            env!("CARGO_BIN_EXE_facetd")
        );
        let script = project.join("start.sh");
        project.write("start.sh", start);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
        let mut random = Random::from_env(self.seed);
        let mut clients: Vec<Client> = (0..CLIENTS)
            .map(|number| Client::new(number, self.writes, Random::new(random.next())))
            .collect();
        let mut server = Server::of(project.path())
            .binary(script)
            .arg("--durability")
            .arg(self.durability)
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        let mut answers = 0;
        for round in 0..kills {
            let damage = |what| Damage { round, what };
            let kill_after = 1 + random.below(ANSWERS_PER_ROUND_MAX);
            answers += one_life(&mut server, &mut clients, kill_after).map_err(damage)?;
            if round % CHECK_EVERY == CHECK_EVERY - 1 {
                check_databases(&server).map_err(damage)?;
            }
            server
                .start_again()
                .map_err(|error| damage(error.to_string()))?;
        }
        let damage = |what| Damage { round: kills, what };
        for client in &mut clients {
            let mut connection = Connection::open(server.address());
            for at in 0..client.slots.len() {
                client
                    .read(&mut connection, at)
                    .and_then(|told| told.ok_or("the server died unasked".to_owned()))
                    .map_err(damage)?;
            }
        }
        if server.sigterm() != Some(0) {
            return Err(damage("no clean end".to_owned()));
        }
        check_databases(&server).map_err(damage)?;
        let constructed = clients.iter().map(|client| client.constructed).max();
        Ok(Report {
            answers,
            came_back: constructed
                .unwrap_or(0)
                .saturating_sub((SHARED_OBJECTS + CLIENTS) as u64),
        })
    }
}

/// Lets the clients work until there were so many answers, then kills the server under them. Returns how many there were.
fn one_life(
    server: &mut Server,
    clients: &mut [Client],
    kill_after: usize,
) -> Result<usize, String> {
    let (tell, told) = mpsc::channel();
    let address = server.address();
    let round = Round {
        answers: AtomicUsize::new(0),
        kill_after,
        over: AtomicBool::new(false),
        tell,
    };
    thread::scope(|scope| {
        for client in clients {
            let round = &round;
            scope.spawn(move || {
                if let Err(what) = client.work(address, round) {
                    let _ = round.tell.send(Err(what));
                }
            });
        }
        let ended = match told.recv_timeout(SOON) {
            Ok(ended) => ended,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(format!("no {kill_after} answers in {} s", SOON.as_secs()))
            }
        };
        let stderr = server.stderr();
        round.over.store(true, Ordering::Release);
        server.kill9();
        ended?;
        match stderr.find("panicked") {
            Some(at) => Err(stderr[at..].to_owned()),
            None => Ok(()),
        }
    })?;
    // A client may have found damage after the moment of the kill.
    told.try_iter().collect::<Result<(), String>>()?;
    Ok(round.answers.into_inner())
}

impl Client {
    fn new(number: usize, writes: Writes, random: Random) -> Self {
        let own = format!("own{number}");
        let has_facets = number < WITH_FACETS;
        let mut slots = vec![Slot::new(Place::new(&own, &[], 0))];
        if has_facets {
            for facet in FACETS {
                slots.push(Slot::new(Place::new(&own, &[facet], 0)));
                slots.push(Slot::new(Place::new(&own, &[facet, BELOW], 0)));
            }
        }
        let shared = (0..SHARED_OBJECTS * SHARED_BY).filter(|at| at % CLIENTS == number);
        slots.extend(shared.map(|at| {
            let slot = (at / SHARED_OBJECTS) as u64;
            Slot::new(Place::new(
                &format!("shared{}", at % SHARED_OBJECTS),
                &[],
                slot,
            ))
        }));
        Self {
            slots,
            own,
            has_facets,
            last_value: 0,
            constructed: 0,
            random,
            writes,
        }
    }

    /// Until the connection breaks. An error is damage.
    fn work(&mut self, to: SocketAddr, round: &Round) -> Result<(), String> {
        let Ok(mut connection) = Connection::try_open(to) else {
            return Ok(()); // killed before we came
        };
        let connection = &mut connection;
        // Not all of them are read first: the next write of a slot looks at what is there, too.
        let first = self.random.below(4) == 0;
        for at in 0..self.slots.len() {
            if first || self.slots[at].known().is_none() {
                if self.read(connection, at)?.is_none() {
                    return Ok(());
                }
                round.answered();
            }
        }
        while !round.over.load(Ordering::Acquire) {
            if self.one_request(connection)?.is_none() {
                return Ok(());
            }
            round.answered();
        }
        Ok(())
    }

    /// `None`: the connection broke.
    fn one_request(&mut self, connection: &mut Connection) -> Result<Option<()>, String> {
        match self.random.below(16) {
            0 if self.writes == Writes::Sound => self.wipe(connection),
            1 if self.has_facets => self.remove(connection),
            2 if self.has_facets => self.clone_facet(connection),
            _ => self.write(connection),
        }
    }

    /// Reads a slot until it is read: an overloaded server is asked again.
    fn read(&mut self, connection: &mut Connection, at: usize) -> Result<Option<()>, String> {
        const ATTEMPTS_MAX: usize = 1000;
        let place = self.slots[at].place.clone();
        for _ in 0..ATTEMPTS_MAX {
            match send(connection, &place.object, &place.path, "read", json!([]))? {
                Told::Ok(read) => {
                    if place.path.is_empty() {
                        let constructed = read["constructed"].as_u64().unwrap_or(0);
                        self.constructed = self.constructed.max(constructed);
                    }
                    return self.slots[at].take_in(&read).map(Some);
                }
                Told::Overloaded => {}
                Told::Nothing => return Ok(None),
            }
        }
        Err(format!("{place} is overloaded for ever"))
    }

    fn write(&mut self, connection: &mut Connection) -> Result<Option<()>, String> {
        let at = self.random.below(self.slots.len());
        let Some(before) = self.slots[at].known() else {
            return self.read(connection, at);
        };
        let (method, undone) = match (self.writes, self.random.below(8)) {
            (Writes::AnswersFirst, _) => ("answersFirst", false),
            (Writes::InTwoTurns, _) => ("inTwoTurns", false),
            (Writes::Sound, 0) => ("undone", true),
            (Writes::Sound, 1 | 2) => ("coalesced", false),
            (Writes::Sound, 3) => ("nested", false),
            (Writes::Sound, 4) => ("transaction", false),
            (Writes::Sound, _) => ("turn", false),
        };
        self.last_value += 1;
        let value = self.last_value;
        // Now and then so much that the log is moved into the database.
        let pad = match self.random.below(40) {
            0 => 300_000,
            _ => self.random.below(3000),
        };
        let place = self.slots[at].place.clone();
        let args = json!([place.slot, before, value, pad]);
        let after = if undone { before } else { value };
        let told = send(connection, &place.object, &place.path, method, args)?;
        Ok(self.settle(&told, &[(at, after)], false))
    }

    /// The indexes of the slots in the facet `name` of this client's object and below.
    fn below(&self, name: &str) -> Vec<usize> {
        let inside =
            |slot: &Slot| slot.place.object == self.own && slot.place.path.first() == Some(&name);
        (0..self.slots.len())
            .filter(|at| inside(&self.slots[*at]))
            .collect()
    }

    fn wipe(&mut self, connection: &mut Connection) -> Result<Option<()>, String> {
        let told = send(connection, &self.own, &[], "wipe", json!([]))?;
        let gone: Vec<(usize, u64)> = (0..self.slots.len())
            .filter(|at| self.slots[*at].place.object == self.own)
            .map(|at| (at, 0))
            .collect();
        Ok(self.settle(&told, &gone, false))
    }

    fn remove(&mut self, connection: &mut Connection) -> Result<Option<()>, String> {
        let name = FACETS[self.random.below(FACETS.len())];
        let told = send(connection, &self.own, &[], "remove", json!([name]))?;
        let gone: Vec<(usize, u64)> = self.below(name).into_iter().map(|at| (at, 0)).collect();
        Ok(self.settle(&told, &gone, false))
    }

    fn clone_facet(&mut self, connection: &mut Connection) -> Result<Option<()>, String> {
        let from = self.random.below(FACETS.len());
        let (from, to) = (FACETS[from], FACETS[(from + 1) % FACETS.len()]);
        let sources = self.below(from);
        for at in &sources {
            if self.slots[*at].known().is_none() && self.read(connection, *at)?.is_none() {
                return Ok(None);
            }
        }
        // Both lists are in the same order: the facet, then what is below it.
        let changes: Vec<(usize, u64)> = self
            .below(to)
            .into_iter()
            .zip(
                sources
                    .iter()
                    .map(|at| self.slots[*at].known().unwrap_or(0)),
            )
            .collect();
        let told = send(connection, &self.own, &[], "clone", json!([from, to]))?;
        Ok(self.settle(&told, &changes, true))
    }

    /// `through_nothing`: on the way to its new value a slot is empty for a moment.
    fn settle(
        &mut self,
        told: &Told,
        changes: &[(usize, u64)],
        through_nothing: bool,
    ) -> Option<()> {
        for (at, value) in changes {
            match told {
                Told::Ok(_) => self.slots[*at].answered(*value),
                Told::Overloaded | Told::Nothing => {
                    self.slots[*at].maybe(&[*value]);
                    if through_nothing {
                        self.slots[*at].maybe(&[0]);
                    }
                }
            }
        }
        (!matches!(told, Told::Nothing)).then_some(())
    }
}

/// # Errors
/// An answer nobody should get.
fn send(
    connection: &mut Connection,
    object: &str,
    path: &[&str],
    method: &str,
    args: Value,
) -> Result<Told, String> {
    let body =
        json!({ "object": object, "path": path, "method": method, "args": args }).to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = connection
        .write(request)
        .and_then(|()| connection.answer())
        .and_then(|answer| match answer.status {
            200 => answer.json().map_err(io::Error::other).map(Ok),
            status => Ok(Err(format!(
                "{method} of {object}: {status} {}",
                answer.text()
            ))),
        });
    let answer = match answer {
        Ok(answer) => answer?,
        Err(_) => return Ok(Told::Nothing),
    };
    match answer.get("error") {
        None => Ok(Told::Ok(answer["ok"].clone())),
        Some(_) if answer["overloaded"] == true => Ok(Told::Overloaded),
        Some(error) => Err(format!("{method} of {object}/{}: {error}", path.join("/"))),
    }
}

/// Every database passes SQLite's own check, made by another program on a copy: facetd finds the files as they were left.
fn check_databases(server: &Server) -> Result<(), String> {
    const SCRIPT: &str = r"
import os, shutil, sqlite3, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
  for number, path in enumerate(sys.argv[1:]):
    copy = os.path.join(folder, str(number))
    shutil.copy(path, copy)
    if os.path.exists(path + '-wal'): shutil.copy(path + '-wal', copy + '-wal')
    result = sqlite3.connect(copy).execute('PRAGMA integrity_check').fetchall()
    if result != [('ok',)]: print(path, result)
  print('checked', len(sys.argv) - 1)
";
    let databases = files_below(server.data_folder(), ".sqlite");
    let mut python = tool("python3", "python3 with its sqlite3 module");
    let ended = run(python.args(["-c", SCRIPT]).args(&databases), SOON);
    let expected = format!("checked {}\n", databases.len());
    if ended.stdout == expected && !databases.is_empty() {
        return Ok(());
    }
    Err(format!("integrity_check: {}", ended.both()))
}
