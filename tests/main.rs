//! The one integration test binary: each test binary links V8 again.

mod alarms;
mod bad_input;
mod browser;
mod conformance;
mod contexts;
mod crash;
mod db;
mod differential;
mod disk;
mod harness;
mod history;
mod hostile;
mod http;
mod instances;
mod interop;
mod isolates;
mod limits;
mod npm;
mod objects;
mod scheduled;
mod soak;
mod tails;
mod test_command;
mod websockets;
mod workers;
