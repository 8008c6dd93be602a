//! `POST /v1/versions`: somebody applies a configuration. In this release at once (`now=true`): there are no stages
//! yet, and nobody gets all of a change by accident who asked for a part of it.

use super::text::{invalid, left, receive};
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::settings::Role;
use crate::control::apply::{Busy, Order, Receipt, Unapplied, is_named};
use crate::control::origin::MAX_REASON;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The query. What is about stages is known by name, so that it is refused with a reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    now: Option<String>,
    reason: Option<String>,
    break_glass: Option<String>,
    stages: Option<String>,
    bake: Option<String>,
    confirm: Option<String>,
    ack_risk: Option<String>,
}

/// What a well-formed request wants, beside its text.
#[derive(Debug, PartialEq)]
struct Wish {
    reason: Option<String>,
    expected: Option<String>,
    break_glass: bool,
}

/// `POST /v1/versions`.
pub(super) async fn apply(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(asked) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let Wish { reason, expected, break_glass } = wish(asked, request.headers())?;
    let reach = state.reach()?;
    // Known now and asked again at the swap: whoever is late need not send a text first.
    if let Some(expected) = &expected {
        let active = reach.control.active_hash();
        if !is_named(&active, expected) {
            return Err(stale(&active));
        }
    }
    let (mut verdict, end) = receive(reach, request).await?;
    let Some(plan) = verdict.plan.take() else { return Err(invalid(verdict)) };
    if !state.access.load().is_kept(&caller, &plan.admin) {
        may_lose_token(&caller, break_glass)?;
    }
    let (hash, changed) = (plan.hash.clone(), reach.control.active_hash() != plan.hash);
    let by = caller.to_string();
    let order =
        Order { text: verdict.text, plan: Box::new(plan), by: by.clone(), reason: reason.clone(), expected };
    match reach.desk.apply(order, left(end)).await {
        Ok(receipt) => Ok(applied(receipt, &by, reason.as_deref())),
        Err(Unapplied::Pending) => Ok(match reach.control.number_of(&hash) {
            // The swap comes first: only the disk is waited for.
            Some(number) => {
                let notices = vec!["The disk takes longer than this answer waits.".to_owned()];
                let receipt = Receipt { number, hash, changed, persisted: false, notices };
                applied(receipt, &by, reason.as_deref())
            }
            None => pending(&by, reason.as_deref()),
        }),
        Err(Unapplied::Stale(active)) => Err(stale(&active)),
        Err(Unapplied::Busy(other)) => Err(conflict(&other)),
        Err(Unapplied::Failed(why)) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("The configuration is valid and cannot be made active: {why}"),
        )
        .with("findings", json!([]))),
        Err(Unapplied::Gone) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The gateway is leaving.")),
    }
}

fn wish(asked: Asked, headers: &HeaderMap) -> Result<Wish, Problem> {
    let now = switch("now", asked.now.as_deref())?;
    // At once is at once, with or without; here it is only for whoever gives up the own token.
    let break_glass = switch("break_glass", asked.break_glass.as_deref())?;
    let staged = [&asked.stages, &asked.bake, &asked.confirm, &asked.ack_risk];
    if !now || staged.iter().any(|asked| asked.is_some()) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "This release has no stages yet: a change is active at once, for all requests. hint: check it with \
             /v1/config:check, then ask with `now=true` and without stages, bake, confirm or ack_risk",
        )
        .because("no_stages"));
    }
    let reason = asked.reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    if let Some(reason) = &reason
        && (reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control))
    {
        return Err(bad(format!("The reason is a line of at most {MAX_REASON} characters.")));
    }
    Ok(Wish { reason, expected: expected(headers)?, break_glass })
}

/// Who applies a version in which their own token is gone, or only reads, would be locked out by it.
fn may_lose_token(caller: &Caller, break_glass: bool) -> Result<(), Problem> {
    match (break_glass, caller.role) {
        (true, Role::Admin) => Ok(()),
        (true, _) => Err(Problem::new(StatusCode::FORBIDDEN, "Break-glass needs an admin's token.")),
        (false, _) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "The token of this request could change nothing any more under this configuration. hint: apply it with \
             another token, or with `break_glass=true` as admin",
        )
        .because("own_token")),
    }
}

pub(super) fn switch(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(bad(format!("{name}={other:?} is neither true nor false."))),
    }
}

/// The one hash in `If-Match`; nothing for `*`, which every active version matches.
fn expected(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(IF_MATCH).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| given.next().is_none()).map(str::trim);
    let tag = text.map(|text| text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text));
    match tag {
        Some("*") => Ok(None),
        Some(tag) if tag.len() >= 16 && tag.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Ok(Some(tag.to_owned()))
        }
        _ => Err(bad("If-Match is the hash of the active version, or at least 16 digits of it.".to_owned())),
    }
}

fn applied(receipt: Receipt, by: &str, reason: Option<&str>) -> Response {
    let Receipt { number, hash, changed, persisted, notices } = receipt;
    Json(json!({
        "state": "active",
        "version": { "number": number, "hash": hash },
        "changed": changed,
        "by": by,
        "reason": reason,
        "persisted": persisted,
        "notices": notices,
    }))
    .into_response()
}

/// It goes on, in a file or a socket that does not answer; `/v1/status` will say what came of it.
fn pending(by: &str, reason: Option<&str>) -> Response {
    let body = json!({
        "state": "pending",
        "version": null,
        "by": by,
        "reason": reason,
        "notices": ["It takes longer than this answer waits; /v1/status and the log say what comes of it."],
    });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

fn stale(active: &str) -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        format!("Another version is active than If-Match expects: {active}."),
    )
    .with("active", active)
}

fn conflict(other: &Busy) -> Problem {
    let reason = other.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let detail = format!(
        "Another change is being made active: by {}{reason}, for {:.1} s.",
        other.by,
        other.elapsed().as_secs_f64()
    );
    Problem::new(StatusCode::CONFLICT, detail)
        .with("other", json!({ "by": other.by, "reason": other.reason }))
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn wished(query: &str, if_match: Option<&str>) -> Result<Wish, u16> {
        let uri = format!("/?{query}").parse().expect("a target");
        let Query(asked) = Query::<Asked>::try_from_uri(&uri).map_err(|_| 400_u16)?;
        let mut headers = HeaderMap::new();
        if let Some(value) = if_match {
            headers.insert(IF_MATCH, HeaderValue::from_str(value).expect("a value"));
        }
        wish(asked, &headers).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn at_once_has_to_be_asked_for_and_stages_are_refused() {
        assert!(wished("now=true", None).is_ok() && wished("now=true&break_glass=true", None).is_ok());
        for staged in ["", "now=false", "reason=x", "now=true&stages=1%25", "now=true&bake=30s"] {
            assert_eq!(wished(staged, None), Err(422), "{staged}");
        }
        for wrong in ["now=yes", "now=true&nwo=true", "now=true&now=true"] {
            assert_eq!(wished(wrong, None), Err(400), "{wrong}");
        }
    }

    #[test]
    fn a_reason_is_a_line_of_bounded_length() {
        let reason = |text: &str| wished(&format!("now=true&reason={text}"), None).map(|wish| wish.reason);
        assert_eq!(reason("the+fleet%20is+slow"), Ok(Some("the fleet is slow".into())));
        assert_eq!((reason(""), reason("+")), (Ok(None), Ok(None)));
        assert_eq!(reason(&"x".repeat(500)), Ok(Some("x".repeat(500))));
        assert_eq!(
            (reason(&"x".repeat(501)), reason("a%0Ab"), reason("%1B[31m")),
            (Err(400), Err(400), Err(400))
        );
    }

    #[test]
    fn if_match_is_a_hash_or_enough_of_one() {
        let expected = |value: &str| wished("now=true", Some(value)).map(|wish| wish.expected);
        let hash = "ab".repeat(32);
        assert_eq!(expected(&format!("\"{hash}\"")), Ok(Some(hash.clone())));
        assert_eq!(expected(&hash[..16]), Ok(Some(hash[..16].to_owned())));
        assert_eq!(expected("*"), Ok(None));
        for wrong in ["", "\"\"", "abc", "W/\"abababababababab\"", "not-a-hash-at-all", &hash[..15]] {
            assert_eq!(expected(wrong), Err(400), "{wrong}");
        }
    }
}
