//! What JS holds of the host's things: an opaque object that cannot be made up and that lets go when
//! it is collected.

use deno_core::{GarbageCollected, v8};
use facetd_core::{
    Capability, ClassPort, CodeSlot, FacetStart, LoadedWorker, LoaderPort, NamespacePort,
    SocketEnd, Target,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// One thing of the host's, held by JS.
pub enum Handle {
    Target(Arc<dyn Target>),
    Class(Arc<dyn ClassPort>),
    Namespace(Arc<dyn NamespacePort>),
    Loader(Arc<dyn LoaderPort>),
    Worker(WorkerHandle),
    /// Used up by the one call it allows.
    CodeSlot(RefCell<Option<Box<dyn CodeSlot>>>),
    FacetStart(RefCell<Option<Box<dyn FacetStart>>>),
    /// Used up by being accepted or sent with a Response.
    Socket(SocketSlot),
}

/// Shared with the context that owns the socket, which lets go of it when it ends.
pub type SocketSlot = Rc<RefCell<Option<Arc<SocketEnd>>>>;

/// A loaded worker. V8 sees only a small object, so its weight is told to V8 by the loader.
pub struct WorkerHandle {
    pub worker: RefCell<Option<Arc<dyn LoadedWorker>>>,
    /// Counts handles whose weight V8 was told and that were collected, for the loader to settle.
    pub collected: Option<Rc<Cell<u32>>>,
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        if let Some(collected) = &self.collected {
            collected.set(collected.get() + 1);
        }
    }
}

// SAFETY: holds no V8 handle, so there is nothing to trace.
unsafe impl GarbageCollected for Handle {
    fn trace(&self, _visitor: &mut v8::cppgc::Visitor) {}

    fn get_name(&self) -> &'static std::ffi::CStr {
        c"Handle"
    }
}

#[derive(Debug, thiserror::Error, deno_error::JsError)]
#[class(type)]
#[error("Illegal invocation")]
pub struct WrongHandle;

impl Handle {
    pub fn socket(end: Arc<SocketEnd>) -> Self {
        Self::Socket(Rc::new(RefCell::new(Some(end))))
    }

    /// # Errors
    /// The handle is of another kind: some JS of ours, or tampered with, mixed them up.
    pub fn target(&self) -> Result<&Arc<dyn Target>, WrongHandle> {
        if let Self::Target(target) = self {
            Ok(target)
        } else {
            Err(WrongHandle)
        }
    }

    /// # Errors
    /// The handle is of another kind.
    pub fn class(&self) -> Result<&Arc<dyn ClassPort>, WrongHandle> {
        if let Self::Class(class) = self {
            Ok(class)
        } else {
            Err(WrongHandle)
        }
    }

    /// # Errors
    /// The handle is of another kind.
    pub fn namespace(&self) -> Result<&Arc<dyn NamespacePort>, WrongHandle> {
        if let Self::Namespace(namespace) = self {
            Ok(namespace)
        } else {
            Err(WrongHandle)
        }
    }

    /// # Errors
    /// The handle is of another kind.
    pub fn loader(&self) -> Result<&Arc<dyn LoaderPort>, WrongHandle> {
        if let Self::Loader(loader) = self {
            Ok(loader)
        } else {
            Err(WrongHandle)
        }
    }

    /// # Errors
    /// The handle is of another kind.
    pub fn worker(&self) -> Result<Arc<dyn LoadedWorker>, WrongHandle> {
        if let Self::Worker(handle) = self {
            handle.worker.borrow().clone().ok_or(WrongHandle)
        } else {
            Err(WrongHandle)
        }
    }

    /// # Errors
    /// The handle is of another kind or was used before.
    pub fn take_code_slot(&self) -> Result<Box<dyn CodeSlot>, WrongHandle> {
        if let Self::CodeSlot(slot) = self {
            slot.take().ok_or(WrongHandle)
        } else {
            Err(WrongHandle)
        }
    }

    /// # Errors
    /// The handle is of another kind or was used before.
    pub fn take_facet_start(&self) -> Result<Box<dyn FacetStart>, WrongHandle> {
        if let Self::FacetStart(slot) = self {
            slot.take().ok_or(WrongHandle)
        } else {
            Err(WrongHandle)
        }
    }

    /// # Errors
    /// The handle is of another kind or was used before.
    pub fn take_socket(&self) -> Result<Arc<SocketEnd>, WrongHandle> {
        if let Self::Socket(slot) = self {
            slot.take().ok_or(WrongHandle)
        } else {
            Err(WrongHandle)
        }
    }

    /// What a payload carries of this handle, if it may be passed on at all.
    pub(crate) fn capability(&self) -> Option<Capability> {
        match self {
            Self::Target(target) => {
                let holder = target.dup().unwrap_or_else(|| target.clone());
                Some(Capability::Target(holder))
            }
            Self::Class(class) => Some(Capability::Class(class.clone())),
            _ => None,
        }
    }
}
