//! A small HTTP/1.1 server on loopback: what the drill's origins and its auth service have in common.
//!
//! It speaks to nobody but the gateway of the drill. Its connections end when its life does, as those of a process
//! that is killed.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where servers listen: not where the gateway dials from, so that a server that is away for a moment finds its
/// port again. All of 127/8 is loopback on Linux; elsewhere often only its first address is there.
const HOMES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 77, 0, 1), Ipv4Addr::LOCALHOST];
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(20);

/// A socket on loopback, at a port that the system chooses.
///
/// # Errors
/// When there is none.
pub(super) fn bind() -> io::Result<std::net::TcpListener> {
    let socket = HOMES.iter().find_map(|home| std::net::TcpListener::bind((*home, 0)).ok());
    let socket = socket.ok_or_else(|| io::Error::other("no port on loopback can be listened on"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Serves until the end of `life`; then every connection breaks.
pub(super) async fn serve<F, Fut>(listener: TcpListener, life: CancellationToken, answer: F)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = life.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (life, answer) = (life.clone(), answer.clone());
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // A client that breaks off is its own affair.
                _ = connection => {}
                () = life.cancelled() => {}
            }
        });
    }
}

/// The same port again, after its server was away.
///
/// # Errors
/// When somebody else has it now.
pub(super) fn again(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
