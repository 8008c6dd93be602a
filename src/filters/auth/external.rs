//! A service that judges, asked through the gate of its own upstream: one exchange without a body, within a deadline
//! that bounds the wait for the gate, the exchange and the reading of its answer together.
//!
//! 2xx lets pass, 401 and 403 refuse; anything else decides nothing, also an answer that is too large or not whole.
//! What is left of a question whose time is over stays a zombie of its upstream, like any other request.

use crate::admission::samples::Head;
use crate::admission::{Granted, RouteGate};
use crate::balancing::{self, Sent};
use crate::filters::auth::ask::{self, Question};
use crate::filters::auth::decisions::Keep;
use crate::filters::auth::settings::External;
use crate::filters::auth::verdict::{Decision, Identity, Outcome, Passed, Refused, Undecided};
use crate::filters::auth::{Auth, Lent};
use crate::filters::framing;
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::telemetry::events::AuthSilence;
use crate::upstream::answer::{Answer, Tail};
use crate::upstream::download::Manner;
use crate::upstream::onward::Onward;
use crate::upstream::progress::{Judged, Patience, Progress};
use crate::upstream::request_body::RequestBody;
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// Bytes of an answer's body that are read at most; nobody looks at them.
const MOST_BODY: usize = 64 * 1024;
/// Bytes of headers that a decision tells at most.
const MOST_TOLD: usize = 8 * 1024;

const BROKEN: Undecided = Undecided::Failed("the service that judges requests did not answer properly");

/// Asks, and says whether others may use the answer too.
pub async fn ask(
    auth: &Auth,
    external: &External,
    gate: &Rc<RouteGate>,
    question: &Question<'_>,
    lent: &Lent<'_>,
    deadline: Deadline,
) -> (Outcome, Keep) {
    match answer(auth, external, gate, question, lent, deadline).await {
        Ok(answer) => decide(auth, external, &answer),
        Err(why) => (Err(why), Keep::Not),
    }
}

/// The service's answer, whole; of its body nothing is kept.
async fn answer(
    auth: &Auth,
    external: &External,
    gate: &Rc<RouteGate>,
    question: &Question<'_>,
    lent: &Lent<'_>,
    deadline: Deadline,
) -> Result<Response<()>, Undecided> {
    let (breaker, timeout) = (&auth.known.breaker, auth.settings.timeout);
    let turn = breaker.turn(Instant::now(), timeout).ok_or(Undecided::Silent)?;
    let mut granted = gate.admit(deadline.at, lent.holder.client).await.map_err(not_asked)?;
    granted.held_since(lent.holder.since);
    let progress = Rc::new(Progress::new(lent.clock.clone(), patience(gate, timeout)));
    let request = request(external, question).ok_or(BROKEN)?;
    // The service is told nothing of what the client said about time: its own is shorter.
    let until = (deadline, Onward::default());
    let awaited = gate.awaits(&progress, lent.clock.coarse());
    let sent = balancing::send(lent.exchanges, &progress, request, granted, until).await;
    awaited.over();
    let result = match sent {
        Ok(sent) => {
            let head = Head { status: sent.response.status(), began: sent.began, ended: sent.ended };
            gate.answered(head, &progress);
            if breaker.answered() {
                AuthSilence::ended(&auth.settings.name, &external.upstream).emit();
            }
            read(sent, &progress, deadline).await
        }
        Err(reject) => {
            gate.failed(reject.reason, deadline, &progress);
            Err(failed(&reject))
        }
    };
    if matches!(result, Err(Undecided::Timeout))
        && !deadline.by_client
        && breaker.timed_out(turn, Instant::now(), timeout)
    {
        AuthSilence::began(&auth.settings.name, &external.upstream, timeout).emit();
    }
    result
}

/// The question has no body and its answer goes to nobody, so only its deadline counts.
fn patience(gate: &RouteGate, timeout: Duration) -> Patience {
    Patience { body_idle: timeout, ends: None, after_leave: gate.zombie_limit(), judged: Judged::Nobody }
}

fn request(external: &External, question: &Question<'_>) -> Option<Box<Request<RequestBody>>> {
    let mut request = Box::new(Request::new(RequestBody::empty()));
    *request.uri_mut() = Uri::from(external.path.clone());
    *request.headers_mut() = ask::headers(external, question)?;
    Some(request)
}

/// Our own gate refused: the service has not heard of it. Where it has no backend at all the gate is not what is
/// full.
fn not_asked(reject: Reject) -> Undecided {
    match reject.reason {
        Reason::ClientAborts => Undecided::Aborts(reject.retry_after),
        Reason::NoBackend => Undecided::Failed("the service that judges requests is not there"),
        _ => Undecided::Overload,
    }
}

fn failed(reject: &Reject) -> Undecided {
    match reject.reason {
        Reason::Timeout => Undecided::Timeout,
        reason if reason.is_shed() && reason != Reason::NoBackend => Undecided::Overload,
        _ => BROKEN,
    }
}

/// Reads the answer to its end, so that its connection can be used again.
async fn read(
    mut sent: Sent<Granted>,
    progress: &Rc<Progress>,
    deadline: Deadline,
) -> Result<Response<()>, Undecided> {
    let sound = framing::check(sent.response.headers_mut()).is_ok();
    if !sound || sent.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        sent.exchange.end(Reason::BadResponse);
        return Err(BROKEN);
    }
    let (parts, incoming): (_, Incoming) = sent.response.into_parts();
    let mut body = Answer::relay(incoming, sent.exchange, Manner::AsItComes, Unheard);
    let whole = timeout_at(deadline.at.into(), is_whole(&mut body)).await;
    // Said before it is dropped, or it would look as if a client had left.
    match whole {
        Ok(true) => Ok(Response::from_parts(parts, ())),
        Ok(false) => {
            progress.end(Reason::BadResponse);
            Err(Undecided::Failed("the answer of the service that judges requests is not whole or too large"))
        }
        Err(_) => {
            progress.end(Reason::Timeout);
            Err(Undecided::Timeout)
        }
    }
}

async fn is_whole(body: &mut Answer<Granted, Unheard>) -> bool {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > MOST_BODY {
            return false;
        }
    }
    true
}

/// Nobody waits for the end of this answer.
struct Unheard;

impl Tail for Unheard {
    fn delivered(&mut self) {}
    fn trailers(&mut self) {}
}

/// What the answer says.
fn decide(auth: &Auth, external: &External, answer: &Response<()>) -> (Outcome, Keep) {
    let (status, headers) = (answer.status(), answer.headers());
    let reason = match status {
        status if status.is_success() => None,
        StatusCode::UNAUTHORIZED => Some(Reason::Unauthenticated),
        StatusCode::FORBIDDEN => Some(Reason::Forbidden),
        _ => return (Err(BROKEN), Keep::Not),
    };
    let names = if reason.is_some() { &external.refusal_headers } else { &external.copy_headers };
    let Some(told) = told(headers, names) else {
        let detail = "the service that judges requests told more than a decision may";
        return (Err(Undecided::Failed(detail)), Keep::Not);
    };
    let decision = match reason {
        Some(reason) => Decision::Refused(Arc::new(Refused { reason, headers: told.into() })),
        None => {
            let subject = external.subject_header.as_ref().and_then(|name| headers.get(name)?.to_str().ok());
            let subject = subject.filter(|subject| subject.len() <= MOST_SUBJECT).map(Arc::from);
            let identity = Identity { auth: auth.settings.name.clone(), subject };
            Decision::Passed(Arc::new(Passed { identity, headers: told, class: None }))
        }
    };
    (Ok(decision), keep(headers))
}

/// Bytes of a subject at most: it is written into every access line.
const MOST_SUBJECT: usize = 256;

/// The headers of these names, unless they are too much.
fn told(headers: &HeaderMap, names: &[HeaderName]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let values = names.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    let told: Vec<_> = values.map(|(name, value)| (name.clone(), value.clone())).collect();
    let bytes: usize = told.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (bytes <= MOST_TOLD).then_some(told)
}

/// What the service says about keeping its answer (RFC 9111, 5.2.2).
fn keep(headers: &HeaderMap) -> Keep {
    let mut keep = Keep::AsSet;
    let lines = headers.get_all(CACHE_CONTROL).iter();
    for directive in
        lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    {
        let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (&directive[..at], &directive[at + 1..]),
            None => (directive, &[][..]),
        };
        if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-cache") {
            return Keep::Not;
        }
        if name.eq_ignore_ascii_case(b"max-age") {
            let text = std::str::from_utf8(value).unwrap_or_default().trim_matches('"');
            // What cannot be read is no reason to keep it.
            let age = Duration::from_secs(text.parse().unwrap_or(0));
            keep = match keep {
                Keep::AtMost(known) => Keep::AtMost(known.min(age)),
                _ => Keep::AtMost(age),
            };
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(lines: &[&'static str]) -> Keep {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        keep(&headers)
    }

    #[test]
    fn what_the_service_says_about_keeping_is_obeyed() {
        let at_most = |seconds| Keep::AtMost(Duration::from_secs(seconds));
        for (lines, expected) in [
            (&[][..], Keep::AsSet),
            (&["private, must-revalidate"], Keep::AsSet),
            (&["private, max-age=5"], at_most(5)),
            (&["MAX-AGE=\"7\""], at_most(7)),
            (&["max-age=9", "max-age=3"], at_most(3)),
            (&["max-age=9", "No-Store"], Keep::Not),
            (&["no-cache"], Keep::Not),
            (&["max-age=soon"], at_most(0)),
            (&["max-age=-1"], at_most(0)),
            (&["s-maxage=1,,"], Keep::AsSet),
        ] {
            assert_eq!(with(lines), expected, "{lines:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_service_says_a_decision_is_kept_no_longer_for_it(
            lines in proptest::collection::vec("[ -~\u{80}-\u{ff}]{0,40}|max-age=[0-9]{0,25}", 0..4),
        ) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(CACHE_CONTROL, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
            }
            let first = keep(&headers);
            headers.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            prop_assert_eq!(keep(&headers), Keep::Not);
            prop_assert!(first == Keep::AsSet || lines.iter().any(|line| !line.is_empty()));
        }
    }

    #[test]
    fn a_decision_tells_no_more_than_it_may() {
        let name = HeaderName::from_static("x-user");
        let mut headers = HeaderMap::new();
        headers.append(&name, HeaderValue::from_static("ada"));
        headers.append("x-other", HeaderValue::from_static("not asked for"));
        let ada = vec![(name.clone(), HeaderValue::from_static("ada"))];
        assert_eq!(told(&headers, std::slice::from_ref(&name)), Some(ada));
        headers.append(&name, HeaderValue::try_from("x".repeat(MOST_TOLD)).expect("a value"));
        assert_eq!(told(&headers, &[name]), None);
    }
}
