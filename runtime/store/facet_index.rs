//! The facet index: gives every facet name below a root object a small number for good.
//!
//! Owns: the `.facets` file, append-only, in workerd's format (`spec/facets.md`, section 9). Called by: the host.
//! Always true: an id that was handed out is on disk, is never given to another name, and never removed. User code's names
//! thus never become file names.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::sync::sync_directory;

const MAGIC: [u8; 8] = 0xC4CD_CE5B_C5B0_EF57_u64.to_le_bytes();

/// The index of one root object. The root itself is id 0.
#[derive(Default)]
pub struct FacetIndex {
    path: PathBuf,
    /// `None` until the first id is assigned, if there was no file.
    file: Option<File>,
    /// Entry `i` is facet `i + 1`.
    facets: Vec<(u16, Box<str>)>,
    children: HashMap<u16, HashMap<Box<str>, u16>>,
    /// An append failed half way: the file's end is unknown, so nothing more can be assigned.
    broken: bool,
}

impl FacetIndex {
    /// Reads the index; an absent file is an empty one and is created by the first `assign`. What a crash left
    /// unfinished at the end is cut off.
    ///
    /// # Errors
    /// `NotAFacetIndex`, `Io`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut index = Self {
            path: path.to_owned(),
            file: None,
            facets: Vec::new(),
            children: HashMap::new(),
            broken: false,
        };
        let mut file = match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(index),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(StoreError::io("read", path))?;
        if bytes.len() <= MAGIC.len() {
            // Written by nobody, or interrupted before the first entry.
            file.set_len(0).map_err(StoreError::io("truncate", path))?;
            file.write_all(&MAGIC)
                .map_err(StoreError::io("write", path))?;
        } else {
            let Some(entries) = bytes.strip_prefix(&MAGIC) else {
                return Err(StoreError::NotAFacetIndex {
                    path: path.to_owned(),
                });
            };
            let valid_bytes = MAGIC.len() + index.read_entries(entries);
            if valid_bytes < bytes.len() {
                tracing::warn!(path = %path.display(), from = valid_bytes, to = bytes.len(), "facet index cut off");
                file.set_len(valid_bytes as u64)
                    .map_err(StoreError::io("truncate", path))?;
            }
        }
        index.file = Some(file);
        Ok(index)
    }

    /// Reads the index at `path` and changes nothing: for those who only look. Also returns how many bytes at its end are not
    /// valid: what a crash left, or an entry that is being written.
    ///
    /// # Errors
    /// As [`Self::open`]. An absent file is an empty index.
    pub fn look(path: &Path) -> Result<(Self, usize), StoreError> {
        let mut index = Self {
            path: path.to_owned(),
            file: None,
            facets: Vec::new(),
            children: HashMap::new(),
            broken: true, // it has no file to append to
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

    /// The id of a name, a new one if it has none. A new id is on disk when this returns.
    ///
    /// # Errors
    /// `TooManyFacets`, `FacetNameLength`, `UnknownParent`: nothing happened. `Io`: no id was assigned, and this index assigns
    /// no more (what is on disk is found out by opening it again).
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
        if self.file.is_none() {
            entry.extend_from_slice(&MAGIC);
        }
        entry.extend_from_slice(&parent.to_le_bytes());
        entry.extend_from_slice(&name_bytes.to_le_bytes());
        entry.extend_from_slice(name.as_bytes());
        self.append(&entry)?;
        Ok(self.insert(parent, name))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::io("write", &self.path)(io::Error::other(
                "an earlier write failed",
            )));
        }
        self.broken = true;
        if let Some(file) = &mut self.file {
            file.write_all(bytes)
                .map_err(StoreError::io("write", &self.path))?;
            file.sync_data()
                .map_err(StoreError::io("sync", &self.path))?;
        } else {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .open(&self.path)
                .map_err(StoreError::io("create", &self.path))?;
            file.write_all(bytes)
                .map_err(StoreError::io("write", &self.path))?;
            file.sync_data()
                .map_err(StoreError::io("sync", &self.path))?;
            self.file = Some(file);
            if let Some(dir) = self.path.parent() {
                sync_directory(dir).map_err(StoreError::io("sync", dir))?;
            }
        }
        self.broken = false;
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
        let index = FacetIndex::open(&path);
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
        let mut index = FacetIndex::open(&path).unwrap();
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
        let index = FacetIndex::open(&path).unwrap();
        assert_eq!(index.get(1, "a"), Some(3));
        let mut children: Vec<_> = index.children(0).collect();
        children.sort_unstable();
        assert_eq!(children, [(1, "a"), (2, "b")]);
        assert_eq!(index.children(2).count(), 0);
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
            assert_eq!(std::fs::read(&path).unwrap(), good, "{what}");
            assert_eq!(index.assign(0, "c").unwrap(), 3, "{what}");
            assert_eq!(
                FacetIndex::open(&path).unwrap().get(0, "c"),
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
            assert_eq!(FacetIndex::open(&path).unwrap().get(0, "a"), Some(1));
        }
        let (_dir, _path, index) = index_of(b"something else");
        assert!(matches!(index, Err(StoreError::NotAFacetIndex { .. })));
    }

    #[test]
    fn bad_names_and_parents_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = FacetIndex::open(&dir.path().join("a.facets")).unwrap();
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
