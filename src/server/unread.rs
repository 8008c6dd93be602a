//! The body of a refused request: read away within bounds, so that the connection can be kept.

use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// Bytes read away at most; beyond that closing is cheaper.
const MOST: u64 = 64 * 1024;
/// For how long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads the body away beside the answer. Not for a client that waits for `100 Continue`: reading asks for the
/// body.
pub fn drain(mut body: Incoming) {
    let small = body.size_hint().upper().is_none_or(|length| length <= MOST);
    if body.is_end_stream() || !small {
        return;
    }
    tokio::task::spawn_local(async move {
        let _ = tokio::time::timeout(PATIENCE, async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > MOST {
                    break;
                }
            }
        })
        .await;
    });
}
