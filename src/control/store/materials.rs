//! What a good version was made of beside its text: the values that filled it, and the certificates, keys and key sets
//! that it names. Kept so that a rollback or a start does not fail because a file or a variable is gone
//! (`design.md`, "Rollback"); never shown, never logged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// Values and contents by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Materials {
    /// Variables of the environment that filled a value.
    pub variables: BTreeMap<String, String>,
    /// Variables that were not set, so that their default filled the value.
    pub unset: BTreeSet<String>,
    /// Files that filled a value.
    pub fills: BTreeMap<PathBuf, String>,
    /// Certificates, keys, authorities and key sets.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

/// As it lies on disk.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    variables: BTreeMap<String, String>,
    unset: BTreeSet<String>,
    fills: BTreeMap<PathBuf, String>,
    /// Base64.
    files: BTreeMap<PathBuf, String>,
}

impl fmt::Debug for Materials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Materials({} values, {} files)", self.variables.len() + self.fills.len(), self.files.len())
    }
}

impl Materials {
    /// There is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self == &Materials::default()
    }

    /// The same with what is newer.
    pub fn with(&self, newer: Materials) -> Materials {
        let mut all = self.clone();
        all.unset.extend(newer.unset.into_iter().filter(|name| !self.variables.contains_key(name)));
        all.unset.retain(|name| !newer.variables.contains_key(name));
        all.variables.extend(newer.variables);
        all.fills.extend(newer.fills);
        all.files.extend(newer.files);
        all
    }

    /// Bytes that it takes, about.
    pub fn size(&self) -> usize {
        let values = self.variables.iter().map(|(name, value)| name.len() + value.len());
        let fills = self.fills.values().map(String::len);
        let files = self.files.values().map(Vec::len);
        values.chain(fills).chain(files).sum()
    }

    /// For the disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let files = self.files.iter().map(|(path, content)| (path.clone(), STANDARD.encode(content)));
        let written = Written {
            variables: self.variables.clone(),
            unset: self.unset.clone(),
            fills: self.fills.clone(),
            files: files.collect(),
        };
        // Paths that are not UTF-8 cannot be written; then nothing is, and the sources of now are all there is.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// From the disk; nothing if it cannot be read.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        let decoded = |(path, content): (PathBuf, String)| Some((path, STANDARD.decode(content).ok()?));
        Some(Materials {
            variables: written.variables,
            unset: written.unset,
            fills: written.fills,
            files: written.files.into_iter().filter_map(decoded).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_is_not_shown() {
        let materials = Materials {
            variables: BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]),
            unset: BTreeSet::from(["PORT".to_owned()]),
            fills: BTreeMap::from([("secret".into(), "correct-horse".to_owned())]),
            files: BTreeMap::from([("edge.key".into(), b"\0battery\xff".to_vec())]),
        };
        assert_eq!(Materials::from_bytes(&materials.to_bytes()).as_ref(), Some(&materials));
        let shown = format!("{materials:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("horse") && !shown.contains("battery"),
            "{shown}"
        );
        assert!(Materials::default().is_empty() && !materials.is_empty());
        assert_eq!(Materials::from_bytes(b"{"), None);
    }
}
