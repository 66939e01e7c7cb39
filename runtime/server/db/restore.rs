//! `facetd db restore`: a backup becomes a data directory again, or one object of a running one.
//! Or, from the history that the commit log keeps, one database as it was at some time.

use super::address::Address;
use super::backup::now_ms;
use super::endpoint::Endpoint;
use super::error::DbError;
use super::manifest::{Entry, Manifest, content_path, copy_hashed, fault_of};
use super::place::STAGING;
use super::progress::{Progress, say};
use super::request::{FileName, Request, UploadPart};
use super::table;
use facetd_store::admin::OfflineStore;
use facetd_store::{StoreError, catalog};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub struct Restore<'a> {
    pub from: &'a Path,
    pub data_dir: &'a Path,
    pub force: bool,
    pub only: Option<&'a Address>,
}

/// Takes one database back to a time, from its own history.
pub fn at(
    endpoint: &mut Endpoint,
    database: Address,
    at: &str,
    force: bool,
) -> Result<(), DbError> {
    let now = now_ms();
    let at_ms = table::parse_time(at, now).ok_or_else(|| {
        DbError::usage(format!(
            "`{at}` is no time: write 2026-11-24 12:00:00 (UTC), or how long ago, as 90s, 10m, 2h or 3d"
        ))
    })?;
    if at_ms > now + 1000 {
        return Err(DbError::usage(format!("`{at}` lies in the future")));
    }
    if !force {
        return Err(DbError::refused(format!(
            "--force puts the state of {} UTC in place of what {} holds now (which stays in its history)",
            table::time(at_ms),
            database.show()
        )));
    }
    let show = database.show();
    let request = Request::RestoreAt {
        database,
        time_us: at_ms.min(now) * 1000 + 999,
    };
    endpoint.ask(request, &[], &mut |_| Ok(()))?;
    say(&format!(
        "{show} is as it was at {} UTC",
        table::time(at_ms)
    ));
    Ok(())
}

pub fn run(restore: &Restore<'_>) -> Result<(), DbError> {
    let manifest = Manifest::of(restore.from)?;
    match restore.only {
        Some(object) => one(restore, &manifest, object),
        None => everything(restore, &manifest),
    }
}

fn one(restore: &Restore<'_>, manifest: &Manifest, address: &Address) -> Result<(), DbError> {
    if !address.facets.is_empty() {
        return Err(DbError::usage(
            "--only takes a whole object, NAMESPACE/OBJECT: its facets come with it. For one facet, use `facetd db import`",
        ));
    }
    let id = address.id().to_string();
    let entries: Vec<&Entry> = manifest
        .files
        .iter()
        .filter(|entry| entry.name.object() == Some((&address.namespace, &id)))
        .collect();
    if entries.is_empty() {
        return Err(DbError::not_there(format!(
            "the backup has no object {} (id {id})",
            address.show()
        )));
    }
    refuse_faults(restore.from, &entries)?;
    let parts = entries.iter().map(|entry| UploadPart {
        number: match entry.name {
            FileName::Database { number, .. } => Some(number),
            _ => None,
        },
        bytes: entry.bytes,
    });
    let request = Request::RestoreObject {
        namespace: address.namespace.clone(),
        object: id.clone(),
        force: restore.force,
        parts: parts.collect(),
    };
    let contents: Vec<PathBuf> = entries
        .iter()
        .map(|entry| content_path(restore.from, &entry.sha256))
        .collect();
    let uploads: Vec<&Path> = contents.iter().map(PathBuf::as_path).collect();
    Endpoint::open(restore.data_dir)?.ask(request, &uploads, &mut |_| Ok(()))?;
    say(&format!(
        "restored {}/{id}: {} files",
        address.namespace,
        entries.len()
    ));
    Ok(())
}

fn refuse_faults(from: &Path, entries: &[&Entry]) -> Result<(), DbError> {
    for entry in entries {
        if let Some(fault) = fault_of(from, entry)? {
            return Err(DbError::refused(format!(
                "the backup is damaged: {} {fault}. `facetd db verify {}` lists everything; nothing was restored",
                content_path(from, &entry.sha256).display(),
                from.display()
            )));
        }
    }
    Ok(())
}

/// Builds the new contents aside, and exchanges them for the old in one step.
fn everything(restore: &Restore<'_>, manifest: &Manifest) -> Result<(), DbError> {
    let data_dir = restore.data_dir;
    let mut store = OfflineStore::create(data_dir).map_err(|error| match error {
        StoreError::DataDirInUse { .. } => DbError::data(format!(
            "{error}. Everything can only be restored while no facetd runs: stop it, or restore one object with --only"
        )),
        error => error.into(),
    })?;
    let objects = data_dir.join(catalog::OBJECTS);
    let migrations = data_dir.join("migrations.json");
    let holds_objects = fs::read_dir(&objects).is_ok_and(|mut entries| entries.next().is_some());
    if !restore.force && (holds_objects || migrations.exists()) {
        return Err(DbError::refused(format!(
            "{} is not empty: --force replaces what it holds (`facetd db backup` keeps a copy first)",
            data_dir.display()
        )));
    }
    let staging = data_dir.join(STAGING);
    remove(&staging)?;
    let new_objects = staging.join(catalog::OBJECTS);
    fs::create_dir_all(&new_objects).map_err(DbError::io("create", &new_objects))?;
    let mut progress = Progress::new("restore", manifest.files.len() as u64);
    for entry in &manifest.files {
        let relative = entry
            .name
            .path()
            .expect("checked when the manifest was read");
        let to = staging.join(relative);
        let parent = to.parent().expect("a file is in a folder");
        fs::create_dir_all(parent).map_err(DbError::io("create", parent))?;
        let content = content_path(restore.from, &entry.sha256);
        let copied = File::open(&content).and_then(|mut from| {
            let mut to = File::create_new(&to)?;
            copy_hashed(&mut from, &mut to)
        });
        let (bytes, sha256) = copied.map_err(DbError::io("restore from", &content))?;
        if bytes != entry.bytes || sha256 != entry.sha256 {
            return Err(DbError::refused(format!(
                "the backup is damaged: {} is not what was written. `facetd db verify {}` lists everything; nothing was restored",
                content.display(),
                restore.from.display()
            )));
        }
        progress.step(bytes);
    }
    drop(progress);
    super::manifest::sync_file_system(&staging)?;
    store.forget_history()?;
    // What was applied must never be ahead of the objects: applied once more, a migration does nothing new; left out, it
    // would leave a deleted class its objects. So the log goes first, and comes back last.
    let failed = |what: &'static str| DbError::io(what, data_dir);
    remove(&migrations)?;
    exchange(&new_objects, &objects).map_err(failed("exchange the objects of"))?;
    let new_migrations = staging.join("migrations.json");
    if new_migrations.exists() {
        fs::rename(&new_migrations, &migrations).map_err(failed("write migrations.json in"))?;
    }
    File::open(data_dir)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync"))?;
    remove(&staging)?;
    drop(store);
    let age = now_ms().saturating_sub(manifest.finished_ms) / 60_000;
    say(&format!(
        "restored {} files to {}, as of {} UTC ({age} minutes ago)",
        manifest.files.len(),
        data_dir.display(),
        table::time(manifest.finished_ms)
    ));
    Ok(())
}

fn remove(path: &Path) -> Result<(), DbError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DbError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Puts the folder `new` in the place of `old`; afterwards `new` is what was there before, if anything was.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    if !old.exists() {
        return fs::rename(new, old);
    }
    let c_path = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (from, to) = (c_path(new)?, c_path(old)?);
    // SAFETY: both are NUL-terminated strings that live until after the call.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EINVAL) {
        return Err(error);
    }
    // A file system that cannot exchange: for a moment there is neither, and after a crash then an empty data directory.
    let aside = new.with_extension("old");
    fs::rename(old, &aside)?;
    fs::rename(new, old)
}
