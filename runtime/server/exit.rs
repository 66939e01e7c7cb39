//! How the process ends. The README documents the same table.

use crate::db::error::DbError;
use facetd_config::ConfigError;
use facetd_host::HostError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Exit codes. clap's own errors are 2 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Ok = 0,
    /// Some tests failed, or something unforeseen.
    Failed = 1,
    /// Wrong usage; for `test`: it could not run.
    Usage = 2,
    /// The project is not there or its config is wrong.
    Project = 3,
    /// A worker did not start.
    Start = 4,
    /// The address is taken or not ours.
    Address = 5,
    /// The data directory is in use, not writable or unreadable.
    Data = 6,
    /// `db`: what was named is not there, or what was asked was refused or failed in SQLite.
    Refused = 7,
    /// `db verify` found problems.
    Unsound = 8,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command stopped before it was done.
#[derive(Debug)]
pub enum Stopped {
    Config(ConfigError),
    Host(HostError),
    Address(SocketAddr, io::Error),
    Usage(String),
    Io(&'static str, io::Error),
    Db(DbError),
}

impl Stopped {
    pub fn code(&self) -> Code {
        match self {
            Self::Config(_) | Self::Host(HostError::Config(_)) => Code::Project,
            Self::Host(
                HostError::MissingClass { .. }
                | HostError::MissingEntrypoint { .. }
                | HostError::Start { .. },
            ) => Code::Start,
            Self::Host(HostError::Store(_)) => Code::Data,
            Self::Host(HostError::Network(_)) | Self::Io(..) => Code::Failed,
            Self::Address(..) => Code::Address,
            Self::Usage(_) => Code::Usage,
            Self::Db(error) => error.code(),
        }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Host(error) => error.fmt(f),
            Self::Address(address, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "port {} of {} is in use. Stop the program that listens there, or choose another with --port (0 picks a free one).",
                address.port(),
                address.ip()
            ),
            Self::Address(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Usage(text) => f.write_str(text),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Db(error) => error.fmt(f),
        }
    }
}

impl From<ConfigError> for Stopped {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<HostError> for Stopped {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}
