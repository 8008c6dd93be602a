//! A connection after `101 Switching Protocols`: the client's bytes and the backend's, joined.

use crate::admission::Granted;
use crate::server::client::{Client, Watcher};
use crate::server::door::Door;
use crate::server::outlet::Outlet;
use crate::server::record::Record;
use crate::upstream::tunnel::Tunnel;
use std::future::poll_fn;
use std::task::Poll;

/// A tunnel whose 101 is on its way to the client.
#[derive(Debug)]
pub struct Upgraded {
    /// The backend's side.
    pub tunnel: Option<Tunnel>,
    /// The request that it was, finished when the tunnel ends. It holds the tunnel's right to be in the process.
    pub record: Option<Record>,
    /// Its place among the backend's streams: tunnels have bounds of their own, so that thousands of quiet ones
    /// do not take the room of requests (`design.md`, "Long and slow exchanges").
    pub place: Granted,
}

impl Upgraded {
    /// Carries bytes until the tunnel ends. `early` is what the engine has read behind the request.
    pub async fn carry(mut self, owner: &Client, mut client: Door<Outlet, Watcher>, early: &[u8]) {
        client.tunnel(early);
        let Some(tunnel) = self.tunnel.take() else { return };
        let carried = tunnel.carry(client, told_to_leave(owner)).await;
        let Some(record) = self.record.take() else { return };
        if let Some(progress) = &record.progress {
            progress.received(usize::try_from(carried.bytes_in).unwrap_or(usize::MAX));
            progress.downloaded(usize::try_from(carried.bytes_out).unwrap_or(usize::MAX));
        }
        record.tunnel_ended(carried.ended);
    }
}

/// Returns when the process is on its way out and it is this tunnel's turn.
async fn told_to_leave(client: &Client) {
    poll_fn(|cx| {
        if client.is_told() {
            return Poll::Ready(());
        }
        client.remember(cx);
        Poll::Pending
    })
    .await;
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        // The process ended before the tunnel did, or the client left before its 101.
        if let Some(record) = self.record.take() {
            record.cut();
        }
    }
}
