//! The request's body on its way to a backend: counted, bounded, and held back while the client waits for
//! `100 Continue` (RFC 9110, 10.1.1).

use crate::reject::Reason;
use crate::upstream::progress::Progress;
use crate::upstream::trailers;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a body is held back when the backend does not say `100 Continue`.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// An exchange was ended for this reason while its body was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended(pub Reason);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl std::error::Error for Ended {}

/// What a backend is sent after the head.
#[derive(Debug)]
pub struct RequestBody(Option<Streamed>);

#[derive(Debug)]
struct Streamed {
    incoming: Incoming,
    progress: Rc<Progress>,
    limit: u64,
    held: Option<Held>,
}

/// Waiting for the backend's `100 Continue`, or for the end of our patience.
#[derive(Debug)]
struct Held {
    go: Arc<AtomicBool>,
    patience: Pin<Box<Sleep>>,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        RequestBody(None)
    }

    /// The client's body, at most `limit` bytes of it.
    pub fn streamed(incoming: Incoming, progress: Rc<Progress>, limit: u64) -> Self {
        if incoming.is_end_stream() {
            return RequestBody(None);
        }
        progress.expect_upload();
        RequestBody(Some(Streamed { incoming, progress, limit, held: None }))
    }

    /// Holds the body back until `go` is set, or for a second.
    pub fn hold(&mut self, go: Arc<AtomicBool>) {
        if let Some(streamed) = &mut self.0 {
            streamed.held = Some(Held { go, patience: Box::pin(tokio::time::sleep(CONTINUE_WAIT)) });
        }
    }

    /// There is nothing to send, so the request can be sent again.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Held {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.go.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        let Some(streamed) = &mut self.0 else { return Poll::Ready(None) };
        if let Some(reason) = streamed.progress.cause() {
            return Poll::Ready(Some(Err(Ended(reason))));
        }
        if let Some(held) = &mut streamed.held {
            ready!(held.poll(cx));
            streamed.held = None;
        }
        match Pin::new(&mut streamed.incoming).poll_frame(cx) {
            Poll::Pending => {
                streamed.progress.upload_pending(cx);
                Poll::Pending
            }
            Poll::Ready(None) => {
                streamed.progress.upload_ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                streamed.progress.end(Reason::ClientGone);
                Poll::Ready(Some(Err(Ended(Reason::ClientGone))))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                trailers::strip(&mut frame);
                let taken = streamed.progress.uploaded(frame.data_ref().map_or(0, Bytes::len));
                if taken > streamed.limit {
                    streamed.progress.end(Reason::BodyTooLarge);
                    return Poll::Ready(Some(Err(Ended(Reason::BodyTooLarge))));
                }
                if streamed.incoming.is_end_stream() {
                    streamed.progress.upload_ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|streamed| streamed.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |streamed| streamed.incoming.size_hint())
    }
}
