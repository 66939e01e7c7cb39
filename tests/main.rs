//! The one integration test binary: each test binary links V8 again.

mod conformance;
mod harness;
mod hostile;
mod limits;
