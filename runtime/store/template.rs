//! The file an empty database starts as: one page, already in WAL mode.
//!
//! Written with one `write` instead of letting SQLite create a file, switch its journal mode and sync three times.
//! Always true: SQLite (and workerd) open it as an ordinary empty database with 4096-byte pages and UTF-8 text.

pub(crate) const PAGE_BYTES: usize = 4096;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const WAL: u8 = 2;

/// What the first bytes of a database file say about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing, or zeros no longer than the template: a power cut came before the first sync, so nothing in this
    /// database was ever confirmed.
    Blank,
    Wal,
    OtherJournal,
    NotADatabase,
}

/// `file_bytes` is the length of the whole file, `start` its first bytes (at least 100 if there are that many).
pub(crate) fn inspect(start: &[u8], file_bytes: u64) -> Header {
    if file_bytes <= PAGE_BYTES as u64 && start.iter().all(|byte| *byte == 0) {
        Header::Blank
    } else if start.len() < 100 || !start.starts_with(MAGIC) {
        Header::NotADatabase
    } else if start[18] == WAL && start[19] == WAL {
        Header::Wal
    } else {
        Header::OtherJournal
    }
}

/// The image, fields as in <https://www.sqlite.org/fileformat2.html>; those not set here are zero.
pub(crate) const IMAGE: [u8; PAGE_BYTES] = {
    let mut page = [0; PAGE_BYTES];
    let mut index = 0;
    while index < MAGIC.len() {
        page[index] = MAGIC[index];
        index += 1;
    }
    page[16] = (PAGE_BYTES >> 8) as u8;
    page[18] = WAL;
    page[19] = WAL;
    page[21] = 64; // payload fractions: fixed by the format
    page[22] = 32;
    page[23] = 32;
    page[27] = 1; // change counter
    page[31] = 1; // size in pages
    page[47] = 4; // schema format
    page[59] = 1; // UTF-8
    page[95] = 1; // the change counter the size above is valid for
    page[100] = 13; // an empty table leaf page ...
    page[105] = (PAGE_BYTES >> 8) as u8; // ... whose cell content starts at its end
    page
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_takes_the_image_for_an_empty_wal_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.sqlite");
        std::fs::write(&path, IMAGE).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        let ask = |sql: &str| {
            connection
                .query_row(sql, [], |row| row.get::<_, String>(0))
                .unwrap()
        };
        assert_eq!(ask("PRAGMA journal_mode"), "wal");
        assert_eq!(ask("PRAGMA encoding"), "UTF-8");
        assert_eq!(ask("PRAGMA integrity_check"), "ok");
        connection
            .execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)")
            .unwrap();
        assert_eq!(ask("PRAGMA integrity_check"), "ok");
    }

    #[test]
    fn headers_are_told_apart() {
        assert_eq!(inspect(&IMAGE[..100], 4096), Header::Wal);
        assert_eq!(inspect(&[], 0), Header::Blank);
        assert_eq!(
            inspect(&[0; 100], 4096),
            Header::Blank,
            "size was written, data was not"
        );
        assert_eq!(inspect(&[0; 100], 8192), Header::NotADatabase);
        assert_eq!(inspect(b"hello", 5), Header::NotADatabase);
    }
}
