//! Where it is measured: the machine's facts for the report, the two cores that are used, and the folder, the
//! certificate and the programs that peers are started with.

use crate::peers::{self, Kind};
use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, KeyPair};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What all measurements of a run share.
pub struct Place {
    /// The core of what is measured.
    pub proxy: usize,
    /// The core of the load and the origin.
    pub load: usize,
    /// Scratch: a folder for each peer.
    pub folder: PathBuf,
    /// Programs that were found.
    pub programs: BTreeMap<Kind, PathBuf>,
    /// The ECDSA P-256 certificate that all show, its key, and both in one file.
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub pem: PathBuf,
}

impl Place {
    /// Looks around. `tidegate` is the binary under test, `wanted` who takes part.
    pub fn new(folder: &Path, tidegate: &Path, wanted: &[Kind]) -> Result<Place> {
        let cores = allowed_cores()?;
        ensure!(cores.len() >= 2, "two cores are needed: one for the proxy, one for the load and the origin");
        for tool in ["taskset", "setpriv"] {
            ensure!(peers::in_path(tool).is_some(), "{tool} is missing (Debian: apt-get install util-linux)");
        }
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let folder = folder.canonicalize()?;
        let found = wanted.iter().filter_map(|kind| Some((*kind, kind.find(tidegate)?)));
        let programs = found.collect();
        let [certificate, key, pem] = ["edge.pem", "edge.key", "edge.both"].map(|name| folder.join(name));
        let place = Place { proxy: cores[1], load: cores[0], folder, programs, certificate, key, pem };
        place.sign()?;
        Ok(place)
    }

    /// Those of `wanted` that are here.
    pub fn present(&self, wanted: &[Kind]) -> Vec<Kind> {
        wanted.iter().copied().filter(|kind| self.programs.contains_key(kind)).collect()
    }

    /// A command on one core, or on several.
    pub fn pinned(cores: &[usize], program: &Path) -> Command {
        let list: Vec<_> = cores.iter().map(usize::to_string).collect();
        // Whoever ends this process ends what it started.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "taskset", "-c", &list.join(",")]).arg(program);
        command
    }

    fn sign(&self) -> Result<()> {
        // rcgen's default key is ECDSA P-256.
        let key = KeyPair::generate()?;
        let names = vec!["edge.test".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        fs::write(&self.certificate, certificate.pem())?;
        fs::write(&self.key, key.serialize_pem())?;
        fs::write(&self.pem, certificate.pem() + &key.serialize_pem())?;
        Ok(())
    }
}

/// Cores that this process may use.
fn allowed_cores() -> Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    parse_cores(list.context("no list of cores in /proc/self/status")?.trim()).context("a list of cores")
}

/// `0-2,5` is 0, 1, 2, 5.
fn parse_cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cores)
}

/// Machine, kernel and time, a line each, for the report.
pub fn facts() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches([':', ' ', '\t']).trim().to_owned())
    };
    let limit = after(&read("/proc/self/limits"), "Max open files");
    let descriptors = limit.and_then(|limit| Some(limit.split_whitespace().next()?.to_owned()));
    let facts = [
        ("processor", after(&read("/proc/cpuinfo"), "model name")),
        ("cores", allowed_cores().ok().map(|cores| cores.len().to_string())),
        ("memory", after(&read("/proc/meminfo"), "MemTotal")),
        ("kernel", Some(read("/proc/sys/kernel/osrelease").trim().to_owned())),
        ("open files", descriptors),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(parse_cores("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_cores("3"), Some(vec![3]));
        assert_eq!(parse_cores("x"), None);
    }
}
