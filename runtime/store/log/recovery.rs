//! Reading the log after a crash, and repairing databases that lag behind it.
//!
//! Called by `CommitLog::open`, before any database is opened. After a crash of the process alone every file is as it was
//! written, so nothing lags; after a crash of the machine the newest page images of the log are written over whatever
//! the database files hold. See README.md, "Recovery".

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::checkpoint::sync_files;
use super::format::{Commit, Record, SegmentHeader};
use super::history::History;
use super::reader::{Scan, SegmentFile, scan};
use super::segment::{self, Segment};
use super::wal::WalHeader;
use super::wal_path;
use crate::files::beside;
use crate::{StoreError, remove_if_there, sync_directory, template};

pub(super) struct Recovered {
    last_sequence: u64,
    pub last_time_us: u64,
    /// Databases whose WAL holds nothing that the log did not hold.
    pub whole: HashSet<String>,
    pub power_was_cut: bool,
}

/// Where a page image is: index of the segment, offset in it.
type Place = (usize, u64);

/// What the log says of one database.
#[derive(Default)]
struct Redo {
    /// What was there before does not count.
    removed: bool,
    created: bool,
    page_bytes: u32,
    db_pages: u32,
    pages: BTreeMap<u32, Place>,
    /// Pages of a commit whose last part has not come yet.
    pending: Vec<(u32, Place)>,
    wal_salts: [u8; 8],
    wal_frame: u32,
    wal_checksum: [u8; 8],
}

#[derive(Default)]
struct Plan {
    databases: HashMap<String, Redo>,
    appends: Vec<(String, u64, Vec<u8>)>,
}

impl Plan {
    fn add(&mut self, segment: usize, offset: u64, record: Record) {
        match record {
            Record::Commit(commit) => self.add_commit(segment, offset, commit),
            Record::Removed { name } => {
                let redo = Redo {
                    removed: true,
                    ..Redo::default()
                };
                self.databases.insert(name, redo);
            }
            Record::Base { name } => {
                self.appends.retain(|(appended, ..)| *appended != name);
                self.databases.remove(&name);
            }
            Record::Append {
                name,
                offset,
                bytes,
            } => self.appends.push((name, offset, bytes)),
            Record::Start { .. } | Record::Follows { .. } => {}
        }
    }

    fn add_commit(&mut self, segment: usize, offset: u64, commit: Commit) {
        let redo = self.databases.entry(commit.name).or_default();
        let images = commit
            .pages
            .into_iter()
            .map(|(page, range)| (page, (segment, offset + range.start as u64)));
        redo.pending.extend(images);
        if commit.more {
            return;
        }
        redo.pages.extend(redo.pending.drain(..));
        redo.created |= commit.created;
        redo.page_bytes = commit.page_bytes;
        redo.db_pages = commit.db_pages;
        redo.wal_salts = commit.wal_salts;
        redo.wal_frame = commit.wal_frame;
        redo.wal_checksum = commit.wal_checksum;
        // A page beyond the end comes back as something new, with an image of its own.
        let beyond = redo.pages.split_off(&commit.db_pages.saturating_add(1));
        drop(beyond);
    }
}

/// Reads the log in `dir` and does to the databases below `root` what it says.
pub(super) fn recover(
    root: &Path,
    dir: &Path,
    boot: [u8; 16],
    history: Option<&History>,
) -> Result<Recovered, StoreError> {
    let mut plan = Plan::default();
    let scan = scan(dir, &mut |segment, offset, _, record, _| {
        plan.add(segment, offset, record);
        Ok(())
    })?;
    let mut recovered = Recovered {
        last_sequence: scan.last_sequence,
        last_time_us: scan.last_time_us,
        whole: HashSet::new(),
        power_was_cut: false,
    };
    let Some(newest) = scan.segments.last() else {
        return Ok(recovered);
    };
    let same_boot = newest.header.boot == boot && boot != [0; 16];
    recovered.power_was_cut = !same_boot;
    if let Some((path, offset)) = &scan.damage {
        if !same_boot {
            return Err(StoreError::LogDamaged {
                path: path.clone(),
                offset: *offset,
            });
        }
        tracing::error!(path = %path.display(), offset, "the commit log is damaged; the databases are as the last process left them");
    }
    let named = plan.appends.iter().map(|(name, ..)| name);
    let files = plan.databases.keys().chain(named).flat_map(|name| {
        let path = root.join(name);
        [wal_path(&path), path]
    });
    let mut files: Vec<PathBuf> = files.collect();
    for (name, redo) in &plan.databases {
        let wal = wal_path(&root.join(name));
        if ends_with(&wal, redo).map_err(StoreError::io("read", &wal))? {
            recovered.whole.insert(name.clone());
        }
    }
    if !same_boot {
        let Plan { databases, appends } = plan;
        tracing::info!(
            databases = databases.len(),
            "repairing databases from the commit log"
        );
        for (name, offset, bytes) in appends {
            append(&root.join(name), offset, &bytes)?;
        }
        for (name, redo) in databases {
            repair(&root.join(name), &redo, &scan)?;
        }
    }
    if let Some(history) = history {
        if scan.damage.is_some() {
            history.break_off(scan.last_time_us + 1)?;
        } else {
            history.verify.store(true, Ordering::Release);
            // A database that needs a base gets it when it is opened, or when the log is next emptied.
            if let Err(error) = history.take_over(&scan.segments) {
                tracing::error!(%error, "what the last process wrote did not get into the history: nothing before it can be restored beyond it");
                history.break_off(scan.last_time_us + 1)?;
            }
            history.verify.store(false, Ordering::Release);
            files.extend(std::mem::take(&mut *history.touched.lock()));
        }
    }
    // Also where nothing lagged: what the last process wrote and never synced is no longer in the log from here on.
    sync_files(root, &files)?;
    Ok(recovered)
}

fn append(path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.write_all_at(bytes, offset)
    };
    write().map_err(StoreError::io("write", path))
}

fn repair(path: &Path, redo: &Redo, scan: &Scan) -> Result<(), StoreError> {
    let wal = wal_path(path);
    if redo.removed {
        remove_if_there(path)?;
        remove_if_there(&wal)?;
    }
    if !redo.pages.is_empty() {
        if !redo.created && !redo.removed && !path.exists() {
            tracing::warn!(path = %path.display(), "was removed by somebody else; its last writes are in the commit log and are dropped");
            return Ok(());
        }
        write_pages(path, redo, &scan.segments).map_err(StoreError::io("repair", path))?;
        // Newer commits than those of the log may be in the WAL. If it is not whole, the log is all there is.
        if !holds(&wal, redo).map_err(StoreError::io("read", &wal))? {
            remove_if_there(&wal)?;
        }
    }
    remove_if_there(&beside(path, "-shm")).map(drop)
}

fn write_pages(path: &Path, redo: &Redo, segments: &[SegmentFile]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    if redo.created && !redo.pages.contains_key(&1) {
        file.write_all_at(&template::IMAGE, 0)?;
    }
    let mut sources: HashMap<usize, File> = HashMap::new();
    let mut page = vec![0; redo.page_bytes as usize];
    for (number, (segment, offset)) in &redo.pages {
        let source = match sources.entry(*segment) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(File::open(&segments[*segment].path)?)
            }
        };
        source.read_exact_at(&mut page, *offset)?;
        let at = u64::from(number - 1) * u64::from(redo.page_bytes);
        file.write_all_at(&page, at)?;
    }
    file.set_len(u64::from(redo.db_pages) * u64::from(redo.page_bytes))
}

/// Does the WAL hold everything the log holds?
fn holds(wal: &Path, redo: &Redo) -> io::Result<bool> {
    let file = match File::open(wal) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match WalHeader::read(&file)? {
        Some(header) if header.salts == redo.wal_salts => {
            header.holds(&file, redo.wal_frame, redo.wal_checksum)
        }
        _ => Ok(false),
    }
}

/// Does the WAL end with the last commit of the log? (An absent one has been moved into the database.)
fn ends_with(wal: &Path, redo: &Redo) -> io::Result<bool> {
    let file = match File::open(wal) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match WalHeader::read(&file)? {
        None => Ok(true),
        Some(header) if header.salts == redo.wal_salts => {
            header.ends_with(&file, redo.wal_frame, redo.wal_checksum)
        }
        Some(_) => Ok(false),
    }
}

/// The segment this process begins with. What was before it is not needed any more, and removed.
pub(super) fn begin(
    dir: &Path,
    boot: [u8; 16],
    recovered: &Recovered,
) -> Result<Segment, StoreError> {
    let sequence = recovered.last_sequence + 1;
    let time_us = recovered.last_time_us + 1;
    let header = header(sequence, sequence, boot, time_us);
    let old = segment::list(dir).map_err(StoreError::io("list", dir))?;
    let create = || match (Segment::create(dir, header), old.first()) {
        // A full disk is no reason not to start: the file of an old segment has room.
        (Err(_), Some((_, old))) => Segment::prepare(dir, header, Some(old), 0)?.name(dir),
        (created, _) => created,
    };
    let segment = create().map_err(StoreError::io("create a segment in", dir))?;
    for (number, path) in old {
        if number < sequence {
            remove_if_there(&path)?;
        }
    }
    let leftovers = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
    for entry in leftovers.flatten() {
        let path: PathBuf = entry.path();
        if path
            .extension()
            .is_some_and(|suffix| suffix == "spare" || suffix == "tmp")
        {
            remove_if_there(&path)?;
        }
    }
    sync_directory(dir).map_err(StoreError::io("sync", dir))?;
    Ok(segment)
}

pub(super) fn header(sequence: u64, start: u64, boot: [u8; 16], time_us: u64) -> SegmentHeader {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(time_us);
    SegmentHeader {
        sequence,
        // The lowest byte is never zero, so that searching for it in zeros is fast.
        salt: hasher.finish() | 1,
        start,
        boot,
        time_us,
    }
}
