//! Counts tests from what the test programs print, and writes the closing line that CI reads.

use std::fmt;

/// Sums over many test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Tally {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`; other lines count nothing.
    pub fn read_line(&mut self, line: &str) {
        let Some(counts) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        // The verdict ("ok." or "FAILED.") stands before the first figure, in a piece of its own or not.
        for piece in counts.split([';', '.']) {
            let mut words = piece.split_whitespace();
            let (Some(figure), Some(name)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(figure) = figure.parse::<u64>() else {
                continue;
            };
            match name {
                "passed" => self.passed += figure,
                "failed" => self.failed += figure,
                "ignored" => self.ignored += figure,
                _ => {}
            }
        }
    }

    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    pub fn count(&mut self, ok: bool) {
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// All that ran passed, and something ran: a filter that fits nothing has shown nothing.
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read_line(line));
        tally
    }

    #[test]
    fn result_lines_of_several_programs_are_summed() {
        let sum = tally(&[
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.25s",
        ]);
        assert_eq!(
            sum,
            Tally {
                passed: 13,
                failed: 2,
                ignored: 1
            },
            "only the three figures we report are read"
        );
        assert_eq!(
            sum.to_string(),
            "13 passed, 2 failed",
            "the closing line is the plain one"
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        let sum = tally(&[
            "12 passed, 3 failed",
            "ok. 3 passed; 0 failed",
            "test a::b ... ok",
            "",
        ]);
        assert_eq!(
            sum,
            Tally::default(),
            "what a test prints itself is not a result line"
        );
    }

    #[test]
    fn a_run_of_nothing_is_not_good() {
        assert!(!Tally::default().is_good(), "no test ran");
        assert!(
            Tally {
                passed: 1,
                ..Tally::default()
            }
            .is_good(),
            "one ran and passed"
        );
        assert!(
            !Tally {
                passed: 1,
                failed: 1,
                ignored: 0
            }
            .is_good(),
            "one failed"
        );
    }
}
