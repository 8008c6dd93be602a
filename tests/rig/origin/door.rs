//! A backend's port: it accepts, or it lets no SYN be answered.
//!
//! The black hole is a full backlog on the listening socket itself, so that it can come and go while everybody
//! keeps the same address.

use super::Shared;
use super::exchange;
use super::knobs::Manner;
use socket2::{Domain, SockRef, Socket, Type};
use std::sync::Arc;
use tokio::net::TcpListener;

const BACKLOG: i32 = 4_096;
/// Connections that fill a backlog of none; the kernel takes one or two.
const FILLERS: usize = 8;

/// Keeps the door of a backend for as long as the fleet lives.
pub async fn keep(shared: Arc<Shared>, backend: usize, listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).expect("it is non-blocking");
    let _ = SockRef::from(&listener).listen(BACKLOG);
    loop {
        let changed = shared.manners.notified();
        if shared.inside().model.knobs(backend).manner == Manner::NoSyn {
            let fillers = fill(&listener);
            changed.await;
            let _ = SockRef::from(&listener).listen(BACKLOG);
            drop(fillers);
            continue;
        }
        tokio::select! {
            () = changed => {}
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                let _ = socket.set_nodelay(true);
                tokio::task::spawn_local(exchange::serve(shared.clone(), backend, socket));
            }
        }
    }
}

/// Fills the backlog until no further connection is taken.
fn fill(listener: &TcpListener) -> Vec<Socket> {
    let Ok(address) = listener.local_addr() else { return Vec::new() };
    let _ = SockRef::from(listener).listen(0);
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        socket.set_nonblocking(true).ok()?;
        // It is under way or refused: either way it takes its place.
        let _ = socket.connect(&address.into());
        Some(socket)
    };
    (0..FILLERS).filter_map(connect).collect()
}
