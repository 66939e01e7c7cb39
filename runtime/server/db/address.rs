//! How the user names a database: `NAMESPACE/OBJECT[/FACET[/FACET...]]`.
//!
//! A `/` or `%` within a name is written `%2F` or `%25`. Never becomes a path: namespaces are looked up among those that
//! are there, an object is an id, a facet a number from its index.

use super::error::DbError;
use super::place::relative;
use facetd_core::{ObjectId, UniqueKey};
use facetd_store::{FacetIndex, ObjectFiles, catalog};
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub namespace: String,
    /// 64 hex digits, `name:TEXT`, or a name.
    pub object: String,
    /// Names, from the root object down.
    #[serde(default)]
    pub facets: Vec<String>,
}

/// A database that an address led to.
#[derive(Debug)]
pub struct Located {
    pub namespace: String,
    pub id: ObjectId,
    pub files: ObjectFiles,
    /// `None`: the last `missing` facets of the address have no number yet.
    pub storage_id: Option<u16>,
    /// The number of the deepest facet that has one, and the names below it that have none.
    pub known: u16,
    pub missing: Vec<String>,
}

impl Located {
    pub fn exists(&self) -> bool {
        self.storage_id
            .is_some_and(|number| self.files.database(number).exists())
    }
}

impl Address {
    pub fn parse(text: &str) -> Result<Self, DbError> {
        let mut parts = text.split('/').map(decode);
        let (Some(namespace), Some(object)) = (parts.next(), parts.next()) else {
            return Err(DbError::usage(format!(
                "`{text}` does not name an object: write NAMESPACE/OBJECT or NAMESPACE/OBJECT/FACET, as `facetd db ls` shows them"
            )));
        };
        let facets: Vec<String> = parts.collect();
        if namespace.is_empty() || object.is_empty() || facets.iter().any(String::is_empty) {
            return Err(DbError::usage(format!(
                "`{text}` has an empty part: a name with a slash in it is written with %2F"
            )));
        }
        Ok(Self {
            namespace,
            object,
            facets,
        })
    }

    /// The object's id: what was written, or what the name derives.
    pub fn id(&self) -> ObjectId {
        let name = self.object.strip_prefix("name:");
        let by_id = ObjectId::from_hex(&self.object).ok();
        by_id.unwrap_or_else(|| {
            let name = name.unwrap_or(&self.object);
            UniqueKey::new(self.namespace.clone()).id_from_name(name)
        })
    }

    pub fn show(&self) -> String {
        let mut text = format!("{}/{}", encode(&self.namespace), encode(&self.object));
        for facet in &self.facets {
            text.push('/');
            text.push_str(&encode(facet));
        }
        text
    }

    /// Looks the database up. With `create`, objects and facets that are not there yet are fine, as long as the id belongs to
    /// the namespace.
    pub fn locate(&self, data_dir: &Path, create: bool) -> Result<Located, DbError> {
        let namespace = find_namespace(data_dir, &self.namespace)?;
        let key = UniqueKey::new(namespace.clone());
        let files_of =
            |id: ObjectId| ObjectFiles::new(relative(data_dir, &namespace), id.to_string(), None);
        let there = |id: ObjectId| {
            let files = files_of(id);
            files.database(0).exists() || files.index().exists()
        };
        let id = self.id();
        if !there(id) {
            if !create {
                return Err(DbError::not_there(match ObjectId::from_hex(&self.object) {
                    Ok(_) => format!(
                        "namespace {namespace} has no object {id}; `facetd db ls` shows what there is"
                    ),
                    Err(_) => format!(
                        "namespace {namespace} has no object named \"{}\" (its id would be {id}); `facetd db ls` shows what there is. \
                         Objects made by newUniqueId() have no name: use the id",
                        self.object.strip_prefix("name:").unwrap_or(&self.object)
                    ),
                }));
            }
            if key.id_from_string(&id.to_string()).is_err() {
                return Err(DbError::refused(format!(
                    "{id} is not an id of namespace {namespace}, so no worker could ever reach it. Ids are made by the namespace: \
                     use `name:TEXT`, or an id that idFromName() or newUniqueId() gave"
                )));
            }
        }
        let files = files_of(id);
        let (index, _) = FacetIndex::look(&files.index())?;
        let mut known = 0;
        let mut missing = self.facets.clone();
        while let Some(number) = missing.first().and_then(|name| index.get(known, name)) {
            known = number;
            missing.remove(0);
        }
        let located = Located {
            namespace,
            id,
            storage_id: missing.is_empty().then_some(known),
            files,
            known,
            missing,
        };
        if !create && let Some(name) = located.missing.first() {
            return Err(DbError::not_there(format!(
                "{} has no facet \"{name}\" there; `facetd db ls` shows what there is",
                self.show()
            )));
        }
        if !create && !located.exists() {
            return Err(DbError::not_there(format!(
                "{} has no database: it was deleted, or never stored anything",
                self.show()
            )));
        }
        Ok(located)
    }
}

/// The namespace of this name, if there is one.
pub fn find_namespace(data_dir: &Path, name: &str) -> Result<String, DbError> {
    let known = catalog::namespaces(data_dir)?;
    if known.iter().any(|key| key == name) {
        return Ok(name.to_owned());
    }
    Err(DbError::not_there(if known.is_empty() {
        format!(
            "there is no namespace {name}: {} holds no objects yet",
            data_dir.display()
        )
    } else {
        format!("there is no namespace {name}, only {}", known.join(", "))
    }))
}

/// A name as part of an address.
pub fn encode(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// Undoes `encode`, and any other `%XX` that gives UTF-8.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let mut byte = [0];
        let escaped = *first == b'%'
            && after
                .get(..2)
                .is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok());
        bytes.push(if escaped { byte[0] } else { *first });
        rest = if escaped { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["w-A/x", "w-A/x/a", "w-A/name:x/a/b", "w-A/a%2Fb/100%25"] {
            assert_eq!(Address::parse(text).unwrap().show(), text);
        }
        let address = Address::parse("w-A/room%2f1/100%/%ff").unwrap();
        assert_eq!(address.object, "room/1");
        assert_eq!(address.facets, ["100%", "%ff"], "what is no escape stays");
        for bad in ["", "w-A", "/x", "w-A/", "w-A/x/", "w-A//x"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_that_looks_like_a_path_leads_out_of_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("do/w-A")).unwrap();
        for text in ["..%2F..%2Fetc/x", "../x", "./x", "w-A%00/x", "do%2Fw-A/x"] {
            let address = Address::parse(text).unwrap();
            let error = address.locate(dir.path(), true).unwrap_err();
            assert!(error.message.contains("there is no namespace"), "{error}");
        }
        let located = Address::parse("w-A/..%2F..%2Fx/..")
            .unwrap()
            .locate(dir.path(), true)
            .unwrap();
        assert_eq!(located.files.folder(), dir.path().join("do/w-A"));
        assert_eq!(located.missing, [".."], "a name to be given a number");
        let foreign = Address::parse(&format!("w-A/{}", "0".repeat(64))).unwrap();
        let error = foreign.locate(dir.path(), true).unwrap_err();
        assert!(error.message.contains("not an id of namespace"), "{error}");
    }
}
