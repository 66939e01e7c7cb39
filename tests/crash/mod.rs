//! Killed at any moment: every answered write is there, and no write is there in part.
//!
//! `ledger` is what is known of the data, `load` the clients and the kills, `worker.js` what is killed; `stopping`
//! is about ends that were asked for. `FACETD_SEED` and `FACETD_KILLS` (per test) change the schedule.

mod ledger;
mod load;
mod stopping;

use load::{Damage, Load, Writes};

/// Together 200, which take about a minute on two cores.
const KILLS_FSYNC: usize = 120;
const KILLS_RELAXED: usize = 80;
/// A broken worker is caught long before; its test ends there.
const KILLS_BROKEN_MAX: usize = 60;

fn kills(default: usize) -> usize {
    let text = std::env::var("FACETD_KILLS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[track_caller]
fn survives(durability: &'static str, kills: usize, seed: u64) {
    let load = Load {
        durability,
        writes: Writes::Sound,
        seed,
    };
    let report = match load.run(kills) {
        Ok(report) => report,
        Err(Damage { round, what }) => panic!("{durability}, kill {round}: {what}"),
    };
    eprintln!("{durability}: {report:?}");
    assert!(report.answers >= kills, "every life answered: {report:?}");
    assert!(
        report.came_back > 0 || kills < KILLS_RELAXED,
        "some object left memory and came back: {report:?}"
    );
}

#[test]
fn every_answered_write_survives_kill_9() {
    survives("fsync", kills(KILLS_FSYNC), 20_260_901);
}

#[test]
fn relaxed_writes_survive_kill_9_too() {
    survives("relaxed", kills(KILLS_RELAXED), 20_260_902);
}

#[track_caller]
fn is_caught(writes: Writes, seed: u64, complaint: &str) {
    let load = Load {
        durability: "fsync",
        writes,
        seed,
    };
    let Err(Damage { round, what }) = load.run(KILLS_BROKEN_MAX) else {
        panic!("{writes:?}: {KILLS_BROKEN_MAX} kills, and nobody noticed");
    };
    eprintln!("{writes:?} is caught after kill {round}: {what}");
    assert!(
        what.contains(complaint),
        "for the right reason, not: {what}"
    );
}

#[test]
fn a_worker_that_answers_before_it_writes_is_caught() {
    is_caught(Writes::AnswersFirst, 20_260_903, "was answered");
}

#[test]
fn a_worker_that_writes_in_two_turns_is_caught() {
    is_caught(Writes::InTwoTurns, 20_260_904, "in part");
}
