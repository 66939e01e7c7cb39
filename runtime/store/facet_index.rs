//! The facet index: gives every facet name below a root object a small number for good.
//!
//! Owns: the `.facets` file, append-only, in workerd's format (`spec/facets.md`, section 9). Called by: the host.
//! Always true: an id that was handed out is on disk, is never given to another name, and never removed. User code's names
//! thus never become file names. Reading changes nothing: what a crash or a failed write left behind the last entry is cut off
//! when the next one is written, so that a damaged index can still be looked at.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::log::CommitLog;
use crate::{StoreError, sync_directory};

const MAGIC: [u8; 8] = 0xC4CD_CE5B_C5B0_EF57_u64.to_le_bytes();

/// The index of one root object. The root itself is id 0.
#[derive(Default)]
pub struct FacetIndex {
    path: PathBuf,
    log: Option<CommitLog>,
    /// `None` until the first id is assigned, if there was no file.
    file: Option<File>,
    /// Up to the end of the last entry.
    valid_bytes: u64,
    /// There may be something behind the last entry.
    tail: bool,
    /// The file ended in something that is no entry when it was opened.
    torn: bool,
    /// The directory is synced since the file was created.
    named: bool,
    /// Entry `i` is facet `i + 1`.
    facets: Vec<(u16, Box<str>)>,
    children: HashMap<u16, HashMap<Box<str>, u16>>,
}

impl FacetIndex {
    /// Reads the index; an absent file is an empty one and is created by the first `assign`.
    ///
    /// # Errors
    /// `NotAFacetIndex`, `Io`.
    pub fn open(path: &Path, log: Option<CommitLog>) -> Result<Self, StoreError> {
        let mut index = Self {
            path: path.to_owned(),
            log,
            file: None,
            valid_bytes: 0,
            tail: false,
            torn: false,
            named: false,
            facets: Vec::new(),
            children: HashMap::new(),
        };
        let mut file = match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(index),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(StoreError::io("read", path))?;
        index.file = Some(file);
        if bytes.len() <= MAGIC.len() {
            // Written by nobody, or interrupted before the first entry.
            (index.tail, index.torn) = (true, true);
            return Ok(index);
        }
        let Some(entries) = bytes.strip_prefix(&MAGIC) else {
            return Err(StoreError::NotAFacetIndex {
                path: path.to_owned(),
            });
        };
        let valid_bytes = MAGIC.len() + index.read_entries(entries);
        if valid_bytes < bytes.len() {
            tracing::warn!(path = %path.display(), from = valid_bytes, to = bytes.len(), "facet index ends in something else");
            (index.tail, index.torn) = (true, true);
        }
        if !index.facets.is_empty() {
            index.valid_bytes = valid_bytes as u64;
            index.named = true;
        }
        Ok(index)
    }

    /// The id the next new name will get, unless there are too many.
    #[must_use]
    pub fn next_id(&self) -> Option<u16> {
        u16::try_from(self.facets.len() + 1).ok()
    }

    /// Entries may be missing: the file ended in something that is none.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Reads the index at `path` and changes nothing: for those who only look. Also returns how many bytes at its end are not
    /// valid: what a crash left, or an entry that is being written.
    ///
    /// # Errors
    /// As [`Self::open`]. An absent file is an empty index.
    pub fn look(path: &Path) -> Result<(Self, usize), StoreError> {
        let mut index = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((index, 0)),
            Err(error) => return Err(StoreError::io("read", path)(error)),
        };
        if bytes.len() <= MAGIC.len() {
            return Ok((index, 0)); // started and never used
        }
        let Some(entries) = bytes.strip_prefix(&MAGIC) else {
            return Err(StoreError::NotAFacetIndex {
                path: path.to_owned(),
            });
        };
        let valid = index.read_entries(entries);
        Ok((index, entries.len() - valid))
    }

    /// The parent and the name of every id, 1 first.
    pub fn entries(&self) -> impl Iterator<Item = (u16, &str)> {
        self.facets.iter().map(|(parent, name)| (*parent, &**name))
    }

    /// Takes in entries up to the first invalid one; returns how many bytes they are.
    fn read_entries(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some((entry, after)) = self.read_entry(rest) {
            self.insert(entry.0, entry.1);
            rest = after;
        }
        bytes.len() - rest.len()
    }

    fn read_entry<'a>(&self, bytes: &'a [u8]) -> Option<((u16, &'a str), &'a [u8])> {
        let (parent, rest) = bytes.split_first_chunk::<2>()?;
        let (name_bytes, rest) = rest.split_first_chunk::<2>()?;
        let parent = u16::from_le_bytes(*parent);
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*name_bytes).into())?;
        let name = str::from_utf8(name).ok()?;
        let valid = !name.is_empty()
            && usize::from(parent) <= self.facets.len()
            && self.facets.len() < usize::from(u16::MAX)
            && self.get(parent, name).is_none();
        valid.then_some(((parent, name), rest))
    }

    fn insert(&mut self, parent: u16, name: &str) -> u16 {
        self.facets.push((parent, name.into()));
        let id = u16::try_from(self.facets.len()).expect("the callers keep to 65535 entries");
        self.children
            .entry(parent)
            .or_default()
            .insert(name.into(), id);
        id
    }

    /// The id of a name that has one.
    #[must_use]
    pub fn get(&self, parent: u16, name: &str) -> Option<u16> {
        self.children.get(&parent)?.get(name).copied()
    }

    /// The names from just below the root down to `id`. `None`: no name has this id.
    #[must_use]
    pub fn path(&self, id: u16) -> Option<Vec<String>> {
        let mut path = Vec::new();
        let mut at = id;
        while at != 0 {
            // A parent's id is lower than its child's, so this ends.
            let (parent, name) = self.facets.get(usize::from(at) - 1)?;
            path.push(name.to_string());
            at = *parent;
        }
        path.reverse();
        Some(path)
    }

    /// The id of a name, a new one if it has none. A new id is on disk when this returns; with a log, at the latest
    /// with whatever is committed later.
    ///
    /// # Errors
    /// `TooManyFacets`, `FacetNameLength`, `UnknownParent`, `Io`: no id was assigned.
    pub fn assign(&mut self, parent: u16, name: &str) -> Result<u16, StoreError> {
        if let Some(id) = self.get(parent, name) {
            return Ok(id);
        }
        let name_bytes = u16::try_from(name.len())
            .ok()
            .filter(|bytes| *bytes > 0)
            .ok_or(StoreError::FacetNameLength {
                len_bytes: name.len(),
            })?;
        if usize::from(parent) > self.facets.len() {
            return Err(StoreError::UnknownParent { parent });
        }
        if self.facets.len() >= usize::from(u16::MAX) {
            return Err(StoreError::TooManyFacets);
        }
        let mut entry = Vec::with_capacity(MAGIC.len() + 4 + name.len());
        if self.valid_bytes == 0 {
            entry.extend_from_slice(&MAGIC);
        }
        entry.extend_from_slice(&parent.to_le_bytes());
        entry.extend_from_slice(&name_bytes.to_le_bytes());
        entry.extend_from_slice(name.as_bytes());
        self.append(&entry)?;
        Ok(self.insert(parent, name))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = &self.path;
        if self.file.is_none() {
            let opened = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(path);
            self.file = Some(opened.map_err(StoreError::io("create", path))?);
        }
        let file = self.file.as_mut().expect("just opened");
        if self.tail {
            file.set_len(self.valid_bytes)
                .map_err(StoreError::io("truncate", path))?;
        }
        // Until it is all there: an entry that failed half way is written anew, never believed.
        self.tail = true;
        file.write_all(bytes)
            .map_err(StoreError::io("write", path))?;
        if let Some(log) = &self.log {
            log.append(path, self.valid_bytes, bytes);
        } else {
            file.sync_data().map_err(StoreError::io("sync", path))?;
            if !self.named
                && let Some(dir) = path.parent()
            {
                sync_directory(dir).map_err(StoreError::io("sync", dir))?;
                self.named = true;
            }
        }
        self.valid_bytes += bytes.len() as u64;
        (self.tail, self.torn) = (false, false);
        Ok(())
    }

    /// Ids and names directly below `parent`, in no particular order.
    pub fn children(&self, parent: u16) -> impl Iterator<Item = (u16, &str)> {
        self.children
            .get(&parent)
            .into_iter()
            .flatten()
            .map(|(name, id)| (*id, &**name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf, Result<FacetIndex, StoreError>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.facets");
        std::fs::write(&path, bytes).unwrap();
        let index = FacetIndex::open(&path, None);
        (dir, path, index)
    }

    fn entry(parent: u16, name: &str) -> Vec<u8> {
        let name_bytes = u16::try_from(name.len()).unwrap();
        [
            &parent.to_le_bytes()[..],
            &name_bytes.to_le_bytes(),
            name.as_bytes(),
        ]
        .concat()
    }

    #[test]
    fn ids_are_handed_out_in_order_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.facets");
        let mut index = FacetIndex::open(&path, None).unwrap();
        assert_eq!(index.get(0, "a"), None);
        assert!(!path.exists(), "looking up a name creates nothing");
        assert_eq!(index.assign(0, "a").unwrap(), 1);
        assert_eq!(index.assign(0, "b").unwrap(), 2);
        assert_eq!(
            index.assign(1, "a").unwrap(),
            3,
            "names are unique per parent only"
        );
        assert_eq!(
            index.assign(0, "a").unwrap(),
            1,
            "a known name keeps its id"
        );
        let expected = [&MAGIC[..], &entry(0, "a"), &entry(0, "b"), &entry(1, "a")].concat();
        assert_eq!(std::fs::read(&path).unwrap(), expected, "the format");
        let index = FacetIndex::open(&path, None).unwrap();
        assert_eq!(index.get(1, "a"), Some(3));
        let mut children: Vec<_> = index.children(0).collect();
        children.sort_unstable();
        assert_eq!(children, [(1, "a"), (2, "b")]);
        assert_eq!(index.children(2).count(), 0);
        assert_eq!(index.path(3), Some(vec!["a".to_owned(), "a".to_owned()]));
        assert_eq!(index.path(0), Some(vec![]), "the root itself");
        assert_eq!(index.path(4), None, "nobody's id");
    }

    #[test]
    fn whatever_a_crash_left_at_the_end_is_cut_off() {
        let good = [&MAGIC[..], &entry(0, "a"), &entry(1, "b")].concat();
        let tails: [(&str, Vec<u8>); 7] = [
            ("one byte", vec![0]),
            ("no name length", vec![0, 0, 5]),
            ("name past the end", [&entry(0, "abc")[..6]].concat()),
            ("empty name", entry(0, "")),
            ("unknown parent", entry(9, "x")),
            ("duplicate", entry(0, "a")),
            ("not UTF-8", vec![0, 0, 1, 0, 0xff]),
        ];
        for (what, tail) in tails {
            let complete = matches!(
                what,
                "empty name" | "unknown parent" | "duplicate" | "not UTF-8"
            );
            let behind = if complete {
                entry(0, "lost")
            } else {
                Vec::new()
            };
            let (_dir, path, index) = index_of(&[&good[..], &tail, &behind].concat());
            let mut index = index.unwrap();
            assert_eq!(index.get(1, "b"), Some(2), "{what}");
            assert_eq!(index.get(0, "lost"), None, "{what}");
            assert!(index.is_torn(), "{what}");
            let before = [&good[..], &tail, &behind].concat();
            assert_eq!(
                std::fs::read(&path).unwrap(),
                before,
                "{what}: reading changes nothing"
            );
            assert_eq!(index.assign(0, "c").unwrap(), 3, "{what}");
            let after = [&good[..], &entry(0, "c")].concat();
            assert_eq!(std::fs::read(&path).unwrap(), after, "{what}");
            assert!(!index.is_torn(), "{what}");
            assert_eq!(
                FacetIndex::open(&path, None).unwrap().get(0, "c"),
                Some(3),
                "{what}"
            );
        }
    }

    #[test]
    fn a_short_file_is_started_over_and_a_foreign_one_refused() {
        for bytes in [&[][..], &MAGIC[..3], &[1, 2, 3, 4, 5, 6, 7, 8]] {
            let (_dir, path, index) = index_of(bytes);
            assert_eq!(index.unwrap().assign(0, "a").unwrap(), 1);
            assert_eq!(FacetIndex::open(&path, None).unwrap().get(0, "a"), Some(1));
        }
        let (_dir, _path, index) = index_of(b"something else");
        assert!(matches!(index, Err(StoreError::NotAFacetIndex { .. })));
    }

    /// A full disk is not the end: once there is room, names get their ids, and none of them twice.
    #[test]
    fn an_append_that_failed_is_made_good_by_the_next() {
        let (_dir, path, index) = index_of(&[&MAGIC[..], &entry(0, "a")].concat());
        let mut index = index.unwrap();
        let writable = index.file.replace(File::open(&path).unwrap());
        let error = index.assign(0, "lost").unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert_eq!(index.get(0, "lost"), None, "no id");
        index.file = writable;
        let torn = &entry(0, "half")[..5];
        index.file.as_mut().unwrap().write_all(torn).unwrap();
        assert_eq!(index.assign(0, "b").unwrap(), 2);
        let expected = [&MAGIC[..], &entry(0, "a"), &entry(0, "b")].concat();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn bad_names_and_parents_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = FacetIndex::open(&dir.path().join("a.facets"), None).unwrap();
        assert!(matches!(
            index.assign(0, ""),
            Err(StoreError::FacetNameLength { len_bytes: 0 })
        ));
        assert!(matches!(
            index.assign(0, &"x".repeat(65536)),
            Err(StoreError::FacetNameLength { .. })
        ));
        assert!(matches!(
            index.assign(1, "a"),
            Err(StoreError::UnknownParent { parent: 1 })
        ));
        assert_eq!(
            index.assign(0, "../../etc/passwd").unwrap(),
            1,
            "any name is only a number to the disk"
        );
    }

    #[test]
    fn the_65536th_id_is_refused() {
        let mut bytes = MAGIC.to_vec();
        for id in 1..=u16::MAX {
            bytes.extend(entry(0, &id.to_string()));
        }
        let (_dir, path, index) = index_of(&bytes);
        let mut index = index.unwrap();
        assert_eq!(index.get(0, "65535"), Some(65535));
        let error = index.assign(0, "one more").unwrap_err();
        assert!(matches!(error, StoreError::TooManyFacets));
        assert_eq!(error.to_string(), "Maximum number of facets exceeded");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes.len() as u64);
    }
}
