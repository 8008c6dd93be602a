//! Which route a request belongs to.
//!
//! The room reads a request's host and path into their one spelling ([`host`], [`path`]) and finds the route
//! ([`matcher`]) by a precedence that never depends on the order of the file.

pub mod host;
pub mod matcher;
pub mod path;
pub mod table;
pub mod trial;
pub mod view;
pub mod settings;
pub mod pattern;
mod trie;

pub use host::{Host, HostError, HostPattern, HostPatternError, normalise_host};
pub use matcher::{Ambiguity, HeaderMatch, HeaderTest, Matcher, Miss, RouteKey};
pub use path::{Normalised, PathError, normalise};
pub use pattern::{PathPattern, PathPatternError};
