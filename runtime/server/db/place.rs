//! A data directory as the operations see it: whose it is, and who may have its databases open.
//!
//! Owns: the data directory's lock without a server, the staging folder in both cases. Without a server nobody has anything
//! open. Within one, reading happens beside the objects, and writing after an object was reset and its seat taken.

use super::address::Located;
use super::error::DbError;
use facetd_host::{Held, Host};
use facetd_store::inspect::{Sharing, Sink};
use facetd_store::{Interrupt, ObjectFiles, StoreError, admin, catalog, inspect};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Copies on their way in or out. What a crash left here is removed by the next one who uses the data directory.
pub const STAGING: &str = ".facetd-admin";

/// An idle database up to this size is read while its object cannot start; a larger one beside it.
const IDLE_BYTES_MAX: u64 = 16 << 20;

pub enum Owner {
    /// No server: the lock of the data directory is ours.
    Offline(admin::OfflineStore),
    Server(Arc<Host>),
}

pub struct Place {
    owner: Owner,
    staging: Staging,
    /// How many of our own connections read a database beside its object.
    readers: Mutex<HashMap<PathBuf, usize>>,
}

/// Counts a reader beside an object, which may have gone to sleep, or never have been there. Then SQLite made an empty log
/// for us; the last reader takes it away again.
struct Beside<'a> {
    place: &'a Place,
    path: &'a Path,
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        let Owner::Server(host) = &self.place.owner else {
            return;
        };
        // Locked to the end: no other reader comes while the log goes.
        let mut readers = self.place.readers.lock();
        if let Some(count) = readers.get_mut(self.path) {
            *count -= 1;
            if *count > 0 {
                return;
            }
        }
        readers.remove(self.path);
        if is_object(self.path) {
            host.while_idle(self.path, || inspect::remove_empty_log(self.path));
        }
    }
}

/// Has the database a seat? A namespace's own has none.
fn is_object(path: &Path) -> bool {
    path.file_name() != Some(catalog::METADATA.as_ref())
}

/// The databases of one object, for as long as nobody else can open them.
pub enum Hold {
    Offline(ObjectFiles),
    Server(Held),
}

impl Hold {
    pub fn replace_index(
        &self,
        replace: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Offline(_) => replace(),
            Self::Server(held) => held.replace_index(replace),
        }
    }

    pub fn files(&self) -> &ObjectFiles {
        match self {
            Self::Offline(files) => files,
            Self::Server(held) => held.files(),
        }
    }
}

/// The folder of a namespace.
pub fn relative(data_dir: &Path, namespace: &str) -> PathBuf {
    data_dir.join(catalog::OBJECTS).join(namespace)
}

impl Place {
    pub fn new(owner: Owner) -> Result<Self, DbError> {
        let data_dir = match &owner {
            Owner::Offline(store) => store.data_dir(),
            Owner::Server(host) => host.data_dir(),
        };
        let staging = Staging::at(data_dir.join(STAGING))?;
        Ok(Self {
            owner,
            staging,
            readers: Mutex::default(),
        })
    }

    pub fn data_dir(&self) -> &Path {
        match &self.owner {
            Owner::Offline(store) => store.data_dir(),
            Owner::Server(host) => host.data_dir(),
        }
    }

    /// The running server.
    pub fn host(&self) -> Option<&Arc<Host>> {
        match &self.owner {
            Owner::Offline(_) => None,
            Owner::Server(host) => Some(host),
        }
    }

    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Reads a database in the way that disturbs least.
    fn read<R>(&self, path: &Path, read: impl Fn(Sharing) -> R) -> Result<R, StoreError> {
        match &self.owner {
            Owner::Offline(_) => Ok(read(Sharing::Alone)),
            Owner::Server(host) => {
                let small = is_object(path)
                    && catalog::file_state(path)?.is_none_or(|state| state.bytes <= IDLE_BYTES_MAX);
                let idle = if small {
                    host.while_idle(path, || read(Sharing::Alone))
                } else {
                    None
                };
                Ok(idle.unwrap_or_else(|| self.beside(path, || read(Sharing::Shared))))
            }
        }
    }

    fn beside<R>(&self, path: &Path, read: impl FnOnce() -> R) -> R {
        *self.readers.lock().entry(path.to_owned()).or_default() += 1;
        let _counted = Beside { place: self, path };
        read()
    }

    /// `None`: the database is gone.
    pub fn snapshot(&self, path: &Path) -> Result<Option<Staged>, DbError> {
        let staged = self.staging.reserve();
        // A database that is deleted and made anew while it is read mixes two: then once more.
        for _ in 0..3 {
            let before = inode(path);
            let _none_before = fs::remove_file(staged.path());
            let copied = self.read(path, |sharing| {
                inspect::snapshot(path, sharing, staged.path())
            })?;
            if inode(path) == before {
                return Ok(copied?.then_some(staged));
            }
        }
        Ok(None) // it comes and goes: there is nothing to keep of it
    }

    pub fn check(&self, path: &Path, interrupt: &Interrupt) -> Result<Vec<String>, StoreError> {
        self.read(path, |sharing| {
            inspect::check(path, sharing, interrupt.clone())
        })?
    }

    pub fn query(
        &self,
        path: &Path,
        sql: &str,
        interrupt: Interrupt,
        sink: Sink<'_>,
    ) -> Result<(), StoreError> {
        match self.owner {
            Owner::Offline(_) => inspect::query(path, Sharing::Alone, sql, interrupt, sink),
            // Not while its object cannot start: a query may take long.
            Owner::Server(_) => self.beside(path, || {
                inspect::query(path, Sharing::Shared, sql, interrupt, sink)
            }),
        }
    }

    /// Resets what is at `facets` of the object and keeps the databases for the caller. Not on an async thread.
    pub fn hold(
        &self,
        located: &Located,
        facets: &[String],
        storage_ids: &[u16],
    ) -> Result<Hold, DbError> {
        match &self.owner {
            Owner::Offline(store) => {
                Ok(Hold::Offline(located.files.with_log(store.log()?.clone())))
            }
            Owner::Server(host) => {
                let held = host.hold(&located.namespace, located.id, facets, storage_ids);
                let held = tokio::runtime::Handle::current().block_on(held)?;
                Ok(Hold::Server(held))
            }
        }
    }

    /// Gives the facets of an address that have no number yet their numbers.
    pub fn assign(&self, located: &Located) -> Result<u16, DbError> {
        let mut number = located.known;
        let folder = located.files.folder();
        fs::create_dir_all(folder).map_err(DbError::io("create", folder))?;
        for name in &located.missing {
            number = match &self.owner {
                Owner::Offline(store) => {
                    let files = located.files.with_log(store.log()?.clone());
                    files.open_index()?.assign(number, name)?
                }
                Owner::Server(host) => {
                    host.assign_facet(&located.namespace, located.id, number, name)?
                }
            };
        }
        Ok(number)
    }
}

/// Tells a file from its successor of the same name.
fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// A folder for files that are not finished.
pub struct Staging {
    folder: PathBuf,
    next: AtomicU64,
}

impl Staging {
    /// Empties what is there and makes the folder, for this user only.
    pub fn at(folder: PathBuf) -> Result<Self, DbError> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DbError::io("remove", &folder)(error));
            }
            _ => {}
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(DbError::io("create", &folder))?;
        Ok(Self {
            folder,
            next: AtomicU64::new(0),
        })
    }

    /// A name for a new file, which is removed when the value is dropped.
    pub fn reserve(&self) -> Staged {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Staged(self.folder.join(format!("{number}.copying")))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot be removed");
        }
    }
}

pub struct Staged(PathBuf);

impl Staged {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Opens it for reading; its name goes, its contents stay as long as the handle.
    pub fn into_file(self) -> io::Result<(File, u64)> {
        let file = File::open(&self.0)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _moved_or_never_made = fs::remove_file(&self.0);
        for suffix in ["-wal", "-shm", "-journal"] {
            let mut name = self.0.as_os_str().to_owned();
            name.push(suffix);
            let _rarely_there = fs::remove_file(name);
        }
    }
}
