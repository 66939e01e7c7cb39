//! The one integration test binary: each test binary links V8 again.

mod bad_input;
mod conformance;
mod crash;
mod harness;
mod hostile;
mod http;
mod limits;
