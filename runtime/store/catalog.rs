//! What is stored in a data directory: namespaces, objects, their databases, and what does not belong there.
//!
//! Looks at names and sizes only and never opens a database file: a process that has one open through SQLite would lose
//! SQLite's locks the moment it closed another handle of it. Called by: `facetd db`, beside or inside a running server, so
//! files may come and go while it looks.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::StoreError;

/// A change so shortly before the look may have a twin with the same time and size: such a stamp proves nothing.
const STAMP_AGE_MIN: Duration = Duration::from_secs(2);

/// The folder of a data directory below which there is one folder per namespace.
pub const OBJECTS: &str = "do";
/// The database of a namespace that belongs to no object (workerd keeps its alarms there).
pub const METADATA: &str = "metadata.sqlite";

/// A file with its write-ahead log, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// File and log together.
    pub bytes: u64,
    pub changed: SystemTime,
    /// Two looks that find the same stamp found the same contents. `None`: it changed just now, so nobody can say.
    pub stamp: Option<String>,
}

/// All files of one root object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredObject {
    /// By storage id; the root object's own is 0.
    pub databases: BTreeMap<u16, FileState>,
    pub index: Option<FileState>,
}

/// A file that no facetd looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    pub path: PathBuf,
    pub why: &'static str,
    pub advice: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct StoredNamespace {
    /// The unique key, which is the folder's name.
    pub key: String,
    /// By id: 64 lower-case hex digits.
    pub objects: BTreeMap<String, StoredObject>,
    pub metadata: Option<FileState>,
    pub strays: Vec<Stray>,
}

/// What a file's name says it is.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Database(&'a str, u16),
    Index(&'a str),
    Metadata,
    /// `-wal`, `-shm` or `-journal` of the file of this name.
    Beside(&'a str),
    /// A copy that a crash left unfinished.
    Unfinished,
    Unknown,
}

fn named(name: &str) -> Named<'_> {
    if name == METADATA {
        return Named::Metadata;
    }
    if name.ends_with(crate::files::UNFINISHED) {
        return Named::Unfinished;
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        if let Some(main) = name.strip_suffix(suffix) {
            return match named(main) {
                Named::Database(..) | Named::Metadata => Named::Beside(main),
                _ => Named::Unknown,
            };
        }
    }
    let Some((id, rest)) = name.split_at_checked(64) else {
        return Named::Unknown;
    };
    if !is_hex_id(id) {
        return Named::Unknown;
    }
    match rest {
        ".sqlite" => Named::Database(id, 0),
        ".facets" => Named::Index(id),
        _ => {
            let number = rest
                .strip_prefix('.')
                .and_then(|rest| rest.strip_suffix(".sqlite"));
            match number.and_then(|digits| Some((digits, digits.parse::<u16>().ok()?))) {
                // Written in one way only: `+1` and `01` are parsed too, but nobody looks for such a file.
                Some((digits, number)) if number > 0 && digits == number.to_string() => {
                    Named::Database(id, number)
                }
                _ => Named::Unknown,
            }
        }
    }
}

/// Is this how an object's id is written in file names?
#[must_use]
pub fn is_hex_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The namespaces of a data directory, by key. One that was never used has none.
///
/// # Errors
/// `Io`.
pub fn namespaces(data_dir: &Path) -> Result<Vec<String>, StoreError> {
    let objects = data_dir.join(OBJECTS);
    let mut keys = Vec::new();
    for entry in entries(&objects)? {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let (true, Ok(name)) = (is_dir, entry.file_name().into_string()) {
            keys.push(name);
        }
    }
    keys.sort();
    Ok(keys)
}

/// The files of the namespace `key`, which must be one that [`namespaces`] returned.
///
/// # Errors
/// `Io`.
pub fn namespace(data_dir: &Path, key: &str) -> Result<StoredNamespace, StoreError> {
    let folder = data_dir.join(OBJECTS).join(key);
    let mut found = StoredNamespace {
        key: key.to_owned(),
        ..StoredNamespace::default()
    };
    let mut files: BTreeMap<String, Metadata> = BTreeMap::new();
    for entry in entries(&folder)? {
        let path = entry.path();
        let stray = |why, advice| Stray {
            path: path.clone(),
            why,
            advice,
        };
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("look at", &path)(error)),
        };
        match entry.file_name().into_string() {
            Ok(name) if metadata.is_file() => drop(files.insert(name, metadata)),
            Ok(_) if metadata.is_dir() => found.strays.push(stray(
                "is a folder where only files belong",
                "move it elsewhere",
            )),
            _ => found.strays.push(stray(
                "is no ordinary file of an object",
                "move it elsewhere",
            )),
        }
    }
    let wal_of = |name: &str| {
        files
            .get(&format!("{name}-wal"))
            .filter(|metadata| metadata.len() > 0)
    };
    for (name, metadata) in &files {
        let state = || FileState::of(metadata, wal_of(name));
        let stray = |why, advice| Stray {
            path: folder.join(name),
            why,
            advice,
        };
        match named(name) {
            Named::Database(id, number) => {
                let object = found.objects.entry(id.to_owned()).or_default();
                object.databases.insert(number, state());
            }
            Named::Index(id) => {
                found.objects.entry(id.to_owned()).or_default().index = Some(state());
            }
            Named::Metadata => found.metadata = Some(state()),
            Named::Beside(main) if files.contains_key(main) => {}
            Named::Beside(_) => found.strays.push(stray(
                "belongs to a database that is not there",
                "delete it; if the database should be there, restore it from a backup",
            )),
            Named::Unfinished => found.strays.push(stray(
                "is a copy that was never finished",
                "delete it while no facetd runs",
            )),
            Named::Unknown => found.strays.push(stray(
                "is not a name that facetd gives",
                "move it elsewhere; a database is found only under its object's id",
            )),
        }
    }
    Ok(found)
}

/// The size and time of a file and its log, now.
///
/// # Errors
/// `Io`. An absent file is `None`.
pub fn file_state(path: &Path) -> Result<Option<FileState>, StoreError> {
    let look = |path: &Path| match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    };
    let wal = look(&crate::files::beside(path, "-wal"))?.filter(|metadata| metadata.len() > 0);
    Ok(look(path)?.map(|metadata| FileState::of(&metadata, wal.as_ref())))
}

impl FileState {
    fn of(file: &Metadata, wal: Option<&Metadata>) -> Self {
        // The time of the last change of the inode: unlike the modification time, nobody can set it.
        let time = |metadata: &Metadata| {
            let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
            let nanos =
                Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or_default());
            seconds + nanos
        };
        let newest = wal.map_or(time(file), |wal| time(file).max(time(wal)));
        let changed = UNIX_EPOCH + newest;
        // In the future: the clock was set back, which proves nothing either.
        let old = SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age >= STAMP_AGE_MIN);
        let part = |metadata: &Metadata| {
            let time = time(metadata);
            format!(
                "{}:{}:{}.{:09}",
                metadata.ino(),
                metadata.len(),
                time.as_secs(),
                time.subsec_nanos()
            )
        };
        let stamp = || match wal {
            Some(wal) => format!("{}+{}", part(file), part(wal)),
            None => part(file),
        };
        Self {
            bytes: file.len() + wal.map_or(0, Metadata::len),
            changed,
            stamp: old.then(stamp),
        }
    }
}

/// The entries of a folder; of an absent one, none.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    let failed = || StoreError::io("list", folder);
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<Result<_, _>>().map_err(failed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed()(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "67b27b86a477624d5458239e66757394a53356d64c8280abebe61bde75980cf4";

    #[test]
    fn file_names_say_what_is_in_them() {
        let name = |rest: &str| format!("{ID}{rest}");
        assert_eq!(named(&name(".sqlite")), Named::Database(ID, 0));
        assert_eq!(named(&name(".12.sqlite")), Named::Database(ID, 12));
        assert_eq!(named(&name(".65535.sqlite")), Named::Database(ID, 65535));
        assert_eq!(named(&name(".facets")), Named::Index(ID));
        assert_eq!(
            named(&name(".2.sqlite-wal")),
            Named::Beside(&name(".2.sqlite"))
        );
        assert_eq!(named("metadata.sqlite-shm"), Named::Beside(METADATA));
        assert_eq!(named(&name(".1.sqlite.copying")), Named::Unfinished);
        for odd in [
            ".0.sqlite",
            ".01.sqlite",
            ".+1.sqlite",
            ".65536.sqlite",
            "..sqlite",
            ".sqlite.bak",
            "",
        ] {
            assert_eq!(named(&name(odd)), Named::Unknown, "{odd}");
        }
        assert_eq!(
            named(&format!("{}.sqlite", ID.to_uppercase())),
            Named::Unknown
        );
        assert_eq!(named("ü".repeat(40).as_str()), Named::Unknown);
    }

    #[test]
    fn a_namespace_is_sorted_into_objects_and_strays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("do/w-A");
        fs::create_dir_all(folder.join("folder")).unwrap();
        for (name, bytes) in [
            (format!("{ID}.sqlite"), 10),
            (format!("{ID}.sqlite-wal"), 5),
            (format!("{ID}.3.sqlite"), 7),
            (format!("{ID}.4.sqlite-shm"), 1),
            (format!("{ID}.facets"), 8),
            ("notes.txt".to_owned(), 1),
        ] {
            fs::write(folder.join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(namespaces(dir.path()).unwrap(), ["w-A"]);
        let found = namespace(dir.path(), "w-A").unwrap();
        let object = &found.objects[ID];
        assert_eq!(object.databases[&0].bytes, 15, "the log counts");
        assert_eq!(object.databases[&3].bytes, 7);
        assert_eq!(object.index.as_ref().unwrap().bytes, 8);
        assert_eq!(
            object.databases[&0].stamp, None,
            "it was written a moment ago"
        );
        let mut strays: Vec<_> = found
            .strays
            .iter()
            .map(|stray| stray.path.strip_prefix(&folder).unwrap().to_owned())
            .collect();
        strays.sort();
        let expected = [
            format!("{ID}.4.sqlite-shm"),
            "folder".into(),
            "notes.txt".into(),
        ];
        assert_eq!(strays, expected.map(PathBuf::from));
    }

    #[test]
    fn a_data_directory_without_objects_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(namespaces(dir.path()).unwrap().is_empty());
        assert!(namespace(dir.path(), "x").unwrap().objects.is_empty());
        assert_eq!(file_state(&dir.path().join("x")).unwrap(), None);
    }
}
