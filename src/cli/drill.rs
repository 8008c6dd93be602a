//! `drill`: an outage replayed on this machine, before a gateway of its own, on anybody's own configuration.
//!
//! It starts this program as a second process, small servers and clients, all on loopback; nothing outside is ever
//! asked. When it ends, also by Ctrl-C or a panic, its processes and files are gone.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

mod crowd;
mod gateway;
mod incident;
mod judge;
mod origins;
mod report;
mod rewrite;
mod scene;
mod scratch;
mod server;
mod target;
mod text;
mod told;

use super::table::wrapped;
use super::{Failure, print};
use incident::Act;
use report::Report;
use rewrite::Pace;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use told::Told;

/// What is drilled if no file is given.
const FLEET: (&str, &str) = ("the built-in fleet", include_str!("drill/incident.toml"));
/// Steps of rollouts and ramps are no longer than this, in seconds; and with `--quick`.
const PACE: Pace = Pace { bake: 10.0, dwell: 5.0 };
const QUICK: Pace = Pace { bake: 2.0, dwell: 1.0 };

/// What is drilled.
#[derive(Debug, clap::Subcommand)]
pub(super) enum DrillVerb {
    /// The outage of 24 March 2023, replayed: a bad address of the auth service is pushed, forced through, rolled
    /// back while everything hangs, and the fleet restarts. All on loopback, in two minutes.
    Incident(IncidentArgs),
}

/// On what, and how fast.
#[derive(Debug, clap::Args)]
pub(super) struct IncidentArgs {
    /// Your own configuration; addresses, TLS and tokens are replaced, limits and rules are kept.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Shorter stages and ramps: under a minute.
    #[arg(long)]
    quick: bool,
    /// Only these parts: a pushed, b forced through, c rolled back while everything hangs, d restarted.
    #[arg(long, value_name = "PARTS", value_delimiter = ',', default_value = "a,b,c,d")]
    only: Vec<Act>,
}

/// Replays it; the status is 1 if a bar does not hold.
pub(super) fn drill(verb: &DrillVerb, json: bool) -> Result<ExitCode, Failure> {
    let DrillVerb::Incident(wanted) = verb;
    let (name, text) = match &wanted.config {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", file.display())))?;
            (file.as_path(), text)
        }
        None => (Path::new(FLEET.0), FLEET.1.to_owned()),
    };
    let told = Told::listen()?;
    let mut report = Report::new(!json);
    let pace = if wanted.quick { QUICK } else { PACE };
    incident::replay(&text, name, pace, &wanted.only, &told, &mut report)?;
    match json {
        true => print(&format!("{:#}\n", report.json())),
        false => {
            let notes = report.notes.iter().flat_map(|note| wrapped(note, "  "));
            let notes: Vec<_> = notes.collect();
            print(&format!("\nNot as in the file:\n{}\n{}", notes.join("\n"), report.text()));
        }
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
