//! `facetd db`: looking after the data.
//!
//! | file | noun |
//! |---|---|
//! | `list.rs`, `query.rs`, `transfer.rs`, `backup.rs`, `restore.rs`, `verify.rs` | the commands |
//! | `address.rs` | how a user names a database |
//! | `endpoint.rs`, `request.rs` | whom the commands ask, and in which words |
//! | `operations.rs`, `place.rs` | the answers, and the data directory they are about; within a server as well |
//! | `manifest.rs`, `table.rs`, `progress.rs`, `error.rs` | of a backup; rows; a bar; what went wrong |
//!
//! Always true: a data directory that a facetd owns is only reached through that facetd (`admin.rs`).

mod address;
mod backup;
mod endpoint;
pub mod error;
mod list;
mod manifest;
pub mod operations;
pub mod place;
mod progress;
mod query;
pub mod request;
mod restore;
mod table;
mod transfer;
mod verify;

use crate::cli::{DbArguments, DbCommand};
use crate::exit::{Code, Stopped};
use address::Address;
use endpoint::Endpoint;
use error::DbError;
use std::io::Read;
use std::time::Duration;

/// SQL from stdin; the socket takes no longer request.
const SQL_BYTES_MAX: u64 = request::REQUEST_BYTES_MAX as u64;

pub fn run(arguments: &DbArguments) -> Result<Code, Stopped> {
    command(arguments).map_err(Stopped::Db)
}

fn command(arguments: &DbArguments) -> Result<Code, DbError> {
    let data_dir = &arguments.data;
    match &arguments.command {
        DbCommand::Ls { only, json } => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            list::run(
                &mut Endpoint::open(data_dir)?,
                only.as_deref(),
                *json,
                &mut out,
            )?;
        }
        DbCommand::Query {
            database,
            sql,
            write,
            json,
            timeout,
        } => {
            let database = Address::parse(database)?;
            let sql = match sql {
                Some(sql) => sql.clone(),
                None => stdin()?,
            };
            query::run(query::Query {
                database,
                sql,
                write: *write,
                json: *json,
                timeout: Duration::from_secs(*timeout),
                endpoint: &mut Endpoint::open(data_dir)?,
            })?;
        }
        DbCommand::Export {
            database,
            to,
            sql,
            force,
        } => {
            let database = Address::parse(database)?;
            let mut endpoint = Endpoint::open(data_dir)?;
            transfer::export(&mut endpoint, &database, to, *sql, *force)?;
        }
        DbCommand::Import {
            database,
            from,
            sql,
            force,
        } => {
            let database = Address::parse(database)?;
            let mut endpoint = Endpoint::open(data_dir)?;
            transfer::import(&mut endpoint, &database, from, *sql, *force)?;
        }
        DbCommand::Backup { to } => backup::run(&mut Endpoint::open(data_dir)?, to)?,
        DbCommand::Restore {
            at: Some(at),
            only: Some(only),
            force,
            ..
        } => {
            let database = Address::parse(only)?;
            restore::at(&mut Endpoint::open(data_dir)?, database, at, *force)?;
        }
        DbCommand::Restore {
            from, force, only, ..
        } => {
            let only = only.as_deref().map(Address::parse).transpose()?;
            let from = from
                .as_deref()
                .ok_or_else(|| DbError::usage("which backup? Name its folder, or use --at"))?;
            restore::run(&restore::Restore {
                from,
                data_dir,
                force: *force,
                only: only.as_ref(),
            })?;
        }
        DbCommand::Verify {
            backup: Some(folder),
        } => return verify::backup(folder),
        DbCommand::Verify { backup: None } => {
            return verify::data_dir(&mut Endpoint::open(data_dir)?, data_dir);
        }
    }
    Ok(Code::Ok)
}

fn stdin() -> Result<String, DbError> {
    let mut sql = String::new();
    let read = std::io::stdin()
        .take(SQL_BYTES_MAX)
        .read_to_string(&mut sql);
    read.map_err(|error| DbError::failed(format!("cannot read SQL from stdin: {error}")))?;
    Ok(sql)
}
