//! What the cases amount to: failures worth reading, known ones set aside, the table of COMPAT.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::case::read_jsonc;

pub struct Outcome {
    pub case: String,
    passed: usize,
    failed: usize,
    /// Probe name and what is wrong with it. A name may come more than once: steps ask the same probes.
    failures: Vec<(String, String)>,
}

impl Outcome {
    pub fn new(case: &str) -> Self {
        Self {
            case: case.into(),
            passed: 0,
            failed: 0,
            failures: Vec::new(),
        }
    }

    pub fn check(&mut self, probe: &str, right: bool, why: impl FnOnce() -> String) {
        if right {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push((probe.into(), why()));
        }
    }

    /// `probes` of them failed for one reason: told once, counted each.
    pub fn all_failed(&mut self, probes: usize, name: &str, why: &str) {
        if probes == 0 {
            return;
        }
        self.failed += probes;
        if !self
            .failures
            .iter()
            .any(|(known, known_why)| known == name && known_why == why)
        {
            self.failures.push((name.into(), why.into()));
        }
    }

    /// One line of progress.
    pub fn line(&self) -> String {
        let word = if self.failed == 0 { "ok  " } else { "FAIL" };
        format!(
            "{word} {} ({} of {} probes)",
            self.case,
            self.passed,
            self.passed + self.failed
        )
    }
}

/// `case` or `case#probe` -> why it is known to fail.
pub struct KnownFailures(BTreeMap<String, String>);

impl KnownFailures {
    pub fn read(file: &Path) -> Self {
        let entries = read_jsonc(file);
        let entries = entries
            .as_object()
            .expect("known_failures.jsonc holds an object");
        Self(
            entries
                .iter()
                .map(|(name, reason)| {
                    let reason = reason.as_str().filter(|reason| !reason.is_empty());
                    (
                        name.clone(),
                        reason
                            .unwrap_or_else(|| panic!("{name}: a known failure needs a reason"))
                            .into(),
                    )
                })
                .collect(),
        )
    }

    /// The entry that covers a failing probe.
    fn of(&self, case: &str, probe: &str) -> Option<&str> {
        let one = format!("{case}#{probe}");
        self.0
            .get_key_value(one.as_str())
            .or_else(|| self.0.get_key_value(case))
            .map(|(name, _)| name.as_str())
    }
}

/// What makes the run fail: failures nobody listed, and listed ones that do not fail. Empty if all is well.
pub fn problems(outcomes: &[Outcome], known: &KnownFailures) -> String {
    let mut text = String::new();
    let mut used = BTreeSet::new();
    for outcome in outcomes {
        for (probe, why) in &outcome.failures {
            match known.of(&outcome.case, probe) {
                Some(name) => {
                    used.insert(name.to_string());
                }
                None => writeln!(text, "{}#{probe}\n      {why}", outcome.case)
                    .expect("a string takes any text"),
            }
        }
    }
    let ran: BTreeSet<&str> = outcomes
        .iter()
        .map(|outcome| outcome.case.as_str())
        .collect();
    for name in known.0.keys() {
        let case = name.split('#').next().unwrap_or(name);
        if ran.contains(case) && !used.contains(name) {
            writeln!(text, "{name} is listed as a known failure and does not fail: take it off known_failures.jsonc")
                .expect("a string takes any text");
        }
    }
    text
}

pub fn summary(outcomes: &[Outcome]) -> String {
    let passed: usize = outcomes.iter().map(|outcome| outcome.passed).sum();
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed).sum();
    let cases = outcomes
        .iter()
        .filter(|outcome| outcome.failed == 0)
        .count();
    format!(
        "conformance: {cases} of {} cases, {passed} of {} probes",
        outcomes.len(),
        passed + failed
    )
}

/// The text of COMPAT.md.
pub fn compat_table(outcomes: &[Outcome], known: &KnownFailures) -> String {
    let mut areas: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for outcome in outcomes {
        let area = outcome.case.split('/').next().unwrap_or(&outcome.case);
        let [cases_passed, cases, passed, probes] = areas.entry(area).or_default();
        *cases_passed += usize::from(outcome.failed == 0);
        *cases += 1;
        *passed += outcome.passed;
        *probes += outcome.passed + outcome.failed;
    }
    let mut text = String::from(
        "# Compatibility\n\nWritten by the conformance run (`FACETD_WRITE_COMPAT=1`), not by hand. A probe is one question with a\n\
         recorded answer: workerd's own, or ours where `case.jsonc` says why we differ.\n\n\
         | area | cases | probes |\n|---|---|---|\n",
    );
    let mut total = [0; 4];
    for (area, counts) in &areas {
        let [cases_passed, cases, passed, probes] = counts;
        writeln!(
            text,
            "| {area} | {cases_passed} of {cases} | {passed} of {probes} |"
        )
        .expect("a string takes any text");
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [cases_passed, cases, passed, probes] = total;
    writeln!(
        text,
        "| **all** | {cases_passed} of {cases} | {passed} of {probes} |"
    )
    .expect("a string takes any text");
    if !known.0.is_empty() {
        text.push_str("\n## Known failures\n\n");
        for (name, reason) in &known.0 {
            writeln!(text, "- `{name}`: {reason}").expect("a string takes any text");
        }
    }
    text
}
