//! Who is told what happens, as the file describes it: `[[notify]]`.
//!
//! These settings stand here and not in the control room because that room is above this one: it imports them. A URL
//! often is a secret by itself, so nothing of it but its host is ever shown.

use crate::filters::auth::settings::Secret;
use crate::telemetry::events::stream::Kind;
use http::{HeaderValue, Uri};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Sinks that a version may have.
pub const MAX_SINKS: usize = 16;

/// One of `[[notify]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// Its name in metrics.
    pub name: Arc<str>,
    /// What it understands.
    pub form: Form,
    /// Where it is.
    pub url: Url,
    /// What it wants to hear of.
    pub kinds: Vec<Kind>,
    /// It hears of whatever pages, of any kind.
    pub pages: bool,
    /// What a webhook's messages are signed with.
    pub secret: Option<Secret>,
    /// The `authorization` header.
    pub authorization: Option<HeaderValue>,
    /// For one attempt, from the dial to the end of the answer.
    pub timeout: Duration,
    /// How long more of the same is waited for before the first message.
    pub group_wait: Duration,
    /// Whom to trust there instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// As what Prometheus knows this gateway; nothing where that is the admin address.
    pub instance: Option<Arc<str>>,
    /// Where the runbook is; a chapter is linked to behind it.
    pub runbook: Arc<str>,
}

/// As one of `events`: whatever pages.
pub const PAGE: &str = "page";

impl Sink {
    /// Whether it is told of something of this kind, which may be worth a page.
    pub fn wants(&self, kind: Kind, is_page: bool) -> bool {
        self.kinds.contains(&kind) || (self.pages && is_page)
    }
}

/// What a sink understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON of our own, signed.
    Webhook,
    /// A text, as Slack and its likes take it.
    Slack,
    /// Alerts of Alertmanager's API v2.
    Alertmanager,
}

impl Form {
    /// By its word in the file.
    pub fn named(word: &str) -> Option<Form> {
        [Form::Webhook, Form::Slack, Form::Alertmanager].into_iter().find(|form| form.as_str() == word)
    }

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Form::Webhook => "webhook",
            Form::Slack => "slack",
            Form::Alertmanager => "alertmanager",
        }
    }
}

/// An absolute URL, http or https, of which only the host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// A text that is one, without a user's name in it.
    pub fn parse(text: &str) -> Option<Url> {
        let uri: Uri = text.parse().ok()?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        (known && plain && uri.host().is_some_and(|host| !host.is_empty())).then_some(Url(uri))
    }

    /// All of it, for whoever calls.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// What may be shown: host and port.
    pub fn host(&self) -> String {
        let host = self.0.host().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}/…)", self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_url_is_shown_but_its_host() {
        let url =
            Url::parse("https://hooks.example.com:8443/services/T0/B0/hunter2?token=hunter3").expect("a URL");
        assert_eq!(url.host(), "hooks.example.com:8443");
        assert!(!format!("{url:?}").contains("hunter"), "{url:?}");
    }

    #[test]
    fn what_is_no_url_of_a_sink_is_none() {
        for text in ["", "hooks.example.com", "ftp://x/", "https://", "https://ops:hunter2@x/"] {
            assert!(Url::parse(text).is_none(), "{text}");
        }
    }
}
