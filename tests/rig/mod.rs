//! The overload rig: an origin with knobs, an open-loop load generator, and the experiments made of both.
//!
//! Tests and benches include it by path, so that a short form of an experiment is a test and its full form a
//! line in the comparison. It knows of the proxy under test only an address and what `Contender` asks for.
//! Everything random comes from a seed, and every queue, wait and number of connections has a bound.

pub mod experiments;
pub mod load;
pub mod name_server;
pub mod origin;
