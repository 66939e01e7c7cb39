//! Facets of one object: names to incarnations, and their files.

use crate::incarnation::{Child, FacetTarget, Home, Incarnation, PoisonedTarget, StartWith};
use crate::worker::WorkerClass;
use facetd_core::{ClassPort, FacetLookup, FacetStart, Failure, ObjectName, Target};
use facetd_store::{FacetIndex, ObjectFiles, StoreError};
use parking_lot::Mutex;
use std::sync::Arc;

/// The files of one root object and all its facets. Nested facets share the root's numbering.
pub(crate) struct ObjectTree {
    pub files: ObjectFiles,
    /// Read when first needed: an object without facets has no index file.
    index: Mutex<Option<FacetIndex>>,
}

impl ObjectTree {
    pub fn new(files: ObjectFiles) -> Self {
        Self {
            files,
            index: Mutex::new(None),
        }
    }

    fn with_index<R>(
        &self,
        f: impl FnOnce(&mut FacetIndex) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut index = self.index.lock();
        if index.is_none() {
            *index = Some(FacetIndex::open(&self.files.index())?);
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
        self.with_index(|index| index.assign(parent, name))
    }

    fn children(&self, parent: u16) -> Result<Vec<(u16, String)>, StoreError> {
        self.with_index(|index| {
            Ok(index
                .children(parent)
                .map(|(id, name)| (id, name.to_owned()))
                .collect())
        })
    }

    /// Removes the databases of `id` and everything below it. The numbers stay assigned.
    fn remove_below(&self, id: u16) -> Result<(), StoreError> {
        for (child, _) in self.children(id)? {
            self.remove_below(child)?;
        }
        self.files.remove_database(id)
    }

    /// Copies `src` and everything below it over `dst`, which is empty.
    fn copy_below(&self, src: u16, dst: u16) -> Result<(), StoreError> {
        self.files.copy_database(src, dst)?;
        for (child, name) in self.children(src)? {
            let target = self.assign_id(dst, &name)?;
            self.copy_below(child, target)?;
        }
        Ok(())
    }
}

fn store_failure(error: &StoreError) -> Failure {
    tracing::error!(%error, "facet files");
    Failure::error(error.js_message())
}

/// The facet `name` of `parent`: the one that is known, or one that waits to be started.
pub(crate) fn lookup(parent: &Arc<Incarnation>, name: &str) -> FacetLookup {
    let mut children = parent.children.lock();
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
        let start = move |storage_id| StartWith {
            worker,
            class_name,
            id,
            props,
            limits,
            storage_id,
        };
        match child.tree.known_id(parent_id, &self.name) {
            Ok(Some(storage_id)) => child.start_with(start(storage_id)),
            Ok(None) => {
                // A new name is synced to the index before it is used: not on a JS thread.
                let name = std::mem::take(&mut self.name);
                child.host.clone().runtime.spawn_blocking(move || {
                    match child.tree.assign_id(parent_id, &name) {
                        Ok(storage_id) => child.start_with(start(storage_id)),
                        Err(error) => child.break_with(&store_failure(&error), true),
                    }
                });
            }
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
        Some(id) => parent.tree.remove_below(id).map_err(|e| store_failure(&e)),
        None => Ok(()),
    }
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
    let copied = parent
        .tree
        .assign_id(parent_id, dst)
        .and_then(|dst| parent.tree.copy_below(src, dst));
    copied.map_err(|e| store_failure(&e))
}

pub(crate) fn delete_all(parent: &Incarnation) -> Result<(), Failure> {
    let parent_id = parent.storage_id.get().copied().unwrap_or(0);
    // An object that never had a facet has no index to read.
    let running: Vec<String> = parent.children.lock().keys().cloned().collect();
    for name in running {
        parent.abort_child(&name, &Failure::error("Facet was deleted."));
    }
    if !parent.tree.files.index().exists() {
        return Ok(());
    }
    let children = parent
        .tree
        .children(parent_id)
        .map_err(|e| store_failure(&e))?;
    for (id, _) in children {
        parent
            .tree
            .remove_below(id)
            .map_err(|e| store_failure(&e))?;
    }
    Ok(())
}
