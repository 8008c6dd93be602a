//! Side by side: the same work for nginx, HAProxy, Envoy, Caddy, a raw relay and Tidegate, in turn, and what it
//! cost each. `benches/compare/run` finds the peers, builds Tidegate as it is released and starts this.
//!
//! One proxy at a time runs on one core, pinned, with its committed configuration (`peers/`); the load and the
//! origin run on another. Nothing is written down that was not measured in the run: what a peer cannot do, and
//! what was left out, is said.
//!
//! `cargo test` runs it without `--bench`: then it takes its smallest cell with Tidegate alone, so that the rig
//! cannot rot unseen. It judges no time.

#![allow(clippy::disallowed_methods, reason = "a bench may block: it is not the data plane")]

mod bars;
mod cells;
mod cost;
mod fill;
mod latency;
mod orders;
mod overload;
mod overload_report;
mod pace;
mod panels;
mod peer;
mod peers;
mod pictures;
mod place;
mod report;
mod restart;
mod restart_report;
mod results;
mod roles;
mod session;
mod standing;
mod statistics;
mod swap;

#[path = "../../tests/rig/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the comparison does not turn, the tests do")]
mod rig;

use anyhow::{Context, Result, ensure};
use cells::Cell;
use orders::{Form, Orders};
use place::Place;
use results::Results;
use rig::experiments::outcome;
use session::Session;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A committed folder; only whole runs in full form write there unasked.
const COMMITTED: &str = "benches";
/// Everybody else's.
const SCRATCH: &str = "target/compare";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = take_a_part(&arguments) {
        return done;
    }
    // Cargo says `--bench`; as a test there is nothing, or a filter that is for other tests.
    if !arguments.iter().any(|argument| argument == "--bench") {
        let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        let wanted =
            filters.peek().is_none() || filters.any(|filter| "the_smallest_cell".contains(filter.as_str()));
        return if wanted { smoke() } else { Ok(()) };
    }
    let orders = Orders::parse(&arguments)?;
    if let Some(file) = &orders.render {
        let results = read(file)?;
        let folder = orders.output.as_deref().or(file.parent()).context("a folder for the page")?;
        return write(&results, folder);
    }
    let results = run(&orders, &arguments)?;
    let results = match &orders.into {
        Some(file) => read(file)?.with(results, &orders.sections),
        None => results,
    };
    let output = orders.output.clone().unwrap_or_else(|| {
        root().join(if orders.is_whole() && results.missing.is_empty() { COMMITTED } else { SCRATCH })
    });
    write(&results, &output)?;
    println!("\n{}\n{}", report::ratios(&results), output.display());
    for line in &results.trouble {
        println!("trouble: {line}");
    }
    Ok(())
}

/// The parts around a peer are this program too.
fn take_a_part(arguments: &[String]) -> Option<Result<()>> {
    roles::take(arguments).or_else(|| pace::take(arguments)).or_else(|| restart::backend::take(arguments))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Takes every section that is wanted.
fn run(orders: &Orders, arguments: &[String]) -> Result<Results> {
    let begin = Instant::now();
    let tidegate = orders.tidegate.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tidegate")));
    let place = Place::new(&root().join(SCRATCH), &tidegate, &orders.peers)?;
    let mut session = Session::new(place, orders)?;
    describe(&mut session, orders, arguments)?;
    for section in &orders.sections {
        match *section {
            "workers" => cells::workers(&mut session),
            "latency" => latency::take(&mut session),
            "memory" => standing::memory(&mut session),
            "start" => standing::start(&mut session),
            "scrape" => standing::scrape(&mut session),
            "swap" => swap::take(&mut session),
            "overload" => overload::take(&mut session),
            "restart" => restart::take(&mut session),
            name => Cell::named(name).with_context(|| format!("no section {name}"))?.take(&mut session),
        }
    }
    session.results.seconds = begin.elapsed().as_secs();
    session.results.without_path(&root().display().to_string());
    Ok(session.results)
}

/// The machine, who takes part, and who is missing.
fn describe(session: &mut Session, orders: &Orders, arguments: &[String]) -> Result<()> {
    session.results.machine = place::facts();
    session.results.date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    let own = arguments.iter().filter(|argument| *argument != "--bench");
    let line: Vec<_> = own.map(String::as_str).collect();
    session.results.command = format!("cargo bench --bench compare -- {}", line.join(" "));
    for kind in &orders.peers {
        let name = kind.name().to_owned();
        match session.place.programs.get(kind) {
            Some(program) => session.results.peers.push((name, kind.version(program)?)),
            None => {
                eprintln!("{name} is not installed: skipped");
                session.results.missing.push(name);
            }
        }
    }
    Ok(())
}

/// The results of an earlier run.
fn read(file: &Path) -> Result<Results> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    Ok(serde_json::from_slice(&text)?)
}

/// Raw results, the page and its pictures.
fn write(results: &Results, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("pictures"))?;
    for (file, text) in report::files(results)? {
        fs::write(folder.join(file), text)?;
    }
    Ok(())
}

/// The smallest cell with Tidegate alone, as cargo built it.
fn smoke() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let form = Form { rounds: 1, warm: 0.1, seconds: 0.3, ..orders::QUICK };
    let peers = vec![peers::Kind::Tidegate];
    let orders = Orders {
        form,
        sections: vec!["small"],
        peers,
        tidegate: None,
        output: None,
        into: None,
        render: None,
    };
    let place = Place::new(folder.path(), Path::new(env!("CARGO_BIN_EXE_tidegate")), &orders.peers)?;
    let mut session = Session::new(place, &orders)?;
    Cell::named("small").context("the small cell")?.take(&mut session);
    let results = session.results;
    let cost = results.measure("small.cpu").and_then(|measure| measure.median("tidegate"));
    ensure!(cost.is_some_and(|cost| cost > 0.0), "nothing was measured: {:?}", results.trouble);
    write(&results, folder.path())?;
    let page = fs::read_to_string(folder.path().join("RESULTS.md"))?;
    ensure!(page.contains(results.sections[0].title.as_str()), "the page says nothing of it: {page}");
    println!("the smallest cell was taken");
    Ok(())
}
