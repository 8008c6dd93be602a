//! A service that judges requests falls silent, or answers again.

use super::stream::{Kind, Record};
use std::time::Duration;

/// Whether a service that judges answers at all.
#[derive(Clone, Copy, Debug)]
pub struct AuthSilence<'a> {
    auth: &'a str,
    upstream: &'a str,
    /// How long it was waited for in vain; nothing when it answers again.
    waited: Option<Duration>,
}

impl<'a> AuthSilence<'a> {
    /// It has not answered a single question for so long.
    pub fn began(auth: &'a str, upstream: &'a str, waited: Duration) -> Self {
        AuthSilence { auth, upstream, waited: Some(waited) }
    }

    /// It answers again.
    pub fn ended(auth: &'a str, upstream: &'a str) -> Self {
        AuthSilence { auth, upstream, waited: None }
    }

    /// Logs it.
    pub fn emit(self) {
        let AuthSilence { auth, upstream, waited } = self;
        let record = |message: String, what| {
            Record::new(Kind::Auth, message).with("what", what).with("auth", auth).with("upstream", upstream)
        };
        match waited {
            Some(waited) => {
                let timeout_ms = waited.as_millis() as u64;
                tracing::error!(
                    auth,
                    upstream,
                    timeout_ms,
                    "auth is silent: no answer within its timeout; requests are judged by on_error without waiting"
                );
                let message = format!("{auth} is silent: {upstream} answered nothing for {timeout_ms} ms");
                record(message, "silent").with("timeout_ms", timeout_ms).hand_on();
            }
            None => {
                tracing::info!(auth, upstream, "auth answers again");
                record(format!("{auth} answers again"), "answers").hand_on();
            }
        }
    }
}
