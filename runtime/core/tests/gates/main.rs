//! Thousands of schedules of objects that write, call each other, lock themselves and break, with the real gates
//! and without V8, SQLite, threads or a clock.
//!
//! `world` is the simulation and what it checks; `flaws` are gates that are broken on purpose, which the checks have to
//! catch. A seed gives the same schedule again: `FACETD_SEED=N cargo test -p facetd_core --test gates`.

mod flaws;
mod world;

use flaws::Flaw;
use world::{Seen, World};

const SCHEDULES: u64 = 20_000;
/// A flaw that only one schedule in so many shows would be caught too rarely to rely on.
const SCHEDULES_PER_FLAW: u64 = 300;

fn seeds(count: u64) -> std::ops::Range<u64> {
    let text = std::env::var("FACETD_SEED").ok();
    let one: Option<u64> = text.and_then(|text| text.parse().ok());
    one.map_or(1..count + 1, |seed| seed..seed + 1)
}

#[test]
fn no_schedule_breaks_a_promise_of_the_gates() {
    let mut all = Seen::default();
    for seed in seeds(SCHEDULES) {
        match World::new(seed, None).run() {
            Ok(seen) => all.add(&seen),
            Err(broken) => panic!("FACETD_SEED={seed}: {broken}"),
        }
    }
    eprintln!("{all:?}");
    if std::env::var_os("FACETD_SEED").is_none() {
        all.assert_everything_happened();
    }
}

fn assert_caught(flaw: Flaw, complaint: &str) {
    let caught = (1..=SCHEDULES_PER_FLAW).find_map(|seed| World::new(seed, Some(flaw)).run().err());
    let caught = caught.unwrap_or_else(|| panic!("{flaw:?}: nobody noticed"));
    assert!(
        caught.contains(complaint),
        "{flaw:?}: for the right reason, not: {caught}"
    );
}

#[test]
fn a_gate_that_opens_before_the_write_is_durable_is_caught() {
    assert_caught(Flaw::OpensEarly, "before");
}

#[test]
fn messages_that_overtake_are_caught() {
    assert_caught(Flaw::Overtakes, "overtook");
}

#[test]
fn a_reset_that_forgets_held_messages_is_caught() {
    assert_caught(Flaw::ForgetsHeld, "never told");
}

#[test]
fn a_reset_that_lets_held_messages_out_is_caught() {
    assert_caught(Flaw::LetsHeldOut, "after its life was over");
}

#[test]
fn a_message_delayed_by_later_writes_is_caught() {
    assert_caught(Flaw::WaitsForLaterWrites, "is held, though");
}

#[test]
fn an_event_let_into_a_foreign_section_is_caught() {
    assert_caught(Flaw::LetsIn, "section");
}

#[test]
fn events_let_in_newest_first_are_caught() {
    assert_caught(Flaw::NewestFirst, "overtook");
}

#[test]
fn a_section_that_wakes_nobody_is_caught() {
    assert_caught(Flaw::WakesNobody, "never told");
}
