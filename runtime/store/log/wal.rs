//! Reading SQLite's write-ahead log, <https://www.sqlite.org/fileformat2.html#walformat>.
//!
//! Only ever reads. The writer of the commit log copies committed frames out of it; recovery asks whether a WAL that a
//! crash left behind holds what the commit log holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub(crate) const WAL_HEADER_BYTES: u64 = 32;
pub(crate) const FRAME_HEADER_BYTES: usize = 24;

const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalHeader {
    pub page_bytes: u32,
    /// They change each time the WAL is begun anew.
    pub salts: [u8; 8],
    /// Which byte order the checksums are computed in.
    big_endian: bool,
    checksum: [u8; 8],
}

/// One frame's header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub page: u32,
    /// Size of the database in pages if the frame ends a commit, else 0.
    pub db_pages: u32,
    pub salts: [u8; 8],
    pub checksum: [u8; 8],
}

fn be(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

impl WalHeader {
    /// `None`: there is no (whole) header.
    pub fn read(wal: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; WAL_HEADER_BYTES as usize];
        match wal.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let magic = be(&bytes[..4]);
        if magic != MAGIC_LITTLE && magic != MAGIC_BIG {
            return Ok(None);
        }
        let header = Self {
            page_bytes: be(&bytes[8..12]),
            salts: bytes[16..24].try_into().expect("8 bytes"),
            big_endian: magic == MAGIC_BIG,
            checksum: bytes[24..32].try_into().expect("8 bytes"),
        };
        let mut sum = (0, 0);
        header.add(&mut sum, &bytes[..24]);
        let valid = header.page_bytes.is_power_of_two()
            && (512..=65_536).contains(&header.page_bytes)
            && checksum_bytes(sum) == header.checksum;
        Ok(valid.then_some(header))
    }

    fn add(&self, sum: &mut (u32, u32), bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let word = |at: usize| {
                let bytes = pair[at..at + 4].try_into().expect("four bytes");
                if self.big_endian {
                    u32::from_be_bytes(bytes)
                } else {
                    u32::from_le_bytes(bytes)
                }
            };
            sum.0 = sum.0.wrapping_add(word(0)).wrapping_add(sum.1);
            sum.1 = sum.1.wrapping_add(word(4)).wrapping_add(sum.0);
        }
    }

    /// As `holds`, and no commit follows.
    pub fn ends_with(&self, wal: &File, number: u32, checksum: [u8; 8]) -> io::Result<bool> {
        if !self.holds(wal, number, checksum)? {
            return Ok(false);
        }
        // A frame of the same beginning may be left of a transaction that was rolled back, so this errs on the safe side.
        let mut bytes = [0; FRAME_HEADER_BYTES];
        match wal.read_exact_at(&mut bytes, frame_offset(self.page_bytes, number + 1)) {
            Ok(()) => Ok(Frame::decode(&bytes).salts != self.salts),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Is frame `number` (from 1) there with this checksum, and everything before it valid? Then the WAL holds what
    /// it held when the frame was written.
    pub fn holds(&self, wal: &File, number: u32, checksum: [u8; 8]) -> io::Result<bool> {
        let mut sum = (be(&self.checksum[..4]), be(&self.checksum[4..]));
        let mut bytes = vec![0; frame_bytes(self.page_bytes)];
        for at in 1..=number {
            match wal.read_exact_at(&mut bytes, frame_offset(self.page_bytes, at)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
            let frame = Frame::decode(&bytes);
            self.add(&mut sum, &bytes[..8]);
            self.add(&mut sum, &bytes[FRAME_HEADER_BYTES..]);
            if frame.salts != self.salts || frame.checksum != checksum_bytes(sum) {
                return Ok(false);
            }
            if at == number {
                return Ok(frame.checksum == checksum);
            }
        }
        Ok(true)
    }
}

fn checksum_bytes(sum: (u32, u32)) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&sum.0.to_be_bytes());
    bytes[4..].copy_from_slice(&sum.1.to_be_bytes());
    bytes
}

impl Frame {
    /// `bytes` are a frame, or at least its header.
    pub fn decode(bytes: &[u8]) -> Self {
        Self {
            page: be(&bytes[..4]),
            db_pages: be(&bytes[4..8]),
            salts: bytes[8..16].try_into().expect("8 bytes"),
            checksum: bytes[16..24].try_into().expect("8 bytes"),
        }
    }
}

pub(crate) fn frame_bytes(page_bytes: u32) -> usize {
    FRAME_HEADER_BYTES + page_bytes as usize
}

/// Where frame `number` (from 1) begins.
pub(crate) fn frame_offset(page_bytes: u32, number: u32) -> u64 {
    WAL_HEADER_BYTES + u64::from(number - 1) * frame_bytes(page_bytes) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_of_sqlite_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sqlite");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (randomblob(9000))",
            )
            .unwrap();
        let wal = File::open(dir.path().join("a.sqlite-wal")).unwrap();
        let header = WalHeader::read(&wal).unwrap().expect("a header");
        assert_eq!(header.page_bytes, 4096);
        let frames = (wal.metadata().unwrap().len() - WAL_HEADER_BYTES) / 4120;
        let last = u32::try_from(frames).unwrap();
        let mut bytes = [0; FRAME_HEADER_BYTES];
        wal.read_exact_at(&mut bytes, frame_offset(4096, last))
            .unwrap();
        let frame = Frame::decode(&bytes);
        assert!(frame.db_pages > 2, "the last frame ends a commit");
        assert!(header.holds(&wal, last, frame.checksum).unwrap());
        assert!(!header.holds(&wal, last, [0; 8]).unwrap());
        assert!(!header.holds(&wal, last + 1, frame.checksum).unwrap());
        let copy = dir.path().join("copy");
        let mut damaged = std::fs::read(dir.path().join("a.sqlite-wal")).unwrap();
        damaged[100] ^= 1;
        std::fs::write(&copy, damaged).unwrap();
        let copy = File::open(copy).unwrap();
        assert!(
            !header.holds(&copy, last, frame.checksum).unwrap(),
            "a flipped bit in an earlier frame"
        );
    }
}
