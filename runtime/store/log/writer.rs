//! The thread that writes the log: copies committed frames, syncs once for everything that came meanwhile, tells who waits.
//!
//! Owns: the segment that is written to. Never touches a database file, and reads a WAL only below the frame that its
//! commit was announced with; nobody overwrites those before this thread has reported them durable.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::format::{
    Commit, HEADER_BYTES, PART_PAGES_MAX, Record, RecordHead, put_commit, put_record,
};
use super::segment::Segment;
use super::wal::{FRAME_HEADER_BYTES, Frame, WalHeader, frame_bytes, frame_offset};
use super::{CYCLE_SEGMENTS, Entry, LAZY_SYNC, LoggedFile, Position, Shared, What, wal_path};
use crate::{Durability, StoreError};

/// Written out when it has this many bytes, so that one batch never needs much memory.
const BUFFER_BYTES: usize = 4 << 20;
/// Frames that are read and thinned out together.
const CHUNK_FRAMES: u32 = 1024;

/// Commits of one database in one batch: they become durable together, so only the last image of a page is kept.
struct Group {
    file: Arc<LoggedFile>,
    frame: u32,
    time_us: u64,
    restored: bool,
    numbers: Vec<u64>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// `None`: a write failed, and no new segment could be made since.
    segment: Option<Segment>,
    /// Where the last segment ended, for the first record of the next.
    sequence: u64,
    start: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Entries of this batch that did not get into the log.
    failures: HashMap<u64, Arc<io::Error>>,
    unsynced_since: Option<Instant>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, segment: Segment) -> Self {
        Self {
            shared,
            sequence: segment.header.sequence,
            start: segment.header.start,
            end: segment.end,
            segment: Some(segment),
            buffer: Vec::new(),
            failures: HashMap::new(),
            unsynced_since: None,
        }
    }

    pub fn run(mut self) {
        loop {
            let (entries, last, awaited) = {
                let mut queue = self.shared.queue.lock();
                loop {
                    let awaited = !queue.waiting.is_empty();
                    if !queue.entries.is_empty() || (awaited && self.unsynced_since.is_some()) {
                        break (std::mem::take(&mut queue.entries), queue.last, awaited);
                    }
                    if queue.closed {
                        let waiting = std::mem::take(&mut queue.waiting);
                        let gone = Arc::new(io::Error::other("the log was closed"));
                        queue.failed.get_or_insert_with(|| gone.clone());
                        drop(queue);
                        for (_, done) in waiting {
                            done(Err(self.shared.failed(gone.clone())));
                        }
                        return;
                    }
                    match self.unsynced_since {
                        Some(since) if since.elapsed() >= LAZY_SYNC => {
                            break (Vec::new(), queue.last, true);
                        }
                        Some(since) => {
                            let left = LAZY_SYNC.saturating_sub(since.elapsed());
                            self.shared.arrived.wait_for(&mut queue, left);
                        }
                        None => self.shared.arrived.wait(&mut queue),
                    }
                }
            };
            #[cfg(test)]
            let shared = self.shared.clone();
            #[cfg(test)]
            let _batch = shared.faults.batch.lock();
            self.write(entries);
            let lazily = self.shared.durability == Durability::Relaxed && !awaited;
            let overdue = self
                .unsynced_since
                .is_some_and(|since| since.elapsed() >= LAZY_SYNC);
            if lazily && !overdue {
                self.unsynced_since.get_or_insert_with(Instant::now);
                self.tell_failures();
                continue;
            }
            let synced = self.segment.as_mut().map_or(Ok(()), Segment::sync);
            self.unsynced_since = None;
            self.tell(last, synced);
            self.keep_house();
        }
    }

    // ---- writing

    fn write(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let first = entries[0].number;
        let last = entries[entries.len() - 1].number;
        if let Err(error) = self.need_segment() {
            self.fail(first..=last, &entries, error);
            return;
        }
        if let Err(error) = self.write_batch(&entries) {
            // Some of the batch may be in the file, some not: nothing of it counts, and nothing may be written behind it.
            self.segment = None;
            self.buffer.clear();
            self.fail(first..=last, &entries, error);
        }
    }

    fn fail(
        &mut self,
        numbers: std::ops::RangeInclusive<u64>,
        entries: &[Entry],
        error: io::Error,
    ) {
        tracing::error!(%error, path = %self.shared.dir.display(), "the commit log cannot be written");
        let error = Arc::new(error);
        for entry in entries {
            if let What::Commit { file, .. } = &entry.what {
                *file.failed.lock() = Some(error.clone());
            }
        }
        self.failures
            .extend(numbers.map(|number| (number, error.clone())));
    }

    fn write_batch(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_file: HashMap<*const LoggedFile, usize> = HashMap::new();
        for entry in entries {
            match &entry.what {
                What::Commit {
                    file,
                    frame,
                    apart,
                    restored,
                } => {
                    let at = *by_file.entry(Arc::as_ptr(file)).or_insert_with(|| {
                        groups.push(Group {
                            file: file.clone(),
                            frame: 0,
                            time_us: 0,
                            restored: false,
                            numbers: Vec::new(),
                        });
                        groups.len() - 1
                    });
                    let group = &mut groups[at];
                    group.frame = *frame;
                    group.time_us = entry.time_us;
                    group.restored |= restored;
                    group.numbers.push(entry.number);
                    if *apart {
                        let group = groups.swap_remove(at);
                        by_file.remove(&Arc::as_ptr(file));
                        if let Some(moved) = groups.get(at) {
                            by_file.insert(Arc::as_ptr(&moved.file), at);
                        }
                        self.put_group(group)?;
                    }
                }
                What::Record(record) => {
                    // What came before it must be before it in the log.
                    by_file.clear();
                    for group in std::mem::take(&mut groups) {
                        self.put_group(group)?;
                    }
                    let head = self.head(entry.time_us);
                    let salt = self.salt();
                    put_record(&mut self.buffer, salt, head, record);
                }
            }
        }
        for group in groups {
            self.put_group(group)?;
        }
        self.write_out()
    }

    fn salt(&self) -> u64 {
        self.segment
            .as_ref()
            .map_or(0, |segment| segment.header.salt)
    }

    fn head(&self, time_us: u64) -> RecordHead {
        RecordHead {
            time_us,
            durable: self.segment.as_ref().map_or(0, |segment| segment.durable),
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        #[cfg(test)]
        self.shared.faults.before_write()?;
        if let Some(segment) = &mut self.segment {
            segment.append(&self.buffer)?;
            self.end = segment.end;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Copies what a database has committed. An error that concerns only this database is noted, not returned.
    fn put_group(&mut self, group: Group) -> io::Result<()> {
        let failed = group.file.failed.lock().clone();
        let result = match failed {
            Some(error) => Err(Trouble::File(error)),
            None => self.put_commits(&group),
        };
        match result {
            Ok(()) => Ok(()),
            Err(Trouble::Log(error)) => Err(error),
            Err(Trouble::File(error)) => {
                tracing::error!(%error, path = %group.file.path.display(), "commits could not be logged");
                *group.file.failed.lock() = Some(error.clone());
                self.failures
                    .extend(group.numbers.iter().map(|number| (*number, error.clone())));
                Ok(())
            }
        }
    }

    fn put_commits(&mut self, group: &Group) -> Result<(), Trouble> {
        let file = &group.file;
        let mut position = file.position.lock();
        let Source { header, from } = locate(file, &mut position, group.frame)?;
        let wal = position.wal.take().expect("locate opened it");
        let copied = self.copy(&wal, &header, from, group);
        if file.connections.load(Ordering::Acquire) > 0 {
            position.wal = Some(wal);
        }
        copied?;
        position.salts = header.salts;
        position.frame = group.frame;
        let sequence = self.sequence;
        if position.first_segment == 0 {
            position.first_segment = sequence;
        }
        position.last_segment = sequence;
        file.created.store(false, Ordering::Release);
        Ok(())
    }

    fn copy(
        &mut self,
        wal: &File,
        header: &WalHeader,
        from: u32,
        group: &Group,
    ) -> Result<(), Trouble> {
        let length = frame_bytes(header.page_bytes);
        let mut bytes = Vec::new();
        let mut next = from;
        while next <= group.frame {
            let count = (group.frame - next + 1).min(CHUNK_FRAMES);
            bytes.resize(count as usize * length, 0);
            wal.read_exact_at(&mut bytes, frame_offset(header.page_bytes, next))
                .map_err(Trouble::file)?;
            next += count;
            let last_chunk = next > group.frame;
            // The last image of each page, in the order of the frames.
            let mut newest: HashMap<u32, usize> = HashMap::new();
            let mut last = None;
            for (at, frame) in bytes.chunks_exact(length).enumerate() {
                let frame = Frame::decode(frame);
                if frame.salts != header.salts {
                    return Err(Trouble::text("a committed frame is not in the WAL"));
                }
                newest.insert(frame.page, at);
                last = Some(frame);
            }
            let Some(last) = last else { break };
            if last_chunk && last.db_pages == 0 {
                return Err(Trouble::text(
                    "a commit does not end where it was announced",
                ));
            }
            let mut kept: Vec<(usize, u32)> =
                newest.into_iter().map(|(page, at)| (at, page)).collect();
            kept.sort_unstable();
            let parts = kept.len().div_ceil(PART_PAGES_MAX);
            for (index, part) in kept.chunks(PART_PAGES_MAX).enumerate() {
                let more = !(last_chunk && index + 1 == parts);
                let commit = Commit {
                    name: group.file.name.to_string(),
                    more,
                    created: group.file.created.load(Ordering::Acquire),
                    restored: group.restored,
                    page_bytes: header.page_bytes,
                    db_pages: last.db_pages,
                    wal_salts: header.salts,
                    wal_frame: group.frame,
                    wal_checksum: last.checksum,
                    pages: Vec::new(),
                };
                let images = part.iter().map(|(at, page)| {
                    let start = at * length + FRAME_HEADER_BYTES;
                    (*page, &bytes[start..start + header.page_bytes as usize])
                });
                let (salt, head) = (self.salt(), self.head(group.time_us));
                put_commit(&mut self.buffer, salt, head, &commit, images);
                if self.buffer.len() >= BUFFER_BYTES {
                    self.write_out().map_err(Trouble::Log)?;
                }
            }
        }
        Ok(())
    }

    // ---- segments

    /// Takes a new segment when the present one is full, or lost.
    fn need_segment(&mut self) -> io::Result<()> {
        let full = self.shared.segment_bytes;
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.end < full)
        {
            return Ok(());
        }
        #[cfg(test)]
        self.shared.faults.before_write()?;
        if let Some(segment) = &mut self.segment {
            segment.sync()?;
        }
        #[cfg(test)]
        self.report_to_test();
        let sequence = self.sequence + 1;
        let dir = &self.shared.dir;
        let mut segment = match self.shared.housekeeping.take_next(sequence) {
            Some(prepared) => prepared.name(dir)?,
            None => Segment::create(dir, self.shared.header(sequence, self.start))?,
        };
        let mut first = Vec::new();
        let head = RecordHead {
            time_us: self.shared.next_time_us(),
            durable: HEADER_BYTES as u64,
        };
        let follows = Record::Follows { end: self.end };
        put_record(&mut first, segment.header.salt, head, &follows);
        segment.append(&first)?;
        (self.sequence, self.end) = (sequence, segment.end);
        self.segment = Some(segment);
        Ok(())
    }

    // ---- telling

    /// `last` is the last entry that was taken in.
    fn tell(&mut self, last: u64, synced: io::Result<()>) {
        #[cfg(test)]
        self.report_to_test();
        let mut queue = self.shared.queue.lock();
        let waiting = match synced {
            Ok(()) => {
                queue.durable = last;
                let at = queue.waiting.partition_point(|(number, _)| *number <= last);
                queue.waiting.drain(..at).collect()
            }
            Err(error) => {
                // The kernel may have thrown the dirty pages away: a later success would prove nothing.
                tracing::error!(%error, path = %self.shared.dir.display(), "the commit log cannot be synced");
                queue.failed = Some(Arc::new(error));
                std::mem::take(&mut queue.waiting)
            }
        };
        let failed = queue.failed.clone();
        drop(queue);
        for (number, done) in waiting {
            let failure = failed.as_ref().or_else(|| self.failures.get(&number));
            done(match failure {
                Some(source) => Err(self.shared.failed(source.clone())),
                None => Ok(()),
            });
        }
        self.failures.clear();
    }

    /// In `relaxed` mode nobody waits, but failures must not be forgotten: they stay with their databases.
    fn tell_failures(&mut self) {
        if !self.failures.is_empty() {
            let last = self.shared.queue.lock().durable;
            self.tell(last, Ok(()));
        }
    }

    #[cfg(test)]
    fn report_to_test(&self) {
        let segment = self.segment.as_ref();
        let durable = segment.map(|segment| (segment.header.sequence, segment.durable));
        self.shared.faults.after_sync(durable);
    }

    fn keep_house(&mut self) {
        let Some(segment) = &self.segment else {
            return;
        };
        let house = &self.shared.housekeeping;
        if segment.end > self.shared.segment_bytes / 4 {
            house.want_next(self.sequence + 1);
        }
        self.start = self.start.max(house.start());
        if self.sequence - self.start >= CYCLE_SEGMENTS {
            house.want_cycle(self.sequence);
        }
    }
}

/// What went wrong while commits of one database were copied.
enum Trouble {
    File(Arc<io::Error>),
    Log(io::Error),
}

impl Trouble {
    fn file(error: io::Error) -> Self {
        Self::File(Arc::new(error))
    }

    fn text(text: &'static str) -> Self {
        Self::file(io::Error::other(text))
    }
}

struct Source {
    header: WalHeader,
    from: u32,
}

/// Where in its WAL a database's uncopied frames begin. A WAL that was begun anew is copied from its first frame.
fn locate(file: &LoggedFile, position: &mut Position, upto: u32) -> Result<Source, Trouble> {
    let open = || File::open(wal_path(&file.path)).map_err(Trouble::file);
    if position.wal.is_none() {
        position.wal = Some(open()?);
    }
    let wal = position.wal.as_ref().expect("just opened");
    let header = WalHeader::read(wal)
        .map_err(Trouble::file)?
        .ok_or_else(|| Trouble::text("the WAL has no header"))?;
    let same = header.salts == position.salts && position.frame < upto;
    Ok(Source {
        header,
        from: if same { position.frame + 1 } else { 1 },
    })
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::file(io::Error::other(error.to_string()))
    }
}
