//! The pure parts of the comparison with other gateways (`benches/compare`): filling configurations, statistics,
//! bars, the page, the pictures, the command line. A bench has no test harness, so its tests run here; that it
//! works as a whole, it shows itself: as a test it takes its smallest cell.

#![allow(dead_code, reason = "what only the bench calls is dead here")]
#![allow(clippy::disallowed_methods, reason = "a bench may block: it is not the data plane")]

#[path = "../benches/compare/bars.rs"]
mod bars;
#[path = "../benches/compare/cost.rs"]
mod cost;
#[path = "../benches/compare/fill.rs"]
mod fill;
#[path = "../benches/compare/orders.rs"]
mod orders;
#[path = "rig/experiments/outcome.rs"]
mod outcome;
#[path = "../benches/compare/overload_report.rs"]
mod overload_report;
#[path = "../benches/compare/peers.rs"]
mod peers;
#[path = "../benches/compare/pictures.rs"]
mod pictures;
#[path = "../benches/compare/place.rs"]
mod place;
#[path = "../benches/compare/report.rs"]
mod report;
#[path = "../benches/compare/results.rs"]
mod results;
#[path = "../benches/compare/roles.rs"]
mod roles;
#[path = "../benches/compare/statistics.rs"]
mod statistics;
