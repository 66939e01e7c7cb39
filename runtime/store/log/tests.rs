//! Power cuts, crashes and disks that fail, simulated and seeded. SIGKILL alone does not test a sync: what was written
//! and not synced survives it. Here a crash keeps of each file what the last sync of everything left, mixed block by
//! block with what was written since; of the log, what was synced, and a random part of the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::{Database, ObjectFiles, OpenOptions, SqlValue, ValueRef};

/// What the tests change about a log, or learn from it.
#[derive(Default)]
pub(super) struct Faults {
    disk_full: AtomicBool,
    /// The deliberately broken variant: who waits is told before the sync.
    told_too_early: AtomicBool,
    /// Held while old segments are emptied.
    pub cycle: Mutex<()>,
    /// Held while a batch is written, synced and confirmed.
    pub batch: Mutex<()>,
    /// Held while the world takes a step: what is read as one state of the files must be one.
    pub step: Mutex<()>,
    /// Segments and how much of them is on disk.
    synced: Mutex<BTreeMap<u64, u64>>,
    /// Files as they were at the last sync of everything.
    base: Mutex<Option<Files>>,
    cycles: std::sync::atomic::AtomicUsize,
}

impl Faults {
    pub fn before_write(&self) -> io::Result<()> {
        if self.disk_full.load(Ordering::Acquire) {
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    }

    pub fn after_sync(&self, segment: Option<(u64, u64)>) {
        if let (Some((sequence, durable)), false) =
            (segment, self.told_too_early.load(Ordering::Acquire))
        {
            self.synced.lock().insert(sequence, durable);
        }
    }

    pub fn after_sync_everything(&self, root: &Path) {
        let _between_steps = self.step.lock();
        *self.base.lock() = Some(read(root));
        self.cycles.fetch_add(1, Ordering::AcqRel);
    }
}

/// Each file's identity and contents.
type Files = BTreeMap<PathBuf, (u64, Vec<u8>)>;

/// Every file below `root` but those of the log.
fn read(root: &Path) -> Files {
    fn visit(root: &Path, dir: &Path, found: &mut Files) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path != root.join(FOLDER) {
                visit(root, &path, found);
            } else if path.is_file()
                && let Ok(mut file) = fs::File::open(&path)
                && let Ok(metadata) = file.metadata()
            {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                let name = path.strip_prefix(root).unwrap().to_owned();
                found.insert(name, (metadata.ino(), bytes));
            }
        }
    }
    let mut found = Files::new();
    visit(root, root, &mut found);
    found
}

/// In memory where the system has such a folder: the syncs are not what is tested.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

fn options(durability: Durability, boot: u8) -> LogOptions {
    LogOptions {
        boot: Some([boot; 16]),
        segment_bytes: 32 << 10,
        ..LogOptions::new(durability)
    }
}

const ROWS: u64 = 40;

/// One database and what should be in it.
struct Object {
    files: ObjectFiles,
    storage_id: u16,
    database: Option<Database>,
    /// What each commit of this life wrote: row to value.
    commits: Vec<Vec<(u64, u64)>>,
    /// How many of them were confirmed.
    confirmed: Arc<Mutex<usize>>,
}

impl Object {
    fn open(&mut self, log: &CommitLog) -> &Database {
        self.database.get_or_insert_with(|| {
            let options = OpenOptions {
                log: Some(log.clone()),
                ..OpenOptions::default()
            };
            Database::open(&self.files.database(self.storage_id), options).unwrap()
        })
    }

    /// One commit that changes several rows, and says which it is.
    fn write(&mut self, log: &CommitLog, random: &mut Random) {
        let n = self.commits.len() as u64 + 1;
        let first = self.commits.is_empty();
        let changes: Vec<(u64, u64)> = (0..1 + random.below(6))
            .map(|_| (random.below(ROWS), n))
            .collect();
        let size = 100 + random.below(1500);
        let db = self.open(log);
        if first {
            db.exec(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, n, pad); CREATE TABLE m(n)",
                &[],
            )
            .unwrap();
            db.exec("INSERT INTO m VALUES (0)", &[]).unwrap();
        }
        db.exec("UPDATE m SET n = ?", &[SqlValue::Integer(n as i64)])
            .unwrap();
        for (row, n) in &changes {
            let bindings = [
                SqlValue::Integer(*row as i64),
                SqlValue::Integer(*n as i64),
                SqlValue::Integer(size as i64),
            ];
            db.exec(
                "INSERT OR REPLACE INTO t VALUES (?, ?, zeroblob(?))",
                &bindings,
            )
            .unwrap();
        }
        let ticket = db.commit_turn().unwrap().expect("something was written");
        self.commits.push(changes);
        let confirmed = self.confirmed.clone();
        ticket.when_durable(Box::new(move |result| {
            if result.is_ok() {
                let mut confirmed = confirmed.lock();
                *confirmed = (*confirmed).max(n as usize);
            }
        }));
    }

    fn close(&mut self) {
        self.database = None;
    }

    /// Some whole state no older than the last that was confirmed. Returns what is wrong.
    fn check(&mut self, log: &CommitLog) -> Result<(), String> {
        let confirmed = *self.confirmed.lock();
        let db = self.open(log).clone();
        let mut whole = String::new();
        db.exec("PRAGMA quick_check", &[])
            .and_then(|mut cursor| {
                cursor.next_row(&mut |row| {
                    if let ValueRef::Text(text) = row.get(0) {
                        whole = String::from_utf8_lossy(text).into_owned();
                    }
                })
            })
            .map_err(|error| error.to_string())?;
        if whole != "ok" {
            return Err(whole);
        }
        let tables = numbers(
            &db,
            "SELECT count(*), 0 FROM sqlite_schema WHERE type = 'table' AND name IN ('t', 'm')",
        );
        let n = match tables[0].0 {
            0 => 0,
            _ => numbers(&db, "SELECT n, 0 FROM m")[0].0 as usize,
        };
        if n < confirmed || n > self.commits.len() {
            return Err(format!(
                "{n} commits are there; {confirmed} were confirmed, {} made",
                self.commits.len()
            ));
        }
        let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
        expected.extend(self.commits[..n].iter().flatten().copied());
        let found = match n {
            0 => Vec::new(),
            _ => numbers(&db, "SELECT id, n FROM t ORDER BY id"),
        };
        if found != expected.into_iter().collect::<Vec<_>>() {
            return Err(format!("after commit {n}: {found:?}"));
        }
        self.commits.truncate(n);
        *self.confirmed.lock() = n;
        Ok(())
    }
}

fn numbers(db: &Database, sql: &str) -> Vec<(u64, u64)> {
    let mut cursor = db.exec(sql, &[]).unwrap();
    let mut rows = Vec::new();
    let number = |value: ValueRef<'_>| match value {
        ValueRef::Integer(n) => n as u64,
        other => panic!("{other:?} is no number"),
    };
    while cursor
        .next_row(&mut |row| rows.push((number(row.get(0)), number(row.get(1)))))
        .unwrap()
    {}
    rows
}

/// A data directory, its log and its objects, through several crashes.
struct World {
    dir: tempfile::TempDir,
    log: Option<CommitLog>,
    durability: Durability,
    boot: u8,
    objects: Vec<Object>,
    /// Files as they were at some moments, and after how many syncs of everything.
    moments: Vec<(usize, Files)>,
    broken: bool,
}

impl World {
    fn new(durability: Durability, broken: bool) -> Self {
        let mut world = Self {
            dir: folder(),
            log: None,
            durability,
            boot: 1,
            objects: Vec::new(),
            moments: Vec::new(),
            broken,
        };
        world.start().unwrap();
        for index in 0..4_u8 {
            world.objects.push(Object {
                files: world.files(index / 2),
                storage_id: u16::from(index % 2),
                database: None,
                commits: Vec::new(),
                confirmed: Arc::default(),
            });
        }
        world
    }

    fn files(&self, object: u8) -> ObjectFiles {
        ObjectFiles::new(
            self.dir.path().join("do/key"),
            format!("{object:02}"),
            self.log.clone(),
        )
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.log.as_ref().expect("started").0.shared
    }

    fn start(&mut self) -> Result<(), StoreError> {
        let log = CommitLog::open(self.dir.path(), options(self.durability, self.boot))?;
        log.0
            .shared
            .faults
            .told_too_early
            .store(self.broken, Ordering::Release);
        *log.0.shared.faults.base.lock() = Some(read(self.dir.path()));
        self.log = Some(log);
        self.moments.clear();
        for index in 0..self.objects.len() {
            self.objects[index].files = self.files(index as u8 / 2);
        }
        Ok(())
    }

    fn step(&mut self, random: &mut Random) {
        let at = random.below(self.objects.len() as u64) as usize;
        let log = self.log.clone().expect("started");
        let kind = random.below(100);
        if (90..=92).contains(&kind) {
            self.remember();
            return;
        }
        let shared = self.shared().clone();
        let _step = shared.faults.step.lock();
        match kind {
            0..=79 => self.objects[at].write(&log, random),
            80..=85 => self.objects[at].close(),
            86..=87 => {
                let object = &mut self.objects[at];
                object.close();
                object.files.remove_database(object.storage_id).unwrap();
                object.commits.clear();
                object.confirmed = Arc::default();
            }
            88..=89 => {
                let object = &mut self.objects[at];
                if let Some(db) = &object.database {
                    db.delete_all().unwrap();
                    let ticket = db.commit_turn().unwrap().expect("it was emptied");
                    let (tell, told) = mpsc::channel();
                    ticket.when_durable(Box::new(move |result| tell.send(result).unwrap()));
                    told.recv().unwrap().unwrap();
                    object.commits.clear();
                    object.confirmed = Arc::default();
                }
            }
            93..=94 => log.flush().unwrap(),
            _ => {
                // A cycle out of its turn.
                let newest = self
                    .shared()
                    .faults
                    .synced
                    .lock()
                    .last_key_value()
                    .map(|(key, _)| *key);
                let boundary = self.shared().housekeeping.start() + 1;
                if newest.is_some_and(|newest| newest >= boundary) {
                    self.shared().housekeeping.want_cycle(boundary);
                }
            }
        }
    }

    fn remember(&mut self) {
        let shared = self.shared().clone();
        let _quiet = shared.faults.cycle.lock();
        let cycles = shared.faults.cycles.load(Ordering::Acquire);
        self.moments.retain(|(of, _)| *of == cycles);
        if self.moments.len() < 3 {
            self.moments.push((cycles, read(self.dir.path())));
        }
    }

    /// The files after a crash of the machine, put in place of those there are.
    fn lose_power(&mut self, random: &mut Random) {
        let shared = self.shared().clone();
        {
            let _quiet = (shared.faults.cycle.lock(), shared.faults.batch.lock());
            for object in &mut self.objects {
                let confirmed = *object.confirmed.lock();
                object.confirmed = Arc::new(Mutex::new(confirmed));
            }
            let synced = shared.faults.synced.lock().clone();
            let base = shared.faults.base.lock().clone().unwrap_or_default();
            let now = read(self.dir.path());
            let cycles = shared.faults.cycles.load(Ordering::Acquire);
            let moments = self
                .moments
                .iter()
                .filter_map(|(of, files)| (*of == cycles).then_some(files));
            let mut log = BTreeMap::new();
            for (sequence, path) in segment::list(&shared.dir).unwrap() {
                log.insert(sequence, fs::read(path).unwrap());
            }
            let crashed = folder();
            let mut names: Vec<&PathBuf> = base.keys().chain(now.keys()).collect();
            names.sort_unstable();
            names.dedup();
            let states: Vec<&Files> = std::iter::once(&base)
                .chain(moments)
                .chain([&now])
                .collect();
            for name in names {
                if let Some(bytes) = mixed(name, &states, random) {
                    let path = crashed.path().join(name);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, bytes).unwrap();
                }
            }
            let dir = crashed.path().join(FOLDER);
            fs::create_dir_all(&dir).unwrap();
            for (sequence, mut bytes) in log {
                let durable = synced.get(&sequence).copied().unwrap_or(64) as usize;
                let rest = bytes.len().saturating_sub(durable) as u64;
                let kept = durable + random.below(rest + 1) as usize;
                // Blocks beyond may be there or not, in any order.
                for block in bytes[kept..].chunks_mut(512) {
                    if random.coin() {
                        block.fill(0);
                    }
                }
                fs::write(segment::path_of(&dir, sequence), bytes).unwrap();
            }
            for object in &mut self.objects {
                object.database = None;
            }
            self.log = None;
            self.dir = crashed;
        }
        self.boot += 1;
    }

    /// The process ends without a word: every file is as it was written.
    fn kill(&mut self) {
        let shared = self.shared().clone();
        let crashed = folder();
        {
            let _quiet = (shared.faults.cycle.lock(), shared.faults.batch.lock());
            for (name, (_, bytes)) in read(self.dir.path()) {
                let path = crashed.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            let dir = crashed.path().join(FOLDER);
            fs::create_dir_all(&dir).unwrap();
            for (sequence, path) in segment::list(&shared.dir).unwrap() {
                fs::copy(path, segment::path_of(&dir, sequence)).unwrap();
            }
        }
        for object in &mut self.objects {
            // Nothing that was committed may be missing, whether it was confirmed or not.
            object.confirmed = Arc::new(Mutex::new(object.commits.len()));
            object.database = None;
        }
        self.log = None;
        self.dir = crashed;
    }

    fn check(&mut self) -> Result<(), String> {
        let log = self.log.clone().expect("started");
        for (index, object) in self.objects.iter_mut().enumerate() {
            if object.commits.is_empty() && !object.files.database(object.storage_id).exists() {
                continue;
            }
            object
                .check(&log)
                .map_err(|wrong| format!("object {index}: {wrong}"))?;
        }
        // What SQLite checkpointed while they were opened is on disk: it synced that by itself.
        let faults = &self.shared().faults;
        let _quiet = faults.cycle.lock();
        *faults.base.lock() = Some(read(self.dir.path()));
        faults.cycles.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

/// What a crash leaves of one file: each block as it was at one of the moments, or nothing of it at all.
fn mixed(name: &Path, states: &[&Files], random: &mut Random) -> Option<Vec<u8>> {
    if name.to_string_lossy().ends_with("-shm") && random.coin() {
        return None;
    }
    let versions: Vec<Option<&(u64, Vec<u8>)>> =
        states.iter().map(|files| files.get(name)).collect();
    // A name that came or went since the last sync may be there or not.
    if versions.iter().any(Option::is_none) && random.below(versions.len() as u64) == 0 {
        return None;
    }
    let mut versions: Vec<&(u64, Vec<u8>)> = versions.into_iter().flatten().collect();
    // A name belongs to one file or another; their blocks do not mix.
    let (file, _) = versions[random.below(versions.len() as u64) as usize];
    versions.retain(|(other, _)| other == file);
    let versions: Vec<&Vec<u8>> = versions.into_iter().map(|(_, bytes)| bytes).collect();
    let pick = |random: &mut Random| versions[random.below(versions.len() as u64) as usize];
    let length = pick(random).len();
    let mut bytes = vec![0; length];
    for (index, block) in bytes.chunks_mut(1024).enumerate() {
        let from = pick(random);
        let at = index * 1024;
        if let Some(source) = from.get(at..(at + block.len()).min(from.len())) {
            block[..source.len()].copy_from_slice(source);
        }
    }
    if name.to_string_lossy().ends_with("-wal") {
        // SQLite has synced the header of a WAL that it began anew.
        let newest = versions[versions.len() - 1];
        let header = newest.len().min(bytes.len()).min(32);
        bytes[..header].copy_from_slice(&newest[..header]);
    }
    Some(bytes)
}

/// Runs a seeded world through several crashes; what went wrong, if anything did.
fn simulate(seed: u64, durability: Durability, broken: bool) -> (Result<(), String>, usize) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new(durability, broken);
    let mut cycles = 0;
    for crash in 0..4 {
        for _ in 0..random.below(120) {
            world.step(&mut random);
        }
        cycles += world.shared().faults.cycles.load(Ordering::Acquire);
        let machine = random.below(3) > 0;
        if machine {
            world.lose_power(&mut random);
        } else {
            world.kill();
        }
        let kind = if machine { "power cut" } else { "kill" };
        if let Err(error) = world.start() {
            return (Err(format!("crash {crash}, {kind}: {error}")), cycles);
        }
        if let Err(wrong) = world.check() {
            return (Err(format!("crash {crash}, {kind}: {wrong}")), cycles);
        }
    }
    (Ok(()), cycles)
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let from_env = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    match from_env("FACETD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..from_env("FACETD_SEEDS").unwrap_or(default),
    }
}

#[test]
fn nothing_that_was_confirmed_is_lost_to_a_power_cut_or_a_kill() {
    let mut cycles = 0;
    for seed in seeds(120) {
        let durability = if seed % 4 == 0 {
            Durability::Relaxed
        } else {
            Durability::Fsync
        };
        let (outcome, cycled) = simulate(seed, durability, false);
        cycles += cycled;
        assert_eq!(outcome, Ok(()), "FACETD_SEED={seed}");
    }
    assert!(
        cycles > 10 || seeds(120).count() < 50,
        "old segments were emptied meanwhile: {cycles}"
    );
}

#[test]
fn a_gate_that_opens_before_the_sync_is_caught() {
    let caught = seeds(40).any(|seed| simulate(seed, Durability::Fsync, true).0.is_err());
    assert!(
        caught,
        "the simulation notices an acknowledgement that comes too early"
    );
}

fn logged(path: &Path, log: &CommitLog) -> Database {
    let options = OpenOptions {
        log: Some(log.clone()),
        ..OpenOptions::default()
    };
    Database::open(path, options).unwrap()
}

/// Writes and waits for the outcome.
fn put(db: &Database, value: u8) -> Result<(), StoreError> {
    db.kv_put("k", &[value])?;
    let (tell, told) = mpsc::channel();
    let ticket = db.commit_turn()?.expect("something was written");
    ticket.when_durable(Box::new(move |result| tell.send(result).unwrap()));
    told.recv().unwrap()
}

#[test]
fn a_full_disk_fails_writes_and_nothing_else() {
    let dir = folder();
    let path = dir.path().join("do/a.sqlite");
    let log = CommitLog::open(dir.path(), options(Durability::Fsync, 1)).unwrap();
    let faults = &log.0.shared.faults;
    let db = logged(&path, &log);
    put(&db, 1).unwrap();
    faults.disk_full.store(true, Ordering::Release);
    let error = put(&db, 2).unwrap_err();
    assert!(matches!(error, StoreError::SyncFailed { .. }), "{error}");
    drop(db);
    let db = logged(&path, &log);
    let read = db.kv_get("k").unwrap().unwrap();
    assert!(
        read == [1] || read == [2],
        "an error says nothing about what is stored"
    );
    let error = put(&db, 9).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    db.rollback_turn();
    faults.disk_full.store(false, Ordering::Release);
    put(&db, 3).unwrap();
    drop(db);
    log.close().unwrap();
    let log = CommitLog::open(dir.path(), options(Durability::Fsync, 2)).unwrap();
    assert_eq!(logged(&path, &log).kv_get("k").unwrap().unwrap(), [3]);
}

#[test]
fn a_closed_log_leaves_plain_databases() {
    let dir = folder();
    let path = dir.path().join("do/a.sqlite");
    let log = CommitLog::open(dir.path(), options(Durability::Relaxed, 1)).unwrap();
    let db = logged(&path, &log);
    put(&db, 1).unwrap();
    let in_flight = db.clone();
    drop(db);
    in_flight.kv_put("k", &[2]).unwrap();
    drop(in_flight.commit_turn().unwrap());
    in_flight.close();
    log.close().unwrap();
    assert!(!dir.path().join(FOLDER).exists(), "the log is gone");
    assert!(!wal_path(&path).exists(), "and so are the WALs");
    let found: Vec<u8> = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT value FROM _cf_KV", [], |row| row.get(0))
        .unwrap();
    assert_eq!(found, [2], "any SQLite reads it");
}

#[test]
fn what_was_confirmed_and_cannot_be_read_back_is_an_error() {
    let dir = folder();
    let path = dir.path().join("do/a.sqlite");
    let log = CommitLog::open(
        dir.path(),
        LogOptions {
            boot: Some([1; 16]),
            ..LogOptions::new(Durability::Fsync)
        },
    )
    .unwrap();
    let db = logged(&path, &log);
    for value in 0..20 {
        put(&db, value).unwrap();
    }
    let segment = segment::list(&dir.path().join(FOLDER)).unwrap()[0]
        .1
        .clone();
    let whole = fs::read(&segment).unwrap();
    let copy_with = |bytes: &[u8]| {
        let copy = folder();
        fs::create_dir_all(copy.path().join("log")).unwrap();
        fs::write(
            copy.path().join("log").join(segment.file_name().unwrap()),
            bytes,
        )
        .unwrap();
        copy
    };
    let open = |dir: &Path, boot| {
        CommitLog::open(
            dir,
            LogOptions {
                boot: Some([boot; 16]),
                ..LogOptions::new(Durability::Fsync)
            },
        )
    };
    for at in (64..whole.len() - 6000).step_by(997) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        let copy = copy_with(&damaged);
        let error = open(copy.path(), 2).err().map(|error| error.to_string());
        assert!(
            error.as_ref().is_some_and(|text| text.contains("damaged")),
            "byte {at}: {error:?}"
        );
        let copy = copy_with(&damaged);
        open(copy.path(), 1).expect("the files are as they were written: the log is not needed");
    }
    for cut in [1, 10, 100, 4000] {
        let copy = copy_with(&whole[..whole.len() - cut]);
        let log = open(copy.path(), 2).expect("a torn end is no damage");
        let found = logged(&copy.path().join("do/a.sqlite"), &log)
            .kv_get("k")
            .unwrap()
            .unwrap();
        assert!(found[0] >= 18, "all but the torn record: {found:?}");
    }
}

// ---- the past

fn remembering(boot: u8) -> LogOptions {
    LogOptions {
        retention: Some(Retention {
            seconds: 1_000_000,
            bytes: 1 << 30,
        }),
        ..options(Durability::Fsync, boot)
    }
}

/// Everything a database holds, as text.
fn contents(path: &Path) -> String {
    let connection = rusqlite::Connection::open(path).unwrap();
    let whole: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    let tables: i64 = connection
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name = 't'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    if tables == 0 {
        return String::new();
    }
    let sql = "SELECT group_concat(id || '=' || n || '/' || length(pad)) FROM (SELECT * FROM t ORDER BY id)";
    let text: Option<String> = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    text.unwrap_or_default()
}

fn contents_of(db: &Database) -> String {
    let mut text = String::new();
    let Ok(mut cursor) = db.exec(
        "SELECT group_concat(id || '=' || n || '/' || length(pad)) FROM (SELECT * FROM t ORDER BY id)",
        &[],
    ) else {
        return text;
    };
    cursor
        .next_row(&mut |row| {
            if let ValueRef::Text(found) = row.get(0) {
                text = String::from_utf8_lossy(found).into_owned();
            }
        })
        .unwrap();
    text
}

#[test]
fn every_bookmark_leads_back_to_its_state() {
    let mut checked = 0;
    for seed in seeds(25) {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let dir = folder();
        let path = dir.path().join("do/a.sqlite");
        let mut boot = 1;
        let mut log = CommitLog::open(dir.path(), remembering(boot)).unwrap();
        let mut db = Some(logged(&path, &log));
        let other = logged(&dir.path().join("do/b.sqlite"), &log);
        other.exec("CREATE TABLE t(a)", &[]).unwrap();
        drop(other.commit_turn().unwrap());
        let mut other = Some(other);
        let mut known: Vec<(u64, String)> = Vec::new();
        for _ in 0..60 + random.below(100) {
            let open = db.get_or_insert_with(|| logged(&path, &log));
            match random.below(20) {
                0..=13 => {
                    open.exec(
                        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n, pad)",
                        &[],
                    )
                    .unwrap();
                    for _ in 0..1 + random.below(4) {
                        let row = [
                            SqlValue::Integer(random.below(60) as i64),
                            SqlValue::Integer(random.below(1000) as i64),
                            SqlValue::Integer(random.below(3000) as i64),
                        ];
                        open.exec("INSERT OR REPLACE INTO t VALUES (?, ?, zeroblob(?))", &row)
                            .unwrap();
                    }
                    let before = random.coin().then(|| open.bookmark().unwrap());
                    drop(open.commit_turn().unwrap());
                    let bookmark = before.unwrap_or_else(|| open.bookmark().unwrap());
                    known.push((bookmark, contents_of(open)));
                }
                14 => {
                    open.delete_all().unwrap();
                    drop(open.commit_turn().unwrap());
                    known.push((open.bookmark().unwrap(), String::new()));
                }
                15 => db = None,
                16 => {
                    // Others fill segments too.
                    if let Some(other) = &other {
                        other
                            .exec("INSERT INTO t VALUES (randomblob(20000))", &[])
                            .unwrap();
                        drop(other.commit_turn().unwrap());
                    }
                }
                17 => {
                    (db, other) = (None, None);
                    log.close().unwrap();
                    log = CommitLog::open(dir.path(), remembering(boot)).unwrap();
                }
                18 => {
                    // A crash of the machine right after everything was synced.
                    log.flush().unwrap();
                    (db, other) = (None, None);
                    log.end();
                    boot += 1;
                    log = CommitLog::open(dir.path(), remembering(boot)).unwrap();
                }
                _ => {
                    if let Some((at, expected)) = known
                        .get(random.below(known.len().max(1) as u64) as usize)
                        .cloned()
                    {
                        let undo = open.restore_at_next_open(Moment::At(at)).unwrap();
                        let before = contents_of(open);
                        drop(open.commit_turn().unwrap());
                        drop(db.take());
                        let restored = logged(&path, &log);
                        assert_eq!(contents_of(&restored), expected, "seed {seed}: restored");
                        if random.coin() {
                            let _again = restored.restore_at_next_open(undo).unwrap();
                            drop(restored.commit_turn().unwrap());
                            drop(restored);
                            let undone = logged(&path, &log);
                            assert_eq!(contents_of(&undone), before, "seed {seed}: undone");
                            db = Some(undone);
                        } else {
                            db = Some(restored);
                        }
                    }
                }
            }
        }
        drop(db);
        log.flush().unwrap();
        let history = log.0.shared.history.as_ref().unwrap();
        for (at, expected) in &known {
            let target = dir.path().join("past.sqlite");
            history
                .make("do/a.sqlite", Moment::At(*at), &target)
                .unwrap_or_else(|error| panic!("seed {seed}: {at}: {error}"));
            assert_eq!(&contents(&target), expected, "seed {seed}: {at}");
            for name in ["past.sqlite", "past.sqlite-wal", "past.sqlite-shm"] {
                let _absent = fs::remove_file(dir.path().join(name));
            }
            checked += 1;
        }
        let future = history.make("do/a.sqlite", Moment::At(1), &dir.path().join("x"));
        assert!(
            known.is_empty() || future.is_ok_and(|last| last == 0),
            "before the first commit it was empty"
        );
    }
    assert!(checked > 20);
}

#[test]
fn the_past_of_a_database_that_was_there_before_begins_when_it_is_first_opened() {
    let dir = folder();
    let path = dir.path().join("do/a.sqlite");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, n, pad); INSERT INTO t VALUES (1, 2, 'x')")
        .unwrap();
    let log = CommitLog::open(dir.path(), remembering(1)).unwrap();
    let db = logged(&path, &log);
    let at_first = db.bookmark().unwrap();
    db.exec("DELETE FROM t", &[]).unwrap();
    drop(db.commit_turn().unwrap());
    let _undo = db.restore_at_next_open(Moment::At(at_first)).unwrap();
    drop(db.commit_turn().unwrap());
    drop(db);
    assert_eq!(contents_of(&logged(&path, &log)), "1=2/1");
    let db = logged(&path, &log);
    assert!(matches!(
        db.restore_at_next_open(Moment::At(1)),
        Err(StoreError::NoSuchPast)
    ));
    assert!(matches!(
        db.restore_at_next_open(Moment::At(now_us() + 3_600_000_000)),
        Err(StoreError::NoSuchPast)
    ));
    assert!(matches!(
        db.restore_at_next_open(Moment::BeforeRestorationAfter(db.bookmark().unwrap())),
        Err(StoreError::NoSuchPast)
    ));
}

#[test]
fn what_is_too_old_or_too_much_goes() {
    let dir = folder();
    let path = dir.path().join("do/a.sqlite");
    let kept = Retention {
        seconds: 0,
        bytes: 300_000,
    };
    let with = |boot| LogOptions {
        retention: Some(kept),
        ..options(Durability::Fsync, boot)
    };
    let mut size = 0;
    for round in 0..12 {
        let log = CommitLog::open(dir.path(), with(1)).unwrap();
        let db = logged(&path, &log);
        db.exec(
            "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n, pad)",
            &[],
        )
        .unwrap();
        for _ in 0..10 {
            db.exec(
                "INSERT OR REPLACE INTO t VALUES (1, ?, randomblob(9000))",
                &[SqlValue::Integer(round)],
            )
            .unwrap();
            drop(db.commit_turn().unwrap());
            log.flush().unwrap();
        }
        drop(db);
        log.close().unwrap();
        let files = read(&dir.path().join(history::FOLDER));
        size = files.values().map(|(_, bytes)| bytes.len()).sum();
    }
    assert!(size < 600_000, "{size} bytes of history");
    let log = CommitLog::open(dir.path(), with(1)).unwrap();
    let files = ObjectFiles::new(dir.path().join("do"), "a", Some(log.clone()));
    files.remove_database(0).unwrap();
    assert!(
        read(&dir.path().join(history::FOLDER)).is_empty(),
        "a removed database has no past"
    );
}

/// One row with a value of this size, and the bookmark behind it.
fn write_row(db: &Database, n: i64, bytes: i64) -> u64 {
    db.exec(
        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, n, pad)",
        &[],
    )
    .unwrap();
    let row = [SqlValue::Integer(n), SqlValue::Integer(bytes)];
    db.exec("INSERT INTO t VALUES (?1, ?1, zeroblob(?2))", &row)
        .unwrap();
    drop(db.commit_turn().unwrap());
    db.bookmark().unwrap()
}

fn past_of(log: &CommitLog, at: u64) -> Result<String, StoreError> {
    let history = log.0.shared.history.as_ref().unwrap();
    let dir = folder();
    let target = dir.path().join("past.sqlite");
    log.flush()?;
    history.make("do/a.sqlite", Moment::At(at), &target)?;
    Ok(contents(&target))
}

#[test]
fn behind_a_commit_that_is_too_large_to_keep_a_new_base_begins() {
    let dir = folder();
    let path = dir.path().join("do/a.sqlite");
    let log = CommitLog::open(dir.path(), remembering(1)).unwrap();
    let db = logged(&path, &log);
    let small = write_row(&db, 1, 10);
    let large = write_row(&db, 2, 3 << 20);
    drop(db);
    log.close().unwrap();
    let log = CommitLog::open(dir.path(), remembering(1)).unwrap();
    let db = logged(&path, &log);
    let later = write_row(&db, 3, 10);
    assert_eq!(past_of(&log, small).unwrap(), "1=1/10");
    let both = "1=1/10,2=2/3145728";
    assert_eq!(
        past_of(&log, large).unwrap(),
        both,
        "the new base is just behind it"
    );
    assert_eq!(past_of(&log, later).unwrap(), "1=1/10,2=2/3145728,3=3/10");
}

#[test]
fn a_new_database_of_an_old_name_has_none_of_its_past() {
    let dir = folder();
    let path = dir.path().join("do/a.sqlite");
    for removed_by_hand in [false, true] {
        let log = CommitLog::open(dir.path(), remembering(1)).unwrap();
        let db = logged(&path, &log);
        let old = write_row(&db, 1, 10);
        drop(db);
        if removed_by_hand {
            log.close().unwrap();
            fs::remove_file(&path).unwrap();
        } else {
            let files = ObjectFiles::new(dir.path().join("do"), "a", Some(log.clone()));
            files.remove_database(0).unwrap();
            log.close().unwrap();
        }
        let log = CommitLog::open(dir.path(), remembering(1)).unwrap();
        let db = logged(&path, &log);
        let new = write_row(&db, 2, 20);
        drop(db);
        log.close().unwrap();
        let log = CommitLog::open(dir.path(), remembering(1)).unwrap();
        assert_eq!(past_of(&log, new).unwrap(), "2=2/20");
        let past = past_of(&log, old);
        assert!(
            past.as_ref().is_ok_and(String::is_empty)
                || matches!(past, Err(StoreError::NoSuchPast)),
            "{past:?}"
        );
        let files = ObjectFiles::new(dir.path().join("do"), "a", Some(log.clone()));
        files.remove_database(0).unwrap();
        log.close().unwrap();
    }
}
