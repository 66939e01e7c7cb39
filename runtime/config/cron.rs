//! Cron expressions, as the platform writes them: five fields, in UTC.
//!
//! Owns: parsing, and which minute comes next. Never reads a clock. Days of the week count from 1 (Sunday) to 7, as in
//! Cloudflare's triggers and unlike in `crontab`. If both kinds of days are restricted, either is enough.
//! Not a crate: those that know `L`, `W` and `#` count Sunday as 0.

use std::fmt;

/// A day has this many minutes.
const DAY_MINUTES: i64 = 24 * 60;
const MINUTE_MS: i64 = 60_000;
/// Every expression that ever matches does so within this: February 29th may be 8 years off, around 2100.
const YEARS_MAX: i64 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldKind {
    name: &'static str,
    first: u8,
    last: u8,
    /// Three letters each, from `first`.
    names: &'static [&'static str],
}

const MINUTE: FieldKind = FieldKind {
    name: "minute",
    first: 0,
    last: 59,
    names: &[],
};
const HOUR: FieldKind = FieldKind {
    name: "hour",
    first: 0,
    last: 23,
    names: &[],
};
const DAY: FieldKind = FieldKind {
    name: "day of month",
    first: 1,
    last: 31,
    names: &[],
};
const MONTH: FieldKind = FieldKind {
    name: "month",
    first: 1,
    last: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAY: FieldKind = FieldKind {
    name: "day of week",
    first: 1,
    last: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error(
        "a cron expression has five fields (minute, hour, day of month, month, day of week), found {0}"
    )]
    FieldCount(usize),
    #[error("{field}: {problem}")]
    Field {
        field: &'static str,
        problem: String,
    },
    #[error("it never comes true")]
    Never,
}

/// A day of the month that depends on the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpecialDay {
    /// `L`, `L-3`: so many days before the last one.
    FromLast(u8),
    /// `LW`: the last Monday to Friday.
    LastWorkday,
    /// `15W`: the Monday to Friday nearest to that day, in the same month.
    NearestWorkday(u8),
}

/// A day of the week that depends on the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpecialWeekday {
    /// `6L`: the last Friday.
    Last(u8),
    /// `6#2`: the second Friday.
    Nth(u8, u8),
}

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// A bit per value.
    minutes: u64,
    hours: u64,
    months: u64,
    days: u64,
    special_days: Vec<SpecialDay>,
    weekdays: u64,
    special_weekdays: Vec<SpecialWeekday>,
    any_day: bool,
    any_weekday: bool,
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// Reads `minute hour day-of-month month day-of-week`.
    ///
    /// # Errors
    /// Which field is wrong, and why; or that there is no such day.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::FieldCount(fields.len()));
        };
        let mut cron = Self {
            text: text.to_owned(),
            minutes: plain_field(MINUTE, minute)?,
            hours: plain_field(HOUR, hour)?,
            months: plain_field(MONTH, month)?,
            days: 0,
            special_days: Vec::new(),
            weekdays: 0,
            special_weekdays: Vec::new(),
            any_day: matches!(day, "*" | "?"),
            any_weekday: matches!(weekday, "*" | "?"),
        };
        for item in day.split(',') {
            match special_day(item)? {
                Some(special) => cron.special_days.push(special),
                None => cron.days |= item_of(DAY, item)?,
            }
        }
        for item in weekday.split(',') {
            match special_weekday(item)? {
                // Alone it is the last day of the week.
                _ if item.eq_ignore_ascii_case("L") => cron.weekdays |= 1 << WEEKDAY.last,
                Some(special) => cron.special_weekdays.push(special),
                None => cron.weekdays |= item_of(WEEKDAY, item)?,
            }
        }
        // From a fixed day, so that what is accepted does not depend on when it is read.
        match cron.next_after(0) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never),
        }
    }

    /// The first matching minute after `ms`, in milliseconds since 1970.
    pub fn next_after(&self, ms: i64) -> Option<i64> {
        let first = ms.div_euclid(MINUTE_MS).checked_add(1)?;
        let mut date = Date::of_day(first.div_euclid(DAY_MINUTES));
        let mut minute_of_day = first.rem_euclid(DAY_MINUTES);
        let last_year = date.year + YEARS_MAX;
        while date.year < last_year {
            if self.months >> date.month & 1 == 0 {
                date = date.next_month();
                minute_of_day = 0;
                continue;
            }
            if self.matches_day(&date)
                && let Some(minute) = self.minute_from(minute_of_day)
            {
                return Some((date.day_number * DAY_MINUTES + minute) * MINUTE_MS);
            }
            date = date.next_day();
            minute_of_day = 0;
        }
        None
    }

    /// The first matching minute of a day, not before `from`.
    fn minute_from(&self, from: i64) -> Option<i64> {
        (from / 60..24)
            .filter(|hour| self.hours >> hour & 1 == 1)
            .find_map(|hour| {
                let first = (from - hour * 60).max(0);
                let minute = (first..60).find(|minute| self.minutes >> minute & 1 == 1)?;
                Some(hour * 60 + minute)
            })
    }

    fn matches_day(&self, date: &Date) -> bool {
        match (self.any_day, self.any_weekday) {
            (true, true) => true,
            (false, true) => self.matches_day_of_month(date),
            (true, false) => self.matches_weekday(date),
            (false, false) => self.matches_day_of_month(date) || self.matches_weekday(date),
        }
    }

    fn matches_day_of_month(&self, date: &Date) -> bool {
        let length = date.month_length();
        self.days >> date.day & 1 == 1
            || self.special_days.iter().any(|special| {
                let wanted = match *special {
                    SpecialDay::FromLast(before) => length - i64::from(before),
                    SpecialDay::LastWorkday => date.nearest_workday(length),
                    SpecialDay::NearestWorkday(day) if i64::from(day) > length => return false,
                    SpecialDay::NearestWorkday(day) => date.nearest_workday(i64::from(day)),
                };
                date.day == wanted
            })
    }

    fn matches_weekday(&self, date: &Date) -> bool {
        let weekday = date.weekday_of(date.day);
        self.weekdays >> weekday & 1 == 1
            || self.special_weekdays.iter().any(|special| match *special {
                SpecialWeekday::Last(wanted) => {
                    weekday == i64::from(wanted) && date.day + 7 > date.month_length()
                }
                SpecialWeekday::Nth(wanted, nth) => {
                    weekday == i64::from(wanted) && (date.day - 1) / 7 + 1 == i64::from(nth)
                }
            })
    }
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
    /// Since 1970-01-01, which was a Thursday.
    day_number: i64,
}

impl Date {
    /// Counts in cycles of 400 years that begin in March, so that the leap day is the last of its year.
    fn of_day(day_number: i64) -> Self {
        const CYCLE_DAYS: i64 = 146_097;
        /// From 0000-03-01 to 1970-01-01.
        const BEFORE_1970: i64 = 719_468;
        let since_march = day_number + BEFORE_1970;
        let cycle = since_march.div_euclid(CYCLE_DAYS);
        let of_cycle = since_march.rem_euclid(CYCLE_DAYS);
        let year_of_cycle =
            (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
        let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
        Self {
            year,
            month,
            day,
            day_number,
        }
    }

    fn month_length(&self) -> i64 {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        match self.month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn next_day(&self) -> Self {
        if self.day < self.month_length() {
            return Self {
                day: self.day + 1,
                day_number: self.day_number + 1,
                ..*self
            };
        }
        self.next_month()
    }

    fn next_month(&self) -> Self {
        let december = self.month == 12;
        Self {
            year: self.year + i64::from(december),
            month: if december { 1 } else { self.month + 1 },
            day: 1,
            day_number: self.day_number + self.month_length() - self.day + 1,
        }
    }

    /// 1 (Sunday) to 7, of a day of this month.
    fn weekday_of(&self, day: i64) -> i64 {
        (self.day_number + day - self.day + 4).rem_euclid(7) + 1
    }

    /// The Monday to Friday nearest to `day`, without leaving the month.
    fn nearest_workday(&self, day: i64) -> i64 {
        match self.weekday_of(day) {
            7 if day == 1 => 3,
            7 => day - 1,
            1 if day == self.month_length() => day - 2,
            1 => day + 1,
            _ => day,
        }
    }
}

// ---- parsing

fn wrong(kind: FieldKind, problem: String) -> CronError {
    CronError::Field {
        field: kind.name,
        problem,
    }
}

fn plain_field(kind: FieldKind, field: &str) -> Result<u64, CronError> {
    field
        .split(',')
        .try_fold(0, |bits, item| Ok(bits | item_of(kind, item)?))
}

/// One value, by number or name.
fn value(kind: FieldKind, text: &str) -> Result<u8, CronError> {
    let named = kind
        .names
        .iter()
        .position(|name| text.eq_ignore_ascii_case(name));
    let number = match named {
        Some(at) => u8::try_from(at).ok().map(|at| at + kind.first),
        // `parse` alone would take a sign.
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    };
    number
        .filter(|number| (kind.first..=kind.last).contains(number))
        .ok_or_else(|| {
            let names = match kind.names {
                [first, .., last] => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            let (first, last) = (kind.first, kind.last);
            wrong(
                kind,
                format!("\"{text}\" is not a value: expected {first} to {last}{names}"),
            )
        })
}

/// `*`, `5`, `1-5`, each also with a step: `*/2`, `5/10`, `1-5/2`.
fn item_of(kind: FieldKind, item: &str) -> Result<u64, CronError> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let step = match step {
        None => 1,
        Some(text) => {
            let number = text.parse::<u8>().ok().filter(|step| *step >= 1);
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            number.filter(|_| digits).ok_or_else(|| {
                wrong(
                    kind,
                    format!("\"/{text}\" is not a step: expected a number from 1"),
                )
            })?
        }
    };
    let (first, last) = match range.split_once('-') {
        _ if matches!(range, "*" | "?") => (kind.first, kind.last),
        Some((first, last)) => (value(kind, first)?, value(kind, last)?),
        None if item.contains('/') => (value(kind, range)?, kind.last),
        None => {
            let only = value(kind, range)?;
            (only, only)
        }
    };
    if first > last {
        return Err(wrong(
            kind,
            format!("the range \"{range}\" goes backwards: write two, with a comma between them"),
        ));
    }
    let values = (first..=last).step_by(usize::from(step));
    Ok(values.fold(0, |bits, value| bits | 1 << value))
}

fn special_day(item: &str) -> Result<Option<SpecialDay>, CronError> {
    let upper = item.to_ascii_uppercase();
    if upper == "L" {
        return Ok(Some(SpecialDay::FromLast(0)));
    }
    if upper == "LW" || upper == "WL" {
        return Ok(Some(SpecialDay::LastWorkday));
    }
    if let Some(before) = upper.strip_prefix("L-") {
        let before = value(DAY, before)?;
        if before > 30 {
            let problem = format!("\"{item}\" is before every month's first day");
            return Err(wrong(DAY, problem));
        }
        return Ok(Some(SpecialDay::FromLast(before)));
    }
    match upper.strip_suffix('W') {
        Some(day) => Ok(Some(SpecialDay::NearestWorkday(value(DAY, day)?))),
        None => Ok(None),
    }
}

fn special_weekday(item: &str) -> Result<Option<SpecialWeekday>, CronError> {
    if let Some((weekday, nth)) = item.split_once('#') {
        let nth = nth
            .parse::<u8>()
            .ok()
            .filter(|nth| (1..=5).contains(nth) && item.ends_with(|c: char| c.is_ascii_digit()))
            .ok_or_else(|| {
                let problem = format!("\"{item}\" names no week of the month: expected #1 to #5");
                wrong(WEEKDAY, problem)
            })?;
        return Ok(Some(SpecialWeekday::Nth(value(WEEKDAY, weekday)?, nth)));
    }
    match item.strip_suffix(['L', 'l']) {
        Some("") => Ok(None),
        Some(weekday) => Ok(Some(SpecialWeekday::Last(value(WEEKDAY, weekday)?))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `2026-01-31 23:59` in milliseconds.
    fn at(text: &str) -> i64 {
        let numbers: Vec<i64> = text
            .split(['-', ' ', ':'])
            .map(|part| part.parse().expect("a number"))
            .collect();
        let [year, month, day, hour, minute] = numbers[..] else {
            panic!("a date: {text}");
        };
        let mut date = Date::of_day(0);
        while date.year < year || date.month < month {
            date = date.next_month();
        }
        ((date.day_number + day - 1) * DAY_MINUTES + hour * 60 + minute) * MINUTE_MS
    }

    fn show(ms: i64) -> String {
        let minutes = ms / MINUTE_MS;
        let date = Date::of_day(minutes.div_euclid(DAY_MINUTES));
        let of_day = minutes.rem_euclid(DAY_MINUTES);
        let (year, month, day) = (date.year, date.month, date.day);
        let (hour, minute) = (of_day / 60, of_day % 60);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}")
    }

    fn next(cron: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(cron).unwrap_or_else(|error| panic!("{cron}: {error}"));
        let mut now = at(from);
        let mut times = Vec::new();
        for _ in 0..count {
            now = cron.next_after(now).expect("it comes again");
            times.push(show(now));
        }
        times
    }

    #[test]
    fn days_are_counted_as_the_calendar_counts_them() {
        let mut date = Date::of_day(0);
        assert_eq!((date.year, date.month, date.day), (1970, 1, 1));
        // Both ways of counting agree on every day until 2200, across leap years and 2100, which is none.
        for day in 0..84_000 {
            assert_eq!(Date::of_day(day), date, "day {day}");
            date = date.next_day();
        }
        assert_eq!(show(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(
            Date::of_day(20_781).weekday_of(24),
            3,
            "2026-11-24 is a Tuesday"
        );
    }

    #[test]
    fn minutes_hours_and_steps() {
        assert_eq!(
            next("* * * * *", "2026-12-31 23:58", 2),
            ["2026-12-31 23:59", "2027-01-01 00:00"]
        );
        assert_eq!(
            next("*/30 * * * *", "2026-11-24 10:00", 3),
            ["2026-11-24 10:30", "2026-11-24 11:00", "2026-11-24 11:30"]
        );
        assert_eq!(
            next("50/7,3 22-23 * * *", "2026-11-24 22:50", 4),
            [
                "2026-11-24 22:57",
                "2026-11-24 23:03",
                "2026-11-24 23:50",
                "2026-11-24 23:57"
            ]
        );
        assert_eq!(
            next("0 8-18/5 1 */6 *", "2026-11-24 00:00", 4),
            [
                "2027-01-01 08:00",
                "2027-01-01 13:00",
                "2027-01-01 18:00",
                "2027-07-01 08:00"
            ]
        );
    }

    #[test]
    fn a_minute_that_has_begun_is_over() {
        let cron = Cron::parse("* * * * *").expect("valid");
        let minute = at("2026-11-24 10:00");
        assert_eq!(cron.next_after(minute - 1), Some(minute), "a moment before");
        assert_eq!(cron.next_after(minute), Some(minute + MINUTE_MS));
        assert_eq!(cron.next_after(minute + 59_999), Some(minute + MINUTE_MS));
    }

    #[test]
    fn weekdays_count_from_sunday_as_one() {
        for sunday in ["0 17 * * 1", "0 17 * * sun", "0 17 * * SUN"] {
            assert_eq!(
                next(sunday, "2026-11-24 00:00", 2),
                ["2026-11-29 17:00", "2026-12-06 17:00"]
            );
        }
        for workdays in ["10 7 * * mon-fri", "10 7 * * 2-6", "10 7 * * MON,TUE,3-6"] {
            assert_eq!(
                next(workdays, "2026-11-26 08:00", 3),
                ["2026-11-27 07:10", "2026-11-30 07:10", "2026-12-01 07:10"]
            );
        }
    }

    #[test]
    fn months_have_names() {
        assert_eq!(
            next("0 0 1 jan,Jul *", "2026-11-24 00:00", 2),
            ["2027-01-01 00:00", "2027-07-01 00:00"]
        );
    }

    #[test]
    fn either_kind_of_day_is_enough_if_both_are_given() {
        assert_eq!(
            next("0 0 13 * 6", "2026-11-01 00:00", 5),
            [
                "2026-11-06 00:00",
                "2026-11-13 00:00",
                "2026-11-20 00:00",
                "2026-11-27 00:00",
                "2026-12-04 00:00"
            ]
        );
    }

    #[test]
    fn the_ends_of_months() {
        assert_eq!(
            next("0 0 L * *", "2027-12-31 00:00", 3),
            ["2028-01-31 00:00", "2028-02-29 00:00", "2028-03-31 00:00"]
        );
        assert_eq!(
            next("0 0 L-2 2 *", "2027-01-01 00:00", 2),
            ["2027-02-26 00:00", "2028-02-27 00:00"]
        );
        // 2026-02-28 and 2026-05-31 are a Saturday and a Sunday.
        assert_eq!(
            next("59 23 LW 2,5 *", "2026-01-01 00:00", 2),
            ["2026-02-27 23:59", "2026-05-29 23:59"]
        );
        assert_eq!(
            next("0 18 * * 6L", "2026-11-24 00:00", 2),
            ["2026-11-27 18:00", "2026-12-25 18:00"]
        );
        assert_eq!(
            next("0 18 * * friL", "2026-11-28 00:00", 1),
            ["2026-12-25 18:00"]
        );
        assert_eq!(
            next("0 0 * * L", "2026-11-24 00:00", 2),
            ["2026-11-28 00:00", "2026-12-05 00:00"],
            "Saturday"
        );
        assert_eq!(
            next("0 0 29 2 *", "2026-01-01 00:00", 2),
            ["2028-02-29 00:00", "2032-02-29 00:00"]
        );
        assert_eq!(
            next("0 0 29 2 *", "2097-01-01 00:00", 1),
            ["2104-02-29 00:00"],
            "2100 has none"
        );
    }

    #[test]
    fn the_workday_nearest_to_a_day_stays_in_its_month() {
        // 2026-08-15 is a Saturday, 2026-08-01 too; 2026-11-15 and 2026-11-01 are Sundays.
        assert_eq!(
            next("0 0 15W 8,11 *", "2026-07-01 00:00", 2),
            ["2026-08-14 00:00", "2026-11-16 00:00"]
        );
        assert_eq!(
            next("0 0 1W 8,11 *", "2026-07-01 00:00", 2),
            ["2026-08-03 00:00", "2026-11-02 00:00"]
        );
        assert_eq!(
            next("0 0 31W * *", "2026-05-01 00:00", 2),
            ["2026-05-29 00:00", "2026-07-31 00:00"],
            "June has no 31st"
        );
    }

    #[test]
    fn the_nth_weekday_of_a_month() {
        assert_eq!(
            next("0 0 * * 2#1", "2026-11-24 00:00", 2),
            ["2026-12-07 00:00", "2027-01-04 00:00"]
        );
        assert_eq!(
            next("0 0 * * tue#5", "2026-11-24 00:00", 2),
            ["2026-12-29 00:00", "2027-03-30 00:00"],
            "not every month has five"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (cron, problem) in [
            (
                "",
                "a cron expression has five fields (minute, hour, day of month, month, day of week), found 0",
            ),
            (
                "* * * *",
                "a cron expression has five fields (minute, hour, day of month, month, day of week), found 4",
            ),
            (
                "* * * * * *",
                "a cron expression has five fields (minute, hour, day of month, month, day of week), found 6",
            ),
            (
                "60 * * * *",
                "minute: \"60\" is not a value: expected 0 to 59",
            ),
            (
                "* 24 * * *",
                "hour: \"24\" is not a value: expected 0 to 23",
            ),
            (
                "* * 0 * *",
                "day of month: \"0\" is not a value: expected 1 to 31",
            ),
            (
                "* * * 13 *",
                "month: \"13\" is not a value: expected 1 to 12 or jan to dec",
            ),
            (
                "* * * * 0",
                "day of week: \"0\" is not a value: expected 1 to 7 or sun to sat",
            ),
            (
                "* * * * 8",
                "day of week: \"8\" is not a value: expected 1 to 7 or sun to sat",
            ),
            (
                "* * * foo *",
                "month: \"foo\" is not a value: expected 1 to 12 or jan to dec",
            ),
            (
                "1, * * * *",
                "minute: \"\" is not a value: expected 0 to 59",
            ),
            (
                "+1 * * * *",
                "minute: \"+1\" is not a value: expected 0 to 59",
            ),
            (
                "*/0 * * * *",
                "minute: \"/0\" is not a step: expected a number from 1",
            ),
            (
                "*/+2 * * * *",
                "minute: \"/+2\" is not a step: expected a number from 1",
            ),
            (
                "*/ * * * *",
                "minute: \"/\" is not a step: expected a number from 1",
            ),
            (
                "* 22-2 * * *",
                "hour: the range \"22-2\" goes backwards: write two, with a comma between them",
            ),
            (
                "* * L-31 * *",
                "day of month: \"L-31\" is before every month's first day",
            ),
            (
                "* * W * *",
                "day of month: \"\" is not a value: expected 1 to 31",
            ),
            (
                "* * * * 2#6",
                "day of week: \"2#6\" names no week of the month: expected #1 to #5",
            ),
            (
                "* * * * #1",
                "day of week: \"\" is not a value: expected 1 to 7 or sun to sat",
            ),
            ("0 0 31 2 *", "it never comes true"),
            ("0 0 30W 2 *", "it never comes true"),
            (
                "@daily",
                "a cron expression has five fields (minute, hour, day of month, month, day of week), found 1",
            ),
        ] {
            let error = Cron::parse(cron).expect_err(cron);
            assert_eq!(error.to_string(), problem, "{cron}");
        }
    }
}
