//! Everything that changes something, and every refusal, on its way into the audit: the one place that each request
//! passes, so that no handler can forget it (`design.md`, promise 10).
//!
//! Who asked is noted by the check at the door, what they wrote by the reader of bodies, what came of it is read from
//! the answer. A caller who leaves before the answer leaves a row all the same. The answer waits a moment for the row,
//! and says which it is in `x-tidegate-audit`; a disk that hangs is not waited for. What only reads leaves no row,
//! unless it was refused at the door.

mod deed;

use super::AdminState;
use super::access::Peer;
use super::caller::{Caller, Via};
use super::problem::{self, Told};
use crate::control::audit::{Audit, Entry};
use crate::control::history::{Receipt, Written};
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use deed::Deed;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Says which row of the audit an answer has, or that it has none yet.
const AUDIT: HeaderName = HeaderName::from_static("x-tidegate-audit");

/// How long an answer waits for its row.
const PATIENCE: Duration = Duration::from_millis(250);

/// Bodies that are looked into for the audit, in bytes; what is asked of levers is far smaller.
const MAX_NOTED: usize = 64 << 10;

/// What an answer did, for the audit. A handler that knows leaves it in the extensions of its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The version that it was about.
    pub version: Option<u64>,
    /// How dangerous that was.
    pub risk: Option<String>,
    /// What else is to be said.
    pub saying: Option<String>,
}

/// What is known of a request so far. In its extensions, and shared with the witness.
#[derive(Clone, Debug, Default)]
pub(super) struct Note(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    caller: Option<Caller>,
    is_refused: bool,
    /// The body, if it is JSON and small.
    body: Value,
}

impl Note {
    /// Who asks, as far as that is known, and whether they were let in.
    pub(super) fn caller(&self, caller: Option<Caller>, is_let_in: bool) {
        let mut noted = self.noted();
        (noted.caller, noted.is_refused) = (caller, !is_let_in);
    }

    /// What they wrote.
    pub(super) fn body(&self, body: &[u8]) {
        if body.len() <= MAX_NOTED {
            self.noted().body = serde_json::from_slice(body).unwrap_or_default();
        }
    }

    /// Nothing panics while it holds the lock.
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer around everything that answers.
pub(super) async fn witness(
    State(state): State<Arc<AdminState>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    // Not there in a process that is still starting, which nobody can ask yet.
    let Some(audit) = state.sources.audit.get() else { return next.run(request).await };
    let note = Note::default();
    request.extensions_mut().insert(note.clone());
    let deed = Deed::of(request.method(), request.uri());
    let mut witness = Witness { audit: audit.clone(), deed, peer, note, is_over: false };
    let mut response = next.run(request).await;
    if let Some(receipt) = witness.saw(&response) {
        let told = said(audit, receipt).await;
        response.headers_mut().insert(AUDIT, told);
    }
    response
}

/// The number of the row, if that comes soon.
async fn said(audit: &Audit, receipt: Receipt) -> HeaderValue {
    let patience = if audit.is_held_up() { Duration::ZERO } else { PATIENCE };
    match receipt.within(patience).await {
        Written::Recorded(seq) => HeaderValue::from(seq),
        Written::Unrecorded(_) => HeaderValue::from_static("unrecorded"),
    }
}

/// Sees one request to its end.
struct Witness {
    audit: Audit,
    deed: Deed,
    peer: Peer,
    note: Note,
    /// There is a row, or none is needed.
    is_over: bool,
}

impl Witness {
    /// There is an answer. The receipt of its row, if it has one of its own.
    fn saw(&mut self, response: &Response) -> Option<Receipt> {
        self.is_over = true;
        let status = response.status();
        let is_stranger = {
            let noted = self.note.noted();
            if self.deed.only_reads && !noted.is_refused {
                return None;
            }
            // A page in somebody's browser is not that somebody.
            noted.caller.as_ref().is_none_or(|caller| noted.is_refused && caller.via != Via::Token)
        };
        let told = response.extensions().get::<Told>();
        let effect = response.extensions().get::<Effect>().cloned().unwrap_or_default();
        let mut entry = self.entry();
        entry.version = effect.version.or(entry.version);
        entry.risk = effect.risk;
        let why = || match told {
            Some(Told { reason, detail }) => format!("{reason}: {detail}"),
            None => problem::word(status).to_owned(),
        };
        if status.is_server_error() && told.is_none() {
            let entry = entry.failed(format!("{}; it may have been done all the same", why()));
            return Some(self.audit.append(entry));
        }
        if status.is_client_error() || status.is_server_error() {
            return self.audit.refuse(entry.refused(why()), is_stranger);
        }
        entry.why = effect.saying;
        if status == StatusCode::ACCEPTED && entry.why.is_none() {
            entry.why = Some("accepted; it goes on".to_owned());
        }
        Some(self.audit.append(entry))
    }

    /// What is known of it.
    fn entry(&self) -> Entry {
        let noted = self.note.noted();
        let (actor, role) = match &noted.caller {
            Some(caller) => (&*caller.name, caller.role.as_str()),
            None => ("anonymous", ""),
        };
        let mut entry = Entry::new(actor, self.deed.action(&noted.body)).from(role, address(self.peer));
        self.deed.describe(&noted.body, &mut entry);
        entry
    }
}

impl Drop for Witness {
    /// The caller left, or the handler fell: what was begun may go on.
    fn drop(&mut self) {
        if !self.is_over && !self.deed.only_reads {
            let entry =
                self.entry().failed("the caller left before the answer; it may have been done all the same");
            self.audit.append(entry);
        }
    }
}

/// Where somebody came from.
fn address(peer: Peer) -> String {
    match peer {
        Peer::Tcp(address) => address.ip().to_canonical().to_string(),
        Peer::Socket(Some(user)) => format!("socket (user {user})"),
        Peer::Socket(None) => "socket".to_owned(),
    }
}

#[cfg(test)]
mod tests;
