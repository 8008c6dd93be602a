//! Ramps as operators set them: levers by name, the reference that a percentage is a percentage of, and which part of
//! the clients is served meanwhile.
//!
//! Pure: time comes in as an argument. What a lever means in requests is [`crate::balancing::shares`]; who sets
//! one, and where it is kept, is [`crate::control::steering`].

pub mod choice;
pub mod lever;
pub mod reference;
