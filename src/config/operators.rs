//! The operators' door as the file describes it.
//!
//! These settings stand here and not in the admin room because that room is above this one: it imports them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The `[admin]` table.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the admin server listens.
    pub address: SocketAddr,
    /// History, last good, ramps, audit; the command line and the environment win over the file.
    pub state_dir: PathBuf,
    /// `state_dir/admin.sock`, 0600.
    pub socket: bool,
    /// Who may talk to it. Empty: loopback is admin.
    pub tokens: Vec<Token>,
    /// Blake3 hash (hex) of the token that `/metrics` asks for, if any.
    pub metrics_token: Option<String>,
}

#[cfg(test)]
impl Settings {
    /// A door on any free port, as the tests of this house have it: no state, no socket.
    pub fn of(tokens: Vec<Token>) -> Self {
        Settings {
            address: ([127, 0, 0, 1], 0).into(),
            state_dir: "/nowhere".into(),
            socket: false,
            tokens,
            metrics_token: None,
        }
    }
}

/// A token by its hash; the token itself is never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name in the audit.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Blake3 of the token, hex; `tidegate hash-token` makes it.
    pub hash: String,
}

/// What a caller may do; each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also ramps, drains, applies, aborts, rolls back, opens incidents.
    Operator,
    /// Also break-glass.
    Admin,
}

impl Role {
    /// The word in the file and in the audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// Without the hash, with which a weak token could be found by trying.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Without the hash, like [`Token`].
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { address, state_dir, socket, tokens, metrics_token } = self;
        f.debug_struct("Settings")
            .field("address", address)
            .field("state_dir", state_dir)
            .field("socket", socket)
            .field("tokens", tokens)
            .field("metrics_token", &metrics_token.is_some())
            .finish()
    }
}
