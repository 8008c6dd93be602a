//! The end of the chain, also kept as a plain file beside the database: whoever loses the database still knows what
//! was lost.
#![expect(clippy::disallowed_methods, reason = "on the thread of the history")]

use super::chain::NOTHING;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

/// The file's name in the state directory.
const NAME: &str = "audit-head.json";

/// The newest row, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its segment.
    pub segment: u64,
    /// Its number; 0 when there is none.
    pub count: u64,
    /// Its hash, hex.
    pub hash: String,
    /// When it happened, milliseconds since 1970.
    pub at_ms: i64,
}

impl Default for Head {
    fn default() -> Self {
        Head { segment: 1, count: 0, hash: NOTHING.to_owned(), at_ms: i64::MIN }
    }
}

impl Head {
    /// What was kept in `directory`, if that can be read.
    pub fn read(directory: &Path) -> Option<Head> {
        serde_json::from_slice(&fs::read(directory.join(NAME)).ok()?).ok()
    }

    /// Keeps it. Whole or not at all for whoever reads it; not forced to the disk, for one that is a little old is
    /// found in the chain.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn keep(&self, directory: &Path) -> io::Result<()> {
        let beside = directory.join("audit-head.json.new");
        fs::write(&beside, serde_json::to_vec(self)?)?;
        fs::rename(beside, directory.join(NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_rubbish_is_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Head::read(directory.path()), None);
        let head = Head { count: 7, ..Head::default() };
        head.keep(directory.path()).expect("kept");
        assert_eq!(Head::read(directory.path()), Some(head));
        fs::write(directory.path().join(NAME), b"{\"count\":").expect("written");
        assert_eq!(Head::read(directory.path()), None);
    }
}
