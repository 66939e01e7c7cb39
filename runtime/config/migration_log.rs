//! Applies the migrations of a worker to a data directory, each once.
//!
//! Owns: `<data dir>/migrations.json` (which tags were applied, which class has which key) and the
//! removal of deleted classes. Called once per worker at start, before any object is opened, by the
//! process that holds the data directory's lock. Renames touch no files: the class keeps its key.
//!
//! Order of a deletion: the directory is *moved* to a trash folder in the data directory, then the
//! tag is recorded, then the trash is emptied. A crash in between leaves either nothing done, or
//! trash that the next start empties; a directory that came into being after the move is never
//! touched.
//! Never deleted: a directory whose key belongs to a class of today, whatever the history says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::config_file::{parse_json, read_text};
use crate::error::ConfigError;
use crate::project::WorkerConfig;

const LOG_NAME: &str = "migrations.json";

/// Emptied without asking, hence a name nobody else uses: the data directory may be shared.
const TRASH_NAME: &str = ".facetd-deleted-classes";

/// Another number means another format: refuse it rather than misread it.
const LOG_VERSION: u64 = 1;

/// What [`apply_migrations`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MigrationReport {
    /// Tags applied now, in order; those of earlier starts are not repeated.
    pub applied: Vec<String>,
    /// Unique keys whose directory was removed now.
    pub deleted: Vec<String>,
    /// Unique keys of deleted classes whose objects stay, because a later migration declares the
    /// class again.
    pub kept: Vec<String>,
}

/// Brings `<data dir>/do`, given as `objects_dir`, up to the migrations of `worker`.
///
/// Neither directory needs to exist; nothing is written if nothing changes.
///
/// # Errors
/// `Syntax` or `Invalid` for a log this version cannot read, `Invalid` if the list gives a class
/// another key than the one its objects are stored under: nothing is deleted then. After `Io` the
/// next call goes on where this one stopped.
pub fn apply_migrations(
    objects_dir: &Path,
    worker: &WorkerConfig,
) -> Result<MigrationReport, ConfigError> {
    let Some(data_dir) = objects_dir.parent() else {
        let message = "the objects directory must lie in a data directory";
        return Err(ConfigError::invalid(objects_dir, "", message));
    };
    let trash = data_dir.join(TRASH_NAME);
    remove_tree(&trash)?;

    let mut log = Log::read(data_dir)?;
    let entry = log.workers.entry(worker.name.clone()).or_default();
    let before = entry.clone();
    refuse_changed_keys(worker, entry)?;

    let map = worker.class_map();
    let mut report = MigrationReport::default();
    for migration in &worker.migrations {
        if entry.applied.contains(&migration.tag) {
            continue;
        }
        for gone in map.deleted.iter().filter(|gone| gone.tag == migration.tag) {
            let key = &gone.unique_key;
            if map.classes.iter().any(|class| class.unique_key == *key) {
                report.kept.push(key.clone());
            } else if move_to_trash(objects_dir, &trash, key)? {
                report.deleted.push(key.clone());
            }
        }
        entry.applied.push(migration.tag.clone());
        report.applied.push(migration.tag.clone());
    }
    entry.classes = map
        .classes
        .into_iter()
        .map(|class| (class.class_name, class.unique_key))
        .collect();
    if *entry != before {
        log.write(data_dir)?;
    }
    remove_tree(&trash)?;
    Ok(report)
}

/// Can the log of migrations of a data directory be read? A missing one can.
///
/// # Errors
/// `Syntax`, `Invalid`, `Io`.
pub fn check_migration_log(data_dir: &Path) -> Result<(), ConfigError> {
    Log::read(data_dir).map(drop)
}

/// A class whose key changed would find its storage empty: its history was rewritten. Only a
/// migration that is still to be applied may give its name to another class.
fn refuse_changed_keys(worker: &WorkerConfig, entry: &WorkerLog) -> Result<(), ConfigError> {
    let pending: Vec<_> = worker
        .migrations
        .iter()
        .filter(|migration| !entry.applied.contains(&migration.tag))
        .collect();
    for class in worker.class_map().classes {
        let name = &class.class_name;
        let Some(stored) = entry
            .classes
            .get(name)
            .filter(|stored| **stored != class.unique_key)
        else {
            continue;
        };
        let passed_on = pending.iter().any(|migration| {
            migration.deleted_classes.contains(name)
                || migration
                    .renamed_classes
                    .iter()
                    .any(|rename| rename.from == *name)
        });
        if !passed_on {
            let message = format!(
                "class \"{name}\" of worker \"{}\" has its objects under \"{stored}\", but the migrations now give \
                 \"{}\": restore the migrations that were removed or changed",
                worker.name, class.unique_key
            );
            let file = worker.config_file.as_deref().unwrap_or(&worker.root);
            return Err(ConfigError::invalid(file, "migrations", message));
        }
    }
    Ok(())
}

/// The content of `migrations.json`.
#[derive(Debug, Default)]
struct Log {
    workers: BTreeMap<String, WorkerLog>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct WorkerLog {
    /// Tags, in the order of their application.
    applied: Vec<String>,
    /// Class name to unique key, as of the last start.
    classes: BTreeMap<String, String>,
}

impl Log {
    /// A missing file is an empty log; a damaged one is an error, as reading it as empty would apply
    /// every deletion again.
    fn read(data_dir: &Path) -> Result<Self, ConfigError> {
        let file = data_dir.join(LOG_NAME);
        let text = match read_text(&file) {
            Err(ConfigError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            text => text?,
        };
        let value = parse_json(&file, &text)?;
        let invalid = |message: &str| ConfigError::invalid(&file, "", message);
        if value["version"] != LOG_VERSION {
            return Err(invalid(
                "this log of migrations was written by another version of facetd",
            ));
        }
        let workers = value["workers"].as_object().and_then(|workers| {
            workers
                .iter()
                .map(|(name, worker)| Some((name.clone(), WorkerLog::from_json(worker)?)))
                .collect()
        });
        let workers = workers.ok_or_else(|| {
            invalid(
                "the log of migrations is damaged: restore it from a backup of the data directory",
            )
        })?;
        Ok(Self { workers })
    }

    /// Replaces the file as a whole: after a crash it is the old one or the new one.
    fn write(&self, data_dir: &Path) -> Result<(), ConfigError> {
        let workers: serde_json::Map<String, Value> = self
            .workers
            .iter()
            .map(|(name, worker)| {
                (
                    name.clone(),
                    json!({ "applied": worker.applied, "classes": worker.classes }),
                )
            })
            .collect();
        let text = format!(
            "{:#}\n",
            json!({ "version": LOG_VERSION, "workers": workers })
        );
        let file = data_dir.join(LOG_NAME);
        let temporary = data_dir.join(format!("{LOG_NAME}.tmp"));
        std::fs::create_dir_all(data_dir)
            .and_then(|()| File::create(&temporary))
            .and_then(|mut opened| {
                opened.write_all(text.as_bytes())?;
                opened.sync_all()
            })
            .and_then(|()| std::fs::rename(&temporary, &file))
            .and_then(|()| sync_folder(data_dir))
            .map_err(ConfigError::io("write", &file))
    }
}

impl WorkerLog {
    fn from_json(value: &Value) -> Option<Self> {
        let string = |value: &Value| value.as_str().map(str::to_owned);
        let applied = value["applied"]
            .as_array()?
            .iter()
            .map(string)
            .collect::<Option<_>>()?;
        let classes = value["classes"].as_object()?.iter();
        let classes = classes
            .map(|(class, key)| Some((class.clone(), string(key)?)))
            .collect::<Option<_>>()?;
        Some(Self { applied, classes })
    }
}

/// Whether there was anything to move. Durable when it returns.
fn move_to_trash(objects_dir: &Path, trash: &Path, key: &str) -> Result<bool, ConfigError> {
    // Names are validated when the config is read; but this deletes, so make sure.
    assert!(
        !key.is_empty() && !key.contains(['/', '\\', '.']),
        "a unique key is one path segment: {key}"
    );
    let from = objects_dir.join(key);
    match std::fs::symlink_metadata(&from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        _ => {}
    }
    std::fs::create_dir_all(trash)
        .and_then(|()| std::fs::rename(&from, trash.join(key)))
        .and_then(|()| sync_folder(trash))
        .and_then(|()| sync_folder(objects_dir))
        .map_err(ConfigError::io("delete", &from))?;
    Ok(true)
}

fn remove_tree(path: &Path) -> Result<(), ConfigError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(ConfigError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::tests::worker;

    struct Data(tempfile::TempDir);

    impl Data {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn apply(&self, entries: &[&str]) -> Result<MigrationReport, String> {
            apply_migrations(&self.0.path().join("do"), &worker(entries))
                .map_err(|error| error.to_string())
        }

        /// Stores an object under `key`.
        fn put(&self, key: &str) {
            let folder = self.0.path().join("do").join(key);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("object.sqlite"), key).unwrap();
        }

        fn has(&self, key: &str) -> bool {
            self.0
                .path()
                .join("do")
                .join(key)
                .join("object.sqlite")
                .is_file()
        }

        fn log(&self) -> String {
            std::fs::read_to_string(self.0.path().join(LOG_NAME)).unwrap()
        }
    }

    #[test]
    fn tags_are_applied_once_and_in_order() {
        let data = Data::new();
        assert_eq!(data.apply(&["+A", "+B"]).unwrap().applied, ["v1", "v2"]);
        assert_eq!(
            data.apply(&["+A", "+B"]).unwrap(),
            MigrationReport::default()
        );
        assert_eq!(data.apply(&["+A", "+B", "A>C"]).unwrap().applied, ["v3"]);
        let log: Value = serde_json::from_str(&data.log()).unwrap();
        let expected =
            json!({ "applied": ["v1", "v2", "v3"], "classes": { "B": "w-B", "C": "w-A" } });
        assert_eq!(log, json!({ "version": 1, "workers": { "w": expected } }));
    }

    #[test]
    fn nothing_is_written_for_a_worker_without_classes() {
        let data = Data::new();
        data.apply(&[]).unwrap();
        assert_eq!(std::fs::read_dir(data.0.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_deleted_class_loses_its_objects_once() {
        let data = Data::new();
        data.apply(&["+A +B"]).unwrap();
        data.put("w-A");
        data.put("w-B");
        let report = data.apply(&["+A +B", "-A"]).unwrap();
        assert_eq!(report.deleted, ["w-A"]);
        assert!(!data.has("w-A") && data.has("w-B"));
        assert!(!data.0.path().join(TRASH_NAME).exists(), "no trash is left");

        data.put("w-A");
        assert_eq!(
            data.apply(&["+A +B", "-A"]).unwrap(),
            MigrationReport::default()
        );
        assert!(
            data.has("w-A"),
            "the tag was applied: what is there now is not ours to delete"
        );
    }

    #[test]
    fn a_renamed_class_is_deleted_under_its_key() {
        let data = Data::new();
        data.put("w-A");
        assert_eq!(data.apply(&["+A", "A>B", "-B"]).unwrap().deleted, ["w-A"]);
    }

    #[test]
    fn a_class_declared_again_keeps_its_objects() {
        let data = Data::new();
        data.apply(&["+A"]).unwrap();
        data.put("w-A");
        let report = data.apply(&["+A", "-A", "+A"]).unwrap();
        assert_eq!(
            (report.deleted, report.kept),
            (vec![], vec!["w-A".to_owned()])
        );
        assert!(data.has("w-A"));
    }

    #[test]
    fn a_lost_log_deletes_nothing_that_is_in_use() {
        let data = Data::new();
        data.apply(&["+A", "-A", "+A"]).unwrap();
        data.put("w-A");
        std::fs::remove_file(data.0.path().join(LOG_NAME)).unwrap();
        data.apply(&["+A", "-A", "+A"]).unwrap();
        assert!(data.has("w-A"));
    }

    #[test]
    fn a_damaged_or_foreign_log_stops_everything() {
        for (text, expected) in [
            ("{", "migrations.json:1:2: "),
            (
                "{ \"version\": 2 }",
                "migrations.json: this log of migrations was written by another version of facetd",
            ),
            (
                "{ \"version\": 1, \"workers\": { \"w\": {} } }",
                "migrations.json: the log of migrations is damaged: restore it from a backup of the data directory",
            ),
        ] {
            let data = Data::new();
            data.put("w-A");
            std::fs::write(data.0.path().join(LOG_NAME), text).unwrap();
            let error = data.apply(&["+A", "-A"]).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(data.has("w-A"));
        }
    }

    #[test]
    fn a_rewritten_history_is_refused() {
        let data = Data::new();
        data.apply(&["+A", "A>B"]).unwrap();
        data.put("w-A");
        let error = data.apply(&["+B"]).unwrap_err();
        let expected = "migrations: class \"B\" of worker \"w\" has its objects under \"w-A\", but the migrations now give \"w-B\": restore the migrations that were removed or changed";
        assert!(error.contains(expected), "{error}");
        assert!(
            data.apply(&["+A", "A>B", "B>X"]).is_ok(),
            "a new migration may rename it"
        );
    }

    #[test]
    fn a_name_may_pass_to_a_new_class() {
        let data = Data::new();
        data.apply(&["+A"]).unwrap();
        data.put("w-A");
        data.apply(&["+A", "A>B", "+A"]).unwrap();
        assert!(data.has("w-A"), "now the objects of B");
        assert!(data.log().contains("\"A\": \"w-A-2\""));
    }

    #[test]
    fn a_crash_after_the_move_is_finished_by_the_next_start() {
        let data = Data::new();
        data.apply(&["+A"]).unwrap();
        data.put("w-A");
        let (objects, trash) = (data.0.path().join("do"), data.0.path().join(TRASH_NAME));
        move_to_trash(&objects, &trash, "w-A").unwrap();
        let report = data.apply(&["+A", "-A"]).unwrap();
        assert_eq!(
            (report.applied, report.deleted),
            (vec!["v2".to_owned()], vec![])
        );
        assert!(!trash.exists());
    }

    #[test]
    fn two_workers_share_one_log() {
        let data = Data::new();
        data.apply(&["+A"]).unwrap();
        let mut other = worker(&["+A"]);
        other.name = "x".to_owned();
        apply_migrations(&data.0.path().join("do"), &other).unwrap();
        assert_eq!(data.apply(&["+A"]).unwrap(), MigrationReport::default());
        assert!(data.log().contains("x-A"));
    }
}
