//! The bytes of the commit log: segment headers and records.
//!
//! All numbers are little-endian. A segment is a header of [`HEADER_BYTES`] and records one behind the other. A record
//! is valid if its checksum is right and it carries the salt of its segment, so what an earlier use left in a recycled
//! file is never taken for a record. Pure: reads and writes byte slices, never a file.

use std::ops::Range;

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const RECORD_BYTES: usize = 40;
/// Pages per record at most: a larger commit is several records, and whole only with its last one.
pub(crate) const PART_PAGES_MAX: usize = 256;
/// No record is longer: [`PART_PAGES_MAX`] of SQLite's largest pages, and a name.
const PAYLOAD_BYTES_MAX: usize = PART_PAGES_MAX * (65_536 + 4) + 70_000;

const MAGIC: [u8; 8] = *b"facetdL1";

/// What a segment's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Segments are numbered in the order they were begun.
    pub sequence: u64,
    /// Drawn anew each time a file becomes a segment.
    pub salt: u64,
    /// The first segment that recovery had to read when this one was begun.
    pub start: u64,
    /// The boot of the machine in which it was begun.
    pub boot: [u8; 16],
    pub time_us: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.boot);
        bytes[48..56].copy_from_slice(&self.time_us.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..56]);
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: a crash came before it was on disk, or the file is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let crc = u32::from_le_bytes(bytes[56..60].try_into().ok()?);
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..56]) != crc {
            return None;
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        Some(Self {
            sequence: number(8),
            salt: number(16),
            start: number(24),
            boot: bytes[32..48].try_into().ok()?,
            time_us: number(48),
        })
    }
}

/// What a record is about. Names are paths relative to the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Page images that one or several commits of one database left behind.
    Commit(Commit),
    /// The database was removed: nothing said of it before counts.
    Removed { name: String },
    /// The database's files are durable as they are: nothing said of it before counts.
    Base { name: String },
    /// `bytes` were written to a file at `offset`.
    Append {
        name: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Recovery needs no segment before this one.
    Start { sequence: u64 },
    /// The first record of a segment: where the one before it ends.
    Follows { end: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub name: String,
    /// More pages of the same commit follow in the next record.
    pub more: bool,
    /// The first commit of a database that began as our template.
    pub created: bool,
    /// It put a past state in place of everything.
    pub restored: bool,
    pub page_bytes: u32,
    /// Size of the database after it, in pages.
    pub db_pages: u32,
    /// Where the commit ends in the WAL: its salts, the last frame's number and checksum.
    pub wal_salts: [u8; 8],
    pub wal_frame: u32,
    pub wal_checksum: [u8; 8],
    /// Page numbers, and where in the record's payload each image is.
    pub pages: Vec<(u32, Range<usize>)>,
}

impl Record {
    /// The file it is about.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Commit(commit) => Some(&commit.name),
            Self::Removed { name } | Self::Base { name } | Self::Append { name, .. } => Some(name),
            Self::Start { .. } | Self::Follows { .. } => None,
        }
    }
}

/// What precedes a record's payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordHead {
    pub time_us: u64,
    /// Everything before this offset of the segment was durable when the record was written.
    pub durable: u64,
}

const COMMIT: u8 = 1;
const REMOVED: u8 = 2;
const BASE: u8 = 3;
const APPEND: u8 = 4;
const START: u8 = 5;
const FOLLOWS: u8 = 6;

const MORE: u8 = 1;
const CREATED: u8 = 2;
const RESTORED: u8 = 4;

/// Appends one record to `out`; `payload` appends its content. `kind` is what `payload` returns.
fn put(out: &mut Vec<u8>, salt: u64, head: RecordHead, payload: impl FnOnce(&mut Vec<u8>) -> u8) {
    let start = out.len();
    out.resize(start + RECORD_BYTES, 0);
    let kind = payload(out);
    let bytes = out.len() - start - RECORD_BYTES;
    let record = &mut out[start..];
    let length = u32::try_from(bytes).expect("records are kept short");
    record[4..8].copy_from_slice(&length.to_le_bytes());
    record[8..16].copy_from_slice(&salt.to_le_bytes());
    record[16..24].copy_from_slice(&head.time_us.to_le_bytes());
    record[24..32].copy_from_slice(&head.durable.to_le_bytes());
    record[32] = kind;
    let crc = crc32fast::hash(&record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    let length = u16::try_from(name.len()).expect("a path is shorter than 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// Appends a commit record. `commit.pages` is not read: `images` are the pages.
pub(crate) fn put_commit<'a>(
    out: &mut Vec<u8>,
    salt: u64,
    head: RecordHead,
    commit: &Commit,
    images: impl ExactSizeIterator<Item = (u32, &'a [u8])>,
) {
    put(out, salt, head, |out| {
        put_name(out, &commit.name);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(commit.more, MORE)
                | flag(commit.created, CREATED)
                | flag(commit.restored, RESTORED),
        );
        out.extend_from_slice(&commit.page_bytes.to_le_bytes());
        out.extend_from_slice(&commit.db_pages.to_le_bytes());
        out.extend_from_slice(&commit.wal_salts);
        out.extend_from_slice(&commit.wal_frame.to_le_bytes());
        out.extend_from_slice(&commit.wal_checksum);
        let count = u32::try_from(images.len()).expect("a part has few pages");
        out.extend_from_slice(&count.to_le_bytes());
        for (number, image) in images {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(image);
        }
        COMMIT
    });
}

/// Appends any other record.
pub(crate) fn put_record(out: &mut Vec<u8>, salt: u64, head: RecordHead, record: &Record) {
    put(out, salt, head, |out| match record {
        Record::Commit(_) => unreachable!("commits go through put_commit"),
        Record::Removed { name } => {
            put_name(out, name);
            REMOVED
        }
        Record::Base { name } => {
            put_name(out, name);
            BASE
        }
        Record::Append {
            name,
            offset,
            bytes,
        } => {
            put_name(out, name);
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(bytes);
            APPEND
        }
        Record::Start { sequence } => {
            out.extend_from_slice(&sequence.to_le_bytes());
            START
        }
        Record::Follows { end } => {
            out.extend_from_slice(&end.to_le_bytes());
            FOLLOWS
        }
    });
}

/// Length of the record that begins `bytes`, and its head; `None` if it has no valid header.
pub(crate) fn record_bytes(header: &[u8], salt: u64) -> Option<usize> {
    let header: &[u8; RECORD_BYTES] = header.get(..RECORD_BYTES)?.try_into().ok()?;
    let length = u32::from_le_bytes(header[4..8].try_into().ok()?) as usize;
    let same = u64::from_le_bytes(header[8..16].try_into().ok()?) == salt;
    (same && length <= PAYLOAD_BYTES_MAX).then_some(RECORD_BYTES + length)
}

/// Reads one whole record. Ranges of pages count from the record's first byte. `None`: it is not valid.
pub(crate) fn decode(record: &[u8], salt: u64) -> Option<(RecordHead, Record)> {
    if record_bytes(record, salt)? != record.len() {
        return None;
    }
    let crc = u32::from_le_bytes(record[..4].try_into().ok()?);
    if crc32fast::hash(&record[4..]) != crc {
        return None;
    }
    let head = RecordHead {
        time_us: u64::from_le_bytes(record[16..24].try_into().ok()?),
        durable: u64::from_le_bytes(record[24..32].try_into().ok()?),
    };
    let mut reader = Reader {
        bytes: record,
        at: RECORD_BYTES,
    };
    let content = match record[32] {
        COMMIT => Record::Commit(reader.commit()?),
        REMOVED => Record::Removed {
            name: reader.name()?,
        },
        BASE => Record::Base {
            name: reader.name()?,
        },
        APPEND => Record::Append {
            name: reader.name()?,
            offset: u64::from_le_bytes(reader.array()?),
            bytes: record[reader.at..].to_vec(),
        },
        START => Record::Start {
            sequence: u64::from_le_bytes(reader.array()?),
        },
        FOLLOWS => Record::Follows {
            end: u64::from_le_bytes(reader.array()?),
        },
        _ => return None,
    };
    Some((head, content))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(taken)
    }

    fn name(&mut self) -> Option<String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let name = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        String::from_utf8(name.to_vec()).ok()
    }

    fn commit(&mut self) -> Option<Commit> {
        let name = self.name()?;
        let [flags] = self.array()?;
        let page_bytes = u32::from_le_bytes(self.array()?);
        let db_pages = u32::from_le_bytes(self.array()?);
        let wal_salts = self.array()?;
        let wal_frame = u32::from_le_bytes(self.array()?);
        let wal_checksum = self.array()?;
        let count = u32::from_le_bytes(self.array()?) as usize;
        let length = page_bytes as usize;
        if count.checked_mul(length + 4)? != self.bytes.len() - self.at {
            return None;
        }
        let mut pages = Vec::with_capacity(count);
        for _ in 0..count {
            let number = u32::from_le_bytes(self.array()?);
            pages.push((number, self.at..self.at + length));
            self.at += length;
        }
        Some(Commit {
            name,
            more: flags & MORE != 0,
            created: flags & CREATED != 0,
            restored: flags & RESTORED != 0,
            page_bytes,
            db_pages,
            wal_salts,
            wal_frame,
            wal_checksum,
            pages,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: RecordHead = RecordHead {
        time_us: 7,
        durable: 64,
    };

    fn records() -> Vec<Record> {
        vec![
            Record::Removed {
                name: "do/a/b.sqlite".into(),
            },
            Record::Base { name: "x".into() },
            Record::Append {
                name: "i".into(),
                offset: 12,
                bytes: vec![1, 2],
            },
            Record::Start { sequence: 9 },
            Record::Follows { end: 64 },
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for record in records() {
            let mut bytes = Vec::new();
            put_record(&mut bytes, 5, HEAD, &record);
            let (head, read) = decode(&bytes, 5).expect("valid");
            assert_eq!((head.time_us, head.durable), (7, 64));
            assert_eq!(read, record);
            assert!(decode(&bytes, 6).is_none(), "of another segment");
        }
        let commit = Commit {
            name: "do/a/b.sqlite".into(),
            more: false,
            created: true,
            restored: false,
            page_bytes: 4,
            db_pages: 2,
            wal_salts: [1; 8],
            wal_frame: 3,
            wal_checksum: [2; 8],
            pages: Vec::new(),
        };
        let images: [(u32, &[u8]); 2] = [(1, b"aaaa"), (9, b"bbbb")];
        let mut bytes = Vec::new();
        put_commit(&mut bytes, 5, HEAD, &commit, images.into_iter());
        let Some((_, Record::Commit(read))) = decode(&bytes, 5) else {
            panic!("a commit")
        };
        let pages: Vec<_> = read
            .pages
            .iter()
            .map(|(number, range)| (*number, &bytes[range.clone()]))
            .collect();
        assert_eq!(pages, images, "the pages");
        assert_eq!(
            Commit {
                pages: Vec::new(),
                ..read
            },
            commit,
            "and the rest"
        );
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        for record in records() {
            let mut bytes = Vec::new();
            put_record(&mut bytes, 5, HEAD, &record);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&bytes, 5).is_none(), "{record:?} bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length], 5).is_none(), "cut to {length}");
            }
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written_or_not_at_all() {
        let header = SegmentHeader {
            sequence: 3,
            salt: 4,
            start: 2,
            boot: [9; 16],
            time_us: 1,
        };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        assert_eq!(SegmentHeader::decode(&bytes[..63]), None);
        bytes[20] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), None);
    }
}
