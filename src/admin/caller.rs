//! Who asks: a name, what they may do, and the way they came. Handlers find it as an extension of the request.

use super::settings::Role;
use std::fmt;
use std::sync::Arc;

/// Whoever made a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name; `loopback` where there are no tokens, `socket` through the socket.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// How they came.
    pub via: Via,
}

/// How a caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By a token.
    Token,
    /// From loopback, where there are no tokens.
    Loopback,
    /// Through the socket; with the user's number, if the system said it.
    Socket(Option<u32>),
    /// Not known, at a path that is open to everyone.
    Nothing,
}

impl Caller {
    pub(super) fn new(name: impl Into<Arc<str>>, role: Role, via: Via) -> Self {
        Caller { name: name.into(), role, via }
    }

    /// Somebody at a path that is open to everyone.
    pub(super) fn anyone() -> Self {
        Caller::new("anyone", Role::Viewer, Via::Nothing)
    }
}

/// As the author of a change: the name, and the user of the socket.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Via::Socket(Some(user)) = self.via {
            write!(f, " (user {user})")?;
        }
        Ok(())
    }
}
