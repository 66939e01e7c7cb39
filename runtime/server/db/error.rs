//! How a `facetd db` command can fail, in one type that also crosses the admin socket.

use crate::exit::Code;
use facetd_host::HoldError;
use facetd_store::StoreError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;

/// Decides about the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request makes no sense.
    Usage,
    /// No such namespace, object, facet, file.
    NotThere,
    /// Refused or failed for a reason in what was asked: SQL, an unsound file, something in the way.
    Refused,
    /// The data directory cannot be used.
    Data,
    /// A file outside of it cannot.
    Failed,
}

/// The message is for the user: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbError {
    pub kind: Kind,
    pub message: String,
}

impl DbError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn not_there(message: impl Into<String>) -> Self {
        Self::new(Kind::NotThere, message)
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A file operation that failed.
    pub fn io<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |error| Self::failed(format!("cannot {action} {}: {error}", path.display()))
    }

    pub fn code(&self) -> Code {
        match self.kind {
            Kind::Usage => Code::Usage,
            Kind::NotThere | Kind::Refused => Code::Refused,
            Kind::Data => Code::Data,
            Kind::Failed => Code::Failed,
        }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parts of it may come from hostile code: names, SQL errors. A terminal must not obey them.
        f.write_str(&super::table::printable(&self.message, true))
    }
}

impl std::error::Error for DbError {}

impl From<StoreError> for DbError {
    fn from(error: StoreError) -> Self {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        match error {
            StoreError::ReadOnly => Self::refused(
                "this statement changes something, or sets a pragma: add --write to change data; pragmas that concern files are the server's",
            ),
            StoreError::Interrupted => Self::refused(
                "stopped: it took longer than --timeout allows, or its client went away. Nothing was changed",
            ),
            StoreError::NoDataDir { .. } => Self::data(format!(
                "{message}. Say with --data where it is; `facetd serve` makes one as .facetd in the project"
            )),
            StoreError::DataDirInUse { .. } | StoreError::DataDirNotWritable { .. } => {
                Self::data(message)
            }
            StoreError::NotADatabase { .. }
            | StoreError::Corrupt { .. }
            | StoreError::DatabaseIo { .. } => Self::refused(format!(
                "{message}. `facetd db verify` lists what is damaged; `facetd db restore --only` brings one object back"
            )),
            StoreError::Io { .. } | StoreError::SyncFailed { .. } => Self::failed(message),
            _ => Self::refused(message),
        }
    }
}

impl From<HoldError> for DbError {
    fn from(error: HoldError) -> Self {
        Self::refused(error.to_string())
    }
}
