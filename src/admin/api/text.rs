//! Requests that carry the text of a configuration: received with a bound, checked away from the admin thread.

use crate::admin::problem::Problem;
use crate::admin::reach::{Reach, Verdict};
use crate::runtime::offload::Declined;
use axum::body::Body;
use axum::extract::Request;
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest text.
pub(super) const MAX_TEXT: usize = 4 << 20;

/// For the whole of a request with a text, a moment less than every request has, so that the answer is a word and
/// not a cut.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// Receives a text and checks it; also says until when the request is to be answered.
pub(super) async fn receive(reach: &Reach, request: Request) -> Result<(Verdict, Instant), Problem> {
    let (text, end) = received(reach, request).await?;
    let verdict = reach.check(text, left(end)).await.map_err(declined)?;
    Ok((verdict, end))
}

/// Receives a text; also says until when the request is to be answered.
pub(super) async fn received(reach: &Reach, request: Request) -> Result<(String, Instant), Problem> {
    let end = Instant::now() + PATIENCE;
    no_form(request.headers())?;
    let text = text_of(request.into_body(), end, &reach.uploads).await?;
    Ok((text, end))
}

/// What is left until then.
pub(super) fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// What comes in, for as long as there is room for it: who has sent little takes little.
async fn text_of(body: Body, end: Instant, room: &Semaphore) -> Result<String, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "The text is larger than 4 MiB.");
    let slow = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "The text did not come in time.");
    let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many texts come in at a time.");
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut held) = (Vec::new(), None);
    while let Some(chunk) = tokio::time::timeout_at(end.into(), chunks.next()).await.map_err(slow)? {
        // A client that has left is told nothing anyway.
        let chunk = chunk.map_err(|_| too_large())?;
        if bytes.len() + chunk.len() > MAX_TEXT {
            return Err(too_large());
        }
        // It fits into 32 bits, as MAX_TEXT does.
        let more = room.try_acquire_many(chunk.len() as u32).map_err(busy)?;
        held = Some(joined(held, more));
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::new(StatusCode::BAD_REQUEST, format!("The text is not UTF-8 (byte {at})."))
            .because("not_utf8")
    })
}

fn joined<'a>(held: Option<SemaphorePermit<'a>>, mut more: SemaphorePermit<'a>) -> SemaphorePermit<'a> {
    if let Some(held) = held {
        more.merge(held);
    }
    more
}

/// What a web page's form can send without asking is no configuration.
fn no_form(headers: &HeaderMap) -> Result<(), Problem> {
    let kinds = headers.get_all(CONTENT_TYPE).iter();
    let form = |kind: &[u8]| {
        let kind = kind.to_ascii_lowercase();
        kind.starts_with(b"text/plain") || kind.starts_with(b"multipart/")
    };
    match kinds.into_iter().any(|kind| form(kind.as_bytes())) {
        true => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body is the text of a configuration. hint: `Content-Type: application/toml`",
        )),
        false => Ok(()),
    }
}

/// Why a text was not checked.
pub(super) fn declined(why: Declined) -> Problem {
    let (status, detail) = match why {
        Declined::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Too many texts are being checked at a time."),
        Declined::Late => (StatusCode::SERVICE_UNAVAILABLE, "Checking the text took too long."),
        Declined::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "The check failed on this text."),
    };
    Problem::new(status, detail)
}

/// 422 with everything that was found.
pub(super) fn invalid(verdict: Verdict) -> Problem {
    let Verdict { findings, errors, .. } = verdict;
    let first = errors.first().map_or("", String::as_str);
    let detail = match errors.len() {
        1 => format!("The configuration is invalid: {first}"),
        count => format!("The configuration is invalid: {first}; and {} more", count.saturating_sub(1)),
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("findings", findings)
}
