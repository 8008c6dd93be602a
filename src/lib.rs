//! Tidegate: an edge gateway that cannot be exhausted.
//!
//! Modules stand in staircase order: each imports only from those below it (`tests/house.rs` keeps that).
#![forbid(unsafe_code)]
#![warn(clippy::large_futures, clippy::large_stack_arrays)]
#![warn(clippy::panic, clippy::unreachable, clippy::unwrap_used)]
// A test may block, and asserts on what it reads.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod cli;
pub mod app;
pub mod admin;
pub mod control;
pub mod config;
pub mod worker;
pub mod server;
pub mod listener;
pub mod routing;
pub mod filters;
pub mod admission;
pub mod balancing;
pub mod upstream;
pub mod runtime;
pub mod telemetry;
pub mod request;
pub mod memory;
pub mod permit;
pub mod sync;
pub mod reject;
