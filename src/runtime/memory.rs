//! How much memory the process may use: the tightest of its control groups, else the machine's.

use std::fs;
use std::path::{Path, PathBuf};

/// When nothing can be read: what the smallest machine has to spare.
const UNKNOWN: u64 = 512 << 20;

/// Bytes that the process may use; never unlimited.
pub fn limit() -> u64 {
    limit_below(Path::new("/"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "while a configuration is read: files of the kernel, never a disk"
)]
fn limit_below(root: &Path) -> u64 {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let machine = read(&root.join("proc/meminfo")).and_then(|text| total(&text));
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let own = groups.lines().flat_map(|line| files(root, line));
    let limits = own.filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    limits.chain(machine).min().unwrap_or(UNKNOWN)
}

/// Where a line of `/proc/self/cgroup` says that limits are: the group's, those above it, and the root's, which
/// inside a container is the group itself.
fn files(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        v1 if v1.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let group = Path::new(group.trim_start_matches('/'));
    group.ancestors().map(|group| root.join(mount).join(group).join(file)).collect()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("written");
        }
        limit_below(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 5 kB\n");

    #[test]
    fn the_tightest_limit_counts() {
        assert_eq!(machine(&[MEMINFO]), 8_000_000 * 1024);
        let group = ("proc/self/cgroup", "1:cpu:/\n0::/a/b\n");
        let unlimited = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(machine(&[MEMINFO, group, unlimited]), 8_000_000 * 1024);
        let above = ("sys/fs/cgroup/a/memory.max", "1048576\n");
        assert_eq!(machine(&[MEMINFO, group, unlimited, above]), 1 << 20);
    }

    #[test]
    fn older_groups_and_containers_are_understood() {
        let group = ("proc/self/cgroup", "4:memory:/docker/x\n");
        let inside = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n");
        assert_eq!(machine(&[MEMINFO, group, inside]), 2 << 20);
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[MEMINFO, group, unlimited]), 8_000_000 * 1024);
    }

    #[test]
    fn what_cannot_be_read_is_never_unlimited() {
        assert_eq!(machine(&[]), UNKNOWN);
        assert!(limit() < 1 << 50);
    }
}
