//! Counting and telling: metric cells, the access log, logs of what happens to the gateway.
//!
//! Nothing here ever makes a request wait: cells are core-local, and every sink is bounded and lossy, with a
//! counter for what was dropped.

pub mod access_log;
pub mod cells;
pub mod events;
pub mod family;
pub mod logs;
pub mod metrics;
pub mod settings;
pub mod tally;
