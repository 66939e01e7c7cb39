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

    /// How many there are.
    pub fn taken(&self) -> usize {
        self.0.lock().len()
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

/// One life's claim to the seat of its database: from when it may start until it is over and the database is closed.
#[derive(Default)]
pub(crate) struct Claim(Mutex<Claimed>);

#[derive(Default)]
struct Claimed {
    path: Option<PathBuf>,
    open: bool,
}

impl Claim {
    /// Claims the seat of `path`, unless this life `is_over`; `ready` is called when it is free. False: it never will be.
    pub fn take(
        &self,
        seats: &Seats,
        path: &Path,
        holder: u64,
        is_over: impl Fn() -> bool,
        ready: Ready,
    ) -> bool {
        // Not under one lock: `ready` may run at once, and end this life.
        !self.want(path, is_over) || self.sit_down(seats, path, holder, ready)
    }

    /// False: nobody waits for it any more.
    fn want(&self, path: &Path, is_over: impl Fn() -> bool) -> bool {
        let mut claimed = self.0.lock();
        let wanted = !is_over();
        if wanted {
            claimed.path = Some(path.to_owned());
        }
        wanted
    }

    fn sit_down(&self, seats: &Seats, path: &Path, holder: u64, ready: Ready) -> bool {
        if !seats.take(path, holder, ready) {
            self.0.lock().path = None;
            return false;
        }
        // A life that ended since it wanted the seat has left one it did not have yet. Its successors would wait for ever.
        let left_before = {
            let claimed = self.0.lock();
            claimed.path.is_none() && !claimed.open
        };
        if left_before {
            seats.leave(path, holder);
        }
        true
    }

    /// The database is about to be opened. False: this life `is_over`, and the file may be another's.
    pub fn open(&self, is_over: impl Fn() -> bool) -> bool {
        // The seat is left under the same lock, and only when the database is closed.
        let mut claimed = self.0.lock();
        claimed.open = !is_over();
        claimed.open
    }

    pub fn closed(&self) {
        self.0.lock().open = false;
    }

    /// This life is over. While its database is open it keeps the seat.
    pub fn leave_if_closed(&self, seats: &Seats, holder: u64) {
        let path = {
            let mut claimed = self.0.lock();
            if claimed.open {
                None
            } else {
                claimed.path.take()
            }
        };
        if let Some(path) = path {
            seats.leave(&path, holder);
        }
    }

    /// This life is over, and nothing of it can have the database open.
    pub fn leave(&mut self, seats: &Seats, holder: u64) {
        if let Some(path) = self.0.get_mut().path.take() {
            seats.leave(&path, holder);
        }
    }

    pub fn mark_stuck(&self, seats: &Seats, holder: u64) {
        if let Some(path) = &self.0.lock().path {
            seats.mark_stuck(path, holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

    #[test]
    fn a_life_that_ends_while_it_takes_its_seat_leaves_it() {
        let (seats, claim, path) = (Seats::default(), Claim::default(), Path::new("a.sqlite"));
        let (told, tell) = mpsc::channel();
        assert!(claim.want(path, || false));
        claim.leave_if_closed(&seats, 1); // on another thread, it ends
        assert!(claim.sit_down(&seats, path, 1, Box::new(|| {})));
        let ready = Box::new(move || told.send(2).expect("the test listens"));
        assert!(Claim::default().take(&seats, path, 2, || false, ready));
        assert_eq!(tell.try_recv(), Ok(2), "its successor does not wait");
    }

    #[test]
    fn a_life_keeps_its_seat_while_its_database_is_open() {
        let (seats, claim, path) = (Seats::default(), Claim::default(), Path::new("a.sqlite"));
        let (told, tell) = mpsc::channel();
        assert!(claim.take(&seats, path, 1, || false, Box::new(|| {})));
        assert!(claim.open(|| false));
        let ready = Box::new(move || told.send(2).expect("the test listens"));
        assert!(Claim::default().take(&seats, path, 2, || false, ready));
        claim.leave_if_closed(&seats, 1);
        assert!(tell.try_recv().is_err(), "it is over, but still there");
        claim.closed();
        claim.leave_if_closed(&seats, 1);
        assert_eq!(tell.try_recv(), Ok(2), "now the next one may");
        assert!(!claim.open(|| true), "and it does not come back");
    }

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
