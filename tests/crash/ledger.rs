//! What one client knows of the slots it alone writes.
//!
//! Always true: a slot whose last write was answered has one possible value. One whose write was under way when the
//! server died has a few, until it is read again.

use serde_json::Value;

/// Rows of the log that belong to one write, and writes the log keeps: as in `worker.js`.
const ROWS: u64 = 3;
const KEPT: usize = 4;

/// Where a slot is: an object, and a facet below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub object: String,
    pub path: Vec<&'static str>,
    pub slot: u64,
}

impl Place {
    pub fn new(object: &str, path: &[&'static str], slot: u64) -> Self {
        Self {
            object: object.to_owned(),
            path: path.to_vec(),
            slot,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{} slot {}",
            self.object,
            self.path.join("/"),
            self.slot
        )
    }
}

pub struct Slot {
    pub place: Place,
    /// 0: nothing is written there.
    possible: Vec<u64>,
}

impl Slot {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            possible: vec![0],
        }
    }

    /// What is there, if that is known.
    pub fn known(&self) -> Option<u64> {
        match self.possible[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    pub fn answered(&mut self, value: u64) {
        self.possible = vec![value];
    }

    /// A write was under way: it may have happened.
    pub fn maybe(&mut self, values: &[u64]) {
        for value in values {
            if !self.possible.contains(value) {
                self.possible.push(*value);
            }
        }
    }

    /// Takes in what `read` answered for this slot's place.
    ///
    /// # Errors
    /// What is there is none of what may be there, or is there in part.
    pub fn take_in(&mut self, read: &Value) -> Result<(), String> {
        let place = &self.place;
        let found =
            value_of(read, place.slot).map_err(|what| format!("{place}: {what}: {read}"))?;
        if !self.possible.contains(&found) {
            let possible = &self.possible;
            return Err(format!(
                "{place} holds {found}, though one of {possible:?} was answered or under way"
            ));
        }
        self.possible = vec![found];
        Ok(())
    }
}

fn number(value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .ok_or_else(|| format!("{value} is no number"))
}

/// The value of one slot, when the whole ledger fits together.
fn value_of(read: &Value, slot: u64) -> Result<u64, String> {
    let empty = Vec::new();
    let slots = read["slots"].as_array().unwrap_or(&empty);
    let log = read["log"].as_array().unwrap_or(&empty);
    let (mut found, mut sum) = (0, 0);
    for entry in slots {
        let (id, n, kv) = (
            number(&entry["id"])?,
            number(&entry["n"])?,
            number(&entry["kv"])?,
        );
        if n != kv {
            return Err(format!(
                "a write is there in part: SQL says {n}, the key {kv}"
            ));
        }
        let of_slot = log.iter().filter(|row| row["slot"] == entry["id"]);
        let mut newest = 0;
        for row in of_slot.clone() {
            newest = number(&row["n"])?;
            if row["rows"] != ROWS {
                return Err(format!("a write is there in part: {row} in the log"));
            }
        }
        if newest != n || of_slot.count() > KEPT {
            return Err(format!(
                "a write is there in part: {n}, but {newest} in the log"
            ));
        }
        sum += n;
        if id == slot {
            found = n;
        }
    }
    if number(&read["sum"])? != sum || number(&read["keys"])? != slots.len() as u64 {
        return Err(format!(
            "a write is there in part: the slots add up to {sum}"
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(n: u64, kv: u64, logged: u64, rows: u64, sum: u64) -> Value {
        json!({ "slots": [{ "id": 1, "n": n, "kv": kv }], "keys": 1, "log": [{ "slot": 1, "n": logged, "rows": rows }], "sum": sum })
    }

    #[test]
    fn every_part_of_a_write_is_looked_at() {
        assert_eq!(value_of(&read(7, 7, 7, 3, 7), 1), Ok(7), "all of it");
        assert_eq!(value_of(&read(7, 7, 7, 3, 7), 2), Ok(0), "another slot");
        for (what, torn) in [
            ("the key", read(7, 6, 7, 3, 7)),
            ("the newest log entry", read(7, 7, 6, 3, 7)),
            ("a row of the log", read(7, 7, 7, 2, 7)),
            ("the sum", read(7, 7, 7, 3, 6)),
        ] {
            assert!(value_of(&torn, 1).is_err(), "{what} is missing");
        }
    }

    #[test]
    fn a_slot_is_what_was_answered_or_under_way() {
        let mut slot = Slot::new(Place::new("o", &[], 1));
        slot.answered(6);
        assert!(slot.take_in(&read(5, 5, 5, 3, 5)).is_err(), "a lost write");
        slot.maybe(&[7]);
        assert_eq!(slot.known(), None, "until it is read");
        assert_eq!(slot.take_in(&read(7, 7, 7, 3, 7)), Ok(()), "it happened");
        assert_eq!(slot.known(), Some(7), "and now it counts");
        assert!(slot.take_in(&read(6, 6, 6, 3, 6)).is_err(), "for good");
    }
}
