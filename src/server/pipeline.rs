//! The walk: one function, top to bottom. What a request meets, in which order, is decided here and nowhere
//! else. Around it, `handle` never fails: every refusal, failure or panic becomes an answer with a reason.

use crate::admission::{Granted, RouteGate};
use crate::balancing::Sent;
use crate::filters::fields::Fields;
use crate::filters::{deadline, forwarded};
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::routing::view::{Chosen, Views};
use crate::server::arrival::{self, Arrival};
use crate::server::client::Client;
use crate::server::ledger::Entry;
use crate::server::record::{Pending, Record};
use crate::server::upgrade::Upgrade;
use crate::server::{auth, departure, own, unread, upgrade};
use crate::upstream::answer::Answer;
use crate::upstream::download::Manner;
use crate::upstream::progress::{Judged, Patience, Progress, Waiting};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

/// The body of everything that clients are answered with.
pub type EdgeBody = Answer<Granted, Pending>;

/// Bytes that an HTTP/2 client's stream is given at once at most: the engine asks for more as soon as the window is
/// open by one byte, and keeps what does not fit where no budget sees it.
const PIECE: usize = 16 * 1024;

/// What the walk ends with when nobody objects.
enum Outcome {
    /// The gateway's own words.
    Own(Response<Bytes>),
    /// A backend's.
    Relay(Box<Sent<Granted>>),
}

/// Answers one request, whatever happens.
pub async fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<EdgeBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    let views = client.station.views();
    let record = Record::begin(&client, &parts, &views.stable().table);
    let asked = Asked::of(&parts);
    let mut pending = Pending::new(record);
    let walked = caught(pin!(walk(&client, &views, (parts, asked.fields), &mut body, &mut pending))).await;
    let outcome = walked.unwrap_or_else(|| {
        client.station.shared.metrics.process().panicked(client.station.core);
        Err(Reject::new(Reason::Internal, "the gateway failed on this request"))
    });
    if let Some(unread) = body.filter(|_| !asked.fields.has(Fields::EXPECT)) {
        unread::drain(unread);
    }
    Ok(conclude(&client, &asked, outcome, pending))
}

/// Nothing if the walk panicked. Unwinding has released what it held, so the other requests of this core never
/// notice. The walk stays where it is: it is thousands of bytes, and every move would copy them.
async fn caught<T>(mut walk: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| walk.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// What the answer must know of the request after the walk has taken it apart.
struct Asked {
    fields: Fields,
    grpc: bool,
    http1: bool,
    http10: bool,
}

impl Asked {
    fn of(parts: &Parts) -> Self {
        let fields = Fields::of(&parts.headers);
        let content_type = fields.get(Fields::CONTENT_TYPE, &parts.headers, &CONTENT_TYPE);
        let content_type = content_type.map(HeaderValue::as_bytes);
        Asked {
            fields,
            grpc: content_type.is_some_and(|value| value.starts_with(b"application/grpc")),
            http1: parts.version < Version::HTTP_2,
            http10: parts.version == Version::HTTP_10,
        }
    }
}

async fn walk(
    client: &Rc<Client>,
    views: &Views,
    (mut parts, fields): (Parts, Fields),
    body: &mut Option<Incoming>,
    pending: &mut Pending,
) -> Result<Outcome, Reject> {
    let record = pending.record().ok_or_else(|| Reject::new(Reason::Internal, "no record"))?;
    // Who the client is decides which version serves it, so that is the stable version's to say.
    arrival::identify(client, &mut parts, record, &views.stable().table.trusted_proxies);
    let view = client.station.choose(views, record.client_ip, &parts.headers);
    let table = &view.table;
    record.version = table.number;
    // The permit comes before all that costs something; its refusal waits for the route's name.
    let part = table.guest.as_ref().map(|guest| &guest.requests);
    record.permit = client.station.shared.process.enter(table.max_in_flight, part);
    record.sign_in();

    let arrival = Arrival::read(client, &parts.uri, &parts, fields)?;
    if let Some(answer) = arrival.redirected(client, &parts) {
        return Ok(Outcome::Own(answer));
    }
    let chosen = arrival.choose(client, view, &parts, record)?;
    record.entry.iter().for_each(|entry| entry.chose(&chosen));
    arrival::check_memory(client, &chosen)?;
    arrival::check_cpu(client, &chosen)?;
    arrival::check_secret(client, &chosen)?;
    let settings = &chosen.route().settings;
    if let Some(gate) = chosen.gate() {
        gate.choose(record.client_ip, &parts.headers)?;
    }
    let (times, trusted) = ((record.started, settings.timeout), &table.trusted_proxies);
    let is_trusted = || trusted.trusts(client.peer.ip());
    let (deadline, onward) = deadline::read(times, &mut parts.headers, fields, is_trusted)?;
    record.hurried = deadline.by_client;
    let path = arrival.into_path();
    let passed = auth::pass(client, &chosen, (&parts, &path), record, deadline).await?;
    record.passed.clone_from(&passed);
    if let Some(answer) = own::answer(&settings.action, &parts, client.tls.is_some()) {
        return Ok(Outcome::Own(answer));
    }

    let (Some(gate), Some(incoming)) = (chosen.gate_of(record.class()), body.as_ref()) else {
        return Err(Reject::new(Reason::Internal, "a route without a gate"));
    };
    let target = departure::target(&parts.uri, path, settings.filters.strip_prefix.as_deref())?;
    let upgrade = Upgrade::wanted(&parts, fields).filter(|_| incoming.is_end_stream());
    let edits = departure::Edits { target, upgrade: upgrade.as_ref(), trusted, passed: passed.as_deref() };
    departure::on_request(client, (&mut parts, fields), &chosen, edits)?;
    departure::check_length(&parts, incoming, settings.filters.max_body)?;

    let Some(incoming) = body.take() else { return Err(Reject::new(Reason::Internal, "no body")) };
    let mut outgoing = departure::outgoing(client, gate, &chosen, &parts, incoming, record);
    record.entry.iter().for_each(Entry::gathers);
    outgoing.gather(client, &chosen, deadline).await?;
    // Whoever tries again comes after those who ask for the first time.
    let lowered = (onward.attempt > 0).then(|| gate.lowered());
    let gate = lowered.as_ref().unwrap_or(gate);
    let mut granted = match admit(client, &chosen, gate, record, deadline).await {
        Ok(granted) => granted,
        Err(reject) => {
            *body = outgoing.body.into_unread();
            return Err(reject);
        }
    };
    let upgrade = match upgrade {
        Some(upgrade) if granted.is_stream() => Some((upgrade, None)),
        Some(upgrade) => Some((upgrade, Some(upgrade::reserve(client, &chosen, gate, &mut granted)?))),
        None => None,
    };

    let request = departure::request(client, parts, outgoing);
    let mut sent = departure::send(client, gate, request, granted, (record, (deadline, onward))).await?;
    if sent.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return upgrade::switch(client, &chosen, sent, upgrade, pending).map(Outcome::Own);
    }
    departure::on_response(&chosen, &mut sent)?;
    Ok(Outcome::Relay(Box::new(sent)))
}

/// Takes the request's permits, or a stream's place; the record knows how long that took.
async fn admit(
    client: &Client,
    chosen: &Chosen,
    gate: &Rc<RouteGate>,
    record: &mut Record,
    deadline: Deadline,
) -> Result<Granted, Reject> {
    record.entry.iter().for_each(Entry::waits);
    let granted = if chosen.route().settings.streaming {
        // Among the streams from here on, in the process too.
        arrival::enter_stream(client, chosen).and_then(|permit| {
            record.permit = Some(permit);
            gate.admit_stream(record.client_ip)
        })
    } else {
        let mut admitted = pin!(gate.admit(deadline.at, record.client_ip));
        match poll_fn(|cx| Poll::Ready(admitted.as_mut().poll(cx))).await {
            Poll::Ready(granted) => granted,
            // Most never wait; those who do are timed.
            Poll::Pending => {
                let asked = Instant::now();
                let granted = admitted.await;
                record.queued = asked.elapsed();
                granted
            }
        }
    };
    let mut granted = granted?;
    granted.held_since(record.started);
    Ok(granted)
}

/// From whatever the walk ended with to an answer.
fn conclude(
    client: &Rc<Client>,
    asked: &Asked,
    outcome: Result<Outcome, Reject>,
    mut pending: Pending,
) -> Response<EdgeBody> {
    let mut close = client.should_leave() && !client.has_more_to_ask();
    let (mut head, relay) = match outcome {
        Ok(Outcome::Own(answer)) => (answer, None),
        Ok(Outcome::Relay(sent)) => {
            let sent = *sent;
            let (parts, incoming) = sent.response.into_parts();
            (Response::from_parts(parts, Bytes::new()), Some((incoming, sent.exchange)))
        }
        Err(reject) => {
            let reject = what_the_door_knows(client, reject);
            // Whoever sends ambiguous requests may be smuggling another one behind them.
            close |= reject.close || reject.reason == Reason::BadRequest;
            (refusal(&reject, asked, &mut pending), None)
        }
    };
    if asked.http1 {
        // The backend's version is its own affair; the engine lowers ours for clients of HTTP/1.0.
        *head.version_mut() = Version::HTTP_11;
    }
    // What a client was told that it may switch to, it switches to; tunnels are told later.
    if close && asked.http1 && head.status() != StatusCode::SWITCHING_PROTOCOLS {
        head.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if asked.http10 && relay.is_some() && !head.headers().contains_key(CONTENT_LENGTH) {
        client.ends_answer_by_closing();
    }
    if asked.http10 && head.status().is_informational() {
        *head.status_mut() = StatusCode::BAD_GATEWAY;
    }
    if let Some(record) = pending.record() {
        head.headers_mut().insert(forwarded::REQUEST_ID, record.id.clone());
        record.answering(head.status().as_u16());
    }
    let (parts, bytes) = head.into_parts();
    let body = match relay {
        Some((incoming, exchange)) => {
            if asked.http1 && !(asked.fields.has(Fields::TE) && parts.headers.contains_key(TRAILER)) {
                pending.loses_trailers();
            }
            let manner = if asked.http1 {
                let passage = client.take_passage(|| exchange.open_passage(&incoming));
                passage.map_or(Manner::AsItComes, Manner::Through)
            } else {
                Manner::InPieces(PIECE)
            };
            Answer::relay(incoming, exchange, manner, pending)
        }
        None => {
            if !asked.http1 && !bytes.is_empty() {
                watch_own(client, &mut pending);
            }
            Answer::own(bytes, pending)
        }
    };
    Response::from_parts(parts, body)
}

/// A body that the door refused reaches the walk as a broken one; the door knows better why.
fn what_the_door_knows(client: &Client, reject: Reject) -> Reject {
    let broken = if reject.reason == Reason::ClientGone { client.take_refusal() } else { None };
    broken.map_or(reject, |why| Reject::new(why.reason, why.detail).closing())
}

/// A refusal as an answer, written into the record.
fn refusal(reject: &Reject, asked: &Asked, pending: &mut Pending) -> Response<Bytes> {
    let mut id = HeaderValue::from_static("-");
    if let Some(record) = pending.record() {
        record.refused(reject.reason);
        id = record.id.clone();
    }
    reject.answer(&id, asked.grpc)
}

/// An HTTP/2 client that keeps its window closed must not hold even the gateway's own words for ever.
fn watch_own(client: &Client, pending: &mut Pending) {
    let idle = client.settings.idle_timeout;
    let patience = Patience { body_idle: idle, ends: None, after_leave: idle, judged: Judged::Download };
    let progress = Rc::new(Progress::new(client.station.clock.clone(), patience));
    progress.download_waits_for(Waiting::Client);
    client.watch(&progress);
    if let Some(record) = pending.record() {
        record.progress = Some(progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit::{Counter, Permit};
    use std::sync::Arc;

    #[test]
    fn a_panic_ends_its_own_request_and_releases_its_permits() {
        let in_flight = Arc::new(Counter::default());
        let permit = Permit::try_new(in_flight.clone(), 1);
        let walk = async move {
            let _held = permit.expect("there is room");
            tokio::task::yield_now().await;
            panic!("a bug in a filter");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(in_flight.get(), 1);
        let outcome: Option<()> = runtime.block_on(async { caught(pin!(walk)).await });
        assert_eq!(outcome, None);
        assert_eq!(in_flight.get(), 0);
        assert_eq!(runtime.block_on(async { caught(pin!(async { 7 })).await }), Some(7));
    }
}
