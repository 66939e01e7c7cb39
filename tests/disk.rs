//! Disks that fail: full, read-only, gone, forbidden, damaged. The object concerned fails and says why, its neighbours work,
//! nothing answered is lost, and nothing damaged is overwritten or taken for empty.
//!
//! Mounting needs root; a test that cannot mount says so and passes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::process::files_below;
use crate::harness::{Project, Request, Server};

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
class Box extends DurableObject {
  add(bytes) {
    const { sql, kv } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, pad TEXT)");
    sql.exec("INSERT INTO t (pad) VALUES (?)", "x".repeat(bytes));
    kv.put("count", (kv.get("count") ?? 0) + 1);
    return this.count();
  }
  // Reads every page, writes none.
  count() {
    const { sql, kv } = this.ctx.storage;
    const rows = sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = 't'").one().n === 1
      ? sql.exec("SELECT count(*) AS n, sum(length(pad)) AS bytes FROM t").one().n : 0;
    const count = kv.get("count") ?? 0;
    if (rows !== count) throw new Error(`torn: ${rows} rows, ${count} counted`);
    return count;
  }
  remove(name) { this.ctx.facets.delete(name); return "removed"; }
  clone(from, to) { this.ctx.facets.clone(from, to); return "cloned"; }
  async wipe() { await this.ctx.storage.deleteAll(); return "wiped"; }
  to(path, method, args) {
    if (path.length === 0) return this[method](...args);
    return this.ctx.facets.get(path[0], () => ({ class: this.ctx.exports.App })).to(path.slice(1), method, args);
  }
}
export class Root extends Box {}
export class App extends Box {}
export default {
  async fetch(request, env) {
    const { place, method, args } = await request.json();
    const [object, ...path] = place.split("/");
    try {
      return Response.json({ ok: await env.ROOT.getByName(object).to(path, method, args) });
    } catch (error) {
      return Response.json({ error: error.message });
    }
  },
};
"#;
const CONFIG: &str = r#"{ "name": "disk", "main": "worker.js", "compatibility_date": "2026-09-01",
    "durable_objects": { "bindings": [{ "name": "ROOT", "class_name": "Root" }] }, "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Root"] }] }"#;

fn project() -> Project {
    Project::of(&[("wrangler.jsonc", CONFIG), ("worker.js", WORKER)])
}

fn started(server: crate::harness::server::Builder) -> Server {
    server.start().unwrap_or_else(|error| panic!("{error}"))
}

fn call(server: &Server, place: &str, method: &str, args: Value) -> Result<Value, String> {
    let body = json!({ "place": place, "method": method, "args": args });
    let answer = server
        .send(&Request::new("POST", "/").body(body.to_string()))
        .unwrap_or_else(|error| panic!("{method} of {place}: {error}\n{}", server.stderr()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = answer.json().expect("JSON");
    match answer.get("error") {
        Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
        None => Ok(answer["ok"].clone()),
    }
}

fn add(server: &Server, place: &str) -> Result<Value, String> {
    call(server, place, "add", json!([10_000]))
}

fn count(server: &Server, place: &str) -> Result<Value, String> {
    call(server, place, "count", json!([]))
}

/// Errors that say what is wrong with a disk are in SQLite's words, and name no path.
#[track_caller]
fn assert_says(result: Result<Value, String>, words: &[&str]) {
    let error = result.expect_err("it cannot work");
    assert!(
        words.iter().any(|word| error.contains(word)),
        "{words:?} in {error:?}"
    );
    assert!(!error.contains('/'), "no path: {error}");
}

/// A file system of its own; gone with the value.
struct Mount(PathBuf);

impl Mount {
    /// `None`, with a line that says so: this process may not mount.
    fn new(args: &[&str], at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(args).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                eprintln!(
                    "skipped, cannot mount: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                None
            }
            Err(error) => {
                eprintln!("skipped, cannot mount: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "remount {options}"
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn full_disk(durability: &str) {
    let project = project();
    let disk = project.join("disk");
    fs::create_dir(&disk).expect("a folder");
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=8m", "facetd-test"], &disk) else {
        return;
    };
    let filler = disk.join("filler");
    fs::write(&filler, vec![1; 3 << 20]).expect("there is room");
    let builder = Server::of(project.path()).data(disk.join("data"));
    let mut server = started(builder.arg("--durability").arg(durability));
    assert_eq!(add(&server, "neighbour"), Ok(json!(1)));
    assert_eq!(add(&server, "writer/old"), Ok(json!(1)));
    let mut written = 0;
    let error = loop {
        match add(&server, "writer") {
            Ok(count) => written = count.as_u64().expect("a number"),
            Err(error) => break error,
        }
        assert!(written < 2000, "the disk is not that big");
    };
    assert!(error.contains("SQLITE_FULL"), "{error}");
    // What is left after the failed write is used up too.
    let rest = disk.join("rest");
    let mut more = vec![2; 8 << 20];
    while fs::write(&rest, &more).is_err() && more.len() > 4096 {
        more.truncate(more.len() * 9 / 10);
    }
    for _ in 0..20 {
        match add(&server, "writer") {
            Ok(count) => written = count.as_u64().expect("a number"),
            Err(error) => assert!(error.contains("SQLITE_FULL"), "{error}"),
        }
    }
    // A write that was answered with an error may be there (the disk took it, and then not the log), but as a whole.
    let found = count(&server, "writer").expect("reads go on");
    let found = found.as_u64().expect("a number");
    assert!(
        (written..=written + 1).contains(&found),
        "{written} were answered, {found} are there"
    );
    written = found;
    let after = |server: &Server, what: &str| {
        assert_eq!(count(server, "writer"), Ok(json!(written)), "{what}");
        assert_eq!(count(server, "writer/old"), Ok(json!(1)), "{what}");
        assert_eq!(count(server, "neighbour"), Ok(json!(1)), "{what}");
    };
    after(&server, "reads go on");
    assert_says(add(&server, "stranger"), &["SQLITE_FULL"]);
    assert_says(add(&server, "writer/new"), &["SQLITE_FULL"]);
    assert_says(
        call(&server, "writer", "clone", json!(["old", "copy"])),
        &["SQLITE_FULL"],
    );
    server.kill9();
    server
        .start_again()
        .unwrap_or_else(|error| panic!("a full disk is no reason not to start: {error}"));
    after(&server, "killed while the disk was full");
    assert_says(add(&server, "stranger"), &["SQLITE_FULL"]);
    fs::remove_file(&filler).expect("our own file");
    assert_eq!(
        add(&server, "writer"),
        Ok(json!(written + 1)),
        "there is room again"
    );
    assert_eq!(
        add(&server, "writer/new"),
        Ok(json!(1)),
        "also for a new facet"
    );
    assert_eq!(add(&server, "stranger"), Ok(json!(1)), "and a new object");
    assert_eq!(
        call(&server, "writer", "clone", json!(["old", "copy"])),
        Ok(json!("cloned"))
    );
    assert_eq!(server.sigterm(), Some(0));
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(count(&server, "writer"), Ok(json!(written + 1)));
    for facet in ["writer/new", "writer/copy", "writer/old"] {
        assert_eq!(count(&server, facet), Ok(json!(1)), "{facet}");
    }
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    full_disk("fsync");
}

#[test]
fn a_full_disk_loses_nothing_with_relaxed_durability_either() {
    full_disk("relaxed");
}

#[test]
fn a_read_only_data_directory_is_refused_and_harmed_by_nothing() {
    let project = project();
    let disk = project.join("disk");
    fs::create_dir(&disk).expect("a folder");
    let Some(mount) = Mount::new(&["-t", "tmpfs", "-o", "size=64m", "facetd-test"], &disk) else {
        return;
    };
    let data = disk.join("data");
    let mut server = started(Server::of(project.path()).data(&data));
    for place in ["a", "b", "a/f"] {
        assert_eq!(add(&server, place), Ok(json!(1)));
    }
    server.kill9();
    mount.remount("ro");
    let refused = server
        .start_again()
        .expect_err("nothing can be written there");
    assert_eq!(refused.exit_code, Some(6), "{refused}");
    assert!(refused.stderr.contains("not writable"), "{refused}");
    mount.remount("rw");
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    for place in ["a", "b", "a/f"] {
        assert_eq!(add(&server, place), Ok(json!(2)));
    }
}

#[test]
fn a_data_directory_that_was_moved_away_is_not_taken_for_an_empty_one() {
    let project = project();
    let (data, away) = (project.join("data"), project.join("away"));
    let mut server = started(Server::of(project.path()).data(&data));
    for place in ["a", "a/f", "b"] {
        assert_eq!(add(&server, place), Ok(json!(1)));
    }
    assert_eq!(server.sigterm(), Some(0));
    server
        .start_again()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        count(&server, "b"),
        Ok(json!(1)),
        "in memory when it happens"
    );
    fs::rename(&data, &away).expect("it can be moved");
    for place in ["a", "a/f", "new"] {
        assert_says(
            count(&server, place),
            &["storage of this Durable Object is not available"],
        );
        assert_says(
            add(&server, place),
            &["storage of this Durable Object is not available"],
        );
    }
    assert!(!data.exists(), "nothing was begun in its place");
    fs::create_dir(&data).expect("a folder");
    assert_says(count(&server, "a"), &["not available"]);
    fs::remove_dir(&data).expect("nothing was written there");
    fs::rename(&away, &data).expect("it can be moved back");
    for place in ["a", "a/f", "b"] {
        assert_eq!(add(&server, place), Ok(json!(2)), "{place} is there again");
    }
}

/// A server over data of its own, stopped: `a`, `a/f` and `neighbour` hold three rows each.
fn stopped() -> (Project, Server) {
    let project = project();
    let mut server = started(Server::of(project.path()));
    for place in ["a", "neighbour", "a/f"] {
        for n in 1..=3 {
            assert_eq!(add(&server, place), Ok(json!(n)));
        }
    }
    server.sigterm();
    (project, server)
}

/// The files of object `a`, which is the one with a facet.
fn file_of_a(server: &Server, ending: &str) -> PathBuf {
    let index = files_below(server.data_folder(), ".facets").remove(0);
    index.with_extension(ending)
}

fn start_again(server: &mut Server) {
    server
        .start_again()
        .unwrap_or_else(|error| panic!("damage to one object concerns nobody else: {error}"));
}

/// Flips some bits in every byte from `from` to `to`.
fn flip(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).expect("it is there");
    for byte in &mut bytes[from..to] {
        *byte ^= 0x5a;
    }
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn damage_in_a_database_fails_its_object_and_nobody_else() {
    type Harm = fn(&Path);
    let cases: [(&str, Harm, &[&str]); 8] = [
        (
            "page 1, the file header",
            |path| flip(path, 0, 16),
            &["SQLITE_NOTADB"],
        ),
        (
            "page 1, the schema",
            |path| flip(path, 100, 112),
            &["SQLITE_CORRUPT"],
        ),
        (
            "a page of a table",
            |path| flip(path, 4096, 4096 + 64),
            &["SQLITE_CORRUPT"],
        ),
        (
            "every page but the first",
            |path| {
                let bytes = fs::metadata(path).expect("it is there").len();
                flip(path, 4096, usize::try_from(bytes).expect("a small file"));
            },
            &["SQLITE_CORRUPT"],
        ),
        (
            "its second half is missing",
            |path| {
                let bytes = fs::metadata(path).expect("it is there").len();
                let file = fs::OpenOptions::new().write(true).open(path);
                file.and_then(|file| file.set_len(bytes / 2))
                    .expect("it can be cut");
            },
            &["SQLITE_CORRUPT"],
        ),
        (
            "a page is cut in two",
            |path| {
                let file = fs::OpenOptions::new().write(true).open(path);
                file.and_then(|file| file.set_len(4096 + 100))
                    .expect("it can be cut");
            },
            &["SQLITE_CORRUPT"],
        ),
        (
            "less than a header is left",
            |path| {
                let file = fs::OpenOptions::new().write(true).open(path);
                file.and_then(|file| file.set_len(50))
                    .expect("it can be cut");
            },
            &["SQLITE_NOTADB"],
        ),
        (
            "a folder lies there",
            |path| {
                fs::remove_file(path).expect("our own file");
                fs::create_dir(path).expect("a folder");
            },
            &["SQLITE_CANTOPEN"],
        ),
    ];
    for (what, harm, words) in cases {
        for (ending, place, healthy) in [("sqlite", "a", "neighbour"), ("1.sqlite", "a/f", "a")] {
            let (_project, mut server) = stopped();
            let path = file_of_a(&server, ending);
            harm(&path);
            let before = fs::read(&path).ok();
            start_again(&mut server);
            for _ in 0..2 {
                match count(&server, place) {
                    Ok(count) => panic!("{what}: {place} answers {count}"),
                    Err(error) => {
                        let clear = words.iter().any(|word| error.contains(word));
                        assert!(clear && !error.contains('/'), "{what}, {place}: {error}");
                    }
                }
                assert!(
                    add(&server, place).is_err(),
                    "{what}: {place} cannot be written"
                );
                assert_eq!(
                    count(&server, healthy),
                    Ok(json!(3)),
                    "{what}: its neighbour"
                );
                assert_eq!(
                    count(&server, "neighbour"),
                    Ok(json!(3)),
                    "{what}: another one"
                );
            }
            assert_eq!(server.sigterm(), Some(0), "{what}");
            assert_eq!(
                fs::read(&path).ok(),
                before,
                "{what}: the evidence is left alone"
            );
        }
    }
}

/// SQLite cannot tell a damaged log from one that a crash cut short: what counts is that whole turns are gone, and nobody else's.
#[test]
fn damage_in_a_log_loses_whole_turns_of_its_object_at_most() {
    type Harm = fn(&Path, usize);
    let cases: [(&str, Harm); 4] = [
        ("its header", |path, _| flip(path, 0, 8)),
        ("a frame in its middle", |path, bytes| {
            flip(path, bytes / 2, bytes / 2 + 8)
        }),
        ("its last frame", |path, bytes| {
            flip(path, bytes - 64, bytes - 56)
        }),
        ("its second half is missing", |path, bytes| {
            let file = fs::OpenOptions::new().write(true).open(path);
            file.and_then(|file| file.set_len(bytes as u64 / 2))
                .expect("it can be cut");
        }),
    ];
    for (what, harm) in cases {
        let (_project, mut server) = stopped();
        start_again(&mut server);
        for place in ["a", "a/f", "neighbour"] {
            for n in 4..=9 {
                assert_eq!(add(&server, place), Ok(json!(n)));
            }
        }
        server.kill9();
        let path = file_of_a(&server, "sqlite-wal");
        harm(&path, fs::read(&path).expect("it is there").len());
        start_again(&mut server);
        let found = count(&server, "a").map(|count| count.as_u64());
        assert!(
            matches!(found, Ok(Some(3..=9))),
            "{what}: what was in the database before, and whole turns: {found:?}"
        );
        assert_eq!(count(&server, "a/f"), Ok(json!(9)), "{what}: its facet");
        assert_eq!(
            count(&server, "neighbour"),
            Ok(json!(9)),
            "{what}: its neighbour"
        );
        let next = found.ok().flatten().map(|count| count + 1);
        assert_eq!(
            add(&server, "a").map(|count| count.as_u64()),
            Ok(next),
            "{what}"
        );
    }
}

#[test]
fn a_facet_index_that_lost_entries_gives_no_facets_data_to_another() {
    const DAMAGED: &str = "The index of this Durable Object's facets is damaged.";
    type Harm = fn(&Path);
    fn cut(path: &Path, bytes: u64) {
        let file = fs::OpenOptions::new().write(true).open(path);
        file.and_then(|file| file.set_len(bytes))
            .expect("it can be cut");
    }
    // Which facets are still known: `f` and `g` have the numbers 1 and 2.
    let cases: [(&str, Harm, &[&str]); 7] = [
        (
            "garbage",
            |path| fs::write(path, "something else altogether").expect("written"),
            &[],
        ),
        ("nothing is left", |path| cut(path, 0), &[]),
        ("five bytes are left", |path| cut(path, 5), &[]),
        ("no entry is left", |path| cut(path, 8), &[]),
        (
            "the second entry is cut in two",
            |path| cut(path, 8 + 5 + 3),
            &["f"],
        ),
        ("the second entry is gone", |path| cut(path, 8 + 5), &["f"]),
        (
            "it is gone",
            |path| fs::remove_file(path).expect("our own file"),
            &[],
        ),
    ];
    for (what, harm, known) in cases {
        let (_project, mut server) = stopped();
        start_again(&mut server);
        assert_eq!(add(&server, "a/g"), Ok(json!(1)));
        server.kill9();
        let index = file_of_a(&server, "facets");
        harm(&index);
        let before = fs::read(&index).ok();
        start_again(&mut server);
        for stranger in ["a/h", "a/g", "a/i"] {
            assert_eq!(
                count(&server, stranger),
                Err(DAMAGED.to_owned()),
                "{what}: {stranger} sees nobody's data"
            );
        }
        let f = count(&server, "a/f");
        if known.contains(&"f") {
            assert_eq!(f, Ok(json!(3)), "{what}: a facet whose entry is there");
        } else {
            assert_eq!(f, Err(DAMAGED.to_owned()), "{what}: not taken for empty");
        }
        assert_eq!(
            count(&server, "a"),
            Ok(json!(3)),
            "{what}: the object itself"
        );
        assert_eq!(
            add(&server, "neighbour/f"),
            Ok(json!(1)),
            "{what}: another object"
        );
        assert_eq!(
            fs::read(&index).ok(),
            before,
            "{what}: the evidence is left alone"
        );
        server.kill9();
        assert_eq!(
            files_below(server.data_folder(), ".2.sqlite").len(),
            1,
            "{what}: all data is there"
        );
    }
}

/// A script that runs `prelude` and becomes facetd.
fn start_script(project: &Project, prelude: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\n{prelude} '{}' \"$@\"\n",
        env!("CARGO_BIN_EXE_facetd")
    );
    project.write("start.sh", script);
    let start = project.join("start.sh");
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).expect("our own file");
    start
}

#[test]
fn few_open_files_make_objects_take_turns_and_lose_nothing() {
    const OBJECTS: usize = 40;
    for open_files_max in [40, 64, 160] {
        let project = project();
        let data = project.join("data");
        let start = start_script(&project, &format!("ulimit -n {open_files_max}\nexec"));
        let mut server = started(Server::of(project.path()).binary(start).data(&data));
        let answered: Vec<u64> = std::thread::scope(|scope| {
            let write = |number: usize| {
                let (server, place) = (&server, format!("o{number}"));
                scope.spawn(move || {
                    let mut highest = 0;
                    for _ in 0..5 {
                        let body = json!({ "place": place, "method": "add", "args": [100] });
                        // Without a file for its connection it is not even accepted.
                        let answer = Request::new("POST", "/")
                            .body(body.to_string())
                            .send(server.address());
                        let answer = answer.ok().and_then(|answer| answer.json().ok());
                        let count = answer.and_then(|answer: Value| answer["ok"].as_u64());
                        highest = count.unwrap_or(highest);
                    }
                    highest
                })
            };
            let writers: Vec<_> = (0..OBJECTS).map(write).collect();
            writers
                .into_iter()
                .map(|writer| writer.join().expect("no panic"))
                .collect()
        });
        eprintln!("{open_files_max} files: {answered:?}");
        assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
        assert!(
            answered.iter().sum::<u64>() > 0,
            "{open_files_max} files: somebody was answered"
        );
        assert!(
            add(&server, "late").is_ok(),
            "{open_files_max} files: and it goes on"
        );
        server.kill9();
        let server = started(Server::of(project.path()).data(&data));
        for (number, answered) in answered.into_iter().enumerate() {
            let found = count(&server, &format!("o{number}")).map(|count| count.as_u64());
            assert!(
                matches!(found, Ok(Some(found)) if found >= answered),
                "{open_files_max} files: {found:?} in o{number}, {answered} answered"
            );
        }
    }
}

#[test]
fn files_that_facetd_may_not_touch_fail_their_object_only() {
    const NOBODY: u32 = 65534;
    let project = project();
    let data = project.join("data");
    for (path, mode) in [
        (".", 0o755),
        ("worker.js", 0o644),
        ("wrangler.jsonc", 0o644),
    ] {
        fs::set_permissions(project.join(path), fs::Permissions::from_mode(mode)).expect("ours");
    }
    let as_nobody = "exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs";
    let start = start_script(&project, as_nobody);
    let version = Command::new(&start).arg("--version").output();
    if !version.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped, cannot run facetd as another user: {version:?}");
        return;
    }
    fs::create_dir(&data).expect("a folder");
    let builder = || Server::of(project.path()).binary(&start).data(&data);
    let Err(refused) = builder().start() else {
        panic!("it may not write there");
    };
    assert_eq!(refused.exit_code, Some(6), "{refused}");
    assert!(refused.stderr.contains("not writable"), "{refused}");
    std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).expect("root may");
    let mut server = started(builder());
    for place in ["a", "a/f", "neighbour"] {
        assert_eq!(add(&server, place), Ok(json!(1)));
    }
    assert_eq!(server.sigterm(), Some(0));
    let (own, facet) = (file_of_a(&server, "sqlite"), file_of_a(&server, "1.sqlite"));
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("root may")
    };
    for mode in [0o000, 0o444] {
        allow(&facet, mode);
        start_again(&mut server);
        assert_says(count(&server, "a/f"), &["SQLITE_CANTOPEN"]);
        assert_says(add(&server, "a/f"), &["SQLITE_CANTOPEN"]);
        assert_eq!(count(&server, "a"), Ok(json!(1)), "its parent");
        allow(&facet, 0o644);
        assert_eq!(
            count(&server, "a/f"),
            Ok(json!(1)),
            "at once when it is allowed again"
        );
        server.kill9();
        allow(&own, mode);
        start_again(&mut server);
        assert_says(count(&server, "a"), &["SQLITE_CANTOPEN"]);
        assert_eq!(count(&server, "neighbour"), Ok(json!(1)), "its neighbour");
        server.kill9();
        allow(&own, 0o644);
    }
    start_again(&mut server);
    assert_eq!(add(&server, "a"), Ok(json!(2)));
    assert_eq!(add(&server, "a/f"), Ok(json!(2)));
}
