//! Namespaces: all root objects of one class, by id.

use crate::facets::ObjectTree;
use crate::host::HostInner;
use crate::incarnation::{Child, Home, Incarnation, StartWith};
use crate::worker::Worker;
use facetd_core::{
    Event, Failure, IdError, Limits, NamespacePort, ObjectId, ObjectName, Target, TargetKind,
    UniqueKey,
};
use facetd_store::ObjectFiles;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

pub(crate) struct NamespaceInner {
    host: Arc<HostInner>,
    key: UniqueKey,
    class_name: String,
    directory: PathBuf,
    /// By which alarms name it.
    number: u32,
    /// The worker that exports the class. Weak: workers hold their namespaces.
    worker: OnceLock<Weak<Worker>>,
    objects: Mutex<HashMap<ObjectId, (u64, Weak<Incarnation>)>>,
    /// Files of objects that are alive, so that two lives of one object share one index.
    trees: Mutex<HashMap<ObjectId, Weak<ObjectTree>>>,
}

#[derive(Clone)]
pub(crate) struct Namespace(pub Arc<NamespaceInner>);

impl Namespace {
    pub fn new(host: Arc<HostInner>, key: UniqueKey, class_name: String) -> Self {
        let directory = host.options.data_dir.join("do").join(key.as_str());
        Self(Arc::new(NamespaceInner {
            number: host.alarms.add_namespace(directory.clone()),
            host,
            key,
            class_name,
            directory,
            worker: OnceLock::new(),
            objects: Mutex::default(),
            trees: Mutex::default(),
        }))
    }

    pub fn bind(&self, worker: &Arc<Worker>) {
        let _bound_before = self.0.worker.set(Arc::downgrade(worker));
    }
}

impl NamespaceInner {
    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn key(&self) -> &UniqueKey {
        &self.key
    }

    /// The object's present life, if it has one.
    pub fn alive(&self, id: &ObjectId) -> Option<Arc<Incarnation>> {
        let objects = self.objects.lock();
        objects.get(id).and_then(|(_, object)| object.upgrade())
    }

    pub fn tree(&self, id: ObjectId) -> Arc<ObjectTree> {
        let mut trees = self.trees.lock();
        if let Some(tree) = trees.get(&id).and_then(Weak::upgrade) {
            return tree;
        }
        if trees.len() > 1024 {
            trees.retain(|_, tree| tree.strong_count() > 0);
        }
        let files = ObjectFiles::new(
            self.directory.clone(),
            id.to_string(),
            Some(self.host.log.clone()),
        );
        let tree = Arc::new(ObjectTree::new(files, self.number, id));
        trees.insert(id, Arc::downgrade(&tree));
        tree
    }

    /// The object's present life, or a new one.
    pub fn incarnation(
        self: &Arc<Self>,
        id: ObjectId,
        name: Option<&str>,
    ) -> Result<Arc<Incarnation>, Failure> {
        let mut objects = self.objects.lock();
        let known = objects.get(&id).and_then(|(_, object)| object.upgrade());
        if let Some(object) = known {
            drop(objects);
            return Ok(object);
        }
        let worker = self
            .worker
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(Failure::disconnected)?;
        let home = Home::Namespace {
            namespace: Arc::downgrade(self),
            id,
        };
        let object = Incarnation::new(self.host.clone(), home, 0, self.tree(id), true);
        objects.insert(id, (object.key, Arc::downgrade(&object)));
        drop(objects);
        object.start_with(StartWith {
            worker,
            class_name: Some(self.class_name.clone()).filter(|name| name != "default"),
            id: ObjectName::Id {
                id,
                name: name.map(str::to_owned),
            },
            props: None,
            limits: Limits::default(),
            storage_id: 0,
        });
        Ok(object)
    }

    /// How many entries of each kind there are, for a census.
    pub fn counts(&self) -> [(&'static str, usize); 4] {
        let objects = self.objects.lock();
        let known = objects.len();
        let mut left: Vec<_> = objects.values().filter_map(|(_, o)| o.upgrade()).collect();
        drop(objects);
        let (mut facets, mut names) = (0, 0);
        while let Some(object) = left.pop() {
            let children = object.children.lock();
            names += children.len();
            for child in children.values() {
                if let Child::Alive(child) = child
                    && let Some(child) = child.upgrade()
                {
                    facets += 1;
                    left.push(child);
                }
            }
            // Dropped after the lock: the last holder of a life takes it out of this table.
            drop(children);
        }
        [
            ("objects", known),
            ("facets", facets),
            ("facet_names", names),
            ("trees", self.trees.lock().len()),
        ]
    }

    /// The life `key` of `id` is over.
    pub fn forget(&self, id: &ObjectId, key: u64) {
        let mut objects = self.objects.lock();
        if objects.get(id).is_some_and(|(known, _)| *known == key) {
            objects.remove(id);
        }
    }
}

/// A stub of a root object. The first event binds it to one incarnation.
struct ObjectTarget {
    namespace: Arc<NamespaceInner>,
    id: ObjectId,
    name: Option<String>,
    bound: OnceLock<Arc<Incarnation>>,
}

impl Target for ObjectTarget {
    fn send(&self, event: Event) {
        if let Some(object) = self.bound.get() {
            object.send_event(event);
            return;
        }
        match self.namespace.incarnation(self.id, self.name.as_deref()) {
            Ok(object) => self.bound.get_or_init(|| object).send_event(event),
            Err(failure) => event.reply.send(Err(failure)),
        }
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Object
    }
}

impl NamespacePort for Namespace {
    fn id_from_name(&self, name: &str) -> ObjectId {
        self.0.key.id_from_name(name)
    }

    fn new_unique_id(&self) -> ObjectId {
        self.0.key.new_unique_id()
    }

    fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError> {
        self.0.key.id_from_string(text)
    }

    fn object(&self, id: ObjectId, name: Option<String>) -> Arc<dyn Target> {
        Arc::new(ObjectTarget {
            namespace: self.0.clone(),
            id,
            name,
            bound: OnceLock::new(),
        })
    }
}
