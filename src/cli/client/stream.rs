//! Reading server-sent events, one after the other.

use super::{Client, ClientError, DEADLINE};
use bytes::BytesMut;
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::timeout;

/// The gateway says something every 15 s; after this it is gone.
const SILENCE: Duration = Duration::from_secs(45);

/// The largest event.
const MAX_EVENT: usize = 1 << 20;

/// Of a stream of snapshots: one comes every second, and it says that it lives every five.
const SNAPSHOT_SILENCE: Duration = Duration::from_secs(12);

/// The largest snapshot: a large fleet's, with one upstream in full.
const MAX_SNAPSHOT: usize = 32 << 20;

impl Client {
    /// Hands on the events of a path as they come, for as long as `each` wants more and the gateway goes on.
    /// Events after the id `last`, or from now on; afterwards `last` is the id of the one handed on last.
    ///
    /// # Errors
    /// If nobody answers, or with an error. That a stream ends, or breaks, is none.
    pub fn follow(
        &self,
        path: &str,
        last: &mut Option<u64>,
        each: impl FnMut(&Value) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ClientError> {
        self.listen(path, (SILENCE, MAX_EVENT), last, each)
    }

    /// Hands on the snapshots of a path as they come, for as long as `each` wants more and the gateway goes on.
    ///
    /// # Errors
    /// If nobody answers, or with an error. That a stream ends, or breaks, is none.
    pub fn watch(
        &self,
        path: &str,
        each: impl FnMut(&Value) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ClientError> {
        self.listen(path, (SNAPSHOT_SILENCE, MAX_SNAPSHOT), &mut None, each)
    }

    fn listen(
        &self,
        path: &str,
        bounds: (Duration, usize),
        last: &mut Option<u64>,
        each: impl FnMut(&Value) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ClientError> {
        self.on_runtime(async {
            let mut request = self.request(Method::GET, path, None)?;
            if let Some(id) = *last {
                request.headers_mut().insert("last-event-id", HeaderValue::from(id));
            }
            let answer = timeout(DEADLINE, self.send(request)).await;
            let answer = answer.map_err(|_| self.unreachable("it does not answer"))??;
            if !answer.status().is_success() {
                let refusal = timeout(DEADLINE, self.whole(answer)).await;
                refusal.map_err(|_| self.unreachable("it does not answer"))??;
                return Ok(ControlFlow::Continue(()));
            }
            Ok(hand_on(answer.into_body(), bounds, last, each).await)
        })
    }
}

async fn hand_on(
    mut body: Incoming,
    (silence, largest): (Duration, usize),
    last: &mut Option<u64>,
    mut each: impl FnMut(&Value) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut unread = BytesMut::new();
    while let Ok(Some(Ok(frame))) = timeout(silence, body.frame()).await {
        let Ok(data) = frame.into_data() else { continue };
        // What was looked through before has no end in it, but perhaps the half of one.
        let mut seen = unread.len().saturating_sub(1);
        unread.extend_from_slice(&data);
        while let Some(end) = memchr::memmem::find(&unread[seen..], b"\n\n") {
            let block = unread.split_to(seen + end + 2);
            seen = 0;
            let id = field(&block, b"id:").and_then(|id| str::from_utf8(id).ok()?.trim().parse().ok());
            *last = id.or(*last);
            if let Some(event) = field(&block, b"data:").and_then(|data| serde_json::from_slice(data).ok()) {
                each(&event)?;
            }
        }
        if unread.len() > largest {
            break;
        }
    }
    ControlFlow::Continue(())
}

/// What stands behind a field's name in a block. Comments have none.
fn field<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    block.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_comments_are_not() {
        let block = b"id: 7\nevent: shed\ndata: {\"id\": 7}\n\n";
        assert_eq!(field(block, b"data:"), Some(&b" {\"id\": 7}"[..]));
        assert_eq!(field(block, b"id:"), Some(&b" 7"[..]));
        for nothing in [&b":\n\n"[..], b"retry: 2000\n\n", b"\n\n"] {
            assert_eq!(field(nothing, b"data:"), None);
        }
    }
}
