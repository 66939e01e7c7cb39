//! `facetd db ls`: namespaces, objects, and their facets by name.

use super::address::encode;
use super::endpoint::{Endpoint, Received};
use super::error::DbError;
use super::request::{FileInfo, FileName, Line, Request};
use super::table::{printable, size, time};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Deeper facets cannot exist; an index that says so was tampered with.
const DEPTH_MAX: usize = 16;

/// Everything that is stored, as [`Request::List`] tells it.
#[derive(Default)]
pub struct Listing {
    pub namespaces: BTreeMap<String, Namespace>,
    pub files: Vec<FileInfo>,
    pub strays: Vec<(String, String, String)>,
}

#[derive(Default)]
pub struct Namespace {
    pub objects: BTreeMap<String, Object>,
}

type Tree<'a> = BTreeMap<u16, Vec<(u16, &'a str)>>;

#[derive(Default)]
pub struct Object {
    /// By storage id: bytes and time of the last change.
    pub databases: BTreeMap<u16, (u64, u64)>,
    pub has_index: bool,
    /// Parent and name of facet 1, 2, ...
    pub facets: Vec<(u16, String)>,
    pub invalid_bytes: usize,
    pub index_error: Option<String>,
}

impl Listing {
    pub fn read(endpoint: &mut Endpoint) -> Result<Self, DbError> {
        let mut listing = Self::default();
        endpoint.ask(Request::List, &[], &mut |received| {
            if let Received::Line(line) = received {
                listing.take(line);
            }
            Ok(())
        })?;
        Ok(listing)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Namespace(name) => drop(self.namespaces.entry(name).or_default()),
            Line::File(file) => {
                if let Some((namespace, object)) = file.name.object() {
                    let object = self.object(namespace, object);
                    match file.name {
                        FileName::Database { number, .. } => {
                            object
                                .databases
                                .insert(number, (file.bytes, file.changed_ms));
                        }
                        _ => object.has_index = true,
                    }
                }
                self.files.push(file);
            }
            Line::Facets {
                namespace,
                object,
                entries,
                invalid_bytes,
                error,
            } => {
                let object = self.object(&namespace, &object);
                (object.facets, object.invalid_bytes, object.index_error) =
                    (entries, invalid_bytes, error);
            }
            Line::Stray { path, why, advice } => self.strays.push((path, why, advice)),
            _ => {}
        }
    }

    fn object(&mut self, namespace: &str, object: &str) -> &mut Object {
        let namespace = self.namespaces.entry(namespace.to_owned()).or_default();
        namespace.objects.entry(object.to_owned()).or_default()
    }
}

impl Object {
    /// The names from the root object down to facet `number`; `None` if the index does not know it.
    pub fn names_of(&self, number: u16) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        let mut at = number;
        while at != 0 {
            let (parent, name) = self.facets.get(usize::from(at) - 1)?;
            names.push(name.as_str());
            at = *parent; // smaller than its child's: the index is in order
        }
        names.reverse();
        Some(names)
    }

    /// Number and name of the facets below each facet that has some, in the order of their numbers.
    fn tree(&self) -> Tree<'_> {
        let mut tree = Tree::new();
        for (number, (parent, name)) in (1..=u16::MAX).zip(&self.facets) {
            tree.entry(*parent).or_default().push((number, name));
        }
        tree
    }

    /// The facets that hold data, and those above them.
    fn stored(&self) -> BTreeSet<u16> {
        let mut stored = BTreeSet::new();
        for number in self.databases.keys() {
            let mut at = *number;
            while at != 0 && stored.insert(at) {
                at = self
                    .facets
                    .get(usize::from(at) - 1)
                    .map_or(0, |(parent, _)| *parent);
            }
        }
        stored
    }

    fn bytes(&self) -> u64 {
        self.databases.values().map(|(bytes, _)| bytes).sum()
    }

    fn changed(&self) -> Option<u64> {
        self.databases.values().map(|(_, changed)| *changed).max()
    }
}

pub fn run(
    endpoint: &mut Endpoint,
    only: Option<&str>,
    as_json: bool,
    out: &mut impl Write,
) -> Result<(), DbError> {
    let listing = Listing::read(endpoint)?;
    let (namespace, object) = match only.map(|text| text.split_once('/').unwrap_or((text, ""))) {
        Some((namespace, object)) => (Some(namespace), Some(object).filter(|id| !id.is_empty())),
        None => (None, None),
    };
    if let Some(name) = namespace
        && !listing.namespaces.contains_key(name)
    {
        return Err(DbError::not_there(format!(
            "there is no namespace {name}; `facetd db ls` shows what there is"
        )));
    }
    let id = match (namespace, object) {
        (Some(namespace), Some(object)) => Some(id_of(&listing, namespace, object)?),
        _ => None,
    };
    let namespaces = listing
        .namespaces
        .iter()
        .filter(|(name, _)| namespace.is_none_or(|only| only == *name));
    let wanted = |object: &String| id.as_ref().is_none_or(|only| only == object);
    let written = if as_json {
        let namespaces: Vec<Value> = namespaces
            .map(|(name, namespace)| {
                let objects = namespace.objects.iter().filter(|(id, _)| wanted(id));
                let objects: Vec<Value> = objects.map(|(id, object)| json_of(id, object)).collect();
                json!({ "namespace": name, "objects": objects })
            })
            .collect();
        writeln!(out, "{:#}", json!({ "namespaces": namespaces }))
    } else {
        let mut namespaces = namespaces;
        namespaces.try_for_each(|(name, namespace)| {
            let objects = namespace.objects.iter().filter(|(id, _)| wanted(id));
            let objects: Vec<_> = objects.collect();
            let bytes = objects.iter().map(|(_, object)| object.bytes()).sum();
            let plural = if objects.len() == 1 { "" } else { "s" };
            writeln!(
                out,
                "{}  ({} object{plural}, {})",
                printable(name, false),
                objects.len(),
                size(bytes)
            )?;
            objects
                .into_iter()
                .try_for_each(|(id, object)| print(out, id, object))
        })
    };
    written.map_err(|error| DbError::failed(format!("cannot write: {error}")))
}

/// The id that a name derives, or the id itself, if the listing has it.
fn id_of(listing: &Listing, namespace: &str, object: &str) -> Result<String, DbError> {
    let text = format!("{namespace}/{object}");
    let address = super::address::Address::parse(&text)?;
    let known = &listing.namespaces[namespace].objects;
    let id = address.id().to_string();
    if known.contains_key(&id) {
        return Ok(id);
    }
    Err(DbError::not_there(format!(
        "namespace {namespace} has no object {object} (its id would be {id})"
    )))
}

fn json_of(id: &str, object: &Object) -> Value {
    let root = object.databases.get(&0);
    json!({
        "id": id,
        "bytes": root.map(|(bytes, _)| bytes),
        "changedMs": root.map(|(_, changed)| changed),
        "facets": json_below(object, &object.tree(), 0, 0),
        "unnamed": unnamed(object),
    })
}

fn json_below(object: &Object, tree: &Tree<'_>, parent: u16, depth: usize) -> Vec<Value> {
    if depth > DEPTH_MAX {
        return Vec::new();
    }
    let facet = |(number, name): &(u16, &str)| {
        let database = object.databases.get(number);
        json!({
            "name": name,
            "number": number,
            "bytes": database.map(|(bytes, _)| bytes),
            "changedMs": database.map(|(_, changed)| changed),
            "facets": json_below(object, tree, *number, depth + 1),
        })
    };
    tree.get(&parent).into_iter().flatten().map(facet).collect()
}

/// Databases of facets that the index does not name.
fn unnamed(object: &Object) -> Vec<u16> {
    let numbers = object.databases.keys().copied();
    numbers
        .filter(|number| object.names_of(*number).is_none())
        .collect()
}

fn print(out: &mut impl Write, id: &str, object: &Object) -> std::io::Result<()> {
    let changed = object.changed().map(time).unwrap_or_default();
    let own = object.databases.get(&0).map_or(0, |(bytes, _)| *bytes);
    writeln!(out, "  {id}  {:>10}  {changed}", size(own))?;
    print_below(out, object, &object.tree(), &object.stored(), 0, 0)?;
    for number in unnamed(object) {
        let (bytes, changed) = object.databases[&number];
        let label = format!("(facet {number}, not in the index)");
        writeln!(
            out,
            "    {label:<62}  {:>10}  {}",
            size(bytes),
            time(changed)
        )?;
    }
    Ok(())
}

fn print_below(
    out: &mut impl Write,
    object: &Object,
    tree: &Tree<'_>,
    stored: &BTreeSet<u16>,
    parent: u16,
    depth: usize,
) -> std::io::Result<()> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    for (number, name) in tree.get(&parent).into_iter().flatten() {
        if !stored.contains(number) {
            continue; // deleted, or it never stored anything
        }
        let label = format!("{}{}", "  ".repeat(depth), printable(&encode(name), false));
        match object.databases.get(number) {
            Some((bytes, changed)) => {
                writeln!(
                    out,
                    "    {label:<62}  {:>10}  {}",
                    size(*bytes),
                    time(*changed)
                )?;
            }
            None => writeln!(out, "    {label:<62}  {:>10}", "-")?,
        }
        print_below(out, object, tree, stored, *number, depth + 1)?;
    }
    Ok(())
}
