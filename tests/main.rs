//! The one integration test binary: each test binary links V8 again.

mod alarms;
mod bad_input;
mod browser;
mod conformance;
mod crash;
mod db;
mod differential;
mod disk;
mod harness;
mod history;
mod hostile;
mod http;
mod interop;
mod isolates;
mod limits;
mod npm;
mod soak;
mod test_command;
mod websockets;
