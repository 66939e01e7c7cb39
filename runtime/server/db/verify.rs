//! `facetd db verify`: is everything sound, and if not, what to do.

use super::backup::unused;
use super::endpoint::{Endpoint, Received};
use super::error::DbError;
use super::list::Listing;
use super::manifest::{Manifest, content_path, fault_of};
use super::progress::{Progress, say};
use super::request::{FileName, Line, Request};
use super::table::printable;
use crate::exit::Code;
use facetd_store::inspect::{Sharing, check, never};
use std::collections::BTreeSet;
use std::path::Path;

/// Something that is not as it should be.
struct Problem {
    at: String,
    what: String,
    advice: String,
}

const RESTORE: &str = "restore it: `facetd db restore BACKUP --only NAMESPACE/OBJECT --force` for one object, or save what can be read with \
     `facetd db export --sql`";

pub fn data_dir(endpoint: &mut Endpoint, data_dir: &Path) -> Result<Code, DbError> {
    let listing = Listing::read(endpoint)?;
    let mut problems: Vec<Problem> = Vec::new();
    let mut progress = Progress::new("verify", listing.files.len() as u64);
    for file in &listing.files {
        let at = file.name.path().unwrap_or_default();
        for what in findings(endpoint, &file.name)? {
            problems.push(Problem {
                at: at.clone(),
                what,
                advice: RESTORE.to_owned(),
            });
        }
        progress.step(file.bytes);
    }
    drop(progress);
    for (namespace, found) in &listing.namespaces {
        for (id, object) in &found.objects {
            let index = format!("do/{namespace}/{id}.facets");
            if let Some(error) = &object.index_error {
                problems.push(Problem {
                    at: index.clone(),
                    what: format!("cannot be read: {error}"),
                    advice: "restore the object; without its index no facet of it is found"
                        .to_owned(),
                });
                continue;
            }
            if object.invalid_bytes > 0 {
                problems.push(Problem {
                    at: index.clone(),
                    what: format!("its last {} bytes are no entry", object.invalid_bytes),
                    advice: "nothing, if a crash came before: they were never used, and are cut off when the object starts. Otherwise restore the object".to_owned(),
                });
            }
            for number in object.databases.keys() {
                if object.names_of(*number).is_none() {
                    problems.push(Problem {
                        at: format!("do/{namespace}/{id}.{number}.sqlite"),
                        what: "is the database of a facet that the index does not name, so nobody can reach it".to_owned(),
                        advice: format!("restore the object with its index {index}, or move the file elsewhere"),
                    });
                }
            }
        }
    }
    for (path, what, advice) in listing.strays {
        problems.push(Problem {
            at: path,
            what,
            advice,
        });
    }
    if let Err(error) = facetd_config::check_migration_log(data_dir) {
        problems.push(Problem {
            at: "migrations.json".to_owned(),
            what: error.to_string(),
            advice: "restore it from a backup: without it migrations are applied again".to_owned(),
        });
    }
    Ok(report(listing.files.len(), &problems))
}

fn findings(endpoint: &mut Endpoint, name: &FileName) -> Result<Vec<String>, DbError> {
    let mut findings = Vec::new();
    if name.is_database() {
        let request = Request::Check { file: name.clone() };
        endpoint.ask(request, &[], &mut |received| {
            if let Received::Line(Line::Finding(finding)) = received {
                findings.push(finding);
            }
            Ok(())
        })?;
    }
    Ok(findings)
}

/// A backup: by its manifest, and each database by itself.
pub fn backup(folder: &Path) -> Result<Code, DbError> {
    let manifest = Manifest::of(folder)?;
    let mut problems = Vec::new();
    let mut progress = Progress::new("verify", manifest.files.len() as u64);
    for entry in &manifest.files {
        let path = content_path(folder, &entry.sha256);
        let names = entry.name.path().unwrap_or_default();
        let at = format!("{} ({names})", path.display());
        match fault_of(folder, entry)? {
            Some(what) => problems.push(Problem {
                at,
                what,
                advice: "run `facetd db backup` to the same folder after removing the file, while the data directory still has the original".to_owned(),
            }),
            None if entry.name.is_database() => {
                let findings = match check(&path, Sharing::Alone, never()) {
                    Ok(findings) => findings,
                    Err(error) => vec![error.to_string()],
                };
                for what in findings {
                    problems.push(Problem {
                        at: at.clone(),
                        what,
                        advice: "it was so when it was backed up: verify the data directory, and look for an older backup".to_owned(),
                    });
                }
            }
            None => {}
        }
        progress.step(entry.bytes);
    }
    drop(progress);
    let used: BTreeSet<&str> = manifest
        .files
        .iter()
        .map(|entry| entry.sha256.as_str())
        .collect();
    for path in unused(folder, &used)? {
        problems.push(Problem {
            at: path.display().to_string(),
            what: "is not named by the manifest: a backup broke off here".to_owned(),
            advice: "run `facetd db backup` again; what the manifest names is whole".to_owned(),
        });
    }
    Ok(report(manifest.files.len(), &problems))
}

fn report(files: usize, problems: &[Problem]) -> Code {
    for problem in problems {
        say(&format!(
            "{}: {}\n  {}",
            printable(&problem.at, false),
            printable(&problem.what, false),
            problem.advice
        ));
    }
    match problems.len() {
        0 => say(&format!("{files} files, all sound")),
        1 => say(&format!("{files} files, 1 problem")),
        many => say(&format!("{files} files, {many} problems")),
    }
    if problems.is_empty() {
        Code::Ok
    } else {
        Code::Unsound
    }
}
