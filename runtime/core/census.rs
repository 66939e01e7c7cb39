//! How much there is of everything: what leaks shows here first.
//!
//! Asked for through the admin socket, answered by the isolates through their mailboxes: it costs nothing while nobody asks.
//! Never shown to user code.

/// Names of tables, and how many entries each has. Bytes where the name says so.
pub type Counts = Vec<(String, u64)>;

/// What is asked of one isolate.
pub struct CensusRequest {
    /// Collect garbage first, so that what is counted is what something still refers to.
    pub collect: bool,
    pub told: Box<dyn FnOnce(Counts) + Send>,
}
