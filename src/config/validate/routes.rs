//! Routes: what they match, where requests go, and what may be told apart.

use super::{Check, auth, shared};
use crate::config::diagnostics::{Finding, Severity, Span};
use crate::config::plan::{GatewaySettings, UpstreamPlan};
use crate::config::value::{Data, Table, Value};
use crate::filters::settings::{HeaderEdits, Settings as FilterSettings};
use crate::request::Class;
use crate::routing::settings::{Action, RouteSettings};
use crate::routing::{
    HeaderMatch, HeaderTest, HostPattern, Matcher, PathPattern, PathPatternError, RouteKey,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

mod action;

type Route = (RouteKey, RouteSettings);

/// Every route of the file; `None` for those that are wrong.
pub fn all(
    root: &Table,
    gateway: Option<&GatewaySettings>,
    upstreams: &[Option<UpstreamPlan>],
    check: &mut Check<'_>,
) -> Vec<Option<Route>> {
    check.distinct("routes", root.tables("routes").map(|route| route.get("name")));
    let before = check.findings.len();
    let targets: Vec<Option<Action>> =
        root.tables("routes").map(|table| action::of(table, root, check)).collect();
    let process = gateway.map(|gateway| gateway.max_in_flight);
    let sharing = sharing(root, &targets);
    let mut routes = Vec::with_capacity(targets.len());
    for (table, action) in root.tables("routes").zip(targets) {
        let room = action.as_ref().and_then(|action| room(action, &sharing, upstreams, process));
        let bound = room.and_then(|room| bound(table, room, check));
        routes.push(route(table, root, action, bound, check));
    }
    // With a mistake in a route's match, what is left of it may look like another route.
    let sound = check.findings[before..].iter().all(|finding| finding.severity != Severity::Error);
    if sound && routes.iter().all(Option::is_some) {
        distinguishable(root, &routes, check);
    }
    routes
}

fn route(
    table: &Table,
    root: &Table,
    action: Option<Action>,
    bound: Option<Bound>,
    check: &mut Check<'_>,
) -> Option<Route> {
    let key = key(table, root, check);
    let filters = filters(table, check);
    let class = table.text("class")?;
    let auth = match table.get("auth") {
        Some(reference) => Some(check.refer("auth", reference, root.tables("auth"))?),
        None => None,
    };
    let settings = RouteSettings {
        name: shared(table, "name")?,
        action: action?,
        timeout: table.duration("timeout")?,
        body_idle: table.duration("body_idle")?,
        max_duration: table.duration("max_duration"),
        streaming: table.bool("streaming")?,
        class: Class::ALL.into_iter().find(|known| known.as_str() == class)?,
        max_in_flight: bound?.0,
        part_of_cap: bound?.1,
        keep_encoded_slash: table.text("encoded_slash")? == "keep",
        filters: filters?,
        auth,
        missing_secret: false,
    };
    Some((key?, settings))
}

/// How many routes share the gate of each upstream, by its index. Those with `streaming` are outside it.
fn sharing(root: &Table, actions: &[Option<Action>]) -> HashMap<usize, u32> {
    let mut routes = HashMap::new();
    for (table, action) in root.tables("routes").zip(actions) {
        if let (Some(Action::Upstream(index)), Some(false)) = (action, table.bool("streaming")) {
            *routes.entry(*index).or_default() += 1;
        }
    }
    // An auth that asks the upstream shares it like a route.
    for (index, upstream) in root.tables("upstreams").enumerate() {
        let asks =
            |auth: &&Table| auth.text("upstream").is_some_and(|name| upstream.text("name") == Some(name));
        let auths = auth::asking(root).filter(asks).count();
        if auths > 0 {
            *routes.entry(index).or_default() += u32::try_from(auths).unwrap_or(u32::MAX);
        }
    }
    routes
}

/// What a route's own bound is measured against.
#[derive(Clone, Copy)]
struct Room {
    cap: u32,
    shared: bool,
}

/// The upstream's cap, or the process's for routes without an upstream.
fn room(
    action: &Action,
    sharing: &HashMap<usize, u32>,
    upstreams: &[Option<UpstreamPlan>],
    process: Option<u32>,
) -> Option<Room> {
    match action {
        Action::Upstream(index) => {
            let cap = upstreams.get(*index)?.as_ref()?.gate.max_in_flight;
            Some(Room { cap, shared: sharing.get(index).is_some_and(|routes| *routes >= 2) })
        }
        Action::Respond { .. } | Action::Redirect { .. } => Some(Room { cap: process?, shared: false }),
    }
}

/// In flight through a route, and which part of its upstream's cap that is if the file does not say a number.
type Bound = (u32, Option<NonZeroU32>);

/// The route's own bound: half of the upstream's where others share it, so that none can starve the rest.
fn bound(table: &Table, room: Room, check: &mut Check<'_>) -> Option<Bound> {
    let Some(written) = table.written("max_in_flight") else {
        let parts = NonZeroU32::new(if room.shared { 2 } else { 1 });
        return Some((parts.map_or(room.cap, |parts| (room.cap / parts).max(1)), parts));
    };
    let bound = table.count("max_in_flight")?;
    if table.bool("streaming")? {
        let message = format!("{} does not bind a route with `streaming`", check.quote(&written.span));
        let hint = "max_streams of its upstream does, and max_in_flight_streams of the process";
        check.report(Finding::note(written.span.clone(), message).hint(hint));
    } else if bound > room.cap {
        let message =
            format!("{} cannot be reached: at most {} come through", check.quote(&written.span), room.cap);
        check.report(Finding::note(written.span.clone(), message));
    }
    Some((bound, None))
}

fn key(table: &Table, root: &Table, check: &mut Check<'_>) -> Option<RouteKey> {
    let path = path(table, check);
    let listeners = listeners(table, root, check);
    let mut hosts = Vec::new();
    for value in table.list("hosts") {
        match HostPattern::parse(value.text()?) {
            Ok(host) => hosts.push(host),
            Err(error) => {
                let message = format!("{} cannot be a route's host: {error}", check.quote(&value.span));
                check.error(value.span.clone(), message, "write a name, or *.suffix for every name below it");
            }
        }
    }
    let methods = table.list("methods").iter().filter_map(|value| match &value.data {
        Data::Method(method) => Some(method.clone()),
        _ => None,
    });
    let any = |value: &HeaderValue| value.as_bytes() == b"*";
    let headers = table.headers("headers").iter().map(|(name, value, _)| HeaderMatch {
        name: name.clone(),
        value: if any(value) { HeaderTest::Present } else { HeaderTest::Exact(value.clone()) },
    });
    let (methods, headers) = (methods.collect(), headers.collect());
    let key = RouteKey { hosts, path: path?, methods, headers, listeners: listeners? };
    // What fell out of a list was reported; a list without it would match more than was meant.
    (key.hosts.len() == table.list("hosts").len()).then_some(key)
}

/// The listeners that the route is for. One that does not exist is a mistake, never a route for everyone.
fn listeners(table: &Table, root: &Table, check: &mut Check<'_>) -> Option<Vec<Arc<str>>> {
    let mut names = Vec::new();
    for value in table.list("listeners") {
        if check.refer("listener", value, root.tables("listeners")).is_some() {
            names.push(Arc::from(value.text()?));
        }
    }
    (names.len() == table.list("listeners").len()).then_some(names)
}

fn path(table: &Table, check: &mut Check<'_>) -> Option<PathPattern> {
    let keys = ["path", "path_prefix", "path_pattern"];
    let written: Vec<(&str, &Value)> = keys.iter().filter_map(|key| Some((*key, table.get(key)?))).collect();
    if let [(first, value), (second, other), ..] = written[..] {
        let message = format!("`{first}` and `{second}` exclude each other");
        let finding = Finding::error(other.span.clone(), message).related(value.span.clone(), "the other");
        check.report(finding.hint("keep the one that is meant"));
        return None;
    }
    let Some((key, value)) = written.first() else {
        return PathPattern::prefix("/").ok();
    };
    let text = value.text()?;
    let parsed = match *key {
        "path" => PathPattern::exact(text),
        "path_prefix" => PathPattern::prefix(text),
        _ => PathPattern::pattern(text),
    };
    parsed.map_err(|error| bad_path(value, &error, check)).ok()
}

fn bad_path(value: &Value, error: &PathPatternError, check: &mut Check<'_>) {
    let quoted = check.quote(&value.span);
    let message = match error {
        // These quote a part of the path, which may have been filled in.
        PathPatternError::Gap(_) | PathPatternError::TailNotLast(_) if value.filled => {
            format!("what fills {quoted} cannot be a route's path")
        }
        error => format!("{quoted} cannot be a route's path: {error}"),
    };
    check.error(value.span.clone(), message, "write a path such as \"/orders\" or \"/users/{id}\"");
}

fn filters(table: &Table, check: &mut Check<'_>) -> Option<FilterSettings> {
    Some(FilterSettings {
        max_body: table.integer("max_body")?,
        strip_prefix: strip_prefix(table, check)?,
        request_headers: edits(table.table("request_headers")?, check),
        response_headers: edits(table.table("response_headers")?, check),
    })
}

/// The prefix to take off, `Some(None)` for none.
fn strip_prefix(table: &Table, check: &mut Check<'_>) -> Option<Option<String>> {
    if !table.bool("strip_prefix")? {
        return Some(None);
    }
    let Some(prefix) = table.text("path_prefix") else {
        let hint = "only path_prefix names a part of the path that can be taken off";
        check.error(table.span_of("strip_prefix"), "`strip_prefix` needs `path_prefix`", hint);
        return None;
    };
    // The request's path is in its one spelling when the prefix is taken off, so the prefix must be too.
    match PathPattern::prefix(prefix).ok()? {
        PathPattern::Prefix(prefix) => {
            Some(Some(prefix.as_str().to_owned()).filter(|prefix| !prefix.is_empty()))
        }
        _ => None,
    }
}

/// Headers that frame a message or belong to one connection: only the gateway itself may set them.
const FRAMING: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

fn edits(table: &Table, check: &mut Check<'_>) -> HeaderEdits {
    let set: Vec<(HeaderName, HeaderValue)> =
        table.headers("set").iter().map(|(n, v, _)| (n.clone(), v.clone())).collect();
    let remove: Vec<HeaderName> = table.header_names("remove").map(|(name, _)| name.clone()).collect();
    let named =
        table.headers("set").iter().map(|(name, _, span)| (name, span)).chain(table.header_names("remove"));
    let framing: Vec<(HeaderName, Span)> = named
        .filter(|(name, _)| FRAMING.contains(name))
        .map(|(name, span)| (name.clone(), span.clone()))
        .collect();
    for (name, span) in framing {
        let hint = match name.as_str() {
            "host" => "set the upstream's `host`",
            _ => "it says where a message ends or how a connection is used; leave it out",
        };
        check.error(span, format!("`{name}` belongs to the gateway and cannot be edited"), hint);
    }
    HeaderEdits { set, remove }
}

/// Reports routes that the same request could take.
fn distinguishable(root: &Table, routes: &[Option<Route>], check: &mut Check<'_>) {
    let keys: Vec<RouteKey> = routes.iter().flatten().map(|(key, _)| key.clone()).collect();
    let Err(ambiguities) = Matcher::build(&keys) else { return };
    let tables: Vec<&Table> = root.tables("routes").collect();
    for ambiguity in ambiguities {
        let (Some(first), Some(second)) = (tables.get(ambiguity.first), tables.get(ambiguity.second)) else {
            continue;
        };
        let shown = !matches_on_filled(first) && !matches_on_filled(second);
        let example = if shown { format!(": {}", ambiguity.example) } else { String::new() };
        let (one, other) = (check.quote(&first.span_of("name")), check.quote(&second.span_of("name")));
        let message = format!("the routes {one} and {other} cannot be told apart{example}");
        let finding =
            Finding::error(second.span_of("name"), message).related(first.span_of("name"), "the first");
        check.report(
            finding.hint(
                "let them differ in host, path, method, header or listener; their order decides nothing",
            ),
        );
    }
}

/// Whether an example of a request would show what was filled in.
fn matches_on_filled(table: &Table) -> bool {
    let texts = ["path", "path_prefix", "path_pattern"].into_iter().filter_map(|key| table.get(key));
    let lists = ["hosts", "methods", "listeners"].into_iter().flat_map(|key| table.list(key));
    texts.chain(lists).any(|value| value.filled)
        || table.headers("headers").iter().any(|(_, value, _)| value.is_sensitive())
}

/// A status from the tree: its range was checked.
fn status(table: &Table) -> Option<StatusCode> {
    StatusCode::from_u16(u16::try_from(table.integer("status")?).ok()?).ok()
}
