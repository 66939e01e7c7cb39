//! Compatibility dates and flags: which behaviour a worker asked for.
//!
//! Used for the configured workers and, by the loader, for dynamic ones; the error texts are
//! workerd's. Owns: validation and the answer to "is this flag on?"; the table is in `flags`.
//! Strategy: facetd implements the newest behaviour and honours older ones where it says so, hence
//! most flags are accepted without effect.

use crate::flags::{FLAGS, Flag};

/// The newest date this build supports.
pub const SUPPORTED_DATE: &str = "2026-11-24";

/// A validated pair of date and flags; make one with [`Compatibility::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compatibility {
    /// `yyyy-mm-dd`, never later than [`SUPPORTED_DATE`].
    pub date: String,
    /// As given: known, free of repetitions and contradictions.
    pub flags: Vec<String>,
}

/// The texts are workerd's: JS code sees them as the message of an `Error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompatibilityError {
    #[error("Invalid compatibility date: {0}")]
    MalformedDate(String),
    #[error(
        "This Worker requires compatibility date \"{0}\", but the newest date supported by this server binary is \"{SUPPORTED_DATE}\"."
    )]
    DateTooNew(String),
    #[error("Compatibility flag specified multiple times: {0}")]
    RepeatedFlag(String),
    #[error("Compatibility flags are mutually contradictory: {on} vs {off}")]
    Contradiction { on: &'static str, off: &'static str },
    #[error(
        "The compatibility flag {0} is experimental and may break or be removed in a future version of workerd. To use this flag, you must pass --experimental on the command line."
    )]
    Experimental(&'static str),
    #[error("No such compatibility flag: {0}")]
    UnknownFlag(String),
}

impl Compatibility {
    /// Validates what a worker asks for. A flag that its date already turns on is not an error.
    ///
    /// A missing date is the caller's affair: the loader passes `"undefined"` and gets workerd's
    /// error, the config uses [`Compatibility::newest`] and warns.
    ///
    /// # Errors
    /// The first fault found, in the order: date, repeated, contradictory or experimental, unknown.
    pub fn resolve(
        date: &str,
        flags: &[String],
        allow_experimental: bool,
    ) -> Result<Self, CompatibilityError> {
        if !is_calendar_date(date) {
            return Err(CompatibilityError::MalformedDate(date.to_owned()));
        }
        if date > SUPPORTED_DATE {
            return Err(CompatibilityError::DateTooNew(date.to_owned()));
        }
        for (at, flag) in flags.iter().enumerate() {
            if flags[..at].contains(flag) {
                return Err(CompatibilityError::RepeatedFlag(flag.clone()));
            }
        }
        let given = |name: &str| flags.iter().any(|flag| flag == name);
        for row in FLAGS {
            if !given(row.on) {
                continue;
            }
            if let Some(off) = row.off.filter(|off| given(off)) {
                return Err(CompatibilityError::Contradiction { on: row.on, off });
            }
            if row.experimental && !allow_experimental {
                return Err(CompatibilityError::Experimental(row.on));
            }
        }
        if let Some(unknown) = flags.iter().find(|flag| find(flag).is_none()) {
            return Err(CompatibilityError::UnknownFlag(unknown.clone()));
        }
        Ok(Self {
            date: date.to_owned(),
            flags: flags.to_vec(),
        })
    }

    /// Everything this build can do: the newest date, no flags.
    pub fn newest() -> Self {
        Self {
            date: SUPPORTED_DATE.to_owned(),
            flags: Vec::new(),
        }
    }

    /// Whether `flag` is in force: named, on by the date, or implied by another flag. The opposite
    /// spelling answers the opposite: `enable("no_rpc")` is `!enable("rpc")`. Unknown names are off.
    pub fn enable(&self, flag: &str) -> bool {
        match find(flag) {
            Some(row) if row.on == flag => self.is_on(row),
            Some(row) => !self.is_on(row),
            None => false,
        }
    }

    fn is_on(&self, row: &Flag) -> bool {
        let given = |name: &str| self.flags.iter().any(|flag| flag == name);
        if row.off.is_some_and(given) {
            return false;
        }
        given(row.on)
            || row.since.is_some_and(|since| self.date.as_str() >= since)
            || row.implied_by.is_some_and(|(causes, since)| {
                self.date.as_str() >= since && causes.iter().any(|c| self.enable(c))
            })
    }
}

fn find(name: &str) -> Option<&'static Flag> {
    FLAGS
        .iter()
        .find(|row| row.on == name || row.off == Some(name))
}

/// `yyyy-mm-dd` of a day that exists. Dates of this shape compare as strings.
fn is_calendar_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, b)| match at {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    if !shape {
        return false;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range]
            .iter()
            .fold(0u32, |n, b| n * 10 + u32::from(b - b'0'))
    };
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(date: &str, flags: &[&str]) -> Result<Compatibility, String> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Compatibility::resolve(date, &flags, false).map_err(|error| error.to_string())
    }

    #[test]
    fn error_texts_are_those_of_workerd() {
        for (date, flags, text) in [
            (
                "undefined",
                &[][..],
                "Invalid compatibility date: undefined",
            ),
            ("banana", &[], "Invalid compatibility date: banana"),
            ("2024-13-45", &[], "Invalid compatibility date: 2024-13-45"),
            ("2025-02-29", &[], "Invalid compatibility date: 2025-02-29"),
            ("2025-2-1", &[], "Invalid compatibility date: 2025-2-1"),
            (
                "2030-01-01",
                &[],
                "This Worker requires compatibility date \"2030-01-01\", but the newest date supported by this server binary is \"2026-11-24\".",
            ),
            (
                "2026-01-01",
                &["nope_flag"],
                "No such compatibility flag: nope_flag",
            ),
            (
                "2026-01-01",
                &["nodejs_compat", "nodejs_compat"],
                "Compatibility flag specified multiple times: nodejs_compat",
            ),
            (
                "2026-01-01",
                &["no_global_navigator", "global_navigator"],
                "Compatibility flags are mutually contradictory: global_navigator vs no_global_navigator",
            ),
            (
                "2026-01-01",
                &["experimental"],
                "The compatibility flag experimental is experimental and may break or be removed in a future version of workerd. To use this flag, you must pass --experimental on the command line.",
            ),
        ] {
            assert_eq!(
                resolve(date, flags),
                Err(text.to_owned()),
                "{date} {flags:?}"
            );
        }
    }

    #[test]
    fn experimental_flags_pass_where_they_are_allowed() {
        let flags = ["experimental".to_owned()];
        let compatibility = Compatibility::resolve("2026-01-01", &flags, true).unwrap();
        assert!(compatibility.enable("experimental"));
    }

    #[test]
    fn dates_turn_flags_on_and_opposite_spellings_turn_them_off() {
        let on = |date, flags: &[&str], flag| resolve(date, flags).unwrap().enable(flag);
        assert!(!on("2024-04-02", &[], "rpc"));
        assert!(on("2024-04-03", &[], "rpc"), "the date itself counts");
        assert!(!on("2024-04-03", &["no_rpc"], "rpc"));
        assert!(on("2024-04-03", &["no_rpc"], "no_rpc"));
        assert!(on(
            "2022-01-01",
            &["enable_ctx_exports"],
            "enable_ctx_exports"
        ));
        assert!(!on(
            "2026-08-04",
            &["delete_all_preserves_alarm"],
            "delete_all_deletes_alarm"
        ));
        assert!(
            !on(SUPPORTED_DATE, &[], "temporal"),
            "its date has not come"
        );
        assert!(!on(SUPPORTED_DATE, &[], "nope_flag"));
    }

    #[test]
    fn a_flag_implied_by_the_date_may_be_named_too() {
        assert!(
            resolve("2026-08-04", &["nodejs_compat"])
                .unwrap()
                .enable("nodejs_compat")
        );
    }

    #[test]
    fn flags_imply_others_from_their_date() {
        let on = |date, flags: &[&str], flag| resolve(date, flags).unwrap().enable(flag);
        assert!(!on("2024-09-22", &["nodejs_compat"], "nodejs_compat_v2"));
        assert!(on("2024-09-23", &["nodejs_compat"], "nodejs_compat_v2"));
        assert!(!on(
            "2024-09-23",
            &["nodejs_compat", "no_nodejs_compat_v2"],
            "nodejs_compat_v2"
        ));
        assert!(
            on("2026-08-04", &[], "enable_nodejs_http_modules"),
            "implied by a flag that is on by date"
        );
    }

    #[test]
    fn the_dates_of_the_specification_hold() {
        for (date, flag) in [
            ("2021-11-10", "durable_object_fetch_requires_full_url"),
            ("2022-03-21", "global_navigator"),
            ("2024-10-14", "handle_cross_request_promise_resolution"),
            ("2025-06-01", "allow_eval_during_startup"),
            ("2025-11-17", "enable_ctx_exports"),
            ("2026-01-20", "rpc_params_dup_stubs"),
            ("2026-02-24", "delete_all_deletes_alarm"),
            ("2026-03-17", "websocket_standard_binary_type"),
            ("2026-04-07", "web_socket_auto_reply_to_close"),
            ("2026-04-21", "enhanced_error_serialization"),
            ("2026-08-04", "nodejs_compat"),
        ] {
            assert_eq!(find(flag).and_then(|row| row.since), Some(date), "{flag}");
        }
    }

    #[test]
    fn the_table_is_consistent() {
        let mut names: Vec<&str> = FLAGS
            .iter()
            .flat_map(|row| std::iter::once(row.on).chain(row.off))
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "no name occurs twice");
        for row in FLAGS {
            for date in row
                .since
                .into_iter()
                .chain(row.implied_by.map(|(_, date)| date))
            {
                assert!(is_calendar_date(date), "{}", row.on);
            }
            for cause in row.implied_by.map_or(&[][..], |(causes, _)| causes) {
                assert!(
                    FLAGS.iter().any(|other| other.on == *cause),
                    "{} is implied by {cause}",
                    row.on
                );
            }
        }
        assert!(is_calendar_date(SUPPORTED_DATE));
        let on = FLAGS
            .iter()
            .filter(|row| Compatibility::newest().enable(row.on))
            .count();
        assert!(
            on > 0,
            "and no flag implies itself, or this would not return"
        );
    }
}
