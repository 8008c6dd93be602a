//! One client's connection from its first byte to its last: which protocol, the engine's run, and how it
//! ends. The worker has done the TLS handshake, if any.
//!
//! However it ends, the client gets to read what was written: a socket that is closed with unread input
//! sends a reset, which can eat the answer (`hyper-notes.md` 6).

use crate::filters::forwarded;
use crate::reject::{Reason, Reject};
use crate::runtime::local::LocalExecutor;
use crate::server::client::{Client, Watcher};
use crate::server::door::sniff::{Protocol, sniff};
use crate::server::door::{Door, HeadLimits, Refusal};
use crate::server::outlet::Outlet;
use crate::server::{interim, pipeline, record};
use crate::upstream::transport::Transport;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long, and for how many bytes, we listen to a client after our last word.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What the engine may buffer for one HTTP/1 connection, in either direction: a slow reader of a large answer
/// costs this much and no more. The door bounds heads far below.
const MAX_BUFFER: usize = 128 * 1024;

/// Header lines that the engine parses without allocating; it is told only of more.
const ENGINE_HEADERS: usize = 100;

/// HTTP/2 receive windows. The connection's must be at least 1 MiB, or the engine's budget for small frames
/// kills real gRPC clients.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes buffered for one stream towards the client.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that the client reset before we looked at them.
const RESETS: usize = 20;

/// A connection between two requests: all that is kept of a parked one, beside its client.
struct Quiet {
    transport: Transport,
    /// Read, and not served yet.
    held: Vec<u8>,
}

/// Serves a client until the connection ends. What serving takes is boxed, and given back while the client is
/// quiet: most connections are, most of the time.
pub fn serve(
    client: Rc<Client>,
    transport: Transport,
    mut known: Option<Protocol>,
) -> impl Future<Output = ()> {
    let mut quiet = Quiet { transport, held: Vec::new() };
    // Under TLS its first words may have come with the handshake, and HTTP/2 waits for ours.
    let mut speaks = known.is_some();
    // A block, because an async function would have room for all of these twice.
    async move {
        loop {
            if !speaks && let Err(reason) = wait_parked(&client, &quiet.transport).await {
                return Box::pin(dismiss(&client, quiet, reason)).await;
            }
            speaks = false;
            quiet = match Box::pin(attend(&client, quiet, &mut known)).await {
                Some(next) => next,
                None => return,
            };
        }
    }
}

/// Waits until the client speaks, or must go.
async fn wait_parked(client: &Client, transport: &Transport) -> Result<(), Reason> {
    let _parked = client.park();
    match or_killed(client, poll_fn(|cx| transport.poll_readable(cx))).await {
        Err(Reason::Draining) if transport.has_unread() => {
            client.spare();
            Ok(())
        }
        other => other,
    }
}

/// Ends a connection that nothing was asked on for too long, or that should leave.
async fn dismiss(client: &Rc<Client>, quiet: Quiet, reason: Reason) {
    // Whoever never asked waits for no answer.
    if client.has_asked() {
        let door = door(client, quiet.transport, quiet.held);
        farewell(client, door, Some(reason)).await;
    }
}

/// Serves a client that speaks, until the connection ends or is quiet again.
async fn attend(client: &Rc<Client>, quiet: Quiet, known: &mut Option<Protocol>) -> Option<Quiet> {
    let Quiet { mut transport, mut held } = quiet;
    while known.is_none() {
        match or_killed(client, sniff(&mut transport, &mut held)).await {
            Ok(Ok(protocol)) => *known = Some(protocol),
            Err(Reason::Draining) if transport.has_unread() => client.spare(),
            Ok(Err(_)) | Err(_) => return None,
        }
    }
    if *known == Some(Protocol::Http2) {
        client.http2.set(true);
        Box::pin(serve_h2(client, Door::h2(transport, held, Watcher(client.clone())))).await;
        return None;
    }
    serve_h1(client, door(client, transport, held)).await
}

/// What HTTP/1 goes through.
fn door(client: &Rc<Client>, transport: Transport, held: Vec<u8>) -> Door<Outlet, Watcher> {
    let limits = &client.settings.limits;
    let limits = HeadLimits {
        max_head_bytes: limits.max_head_bytes,
        max_headers: limits.max_headers,
        max_uri_bytes: limits.max_uri_bytes,
    };
    Door::h1(Outlet::new(transport, client.clone()), held, limits, Watcher(client.clone()))
}

/// Runs a future until it ends or the client must go.
async fn or_killed<F: Future>(client: &Client, future: F) -> Result<F::Output, Reason> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if let Some(reason) = client.killed() {
            return Poll::Ready(Err(reason));
        }
        client.remember(cx);
        future.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// How serving HTTP/1 ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The engine is done.
    Over,
    /// The client must go.
    Killed(Reason),
    /// Nothing is asked for the moment.
    Quiet,
}

/// Serves HTTP/1 to the end of the connection, or until the client has been at rest for so long that it is parked.
/// One that should go because it was quiet, and turns out to have asked in that very moment, is given back too.
async fn serve_h1(client: &Rc<Client>, door: Door<Outlet, Watcher>) -> Option<Quiet> {
    let service = service_fn({
        let client = client.clone();
        move |request| {
            let client = client.clone();
            in_place(move || pipeline::handle(client, request))
        }
    });
    let limits = &client.settings.limits;
    let mut builder = http1::Builder::new();
    if limits.max_headers > ENGINE_HEADERS {
        builder.max_headers(limits.max_headers);
    }
    let mut connection = builder
        .half_close(false)
        .header_read_timeout(None)
        .max_buf_size(MAX_BUFFER.max(limits.max_head_bytes * 2))
        .max_header_size(limits.max_head_bytes * 2)
        .pipeline_flush(false)
        .serve_connection(TokioIo::new(door), service);
    client.may_be_parked(true);
    let ended = poll_fn(|cx| {
        if let Some(reason) = client.killed() {
            return Poll::Ready(Ended::Killed(reason));
        }
        client.remember(cx);
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(_) => Poll::Ready(Ended::Over),
            // Asked after the engine, which has just read all that there was.
            Poll::Pending if client.is_to_be_parked() => Poll::Ready(Ended::Quiet),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    client.may_be_parked(false);
    let parts = connection.into_parts();
    let door = parts.io.into_inner();
    let upgraded = client.upgraded.borrow_mut().take();
    if let Some(upgraded) = upgraded {
        client.becomes_tunnel();
        Box::pin(upgraded.carry(client, door, &parts.read_buf)).await;
        return None;
    }
    drop(parts.service);
    // What the engine holds of a client at rest is no request, but a body that nobody wanted: it must not be read
    // as one.
    let at_rest = client.is_at_rest() && parts.read_buf.is_empty();
    let goes_on = match ended {
        Ended::Quiet => at_rest,
        // The system knows of a request before the engine does; closing over it would lose it.
        Ended::Killed(Reason::Draining) => at_rest && door.transport().has_unread(),
        Ended::Killed(_) | Ended::Over => false,
    };
    if goes_on {
        if ended != Ended::Quiet {
            client.spare();
        }
        let (outlet, held) = door.into_parts();
        return Some(Quiet { transport: outlet.into_inner(), held });
    }
    let killed = if let Ended::Killed(reason) = ended { Some(reason) } else { None };
    Box::pin(farewell(client, door, killed)).await;
    None
}

/// The last words on an HTTP/1 connection: why the door refused, or that the head took too long; then the end
/// of our side, and time for the client to read it. An answer that is cut, and that only the connection's end
/// would end, is cut with a reset: nothing else tells it from a whole one.
async fn farewell(client: &Rc<Client>, mut door: Door<Outlet, Watcher>, killed: Option<Reason>) {
    if client.would_look_whole() {
        return door.transport().reset_when_dropped();
    }
    let last_word = match (killed, client.take_refusal()) {
        (_, Some(refusal)) => Some(refusal),
        (Some(Reason::RequestTimeout), None) if client.in_head() => {
            Some(Refusal { reason: Reason::RequestTimeout, detail: "the request's head took too long" })
        }
        _ => None,
    };
    if killed == Some(Reason::ClientTooSlow) {
        return;
    }
    let last_word = last_word.filter(|_| !client.is_mid_answer());
    // What little the engine is through with, and the system has not taken yet, has the time of any answer.
    let patience = client.settings.idle_timeout;
    let _ = tokio::time::timeout(patience, poll_fn(|cx| door.transport().poll_send(cx))).await;
    // Closing says the end of our side too, and a client that will not send gets no reset.
    let parting = last_word.is_none() && door.is_between_requests() && client.has_all_it_asked_for();
    if parting && door.transport().is_clear() && !door.transport().has_unread() {
        return;
    }
    let goodbye = async {
        if let Some(refusal) = last_word {
            door.tunnel(&[]);
            door.write_all(&refused(client, refusal)).await?;
        }
        let (mut transport, _) = door.into_parts();
        transport.shutdown().await?;
        if parting && !transport.has_unread() {
            return Ok(());
        }
        let mut buffer = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match transport.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, goodbye).await;
}

/// The answer that the engine never made, counted like any other.
fn refused(client: &Rc<Client>, refusal: Refusal) -> Vec<u8> {
    let station = &client.station;
    station.shared.metrics.process().refused(station.core, refusal.reason);
    let id = forwarded::request_id(&mut HeaderMap::new(), false);
    let mut answer = Reject::new(refusal.reason, refusal.detail).answer(&id, false);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    record::refused_at_the_door(client, &id, refusal);
    interim::head(&answer)
}

async fn serve_h2(client: &Rc<Client>, door: Door<Transport, Watcher>) {
    let service = service_fn({
        let client = client.clone();
        move |request| {
            let client = client.clone();
            in_place(move || pipeline::handle(client, request))
        }
    });
    let limits = &client.settings.limits;
    let mut connection = http2::Builder::new(LocalExecutor)
        .max_concurrent_streams(limits.max_h2_streams)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .serve_connection(TokioIo::new(door), service);
    let mut told = false;
    poll_fn(|cx| {
        if client.killed().is_some() {
            return Poll::Ready(());
        }
        client.remember(cx);
        if !told && client.goodbye_is_due() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx).map(|_| ())
    })
    .await;
    if let Some(refusal) = client.take_refusal() {
        client.station.shared.metrics.process().refused(client.station.core, refusal.reason);
    }
}

/// A future that is made in its box and stays there. The engine moves a stream's state about, and with the walk
/// inside that is a copy of many kilobytes; so is a box that is filled with what was made outside. `default` makes
/// an empty one where it will be.
fn in_place<F: Future>(make: impl FnOnce() -> F) -> impl Future<Output = F::Output> {
    let mut place = Box::into_pin(Box::<Option<F>>::default());
    place.set(Some(make()));
    poll_fn(move |cx| place.as_mut().as_pin_mut().expect("it was put there").poll(cx))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn what_the_engine_moves_of_a_request_is_a_pointer() {
        let walk = || async {
            let kept = [1_u8; 8192];
            std::future::ready(()).await;
            kept.iter().map(|one| usize::from(*one)).sum::<usize>()
        };
        assert!(size_of_val(&walk()) >= 8192, "it holds much");
        let walk = in_place(walk);
        assert_eq!(size_of_val(&walk), size_of::<usize>());
        assert_eq!(walk.now_or_never(), Some(8192), "and it runs");
    }
}
