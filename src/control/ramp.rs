//! Ramps as operators set them: levers by name, and the reference that a percentage is a percentage of.
//!
//! Pure: time comes in as an argument. What a lever means in requests is [`crate::balancing::shares`]; who sets
//! one, and where it is kept, is [`crate::control::steering`].

pub mod lever;
pub mod reference;
