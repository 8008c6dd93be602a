//! A request before whoever says whether it may pass: what it is put as, and what becomes of it.
//!
//! It comes after the cheap refusals and before anything of the route's upstream is taken, and before its body is
//! asked for. Requests of all methods are judged, also `OPTIONS`: a route of its own can let preflights through.

use crate::filters::auth::ask::Question;
use crate::filters::auth::verdict::Passed;
use crate::filters::auth::{self, Lent};
use crate::filters::fields::Fields;
use crate::filters::{forwarded, hop_by_hop};
use crate::reject::{Reason, Reject};
use crate::request::Deadline;
use crate::routing::view::Chosen;
use crate::server::arrival::{self, bad};
use crate::server::client::Client;
use crate::server::ledger::Entry;
use crate::server::own;
use crate::server::record::Record;
use crate::telemetry::metrics::AuthResult;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use std::sync::Arc;

/// Lets the request pass, or not. Costs nothing on routes without an auth.
///
/// # Errors
/// 401, 403; 503 and 504 when nobody can say; 400 where the backend would see less than whoever judges.
pub async fn pass(
    client: &Client,
    chosen: &Chosen,
    (parts, path): (&Parts, &str),
    record: &mut Record,
    deadline: Deadline,
) -> Result<Option<Arc<Passed>>, Reject> {
    let Some((auth, gate)) = chosen.auth() else { return Ok(None) };
    if hop_by_hop::nominates(&parts.headers, auth.settings.read_headers()) {
        return Err(bad("Connection nominates what this request is judged by"));
    }
    // A service and a backend might each look at another one; tokens and keys count two as none.
    let asks = auth.settings.upstream().is_some();
    if asks && parts.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(bad("more than one Authorization"));
    }
    let question = question(client, chosen, parts, path, record);
    let station = &client.station;
    let lent = Lent {
        exchanges: &station.exchanges,
        clock: &station.clock,
        core: station.core,
        holder: record.holder(),
    };
    record.entry.iter().for_each(Entry::is_judged);
    // Boxed: all requests would carry the room that only these need.
    let judgement = Box::pin(auth::judge(auth, gate, &question, &lent, deadline)).await;
    record.entry.iter().for_each(Entry::waits);
    record.unsure = matches!(judgement.result, AuthResult::Stale | AuthResult::AllowedOnError);
    judgement.passed.map(Some).map_err(|reject| counted(client, chosen, reject))
}

/// For want of room it is a shed of the route, like any other.
fn counted(client: &Client, chosen: &Chosen, reject: Reject) -> Reject {
    if reject.reason == Reason::AuthOverload {
        drop(arrival::shed(client, chosen, reject.reason, ""));
    }
    reject
}

fn question<'a>(
    client: &'a Client,
    chosen: &'a Chosen,
    parts: &'a Parts,
    path: &'a str,
    record: &Record,
) -> Question<'a> {
    let trusted = &chosen.table().trusted_proxies;
    Question {
        route: &chosen.route().settings.name,
        method: &parts.method,
        path,
        query: parts.uri.query(),
        host: own::authority_text(parts),
        proto: client.hop.proto(&parts.headers, trusted),
        client: record.client_ip,
        headers: &parts.headers,
    }
}

/// Takes out what only an auth may say, whoever the route's is, and adds what it said.
pub fn sign(headers: &mut HeaderMap, fields: Fields, chosen: &Chosen, passed: Option<&Passed>) {
    let only_auths = &chosen.table().auth_headers;
    if only_auths.is_empty() {
        return;
    }
    if fields.has(Fields::ALIAS) {
        forwarded::drop_aliases(headers, &chosen.table().auth_names);
    }
    for name in only_auths.iter() {
        headers.remove(name);
    }
    for (name, value) in passed.iter().flat_map(|passed| &passed.headers) {
        headers.append(name, value.clone());
    }
}
