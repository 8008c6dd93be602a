//! Requests to change the protocol of an HTTP/1.1 connection (WebSocket and others), and what becomes of the
//! exchange when the backend agrees.

use crate::admission::Granted;
use crate::balancing::{Backend, Sent};
use crate::filters::{forwarded, hop_by_hop};
use crate::permit::{Counter, Permit};
use crate::reject::{Reason, Reject};
use crate::routing::view::Chosen;
use crate::server::arrival::shed;
use crate::server::client::Client;
use crate::server::door::upgrade_passes;
use crate::server::ledger::Entry;
use crate::server::record::Pending;
use crate::server::tunnel::Upgraded;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version};
use std::rc::Rc;
use std::sync::Arc;

/// A wish for another protocol.
#[derive(Clone, Debug)]
pub struct Upgrade(HeaderValue);

impl Upgrade {
    /// What the client wishes for, if it may be wished for through a gateway. HTTP/2 and TLS by upgrade are
    /// ways around everything that the gateway checks, so they are ignored (RFC 9110, 7.8 allows that).
    pub fn wanted(parts: &Parts) -> Option<Self> {
        let token = parts.headers.get(UPGRADE)?;
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

/// The right to be a tunnel: in the process, and at the backend.
pub type TunnelPermits = (Permit<Arc<Counter>>, Permit<Arc<Counter>>);

/// Takes the right to be a tunnel before anything is sent: a refusal costs the backend nothing.
///
/// # Errors
/// `process_limit` or `backend_limit` when there are too many.
pub fn reserve(client: &Client, chosen: &Chosen, backend: &Backend) -> Result<TunnelPermits, Reject> {
    let process = client.station.shared.process.streams.clone();
    let full = |reason| shed(client, chosen, reason, "too many tunnels are open");
    let process =
        Permit::try_new(process, chosen.table().max_streams).ok_or_else(|| full(Reason::ProcessLimit))?;
    let backend = Permit::try_new(backend.endpoint.streams.clone(), backend.max_streams);
    Ok((process, backend.ok_or_else(|| full(Reason::BackendLimit))?))
}

/// The backend has switched: its connection becomes a tunnel with a bound of its own, and the request's
/// permits come free. The record goes with the tunnel.
///
/// # Errors
/// `bad_response` if nobody asked.
pub fn switch(
    client: &Rc<Client>,
    chosen: &Chosen,
    sent: Sent<Granted>,
    wanted: Option<(Upgrade, TunnelPermits)>,
    pending: &mut Pending,
) -> Result<Response<Bytes>, Reject> {
    let Some((upgrade, permits)) = wanted else {
        return Err(Reject::new(Reason::BadResponse, "the backend switched protocols unasked"));
    };
    let Some(tunnel) = sent.exchange.into_tunnel(chosen.route().settings.body_idle) else {
        return Err(Reject::new(
            Reason::BadResponse,
            "the backend switched protocols on a shared connection",
        ));
    };
    let (parts, _) = sent.response.into_parts();
    let mut response = Response::from_parts(parts, Bytes::new());
    hop_by_hop::response(response.headers_mut(), Some(upgrade.protocol()));
    chosen.route().settings.filters.response_headers.apply(response.headers_mut());
    if let Some(mut record) = pending.detach() {
        record.answering(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        record.entry.iter().for_each(Entry::tunnels);
        response.headers_mut().insert(forwarded::REQUEST_ID, record.id.clone());
        *client.upgraded.borrow_mut() =
            Some(Upgraded { tunnel: Some(tunnel), record: Some(record), permits });
    }
    Ok(response)
}
