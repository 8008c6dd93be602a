//! What becomes of a route's requests: exactly one of upstream, fixed answer and redirect.

use super::status;
use crate::config::diagnostics::Finding;
use crate::config::validate::Check;
use crate::config::value::{Table, Value};
use crate::routing::settings::Action;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, StatusCode};

/// The route's action; reports none and more than one.
pub fn of(table: &Table, root: &Table, check: &mut Check<'_>) -> Option<Action> {
    let keys = ["upstream", "respond", "redirect"];
    let written: Vec<(&str, &Value)> = keys.iter().filter_map(|key| Some((*key, table.get(key)?))).collect();
    match written[..] {
        [("upstream", reference)] => {
            check.refer("upstream", reference, root.tables("upstreams")).map(Action::Upstream)
        }
        [("respond", _)] => respond(table.table("respond")?, check),
        [("redirect", _)] => redirect(table.table("redirect")?, check),
        [(first, value), (second, other), ..] => {
            let message = format!("`{first}` and `{second}` exclude each other");
            let finding =
                Finding::error(other.span.clone(), message).related(value.span.clone(), "the other");
            check.report(finding.hint("a route does one thing"));
            None
        }
        _ => {
            let hint = "add one of `upstream`, `respond` and `redirect`";
            check.error(table.span.clone(), "this route does not say what becomes of its requests", hint);
            None
        }
    }
}

fn respond(table: &Table, check: &mut Check<'_>) -> Option<Action> {
    let status = status(table)?;
    let body = table.text("body")?;
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
        && !body.is_empty()
    {
        let message = format!("an answer with status {} has no body", status.as_u16());
        check.error(table.span_of("body"), message, "leave `body` out, or choose another status");
    }
    let content_type = HeaderValue::from_str(table.text("content_type")?);
    if content_type.is_err() {
        let span = table.span_of("content_type");
        let message = format!("{} cannot be sent in a header", check.quote(&span));
        check.error(span, message, "such as \"text/plain; charset=utf-8\"");
    }
    Some(Action::Respond {
        status,
        body: Bytes::copy_from_slice(body.as_bytes()),
        content_type: content_type.ok()?,
    })
}

fn redirect(table: &Table, check: &mut Check<'_>) -> Option<Action> {
    let status = status(table)?;
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        let message = format!("{} is not the status of a redirect", status.as_u16());
        check.error(table.span_of("status"), message, "301, 302, 303, 307 or 308");
    }
    let parts = ["scheme", "host", "path"].map(|key| table.text(key).map(str::to_owned));
    if parts.iter().all(Option::is_none) {
        let hint = "give at least one of scheme, host and path";
        check.error(table.span.clone(), "this redirect leads back to itself", hint);
    }
    let [scheme, host, path] = parts;
    let host_valid = |host: &String| host.parse::<Authority>().is_ok() && !host.contains('@');
    if !host.as_ref().is_none_or(host_valid) {
        let span = table.span_of("host");
        let message = format!("{} is not a host", check.quote(&span));
        check.error(span, message, "a name, with a port if it needs one");
    }
    // Two slashes would begin a host for whoever reads the Location.
    let path_valid = |path: &String| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.parse::<PathAndQuery>().is_ok_and(|p| p.query().is_none())
    };
    if !path.as_ref().is_none_or(path_valid) {
        let span = table.span_of("path");
        let message = format!("{} is not a path", check.quote(&span));
        check.error(span, message, "it begins with one / and has no query; the request's query is kept");
    }
    Some(Action::Redirect { status, scheme, host, path })
}
