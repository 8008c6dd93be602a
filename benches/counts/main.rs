//! What one request costs on the main paths: instructions, allocations and system calls, compared with what was
//! agreed in `benches/counts.toml`. Fails when a count has grown beyond its margin. What has become cheaper is said,
//! and fails nothing: a change that saves something should not have to wait, and another machine's C library may save
//! a little too; but the table should follow it, or what was won can slip away again.
//!
//!     cargo bench --bench counts                       compares all
//!     cargo bench --bench counts -- 'GET' 'h2c: GET'   compares these
//!     cargo bench --bench counts -- --update           writes what it finds into the table; say why in the commit
//!
//! It needs valgrind and strace. What is missing is named and its counts are left out; with
//! TIDEGATE_REQUIRE_EXTERNAL=1 that is a failure.

mod calls;
mod in_process;
mod table;

#[path = "../support/frames.rs"]
mod frames;
#[path = "../support/street.rs"]
mod street;
#[path = "../support/visits.rs"]
mod visits;

use anyhow::{Context, Result, bail};
use calls::Traced;
use in_process::Programs;
use std::process::{Command, ExitCode, Stdio};
use table::{Found, Row, Table};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts.toml");
const ENVIRONMENT: &str = "TIDEGATE_REQUIRE_EXTERNAL";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut wanted: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let before = wanted.len();
    wanted.retain(|word| word != "--update");
    let update = wanted.len() < before;

    let text = std::fs::read_to_string(TABLE).context(TABLE)?;
    let mut table = Table::parse(&text)?;
    if let Some(unknown) = wanted.iter().find(|name| table.row(name).is_none()) {
        bail!("the table has no path {unknown:?}");
    }
    let found = measure(table.rows.iter().filter(|row| wanted.is_empty() || wanted.contains(&row.name)))?;
    if update {
        table.take(found);
        std::fs::write(TABLE, table.render(&text)).context(TABLE)?;
        println!("benches/counts.toml is up to date");
        return Ok(());
    }
    judge(&table, &found)
}

/// Says what has changed; an error if anything has become dearer.
fn judge(table: &Table, found: &[Found]) -> Result<()> {
    let changes = table.compare(found);
    let (dearer, cheaper): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.is_dearer());
    for change in &cheaper {
        println!("{change}");
    }
    if !cheaper.is_empty() {
        println!("Keep what was won: cargo bench --bench counts -- --update");
    }
    for change in &dearer {
        println!("{change}");
    }
    if !dearer.is_empty() {
        bail!(
            "requests have become dearer. If it has to be, write it down with `cargo bench --bench counts -- \
             --update` and say in the commit what it is worth"
        );
    }
    println!("nothing has become dearer");
    Ok(())
}

/// Counts what can be counted here, and prints it.
fn measure<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<Vec<Found>> {
    let valgrind = is_here("valgrind", "instructions")?;
    let strace = is_here("strace", "system calls")?;
    let rows: Vec<_> = rows.collect();
    let programs = Programs::build(rows.iter().filter_map(|row| row.bench.as_deref()))?;
    let mut traced = match strace && rows.iter().any(|row| row.calls.is_some()) {
        true => Some(Traced::start()?),
        false => None,
    };
    let mut all = Vec::new();
    for row in rows {
        let mut found = Found { name: row.name.clone(), ..Found::default() };
        if let Some(bench) = &row.bench {
            found.allocations = Some(programs.allocations(bench, row)?);
            if valgrind {
                found.instructions = Some(programs.instructions(bench, row)?);
            }
        }
        if let (Some(traced), Some(_)) = (&mut traced, &row.calls) {
            found.calls = Some(traced.calls(&row.name)?);
        }
        println!("{found}");
        all.push(found);
    }
    Ok(all)
}

/// Whether a program is installed; an error if it is not and must be.
fn is_here(program: &str, counts: &str) -> Result<bool> {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if asked.is_ok() {
        return Ok(true);
    }
    if std::env::var_os(ENVIRONMENT).is_some_and(|required| required == "1") {
        bail!("{program} is required here (Debian: apt-get install {program})");
    }
    println!("skipped: {counts}; {program} is not installed (Debian: apt-get install {program})");
    Ok(false)
}
