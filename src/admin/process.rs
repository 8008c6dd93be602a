//! What the system knows of this process, by Prometheus' customary names, read from `/proc/self`.
//!
//! Every number that cannot be read is left out. Reading takes one free descriptor, which the reserve for
//! operators provides.
#![expect(clippy::disallowed_methods, reason = "/proc is memory, and the admin thread reads it")]

use crate::telemetry::family::Family;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clock ticks a second in `/proc/*/stat`: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// The process's families now; `start` is when it began.
pub(super) fn families(start: SystemTime) -> Vec<Family> {
    let status = read("status");
    let kib = |key| field(&status, key).map(|kib| kib * 1024.0);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let start = start.duration_since(UNIX_EPOCH).as_ref().map(Duration::as_secs_f64).ok();
    let gauges = [
        ("process_open_fds", "Open file descriptors.", open_descriptors()),
        ("process_max_fds", "File descriptors allowed.", limit.map(|limit| limit as f64)),
        ("process_resident_memory_bytes", "Memory in RAM.", kib("VmRSS:")),
        ("process_virtual_memory_bytes", "Address space in use.", kib("VmSize:")),
        (
            "tidegate_memory_limit_bytes",
            "Memory that the process may use: the tightest of its control groups, else the machine's.",
            Some(crate::runtime::memory::limit() as f64),
        ),
        ("process_threads", "Threads.", field(&status, "Threads:")),
        ("process_start_time_seconds", "Start of the process since 1970.", start),
    ];
    let mut families: Vec<_> = gauges
        .into_iter()
        .filter_map(|(name, help, value)| {
            let mut family = Family::gauge(name, help);
            family.set(&[], value?);
            Some(family)
        })
        .collect();
    if let Some(seconds) = cpu_seconds(&read("stat")) {
        let mut family = Family::counter("process_cpu_seconds_total", "CPU time in user and system mode.");
        family.count_f64(&[], seconds);
        families.push(family);
    }
    families
}

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

/// Counted without the one that the listing itself takes.
fn open_descriptors() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

/// The number after a key of `/proc/self/status`.
fn field(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time: fields 14 and 15, counted after the name, which may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_an_odd_name() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 0 10 0 0 0 250 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(field("VmRSS:\t  2048 kB\nThreads:\t3\n", "VmRSS:"), Some(2048.0));
        assert_eq!(field("", "VmRSS:"), None);
    }
}
