//! The state directory: what a boot and a rollback need as plain files, so that neither needs a database or the network
//! (promises 6 and 7). Every file is written whole: to a file beside it, synced, then renamed over it, so that a crash
//! leaves the old one or the new one. Two processes never write the same directory.
#![expect(clippy::disallowed_methods, reason = "on the threads that write the state directory, and at start")]

pub mod books;
pub mod disk;
pub mod ledger;
mod lock;
pub mod materials;
pub mod record;

use disk::Disk;
use lock::Lock;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a file at most: what is kept of a version, in base64.
const MAX_FILE: u64 = 96 << 20;
const ADDRESSES: &str = "addresses.json";
/// For the owner of the process only.
const PRIVATE: u32 = 0o600;

/// A state directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    lock: Arc<Lock>,
}

impl Store {
    /// Opens a state directory, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it. The gateway can run without, and then says that it is
    /// degraded; what cannot be written now is tried again.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let store = Store::at(directory);
        store.make().map(|()| store)
    }

    /// A state directory that may not be there; writes will say so.
    pub fn at(directory: &Path) -> Self {
        Store { directory: directory.to_owned(), lock: Arc::new(Lock::of(directory)) }
    }

    /// Makes the directory if it is not there, and takes it for this process.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        self.lock.take()
    }

    /// Takes it for this process, if it is there.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn lock(&self) -> io::Result<()> {
        self.lock.take()
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps another file of the state whole: a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn keep_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.write(name, content, false)
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
        self.write(ADDRESSES, content.to_string().as_bytes(), false)
    }

    /// Forgets the addresses of a process that is gone.
    pub fn forget_addresses(&self) {
        // Not there is as good as removed; and another process's addresses are not ours to forget.
        if self.lock.take().is_ok() {
            let _ = fs::remove_file(self.directory.join(ADDRESSES));
        }
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
        write_whole(&pointer, content.as_bytes(), 0o666)
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

impl Disk for Store {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(self.directory.join(name))?.take(MAX_FILE + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_FILE {
            return Err(io::Error::other(format!("{name} is larger than anything that is kept")));
        }
        Ok(content)
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.directory.join(folder)) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    fn write(&self, name: &str, content: &[u8], private: bool) -> io::Result<()> {
        self.lock.take()?;
        let path = self.directory.join(name);
        if let Some(folder) = path.parent().filter(|folder| *folder != self.directory) {
            let mode = if private { 0o700 } else { 0o777 };
            fs::DirBuilder::new().recursive(true).mode(mode).create(folder)?;
        }
        write_whole(&path, content, if private { PRIVATE } else { 0o666 })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock.take()?;
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn set_aside(&self, name: &str) {
        let path = self.directory.join(name);
        if self.lock.take().is_ok() {
            // What cannot be moved is written over; it was of no use.
            let _ = fs::rename(&path, path.with_extension("broken"));
        }
    }
}

/// `mode` is what the process's mask leaves of it.
fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    if mode == PRIVATE {
        // One that a crash left may have been made otherwise.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(PRIVATE))?;
    }
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_kept_is_found_again_also_through_the_pointer() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(&home.path().join("state")).expect("made");
        store.write("good/1.toml", b"one", false).expect("kept");
        store.write("good/1.toml", b"two", false).expect("kept");
        assert_eq!(
            (store.read("good/1.toml").ok(), store.list("good")),
            (Some(b"two".to_vec()), vec!["1.toml".into()])
        );
        store.remove("good/1.toml").expect("removed");
        store.remove("good/1.toml").expect("not there");
        let file = home.path().join("gateway.toml");
        assert_eq!(Store::pointed_to_by(&file), None);
        store.leave_pointer(&file).expect("left");
        assert_eq!(Store::pointed_to_by(&file).as_deref(), Some(store.directory()));
    }

    #[test]
    fn secrets_are_for_the_owner_only() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(home.path()).expect("made");
        fs::create_dir(home.path().join("secrets")).expect("made");
        fs::write(home.path().join("secrets/1.new"), "left by a crash").expect("written");
        fs::remove_dir_all(home.path().join("secrets")).expect("removed");
        store.write("secrets/1.json", b"hunter2", true).expect("kept");
        let mode =
            |name: &str| fs::metadata(home.path().join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode("secrets"), mode("secrets/1.json")), (0o700, 0o600));
    }

    #[test]
    fn a_directory_that_is_gone_or_another_process_s_is_an_error_and_no_panic() {
        let store = Store::at(Path::new("/nonexistent/tidegate"));
        assert!(
            store.keep_file("x", b"x").is_err() && store.read("x").is_err() && store.list("x").is_empty()
        );
        let home = tempfile::tempdir().expect("a directory");
        let _first = Store::open(home.path()).expect("free");
        let second = Store::open(home.path()).expect_err("taken");
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        let second = Store::at(home.path());
        assert!(second.keep_file("x", b"x").is_err());
        second.forget_addresses();
    }
}
