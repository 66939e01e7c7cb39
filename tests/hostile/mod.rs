//! Code that wants more than it was given.

pub mod house;
