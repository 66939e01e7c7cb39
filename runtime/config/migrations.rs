//! Durable Object migrations: which classes have storage, and under which unique key.
//!
//! Owns: the meaning of the `migrations` list, computed without looking at any data; `migration_log`
//! applies it to a data directory. Within one entry: deletions, then renames, then new classes, as in
//! wrangler.
//! Always true: no two classes share a unique key, and a class never gets the key of objects that
//! belonged to a class of another name, deleted or not. Class names have no `-`, hence the keys of two
//! workers cannot meet either.

use std::collections::HashMap;

use crate::error::ConfigError;
use crate::project::{DurableClass, ObjectBinding, WorkerConfig};
use crate::settings::Settings;
use crate::value::{Field, Object};

/// A unique key names a directory.
const UNIQUE_KEY_BYTES_MAX: usize = 255;

/// One entry of `migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub tag: String,
    pub deleted_classes: Vec<String>,
    pub renamed_classes: Vec<RenamedClass>,
    /// `new_classes`, then `new_sqlite_classes`: facetd treats them alike.
    pub new_classes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenamedClass {
    pub from: String,
    pub to: String,
}

/// What the migrations of a worker amount to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassMap {
    /// Classes with storage, oldest first, then those that only a binding names.
    pub classes: Vec<DurableClass>,
    /// What `deleted_classes` removes, in order. A key may come back: see `migration_log`.
    pub deleted: Vec<DeletedClass>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedClass {
    /// The migration that says so.
    pub tag: String,
    pub class_name: String,
    pub unique_key: String,
}

impl WorkerConfig {
    /// The classes with storage and the keys to delete, from `migrations` and the object bindings.
    ///
    /// The key is `<worker name>-<class name>`; a renamed class keeps the one of its first name. A new
    /// class whose key is taken by a renamed one gets `<worker name>-<class name>-2` (then 3 ...).
    pub fn class_map(&self) -> ClassMap {
        fold(&self.name, &self.migrations, &self.object_bindings).0
    }
}

/// A fault of the list; the class map is usable all the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub severity: Severity,
    /// Key path below the config's root.
    pub key: String,
    pub message: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// Walks through the history of the classes.
pub(crate) fn fold(
    worker: &str,
    migrations: &[Migration],
    bindings: &[ObjectBinding],
) -> (ClassMap, Vec<Issue>) {
    let mut history = History {
        worker,
        live: Vec::new(),
        retired: HashMap::new(),
        gone: HashMap::new(),
    };
    let mut deleted = Vec::new();
    let mut issues = Vec::new();
    let mut issue = |severity, key: String, message: String| {
        issues.push(Issue {
            severity,
            key,
            message,
        })
    };

    for (at, migration) in migrations.iter().enumerate() {
        let tag = &migration.tag;
        for (index, class) in migration.deleted_classes.iter().enumerate() {
            let known = history.remove(class);
            if known.is_none() {
                let key = format!("migrations[{at}].deleted_classes[{index}]");
                issue(
                    Severity::Warning,
                    key,
                    format!("no earlier migration creates a class \"{class}\""),
                );
            }
            // An unknown class may come from a part of the history that was cut off; but never
            // delete what now belongs to another class.
            let unique_key = known.unwrap_or_else(|| history.key(class, 1));
            let foreign = history
                .live
                .iter()
                .any(|other| other.unique_key == unique_key)
                || history
                    .retired
                    .get(&unique_key)
                    .is_some_and(|owner| owner != class);
            if foreign {
                continue;
            }
            history.retired.insert(unique_key.clone(), class.clone());
            history
                .gone
                .insert(class.clone(), format!("was deleted by migration \"{tag}\""));
            deleted.push(DeletedClass {
                tag: tag.clone(),
                class_name: class.clone(),
                unique_key,
            });
        }
        for (index, RenamedClass { from, to }) in migration.renamed_classes.iter().enumerate() {
            let key = format!("migrations[{at}].renamed_classes[{index}]");
            if history.is_live(to) {
                issue(
                    Severity::Error,
                    key,
                    format!("cannot rename \"{from}\": a class \"{to}\" exists already"),
                );
                continue;
            }
            let unique_key = history.remove(from).unwrap_or_else(|| {
                issue(
                    Severity::Warning,
                    key,
                    format!("no earlier migration creates a class \"{from}\""),
                );
                history.free_key(from)
            });
            history.gone.insert(
                from.clone(),
                format!("was renamed to \"{to}\" by migration \"{tag}\""),
            );
            history.insert(to, unique_key);
        }
        for class in &migration.new_classes {
            if history.is_live(class) {
                let message =
                    format!("\"{tag}\" creates a class \"{class}\", which exists already");
                issue(Severity::Error, format!("migrations[{at}]"), message);
                continue;
            }
            let unique_key = history.free_key(class);
            history.insert(class, unique_key);
        }
    }
    for (index, binding) in bindings.iter().enumerate() {
        let class = &binding.class_name;
        if binding
            .script_name
            .as_deref()
            .is_some_and(|script| script != worker)
            || history.is_live(class)
        {
            continue;
        }
        if let Some(fate) = history.gone.get(class) {
            let message = format!(
                "binding \"{}\" is for class \"{class}\", which {fate}: bind another class, or create it again with \
                 \"new_sqlite_classes\" in a new migration",
                binding.binding
            );
            issue(
                Severity::Error,
                format!("durable_objects.bindings[{index}]"),
                message,
            );
        }
        let unique_key = history.free_key(class);
        history.insert(class, unique_key);
    }
    for class in &history.live {
        if class.unique_key.len() > UNIQUE_KEY_BYTES_MAX {
            let message = format!(
                "class name \"{}\" is too long: its storage cannot be named",
                class.class_name
            );
            issue(Severity::Error, "migrations".to_owned(), message);
        }
    }
    (
        ClassMap {
            classes: history.live,
            deleted,
        },
        issues,
    )
}

struct History<'a> {
    worker: &'a str,
    live: Vec<DurableClass>,
    /// Keys of deleted classes, and the name each class had when it was deleted.
    retired: HashMap<String, String>,
    /// Names that are no longer a class, and why.
    gone: HashMap<String, String>,
}

impl History<'_> {
    fn is_live(&self, class: &str) -> bool {
        self.live.iter().any(|live| live.class_name == class)
    }

    fn insert(&mut self, class: &str, unique_key: String) {
        self.gone.remove(class);
        self.live.push(DurableClass {
            class_name: class.to_owned(),
            unique_key,
        });
    }

    /// The key of the class that no longer has this name, if it existed.
    fn remove(&mut self, class: &str) -> Option<String> {
        let at = self.live.iter().position(|live| live.class_name == class)?;
        Some(self.live.remove(at).unique_key)
    }

    fn key(&self, class: &str, generation: usize) -> String {
        match generation {
            1 => format!("{}-{class}", self.worker),
            _ => format!("{}-{class}-{generation}", self.worker),
        }
    }

    /// The first key that no class uses and that held no objects of a class of another name.
    fn free_key(&self, class: &str) -> String {
        (1..)
            .map(|generation| self.key(class, generation))
            .find(|key| {
                self.live.iter().all(|live| live.unique_key != *key)
                    && self.retired.get(key).is_none_or(|owner| owner == class)
            })
            .expect("only finitely many keys are taken")
    }
}

/// Reads the list; the history itself is judged by [`fold`].
pub(crate) fn parse(settings: &Settings) -> Result<Vec<Migration>, ConfigError> {
    let Some(field) = settings.get("migrations") else {
        return Ok(Vec::new());
    };
    let mut migrations: Vec<Migration> = Vec::new();
    for item in field.items()? {
        let entry = item.object()?;
        let tag = entry.required("tag")?;
        if migrations
            .iter()
            .any(|earlier| Some(earlier.tag.as_str()) == tag.value.as_str())
        {
            return Err(tag.invalid("an earlier migration has this tag: every tag is applied once, so it must be unique"));
        }
        let mut new_classes = classes(&entry, "new_classes")?;
        new_classes.extend(classes(&entry, "new_sqlite_classes")?);
        migrations.push(Migration {
            tag: tag.name()?.to_owned(),
            deleted_classes: classes(&entry, "deleted_classes")?,
            renamed_classes: renames(&entry)?,
            new_classes,
        });
        if let Some(field) = entry
            .get("transferred_classes")
            .filter(|field| !field.items().is_ok_and(|i| i.is_empty()))
        {
            return Err(field.invalid("facetd cannot move a class between workers"));
        }
    }
    Ok(migrations)
}

fn classes(entry: &Object, key: &str) -> Result<Vec<String>, ConfigError> {
    let Some(field) = entry.get(key) else {
        return Ok(Vec::new());
    };
    field.items()?.iter().map(class_name).collect()
}

fn renames(entry: &Object) -> Result<Vec<RenamedClass>, ConfigError> {
    let Some(field) = entry.get("renamed_classes") else {
        return Ok(Vec::new());
    };
    let rename = |item: &Field| -> Result<RenamedClass, ConfigError> {
        let rename = item.object()?;
        Ok(RenamedClass {
            from: class_name(&rename.required("from")?)?,
            to: class_name(&rename.required("to")?)?,
        })
    };
    field.items()?.iter().map(rename).collect()
}

/// A class name is a JavaScript identifier: it becomes part of a directory name, so `/` and `..` must not pass.
pub(crate) fn class_name(field: &Field) -> Result<String, ConfigError> {
    let name = field.name()?;
    let mut chars = name.chars();
    let starts = chars
        .next()
        .is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '$'));
    if !starts || !chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
        return Err(field.invalid(format!("\"{name}\" is not the name of a JavaScript class")));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `+A` new, `-A` deleted, `A>B` renamed; words of one entry share a tag `v1`, `v2` ...
    pub(crate) fn history(entries: &[&str]) -> Vec<Migration> {
        let entry = |(at, entry): (usize, &&str)| {
            let mut migration = Migration {
                tag: format!("v{}", at + 1),
                deleted_classes: Vec::new(),
                renamed_classes: Vec::new(),
                new_classes: Vec::new(),
            };
            for word in entry.split_whitespace() {
                if let Some((from, to)) = word.split_once('>') {
                    migration.renamed_classes.push(RenamedClass {
                        from: from.into(),
                        to: to.into(),
                    });
                } else if let Some(class) = word.strip_prefix('-') {
                    migration.deleted_classes.push(class.into());
                } else {
                    migration
                        .new_classes
                        .push(word.strip_prefix('+').unwrap().into());
                }
            }
            migration
        };
        entries.iter().enumerate().map(entry).collect()
    }

    fn classes_of(entries: &[&str]) -> Vec<String> {
        let (map, _) = fold("w", &history(entries), &[]);
        map.classes
            .iter()
            .map(|class| format!("{}={}", class.class_name, class.unique_key))
            .collect()
    }

    fn deleted_of(entries: &[&str]) -> Vec<String> {
        let (map, _) = fold("w", &history(entries), &[]);
        map.deleted
            .iter()
            .map(|deleted| format!("{}:{}", deleted.tag, deleted.unique_key))
            .collect()
    }

    fn bind(class: &str, script: Option<&str>) -> ObjectBinding {
        ObjectBinding {
            binding: "B".into(),
            class_name: class.into(),
            script_name: script.map(str::to_owned),
        }
    }

    #[test]
    fn a_renamed_class_keeps_the_key_of_its_first_name() {
        assert_eq!(classes_of(&["+A +B", "A>C", "C>D"]), ["B=w-B", "D=w-A"]);
    }

    #[test]
    fn a_deleted_class_is_gone_and_listed() {
        assert_eq!(classes_of(&["+A +B", "-A"]), ["B=w-B"]);
        assert_eq!(
            deleted_of(&["+A +B", "A>C", "-C"]),
            ["v3:w-A"],
            "the key it had, not the one of its last name"
        );
    }

    #[test]
    fn a_new_class_never_gets_the_objects_of_a_renamed_one() {
        assert_eq!(classes_of(&["+A", "A>B", "+A"]), ["B=w-A", "A=w-A-2"]);
        assert_eq!(
            classes_of(&["+A +B", "A>X B>A X>B"]),
            ["A=w-B", "B=w-A"],
            "a swap keeps both"
        );
        assert_eq!(
            classes_of(&["+A", "A>B", "-B +A"]),
            ["A=w-A-2"],
            "w-A held objects of B"
        );
    }

    #[test]
    fn a_class_declared_again_has_its_old_key() {
        assert_eq!(classes_of(&["+A", "-A", "+A"]), ["A=w-A"]);
        assert_eq!(
            classes_of(&["+A", "-A +A"]),
            ["A=w-A"],
            "deletions come first within one entry"
        );
    }

    #[test]
    fn bindings_give_a_class_a_namespace_too() {
        let (map, issues) = fold(
            "w",
            &history(&["+A"]),
            &[bind("B", None), bind("A", Some("w")), bind("C", Some("x"))],
        );
        let names: Vec<&str> = map
            .classes
            .iter()
            .map(|class| class.unique_key.as_str())
            .collect();
        assert_eq!(
            names,
            ["w-A", "w-B"],
            "a class of another worker is not ours"
        );
        assert_eq!(issues, []);
    }

    #[test]
    fn faults_of_the_history_are_reported() {
        for (entries, severity, key, message) in [
            (
                &["+A", "+A"][..],
                Severity::Error,
                "migrations[1]",
                "\"v2\" creates a class \"A\", which exists already",
            ),
            (
                &["+A +B", "A>B"],
                Severity::Error,
                "migrations[1].renamed_classes[0]",
                "cannot rename \"A\": a class \"B\" exists already",
            ),
            (
                &["A>B"],
                Severity::Warning,
                "migrations[0].renamed_classes[0]",
                "no earlier migration creates a class \"A\"",
            ),
            (
                &["-A"],
                Severity::Warning,
                "migrations[0].deleted_classes[0]",
                "no earlier migration creates a class \"A\"",
            ),
        ] {
            let (_, issues) = fold("w", &history(entries), &[]);
            let expected = Issue {
                severity,
                key: key.into(),
                message: message.into(),
            };
            assert_eq!(issues, [expected], "{entries:?}");
        }
    }

    #[test]
    fn a_binding_for_a_class_that_is_gone_is_an_error() {
        let message = |entries: &[&str]| {
            fold("w", &history(entries), &[bind("A", None)])
                .1
                .remove(0)
                .message
        };
        assert_eq!(
            message(&["+A", "-A"]),
            "binding \"B\" is for class \"A\", which was deleted by migration \"v2\": bind another class, or create it again with \"new_sqlite_classes\" in a new migration"
        );
        assert!(message(&["+A", "A>B"]).contains("which was renamed to \"B\" by migration \"v2\""));
    }

    #[test]
    fn deleting_an_unknown_class_spares_a_class_that_took_its_key() {
        assert_eq!(
            deleted_of(&["+A", "A>B", "-A"]),
            Vec::<String>::new(),
            "w-A belongs to B"
        );
        assert_eq!(deleted_of(&["-A"]), ["v1:w-A"]);
    }
}
