//! Whether the database's files are still those that we opened, and whether somebody else wrote into them.
#![expect(clippy::disallowed_methods, reason = "on the thread of the history")]

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The files as we left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    database: Option<Seen>,
    /// The log beside it, by its number alone.
    log: Option<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

/// What happened to the files meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// One was deleted, or is another.
    Gone,
    /// Somebody wrote into the database.
    Touched,
}

impl Fingerprint {
    /// As they are now.
    pub fn of(path: &Path, log: &Path) -> Self {
        let seen =
            |it: &Metadata| Seen { file: number(it), size: it.len(), changed: (it.mtime(), it.mtime_nsec()) };
        let look = |path| fs::metadata(path).ok();
        Fingerprint { database: look(path).as_ref().map(seen), log: look(log).as_ref().map(number) }
    }

    /// What happened between this and `now`.
    pub fn until(&self, now: &Fingerprint) -> Meanwhile {
        let file = |it: &Fingerprint| it.database.as_ref().map(|seen| seen.file);
        if file(self) != file(now) || (self.log.is_some() && self.log != now.log) {
            Meanwhile::Gone
        } else if self.database != now.database {
            Meanwhile::Touched
        } else {
            Meanwhile::Nothing
        }
    }
}

fn number(it: &Metadata) -> (u64, u64) {
    (it.dev(), it.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_or_another_or_written_to_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, log) = (directory.path().join("a"), directory.path().join("a-wal"));
        let look = || Fingerprint::of(&path, &log);
        fs::write(&path, "one").expect("written");
        let first = look();
        assert_eq!(first.until(&look()), Meanwhile::Nothing);
        fs::write(&path, "three").expect("written");
        assert_eq!(first.until(&look()), Meanwhile::Touched);
        fs::write(&log, "log").expect("written");
        let with_log = look();
        fs::remove_file(&log).expect("removed");
        assert_eq!(with_log.until(&look()), Meanwhile::Gone);
        fs::remove_file(&path).expect("removed");
        assert_eq!(first.until(&look()), Meanwhile::Gone);
    }
}
