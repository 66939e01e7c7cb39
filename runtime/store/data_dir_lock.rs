//! Keeps two facetds off one data directory: SQLite's locks would not stop them from running one object twice.
//!
//! Owns: `<dir>/facetd.lock`, locked for as long as the value lives; the kernel unlocks it when the process ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Proof that this process owns a data directory.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
    path: PathBuf,
}

impl DataDirLock {
    /// Creates the directory if need be and locks it.
    ///
    /// # Errors
    /// `DataDirInUse` with the other's process id if it can be read, `DataDirNotWritable`.
    pub fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let not_writable = |source| StoreError::DataDirNotWritable {
            path: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(not_writable)?;
        let path = dir.join("facetd.lock");
        // Not truncated: until we hold the lock it is another's file.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(not_writable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(StoreError::DataDirInUse {
                    path: dir.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(not_writable(source)),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(pid.as_bytes()))
            .map_err(not_writable)?;
        Ok(Self { file, path })
    }

    /// Is the directory still the one that was locked? It may have been moved, unmounted or replaced. Whoever creates files
    /// in another one starts with nothing, and nobody notices.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.file.metadata().map(identity);
        let found = fs::metadata(&self.path).map(identity);
        matches!((ours, found), (Ok(ours), Ok(found)) if ours == found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("deep/er");
        let lock = DataDirLock::acquire(&data).unwrap();
        let error = DataDirLock::acquire(&data).unwrap_err();
        assert!(
            matches!(error, StoreError::DataDirInUse { pid: Some(pid), .. } if pid == std::process::id())
        );
        drop(lock);
        DataDirLock::acquire(&data).unwrap();
    }

    #[test]
    fn a_directory_that_was_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (data, away) = (dir.path().join("data"), dir.path().join("away"));
        let lock = DataDirLock::acquire(&data).unwrap();
        assert!(lock.is_in_place());
        fs::rename(&data, &away).unwrap();
        assert!(!lock.is_in_place(), "it is gone");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("facetd.lock"), "").unwrap();
        assert!(!lock.is_in_place(), "another one has its name");
        fs::remove_dir_all(&data).unwrap();
        fs::rename(&away, &data).unwrap();
        assert!(lock.is_in_place(), "and it is back");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = DataDirLock::acquire(&dir.path().join("file/data")).unwrap_err();
        assert!(matches!(error, StoreError::DataDirNotWritable { .. }));
    }
}
