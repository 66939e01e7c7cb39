//! The files of one root object and all its facets: their names, removal and copying.
//!
//! Never opens a database for use (that is `Database`). Called by: the host, which makes sure that nobody has a
//! database open while it is removed or copied over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::inspect::copy_pages;
use crate::log::CommitLog;
use crate::{FacetIndex, StoreError, remove_if_there, sync_directory, template};

/// Ends the name of a copy that is being made. Nobody looks for such a file.
pub(crate) const UNFINISHED: &str = ".copying";

/// `<dir>/<hex>.sqlite`, `<dir>/<hex>.<n>.sqlite`, `<dir>/<hex>.facets`: workerd's names.
#[derive(Debug, Clone)]
pub struct ObjectFiles {
    dir: PathBuf,
    hex_id: String,
    log: Option<CommitLog>,
}

impl ObjectFiles {
    /// `log`: the one that the databases are opened with.
    pub fn new(dir: impl Into<PathBuf>, hex_id: impl Into<String>, log: Option<CommitLog>) -> Self {
        Self {
            dir: dir.into(),
            hex_id: hex_id.into(),
            log,
        }
    }

    /// The same files, written through `log`.
    #[must_use]
    pub fn with_log(&self, log: CommitLog) -> Self {
        Self {
            log: Some(log),
            ..self.clone()
        }
    }

    pub(crate) fn log(&self) -> Option<&CommitLog> {
        self.log.as_ref()
    }

    /// Makes the index durable as it is, so that nothing logged of it counts any more.
    pub(crate) fn settle_index(&self) -> Result<(), StoreError> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        let path = self.index();
        match fs::File::open(&path).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(StoreError::io("sync", &path))?,
        }
        log.rebase(&path)
    }

    /// The facet index of the object.
    ///
    /// # Errors
    /// As `FacetIndex::open`.
    pub fn open_index(&self) -> Result<FacetIndex, StoreError> {
        FacetIndex::open(&self.index(), self.log.clone())
    }

    /// Waits until what was logged so far is on disk.
    ///
    /// # Errors
    /// `SyncFailed`.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.log.as_ref().map_or(Ok(()), CommitLog::flush)
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

    /// Was anything ever stored in this database? What a start that came to nothing left behind is removed.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_used(&self, storage_id: u16) -> Result<bool, StoreError> {
        let path = self.database(storage_id);
        let read = |path: &Path| match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(StoreError::io("read", path)),
        };
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(StoreError::io("measure", &path))?.len(),
        };
        let untouched = length <= template::IMAGE.len() as u64 && {
            let bytes = read(&path)?;
            bytes == template::IMAGE || bytes.iter().all(|byte| *byte == 0)
        };
        // After a power cut, recovery has put what was confirmed into the file itself.
        let in_file_only = self.log.as_ref().is_some_and(CommitLog::follows_power_cut);
        if !untouched || !(in_file_only || read(&beside(&path, "-wal"))?.is_empty()) {
            return Ok(true);
        }
        remove_files(&path)?;
        Ok(false)
    }

    /// The lowest number of a facet, from `storage_id` on, that has a database. Reads the whole directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn facet_from(&self, storage_id: u16) -> Result<Option<u16>, StoreError> {
        let failed = StoreError::io("read", &self.dir);
        let number = |entry: fs::DirEntry| -> Option<u16> {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(&self.hex_id)?.strip_prefix('.')?;
            rest.strip_suffix(".sqlite")?.parse().ok()
        };
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.and_then(Iterator::collect::<io::Result<Vec<_>>>),
        };
        let entries = entries.map_err(failed)?;
        let known = entries.into_iter().filter_map(number);
        Ok(known.filter(|facet| *facet >= storage_id).min())
    }

    /// Removes a database with all that belongs to it; durable on return. An absent one is fine.
    ///
    /// # Errors
    /// `Io`: some of its files may be left.
    pub fn remove_database(&self, storage_id: u16) -> Result<(), StoreError> {
        let path = self.database(storage_id);
        let exists = path
            .try_exists()
            .map_err(StoreError::io("look for", &path))?;
        match &self.log {
            Some(log) if exists => log.remove(&path, || remove_files(&path).map(drop)),
            _ => {
                if remove_files(&path)? {
                    sync_directory(&self.dir).map_err(StoreError::io("sync", &self.dir))?;
                }
                Ok(())
            }
        }
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
            if let Some(log) = &self.log {
                log.rebase(&to)?;
            }
            Ok(bytes)
        });
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    /// The alarm in a database that nobody has open, such as a copy just made. `None` too if there is no database.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn alarm_ns(&self, storage_id: u16) -> Result<Option<i64>, StoreError> {
        let path = self.database(storage_id);
        if !path
            .try_exists()
            .map_err(StoreError::io("look for", &path))?
        {
            return Ok(None);
        }
        let database = crate::Database::open(&path, crate::OpenOptions::default())?;
        database.alarm_ns()
    }
}

/// The database goes first: a WAL without one is ignored (`Database::open` removes it), while a database without its
/// WAL would come back with old contents. Was there anything?
fn remove_files(path: &Path) -> Result<bool, StoreError> {
    let mut removed = false;
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        removed |= remove_if_there(&path)?;
    }
    Ok(removed)
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn back_up(from: &Path, to: &Path) -> Result<u64, StoreError> {
    remove_if_there(to)?;
    // Writable, because opening the WAL of a database that nobody else has open means to build its index.
    let source = Connection::open_with_flags(
        from,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| StoreError::from_sqlite(error, from, false))?;
    // Closing must not checkpoint what may not be durable yet.
    source
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|error| StoreError::from_sqlite(error, from, false))?;
    copy_pages(&source, from, to)?;
    let file = fs::File::open(to).map_err(StoreError::io("open", to))?;
    file.sync_all().map_err(StoreError::io("sync", to))?;
    Ok(file
        .metadata()
        .map_err(StoreError::io("measure", to))?
        .len())
}
