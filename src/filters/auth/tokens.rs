//! Judging a request by the token that it shows: which keys it is checked with, where that is done, and for how long
//! the outcome may be kept.
//!
//! Signatures are checked away from the core, a few at a time for the whole process; when too many wait for that,
//! the request is refused at once.

use crate::filters::auth::api_key::credential;
use crate::filters::auth::ask::Question;
use crate::filters::auth::decisions::{Keep, Key};
use crate::filters::auth::jwt::ring::{NoKeys, Ring};
use crate::filters::auth::jwt::{self, Unfit, Verified};
use crate::filters::auth::settings::Jwt;
use crate::filters::auth::verdict::{Decision, Identity, Outcome, Passed, Refused, Undecided};
use crate::reject::Reason;
use crate::runtime::offload::Declined;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What tells tokens apart: a keyed hash of the whole of one. Nothing where none is shown, or one that is too long.
pub fn key(secret: &[u8; 32], jwt: &Jwt, question: &Question<'_>) -> Option<Key> {
    let token = credential(&jwt.header, question.headers)?;
    if token.len() > jwt.rules.max_length {
        return None;
    }
    let mut key = Key::default();
    key.copy_from_slice(&blake3::keyed_hash(secret, token).as_bytes()[..16]);
    Some(key)
}

/// Judges the token, and says for how long that may be kept.
pub async fn ask(
    auth: &Arc<str>,
    jwt: &Jwt,
    ring: &Ring,
    question: &Question<'_>,
    until: Instant,
) -> (Outcome, Keep) {
    let Some(token) = credential(&jwt.header, question.headers) else {
        return (Ok(refused(Reason::Unauthenticated, "Bearer")), Keep::AsSet);
    };
    match verified(token, jwt, ring, until).await {
        Ok(Ok(verified)) => decide(auth, jwt, verified),
        // Its key may come with the next fetch.
        Ok(Err(Unfit::UnknownKey)) => (Ok(unfit(Unfit::UnknownKey)), Keep::Not),
        // And its time may come at any moment.
        Ok(Err(Unfit::Early)) => (Ok(unfit(Unfit::Early)), Keep::Not),
        Ok(Err(why)) => (Ok(unfit(why)), Keep::AsSet),
        Err(why) => (Err(why), Keep::Not),
    }
}

async fn verified(
    token: &[u8],
    jwt: &Jwt,
    ring: &Ring,
    until: Instant,
) -> Result<Result<Verified, Unfit>, Undecided> {
    let head = match jwt::head(token, &jwt.rules) {
        Ok(head) => head,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let held = ring.keys_for(&head, until).await.map_err(undecided)?;
    if !held.keys.knows(&head) {
        return Ok(Err(Unfit::UnknownKey));
    }
    let now = seconds(SystemTime::now());
    if !jwt::is_slow(head.algorithm) {
        return Ok(jwt::verify(token, &held.keys, &jwt.rules, now));
    }
    let (token, rules) = (Box::<[u8]>::from(token), jwt.rules.clone());
    let left = until.saturating_duration_since(Instant::now());
    let done = ring.turns().run(left, move || jwt::verify(&token, &held.keys, &rules, now)).await;
    done.map_err(|declined| match declined {
        Declined::Busy | Declined::Late => Undecided::Overload,
        Declined::Failed => Undecided::Failed("checking this token failed"),
    })
}

fn undecided(why: NoKeys) -> Undecided {
    match why {
        NoKeys::Never => Undecided::Failed("the keys that tokens are checked with could never be fetched"),
        NoKeys::Late => Undecided::Failed("the keys that tokens are checked with are not there yet"),
        NoKeys::Busy => Undecided::Overload,
        NoKeys::Stuck => Undecided::KeyUnknown,
    }
}

fn decide(auth: &Arc<str>, jwt: &Jwt, verified: Verified) -> (Outcome, Keep) {
    let left = verified.until.saturating_sub(seconds(SystemTime::now()));
    let keep = Keep::AtMost(Duration::from_secs(left));
    let Some(granted) = jwt.grants.of(&verified.claims) else {
        let challenge = "Bearer error=\"insufficient_scope\"";
        return (Ok(refused(Reason::Forbidden, challenge)), keep);
    };
    let identity = Identity { auth: auth.clone(), subject: granted.subject };
    let passed = Passed { identity, headers: granted.headers, class: granted.class };
    (Ok(Decision::Passed(Arc::new(passed))), keep)
}

/// RFC 6750, 3: the client is told why.
fn unfit(why: Unfit) -> Decision {
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{why}\"");
    refused(Reason::Unauthenticated, &challenge)
}

fn refused(reason: Reason, challenge: &str) -> Decision {
    let headers = HeaderValue::from_str(challenge).ok().map(|challenge| (WWW_AUTHENTICATE, challenge));
    Decision::Refused(Arc::new(Refused { reason, headers: headers.into_iter().collect() }))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
