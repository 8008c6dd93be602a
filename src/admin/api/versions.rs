//! `POST /v1/versions`: somebody applies a configuration. Which way it takes is the policy's of the active version:
//! by stages (202, and `/v1/rollout` follows it), or at once (200).

use super::json::{bad, reason};
use super::text::{invalid, left, receive};
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::settings::Role;
use crate::admin::witness::Effect;
use crate::config::fields::Risk;
use crate::config::units;
use crate::control::Cause;
use crate::control::apply::{Accepted, Begun, Busy, Order, Receipt, Unapplied, is_named};
use crate::control::change::rules::{Refusal, Wish};
use crate::control::change::view::RolloutView;
use crate::control::incidents::book::MAX_OPEN;
use crate::control::receipt::HEADER as RECEIPT;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The query.
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
    receipt: Option<String>,
    incident: Option<String>,
}

/// What a well-formed request wants, beside its text.
#[derive(Debug, PartialEq)]
struct Wanted {
    reason: Option<String>,
    expected: Option<String>,
    confirm: Option<Duration>,
    receipt: Option<String>,
    wish: Wish,
}

/// `POST /v1/versions`.
pub(super) async fn apply(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(asked) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let Wanted { reason, expected, confirm, receipt, wish } = wanted(asked, request.headers(), caller.role)?;
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
        may_lose_token(&caller, wish.break_glass)?;
    }
    let (hash, changed) = (plan.hash.clone(), reach.control.active_hash() != plan.hash);
    let by = caller.to_string();
    let order = Order {
        text: verdict.text,
        plan: Box::new(plan),
        by: by.clone(),
        reason: reason.clone(),
        expected,
        confirm,
        receipt,
        wish,
    };
    match reach.desk.apply(order, left(end)).await {
        Ok(Accepted::Active(receipt)) => Ok(applied(receipt, &by, reason.as_deref())),
        Ok(Accepted::UnderWay(begun)) => Ok(under_way(&begun, reach.conductor.view(None))),
        Err(Unapplied::Refused(refusal)) => {
            let status = match refusal {
                Refusal::NeedsAdmin => StatusCode::FORBIDDEN,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Err(Problem::new(status, refusal.to_string()).because(refusal.word()).with("findings", json!([])))
        }
        Err(Unapplied::UnderWay(other)) => Err(Problem::new(StatusCode::CONFLICT, other.told())
            .with("other", json!({ "version": other.number, "by": other.by, "reason": other.reason }))),
        Err(Unapplied::Pending) => Ok(match reach.control.number_of(&hash) {
            // The swap comes first: only the disk is waited for.
            Some(number) => {
                let notices = vec!["The disk takes longer than this answer waits.".to_owned()];
                let receipt = Receipt { number, hash, changed, risk: None, persisted: false, notices };
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

fn wanted(asked: Asked, headers: &HeaderMap, role: Role) -> Result<Wanted, Problem> {
    let reason = reason(asked.reason)?;
    let wish = Wish {
        cause: Cause::Api,
        admin: role == Role::Admin,
        has_reason: reason.is_some(),
        now: switch("now", asked.now.as_deref())?,
        break_glass: switch("break_glass", asked.break_glass.as_deref())?,
        ack: ack(asked.ack_risk.as_deref())?,
        stages: asked.stages.as_deref().map(stages).transpose()?,
        bake: asked.bake.as_deref().map(|bake| time("bake", bake)).transpose()?,
        incidents: asked.incident.as_deref().map(incidents).transpose()?.unwrap_or_default(),
    };
    if wish.now && (wish.stages.is_some() || wish.bake.is_some()) {
        return Err(bad("At once is without stages: leave out now, or stages and bake.".to_owned()));
    }
    let confirm = asked.confirm.as_deref().map(|within| time("confirm", within)).transpose()?;
    let receipt = asked.receipt.or_else(|| Some(headers.get(RECEIPT)?.to_str().ok()?.to_owned()));
    Ok(Wanted { reason, expected: expected(headers)?, confirm, receipt, wish })
}

fn ack(word: Option<&str>) -> Result<Option<Risk>, Problem> {
    match word {
        None => Ok(None),
        Some("high") => Ok(Some(Risk::High)),
        Some("medium") => Ok(Some(Risk::Medium)),
        Some("low") => Ok(Some(Risk::Low)),
        Some(other) => Err(bad(format!("ack_risk={other:?} is none of low, medium and high."))),
    }
}

/// `3` or `3,5`.
fn incidents(text: &str) -> Result<Vec<u64>, Problem> {
    let ids: Option<Vec<u64>> = text.split(',').map(|id| id.trim().parse().ok()).collect();
    ids.filter(|ids| ids.len() <= MAX_OPEN).ok_or_else(|| {
        bad(format!(
            "incident={text:?} is no list of at most {MAX_OPEN} numbers of incidents, such as 3 or 3,5."
        ))
    })
}

/// Stages at most: each is judged for a bake at least.
const MAX_STAGES: usize = 32;

/// `1%,10%,100%`.
fn stages(text: &str) -> Result<Vec<f64>, Problem> {
    let wrong = || {
        bad(format!(
            "stages={text:?} is no list of rising percentages that ends with 100%, such as 1%,10%,100%."
        ))
    };
    let part = |stage: &str| {
        let percent = units::percent(stage.trim()).ok()?;
        (percent > 0.0 && percent <= 100.0).then_some(percent / 100.0)
    };
    let parts: Option<Vec<f64>> = text.split(',').take(MAX_STAGES + 1).map(part).collect();
    let parts = parts.filter(|parts| parts.len() <= MAX_STAGES).ok_or_else(wrong)?;
    let rises = parts.windows(2).all(|pair| pair[0] < pair[1]);
    if rises && parts.last() == Some(&1.0) { Ok(parts) } else { Err(wrong()) }
}

/// A time of at most a day.
fn time(name: &str, text: &str) -> Result<Duration, Problem> {
    const DAY: Duration = Duration::from_secs(86_400);
    let time = units::duration(text).ok().filter(|time| !time.is_zero() && *time <= DAY);
    time.ok_or_else(|| bad(format!("{name}={text:?} is no time of at most a day, such as 30s or 5m.")))
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
    let Receipt { number, hash, changed, risk, persisted, notices } = receipt;
    let answer = json!({
        "state": "active",
        "version": { "number": number, "hash": hash },
        "changed": changed,
        "by": by,
        "reason": reason,
        "persisted": persisted,
        "notices": notices,
    });
    let effect = Effect {
        version: Some(number),
        risk: risk.map(|risk| risk.as_str().to_owned()),
        saying: (!changed).then(|| "it was active already".to_owned()),
    };
    (Extension(effect), Json(answer)).into_response()
}

/// It goes by stages, or waits for somebody.
fn under_way(begun: &Begun, rollout: RolloutView) -> Response {
    let body = json!({
        "state": rollout.state,
        "version": { "number": begun.number, "hash": begun.hash },
        "risk": begun.risk.as_str(),
        "notices": begun.notices,
        "rollout": rollout,
    });
    let risk = Some(begun.risk.as_str().to_owned());
    let effect = Effect { version: Some(begun.number), risk, ..Effect::default() };
    (StatusCode::ACCEPTED, Extension(effect), Json(body)).into_response()
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn wished(query: &str, if_match: Option<&str>) -> Result<Wanted, u16> {
        let uri = format!("/?{query}").parse().expect("a target");
        let Query(asked) = Query::<Asked>::try_from_uri(&uri).map_err(|_| 400_u16)?;
        let mut headers = HeaderMap::new();
        if let Some(value) = if_match {
            headers.insert(IF_MATCH, HeaderValue::from_str(value).expect("a value"));
        }
        wanted(asked, &headers, Role::Operator).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn what_is_asked_for_is_read_and_nonsense_is_refused() {
        let staged =
            wished("stages=1%25,10%25,100%25&bake=30s&confirm=5m&ack_risk=high", None).expect("well said");
        assert_eq!(staged.wish.stages, Some(vec![0.01, 0.1, 1.0]));
        assert_eq!(
            (staged.wish.bake, staged.confirm),
            (Some(Duration::from_secs(30)), Some(Duration::from_secs(300)))
        );
        assert_eq!((staged.wish.ack, staged.wish.admin, staged.wish.now), (Some(Risk::High), false, false));
        for wrong in [
            "now=yes",
            "now=true&nwo=true",
            "now=true&now=true",
            "stages=1%25",
            "stages=10%25,1%25,100%25",
            "stages=1,100",
            "stages=",
            "bake=soon",
            "confirm=0s",
            "confirm=2d",
            "ack_risk=yes",
            "now=true&bake=1s",
        ] {
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
            (Err(422), Err(422), Err(422))
        );
        assert_eq!(reason("by+kim%E2%80%AEmik+yb"), Err(422), "it reads otherwise than it is written");
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
