//! The blobs of one isolate, whose bytes lie outside V8's heap.
//!
//! Owns: the bytes, until JS has let go of the last part that looks at them, and their sum. A worker that
//! makes and drops blobs hardly fills V8's heap, so V8 sees no reason to collect them: once they occupy
//! what the isolate may use, a collection is asked for at the end of the turn. A multiple of it at once
//! ends the isolate.

use crate::control::{Control, Killed};
use deno_core::url::Url;
use deno_web::{Blob, BlobPart, BlobStore, BlobStoreTrait};
use futures::FutureExt;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// How many times its memory limit an isolate may hold before V8 has had a chance to collect.
const HARD_FACTOR: usize = 2;

type Part = Arc<dyn BlobPart + Send + Sync>;

pub(crate) struct Blobs {
    store: BlobStore,
    control: Arc<Control>,
    limit_mb: u64,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    /// Where the bytes of a part lie: how many they are, and how many parts look at them. A slice of a
    /// blob looks at the bytes of the whole.
    ranges: BTreeMap<usize, (usize, usize)>,
    bytes: usize,
    /// What was left after the last collection that was asked for.
    bytes_after_collection: usize,
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blobs({} bytes)", self.counted.lock().bytes)
    }
}

impl Counted {
    /// The range that `address` lies in, by its begin.
    fn range_of(&self, address: usize) -> Option<usize> {
        let (begin, (length, _)) = self.ranges.range(..=address).next_back()?;
        (address < begin + length).then_some(*begin)
    }

    fn add(&mut self, part: &Part) {
        let Some((address, length)) = place_of(part) else {
            return;
        };
        if let Some(begin) = self.range_of(address) {
            if let Some((_, parts)) = self.ranges.get_mut(&begin) {
                *parts += 1;
            }
        } else {
            self.ranges.insert(address, (length, 1));
            self.bytes += length;
        }
    }

    fn remove(&mut self, part: &Part) {
        let begin = place_of(part).and_then(|(address, _)| self.range_of(address));
        let Some(begin) = begin else { return };
        let Some((length, parts)) = self.ranges.get_mut(&begin) else {
            return;
        };
        *parts -= 1;
        if *parts == 0 {
            self.bytes -= *length;
            self.ranges.remove(&begin);
        }
    }
}

/// Address and length. `None`: empty.
fn place_of(part: &Part) -> Option<(usize, usize)> {
    // Parts are in memory, so reading one never waits.
    let bytes = part.read().now_or_never()?;
    (!bytes.is_empty()).then(|| (bytes.as_ptr().addr(), bytes.len()))
}

impl Blobs {
    pub(crate) fn new(control: Arc<Control>, limit_mb: u64) -> Self {
        Self {
            store: BlobStore::default(),
            control,
            limit_mb,
            counted: Mutex::default(),
        }
    }

    fn limit_bytes(&self) -> usize {
        (self.limit_mb as usize) << 20
    }

    /// Is it time for a collection? Not again before as much was added as may be held at all.
    pub(crate) fn wants_collection(&self) -> bool {
        let counted = self.counted.lock();
        counted.bytes > counted.bytes_after_collection + self.limit_bytes()
    }

    pub(crate) fn collected(&self) {
        let mut counted = self.counted.lock();
        counted.bytes_after_collection = counted.bytes;
    }
}

impl BlobStoreTrait for Blobs {
    fn insert_part(&self, part: Part) -> Uuid {
        let mut counted = self.counted.lock();
        counted.add(&part);
        if counted.bytes > self.limit_bytes() * HARD_FACTOR {
            self.control.kill(Killed::Memory {
                limit_mb: self.limit_mb,
            });
        }
        drop(counted);
        self.store.insert_part(part)
    }

    fn get_part(&self, id: &Uuid) -> Option<Part> {
        self.store.get_part(id)
    }

    fn remove_part(&self, id: &Uuid) -> Option<Part> {
        let part = self.store.remove_part(id)?;
        self.counted.lock().remove(&part);
        Some(part)
    }

    fn get_object_url(&self, url: Url) -> Option<Arc<Blob>> {
        self.store.get_object_url(url)
    }

    fn insert_object_url(&self, blob: Blob, location: Option<Url>) -> Url {
        self.store.insert_object_url(blob, location)
    }

    fn remove_object_url(&self, url: &Url) {
        self.store.remove_object_url(url);
    }

    fn clear(&self) {
        self.store.clear();
        *self.counted.lock() = Counted::default();
    }
}
