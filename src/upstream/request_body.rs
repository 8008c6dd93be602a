//! The request's body on its way to a backend: counted, bounded, its beginning gathered before the request asks
//! for permits, and held back while the client waits for `100 Continue` (RFC 9110, 10.1.1).

use crate::memory::CoreMemory;
use crate::permit::{Counter, Permit};
use crate::reject::Reason;
use crate::upstream::gathered::Gathered;
use crate::upstream::progress::{Progress, Waiting};
use crate::upstream::trailers;
use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::fmt;
use std::future::poll_fn;
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
    gathered: Gathered,
    progress: Rc<Progress>,
    limit: u64,
    /// Only the gateway may say these, so they may not come after the body either.
    without: Option<Arc<[HeaderName]>>,
    held: Option<Held>,
    /// Sent to a backend before its body was there; given back when the body has ended.
    expecting: Option<Permit<Arc<Counter>>>,
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
    pub fn streamed(incoming: Incoming, progress: Rc<Progress>, limit: u64, memory: &Rc<CoreMemory>) -> Self {
        if incoming.is_end_stream() {
            return RequestBody(None);
        }
        progress.expect_upload();
        let gathered = Gathered::new(memory);
        let (without, held, expecting) = (None, None, None);
        RequestBody(Some(Streamed { incoming, gathered, progress, limit, without, held, expecting }))
    }

    /// Takes these fields out of what comes after the body.
    pub fn without(&mut self, names: &Arc<[HeaderName]>) {
        if let Some(streamed) = self.0.as_mut().filter(|_| !names.is_empty()) {
            streamed.without = Some(names.clone());
        }
    }

    /// Waits for the body's beginning: its end, or as much as is kept. Asks the client for it.
    ///
    /// # Errors
    /// Why it will not come, or may not: the client is gone or too slow, the body is too large, or there is no
    /// memory left to keep it.
    pub async fn gather(&mut self) -> Result<(), Ended> {
        let Some(streamed) = &mut self.0 else { return Ok(()) };
        let gathered = poll_fn(|cx| streamed.poll_gather(cx)).await;
        streamed.progress.upload_waits_for(Waiting::Nobody);
        gathered
    }

    /// What of the client's body was not asked for, when the request ends here.
    pub fn into_unread(self) -> Option<Incoming> {
        self.0.map(|streamed| streamed.incoming)
    }

    /// Holds the body back until `go` is set, or for a second.
    pub fn hold(&mut self, go: Arc<AtomicBool>) {
        if let Some(streamed) = &mut self.0 {
            streamed.held = Some(Held { go, patience: Box::pin(tokio::time::sleep(CONTINUE_WAIT)) });
        }
    }

    /// Keeps the right to be sent before the body is there, until the body has ended.
    pub fn expect(&mut self, right: Permit<Arc<Counter>>) {
        if let Some(streamed) = &mut self.0 {
            streamed.expecting = Some(right);
        }
    }

    /// There is nothing to send, so the request can be sent again.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Streamed {
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        while !self.gathered.ended() {
            match ready!(self.poll_client(cx)) {
                None => self.gathered.end(),
                Some(Err(ended)) => return Poll::Ready(Err(ended)),
                Some(Ok(frame)) => {
                    if !self.gathered.add(frame) {
                        // Passed on half, it would hold a permit while the client takes its time.
                        return Poll::Ready(Err(Ended(Reason::Memory)));
                    }
                    if self.incoming.is_end_stream() {
                        self.gathered.end();
                    } else if self.gathered.is_enough() {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next piece from the client.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        if let Some(reason) = self.progress.cause() {
            return Poll::Ready(Some(Err(Ended(reason))));
        }
        let end = |reason| {
            self.progress.end(reason);
            Poll::Ready(Some(Err(Ended(reason))))
        };
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                self.progress.upload_pending(cx);
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => end(Reason::ClientGone),
            Poll::Ready(Some(Ok(mut frame))) => {
                trailers::strip(&mut frame);
                if let (Some(names), Some(trailers)) = (&self.without, frame.trailers_mut()) {
                    names.iter().for_each(|name| drop(trailers.remove(name)));
                }
                let received = self.progress.received(frame.data_ref().map_or(0, Bytes::len));
                if received > self.limit {
                    return end(Reason::BodyTooLarge);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// All of it was passed on.
    fn finish(&mut self) {
        self.progress.upload_ended();
        self.expecting = None;
    }

    fn is_end_stream(&self) -> bool {
        self.gathered.is_empty() && (self.gathered.ended() || self.incoming.is_end_stream())
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
        let frame = match streamed.gathered.next() {
            Some(frame) => frame,
            None if streamed.gathered.ended() => {
                streamed.finish();
                return Poll::Ready(None);
            }
            None => match ready!(streamed.poll_client(cx)) {
                Some(Ok(frame)) => frame,
                end => {
                    if end.is_none() {
                        streamed.finish();
                    }
                    return Poll::Ready(end);
                }
            },
        };
        streamed.progress.uploaded(frame.data_ref().map_or(0, Bytes::len));
        if streamed.is_end_stream() {
            streamed.finish();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Streamed::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(streamed) = &self.0 else { return SizeHint::with_exact(0) };
        let mut hint = streamed.incoming.size_hint();
        let gathered = streamed.gathered.bytes();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(gathered));
        }
        hint.set_lower(hint.lower().saturating_add(gathered));
        hint
    }
}
