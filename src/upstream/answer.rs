//! The body of what the gateway answers: its own few bytes, or a backend's answer that drives the rest of the
//! exchange as the client reads it.

use crate::reject::Reason;
use crate::upstream::exchange::{Exchange, Guard};
use crate::upstream::progress::Waiting;
use crate::upstream::request_body::Ended;
use crate::upstream::trailers;
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
    Backend(Relay<G>),
}

/// A backend's answer on its way.
#[derive(Debug)]
struct Relay<G: Guard> {
    incoming: Incoming,
    exchange: Exchange<G>,
}

impl<G: Guard, T: Tail> Answer<G, T> {
    /// The gateway's own words. They are as good as delivered: a HEAD request's are never asked for.
    pub fn own(bytes: Bytes, mut tail: T) -> Self {
        tail.delivered();
        Answer { source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())), tail }
    }

    /// What a backend answers.
    pub fn relay(incoming: Incoming, exchange: Exchange<G>, mut tail: T) -> Self {
        if incoming.is_end_stream() {
            exchange.complete();
            tail.delivered();
        } else {
            // Until it is asked for, the client has the move.
            exchange.progress().download_waits_for(Waiting::Client);
        }
        Answer { source: Source::Backend(Relay { incoming, exchange }), tail }
    }
}

impl<G: Guard> Relay<G> {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        tail: &mut impl Tail,
    ) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        if let Some(reason) = self.exchange.progress().cause() {
            return Poll::Ready(Some(Err(Ended(reason))));
        }
        let mut frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending() {
            let _ = self.exchange.poll_connection(cx);
            frame = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        match frame {
            Poll::Pending => {
                self.exchange.progress().download_pending(cx);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if frame.is_trailers() {
                    trailers::strip(&mut frame);
                    tail.trailers();
                }
                self.exchange.progress().downloaded(frame.data_ref().map_or(0, Bytes::len));
                if self.incoming.is_end_stream() {
                    self.exchange.complete();
                    tail.delivered();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.exchange.complete();
                tail.delivered();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                // The upload's own failure breaks the connection too, and says more.
                let reason = self.exchange.progress().cause().unwrap_or(Reason::Reset);
                drop(self.exchange.take());
                self.exchange.end(reason);
                Poll::Ready(Some(Err(Ended(reason))))
            }
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
            Source::Backend(relay) => relay.poll_frame(cx, &mut this.tail),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Backend(relay) => relay.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Backend(relay) => relay.incoming.size_hint(),
        }
    }
}
