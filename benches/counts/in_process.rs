//! Instructions and allocations of a case of the other benches: each count is a run of that bench's own program with
//! `--count CASE N`. Two runs, with N and 2 N, under valgrind; the difference is what N operations take, without what
//! setting up takes.

use crate::table::Row;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The programs of the other benches.
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds those of these benches, as the one that runs was built.
    pub fn build<'a>(benches: impl Iterator<Item = &'a str>) -> Result<Programs> {
        let benches: BTreeSet<_> = benches.collect();
        if benches.is_empty() {
            return Ok(Programs(BTreeMap::new()));
        }
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["bench", "--no-run", "--locked", "--message-format=json-render-diagnostics"])
            .args(benches.iter().flat_map(|bench| ["--bench", bench]))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit());
        let built = command.output().context("cargo")?;
        ensure!(built.status.success(), "the benches cannot be built");
        let messages = built.stdout.split(|byte| *byte == b'\n');
        let programs = messages.filter_map(|line| {
            let message: serde_json::Value = serde_json::from_slice(line).ok()?;
            let name = message["target"]["name"].as_str().filter(|name| benches.contains(name))?;
            Some((name.to_owned(), PathBuf::from(message["executable"].as_str()?)))
        });
        Ok(Programs(programs.collect()))
    }

    /// Allocations of one operation.
    pub fn allocations(&self, bench: &str, row: &Row) -> Result<f64> {
        let case = &row.name;
        let program = self.program(bench)?;
        let run = Command::new(program)
            .args(["--count", case, &row.times.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .context("a bench")?;
        let said = String::from_utf8_lossy(&run.stdout);
        let count = said.lines().find_map(|line| line.strip_suffix(" allocations")?.parse::<f64>().ok());
        match count.filter(|_| run.status.success()) {
            Some(count) => Ok(count / row.times as f64),
            None => bail!("{bench} has no case {case:?}, or it failed: {}", run.status),
        }
    }

    /// Instructions of one operation, above those of the case that it is compared with.
    pub fn instructions(&self, bench: &str, row: &Row) -> Result<f64> {
        let each = |case: &str| -> Result<f64> {
            let once = self.collected(bench, case, row.times)?;
            let twice = self.collected(bench, case, 2 * row.times)?;
            Ok((twice - once) / row.times as f64)
        };
        let beside = row.above.as_deref().map_or(Ok(0.0), each)?;
        Ok(each(&row.name)? - beside)
    }

    /// All instructions of one run.
    fn collected(&self, bench: &str, case: &str, times: usize) -> Result<f64> {
        let run = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(self.program(bench)?)
            .args(["--count", case, &times.to_string()])
            .stdout(Stdio::null())
            .output()
            .context("valgrind")?;
        let said = String::from_utf8_lossy(&run.stderr);
        let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
        match collected.filter(|_| run.status.success()) {
            Some(collected) => Ok(collected),
            None => bail!("{bench} {case:?} under valgrind: {}\n{said}", run.status),
        }
    }

    fn program(&self, bench: &str) -> Result<&PathBuf> {
        self.0.get(bench).with_context(|| format!("there is no bench {bench:?}"))
    }
}
