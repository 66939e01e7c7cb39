//! The manifest of a backup: which file of the data directory has which contents.
//!
//! A backup is a folder with `manifest.json` and `files/`, where each file is named for the SHA-256 of its contents. So
//! a backup that breaks off leaves the manifest before it, and everything that one names, untouched; a file that did not
//! change is not written again; and a file that went bad is found by its name.

use super::error::DbError;
use super::request::FileName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub const MANIFEST: &str = "manifest.json";
const FILES: &str = "files";
const FORMAT: &str = "facetd-backup";
const VERSION: u64 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u64,
    /// Of the facetd that wrote it, for people.
    pub facetd: String,
    /// Milliseconds since 1970. Each database is as it was at some moment between these.
    pub started_ms: u64,
    pub finished_ms: u64,
    pub files: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub name: FileName,
    pub bytes: u64,
    pub sha256: String,
    /// What the source looked like before it was copied; see `FileInfo`.
    pub stamp: Option<String>,
}

impl Manifest {
    pub fn new(started_ms: u64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            facetd: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms,
            finished_ms: started_ms,
            files: Vec::new(),
        }
    }

    /// `None`: there is none, so the folder holds no backup.
    pub fn read(folder: &Path) -> Result<Option<Self>, DbError> {
        let path = folder.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DbError::io("read", &path)(error)),
        };
        let damaged = |why: String| {
            DbError::refused(format!(
                "{} {why}. It is not the manifest of a backup that this facetd can read",
                path.display()
            ))
        };
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| damaged(format!("is damaged: {error}")))?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            return Err(damaged(format!(
                "says it is version {} of {}",
                manifest.version, manifest.format
            )));
        }
        for entry in &manifest.files {
            if !is_sha256(&entry.sha256) || entry.name.path().is_none() {
                return Err(damaged("names a file that cannot be".to_owned()));
            }
        }
        Ok(Some(manifest))
    }

    /// The manifest of a backup that must be there.
    pub fn of(folder: &Path) -> Result<Self, DbError> {
        if !folder.is_dir() {
            return Err(DbError::not_there(format!(
                "there is no folder {}",
                folder.display()
            )));
        }
        Self::read(folder)?.ok_or_else(|| {
            DbError::not_there(format!(
                "{} holds no whole backup: it has no {MANIFEST}, which `facetd db backup` writes last",
                folder.display()
            ))
        })
    }

    /// Replaces the manifest as a whole; durable on return, as is everything that was written to the folder before.
    pub fn write(&self, folder: &Path) -> Result<(), DbError> {
        sync_file_system(folder)?;
        let path = folder.join(MANIFEST);
        let temporary = folder.join(format!("{MANIFEST}.tmp"));
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| DbError::failed(format!("the manifest cannot be written: {error}")))?;
        File::create(&temporary)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.write_all(b"\n")?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(DbError::io("write", &path))
    }

    pub fn by_name(&self) -> BTreeMap<&FileName, &Entry> {
        self.files
            .iter()
            .map(|entry| (&entry.name, entry))
            .collect()
    }
}

fn is_sha256(text: &str) -> bool {
    facetd_store::catalog::is_hex_id(text) // 64 hex digits, too
}

pub fn files_folder(backup: &Path) -> PathBuf {
    backup.join(FILES)
}

pub fn content_path(backup: &Path, sha256: &str) -> PathBuf {
    files_folder(backup).join(sha256)
}

/// Copies to the end; returns how many bytes it were, and their SHA-256.
pub fn copy_hashed(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    Ok((bytes, hex::encode(hash.finalize())))
}

/// What is wrong with the contents that an entry names; `None`: they are as they were written.
pub fn fault_of(backup: &Path, entry: &Entry) -> Result<Option<String>, DbError> {
    let path = content_path(backup, &entry.sha256);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("is missing".to_owned()));
        }
        Err(error) => return Ok(Some(format!("cannot be read: {error}"))),
    };
    match copy_hashed(&mut file, &mut io::sink()) {
        Ok((bytes, _)) if bytes != entry.bytes => Ok(Some(format!(
            "has {bytes} bytes and should have {}",
            entry.bytes
        ))),
        Ok((_, sha256)) if sha256 != entry.sha256 => {
            Ok(Some("has changed: its checksum is another".to_owned()))
        }
        Ok(_) => Ok(None),
        Err(error) => Ok(Some(format!("cannot be read: {error}"))),
    }
}

/// One call for all files that were written: a sync per file would take most of a backup's time.
pub fn sync_file_system(folder: &Path) -> Result<(), DbError> {
    use std::os::fd::AsRawFd;
    let opened = File::open(folder).map_err(DbError::io("open", folder))?;
    // SAFETY: the descriptor is open for the whole call, and the call touches no memory of ours.
    if unsafe { libc::syncfs(opened.as_raw_fd()) } == 0 {
        return Ok(());
    }
    Err(DbError::io("sync", folder)(io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sha256: &str) -> Entry {
        Entry {
            name: FileName::Migrations,
            bytes: 5,
            sha256: sha256.to_owned(),
            stamp: None,
        }
    }

    #[test]
    fn a_manifest_is_read_back_and_a_strange_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Manifest::read(dir.path()).unwrap().is_none());
        assert!(
            Manifest::of(dir.path())
                .unwrap_err()
                .message
                .contains("no whole backup")
        );
        let mut manifest = Manifest::new(7);
        manifest.files.push(entry(&"a".repeat(64)));
        manifest.write(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(MANIFEST)).unwrap();
        assert_eq!(Manifest::of(dir.path()).unwrap().files.len(), 1);
        let outside = r#""kind": "index", "namespace": "..", "object": "x""#;
        for changed in [
            text[..text.len() / 2].to_owned(),
            text.replace("\"version\": 1", "\"version\": 2"),
            text.replace(&"a".repeat(64), "../../etc/passwd"),
            text.replace(r#""kind": "migrations""#, outside),
            "[]".to_owned(),
        ] {
            assert_ne!(changed, text);
            fs::write(dir.path().join(MANIFEST), changed).unwrap();
            Manifest::of(dir.path()).unwrap_err();
        }
    }

    #[test]
    fn contents_that_went_bad_are_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(files_folder(dir.path())).unwrap();
        let (bytes, sha256) = copy_hashed(&mut &b"hello"[..], &mut io::sink()).unwrap();
        assert_eq!(bytes, 5);
        let entry = entry(&sha256);
        let path = content_path(dir.path(), &sha256);
        let fault = || fault_of(dir.path(), &entry).unwrap();
        assert!(fault().unwrap().contains("missing"));
        fs::write(&path, "hello").unwrap();
        assert_eq!(fault(), None);
        fs::write(&path, "hellp").unwrap();
        assert!(fault().unwrap().contains("checksum"));
        fs::write(&path, "hell").unwrap();
        assert!(fault().unwrap().contains("4 bytes"));
    }
}
