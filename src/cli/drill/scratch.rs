//! A folder of the drill's own: nobody else's to read, and gone when the drill is.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names that are tried before it gives up: another process may have left some.
const TRIES: u32 = 16;

/// The folder; removed with everything in it when dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one below the system's folder for such things.
    ///
    /// # Errors
    /// What the disk said.
    pub fn new() -> io::Result<Scratch> {
        let mut last = io::Error::other("no name was free");
        for _ in 0..TRIES {
            let name = format!("tidegate-drill-{}-{:08x}", std::process::id(), fastrand::u32(..));
            let path = std::env::temp_dir().join(name);
            // Its own or nobody's: a folder that somebody else made there is not used.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a file of it is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file of it whole.
    ///
    /// # Errors
    /// What the disk said.
    pub fn write(&self, name: &str, content: &str) -> io::Result<()> {
        // Beside it and renamed: whoever watches the file sees the old one or the new one.
        let new = self.file(&format!("{name}.new"));
        std::fs::write(&new, content)?;
        std::fs::rename(new, self.file(name))
    }

    /// Removes a file of it.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.file(name))
    }

    /// Reads a file of it, as far as it is text.
    pub fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.file(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_nobody_elses_and_leaves_nothing_behind() {
        let scratch = Scratch::new().expect("a folder");
        let path = scratch.path().to_owned();
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        scratch.write("a", "one").expect("written");
        scratch.write("a", "two").expect("and again");
        assert_eq!(scratch.read("a"), "two");
        scratch.remove("a").expect("removed");
        assert!(scratch.remove("a").is_err());
        drop(scratch);
        assert!(!path.exists());
    }
}
