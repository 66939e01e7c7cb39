//! What is said over the admin socket: one JSON object per line, both ways.
//!
//! The server speaks first ([`Greeting`]). Then, as often as the client likes: a request; lines of an answer; `done` or
//! `error`. A line that announces `bytes` is followed by exactly so many bytes, which are no JSON.
//! Commands without a server ask the same questions of the same code (`operations.rs`), without a socket.

use super::address::Address;
use super::error::DbError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Another number means another meaning of some line.
pub const PROTOCOL: u64 = 1;
/// A request is one line of at most this many bytes. SQL text has its own, lower limit in SQLite.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// The version, for people.
    pub facetd: String,
    pub protocol: u64,
    pub pid: u32,
}

/// One file of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FileName {
    /// `migrations.json`.
    Migrations,
    /// A namespace's `metadata.sqlite`.
    Metadata { namespace: String },
    Database {
        namespace: String,
        object: String,
        number: u16,
    },
    /// The facet index of an object. After the databases, so that in a backup every facet has its name.
    Index { namespace: String, object: String },
}

impl FileName {
    /// Relative to the data directory. `None`: it names no file that could be there (in a manifest somebody has edited).
    pub fn path(&self) -> Option<String> {
        let folder = |namespace: &str| {
            let plain = !namespace.is_empty()
                && namespace.len() <= 255
                && !namespace.starts_with('.')
                && !namespace.contains(['/', '\\', '\0']);
            plain.then(|| format!("do/{namespace}"))
        };
        let object = |namespace: &str, object: &str| {
            let id = facetd_store::catalog::is_hex_id(object);
            id.then(|| folder(namespace).map(|folder| format!("{folder}/{object}")))
                .flatten()
        };
        match self {
            Self::Migrations => Some("migrations.json".to_owned()),
            Self::Metadata { namespace } => Some(format!("{}/metadata.sqlite", folder(namespace)?)),
            Self::Database {
                namespace,
                object: id,
                number: 0,
            } => Some(format!("{}.sqlite", object(namespace, id)?)),
            Self::Database {
                namespace,
                object: id,
                number,
            } => Some(format!("{}.{number}.sqlite", object(namespace, id)?)),
            Self::Index {
                namespace,
                object: id,
            } => Some(format!("{}.facets", object(namespace, id)?)),
        }
    }

    pub fn is_database(&self) -> bool {
        matches!(self, Self::Metadata { .. } | Self::Database { .. })
    }

    /// The object it belongs to: namespace and id.
    pub fn object(&self) -> Option<(&str, &str)> {
        match self {
            Self::Database {
                namespace, object, ..
            }
            | Self::Index { namespace, object } => Some((namespace, object)),
            Self::Migrations | Self::Metadata { .. } => None,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Answers with `file`, `facets` and `stray` lines.
    List,
    /// What there is of everything, in memory. Answers with `census` lines. Only a running facetd can say.
    Census {
        /// Collect garbage first.
        collect: bool,
    },
    /// Answers with `columns`, `row` and `end` lines, in turn for each statement.
    Query {
        database: Address,
        sql: String,
        write: bool,
        timeout_ms: u64,
    },
    /// Answers with `content`, or with nothing if the file has gone.
    Fetch { file: FileName },
    /// As `fetch`, of the database that an address leads to.
    Export { database: Address },
    /// Answers with `finding` lines.
    Check { file: FileName },
    /// Followed by the bytes of a database file.
    Import {
        database: Address,
        force: bool,
        bytes: u64,
    },
    /// The database as it was, in microseconds since 1970.
    RestoreAt { database: Address, time_us: u64 },
    /// Followed by the bytes of all parts. The object's other files are removed.
    RestoreObject {
        namespace: String,
        object: String,
        force: bool,
        parts: Vec<UploadPart>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UploadPart {
    /// `None`: the facet index.
    pub number: Option<u16>,
    pub bytes: u64,
}

impl Request {
    /// The sizes of what follows the request.
    pub fn uploads(&self) -> Vec<u64> {
        match self {
            Self::Import { bytes, .. } => vec![*bytes],
            Self::RestoreObject { parts, .. } => parts.iter().map(|part| part.bytes).collect(),
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    pub protocol: u64,
    #[serde(flatten)]
    pub request: Request,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileInfo {
    #[serde(flatten)]
    pub name: FileName,
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub changed_ms: u64,
    /// See `facetd_store::catalog::FileState`.
    pub stamp: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// Also for a namespace without objects.
    Namespace(String),
    File(FileInfo),
    /// The facet index of an object: parent and name of number 1, 2, ...
    Facets {
        namespace: String,
        object: String,
        entries: Vec<(u16, String)>,
        /// Bytes at the end that are not valid.
        invalid_bytes: usize,
        /// It could not be read.
        error: Option<String>,
    },
    Stray {
        path: String,
        why: String,
        advice: String,
    },
    Columns(Vec<String>),
    /// Values: see `operations::value_of`.
    Row(Vec<Value>),
    End {
        written: Option<u64>,
    },
    Finding(String),
    Census {
        /// Empty: the host's own tables.
        worker: String,
        loaded: bool,
        /// `null`: its isolate did not answer.
        counts: Option<serde_json::Map<String, Value>>,
    },
    /// So many bytes follow.
    Content {
        bytes: u64,
    },
    Done {},
    Error(DbError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_that_leads_out_of_its_folder_is_none() {
        let id = "a".repeat(64);
        let database = |namespace: &str, object: &str| FileName::Database {
            namespace: namespace.to_owned(),
            object: object.to_owned(),
            number: 3,
        };
        let path = database("w-A", &id).path();
        assert_eq!(path.unwrap(), format!("do/w-A/{id}.3.sqlite"));
        for (namespace, object) in [
            ("..", id.as_str()),
            ("", &id),
            ("a/b", &id),
            ("w-A", "../x"),
            ("w-A", ""),
        ] {
            assert_eq!(database(namespace, object).path(), None);
        }
    }

    #[test]
    fn requests_are_one_line_of_json() {
        let request = Envelope {
            protocol: PROTOCOL,
            request: Request::Query {
                database: Address::parse("w-A/x/y").unwrap(),
                sql: "SELECT\n1".to_owned(),
                write: false,
                timeout_ms: 5,
            },
        };
        let text = serde_json::to_string(&request).unwrap();
        let expected = r#"{"protocol":1,"do":"query","database":{"namespace":"w-A","object":"x","facets":["y"]},"sql":"SELECT\n1","write":false,"timeout_ms":5}"#;
        assert_eq!(text, expected);
        let back: Envelope = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }
}
