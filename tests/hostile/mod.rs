//! Code that wants more than it was given.

mod calls;
mod escape;
mod floods;
pub mod house;
mod lives;
mod overload;
mod races;
mod values;
