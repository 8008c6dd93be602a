//! One attempt to tell one sink: a request on a connection of its own, under a deadline, with an answer of which no
//! more than a little is read. Whatever goes wrong is a sentence that holds nothing of the URL but its host.

use super::message::Message;
use super::pace::{Verdict, verdict};
use super::sender::Sender;
use super::{alertmanager, slack, webhook};
use crate::config::sinks::{Form, Sink};
use crate::control::target::Target;
use crate::upstream::call::{CallError, call};
use crate::upstream::discovery::Directory;
use crate::upstream::pem::Files;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of an answer that are read; more ends the exchange, and nothing of it is needed.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of an answer that may be told.
const MAX_WORD: usize = 40;
/// Where alerts go, below the URL of an Alertmanager.
const ALERTS: &str = "/api/v2/alerts";

const SIGNATURE: HeaderName = HeaderName::from_static("x-tidegate-signature");
const DELIVERY: HeaderName = HeaderName::from_static("x-tidegate-delivery");
const SCHEMA: HeaderName = HeaderName::from_static("x-tidegate-schema");

/// A sink, ready to be told.
#[derive(Debug)]
pub struct Line {
    pub(super) settings: Sink,
    target: Option<Target>,
    path: Uri,
    /// Which of its addresses; the next one after each failure.
    turn: AtomicUsize,
}

impl Line {
    /// To a sink. Never fails: what cannot be used is told when it is tried.
    pub(super) fn to(settings: Sink, directory: &Directory, files: &dyn Files) -> Self {
        let target = Target::at(settings.url.uri(), settings.ca.as_ref(), directory, files);
        let path = path_of(&settings);
        Line { settings, target, path, turn: AtomicUsize::new(0) }
    }

    /// Reads the files of whom it trusts again. Blocks.
    pub(super) fn renew_trust(&self) {
        self.target.iter().for_each(Target::renew_trust);
    }

    /// Tells it, within its time.
    pub(super) async fn tell(&self, message: &Message, sender: &Sender) -> Verdict {
        let timeout = self.settings.timeout;
        let told = tokio::time::timeout(timeout, self.attempt(message, sender)).await;
        let verdict = match told {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(why)) => Verdict::Later(why, None),
            Err(_) => Verdict::Later(format!("no answer within {timeout:?}"), None),
        };
        if verdict != Verdict::Taken {
            self.turn.fetch_add(1, Relaxed);
        }
        verdict
    }

    async fn attempt(&self, message: &Message, sender: &Sender) -> Result<Verdict, String> {
        let target = self.target.as_ref().ok_or("its URL names no server")?;
        let line = target.line(self.turn.load(Relaxed)).await?;
        let host = target.host.clone().ok_or("its name cannot be said in a header")?;
        let now = Timestamp::now();
        let request = self.request(message, sender, host, now)?;
        match call(&line, request, MAX_ANSWER).await {
            Ok(answer) => Ok(self.judge(&answer.response, now)),
            // What it did with it is not known; a webhook knows by the id whether it has seen it.
            Err(error @ CallError::TooLarge(_)) => Ok(Verdict::Later(error.to_string(), None)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn request(
        &self,
        message: &Message,
        sender: &Sender,
        host: HeaderValue,
        now: Timestamp,
    ) -> Result<Request<Full<Bytes>>, String> {
        let sender = sender.to(&self.settings);
        let body = match self.settings.form {
            Form::Webhook => webhook::body(message, &sender),
            Form::Slack => slack::body(message, &sender),
            Form::Alertmanager => alertmanager::body(message, &sender, now),
        };
        let mut request = Request::post(self.path.clone())
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .header(DELIVERY, &message.id);
        if let Some(authorization) = &self.settings.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if self.settings.form == Form::Webhook {
            request = request.header(SCHEMA, webhook::SCHEMA);
        }
        if let Some(secret) = &self.settings.secret {
            request = request.header(SIGNATURE, webhook::signature(&secret.0, &body, now));
        }
        request.body(Full::from(body)).map_err(|_| "its URL cannot be asked for".to_owned())
    }

    fn judge(&self, answer: &Response<Bytes>, now: Timestamp) -> Verdict {
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        verdict(answer.status(), after, now, word(answer.body()))
    }
}

/// The path of a sink, as it understands it.
fn path_of(settings: &Sink) -> Uri {
    let url = settings.url.uri();
    let given = url.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    if settings.form != Form::Alertmanager || url.path().ends_with(ALERTS) {
        return given;
    }
    format!("{}{ALERTS}", url.path().trim_end_matches('/')).parse().unwrap_or(given)
}

/// What a refusal says of itself, where that is one plain word or two, as Slack's are (`invalid_token`): anything else
/// may repeat what it was asked, and that is a secret.
fn word(body: &[u8]) -> Option<&str> {
    let word = std::str::from_utf8(body).ok()?.trim();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte == b' ';
    (!word.is_empty() && word.len() <= MAX_WORD && word.bytes().all(plain)).then_some(word)
}
