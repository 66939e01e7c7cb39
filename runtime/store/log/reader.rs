//! Reading the commit log back: every valid record of every segment, in order, and whether one is missing.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::format::{
    HEADER_BYTES, RECORD_BYTES, Record, RecordHead, SegmentHeader, decode, record_bytes,
};
use super::segment;
use crate::StoreError;

/// One segment's place among those that are read.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub path: PathBuf,
    pub header: SegmentHeader,
}

/// What reading the whole log came to.
pub(crate) struct Scan {
    /// Segments that recovery needs, oldest first.
    pub segments: Vec<SegmentFile>,
    /// The highest number of any segment file.
    pub last_sequence: u64,
    /// Where the last segment's valid records end.
    pub end: u64,
    pub last_time_us: u64,
    /// A record that had been on disk is not valid any more: its segment and offset.
    pub damage: Option<(PathBuf, u64)>,
}

/// Gets a valid record: its segment's index in `Scan::segments`, its offset, its head, and its bytes.
pub(crate) type Visit<'a> =
    &'a mut dyn FnMut(usize, u64, RecordHead, Record, &[u8]) -> Result<(), StoreError>;

/// Reads the segments of `dir` from the first that recovery needs on; `visit` gets every valid record.
///
/// # Errors
/// `Io`, or what `visit` fails with.
pub(crate) fn scan(dir: &Path, visit: Visit<'_>) -> Result<Scan, StoreError> {
    let files = segment::list(dir).map_err(StoreError::io("list", dir))?;
    let last_sequence = files.last().map_or(0, |(sequence, _)| *sequence);
    let mut segments = Vec::new();
    let mut start = 0;
    for (sequence, path) in files {
        let Some(header) = header_of(&path)? else {
            continue; // never came to life
        };
        if header.sequence == sequence {
            start = start.max(header.start);
            segments.push(SegmentFile { path, header });
        }
    }
    // A start further on may be written in a record; the headers' is only the oldest it can be.
    segments.retain(|segment| segment.header.sequence >= start);
    let start = last_start(&segments)?.max(start);
    segments.retain(|segment| segment.header.sequence >= start);
    let mut scan = Scan {
        segments,
        last_sequence,
        end: HEADER_BYTES as u64,
        last_time_us: 0,
        damage: None,
    };
    let mut previous: Option<(PathBuf, u64)> = None;
    for index in 0..scan.segments.len() {
        let segment = scan.segments[index].clone();
        scan.last_time_us = scan.last_time_us.max(segment.header.time_us);
        let mut reader = Records::open(&segment)?;
        let mut first = true;
        while let Some((offset, head, record)) = reader.next()? {
            if let (true, Record::Follows { end }, Some((path, ended))) =
                (first, &record, &previous)
                && ended < end
            {
                scan.damage.get_or_insert((path.clone(), *ended));
            }
            first = false;
            scan.last_time_us = scan.last_time_us.max(head.time_us);
            visit(index, offset, head, record, &reader.bytes)?;
        }
        if reader.durable_behind()? {
            scan.damage
                .get_or_insert((segment.path.clone(), reader.offset));
        }
        scan.end = reader.offset;
        previous = Some((segment.path, reader.offset));
    }
    Ok(scan)
}

/// The segments before `boundary`, oldest first.
pub(crate) fn segments(dir: &Path, boundary: u64) -> Result<Vec<SegmentFile>, StoreError> {
    let mut segments = Vec::new();
    for (sequence, path) in segment::list(dir).map_err(StoreError::io("list", dir))? {
        if sequence < boundary
            && let Some(header) = header_of(&path)?
            && header.sequence == sequence
        {
            segments.push(SegmentFile { path, header });
        }
    }
    Ok(segments)
}

fn header_of(path: &Path) -> Result<Option<SegmentHeader>, StoreError> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    File::open(path)
        .and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut bytes))
        .map_err(StoreError::io("read", path))?;
    Ok(SegmentHeader::decode(&bytes))
}

fn last_start(segments: &[SegmentFile]) -> Result<u64, StoreError> {
    let mut start = 0;
    for segment in segments {
        let mut reader = Records::open(segment)?;
        while let Some((_, _, record)) = reader.next()? {
            if let Record::Start { sequence } = record {
                start = start.max(sequence);
            }
        }
    }
    Ok(start)
}

/// The records of one segment.
pub(crate) struct Records {
    path: PathBuf,
    salt: u64,
    reader: BufReader<File>,
    /// Where the next record begins.
    pub offset: u64,
    /// The bytes of the last one.
    pub bytes: Vec<u8>,
}

impl Records {
    pub fn open(segment: &SegmentFile) -> Result<Self, StoreError> {
        let open = || {
            let mut reader = BufReader::with_capacity(1 << 18, File::open(&segment.path)?);
            reader.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
            io::Result::Ok(reader)
        };
        Ok(Self {
            reader: open().map_err(StoreError::io("read", &segment.path))?,
            path: segment.path.clone(),
            salt: segment.header.salt,
            offset: HEADER_BYTES as u64,
            bytes: Vec::new(),
        })
    }

    /// The next valid record and its offset; `None` at the first that is not.
    pub fn next(&mut self) -> Result<Option<(u64, RecordHead, Record)>, StoreError> {
        self.bytes.resize(RECORD_BYTES, 0);
        if !self.fill(0)? {
            return Ok(None);
        }
        let Some(length) = record_bytes(&self.bytes, self.salt) else {
            return Ok(None);
        };
        self.bytes.resize(length, 0);
        if !self.fill(RECORD_BYTES)? {
            return Ok(None);
        }
        let Some((head, record)) = decode(&self.bytes, self.salt) else {
            return Ok(None);
        };
        let offset = self.offset;
        self.offset += length as u64;
        Ok(Some((offset, head, record)))
    }

    fn fill(&mut self, from: usize) -> Result<bool, StoreError> {
        match self.reader.read_exact(&mut self.bytes[from..]) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(StoreError::io("read", &self.path)(error)),
        }
    }

    /// Does something valid lie behind the end that says that the end was once on disk? After a crash what was not
    /// synced yet may be there in part; what was synced must be there whole.
    fn durable_behind(&self) -> Result<bool, StoreError> {
        let mut rest = Vec::new();
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(self.offset))?;
                file.read_to_end(&mut rest)
            })
            .map_err(StoreError::io("read", &self.path))?;
        let salt = self.salt.to_le_bytes();
        let mut from = 0;
        while let Some(found) = find(&rest[from..], &salt) {
            let at = from + found;
            from = at + 1;
            let Some(record) = at.checked_sub(8).and_then(|start| rest.get(start..)) else {
                continue;
            };
            if let Some(length) = record_bytes(record, self.salt)
                && let Some(record) = record.get(..length)
                && let Some((head, _)) = decode(record, self.salt)
                && head.durable > self.offset
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn find(haystack: &[u8], needle: &[u8; 8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == needle[0]) {
        let at = from + at;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}
