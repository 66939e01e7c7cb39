//! How far a command is: a bar on a terminal, a line now and then elsewhere. On stderr.

use super::table::size;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BAR_CHARS: u64 = 30;
/// A terminal shows no more.
const REDRAW: Duration = Duration::from_millis(100);

/// A line on stdout. That nobody reads it is no reason to stop.
pub fn say(line: &str) {
    let _nobody_reads = writeln!(std::io::stdout(), "{line}");
}

fn tell(text: &str) {
    let _nobody_looks = std::io::stderr().write_all(text.as_bytes());
}

pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    bytes: u64,
    terminal: bool,
    drawn: Option<Instant>,
    /// Tenths of the whole that a line was printed for.
    tenths: u64,
}

impl Progress {
    pub fn new(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            done: 0,
            bytes: 0,
            terminal: std::io::stderr().is_terminal(),
            drawn: None,
            tenths: 0,
        }
    }

    /// One more is done, and moved so many bytes.
    pub fn step(&mut self, bytes: u64) {
        self.done += 1;
        self.bytes += bytes;
        if self.terminal {
            let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
            if due || self.done >= self.total {
                self.drawn = Some(Instant::now());
                tell(&format!("\r{}\x1b[K", self.bar()));
            }
        } else if let Some(line) = self.line() {
            tell(&format!("{line}\n"));
        }
    }

    fn bar(&self) -> String {
        let filled = (self.done * BAR_CHARS)
            .checked_div(self.total)
            .unwrap_or(BAR_CHARS);
        let bar: String = (0..BAR_CHARS)
            .map(|at| if at < filled { '#' } else { '.' })
            .collect();
        format!(
            "{} [{bar}] {}/{} files, {}",
            self.what,
            self.done,
            self.total,
            size(self.bytes)
        )
    }

    /// Something to print, each time a tenth is done.
    fn line(&mut self) -> Option<String> {
        let tenths = (self.done * 10).checked_div(self.total).unwrap_or(10);
        if tenths <= self.tenths {
            return None;
        }
        self.tenths = tenths;
        Some(format!(
            "{}: {}/{} files, {}",
            self.what,
            self.done,
            self.total,
            size(self.bytes)
        ))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            tell("\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gets_at_most_ten_lines() {
        let mut progress = Progress::new("backup", 1000);
        let mut lines = Vec::new();
        for _ in 0..1000 {
            progress.done += 1;
            progress.bytes += 1024;
            lines.extend(progress.line());
        }
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], "backup: 100/1000 files, 100.0 KiB");
        assert_eq!(progress.bar().matches('#').count(), 30);
    }

    #[test]
    fn nothing_to_do_is_done() {
        let mut progress = Progress::new("backup", 0);
        progress.done = 1;
        assert!(progress.line().is_some());
        assert!(progress.bar().starts_with("backup [####"));
    }
}
