//! The last good version as a plain file, so that a boot needs neither a database nor the network
//! (promise 7). Written whole: to a file beside it, synced, then renamed over it, so that a crash leaves the
//! old one or the new one.
#![expect(clippy::disallowed_methods, reason = "on the background thread, and at start")]

use crate::config;
use crate::control::origin::Kept;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LAST_GOOD: &str = "last-good.toml";
const ORIGIN: &str = "origin.json";
const ADDRESSES: &str = "addresses.json";

/// A state directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens a state directory, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made. The gateway can run without, and then says that it is degraded.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Store { directory: directory.to_owned() })
    }

    /// A state directory that may not be there; writes will say so.
    pub fn at(directory: &Path) -> Self {
        Store { directory: directory.to_owned() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps the text of a version that became active, and where it came from. The text goes first: a crash
    /// between leaves a text whose origin is not known, over the same file as before.
    ///
    /// # Errors
    /// When the disk does not take it; the version is active all the same.
    pub fn keep(&self, text: &str, kept: &Kept) -> io::Result<()> {
        write_whole(&self.directory.join(LAST_GOOD), text.as_bytes())?;
        self.remember(kept)
    }

    /// Keeps where the active version came from, and what it stands over.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn remember(&self, kept: &Kept) -> io::Result<()> {
        write_whole(&self.directory.join(ORIGIN), json!(kept).to_string().as_bytes())
    }

    /// Where the last version came from, if that is known.
    pub fn origin(&self) -> Option<Kept> {
        let path = self.directory.join(ORIGIN);
        let read = config::read(&path).and_then(|text| Ok(serde_json::from_str(&text)?));
        let told = |error: &io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, file = %path.display(), "cannot be read: what was applied over the file is not known");
            }
        };
        read.inspect_err(told).ok()
    }

    /// Keeps another file of the state whole: a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn keep_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        write_whole(&self.directory.join(name), content)
    }

    /// The last version that became active here, if any.
    pub fn last_good(&self) -> Option<String> {
        config::read(&self.directory.join(LAST_GOOD)).ok()
    }

    /// Writes where the gateway can be reached, for tools and for ports that the system chose.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn publish_addresses(
        &self,
        admin: SocketAddr,
        listeners: &[(Arc<str>, SocketAddr)],
    ) -> io::Result<()> {
        let listeners: serde_json::Map<_, _> =
            listeners.iter().map(|(name, address)| (name.to_string(), json!(address.to_string()))).collect();
        let content =
            json!({ "admin": admin.to_string(), "listeners": listeners, "pid": std::process::id() });
        write_whole(&self.directory.join(ADDRESSES), content.to_string().as_bytes())
    }

    /// Forgets the addresses of a process that is gone.
    pub fn forget_addresses(&self) {
        // Not there is as good as removed.
        let _ = fs::remove_file(self.directory.join(ADDRESSES));
    }

    /// Leaves word beside the configuration where the state is, so that a file that cannot be read any more
    /// does not hide it.
    ///
    /// # Errors
    /// When the directory of the file cannot be written; then the state directory must be given on the
    /// command line to be found.
    pub fn leave_pointer(&self, file: &Path) -> io::Result<()> {
        let absolute = std::path::absolute(&self.directory)?;
        let content = absolute.to_string_lossy().into_owned();
        let pointer = pointer(file);
        if fs::read_to_string(&pointer).is_ok_and(|known| known == content) {
            return Ok(());
        }
        write_whole(&pointer, content.as_bytes())
    }

    /// Follows the word that [`Store::leave_pointer`] left.
    pub fn pointed_to_by(file: &Path) -> Option<PathBuf> {
        fs::read_to_string(pointer(file)).ok().map(|text| PathBuf::from(text.trim()))
    }
}

fn pointer(file: &Path) -> PathBuf {
    let name = file.file_name().map_or_else(|| "tidegate".into(), |name| name.to_string_lossy().into_owned());
    file.with_file_name(format!(".{name}.state"))
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The rename is not on disk before its directory is. The parent of a bare name is empty, not ".".
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::origin::Origin;

    fn kept(text: &str) -> Kept {
        let origin =
            Origin { cause: "api".into(), by: Some("ops".into()), reason: None, since: "now".into() };
        Kept::of(text, &origin, Some(blake3::hash(b"the file")))
    }

    #[test]
    fn what_was_kept_is_found_again_also_through_the_pointer() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(&home.path().join("state")).expect("made");
        assert_eq!(store.last_good(), None);
        store.keep("one", &kept("one")).expect("kept");
        store.keep("two", &kept("two")).expect("kept");
        assert_eq!(store.last_good().as_deref(), Some("two"));
        assert_eq!(store.origin(), Some(kept("two")));
        let file = home.path().join("gateway.toml");
        assert_eq!(Store::pointed_to_by(&file), None);
        store.leave_pointer(&file).expect("left");
        assert_eq!(Store::pointed_to_by(&file).as_deref(), Some(store.directory()));
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_and_no_panic() {
        let store = Store::at(Path::new("/nonexistent/tidegate"));
        assert!(store.keep("x", &kept("x")).is_err());
        assert_eq!(store.origin(), None);
        assert_eq!(store.last_good(), None);
    }
}
