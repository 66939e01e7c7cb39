//! A project folder made of strings, in a temporary place.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub struct Project {
    folder: TempDir,
}

impl Project {
    pub fn new() -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("facetd-test-")
                .tempdir()
                .expect("a temporary folder can be made"),
        }
    }

    /// A project of one worker with its own configuration: `("wrangler.jsonc", ...)` among the files.
    pub fn of(files: &[(&str, &str)]) -> Self {
        files.iter().fold(Self::new(), |project, (path, content)| {
            project.file(path, content)
        })
    }

    /// Adds or replaces a file; folders on the way are made.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(path, content);
        self
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("folders can be made");
        fs::write(&path, content).expect("files can be written");
    }

    /// Copies everything below `from`, except the names in `without`.
    pub fn copy_of(self, from: &Path, without: &[&str]) -> Self {
        copy(from, self.folder.path(), without);
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

fn copy(from: &Path, to: &Path, without: &[&str]) {
    fs::create_dir_all(to).expect("folders can be made");
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let name = entry.file_name();
        if without.iter().any(|known| name == *known) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type().expect("a file has a type").is_dir() {
            copy(&entry.path(), &target, without);
        } else {
            fs::copy(entry.path(), &target).expect("files can be copied");
        }
    }
}
