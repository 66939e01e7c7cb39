//! After a long time of calls, stubs that nobody disposes of, streams half read, resets and dropped workers, everything that
//! was made for them is gone: the tables of the census, memory, threads and descriptors are where they were.
//!
//! `FACETD_SOAK_CALLS` says how many calls (the default is for CI), `FACETD_SEED` which.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::{open_files, rss_mib, status_of};
use crate::harness::random::Random;
use crate::harness::wait::until;
use crate::harness::{Connection, Project, Request, Server};

/// Most make two or three RPC calls.
const CALLS: u64 = 50_000;
const CALLS_PER_REQUEST: u64 = 200;
/// Before anything is measured: tables and caches grow to their sizes.
const CALLS_FIRST: u64 = 10_000;
const CLIENTS: u64 = 4;
/// How long a thing may take to go that nobody uses any more.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);
/// What the heap of an isolate and the process may have grown by: fragmentation, compiled code.
const HEAP_SLACK_MIB: u64 = 16;
const RSS_SLACK_MIB: u64 = 96;
/// Of the process: a pool of blocking threads shrinks when it likes.
const THREADS_SLACK: u64 = 4;
const FILES_SLACK: usize = 8;

/// Rows of the census: `host` or the name of a worker, then the table.
type Census = BTreeMap<String, u64>;

fn census(server: &Server) -> Census {
    let socket = server.data_folder().join("facetd.sock");
    let stream = UnixStream::connect(&socket).expect("the admin socket is there");
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let mut line = || -> Value {
        let line = lines.next().expect("more lines").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    };
    line(); // the greeting
    let ask = json!({ "protocol": 1, "do": "census", "collect": true });
    writeln!(&stream, "{ask}").expect("the request is taken");
    let mut rows = Census::new();
    loop {
        let answer = line();
        if answer.get("done").is_some() {
            return rows;
        }
        let part = &answer["census"];
        assert!(part.is_object(), "{answer}");
        let who = match part["worker"].as_str() {
            Some("") => "host",
            Some(name) => name,
            None => panic!("{answer}"),
        };
        let counts = part["counts"]
            .as_object()
            .unwrap_or_else(|| panic!("no answer: {answer}"));
        for (table, count) in counts {
            *rows.entry(format!("{who} {table}")).or_default() += count.as_u64().expect("a count");
        }
    }
}

/// Tables: what must be exactly as before. Bytes are compared with slack.
fn tables(census: &Census) -> Census {
    let is_bytes = |name: &str| name.ends_with("_bytes");
    census
        .iter()
        .filter(|(name, count)| !is_bytes(name) && **count > 0)
        .map(|(name, count)| (name.clone(), *count))
        .collect()
}

fn bytes(census: &Census, name: &str) -> u64 {
    census.get(name).copied().unwrap_or_default() >> 20
}

struct Soaked {
    server: Server,
    done: BTreeMap<String, u64>,
    _project: Project,
}

impl Soaked {
    fn start() -> Self {
        let project = Project::of(&[
            ("worker.js", include_str!("soak/worker.js")),
            ("wrangler.jsonc", include_str!("soak/wrangler.jsonc")),
        ]);
        let server = Server::of(project.path())
            .relaxed()
            // Every error that is thrown on purpose would be a line.
            .env("FACETD_LOG", "warn,worker=off")
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            server,
            done: BTreeMap::new(),
            _project: project,
        }
    }

    /// About so many calls, from several clients, some of which go away before they have an answer.
    fn run(&mut self, calls: u64, random: &mut Random) {
        let left = AtomicU64::new(calls / CALLS_PER_REQUEST);
        let (server, left) = (&self.server, &left);
        let seeds: Vec<u64> = (0..CLIENTS).map(|_| random.next()).collect();
        let answers: Vec<Value> = thread::scope(|scope| {
            let clients: Vec<_> = seeds
                .into_iter()
                .map(|seed| scope.spawn(move || client(server, seed, left)))
                .collect();
            let join = |client: thread::ScopedJoinHandle<'_, Vec<Value>>| client.join();
            clients
                .into_iter()
                .flat_map(|client| join(client).expect("a client does not panic"))
                .collect()
        });
        let mut failed = BTreeMap::<String, u64>::new();
        for answer in &answers {
            for (to, from) in [(&mut self.done, "done"), (&mut failed, "failed")] {
                for (kind, times) in answer[from].as_object().expect("an object") {
                    *to.entry(kind.clone()).or_default() += times.as_u64().expect("a number");
                }
            }
        }
        assert_eq!(
            failed,
            BTreeMap::new(),
            "calls that should not fail\n{}",
            tail(&self.server.stderr())
        );
    }

    /// Everything is let go of, and what is left when nothing changes any more.
    fn settle(&self, wanted: Option<&Census>) -> Census {
        self.server.get("/end");
        let mut last = Census::new();
        let settled = until(SETTLE_TIME_MAX, || {
            let now = census(&self.server);
            let same = match wanted {
                Some(wanted) => tables(&now) == *wanted,
                None => tables(&now) == tables(&last),
            };
            last = now;
            same.then_some(())
        });
        if let (None, Some(wanted)) = (settled, wanted) {
            let differ = differences(wanted, &tables(&last));
            panic!("left over after {SETTLE_TIME_MAX:?}: {differ:#?}");
        }
        last
    }
}

fn differences(wanted: &Census, found: &Census) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let count = |census: &Census, name: &str| census.get(name).copied().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| count(wanted, name) != count(found, name))
        .map(|name| {
            format!(
                "{name}: {} before, {} now",
                count(wanted, name),
                count(found, name)
            )
        })
        .collect()
}

fn client(server: &Server, seed: u64, left: &AtomicU64) -> Vec<Value> {
    let mut random = Random::new(seed);
    let mut answers = Vec::new();
    let take = |left: u64| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let body = json!({ "seed": random.next(), "calls": CALLS_PER_REQUEST }).to_string();
        if random.below(10) == 0 {
            // Goes away while its calls are on their way.
            let mut gone = Connection::open(server.address());
            let head = format!(
                "POST /run HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            gone.write(head).expect("the request is taken");
            continue;
        }
        let response = server
            .send(&Request::new("POST", "/run").body(body))
            .unwrap_or_else(|error| panic!("{error}\n{}", tail(&server.stderr())));
        assert_eq!(response.status, 200, "{}", response.text());
        answers.push(response.json().expect("JSON"));
    }
    answers
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(4_000);
    let from = (from..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default();
    &text[from..]
}

#[test]
fn the_census_counts_what_is_there_and_nothing_else() {
    let soaked = Soaked::start();
    let count = |name: &str| census(&soaked.server).get(name).copied();
    assert_eq!(count("soak objects"), Some(0));
    assert_eq!(soaked.server.get("/keep").status, 200);
    for name in [
        "soak objects",
        "soak exports",
        "soak js_instances",
        "host objects",
    ] {
        assert_eq!(count(name), Some(1), "{name}");
    }
    // What was lent ended with its request; the stub of it is still counted above.
    assert_eq!(count("soak js_exported"), Some(0));
    assert!(count("soak heap_bytes").is_some_and(|bytes| bytes > 100_000));
    let left = tables(&soaked.settle(None));
    let of_objects = |name: &&String| name.ends_with("objects") || name.ends_with("exports");
    assert_eq!(left.keys().find(of_objects), None, "{left:?}");
}

#[test]
fn nothing_is_left_of_many_calls() {
    let calls = std::env::var("FACETD_SOAK_CALLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(CALLS);
    let mut random = Random::from_env(1);
    let mut soaked = Soaked::start();
    soaked.run(CALLS_FIRST, &mut random);
    let before = soaked.settle(None);
    let wanted = tables(&before);
    let pid = soaked.server.pid();
    let (rss, threads, files) = (rss_mib(pid), status_of(pid, "Threads"), open_files(pid));
    soaked.run(calls, &mut random);
    let after = soaked.settle(Some(&wanted));
    for heap in ["soak heap_bytes", "soak external_bytes"] {
        let (was, is) = (bytes(&before, heap), bytes(&after, heap));
        assert!(
            is <= was + HEAP_SLACK_MIB,
            "{heap}: {was} MiB before, {is} now"
        );
    }
    let now = (rss_mib(pid), status_of(pid, "Threads"), open_files(pid));
    let (rss_now, threads_now, files_now) = now;
    eprintln!(
        "RSS {rss} -> {rss_now} MiB, threads {threads} -> {threads_now}, files {files} -> {files_now}"
    );
    eprintln!("{wanted:?}\n{:?}", soaked.done);
    assert!(
        rss_now <= rss + RSS_SLACK_MIB,
        "RSS: {rss} MiB before, {rss_now} now"
    );
    assert!(
        threads_now <= threads + THREADS_SLACK,
        "threads: {threads} before, {threads_now} now"
    );
    assert!(
        files_now <= files + FILES_SLACK,
        "files: {files} before, {files_now} now"
    );
}
