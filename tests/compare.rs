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
#[path = "../benches/compare/panels.rs"]
mod panels;
#[path = "../benches/compare/peers.rs"]
mod peers;
#[path = "../benches/compare/pictures.rs"]
mod pictures;
#[path = "../benches/compare/place.rs"]
mod place;
#[path = "../benches/compare/report.rs"]
mod report;
#[path = "../benches/compare/restart_report.rs"]
mod restart_report;
#[path = "../benches/compare/results.rs"]
mod results;
#[path = "../benches/compare/roles.rs"]
mod roles;
#[path = "../benches/compare/statistics.rs"]
mod statistics;

use std::fs;
use std::path::Path;

/// A page that somebody has touched up would show what was not measured.
#[test]
fn the_committed_page_and_pictures_are_those_of_the_committed_results() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let Ok(text) = fs::read(folder.join("results.json")) else {
        assert!(!folder.join("RESULTS.md").exists(), "a page without its results");
        return;
    };
    let results = serde_json::from_slice(&text).expect("results of this version");
    let files = report::files(&results).expect("a page");
    let again = "benches/compare/run --render benches/results.json writes it again";
    for (file, text) in &files {
        let committed = fs::read_to_string(folder.join(file)).unwrap_or_default();
        assert!(committed == *text, "{file} is not what the results say: {again}");
    }
    for picture in fs::read_dir(folder.join("pictures")).expect("pictures") {
        let name = picture.expect("readable").file_name().to_string_lossy().into_owned();
        assert!(
            files.iter().any(|(file, _)| *file == format!("pictures/{name}")),
            "{name} is of another run"
        );
    }
}
