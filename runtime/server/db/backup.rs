//! `facetd db backup`: a copy of a data directory, also of one that is in use.
//!
//! Each database is copied as of one moment, its own: there is no moment that all of them share. Facet indexes come after
//! the databases of their object, so every facet in a backup has its name.

use super::endpoint::{Endpoint, Received};
use super::error::DbError;
use super::list::Listing;
use super::manifest::{Entry, Manifest, content_path, copy_hashed, files_folder};
use super::progress::{Progress, say};
use super::request::{FileInfo, Request};
use super::table::size;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A second backup to the same folder at once would remove what the first has just written.
const LOCK: &str = "backup.lock";

/// What a run did.
#[derive(Default)]
struct Tally {
    copied: u64,
    bytes: u64,
    unchanged: u64,
    /// Of these, so many were not even read.
    known: u64,
}

pub fn run(endpoint: &mut Endpoint, to: &Path) -> Result<(), DbError> {
    let before = prepare_folder(to)?;
    let _lock = lock(to)?;
    let known = before.as_ref().map(Manifest::by_name).unwrap_or_default();
    let mut listing = Listing::read(endpoint)?;
    listing.files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut manifest = Manifest::new(now_ms());
    let mut tally = Tally::default();
    let mut progress = Progress::new("backup", listing.files.len() as u64);
    for file in &listing.files {
        let old = known.get(&file.name).copied();
        let same = old.filter(|old| file.stamp.is_some() && old.stamp == file.stamp);
        let entry = match same {
            Some(old) if has_content(to, old) => {
                tally.known += 1;
                Some(old.clone())
            }
            _ => copy(endpoint, file, to)?,
        };
        let Some(entry) = entry else {
            progress.step(0); // deleted since it was listed
            continue;
        };
        let moved = if old.is_some_and(|old| old.sha256 == entry.sha256) {
            tally.unchanged += 1;
            0
        } else {
            tally.copied += 1;
            tally.bytes += entry.bytes;
            entry.bytes
        };
        progress.step(moved);
        manifest.files.push(entry);
    }
    drop(progress);
    manifest.finished_ms = now_ms();
    manifest.write(to)?;
    remove_unused(to, &manifest)?;
    say(&format!(
        "backup of {} files to {}: {} copied ({}), {} unchanged ({} by size and time)",
        manifest.files.len(),
        to.display(),
        tally.copied,
        size(tally.bytes),
        tally.unchanged,
        tally.known
    ));
    Ok(())
}

/// Makes the folder, or checks that it holds a backup and nothing else. Returns the manifest of the backup before.
fn prepare_folder(to: &Path) -> Result<Option<Manifest>, DbError> {
    let before = Manifest::read(to)?;
    if before.is_none() && to.exists() {
        let entries = fs::read_dir(to).map_err(DbError::io("list", to))?;
        let ours = ["files", LOCK, "manifest.json.tmp"];
        for entry in entries {
            let name = entry.map_err(DbError::io("list", to))?.file_name();
            if !ours.iter().any(|known| name == *known) {
                return Err(DbError::refused(format!(
                    "{} holds other files (such as {}): choose an empty folder, or the one of an earlier backup",
                    to.display(),
                    Path::new(&name).display()
                )));
            }
        }
    }
    let files = files_folder(to);
    fs::create_dir_all(&files).map_err(DbError::io("create", &files))?;
    Ok(before)
}

fn lock(to: &Path) -> Result<File, DbError> {
    let path = to.join(LOCK);
    let file = File::create(&path).map_err(DbError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(DbError::refused(format!(
            "another backup to {} is running",
            to.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(DbError::io("lock", &path)(error)),
    }
}

/// Its length is enough here: `verify` and `restore` compare checksums.
fn has_content(to: &Path, entry: &Entry) -> bool {
    fs::metadata(content_path(to, &entry.sha256)).is_ok_and(|found| found.len() == entry.bytes)
}

/// Copies one file into the backup, unless contents like its are there already. `None`: it is gone.
fn copy(endpoint: &mut Endpoint, file: &FileInfo, to: &Path) -> Result<Option<Entry>, DbError> {
    let arriving = files_folder(to).join("arriving");
    let request = Request::Fetch {
        file: file.name.clone(),
    };
    let mut entry = None;
    endpoint.ask(request, &[], &mut |received| {
        let Received::Content(from, announced) = received else {
            return Ok(());
        };
        let mut out = File::create(&arriving).map_err(DbError::io("create", &arriving))?;
        let (bytes, sha256) =
            copy_hashed(from, &mut out).map_err(DbError::io("write", &arriving))?;
        // A connection that breaks off is reported by its own error.
        if bytes == announced {
            entry = Some(Entry {
                name: file.name.clone(),
                bytes,
                sha256,
                stamp: file.stamp.clone(),
            });
        }
        Ok(())
    })?;
    if let Some(entry) = &entry {
        let content = content_path(to, &entry.sha256);
        let done = if has_content(to, entry) {
            fs::remove_file(&arriving)
        } else {
            fs::rename(&arriving, &content)
        };
        done.map_err(DbError::io("write", &content))?;
    }
    Ok(entry)
}

/// Removes what no entry names: contents of earlier backups, and what an interrupted one left.
fn remove_unused(to: &Path, manifest: &Manifest) -> Result<(), DbError> {
    let used: BTreeSet<&str> = manifest
        .files
        .iter()
        .map(|entry| entry.sha256.as_str())
        .collect();
    for path in unused(to, &used)? {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DbError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Files of a backup folder that no entry names.
pub fn unused(backup: &Path, used: &BTreeSet<&str>) -> Result<Vec<PathBuf>, DbError> {
    let folder = files_folder(backup);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(DbError::io("list", &folder))? {
        let entry = entry.map_err(DbError::io("list", &folder))?;
        let is_used = entry
            .file_name()
            .to_str()
            .is_some_and(|name| used.contains(name));
        if !is_used {
            found.push(entry.path());
        }
    }
    Ok(found)
}

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
