//! The request as the backend gets it: what must not pass is gone, what backends need to know is there, and the
//! target is the normalised one. Then it is sent.

use crate::admission::samples::{Awaited, Head};
use crate::admission::{Granted, RouteGate};
use crate::balancing::verdict::Verdict;
use crate::balancing::{self, Seated, Sent};
use crate::filters::auth::verdict::Passed;
use crate::filters::fields::Fields;
use crate::filters::{cookies, forwarded, framing, hop_by_hop};
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::routing::view::Chosen;
use crate::server::arrival::{self, bad};
use crate::server::auth;
use crate::server::client::Client;
use crate::server::interim;
use crate::server::record::Record;
use crate::server::upgrade::Upgrade;
use crate::upstream::onward::Onward;
use crate::upstream::progress::{Judged, Patience, Progress};
use crate::upstream::request_body::{Ended, RequestBody};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout_at;

/// How long at least a client that has ended its side of the connection may wait for its answer.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// What changes in a request's head beside what always does.
pub struct Edits<'a> {
    /// What is asked for, if it differs from what came.
    pub target: Option<Uri>,
    /// The protocol that it may switch to.
    pub upgrade: Option<&'a Upgrade>,
    /// Whose forwarding headers are believed.
    pub trusted: &'a forwarded::TrustedProxies,
    /// As whom it passes.
    pub passed: Option<&'a Passed>,
}

/// Cheap changes, in their fixed order: what must not pass goes first, so that a route's own edits stand.
pub fn on_request(
    client: &Client,
    (parts, fields): (&mut Parts, Fields),
    chosen: &Chosen,
    edits: Edits<'_>,
) -> Result<(), Reject> {
    let Edits { target, upgrade, trusted, passed } = edits;
    hop_by_hop::request(&mut parts.headers, fields, upgrade.map(Upgrade::protocol))?;
    if parts.version == Version::HTTP_2 {
        cookies::join(&mut parts.headers);
    }
    let named = parts.uri.authority().map(|authority| HeaderValue::try_from(authority.as_str()));
    let named = named.transpose().map_err(|_| bad("the host name is malformed"))?;
    client.hop.apply(&mut parts.headers, fields, named.as_ref(), trusted);
    if let Some(host) = named {
        parts.headers.insert(HOST, host);
    }
    if let Some(target) = target {
        parts.uri = target;
    }
    auth::sign(&mut parts.headers, fields, chosen, passed);
    chosen.route().settings.filters.request_headers.apply(&mut parts.headers);
    Ok(())
}

/// The target to forward, if it differs from what came: the normalised path, without the route's prefix, and
/// the query as it was.
pub fn target(uri: &Uri, path: Cow<'_, str>, strip: Option<&str>) -> Result<Option<Uri>, Reject> {
    let stripped = strip.and_then(|prefix| path.strip_prefix(prefix.trim_end_matches('/')));
    if stripped.is_none() && matches!(path, Cow::Borrowed(_)) && uri.authority().is_none() {
        return Ok(None);
    }
    let path = stripped.unwrap_or(&path);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = match uri.query() {
        Some(query) => format!("{slash}{path}?{query}"),
        None => format!("{slash}{path}"),
    };
    let target = PathAndQuery::try_from(text).map_err(|_| bad("the path is malformed"))?;
    Ok(Some(Uri::from(target)))
}

/// A declared length beyond the bound is refused before anything is sent; a streamed one when it happens.
pub fn check_length(parts: &Parts, body: &Incoming, max: u64) -> Result<(), Reject> {
    let declared =
        || parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match body.size_hint().exact().or_else(declared) {
        Some(length) if length > max => {
            Err(Reject::new(Reason::BodyTooLarge, "the request's body is too large"))
        }
        _ => Ok(()),
    }
}

/// A request's body on its way out, and how the exchange gets on.
pub struct Outgoing {
    /// What is sent after the head.
    pub body: RequestBody,
    progress: Rc<Progress>,
    /// It must not be asked for before the backend can answer: the client may wait for that, or for leave to send.
    at_once: bool,
}

/// Begins the exchange: from now on the core's tick looks after it, and the record knows how it gets on.
pub fn outgoing(
    client: &Client,
    gate: &RouteGate,
    chosen: &Chosen,
    parts: &Parts,
    body: Incoming,
    record: &mut Record,
) -> Outgoing {
    let settings = &chosen.route().settings;
    let call = is_call(parts);
    let patience = Patience {
        body_idle: settings.body_idle,
        ends: settings.max_duration.map(|bound| record.started + bound),
        after_leave: match settings.streaming {
            false => gate.zombie_limit().max(HALF_CLOSED),
            // Nobody ends their side and goes on listening to a stream; their places are wanted by others.
            true => HALF_CLOSED,
        },
        judged: match (settings.streaming, call) {
            (true, _) => Judged::Nobody,
            (_, true) => Judged::Download,
            _ => Judged::All,
        },
    };
    let progress = Rc::new(Progress::new(client.station.clock.clone(), patience));
    client.watch(&progress);
    record.progress = Some(progress.clone());
    let max_body = settings.filters.max_body;
    let mut body = RequestBody::streamed(body, progress.clone(), max_body, &client.station.memory);
    body.without(&chosen.table().auth_headers);
    let mut at_once = settings.streaming || call;
    if !at_once && !body.is_empty() && interim::expected(parts) {
        let right = gate.expect();
        at_once = right.is_some();
        right.into_iter().for_each(|right| body.expect(right));
    }
    Outgoing { body, progress, at_once }
}

impl Outgoing {
    /// Waits for the beginning of the body, so that a client that drips holds nothing of the upstream.
    ///
    /// # Errors
    /// 408 when the client keeps it waiting, 413 when it is too large, 503 when there is no memory to keep it.
    pub async fn gather(
        &mut self,
        client: &Client,
        chosen: &Chosen,
        deadline: Deadline,
    ) -> Result<(), Reject> {
        if self.at_once || self.body.is_empty() {
            return Ok(());
        }
        let gathered = timeout_at(deadline.at.into(), self.body.gather()).await;
        // What is left of the body is not worth waiting for.
        gathered.unwrap_or(Err(Ended(Reason::RequestTimeout))).map_err(|Ended(reason)| match reason {
            Reason::Memory => arrival::no_memory(client, chosen).closing(),
            _ => Reject::new(reason, explain(reason)).closing(),
        })
    }
}

/// A gRPC call: either side may speak first, and be silent for long.
fn is_call(parts: &Parts) -> bool {
    if parts.version != Version::HTTP_2 {
        return false;
    }
    let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let grpc = content_type.and_then(|value| value.strip_prefix(b"application/grpc"));
    grpc.is_some_and(|rest| !rest.starts_with(b"-"))
}

fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::ClientTooSlow => "the request's body came too slowly",
        Reason::RequestTimeout => "the request's body took longer than the route waits for an answer",
        Reason::BodyTooLarge => "the request's body is too large",
        _ => "the request's body did not come to its end",
    }
}

/// The request with its body, ready to be sent; its interim answers find the client. On the heap, because it is
/// handed on through many hands.
pub fn request(
    client: &Client,
    mut parts: Parts,
    mut outgoing: Outgoing,
) -> (Box<Request<RequestBody>>, Rc<Progress>) {
    let interim = interim::listen(client, &mut parts, &mut outgoing.body);
    let mut request = Box::new(Request::from_parts(parts, outgoing.body));
    interim.attach(&mut request);
    (request, outgoing.progress)
}

/// Sends the request with its permits, and writes down who answered and when.
///
/// # Errors
/// What the last try ended with.
pub async fn send(
    client: &Client,
    gate: &RouteGate,
    (request, progress): (Box<Request<RequestBody>>, Rc<Progress>),
    granted: Granted,
    (record, times): (&mut Record, (Deadline, Onward)),
) -> Result<Sent<Granted>, Reject> {
    record.entry.iter().for_each(|entry| entry.sends(&progress));
    // Who was tried, for the log, should nobody answer.
    record.backend = Some(granted.place().backend().settings.name.clone());
    let is_stream = granted.is_stream();
    let awaited = (!is_stream).then(|| gate.awaits(&progress, client.station.clock.coarse()));
    let sent = balancing::send(&client.station.exchanges, &progress, request, granted, times).await;
    awaited.into_iter().for_each(Awaited::over);
    let sent = match sent {
        Ok(sent) => sent,
        Err(reject) => {
            if !is_stream {
                gate.failed(reject.reason, times.0, &progress);
            }
            return Err(reject);
        }
    };
    let took = sent.ended - sent.began;
    if !is_stream {
        let head = Head { status: sent.response.status(), began: sent.began, ended: sent.ended };
        gate.answered(head, &progress);
    }
    record.relayed();
    record.broke = matches!(Verdict::of(&sent.response), Verdict::Failed(_));
    if sent.retries > 0 {
        record.backend = Some(sent.backend().settings.name.clone());
    }
    record.upstream = Some(took);
    record.retries = sent.retries;
    Ok(sent)
}

/// The answer as the client gets it.
///
/// # Errors
/// `bad_response` when it does not say clearly where it ends.
pub fn on_response(chosen: &Chosen, sent: &mut Sent<Granted>) -> Result<(), Reject> {
    let headers = sent.response.headers_mut();
    if let Err(reject) = framing::check(headers) {
        // Dropped without a word it would look as if the client had left.
        sent.exchange.end(reject.reason);
        return Err(reject);
    }
    hop_by_hop::response(headers, None);
    chosen.route().settings.filters.response_headers.apply(headers);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::normalise;

    #[test]
    fn a_target_is_rewritten_only_where_it_must_be() {
        let of = |uri: &'static str, strip| {
            let uri = Uri::from_static(uri);
            let normal = normalise(uri.path()).expect("a path").path.into_owned();
            let path = if normal == uri.path() { Cow::Borrowed(uri.path()) } else { Cow::Owned(normal) };
            target(&uri, path, strip).expect("a target").map(|target| target.to_string())
        };
        assert_eq!(of("/orders/1?q=%2F", None), None);
        assert_eq!(of("//orders//1?q", None).as_deref(), Some("/orders/1?q"));
        assert_eq!(of("http://a.example/orders?q", None).as_deref(), Some("/orders?q"));
        assert_eq!(of("/orders/1?q", Some("/orders")).as_deref(), Some("/1?q"));
        assert_eq!(of("/orders", Some("/orders")).as_deref(), Some("/"));
    }
}
