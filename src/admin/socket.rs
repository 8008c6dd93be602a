//! `state_dir/admin.sock`: the operators' door that needs no token, for its owner and root.
#![expect(clippy::disallowed_methods, reason = "once at start, before anybody is served")]

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// The socket's name in the state directory.
pub const SOCKET_NAME: &str = "admin.sock";

/// Binds the socket, mode 0600, in place of one that an earlier process left. Nobody else can connect at any
/// moment: it is bound inside a directory that only the owner can enter, and moved out when it is closed to
/// others.
///
/// # Errors
/// If the directory cannot be written to, or the path is too long for a socket.
pub fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    let nursery = Nursery::new(state_dir)?;
    let path = nursery.0.join("s");
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    std::fs::rename(&path, state_dir.join(SOCKET_NAME))?;
    Ok(listener)
}

/// A directory of mode 0700, gone when dropped.
struct Nursery(PathBuf);

impl Nursery {
    fn new(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(format!(".sock-{}", std::process::id()));
        // Left by a process of the same number that was killed half way.
        let _ = std::fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Nursery(path))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_may_open_it_and_an_old_one_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = bind(dir.path()).expect("binds");
        drop(old);
        let listener = bind(dir.path()).expect("binds again");
        let path = dir.path().join(SOCKET_NAME);
        let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (dialled, accepted) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
        assert!(dialled.is_ok() && accepted.is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 1);
    }
}
