//! `drill`: outages on this machine, before a gateway of its own, on anybody's own configuration.
//!
//! It starts this program as a second process, small servers and clients, all on loopback; nothing outside is ever
//! asked. When it ends, also by Ctrl-C or a panic, its processes and files are gone.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

mod advice;
mod crowd;
mod facts;
mod found;
mod gateway;
mod incident;
mod judge;
mod names;
mod origins;
mod report;
mod rewrite;
mod sample;
mod scene;
mod scenes;
mod scratch;
mod server;
mod summary;
mod target;
mod text;
mod told;
mod verdict;

use super::table::wrapped;
use super::{Failure, print};
use crate::runtime::descriptors::Descriptors;
use incident::Act;
use report::Report;
use rewrite::Pace;
use scenes::{Findings, Scene, Script};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use told::Told;

/// What is drilled if no file is given.
const FLEET: (&str, &str) = ("the built-in fleet", include_str!("drill/incident.toml"));
/// Steps of rollouts and ramps are no longer than this, in seconds; and with `--quick`.
const PACE: Pace = Pace { bake: 10.0, dwell: 5.0 };
const QUICK: Pace = Pace { bake: 2.0, dwell: 1.0 };

/// What is drilled.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Exit status: 0 nothing fails, 1 something fails or is unclear, 2 wrong usage."
)]
pub(super) struct DrillArgs {
    #[command(subcommand)]
    verb: Option<DrillVerb>,
    #[command(flatten)]
    scenes: ScenesArgs,
}

/// Which scenes, on what, and how fast.
#[derive(Debug, clap::Args)]
struct ScenesArgs {
    /// Your own configuration; addresses, TLS and tokens are replaced, limits and rules are kept.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only these scenes.
    #[arg(long, value_name = "SCENES", value_delimiter = ',')]
    only: Vec<Scene>,
    /// Only these upstreams, and routes to them; else those with the most routes.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    upstream: Vec<String>,
    /// Fewer upstreams, shorter scenes and ramps.
    #[arg(long)]
    quick: bool,
}

/// Other drills.
#[derive(Debug, clap::Subcommand)]
enum DrillVerb {
    /// The outage of 24 March 2023, replayed: a bad address of the auth service is pushed, forced through, rolled
    /// back while everything hangs, and the fleet restarts. All on loopback, in two minutes.
    Incident(IncidentArgs),
}

/// On what, and how fast.
#[derive(Debug, clap::Args)]
struct IncidentArgs {
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

/// Drills; the status is 1 if a bar does not hold.
pub(super) fn drill(wanted: &DrillArgs, json: bool) -> Result<ExitCode, Failure> {
    // Clients and stand-ins hold a connection each.
    Descriptors::at_start(1);
    match &wanted.verb {
        Some(DrillVerb::Incident(wanted)) => replay(wanted, json),
        None => play(&wanted.scenes, json),
    }
}

/// Plays scenes.
fn play(wanted: &ScenesArgs, json: bool) -> Result<ExitCode, Failure> {
    let (name, text) = read(wanted.config.as_deref())?;
    let told = Told::listen()?;
    let mut findings = Findings::new(!json);
    let pace = if wanted.quick { QUICK } else { PACE };
    let script = Script::of(&text, &name, pace, wanted.quick, &wanted.upstream)?;
    let names = if wanted.only.is_empty() { &Scene::ALL[..] } else { &wanted.only };
    scenes::play(&script, names, &told, &mut findings)?;
    print(&match json {
        true => format!("{:#}\n", summary::json(&script, &findings)),
        false => format!("\n{}", summary::text(&script, &findings)),
    });
    Ok(if findings.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The file, or the built-in fleet.
fn read(file: Option<&Path>) -> Result<(PathBuf, String), Failure> {
    let Some(file) = file else { return Ok((FLEET.0.into(), FLEET.1.to_owned())) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", file.display())))?;
    Ok((file.to_owned(), text))
}

/// Replays the outage of 24 March 2023.
fn replay(wanted: &IncidentArgs, json: bool) -> Result<ExitCode, Failure> {
    let (name, text) = read(wanted.config.as_deref())?;
    let told = Told::listen()?;
    let mut report = Report::new(!json);
    let pace = if wanted.quick { QUICK } else { PACE };
    incident::replay(&text, &name, pace, &wanted.only, &told, &mut report)?;
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
