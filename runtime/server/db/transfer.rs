//! `facetd db export` and `import`: one database as a file of its own.

use super::address::Address;
use super::endpoint::{Endpoint, Received};
use super::error::DbError;
use super::request::Request;
use facetd_store::{admin, dump};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// A dump is read as a whole.
const DUMP_BYTES_MAX: u64 = 1 << 30;

/// Writes the database to `to`, or a dump to stdout when that is `-`.
pub fn export(
    endpoint: &mut Endpoint,
    database: &Address,
    to: &Path,
    sql: bool,
    force: bool,
) -> Result<(), DbError> {
    let to_stdout = to == Path::new("-");
    if to_stdout && !sql {
        return Err(DbError::usage(
            "only a dump goes to stdout: add --sql, or name a file",
        ));
    }
    if !to_stdout && !force && to.exists() {
        return Err(DbError::refused(format!(
            "{} is there already: --force replaces it",
            to.display()
        )));
    }
    let work = Work::beside(if to_stdout { Path::new("x") } else { to }, to_stdout)?;
    let copy = work.file("copy");
    let request = Request::Export {
        database: database.clone(),
    };
    let mut arrived = false;
    endpoint.ask(request, &[], &mut |received| {
        if let Received::Content(from, bytes) = received {
            let mut file = File::create_new(&copy).map_err(DbError::io("create", &copy))?;
            let copied = io::copy(from, &mut file).map_err(DbError::io("write", &copy))?;
            arrived = copied == bytes;
        }
        Ok(())
    })?;
    if !arrived {
        return Err(DbError::not_there(format!(
            "{} was deleted while it was read",
            database.show()
        )));
    }
    if to_stdout {
        let mut out = BufWriter::new(io::stdout().lock());
        dump::write(&copy, &mut out)?;
        return out
            .flush()
            .map_err(|error| DbError::failed(format!("cannot write: {error}")));
    }
    let finished = if sql {
        let dumped = work.file("dump");
        let file = File::create_new(&dumped).map_err(DbError::io("create", &dumped))?;
        let mut out = BufWriter::new(file);
        dump::write(&copy, &mut out)?;
        out.flush().map_err(DbError::io("write", &dumped))?;
        dumped
    } else {
        admin::make_plain(&copy)?;
        copy
    };
    File::open(&finished)
        .and_then(|file| file.sync_all())
        .map_err(DbError::io("sync", &finished))?;
    fs::rename(&finished, to).map_err(DbError::io("rename to", to))
}

/// Replaces the database by the contents of the file `from`, or of the dump on stdin when that is `-`.
pub fn import(
    endpoint: &mut Endpoint,
    database: &Address,
    from: &Path,
    sql: bool,
    force: bool,
) -> Result<(), DbError> {
    let work = Work::beside(from, true)?;
    let prepared = work.file("prepared");
    let plain = if sql {
        let text = read_dump(from)?;
        let loaded = work.file("loaded");
        admin::load_dump(&text, &loaded)?;
        loaded
    } else {
        if from == Path::new("-") {
            return Err(DbError::usage(
                "only a dump comes from stdin: add --sql, or name a file",
            ));
        }
        let mut start = Vec::new();
        let file = File::open(from).map_err(DbError::io("open", from))?;
        let _directories_fail = file.take(16).read_to_end(&mut start);
        if start
            .iter()
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
            && !start.is_empty()
        {
            return Err(DbError::refused(format!(
                "{} is text, not a SQLite database: if it is an SQL dump, add --sql",
                from.display()
            )));
        }
        from.to_path_buf()
    };
    admin::prepare(&plain, &prepared)?;
    let bytes = fs::metadata(&prepared)
        .map_err(DbError::io("measure", &prepared))?
        .len();
    let request = Request::Import {
        database: database.clone(),
        force,
        bytes,
    };
    endpoint.ask(request, &[&prepared], &mut |_| Ok(()))
}

fn read_dump(from: &Path) -> Result<String, DbError> {
    let mut text = String::new();
    let read = if from == Path::new("-") {
        io::stdin().take(DUMP_BYTES_MAX).read_to_string(&mut text)
    } else {
        let file = File::open(from).map_err(DbError::io("open", from))?;
        file.take(DUMP_BYTES_MAX).read_to_string(&mut text)
    };
    let read = read.map_err(DbError::io("read", from))?;
    if read as u64 >= DUMP_BYTES_MAX {
        return Err(DbError::refused(format!(
            "the dump is larger than {} GiB: make a database of it with the sqlite3 program, and import that",
            DUMP_BYTES_MAX >> 30
        )));
    }
    Ok(text)
}

/// A folder for files on their way.
struct Work(tempfile::TempDir);

impl Work {
    /// Beside the target, so that the last step is a rename; or wherever temporary files go.
    fn beside(path: &Path, anywhere: bool) -> Result<Self, DbError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".facetd-");
        let folder = match path.parent() {
            _ if anywhere => builder.tempdir(),
            Some(parent) if !parent.as_os_str().is_empty() => builder.tempdir_in(parent),
            _ => builder.tempdir_in("."),
        };
        folder
            .map(Self)
            .map_err(DbError::io("make a temporary folder for", path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
