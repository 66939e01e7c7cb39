//! What is alive in this process: workers, objects, facets, loaded code, and who may reach whom.
//!
//! Owns: the tables of workers, namespaces and incarnations, the pool of pristine isolates, and the
//! rule that one database file has one owner at a time. Implements the ports of `facetd_core`. Never
//! touches V8 or SQLite itself: isolates do, told by messages.
#![forbid(unsafe_code)]

mod alarm_list;
mod alarms;
mod census;
mod crons;
mod facets;
mod held;
mod host;
mod incarnation;
mod loader;
mod namespace;
mod network;
mod pool;
mod seats;
mod socket;
mod wire;
mod worker;

pub use census::Census;
pub use crons::{Scheduled, now_ms, run_scheduled};
pub use facetd_store::Retention;
pub use held::{Held, HoldError};
pub use host::{Egress, Export, Host, HostError, HostOptions, ask};
pub use loader::limits_of;
pub use socket::{Role, carry, derive_accept_key};
pub use worker::{EntrypointTarget, Worker};
