//! The keys that tokens are checked with cannot be fetched, or can again.

use super::stream::{Kind, Record};

/// What became of fetching a source's keys, when that changes.
#[derive(Clone, Copy, Debug)]
pub struct KeysFetched<'a> {
    source: &'a str,
    /// Why it failed, and how many keys are held from before; nothing when it succeeds again.
    failure: Option<(&'a str, usize)>,
}

impl<'a> KeysFetched<'a> {
    /// It failed for the first time since it succeeded.
    pub fn failed(source: &'a str, why: &'a str, held: usize) -> Self {
        KeysFetched { source, failure: Some((why, held)) }
    }

    /// It succeeds again.
    pub fn again(source: &'a str) -> Self {
        KeysFetched { source, failure: None }
    }

    /// Logs it.
    pub fn emit(self) {
        let source = self.source;
        let record = |message: String, what| {
            Record::new(Kind::Auth, message).with("what", what).with("source", source)
        };
        match self.failure {
            Some((error, held)) => {
                let then = match held {
                    0 => "there are none, and tokens cannot be checked".to_owned(),
                    held => format!("the last {held} stay in use"),
                };
                tracing::error!(source, error, held, "keys for tokens cannot be fetched; {then}");
                let message = format!("keys for tokens cannot be fetched from {source}: {error}; {then}");
                record(message, "keys_failed").with("error", error).with("keys", held).hand_on();
            }
            None => {
                tracing::info!(source, "keys for tokens are fetched again");
                record(format!("keys for tokens are fetched again from {source}"), "keys_fetched").hand_on();
            }
        }
    }
}
