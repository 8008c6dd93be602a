//! The body of what the gateway answers: its own few bytes, or a backend's answer that drives the rest of the
//! exchange as the client reads it.

use crate::reject::Reason;
use crate::upstream::download::{End, Manner};
use crate::upstream::exchange::{Exchange, Guard, Pulled};
use crate::upstream::request_body::Ended;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What travels with an answer's body to its end.
pub trait Tail: Unpin {
    /// The client's connection has taken the last of the body.
    fn delivered(&mut self);
    /// Trailers passed by.
    fn trailers(&mut self);
}

/// A body for the client, and what is let go (`T`) when the client's connection has taken the last of it.
#[derive(Debug)]
pub struct Answer<G: Guard, T> {
    source: Source<G>,
    tail: T,
}

#[derive(Debug)]
enum Source<G: Guard> {
    Own(Option<Bytes>),
    Backend(Exchange<G>),
}

impl<G: Guard, T: Tail> Answer<G, T> {
    /// The gateway's own words. They are as good as delivered: a HEAD request's are never asked for.
    pub fn own(bytes: Bytes, mut tail: T) -> Self {
        tail.delivered();
        Answer { source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())), tail }
    }

    /// What a backend answers.
    pub fn relay(incoming: Incoming, exchange: Exchange<G>, manner: Manner, mut tail: T) -> Self {
        if incoming.is_end_stream() {
            exchange.complete();
            tail.delivered();
        } else {
            exchange.progress().answered();
        }
        exchange.receive(incoming, manner);
        Answer { source: Source::Backend(exchange), tail }
    }
}

/// The next frame of a backend's answer.
fn relay<G: Guard>(
    exchange: &Exchange<G>,
    cx: &mut Context<'_>,
    tail: &mut impl Tail,
) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
    let progress = exchange.progress();
    if let Some(reason) = progress.cause() {
        return Poll::Ready(Some(Err(Ended(reason))));
    }
    match exchange.poll_frame(cx) {
        Poll::Pending => {
            progress.download_pending(cx);
            Poll::Pending
        }
        Poll::Ready(Pulled::Frame(frame, last)) => {
            if frame.is_trailers() {
                tail.trailers();
            }
            progress.downloaded(frame.data_ref().map_or(0, Bytes::len));
            if last {
                tail.delivered();
            }
            Poll::Ready(Some(Ok(frame)))
        }
        Poll::Ready(Pulled::End(End::Complete)) => {
            tail.delivered();
            Poll::Ready(None)
        }
        Poll::Ready(Pulled::End(End::Broken)) => {
            // The upload's own failure breaks the connection too, and says more.
            let reason = progress.cause().unwrap_or(Reason::Reset);
            exchange.end(reason);
            Poll::Ready(Some(Err(Ended(reason))))
        }
    }
}

impl<G: Guard, T: Tail> Body for Answer<G, T> {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        let this = &mut *self;
        match &mut this.source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Backend(exchange) => relay(exchange, cx, &mut this.tail),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Backend(exchange) => exchange.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Backend(exchange) => exchange.size_hint(),
        }
    }
}
