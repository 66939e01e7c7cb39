//! The past of each database: what the log's old segments held, kept so that a state of some days ago can be made again.
//!
//! One folder per database below `DIR/history/`: `T.base`, a copy of the database as of time T, and `T.changes`, the
//! commits after it, compressed. Without a base the changes begin with a database's first commit, T is 0. Times are
//! those of the commits, in microseconds, as 16 hexadecimal digits.
//!
//! Called by: whoever lets old segments go, with what they hold; `Database::open`, for a past state. Always true: a base and
//! the changes behind it never lack a commit between them. Where one is missing (it was made while nobody logged it), the
//! changes end with a mark, and a new base begins.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::format::{Commit, Record};
use super::reader::{Records, SegmentFile, scan};
use crate::inspect::copy_pages;
use crate::{StoreError, remove_if_there, template};

/// The folder in the data directory.
pub(crate) const FOLDER: &str = "history";
/// Where the namespaces are in the data directory.
const OBJECTS: &str = "do";
const GAP: &str = "gap";
/// Changes of all databases that are kept in memory before they are written.
const PENDING_BYTES_MAX: usize = 32 << 20;
/// A commit that changes more is not kept: the history goes on behind it, with a new base.
const COMMIT_BYTES_MAX: usize = if cfg!(test) { 1 << 20 } else { 128 << 20 };
/// Changes that are not worth a new base.
const BASE_EVERY_BYTES_MIN: u64 = 4 << 20;
const CHUNK_HEADER_BYTES: usize = 28;
/// No chunk is larger: a commit is at most what SQLite's largest transaction writes in one record.
const CHUNK_BYTES_MAX: usize = 1 << 30;

/// How much of the past is kept, per database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub seconds: u64,
    pub bytes: u64,
}

/// A past state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With every commit up to this time, in microseconds since 1970.
    At(u64),
    /// As it was when a restoration, the first one after this time, replaced it.
    BeforeRestorationAfter(u64),
}

pub(crate) struct History {
    root: PathBuf,
    pub retention: Retention,
    /// Commits before this time were not all taken over: no base before it leads past it. 0: never happened.
    broken_at: AtomicU64,
    /// Held while segments are taken over, and while a state is made from them.
    pub busy: Mutex<()>,
    /// After a crash the ends of files may not be what was written.
    pub verify: AtomicBool,
    /// Files that may not be on disk.
    pub touched: Mutex<BTreeSet<PathBuf>>,
}

/// A commit as it is kept: its pages, or (`end`) the news that what follows is not connected with what was before.
struct Entry {
    time_us: u64,
    restored: bool,
    page_bytes: u32,
    db_pages: u32,
    pages: Vec<(u32, Vec<u8>)>,
}

const RESTORED: u8 = 1;

/// What segments say of one database, not written yet.
#[derive(Default)]
struct Pending {
    entries: Vec<(u64, Vec<u8>)>,
    /// Pages of a commit whose last part has not come.
    part: Vec<(u32, Vec<u8>)>,
    /// That commit is too large to be kept.
    oversized: bool,
    /// The first entry is a database's very first commit.
    from_template: bool,
    /// Nothing before this time is connected with what follows.
    broken_at: Option<u64>,
    removed: bool,
}

impl Moment {
    /// The time in it.
    #[must_use]
    pub fn time_us(self) -> u64 {
        match self {
            Self::At(time) | Self::BeforeRestorationAfter(time) => time,
        }
    }
}

impl History {
    pub fn new(root: &Path, retention: Retention) -> Self {
        Self {
            root: root.to_owned(),
            retention,
            broken_at: AtomicU64::new(newest_gap(root)),
            busy: Mutex::new(()),
            verify: AtomicBool::new(false),
            touched: Mutex::default(),
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let name = name.strip_suffix(".sqlite").unwrap_or(name);
        self.root.join(FOLDER).join(name)
    }

    /// Is the past of this database kept?
    pub fn knows(&self, name: &str) -> bool {
        self.folder(name).is_dir()
    }

    /// What happened before `at` could not be taken over. Remembered in the name of a file, which needs no room.
    pub fn break_off(&self, at: u64) -> Result<(), StoreError> {
        self.broken_at.store(at, Ordering::Release);
        let folder = self.root.join(FOLDER);
        let path = folder.join(file_name(at, GAP));
        let marked = fs::create_dir_all(&folder).and_then(|()| File::create(&path));
        match marked {
            Ok(_) => Ok(()),
            // Rather no past than a wrong one.
            Err(_) => match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(StoreError::io("remove", &folder)(error))
                }
                _ => Ok(()),
            },
        }
    }

    /// Does anything lie between a base and `upto` that was not taken over?
    fn is_broken(&self, base: u64, upto: u64) -> bool {
        let at = self.broken_at.load(Ordering::Acquire);
        base < at && at <= upto
    }

    /// Forgets the databases of namespaces that are not there any more.
    pub fn forget_namespaces(&self) -> Result<(), StoreError> {
        let kept = self.root.join(FOLDER).join(OBJECTS);
        let entries = match fs::read_dir(&kept) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(StoreError::io("list", &kept))?,
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io("list", &kept))?;
            if !self.root.join(OBJECTS).join(entry.file_name()).exists() {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The database is gone, and with it its past.
    pub fn forget(&self, name: &str) -> Result<(), StoreError> {
        let folder = self.folder(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &folder)(error))
            }
            _ => Ok(()),
        }
    }

    // ---- taking over

    /// Takes over what `segments` hold. Saying the same twice does no harm. Returns the databases that need a new base.
    pub fn take_over(&self, segments: &[SegmentFile]) -> Result<Vec<String>, StoreError> {
        let mut pending: HashMap<String, Pending> = HashMap::new();
        let mut bytes = 0;
        let mut wanting = Vec::new();
        for segment in segments {
            let mut records = Records::open(segment)?;
            while let Some((_, head, record)) = records.next()? {
                bytes += add(&mut pending, head.time_us, record, &records.bytes);
                if bytes > PENDING_BYTES_MAX {
                    self.write(&mut pending, &mut wanting)?;
                    bytes = 0;
                }
            }
        }
        self.write(&mut pending, &mut wanting)?;
        wanting.sort_unstable();
        wanting.dedup();
        Ok(wanting)
    }

    fn write(
        &self,
        pending: &mut HashMap<String, Pending>,
        wanting: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        for (name, changes) in pending.iter_mut() {
            if self.write_one(name, changes)? {
                wanting.push(name.clone());
            }
            *changes = Pending {
                part: std::mem::take(&mut changes.part),
                oversized: changes.oversized,
                ..Pending::default()
            };
        }
        pending.retain(|_, changes| !changes.part.is_empty() || changes.oversized);
        Ok(())
    }

    /// True: it needs a base.
    fn write_one(&self, name: &str, changes: &Pending) -> Result<bool, StoreError> {
        // The very first commit of a database: what is kept under its name is another's that was removed.
        if changes.removed || changes.from_template {
            self.forget(name)?;
        }
        let folder = self.folder(name);
        if !folder.is_dir() {
            if changes.entries.is_empty() && changes.broken_at.is_none() {
                return Ok(false);
            }
            fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
            if !changes.from_template {
                return Ok(true); // nothing to connect it with
            }
        }
        let mut times = times(&folder, "base")?;
        if changes.from_template || folder.join(file_name(0, "changes")).exists() {
            times.push(0);
        }
        times.sort_unstable();
        let newest = times.last().copied().unwrap_or(0);
        let mut wants_base = changes.broken_at.is_some() || self.is_broken(newest, u64::MAX);
        let mut by_base: BTreeMap<u64, Vec<&(u64, Vec<u8>)>> = BTreeMap::new();
        for entry in &changes.entries {
            // What came before a base is in the changes of the one before.
            if let Some(base) = times.iter().rev().find(|base| **base < entry.0) {
                by_base.entry(*base).or_default().push(entry);
            }
        }
        for (base, entries) in by_base {
            let path = folder.join(file_name(base, "changes"));
            let mut chunks = self.open_chunks(&path)?;
            let entries: Vec<_> = entries
                .into_iter()
                .filter(|(time, _)| *time > chunks.last_time_us)
                .filter(|(time, _)| changes.broken_at.is_none_or(|at| *time < at))
                .collect();
            if let (Some(first), Some(last), false) =
                (entries.first(), entries.last(), chunks.ended)
            {
                let raw = entries.iter().map(|(_, raw)| raw.as_slice());
                let raw = raw.collect::<Vec<_>>().concat();
                chunks.append(first.0, last.0, &raw)?;
            }
            let size = fs::metadata(self.root.join(name)).map_or(0, |is| is.len());
            let most = (2 * size)
                .max(BASE_EVERY_BYTES_MIN)
                .min((self.retention.bytes / 4).max(1));
            wants_base |= chunks.end > most && times.last() == Some(&base);
        }
        if let Some(base) = times.last() {
            let mut chunks = self.open_chunks(&folder.join(file_name(*base, "changes")))?;
            if let Some(at) = changes.broken_at.filter(|at| at > base && !chunks.ended) {
                chunks.append(at, at, &[])?;
            }
            wants_base |= chunks.ended;
        }
        self.prune(&folder)?;
        Ok(wants_base || (times.is_empty() && !changes.from_template))
    }

    /// Keeps a copy of what `source` sees, which is the state of `time_us`, to start from.
    pub fn add_base(
        &self,
        name: &str,
        source: &Connection,
        time_us: u64,
    ) -> Result<(), StoreError> {
        let folder = self.folder(name);
        fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        let path = folder.join(file_name(time_us, "base"));
        let temporary = folder.join("base.tmp");
        remove_if_there(&temporary)?;
        let copied = copy_pages(source, &self.root.join(name), &temporary).and_then(|()| {
            File::open(&temporary)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&temporary, &path))
                .map_err(StoreError::io("sync", &temporary))
        });
        copied.inspect_err(|_| drop(remove_if_there(&temporary)))?;
        self.touch(path);
        Ok(())
    }

    fn open_chunks(&self, path: &Path) -> Result<Chunks, StoreError> {
        self.touch(path.to_owned());
        Chunks::open(path, self.verify.load(Ordering::Acquire))
    }

    fn touch(&self, path: PathBuf) {
        self.touched.lock().insert(path);
    }

    /// Drops what is too old, or too much: whole bases with their changes, never the last one.
    fn prune(&self, folder: &Path) -> Result<(), StoreError> {
        let now_us = super::now_us();
        let oldest_us = now_us.saturating_sub(self.retention.seconds.saturating_mul(1_000_000));
        let mut starts = times(folder, "base")?;
        starts.extend(times(folder, "changes")?);
        starts.sort_unstable();
        starts.dedup();
        let bytes_of = |time: u64| -> u64 {
            ["base", "changes"]
                .iter()
                .filter_map(|kind| fs::metadata(folder.join(file_name(time, kind))).ok())
                .map(|is| is.len())
                .sum()
        };
        let mut total: u64 = starts.iter().map(|time| bytes_of(*time)).sum();
        for pair in starts.windows(2) {
            let (old, next) = (pair[0], pair[1]);
            if next > oldest_us && total <= self.retention.bytes {
                break;
            }
            total -= bytes_of(old);
            remove_if_there(&folder.join(file_name(old, "base")))?;
            remove_if_there(&folder.join(file_name(old, "changes")))?;
        }
        Ok(())
    }

    // ---- making a past state

    /// Writes the database `name` as it was at `moment` to `target`, which must not exist. Returns the time of the last
    /// commit in it.
    ///
    /// # Errors
    /// `NoSuchPast`: it is not kept that far back, or lies ahead.
    pub fn make(&self, name: &str, moment: Moment, target: &Path) -> Result<u64, StoreError> {
        let _busy = self.busy.lock();
        let at = self.time_of(name, moment)?;
        let folder = self.folder(name);
        let base = times(&folder, "base")?
            .into_iter()
            .filter(|time| *time <= at)
            .max()
            .unwrap_or(0);
        let path = folder.join(file_name(base, "base"));
        if path.exists() {
            fs::copy(&path, target).map_err(StoreError::io("copy", &path))?;
        } else {
            fs::write(target, template::IMAGE).map_err(StoreError::io("write", target))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .open(target)
            .map_err(StoreError::io("open", target))?;
        let mut last = base;
        self.entries(name, base, at, &mut |entry| {
            for (page, image) in &entry.pages {
                let offset = u64::from(page - 1) * u64::from(entry.page_bytes);
                file.write_all_at(image, offset)?;
            }
            last = entry.time_us;
            file.set_len(u64::from(entry.db_pages) * u64::from(entry.page_bytes))
        })?;
        Ok(last)
    }

    /// Could `make` make it?
    pub fn check(&self, name: &str, moment: Moment) -> Result<(), StoreError> {
        let _busy = self.busy.lock();
        let at = self.time_of(name, moment)?;
        self.entries(name, at, at, &mut |_| Ok(()))
    }

    /// The time up to which commits count.
    fn time_of(&self, name: &str, moment: Moment) -> Result<u64, StoreError> {
        let after = match moment {
            Moment::At(at) => return Ok(at),
            Moment::BeforeRestorationAfter(after) => after,
        };
        let mut found = None;
        self.entries(name, after, u64::MAX, &mut |entry| {
            if entry.restored && entry.time_us > after && found.is_none() {
                found = Some(entry.time_us - 1);
            }
            Ok(())
        })?;
        found.ok_or(StoreError::NoSuchPast)
    }

    /// The commits of `name` after its base at or before `from`, up to `upto`, in order.
    fn entries(
        &self,
        name: &str,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(&Entry) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let folder = self.folder(name);
        let mut starts = times(&folder, "base")?;
        let template = folder.join(file_name(0, "changes")).exists();
        if template {
            starts.push(0);
        }
        let kept = starts.into_iter().filter(|time| *time <= from).max();
        let mut last = kept.unwrap_or(0);
        let mut broken = false;
        let mut connected = kept.is_some();
        if let Some(base) = kept {
            if self.is_broken(base, upto) {
                return Err(StoreError::NoSuchPast);
            }
            let path = folder.join(file_name(base, "changes"));
            let mut chunks = Chunks::open(&path, false)?;
            while let Some(raw) = chunks.next()? {
                if raw.is_empty() {
                    broken = true; // unless what is asked for lies before
                    if chunks.first_time_us <= upto {
                        return Err(StoreError::NoSuchPast);
                    }
                    break;
                }
                let mut rest = raw.as_slice();
                while let Some(entry) = Entry::read(&mut rest) {
                    if entry.time_us > last && entry.time_us <= upto {
                        visit(&entry).map_err(StoreError::io("write", &path))?;
                        last = entry.time_us;
                    }
                }
            }
        }
        if broken {
            return Ok(());
        }
        // What is in the log and has not been taken over. A removal ends whatever was before it.
        let mut removed_at = 0;
        let log = self.root.join(super::FOLDER);
        scan(&log, &mut |_, _, head, record, _| {
            if matches!(&record, Record::Removed { name: removed } if removed == name) {
                removed_at = head.time_us;
            }
            Ok(())
        })?;
        if removed_at > upto {
            return Err(StoreError::NoSuchPast);
        }
        let mut seen = false;
        let mut pending: HashMap<String, Pending> = HashMap::new();
        let mut problem = None;
        scan(
            &self.root.join(super::FOLDER),
            &mut |_, _, head, record, bytes| {
                if record.name() != Some(name) || problem.is_some() || head.time_us <= removed_at {
                    return Ok(());
                }
                seen |= matches!(record, Record::Commit(_));
                if head.time_us > upto {
                    // Before its first commit a database was empty.
                    let first = matches!(&record, Record::Commit(commit) if commit.created);
                    connected |= first && last == 0;
                    return Ok(());
                }
                add(&mut pending, head.time_us, record, bytes);
                let Some(changes) = pending.get_mut(name) else {
                    return Ok(());
                };
                if changes.broken_at.take().is_some_and(|at| at > last) {
                    problem = Some(StoreError::NoSuchPast);
                }
                connected |= std::mem::take(&mut changes.from_template);
                for (_, raw) in std::mem::take(&mut changes.entries) {
                    let mut rest = raw.as_slice();
                    if let Some(entry) = Entry::read(&mut rest)
                        && entry.time_us > last
                    {
                        if !connected {
                            problem = Some(StoreError::NoSuchPast);
                            return Ok(());
                        }
                        visit(&entry).map_err(StoreError::io("write", &folder))?;
                        last = entry.time_us;
                    }
                }
                Ok(())
            },
        )?;
        match problem {
            Some(problem) => Err(problem),
            None if connected => Ok(()),
            // Nobody ever wrote to it.
            None if kept.is_none() && !seen && !self.knows(name) => Ok(()),
            None => Err(StoreError::NoSuchPast),
        }
    }
}

/// Adds a record to what is to be written; returns how many bytes that took.
fn add(
    pending: &mut HashMap<String, Pending>,
    time_us: u64,
    record: Record,
    bytes: &[u8],
) -> usize {
    match record {
        Record::Commit(commit) => {
            let changes = pending.entry(commit.name.clone()).or_default();
            let Commit {
                more,
                created,
                restored,
                page_bytes,
                db_pages,
                pages,
                ..
            } = commit;
            let images = pages
                .into_iter()
                .map(|(page, range)| (page, bytes[range].to_vec()));
            if !changes.oversized {
                changes.part.extend(images);
                changes.oversized = changes.part.len() * page_bytes as usize > COMMIT_BYTES_MAX;
            }
            if changes.oversized {
                // Not worth that much memory: what follows begins with a base of its own.
                changes.part = Vec::new();
                if !more {
                    changes.oversized = false;
                    changes.removed |= created;
                    changes.broken_at = Some(time_us);
                }
                return 0;
            }
            if more {
                return 0;
            }
            let entry = Entry {
                time_us,
                restored,
                page_bytes,
                db_pages,
                pages: std::mem::take(&mut changes.part),
            };
            let raw = entry.write();
            let length = raw.len();
            if created && changes.entries.is_empty() {
                changes.from_template = true;
            }
            changes.entries.push((time_us, raw));
            length
        }
        // Not of a facet index.
        Record::Removed { name } | Record::Base { name } if !name.ends_with(".sqlite") => 0,
        Record::Removed { name } => {
            let gone = Pending {
                removed: true,
                ..Pending::default()
            };
            pending.insert(name, gone);
            0
        }
        Record::Base { name } => {
            let changes = pending.entry(name).or_default();
            // What is pending belongs before the break, and what follows needs a base.
            changes.part.clear();
            changes.broken_at = Some(time_us);
            0
        }
        Record::Append { .. } | Record::Start { .. } | Record::Follows { .. } => 0,
    }
}

impl Entry {
    fn write(&self) -> Vec<u8> {
        let length = 21 + self.pages.len() * (4 + self.page_bytes as usize);
        let mut raw = Vec::with_capacity(length);
        raw.extend_from_slice(&self.time_us.to_le_bytes());
        raw.push(if self.restored { RESTORED } else { 0 });
        raw.extend_from_slice(&self.page_bytes.to_le_bytes());
        raw.extend_from_slice(&self.db_pages.to_le_bytes());
        let count = u32::try_from(self.pages.len()).expect("a commit has fewer pages");
        raw.extend_from_slice(&count.to_le_bytes());
        for (page, image) in &self.pages {
            raw.extend_from_slice(&page.to_le_bytes());
            raw.extend_from_slice(image);
        }
        raw
    }

    /// Takes one entry off `rest`.
    fn read(rest: &mut &[u8]) -> Option<Self> {
        fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
            let (taken, after) = rest.split_first_chunk::<N>()?;
            *rest = after;
            Some(*taken)
        }
        let time_us = u64::from_le_bytes(array(rest)?);
        let [flags] = array(rest)?;
        let page_bytes = u32::from_le_bytes(array(rest)?);
        let db_pages = u32::from_le_bytes(array(rest)?);
        let count = u32::from_le_bytes(array(rest)?);
        let mut pages = Vec::new();
        for _ in 0..count {
            let page = u32::from_le_bytes(array(rest)?);
            let (image, after) = rest.split_at_checked(page_bytes as usize)?;
            *rest = after;
            pages.push((page, image.to_vec()));
        }
        Some(Self {
            time_us,
            restored: flags & RESTORED != 0,
            page_bytes,
            db_pages,
            pages,
        })
    }
}

/// The time of the newest mark that commits before it are missing.
fn newest_gap(root: &Path) -> u64 {
    let gaps = times(&root.join(FOLDER), GAP).unwrap_or_default();
    gaps.into_iter().max().unwrap_or(0)
}

fn file_name(time_us: u64, kind: &str) -> String {
    format!("{time_us:016x}.{kind}")
}

/// The times of the files of one kind.
fn times(folder: &Path, kind: &str) -> Result<Vec<u64>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    let mut times = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", folder))?.path();
        if path.extension().is_some_and(|suffix| suffix == kind)
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            && let Ok(time) = u64::from_str_radix(stem, 16)
        {
            times.push(time);
        }
    }
    Ok(times)
}

/// A file of changes: compressed chunks, each with its checksum. What a crash left at the end is cut off.
struct Chunks {
    path: PathBuf,
    file: File,
    /// Where the next chunk is read, and where one is appended.
    at: u64,
    end: u64,
    first_time_us: u64,
    last_time_us: u64,
    /// The last chunk says that nothing after it is connected.
    ended: bool,
}

struct ChunkHeader {
    crc: u32,
    packed: usize,
    raw: usize,
    first: u64,
    last: u64,
}

impl Chunks {
    /// `verify`: read everything, to find out where the valid chunks end.
    fn open(path: &Path, verify: bool) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        let mut chunks = Self {
            path: path.to_owned(),
            file,
            at: 0,
            end: 0,
            first_time_us: 0,
            last_time_us: 0,
            ended: false,
        };
        // Headers only: a torn chunk is noticed when it is read, or by its length here.
        let length = chunks
            .file
            .metadata()
            .map_err(StoreError::io("measure", path))?
            .len();
        while let Some(header) = chunks.header(chunks.end)? {
            let end = chunks.end + (CHUNK_HEADER_BYTES + header.packed) as u64;
            if end > length || (verify && chunks.packed(&header, chunks.end)?.is_none()) {
                break;
            }
            chunks.end = end;
            chunks.last_time_us = header.last;
            chunks.ended = header.raw == 0;
        }
        Ok(chunks)
    }

    fn header(&self, at: u64) -> Result<Option<ChunkHeader>, StoreError> {
        let mut bytes = [0; CHUNK_HEADER_BYTES];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &self.path)(error)),
        }
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let time = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let header = ChunkHeader {
            crc: word(0),
            packed: word(4) as usize,
            raw: word(8) as usize,
            first: time(12),
            last: time(20),
        };
        let sane =
            header.last > 0 && header.packed <= CHUNK_BYTES_MAX && header.raw <= CHUNK_BYTES_MAX;
        Ok(sane.then_some(header))
    }

    /// A chunk's compressed content, if it is valid.
    fn packed(&self, header: &ChunkHeader, at: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut packed = vec![0; header.packed];
        self.file
            .read_exact_at(&mut packed, at + CHUNK_HEADER_BYTES as u64)
            .map_err(StoreError::io("read", &self.path))?;
        Ok((crc32fast::hash(&packed) == header.crc).then_some(packed))
    }

    /// The next chunk's content; empty: nothing after it is connected. `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let Some(header) = self.header(self.at)? else {
            return Ok(None);
        };
        let damaged = || StoreError::Corrupt {
            path: self.path.clone(),
            message: "the history is damaged".to_owned(),
        };
        let packed = self.packed(&header, self.at)?.ok_or_else(damaged)?;
        let raw = lz4_flex::block::decompress(&packed, header.raw).map_err(|_| damaged())?;
        self.at += (CHUNK_HEADER_BYTES + header.packed) as u64;
        self.first_time_us = header.first;
        Ok(Some(raw))
    }

    fn append(&mut self, first: u64, last: u64, raw: &[u8]) -> Result<(), StoreError> {
        let packed = lz4_flex::block::compress(raw);
        let mut chunk = Vec::with_capacity(CHUNK_HEADER_BYTES + packed.len());
        chunk.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        chunk.extend_from_slice(&length(packed.len()));
        chunk.extend_from_slice(&length(raw.len()));
        chunk.extend_from_slice(&first.to_le_bytes());
        chunk.extend_from_slice(&last.to_le_bytes());
        chunk.extend_from_slice(&packed);
        self.file
            .write_all_at(&chunk, self.end)
            .and_then(|()| self.file.set_len(self.end + chunk.len() as u64))
            .inspect_err(|_| drop(self.file.set_len(self.end)))
            .map_err(StoreError::io("write", &self.path))?;
        self.end += chunk.len() as u64;
        self.last_time_us = last;
        self.ended = raw.is_empty();
        Ok(())
    }
}

/// Puts what is in `source` in place of everything in the database of `target`, as one commit.
pub(crate) fn replace_by(source: &Connection, target: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(source, target)?;
    if backup.step(-1)? != StepResult::Done {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        ));
    }
    drop(backup);
    // SQLite does not tell its hook of what a backup commits. It does of this, which changes nothing.
    let version: i32 = target.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    target.execute_batch(&format!("PRAGMA user_version = {version}"))
}
