//! The atomics that admission is built on, named in one place so that the model checker (`tests/loom.rs`)
//! can put its own in their stead.

pub use std::sync::atomic;
