//! One isolate: one V8 heap on one thread, running one worker.
//!
//! Owns: the start-up snapshot, the thread's loop, the module map of user code, turns (every entry
//! into JS), limits and the one order of teardown. Knows nothing of the host: it reads a mailbox and
//! calls the ports it is given.

mod allocator;
mod blobs;
mod census;
mod control;
mod cycles;
mod descriptors;
mod entry;
mod extensions;
mod hung;
mod isolate;
mod memory;
mod modules;
mod objects;
mod spin;
mod stack;
mod turn;
mod watchdog;

pub use census::databases_open;
pub use control::{IsolateHandle, Killed};
pub use isolate::{IsolateOptions, init_platform, spawn};
