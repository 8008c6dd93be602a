//! What a process group has cost: processor time and memory of all its processes, as the kernel counts them.
//!
//! Processor time is user and system time, in the kernel's ticks of 10 ms; a measurement of seconds knows it to
//! half a percent. Memory is the proportional set: what processes share is counted once.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second; the kernel's interface has had this since it exists.
const TICKS: u64 = 100;

/// Memory of a process group, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What it has to itself, and its part of what is shared.
    pub pss: u64,
    /// Everything resident, shared pages once a process.
    pub rss: u64,
}

impl Sub for Memory {
    type Output = Memory;

    fn sub(self, before: Memory) -> Memory {
        Memory { pss: self.pss.saturating_sub(before.pss), rss: self.rss.saturating_sub(before.rss) }
    }
}

/// The processes of a group that run now.
pub fn members(group: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| stat(*id).is_some_and(|stat| stat.group == group)).collect()
}

/// User and system time of a group so far, of those included that ended and were waited for inside it.
pub fn processor_time(group: u32) -> Duration {
    let ticks: u64 = members(group).into_iter().filter_map(stat).map(|stat| stat.ticks).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Memory of a group now.
pub fn memory(group: u32) -> Result<Memory> {
    let mut sum = Memory::default();
    for id in members(group) {
        let path = format!("/proc/{id}/smaps_rollup");
        // One that ends meanwhile has no memory.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        sum.pss += kibibytes(&text, "Pss:").with_context(|| path.clone())? * 1024;
        sum.rss += kibibytes(&text, "Rss:").with_context(|| path.clone())? * 1024;
    }
    Ok(sum)
}

/// What is of interest in `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    group: u32,
    ticks: u64,
}

fn stat(id: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The name in parentheses may hold anything, so fields are counted from its end.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after) = text.rsplit_once(')')?;
    let fields: Vec<_> = after.split_whitespace().collect();
    // state ppid pgrp …; utime stime cutime cstime are the 14th to 17th of all, two of which stand before.
    let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Stat { group: fields.get(2)?.parse().ok()?, ticks })
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    #[test]
    fn times_and_group_are_read_behind_any_name() {
        let text = "7 (a) b) c) S 1 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(text), Some(Stat { group: 42, ticks: 124 }));
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_from_the_rollup() {
        let text = "1-2 ---p\nRss:            1024 kB\nPss:             512 kB\nPss_Dirty:       1 kB\n";
        assert_eq!(kibibytes(text, "Pss:"), Some(512));
        assert_eq!(kibibytes(text, "Rss:"), Some(1024));
        assert_eq!(kibibytes(text, "Swap:"), None);
    }
}
