//! Requests to change the protocol of an HTTP/1.1 connection (WebSocket and others), and what becomes of the
//! exchange when the backend agrees.

use crate::admission::{Granted, RouteGate};
use crate::balancing::Sent;
use crate::filters::fields::Fields;
use crate::filters::{forwarded, hop_by_hop};
use crate::reject::{Reason, Reject};
use crate::routing::view::Chosen;
use crate::server::arrival;
use crate::server::client::Client;
use crate::server::door::upgrade_passes;
use crate::server::ledger::Entry;
use crate::server::process::ProcessPermit;
use crate::server::record::{Pending, Record};
use crate::server::tunnel::Upgraded;
use crate::upstream::tunnel::Bounds;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version};
use std::rc::Rc;

/// A wish for another protocol.
#[derive(Clone, Debug)]
pub struct Upgrade(HeaderValue);

impl Upgrade {
    /// What the client wishes for, if it may be wished for through a gateway. HTTP/2 and TLS by upgrade are
    /// ways around everything that the gateway checks, so they are ignored (RFC 9110, 7.8 allows that).
    pub fn wanted(parts: &Parts, fields: Fields) -> Option<Self> {
        let token = fields.get(Fields::UPGRADE, &parts.headers, &UPGRADE)?;
        let mut lines = parts.headers.get_all(UPGRADE).iter();
        let only = lines.next().is_some() && lines.next().is_none();
        let nominated = parts.headers.get_all(CONNECTION).iter().any(nominates_upgrade);
        let asked =
            parts.version == Version::HTTP_11 && only && nominated && upgrade_passes(token.as_bytes());
        asked.then(|| Upgrade(token.clone()))
    }

    /// The protocol's name.
    pub fn protocol(&self) -> &HeaderValue {
        &self.0
    }
}

fn nominates_upgrade(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// The right to be a stream, for a request that came through the gate and may become a tunnel. Until the backend
/// agrees it holds both: whoever only says `Upgrade` must not get past the gate with requests that a backend
/// answers like any other. On routes with `streaming` the operator has decided that, and the stream's is enough.
#[derive(Debug)]
pub struct Reserved {
    process: ProcessPermit,
    place: Granted,
}

/// Takes the right to be a tunnel before anything is sent: a refusal costs the backend nothing.
///
/// # Errors
/// `process_limit` or `backend_limit` when there are too many.
pub fn reserve(
    client: &Client,
    chosen: &Chosen,
    gate: &RouteGate,
    granted: &mut Granted,
) -> Result<Reserved, Reject> {
    let process = arrival::enter_stream(client, chosen)?;
    let place = granted.reserve_stream().map_err(|reason| gate.no_room_for_stream(reason))?;
    Ok(Reserved { process, place })
}

/// A wish for another protocol and, where the request is not a stream already, the right to become one.
pub type Wish = (Upgrade, Option<Reserved>);

/// The backend has switched: its connection becomes a tunnel among the streams, and the request's permits
/// come free. The record goes with the tunnel.
///
/// # Errors
/// `bad_response` if nobody asked, `backend_limit` if a second try went where there is no room for it.
pub fn switch(
    client: &Rc<Client>,
    chosen: &Chosen,
    sent: Sent<Granted>,
    wanted: Option<Wish>,
    pending: &mut Pending,
) -> Result<Response<Bytes>, Reject> {
    let Some((upgrade, reserved)) = wanted else {
        sent.exchange.end(Reason::BadResponse);
        return Err(Reject::new(Reason::BadResponse, "the backend switched protocols unasked"));
    };
    let settings = &chosen.route().settings;
    let ends = |record: &mut Record| settings.max_duration.map(|bound| record.started + bound);
    let bounds = Bounds { idle: settings.body_idle, ends: pending.record().and_then(ends) };
    let Some((tunnel, granted)) = sent.exchange.into_tunnel(bounds) else {
        return Err(Reject::new(
            Reason::BadResponse,
            "the backend switched protocols on a shared connection",
        ));
    };
    let reserved = match reserved {
        Some(Reserved { process, place }) => Some((process, place.follow(&granted)?)),
        None => None,
    };
    let (parts, _) = sent.response.into_parts();
    let mut response = Response::from_parts(parts, Bytes::new());
    hop_by_hop::response(response.headers_mut(), Some(upgrade.protocol()));
    settings.filters.response_headers.apply(response.headers_mut());
    if let Some(mut record) = pending.detach() {
        record.answering(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        record.entry.iter().for_each(Entry::tunnels);
        response.headers_mut().insert(forwarded::REQUEST_ID, record.id.clone());
        let place = match reserved {
            Some((process, place)) => {
                record.permit = Some(process);
                drop(granted);
                place
            }
            None => granted,
        };
        let upgraded = Upgraded { tunnel: Some(tunnel), record: Some(record), place };
        *client.upgraded.borrow_mut() = Some(Box::new(upgraded));
    }
    Ok(response)
}
