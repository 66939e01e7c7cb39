//! Taking databases away from their objects, for a command that changes them from outside.
//!
//! Owns: the seats of the databases it was asked for, until it is dropped. Called by: the admin socket.
//! Always true: while a [`Held`] lives nobody in this process has its databases open. The object or facet that had was
//! reset first, as `ctx.abort()` would: what it had committed is there, its callers get an error, and the next
//! event starts it anew, once the seats are free.

use crate::facets::ObjectTree;
use crate::host::{Host, HostInner};
use crate::incarnation::{Child, Incarnation};
use facetd_core::{Failure, ObjectId};
use facetd_store::{ObjectFiles, StoreError};
use futures::channel::oneshot;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// An abort interrupts running code, and a turn has its CPU limit: who is not gone by then does not go.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(20);

const RESET: &str =
    "Durable Object was reset because its storage was changed from outside (facetd db).";

#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error(
        "the object is running and does not stop; its database is as it was. Try again, or stop facetd first"
    )]
    DoesNotStop,
}

/// The seats of some databases of one root object.
pub struct Held {
    host: Arc<HostInner>,
    tree: Arc<ObjectTree>,
    key: u64,
    paths: Vec<PathBuf>,
}

impl Host {
    /// Resets the facet at `facets` (names, from the root object down; none: the root object itself) with everything below
    /// it, and waits until the databases `storage_ids` are free.
    ///
    /// `unique_key` must be that of a namespace of the data directory.
    ///
    /// # Errors
    /// `DoesNotStop`: nothing is held.
    /// # Cancel safety
    /// Dropping the future gives everything back; the reset has happened.
    pub async fn hold(
        &self,
        unique_key: &str,
        id: ObjectId,
        facets: &[String],
        storage_ids: &[u16],
    ) -> Result<Held, HoldError> {
        let namespace = self.namespace(unique_key);
        let tree = match namespace {
            Some(namespace) => namespace.0.tree(id),
            // No worker of the project has this class: only other commands can come into the way.
            None => Arc::new(ObjectTree::new(self.files_of(unique_key, id), u32::MAX, id)),
        };
        let mut held = Held {
            host: self.inner().clone(),
            tree,
            key: self.inner().next_key(),
            paths: Vec::new(),
        };
        let deadline = tokio::time::Instant::now() + LEAVE_TIME_MAX;
        for storage_id in storage_ids {
            let path = held.tree.files.database(*storage_id);
            let (told, ready) = oneshot::channel();
            // First in line, then the reset: whoever asks for the object now comes after us.
            held.paths.push(path.clone());
            let in_line = held.host.seats.take(
                &path,
                held.key,
                Box::new(move || {
                    let _gone = told.send(());
                }),
            );
            if let Some(object) = namespace.and_then(|namespace| namespace.0.alive(&id)) {
                reset(&object, facets);
            }
            if !in_line || tokio::time::timeout_at(deadline, ready).await.is_err() {
                return Err(HoldError::DoesNotStop);
            }
        }
        Ok(held)
    }

    /// Calls `read` while nobody can open the database at `path`, if it is not open now; else returns `None`. Objects that
    /// start meanwhile wait, so `read` should take milliseconds.
    pub fn while_idle<R>(&self, path: &Path, read: impl FnOnce() -> R) -> Option<R> {
        let key = self.inner().next_key();
        if !self.inner().seats.take_if_free(path, key) {
            return None;
        }
        let result = read();
        self.inner().seats.leave(path, key);
        Some(result)
    }

    /// The number of facet `name` below the facet `parent` (0: the root object), a new one if it has none.
    ///
    /// # Errors
    /// As `FacetIndex::assign`.
    pub fn assign_facet(
        &self,
        unique_key: &str,
        id: ObjectId,
        parent: u16,
        name: &str,
    ) -> Result<u16, StoreError> {
        match self.namespace(unique_key) {
            Some(namespace) => namespace.0.tree(id).assign_id(parent, name),
            None => {
                ObjectTree::new(self.files_of(unique_key, id), u32::MAX, id).assign_id(parent, name)
            }
        }
    }
}

impl Host {
    /// The files of an object whose class no worker of the project has.
    fn files_of(&self, unique_key: &str, id: ObjectId) -> ObjectFiles {
        let folder = self.data_dir().join("do").join(unique_key);
        ObjectFiles::new(folder, id.to_string(), Some(self.inner().log.clone()))
    }
}

fn reset(object: &Arc<Incarnation>, facets: &[String]) {
    let failure = Failure::error(RESET);
    let Some((last, parents)) = facets.split_last() else {
        object.break_with(&failure, false);
        return;
    };
    let mut parent = object.clone();
    for name in parents {
        let child = match parent.children.lock().get(name) {
            Some(Child::Alive(child)) => child.upgrade(),
            Some(Child::Poisoned(_)) | None => None,
        };
        match child {
            Some(child) => parent = child,
            None => return, // it is not in memory, and so is nothing below it
        }
    }
    parent.abort_child(last, &failure);
}

impl Held {
    pub fn files(&self) -> &ObjectFiles {
        &self.tree.files
    }

    /// Runs `replace`, which exchanges the facet index of the object.
    ///
    /// # Errors
    /// Those of `replace`.
    pub fn replace_index(
        &self,
        replace: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.tree.replace_index(replace)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for path in &self.paths {
            self.host.seats.leave(path, self.key);
        }
    }
}
