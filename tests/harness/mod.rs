//! What integration tests share: a project made of strings, the real binary serving it, and a small
//! HTTP client to ask it.
//!
//! Owns: temporary folders and child processes; both are gone when their value is dropped.
//! Never: a fixed port, a sleep, a file outside the temporary folder.

#![allow(
    dead_code,
    reason = "a tool box: no test uses every tool, and the lint counts per binary"
)]

pub mod client;
pub mod connection;
pub mod process;
pub mod project;
pub mod random;
pub mod server;
pub mod wait;

pub use client::{Request, Response};
pub use connection::Connection;
pub use project::Project;
pub use random::Random;
pub use server::Server;
pub use wait::wait_for;
