//! What can be asked of a data directory: the one implementation, with a server around it or without.
//!
//! Called by: `endpoint.rs` without a server, the admin socket within one. Blocking; not on an async thread.

use super::address::{Address, Located, find_namespace};
use super::error::DbError;
use super::place::{Place, Staged};
use super::request::{FileInfo, FileName, Line, Request};
use facetd_core::ObjectId;
use facetd_store::catalog::FileState;
use facetd_store::inspect::Part;
use facetd_store::{FacetIndex, Interrupt, ObjectFiles, StoreError, ValueRef, admin, catalog};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A part of an answer.
pub enum Out {
    Line(Line),
    /// Announced by a `content` line before it.
    Content(File, u64),
}

impl Out {
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Line(Line::Row(values)) => values.iter().map(bytes_of).sum(),
            Self::Line(Line::Facets { entries, .. }) => {
                entries.iter().map(|(_, name)| name.len() + 16).sum()
            }
            Self::Line(_) | Self::Content(..) => 0,
        }
    }
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Object(special) => special.values().map(bytes_of).sum(),
        _ => 16,
    }
}

/// Where an answer goes; `false`: nobody listens any more.
pub type Emit<'a> = &'a mut dyn FnMut(Out) -> bool;

/// A view of hostile code may have rows of any size.
const ROW_BYTES_MAX: usize = 32 << 20;
/// Expressions in a schema can make a check as slow as they like.
const CHECK_TIME_MAX: Duration = Duration::from_secs(600);
/// A query may not ask for more.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Answers one request. `uploads` are the files that came with it, in order. `gone` says that nobody waits any more.
pub fn perform(
    place: &Place,
    request: Request,
    uploads: Vec<Staged>,
    gone: &Interrupt,
    emit: Emit<'_>,
) -> Result<(), DbError> {
    match request {
        Request::List => list(place, gone, emit),
        Request::Census { collect } => census(place, collect, emit),
        Request::Query {
            database,
            sql,
            write,
            timeout_ms,
        } => {
            let timeout = Duration::from_millis(timeout_ms).min(TIMEOUT_MAX);
            query(place, &database, &sql, write, until(gone, timeout), emit)
        }
        Request::Fetch { file } => fetch(place, &file, emit),
        Request::Export { database } => {
            let located = database.locate(place.data_dir(), false)?;
            send_database(place, &database_path(&located), emit)
        }
        Request::Check { file } => {
            let path = path_of(place, &file)?;
            let findings = match place.check(&path, &until(gone, CHECK_TIME_MAX)) {
                Ok(findings) => findings,
                Err(StoreError::Interrupted) if !gone() => vec![format!(
                    "could not be checked within {} minutes",
                    CHECK_TIME_MAX.as_secs() / 60
                )],
                Err(StoreError::Interrupted) => return Err(StoreError::Interrupted.into()),
                Err(_) if !path.exists() => Vec::new(), // deleted meanwhile
                Err(error) => vec![error.to_string()],
            };
            for finding in findings {
                emit(Out::Line(Line::Finding(finding)));
            }
            Ok(())
        }
        Request::Import {
            database, force, ..
        } => import(place, &database, force, uploads),
        Request::RestoreAt { database, time_us } => restore_at(place, &database, time_us),
        Request::RestoreObject {
            namespace,
            object,
            force,
            parts,
        } => {
            let parts = parts.into_iter().map(|part| part.number).zip(uploads);
            restore_object(place, &namespace, &object, force, parts.collect())
        }
    }
}

fn until(gone: &Interrupt, timeout: Duration) -> Interrupt {
    let (gone, deadline) = (gone.clone(), Instant::now() + timeout);
    Arc::new(move || gone() || Instant::now() >= deadline)
}

// ---- looking

fn census(place: &Place, collect: bool, emit: Emit<'_>) -> Result<(), DbError> {
    let Some(host) = place.host() else {
        return Err(DbError::refused(
            "no facetd runs on this data directory, so there is nothing to count",
        ));
    };
    let runtime = tokio::runtime::Handle::current();
    for census in runtime.block_on(host.census(collect)) {
        let counts = census
            .counts
            .map(|counts| counts.into_iter().map(|(name, n)| (name, n.into())));
        emit(Out::Line(Line::Census {
            worker: census.worker,
            loaded: census.loaded,
            counts: counts.map(Iterator::collect),
        }));
    }
    Ok(())
}

fn list(place: &Place, gone: &Interrupt, emit: Emit<'_>) -> Result<(), DbError> {
    let data_dir = place.data_dir();
    let file = |name: FileName, state: &FileState| {
        let changed = state.changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        Out::Line(Line::File(FileInfo {
            name,
            bytes: state.bytes,
            changed_ms: u64::try_from(changed.as_millis()).unwrap_or(u64::MAX),
            stamp: state.stamp.clone(),
        }))
    };
    if let Some(state) = catalog::file_state(&data_dir.join("migrations.json"))? {
        emit(file(FileName::Migrations, &state));
    }
    for namespace in catalog::namespaces(data_dir)? {
        emit(Out::Line(Line::Namespace(namespace.clone())));
        let found = catalog::namespace(data_dir, &namespace)?;
        if let Some(state) = &found.metadata {
            let namespace = namespace.clone();
            emit(file(FileName::Metadata { namespace }, state));
        }
        for (object, stored) in found.objects {
            let files =
                ObjectFiles::new(super::place::relative(data_dir, &namespace), &*object, None);
            for (number, state) in &stored.databases {
                let name = FileName::Database {
                    namespace: namespace.clone(),
                    object: object.clone(),
                    number: *number,
                };
                emit(file(name, state));
            }
            if let Some(state) = &stored.index {
                let name = FileName::Index {
                    namespace: namespace.clone(),
                    object: object.clone(),
                };
                emit(file(name, state));
                emit(Out::Line(facets(&namespace, &object, &files.index())));
            }
            if gone() {
                return Ok(());
            }
        }
        for stray in found.strays {
            emit(Out::Line(Line::Stray {
                path: stray.path.display().to_string(),
                why: stray.why.to_owned(),
                advice: stray.advice.to_owned(),
            }));
        }
    }
    Ok(())
}

fn facets(namespace: &str, object: &str, path: &Path) -> Line {
    // An entry may be half written right now; then it is whole a moment later.
    let look = || match FacetIndex::look(path) {
        Ok((_, invalid)) if invalid > 0 => FacetIndex::look(path),
        result => result,
    };
    let (entries, invalid_bytes, error) = match look() {
        Ok((index, invalid)) => {
            let entries = index.entries();
            let entries = entries.map(|(parent, name)| (parent, name.to_owned()));
            (entries.collect(), invalid, None)
        }
        Err(error) => (Vec::new(), 0, Some(error.to_string())),
    };
    Line::Facets {
        namespace: namespace.to_owned(),
        object: object.to_owned(),
        entries,
        invalid_bytes,
        error,
    }
}

/// A file that a request names, if it is one of a namespace that is there.
fn path_of(place: &Place, file: &FileName) -> Result<PathBuf, DbError> {
    let relative = file
        .path()
        .ok_or_else(|| DbError::usage("the request names no file of a data directory"))?;
    match file {
        FileName::Migrations => {}
        FileName::Metadata { namespace }
        | FileName::Database { namespace, .. }
        | FileName::Index { namespace, .. } => drop(find_namespace(place.data_dir(), namespace)?),
    }
    Ok(place.data_dir().join(relative))
}

fn database_path(located: &Located) -> PathBuf {
    let number = located.storage_id.unwrap_or(located.known);
    located.files.database(number)
}

fn fetch(place: &Place, file: &FileName, emit: Emit<'_>) -> Result<(), DbError> {
    let path = path_of(place, file)?;
    if file.is_database() {
        return send_database(place, &path, emit);
    }
    // Replaced as a whole, or only appended to: what is read is a state it had.
    match File::open(&path) {
        Ok(opened) => {
            let bytes = opened
                .metadata()
                .map_err(DbError::io("measure", &path))?
                .len();
            send(opened, bytes, emit);
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DbError::io("open", &path)(error)),
    }
}

fn send_database(place: &Place, path: &Path, emit: Emit<'_>) -> Result<(), DbError> {
    if let Some(staged) = place.snapshot(path)? {
        let opened = staged.into_file();
        let (file, bytes) = opened.map_err(DbError::io("read back a copy of", path))?;
        send(file, bytes, emit);
    }
    Ok(())
}

fn send(file: File, bytes: u64, emit: Emit<'_>) {
    if emit(Out::Line(Line::Content { bytes })) {
        emit(Out::Content(file, bytes));
    }
}

// ---- queries

fn query(
    place: &Place,
    database: &Address,
    sql: &str,
    write: bool,
    interrupt: Interrupt,
    emit: Emit<'_>,
) -> Result<(), DbError> {
    let located = database.locate(place.data_dir(), false)?;
    let path = database_path(&located);
    let mut too_large = false;
    let mut sink = |part: Part<'_>| {
        if let Part::Row(row) = &part {
            let bytes = row.iter().map(|value| match value {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                _ => 8,
            });
            too_large = bytes.sum::<usize>() > ROW_BYTES_MAX;
            if too_large {
                return false;
            }
        }
        emit(Out::Line(match part {
            Part::Columns(names) => Line::Columns(names.to_vec()),
            Part::Row(row) => Line::Row(row.iter().map(value_of).collect()),
            Part::End { written } => Line::End { written },
        }))
    };
    if write {
        let number = located.storage_id.unwrap_or(located.known);
        let hold = place.hold(&located, &database.facets, &[number])?;
        let written = admin::write(hold.files(), number, sql, interrupt, &mut sink);
        if !too_large {
            written?;
        }
    } else {
        place.query(&path, sql, interrupt, &mut sink)?;
    }
    if too_large {
        return Err(DbError::refused(format!(
            "a row of the result is larger than {} MiB: ask for fewer columns, or for parts of them with substr(). Nothing was changed",
            ROW_BYTES_MAX >> 20
        )));
    }
    Ok(())
}

/// A value as JSON. What JSON has no word for is an object with one key: `blob` (hex), `text` (hex, not UTF-8) or `real`.
pub fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => value.into(),
        ValueRef::Real(value) if value.is_finite() => value.into(),
        ValueRef::Real(value) => {
            json!({ "real": if value > 0.0 { "Infinity" } else { "-Infinity" } })
        }
        ValueRef::Text(bytes) => match str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({ "text": hex::encode(bytes) }),
        },
        ValueRef::Blob(bytes) => json!({ "blob": hex::encode(bytes) }),
    }
}

// ---- replacing

fn import(
    place: &Place,
    database: &Address,
    force: bool,
    uploads: Vec<Staged>,
) -> Result<(), DbError> {
    let uploaded = uploads
        .into_iter()
        .next()
        .ok_or_else(|| DbError::usage("the request came without a file"))?;
    let located = database.locate(place.data_dir(), true)?;
    let in_the_way = || {
        DbError::refused(format!(
            "{} has a database already: --force replaces it (`facetd db export` keeps a copy first)",
            database.show()
        ))
    };
    if located.exists() && !force {
        return Err(in_the_way());
    }
    // Checked again here: a client's word is not enough for a file that an object will trust.
    let prepared = place.staging().reserve();
    admin::prepare(uploaded.path(), prepared.path())?;
    let number = match located.storage_id {
        Some(number) => number,
        None => place.assign(&located)?,
    };
    let hold = place.hold(&located, &database.facets, &[number])?;
    if !force && hold.files().database(number).exists() {
        return Err(in_the_way());
    }
    admin::replace_database(hold.files(), number, prepared.path())?;
    Ok(())
}

fn restore_at(place: &Place, database: &Address, time_us: u64) -> Result<(), DbError> {
    let located = database.locate(place.data_dir(), false)?;
    let number = located.known;
    let hold = place.hold(&located, &database.facets, &[number])?;
    let past = place.staging().reserve();
    admin::past(hold.files(), number, time_us, past.path()).map_err(|error| match error {
        StoreError::NoSuchPast => DbError::refused(format!(
            "{} cannot be restored to that time: it did not exist then, or its history (`facetd.history`) does not reach back that far",
            database.show()
        )),
        error => error.into(),
    })?;
    admin::replace_database(hold.files(), number, past.path())?;
    Ok(())
}

/// The database of a facet, or (`None`) the facet index.
type UploadedPart = (Option<u16>, Staged);

fn restore_object(
    place: &Place,
    namespace: &str,
    object: &str,
    force: bool,
    parts: Vec<UploadedPart>,
) -> Result<(), DbError> {
    let id =
        ObjectId::from_hex(object).map_err(|error| DbError::usage(format!("{object}: {error}")))?;
    let named = FileName::Index {
        namespace: namespace.to_owned(),
        object: id.to_string(),
    };
    if named.path().is_none() {
        return Err(DbError::usage(format!("{namespace} names no namespace")));
    }
    let folder = super::place::relative(place.data_dir(), namespace);
    fs::create_dir_all(&folder).map_err(DbError::io("create", &folder))?;
    let located = Located {
        namespace: namespace.to_owned(),
        id,
        files: ObjectFiles::new(folder, id.to_string(), None),
        storage_id: Some(0),
        known: 0,
        missing: Vec::new(),
    };
    let stored = || -> Result<BTreeSet<u16>, DbError> {
        let found = catalog::namespace(place.data_dir(), namespace)?;
        let stored = found.objects.get(&id.to_string());
        Ok(stored
            .map(|stored| stored.databases.keys().copied().collect())
            .unwrap_or_default())
    };
    let in_the_way = || {
        DbError::refused(format!(
            "{namespace}/{id} is there already: --force replaces it and all its facets"
        ))
    };
    if !force && !stored()?.is_empty() {
        return Err(in_the_way());
    }
    let mut prepared = BTreeMap::new();
    for (number, uploaded) in parts {
        let staged = match number {
            Some(_) => {
                let staged = place.staging().reserve();
                admin::prepare(uploaded.path(), staged.path())?;
                staged
            }
            None => {
                FacetIndex::look(uploaded.path())?;
                uploaded
            }
        };
        prepared.insert(number, staged);
    }
    // The root object first: without it no facet can start, so the list cannot grow after that.
    let root = place.hold(&located, &[], &[0])?;
    let before = stored()?;
    if !force && !before.is_empty() {
        return Err(in_the_way());
    }
    // A facet that was just given its number may be about to make its file: hold every number there is.
    let (index, _) = FacetIndex::look(&located.files.index()).unwrap_or_default();
    let named = (1..=u16::MAX)
        .zip(index.entries())
        .map(|(number, _)| number);
    let uploaded: BTreeSet<u16> = prepared.keys().copied().flatten().collect();
    let facets: BTreeSet<u16> = before
        .into_iter()
        .chain(named)
        .chain(uploaded.iter().copied())
        .collect();
    let facets: Vec<u16> = facets.into_iter().filter(|number| *number > 0).collect();
    let _facets = place.hold(&located, &[], &facets)?;
    let numbers: BTreeSet<u16> = stored()?.union(&uploaded).copied().collect();
    let files = root.files();
    for number in &numbers {
        match prepared.get(&Some(*number)) {
            Some(staged) => admin::replace_database(files, *number, staged.path())?,
            None => files.remove_database(*number)?,
        }
    }
    let index = prepared.get(&None).map(Staged::path);
    root.replace_index(|| admin::replace_index(files, index))?;
    Ok(())
}
