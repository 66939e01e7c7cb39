//! Runs the `scheduled` handlers of the project's workers when their cron triggers say so.
//!
//! Owns: when each trigger is due next, and one timer for all. Called by: `host`, at the start and at the end.
//! Always true: what was missed, because the process did not run or slept, is not made up for; a run does not wait for
//! the one before it; a clock that is set back a little (as clocks are) repeats nothing.

use crate::host::ask;
use crate::worker::Worker;
use facetd_config::Cron;
use facetd_core::{Answer, Body, EventKind, Failure, Limits, Outcome, ScheduledEvent, Target};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

/// The timer looks at the wall clock at least this often: it may have been set, or the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Who is later than this has missed it.
const LATE_MS_MAX: i64 = 60_000;
/// A clock set back by more than this means that times come again.
const BACK_MS_MAX: i64 = 3_600_000;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// `ok` or `exception`.
    pub outcome: String,
    /// The handler has called `noRetry()`.
    pub no_retry: bool,
}

impl Scheduled {
    fn of(outcome: Outcome) -> Result<Self, Failure> {
        let Answer::Response(response) = outcome? else {
            return Err(Failure::internal());
        };
        let Body::Bytes(json) = response.body else {
            return Err(Failure::internal());
        };
        // Made by JS that user code shares an isolate with: anything may come.
        let value: serde_json::Value =
            serde_json::from_slice(&json).map_err(|_| Failure::internal())?;
        Ok(Self {
            outcome: if value["outcome"] == "ok" {
                "ok".to_owned()
            } else {
                "exception".to_owned()
            },
            no_retry: value["noRetry"] == true,
        })
    }
}

/// Runs the `scheduled` handler of `target` once, and waits for all that it started.
///
/// # Errors
/// It could not run, or a limit ended it. What it threw itself is an outcome.
pub async fn run_scheduled(
    target: &dyn Target,
    cron: String,
    time_ms: f64,
) -> Result<Scheduled, Failure> {
    let event = EventKind::Scheduled(ScheduledEvent { time_ms, cron });
    Scheduled::of(ask(target, event).await)
}

/// Milliseconds since 1970, as the wall clock has it.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

struct Trigger {
    cron: Cron,
    /// Which worker's.
    owner: usize,
    next_ms: Option<i64>,
}

/// All triggers, and what they are waiting for. Reads no clock.
struct Triggers {
    list: Vec<Trigger>,
    looked_ms: i64,
}

impl Triggers {
    /// Nothing before `now_ms` is due any more.
    fn new(crons: impl IntoIterator<Item = (usize, Cron)>, now_ms: i64) -> Self {
        let trigger = |(owner, cron): (usize, Cron)| Trigger {
            next_ms: cron.next_after(now_ms),
            cron,
            owner,
        };
        Self {
            list: crons.into_iter().map(trigger).collect(),
            looked_ms: now_ms,
        }
    }

    /// What is due at `now_ms`: whose, which, and for what time.
    fn take_due(&mut self, now_ms: i64) -> Vec<(usize, String, i64)> {
        let was_set_back = now_ms < self.looked_ms.saturating_sub(BACK_MS_MAX);
        if was_set_back || now_ms > self.looked_ms {
            self.looked_ms = now_ms;
        }
        let mut due = Vec::new();
        for trigger in &mut self.list {
            if was_set_back {
                trigger.next_ms = trigger.cron.next_after(now_ms);
            }
            let Some(mut time_ms) = trigger.next_ms else {
                continue;
            };
            if time_ms < now_ms.saturating_sub(LATE_MS_MAX) {
                // Missed, but it may be due again by now.
                trigger.next_ms = trigger.cron.next_after(now_ms - LATE_MS_MAX);
                let Some(again_ms) = trigger.next_ms else {
                    continue;
                };
                time_ms = again_ms;
            }
            if time_ms <= now_ms {
                trigger.next_ms = trigger.cron.next_after(time_ms);
                due.push((trigger.owner, trigger.cron.to_string(), time_ms));
            }
        }
        due
    }

    /// How long nothing is due, unless the clock is set meanwhile.
    fn wait(&self, now_ms: i64) -> Duration {
        let next = self.list.iter().filter_map(|trigger| trigger.next_ms).min();
        let left = next.map_or(i64::MAX, |next| next.saturating_sub(now_ms).max(1));
        Duration::from_millis(left.unsigned_abs()).min(LOOK_EVERY)
    }
}

/// Runs the triggers of `workers` until the task is aborted. `None`: there are none.
pub(crate) fn start(
    workers: &[(Arc<Worker>, Vec<Cron>)],
    runtime: &tokio::runtime::Handle,
) -> Option<tokio::task::AbortHandle> {
    if workers.iter().all(|(_, crons)| crons.is_empty()) {
        return None;
    }
    let owners: Vec<Weak<Worker>> = workers.iter().map(|(w, _)| Arc::downgrade(w)).collect();
    let crons = workers.iter().enumerate();
    let crons = crons.flat_map(|(owner, (_, crons))| crons.iter().map(move |c| (owner, c.clone())));
    let triggers = Triggers::new(crons, now_ms());
    let task = runtime.spawn(live(triggers, owners));
    Some(task.abort_handle())
}

async fn live(mut triggers: Triggers, owners: Vec<Weak<Worker>>) {
    loop {
        for (owner, cron, time_ms) in triggers.take_due(now_ms()) {
            if let Some(worker) = owners[owner].upgrade() {
                tokio::spawn(run(worker, cron, time_ms));
            }
        }
        tokio::time::sleep(triggers.wait(now_ms())).await;
    }
}

/// One run. What it throws is in the worker's log; here is only that it happened.
async fn run(worker: Arc<Worker>, cron: String, time_ms: i64) {
    let name = worker.name.clone();
    let target = worker.stub(None, None, Limits::default());
    drop(worker);
    match run_scheduled(target.as_ref(), cron.clone(), time_ms as f64).await {
        Ok(done) => {
            tracing::debug!(
                worker = name,
                cron,
                outcome = done.outcome,
                "a cron trigger ran"
            )
        }
        Err(Failure::Host(error)) => {
            tracing::warn!(worker = name, cron, error = %error.message, "a cron trigger failed");
        }
        Err(Failure::Thrown { text, .. }) => {
            tracing::warn!(worker = name, cron, error = %text, "a cron trigger failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    /// 2026-11-24 10:00 UTC.
    const TEN: i64 = 1_795_514_400_000;

    fn triggers(crons: &[&str], now_ms: i64) -> Triggers {
        let parsed = crons.iter().map(|cron| Cron::parse(cron).expect("valid"));
        Triggers::new(parsed.enumerate(), now_ms)
    }

    fn due(triggers: &mut Triggers, now_ms: i64) -> Vec<(usize, i64)> {
        let due = triggers.take_due(now_ms).into_iter();
        due.map(|(owner, _, time_ms)| (owner, (time_ms - TEN) / MINUTE))
            .collect()
    }

    #[test]
    fn each_runs_once_at_its_time() {
        let mut triggers = triggers(&["* * * * *", "2 * * * *"], TEN);
        assert_eq!(
            due(&mut triggers, TEN),
            [],
            "the minute of the start has begun"
        );
        assert_eq!(triggers.wait(TEN), LOOK_EVERY);
        assert_eq!(triggers.wait(TEN + MINUTE - 20), Duration::from_millis(20));
        assert_eq!(due(&mut triggers, TEN + MINUTE - 1), [], "never early");
        assert_eq!(due(&mut triggers, TEN + MINUTE), [(0, 1)]);
        assert_eq!(due(&mut triggers, TEN + MINUTE + 1), [], "and once");
        assert_eq!(due(&mut triggers, TEN + 2 * MINUTE + 300), [(0, 2), (1, 2)]);
    }

    #[test]
    fn what_was_missed_is_not_made_up_for() {
        let mut triggers = triggers(&["* * * * *", "5 * * * *"], TEN);
        let later = TEN + 30 * MINUTE + 10;
        assert_eq!(
            due(&mut triggers, later),
            [(0, 30)],
            "the machine has slept"
        );
        assert_eq!(due(&mut triggers, later + MINUTE), [(0, 31)]);
        assert_eq!(due(&mut triggers, TEN + 65 * MINUTE), [(0, 65), (1, 65)]);
    }

    #[test]
    fn a_clock_that_steps_back_repeats_nothing_and_one_that_is_set_back_goes_on() {
        let mut triggers = triggers(&["*/10 * * * *"], TEN);
        assert_eq!(due(&mut triggers, TEN + 10 * MINUTE), [(0, 10)]);
        assert_eq!(due(&mut triggers, TEN + 9 * MINUTE), [], "a step back");
        assert_eq!(
            due(&mut triggers, TEN + 10 * MINUTE),
            [],
            "the same ten minutes again"
        );
        assert_eq!(due(&mut triggers, TEN + 20 * MINUTE), [(0, 20)]);
        let back = TEN - 24 * 60 * MINUTE;
        assert_eq!(due(&mut triggers, back), [], "yesterday");
        assert_eq!(
            due(&mut triggers, back + 10 * MINUTE),
            [(0, 10 - 24 * 60)],
            "not silent for a day"
        );
    }

    #[test]
    fn an_answer_that_is_not_ours_is_a_failure_and_nothing_worse() {
        let response = |json: &str| {
            Ok(Answer::Response(facetd_core::FetchResponse {
                status: 200,
                status_text: String::new(),
                headers: Vec::new(),
                body: Body::Bytes(json.to_owned().into()),
                socket: None,
            }))
        };
        let ok = Scheduled::of(response(r#"{"outcome":"ok","noRetry":true}"#)).expect("ours");
        assert_eq!((ok.outcome.as_str(), ok.no_retry), ("ok", true));
        let odd = Scheduled::of(response(r#"{"outcome":[1],"noRetry":5}"#)).expect("JSON");
        assert_eq!((odd.outcome.as_str(), odd.no_retry), ("exception", false));
        assert!(Scheduled::of(response("<html>")).is_err());
    }
}
