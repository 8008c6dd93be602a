//! The operators' door: its settings, which the configuration makes.

pub use crate::config::operators::{Role, Settings, Token};
