//! The files of one root object and all its facets: their names, removal and copying.
//!
//! Never opens a database for use (that is `Database`). Called by: the host, which makes sure that nobody has a
//! database open while it is removed or copied over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;
use crate::inspect::copy_pages;
use crate::sync::sync_directory;

/// Ends the name of a copy that is being made. Nobody looks for such a file.
pub(crate) const UNFINISHED: &str = ".copying";

/// `<dir>/<hex>.sqlite`, `<dir>/<hex>.<n>.sqlite`, `<dir>/<hex>.facets`: workerd's names.
#[derive(Debug, Clone)]
pub struct ObjectFiles {
    dir: PathBuf,
    hex_id: String,
}

impl ObjectFiles {
    pub fn new(dir: impl Into<PathBuf>, hex_id: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            hex_id: hex_id.into(),
        }
    }

    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// The database of the root object (0) or of a facet.
    #[must_use]
    pub fn database(&self, storage_id: u16) -> PathBuf {
        self.dir.join(match storage_id {
            0 => format!("{}.sqlite", self.hex_id),
            facet => format!("{}.{facet}.sqlite", self.hex_id),
        })
    }

    /// The facet index.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.dir.join(format!("{}.facets", self.hex_id))
    }

    /// Removes a database with all that belongs to it; durable on return. An absent one is fine.
    ///
    /// # Errors
    /// `Io`: some of its files may be left.
    pub fn remove_database(&self, storage_id: u16) -> Result<(), StoreError> {
        let path = self.database(storage_id);
        // The database goes first: a WAL without one is ignored (`Database::open` removes it), while a database
        // without its WAL would come back with old contents.
        let mut removed = false;
        for path in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
            match fs::remove_file(&path) {
                Ok(()) => removed = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("remove", &path)(error)),
            }
        }
        if removed {
            sync_directory(&self.dir).map_err(StoreError::io("sync", &self.dir))?;
        }
        Ok(())
    }

    /// Replaces database `dst` by a copy of what is committed in `src`; returns its size in bytes. `src` may be open
    /// on another thread, in the middle of a transaction and with all of its contents still in the WAL.
    /// Without a `src` there is no `dst` afterwards, and 0 is returned. Durable on return.
    ///
    /// # Errors
    /// `dst` is as before or absent, never half copied.
    pub fn copy_database(&self, src: u16, dst: u16) -> Result<u64, StoreError> {
        let (from, to) = (self.database(src), self.database(dst));
        if !from
            .try_exists()
            .map_err(StoreError::io("look for", &from))?
        {
            self.remove_database(dst)?;
            return Ok(0);
        }
        let temporary = beside(&to, UNFINISHED);
        let result = back_up(&from, &temporary).and_then(|bytes| {
            self.remove_database(dst)?;
            fs::rename(&temporary, &to).map_err(StoreError::io("rename", &temporary))?;
            sync_directory(&self.dir).map_err(StoreError::io("sync", &self.dir))?;
            Ok(bytes)
        });
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn back_up(from: &Path, to: &Path) -> Result<u64, StoreError> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", to)(error));
        }
        _ => {}
    }
    // Writable, because opening the WAL of a database that nobody else has open means to build its index.
    let source = Connection::open_with_flags(
        from,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| StoreError::from_sqlite(error, from, false))?;
    copy_pages(&source, from, to)?;
    let file = fs::File::open(to).map_err(StoreError::io("open", to))?;
    file.sync_all().map_err(StoreError::io("sync", to))?;
    Ok(file
        .metadata()
        .map_err(StoreError::io("measure", to))?
        .len())
}
