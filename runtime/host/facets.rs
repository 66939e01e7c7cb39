//! Facets of one object: names to incarnations, and their files.

use crate::alarms::Key;
use crate::incarnation::{Child, FacetTarget, Home, Incarnation, PoisonedTarget, StartWith};
use crate::worker::WorkerClass;
use facetd_core::{
    ClassPort, FacetLookup, FacetStart, Failure, ObjectId, ObjectName, ObjectPort, Target,
};
use facetd_store::{FacetIndex, ObjectFiles, StoreError};
use parking_lot::Mutex;
use std::sync::Arc;

/// The files of one root object and all its facets. Nested facets share the root's numbering.
pub(crate) struct ObjectTree {
    pub files: ObjectFiles,
    /// The number of the root's namespace.
    pub namespace: u32,
    /// The root's id.
    pub object: ObjectId,
    /// Read when first needed: an object without facets has no index file.
    index: Mutex<Option<FacetIndex>>,
}

impl ObjectTree {
    pub fn new(files: ObjectFiles, namespace: u32, object: ObjectId) -> Self {
        Self {
            files,
            namespace,
            object,
            index: Mutex::new(None),
        }
    }

    fn with_index<R>(
        &self,
        f: impl FnOnce(&mut FacetIndex) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut index = self.index.lock();
        if index.is_none() {
            *index = Some(self.files.open_index()?);
        }
        f(index.as_mut().expect("just opened"))
    }

    /// Runs `replace`, which exchanges the index file; what was read of the old one is forgotten.
    pub fn replace_index(
        &self,
        replace: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut index = self.index.lock();
        *index = None;
        replace()
    }

    fn known_id(&self, parent: u16, name: &str) -> Result<Option<u16>, StoreError> {
        self.with_index(|index| Ok(index.get(parent, name)))
    }

    pub fn assign_id(&self, parent: u16, name: &str) -> Result<u16, StoreError> {
        self.with_index(|index| {
            if index.get(parent, name).is_none() {
                self.check_unused(index)?;
            }
            index.assign(parent, name)
        })
    }

    /// A number without an entry has no database, since the entry is on disk first. If it has one, the index has lost
    /// entries, and to give the number to another name would show it that facet's data.
    fn check_unused(&self, index: &FacetIndex) -> Result<(), StoreError> {
        let Some(next) = index.next_id() else {
            return Ok(()); // `assign` says that there are too many
        };
        let used = self.files.is_used(next)?;
        let lost = match (used, index.is_torn()) {
            (true, _) => Some(next),
            (false, true) => self.files.facet_from(next)?,
            (false, false) => None,
        };
        match lost {
            Some(storage_id) => Err(StoreError::FacetIndexBehind {
                path: self.files.index(),
                storage_id,
            }),
            None => Ok(()),
        }
    }

    fn children(&self, parent: u16) -> Result<Vec<(u16, String)>, StoreError> {
        self.with_index(|index| {
            Ok(index
                .children(parent)
                .map(|(id, name)| (id, name.to_owned()))
                .collect())
        })
    }

    /// The names of the facets from just below the root down to `id`.
    pub fn facet_path(&self, id: u16) -> Result<Option<Vec<String>>, StoreError> {
        if id == 0 {
            return Ok(Some(Vec::new()));
        }
        self.with_index(|index| Ok(index.path(id)))
    }

    pub fn alarm_key(&self, facet: u16) -> Key {
        Key {
            namespace: self.namespace,
            object: self.object,
            facet,
        }
    }

    /// Removes the databases of `id` and everything below it, and notes whose they were. The numbers
    /// stay assigned.
    fn remove_below(&self, id: u16, removed: &mut Vec<u16>) -> Result<(), StoreError> {
        for (child, _) in self.children(id)? {
            self.remove_below(child, removed)?;
        }
        self.files.remove_database(id)?;
        removed.push(id);
        Ok(())
    }

    /// Copies `src` and everything below it over `dst`, which is empty, and notes which came to be.
    fn copy_below(&self, src: u16, dst: u16, copied: &mut Vec<u16>) -> Result<(), StoreError> {
        // Or a crash could leave the copy under a number that the index gives to another name.
        self.files.flush()?;
        self.files.copy_database(src, dst)?;
        copied.push(dst);
        for (child, name) in self.children(src)? {
            let target = self.assign_id(dst, &name)?;
            self.copy_below(child, target, copied)?;
        }
        Ok(())
    }
}

/// Removes facets and everything below them, alarms included.
fn remove(parent: &Incarnation, ids: &[u16]) -> Result<(), Failure> {
    let tree = &parent.tree;
    let mut removed = Vec::new();
    let result = ids
        .iter()
        .try_for_each(|id| tree.remove_below(*id, &mut removed));
    parent
        .host
        .alarms
        .forget(tree.namespace, tree.object, &removed);
    result.map_err(|e| store_failure(&e))
}

fn store_failure(error: &StoreError) -> Failure {
    tracing::error!(%error, "facet files");
    Failure::ours(error.js_message())
}

/// The facet `name` of `parent`: the one that is known, or one that waits to be started. `poisons`:
/// should it not start, the name fails until it is aborted or deleted.
pub(crate) fn lookup(parent: &Arc<Incarnation>, name: &str, poisons: bool) -> FacetLookup {
    let mut children = parent.children.lock();
    // Under this lock: a break takes the children once more after it is visible, so none is left to a dead parent.
    if let Some(failure) = parent.failure() {
        return FacetLookup::Known(Arc::new(PoisonedTarget(failure)));
    }
    let known = match children.get(name) {
        Some(Child::Alive(child)) => child.upgrade(),
        Some(Child::Poisoned(failure)) => {
            return FacetLookup::Known(Arc::new(PoisonedTarget(failure.clone())));
        }
        None => None,
    };
    if let Some(child) = known {
        drop(children);
        return FacetLookup::Known(Arc::new(FacetTarget(child)));
    }
    let home = Home::Parent {
        parent: parent.clone(),
        name: name.to_owned(),
    };
    let child = Incarnation::new(
        parent.host.clone(),
        home,
        parent.depth + 1,
        parent.tree.clone(),
        poisons,
    );
    children.insert(name.to_owned(), Child::Alive(Arc::downgrade(&child)));
    drop(children);
    let target: Arc<dyn Target> = Arc::new(FacetTarget(child.clone()));
    FacetLookup::Start(
        target,
        Box::new(Starting {
            child: Some(child),
            parent: parent.clone(),
            name: name.to_owned(),
        }),
    )
}

struct Starting {
    child: Option<Arc<Incarnation>>,
    parent: Arc<Incarnation>,
    name: String,
}

impl FacetStart for Starting {
    fn start(mut self: Box<Self>, class: Arc<dyn ClassPort>, id: Option<ObjectName>) {
        let Some(child) = self.child.take() else {
            return;
        };
        let Ok(class) = class.as_any().downcast::<WorkerClass>() else {
            child.break_with(&Failure::internal(), true);
            return;
        };
        let Some(worker) = class.worker() else {
            child.break_with(&Failure::disconnected(), true);
            return;
        };
        let Some(id) = id.or_else(|| self.parent.object_name()) else {
            child.break_with(&Failure::internal(), true);
            return;
        };
        let parent_id = self.parent.storage_id.get().copied().unwrap_or(0);
        let (class_name, props, limits) = (class.name.clone(), class.props.clone(), class.limits);
        // A new name is durable, at the latest, with whatever is committed under it: the commit log sees to that.
        match child.tree.assign_id(parent_id, &self.name) {
            Ok(storage_id) => child.start_with(StartWith {
                worker,
                class_name,
                id,
                props,
                limits,
                storage_id,
            }),
            Err(error) => child.break_with(&store_failure(&error), true),
        }
    }

    fn fail(mut self: Box<Self>, failure: Failure) {
        if let Some(child) = self.child.take() {
            child.break_with(&failure, true);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // The parent went away while its callback ran.
        if let Some(child) = self.child.take() {
            let text = "The request which initiated this facet startup has already completed.";
            child.break_with(&Failure::error(text), false);
        }
    }
}

fn storage_id(parent: &Incarnation, name: &str) -> Result<Option<u16>, Failure> {
    let parent_id = parent.storage_id.get().copied().unwrap_or(0);
    parent
        .tree
        .known_id(parent_id, name)
        .map_err(|e| store_failure(&e))
}

pub(crate) fn delete(parent: &Incarnation, name: &str, why: &str) -> Result<(), Failure> {
    parent.abort_child(name, &Failure::error(why));
    match storage_id(parent, name)? {
        Some(id) => remove(parent, &[id]),
        None => Ok(()),
    }
}

/// The alarms of copied facets, which came along with their data: the copy's code may rely on them.
fn list_copied_alarms(parent: &Incarnation, copied: &[u16]) -> Result<(), StoreError> {
    for id in copied {
        let Some(time_ns) = parent.tree.files.alarm_ns(*id)? else {
            continue;
        };
        let gate = parent.gate().clone();
        let hold = gate.hold();
        let listed = Box::new(move |listed: Result<(), Failure>| match listed {
            Ok(()) => gate.release(hold),
            Err(failure) => gate.break_with(&failure),
        });
        let (key, name) = (parent.tree.alarm_key(*id), parent.root_name());
        let _written = parent
            .host
            .alarms
            .committed(key, name.as_deref(), Some(time_ns), listed);
    }
    Ok(())
}

pub(crate) fn clone(parent: &Incarnation, src: &str, dst: &str) -> Result<(), Failure> {
    if src == dst {
        parent.abort_child(dst, &Failure::error("Facet was cloned-over."));
        return Ok(());
    }
    delete(parent, dst, "Facet was cloned-over.")?;
    let Some(src) = storage_id(parent, src)? else {
        return Ok(());
    };
    let parent_id = parent.storage_id.get().copied().unwrap_or(0);
    let mut copied = Vec::new();
    let result = parent
        .tree
        .assign_id(parent_id, dst)
        .and_then(|dst| parent.tree.copy_below(src, dst, &mut copied))
        .and_then(|()| list_copied_alarms(parent, &copied));
    result.map_err(|e| store_failure(&e))
}

pub(crate) fn delete_all(parent: &Incarnation) -> Result<(), Failure> {
    let parent_id = parent.storage_id.get().copied().unwrap_or(0);
    let running: Vec<String> = parent.children.lock().keys().cloned().collect();
    for name in running {
        parent.abort_child(&name, &Failure::error("Facet was deleted."));
    }
    let children = parent
        .tree
        .children(parent_id)
        .map_err(|e| store_failure(&e))?;
    let ids: Vec<u16> = children.into_iter().map(|(id, _)| id).collect();
    remove(parent, &ids)
}
