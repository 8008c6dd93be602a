//! What the head of an answer says of the backend itself, for whoever leaves failing backends out (`overload.md`
//! 2(vi)) and for the choice among backends.
//!
//! Only what another backend might have done better is a failure. It never looks at bodies or trailers: they come
//! after the choice, and a stream may end in an hour.

use crate::balancing::ewma::PeakEwma;
use crate::upstream::vitals::Blame;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode, Version};

/// `UNKNOWN`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`: those that say nothing of the request (linkerd's list).
const GRPC_FAILURES: [u8; 4] = [2, 13, 14, 15];

/// What an answer says of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works. So it does when it refuses the client by policy (429): a client that is limited must not be able
    /// to have backends left out.
    Well,
    /// It is overloaded and says when to come again (503 with `Retry-After`). Leaving it out would only move its load
    /// to its neighbours, which are next; caps and the choice by response time relieve it instead. So it counts
    /// neither for it nor against it, and gets less.
    Busy,
    /// Nothing: 501 and 505 are about the request, and every backend would say the same.
    Nothing,
    /// It fails.
    Failed(Blame),
}

impl Verdict {
    /// By status, and by `grpc-status` where it is in the head.
    #[inline]
    pub fn of<B>(response: &Response<B>) -> Self {
        if response.status().is_server_error() {
            Verdict::of_error(response)
        } else if response.version() == Version::HTTP_2 {
            grpc_failure(response).map_or(Verdict::Well, Verdict::Failed)
        } else {
            Verdict::Well
        }
    }

    #[cold]
    fn of_error<B>(response: &Response<B>) -> Self {
        match response.status() {
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Verdict::Nothing,
            StatusCode::SERVICE_UNAVAILABLE if response.headers().contains_key(RETRY_AFTER) => Verdict::Busy,
            status => Verdict::Failed(Blame::Status(status.as_u16())),
        }
    }

    /// Counts the answer's time for the choice among backends: failing fast must not look like answering fast.
    #[inline]
    pub(super) fn record(self, latency: &PeakEwma, now_ns: u64, rtt_ns: u64) {
        match self {
            Verdict::Well | Verdict::Nothing => latency.record(now_ns, rtt_ns),
            Verdict::Busy | Verdict::Failed(_) => latency.failure(now_ns, rtt_ns),
        }
    }
}

/// A call that failed before its first message has its status in the head.
fn grpc_failure<B>(response: &Response<B>) -> Option<Blame> {
    let status: u8 = response.headers().get("grpc-status")?.to_str().ok()?.parse().ok()?;
    GRPC_FAILURES.contains(&status).then_some(Blame::Grpc(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, header: Option<(&str, &str)>) -> Verdict {
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header {
            response = response.version(Version::HTTP_2).header(name, value);
        }
        Verdict::of(&response.body(()).expect("a valid head"))
    }

    #[test]
    fn only_what_another_backend_might_do_better_is_a_failure() {
        for status in [500, 502, 503, 504, 507, 599] {
            assert_eq!(verdict(status, None), Verdict::Failed(Blame::Status(status)));
        }
        assert_eq!(verdict(503, Some(("retry-after", "1"))), Verdict::Busy);
        assert_eq!((verdict(501, None), verdict(505, None)), (Verdict::Nothing, Verdict::Nothing));
        for status in [200, 304, 400, 404, 429] {
            assert_eq!(verdict(status, Some(("retry-after", "1"))), Verdict::Well);
        }
    }

    #[test]
    fn a_call_that_failed_at_once_is_known_by_its_grpc_status() {
        assert_eq!(verdict(200, Some(("grpc-status", "14"))), Verdict::Failed(Blame::Grpc(14)));
        for own in ["0", "3", "5", "8", "x"] {
            assert_eq!(verdict(200, Some(("grpc-status", own))), Verdict::Well, "{own}");
        }
    }
}
