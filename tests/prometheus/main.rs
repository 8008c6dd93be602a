//! What operators see through Prometheus, Alertmanager and Grafana, with the real programs (Debian's packages): the
//! rules of `deploy/prometheus/` are right and complete, every query of the board in `deploy/grafana/` has an answer
//! where a gateway works, an alert arrives, and a large configuration stays below what is stated.
//!
//! It draws no board: Grafana is not among the packages.

#![allow(clippy::disallowed_methods, reason = "tests may block: they are not the data plane")]

#[path = "../it"]
#[expect(dead_code, reason = "the other tests turn the rest of it")]
mod it {
    pub mod support;
}

mod board;
mod programs;
mod rules;
mod scene;
mod scraped;
mod size;
mod told;

use it::support;
use std::fs;
use std::path::{Path, PathBuf};

/// A file or folder of the repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
