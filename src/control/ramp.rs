//! Ramps: levers as operators set them, restarts as they are noticed, the guarded way back after one, the reference
//! that every percentage is a percentage of, and which part of the clients is served meanwhile.
//!
//! Pure: time comes in as an argument. What a percentage means in requests is [`crate::balancing::shares`]; who sets
//! one, and where it is kept, is [`crate::control::steering`].

pub mod choice;
pub mod fleet;
pub mod guard;
pub mod incarnation;
pub mod lever;
pub mod reference;
