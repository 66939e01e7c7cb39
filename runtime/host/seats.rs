//! One seat per database file: whoever opens the file holds it, the next one waits.
//!
//! An aborted object may still be open on a busy isolate's thread when its successor is asked for.
//! Two connections of one process to one file would see each other's locks and unlink each other's
//! WAL, so the successor's first event waits until the seat is free.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

type Ready = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(crate) struct Seats(Mutex<HashMap<PathBuf, Seat>>);

struct Seat {
    holder: u64,
    /// The holder's thread does not come back: nobody should wait for it.
    stuck: bool,
    waiting: VecDeque<(u64, Ready)>,
}

impl Seats {
    /// Gives `path` to `holder`, calling `ready` now or when all before it have left. False: whoever
    /// has it does not come back.
    pub fn take(&self, path: &Path, holder: u64, ready: Ready) -> bool {
        let mut seats = self.0.lock();
        match seats.get_mut(path) {
            Some(seat) if seat.stuck => return false,
            Some(seat) => seat.waiting.push_back((holder, ready)),
            None => {
                let seat = Seat {
                    holder,
                    stuck: false,
                    waiting: VecDeque::new(),
                };
                seats.insert(path.to_owned(), seat);
                drop(seats);
                ready();
            }
        }
        true
    }

    /// Gives `path` to `holder` if nobody has it.
    pub fn take_if_free(&self, path: &Path, holder: u64) -> bool {
        let mut seats = self.0.lock();
        if seats.contains_key(path) {
            return false;
        }
        let seat = Seat {
            holder,
            stuck: false,
            waiting: VecDeque::new(),
        };
        seats.insert(path.to_owned(), seat);
        true
    }

    /// `holder` cannot leave `path` for now.
    pub fn mark_stuck(&self, path: &Path, holder: u64) {
        if let Some(seat) = self.0.lock().get_mut(path)
            && seat.holder == holder
        {
            seat.stuck = true;
        }
    }

    /// `holder` leaves `path`, or stops waiting for it. Leaving twice is fine.
    pub fn leave(&self, path: &Path, holder: u64) {
        let mut seats = self.0.lock();
        let Some(seat) = seats.get_mut(path) else {
            return;
        };
        if seat.holder != holder {
            seat.waiting.retain(|(waiting, _)| *waiting != holder);
            return;
        }
        match seat.waiting.pop_front() {
            Some((next, ready)) => {
                (seat.holder, seat.stuck) = (next, false);
                drop(seats);
                ready();
            }
            None => drop(seats.remove(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

    #[test]
    fn the_next_owner_of_a_file_waits_for_the_one_before() {
        let seats = Arc::new(Seats::default());
        let (told, tell) = mpsc::channel();
        let path = Path::new("a.sqlite");
        for holder in 1..=3 {
            let told = told.clone();
            seats.take(
                path,
                holder,
                Box::new(move || told.send(holder).expect("the test listens")),
            );
        }
        assert_eq!(
            tell.try_iter().collect::<Vec<_>>(),
            [1],
            "the first has it at once"
        );
        seats.leave(path, 2);
        seats.leave(path, 1);
        assert_eq!(
            tell.try_iter().collect::<Vec<_>>(),
            [3],
            "the second gave up waiting"
        );
        seats.leave(path, 3);
        seats.leave(path, 3);
        assert!(seats.0.lock().is_empty(), "nothing is left behind");
        assert!(seats.take_if_free(path, 4), "nobody has it");
        assert!(!seats.take_if_free(path, 5), "now somebody has");
    }
}
