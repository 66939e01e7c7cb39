//! Rows as text for people. What comes from databases is not trusted: a terminal must not obey it.

use serde_json::Value;
use std::io::{self, Write};

/// Wider cells are cut off; `--json` has everything.
const CELL_CHARS_MAX: usize = 80;
/// Widths are taken from so many rows, so that a large result is not kept in memory.
const ROWS_MEASURED: usize = 500;

/// Control characters (and what turns text around) become escapes. `lines`: line ends stay.
pub fn printable(text: &str, lines: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' if lines => shown.push('\n'),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            char if char.is_control() || is_invisible(char) => {
                shown.push_str(&format!("\\u{{{:x}}}", u32::from(char)));
            }
            char => shown.push(char),
        }
    }
    shown
}

/// Marks that change the direction of text, or have no width.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A value of a row, as `operations::value_of` made it.
fn cell(value: &Value) -> (String, Align) {
    let (text, align) = match value {
        Value::Null => ("NULL".to_owned(), Align::Left),
        Value::Number(number) => (number.to_string(), Align::Right),
        Value::String(text) => (printable(text, false), Align::Left),
        Value::Object(special) => match special.iter().next() {
            Some((kind, Value::String(hex))) if kind == "blob" => (blob(hex), Align::Left),
            Some((kind, Value::String(hex))) if kind == "text" => {
                (format!("text {}", blob(hex)), Align::Left)
            }
            Some((_, Value::String(text))) => (text.clone(), Align::Right),
            _ => (value.to_string(), Align::Left),
        },
        other => (other.to_string(), Align::Left),
    };
    if text.chars().count() <= CELL_CHARS_MAX {
        return (text, align);
    }
    let mut cut: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    cut.push('…');
    (cut, align)
}

fn blob(hex: &str) -> String {
    const BYTES_SHOWN: usize = 16;
    match hex.get(..2 * BYTES_SHOWN) {
        Some(start) if hex.len() > start.len() => format!("x'{start}…' ({} bytes)", hex.len() / 2),
        _ => format!("x'{hex}'"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// Prints rows as they come, once it knows how wide the columns are.
pub struct Table<W: Write> {
    out: W,
    columns: Vec<String>,
    waiting: Vec<Vec<(String, Align)>>,
    widths: Option<Vec<usize>>,
    rows: u64,
}

impl<W: Write> Table<W> {
    pub fn new(out: W, columns: &[String]) -> Self {
        Self {
            out,
            columns: columns.iter().map(|name| printable(name, false)).collect(),
            waiting: Vec::new(),
            widths: None,
            rows: 0,
        }
    }

    pub fn row(&mut self, values: &[Value]) -> io::Result<()> {
        self.rows += 1;
        let cells: Vec<_> = values.iter().map(cell).collect();
        if let Some(widths) = &self.widths {
            return print(&mut self.out, &cells, widths);
        }
        self.waiting.push(cells);
        if self.waiting.len() >= ROWS_MEASURED {
            self.flush()?;
        }
        Ok(())
    }

    /// Prints the head and the rows that waited.
    fn flush(&mut self) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.waiting.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|(text, _)| text.chars().count()).max();
            let name = self.columns[column].chars().count();
            widest.unwrap_or(0).max(name)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let left = |text: String| (text, Align::Left);
        let head: Vec<_> = self.columns.iter().cloned().map(left).collect();
        let line: Vec<_> = widths
            .iter()
            .map(|width| left("-".repeat(*width)))
            .collect();
        print(&mut self.out, &head, &widths)?;
        print(&mut self.out, &line, &widths)?;
        for row in self.waiting.drain(..) {
            print(&mut self.out, &row, &widths)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Prints what is left, and how many rows there were.
    pub fn end(mut self) -> io::Result<W> {
        if self.widths.is_none() {
            self.flush()?;
        }
        let plural = if self.rows == 1 { "" } else { "s" };
        writeln!(self.out, "({} row{plural})", self.rows)?;
        Ok(self.out)
    }
}

fn print(out: &mut impl Write, cells: &[(String, Align)], widths: &[usize]) -> io::Result<()> {
    let mut line = String::new();
    for ((text, align), width) in cells.iter().zip(widths) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let space = " ".repeat(width.saturating_sub(text.chars().count()));
        match align {
            Align::Left => line.push_str(&format!("{text}{space}")),
            Align::Right => line.push_str(&format!("{space}{text}")),
        }
    }
    writeln!(out, "{}", line.trim_end())
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Milliseconds since 1970 of `2026-11-24 12:00[:00]` in UTC (also with T and Z), or of `10m` before `now_ms`.
pub fn parse_time(text: &str, now_ms: u64) -> Option<u64> {
    let ago = |unit: char, seconds: u64| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        now_ms.checked_sub(number.checked_mul(seconds * 1000)?)
    };
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    if let Some(time) = units
        .iter()
        .find_map(|(unit, seconds)| ago(*unit, *seconds))
    {
        return Some(time);
    }
    let text = text.trim_end_matches('Z');
    let (date, clock) = text.split_once([' ', 'T'])?;
    let numbers = |text: &str, separator| -> Option<Vec<i64>> {
        text.split(separator)
            .map(|part| part.parse().ok())
            .collect()
    };
    let (date, clock) = (numbers(date, '-')?, numbers(clock, ':')?);
    let [year, month, day] = date.try_into().ok()?;
    let (hour, minute) = (*clock.first()?, *clock.get(1)?);
    let second = clock.get(2).copied().unwrap_or(0);
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && clock.len() <= 3;
    if !fits {
        return None;
    }
    // Years begin in March, so that leap days come last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    // The whole of that second.
    Some(u64::try_from(seconds).ok()?.checked_mul(1000)? + 999)
}

/// A time for people, UTC.
pub fn time(ms: u64) -> String {
    let (seconds, days) = (
        ms / 1000 % 86_400,
        i64::try_from(ms / 86_400_000).unwrap_or(0),
    );
    // Days since 0000-03-01, so that leap days come last in a year.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_shown() {
        let now = 1_795_000_000_000;
        for ms in [0, 951_782_399_000, 951_868_800_000, now, 4_102_444_800_000] {
            assert_eq!(parse_time(&time(ms), now), Some(ms + 999), "{}", time(ms));
        }
        assert_eq!(parse_time("10m", now), Some(now - 600_000));
        assert_eq!(parse_time("1970-01-01T00:01Z", now), Some(60_999));
        for odd in [
            "",
            "m",
            "-1m",
            "soon",
            "2026-13-01 00:00",
            "2026-01-01",
            "2026-01-01 24:00",
            "1-2-3-4 0:0",
            "99999999999999999999d",
            "2026-01-01 0:0:0:0",
            "é",
        ] {
            assert_eq!(parse_time(odd, now), None, "{odd}");
        }
    }
    use serde_json::json;

    fn shown(columns: &[&str], rows: &[Value]) -> String {
        let mut out = Vec::new();
        let columns: Vec<_> = columns.iter().map(|name| (*name).to_owned()).collect();
        let mut table = Table::new(&mut out, &columns);
        for row in rows {
            table.row(row.as_array().unwrap()).unwrap();
        }
        table.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_lined_up_and_told_apart() {
        let rows = [
            json!([1, "a\nb", null]),
            json!([100, "NULL", { "blob": "00ff" }]),
            json!([1.5, "ü", { "blob": "ab".repeat(40) }]),
        ];
        let expected = "\
n    text  blob
---  ----  ----------------------------------------------
  1  a\\nb  NULL
100  NULL  x'00ff'
1.5  ü     x'abababababababababababababababab…' (40 bytes)
(3 rows)
"
        .replace(
            "----------------------------------------------",
            &"-".repeat(47),
        );
        assert_eq!(shown(&["n", "text", "blob"], &rows), expected);
        assert_eq!(shown(&["x"], &[]), "x\n-\n(0 rows)\n");
    }

    #[test]
    fn a_terminal_is_not_given_orders() {
        let text = shown(&["\u{1b}[2J"], &[json!(["\u{1b}]0;x\u{7}\u{202e}"])]);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        assert!(text.contains("\\u{1b}]0;x\\u{7}\\u{202e}"), "{text}");
    }

    #[test]
    fn more_rows_than_are_measured_are_all_printed() {
        let rows: Vec<_> = (0..1203).map(|n| json!([n])).collect();
        assert_eq!(shown(&["n"], &rows).lines().count(), 1203 + 3);
    }

    #[test]
    fn sizes_and_times_are_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(1_709_210_096_000), "2024-02-29 12:34:56");
        assert_eq!(time(1_796_083_200_000), "2026-12-01 00:00:00");
    }
}
