//! A connection after `101 Switching Protocols`: the client's bytes and the backend's, joined.

use crate::server::client::Watcher;
use crate::server::door::Door;
use crate::server::record::Record;
use crate::server::upgrade::TunnelPermits;
use crate::upstream::transport::Transport;
use crate::upstream::tunnel::Tunnel;

/// A tunnel whose 101 is on its way to the client.
#[derive(Debug)]
pub struct Upgraded {
    /// The backend's side.
    pub tunnel: Option<Tunnel>,
    /// The request that it was, finished when the tunnel ends.
    pub record: Option<Record>,
    /// Its right to be a tunnel: in the process, and at the backend. Tunnels have bounds of their own, so that
    /// thousands of quiet ones do not take the room of requests (`design.md`, "Long and slow exchanges").
    pub permits: TunnelPermits,
}

impl Upgraded {
    /// Carries bytes until the tunnel ends. `early` is what the engine has read behind the request.
    pub async fn carry(mut self, mut client: Door<Transport, Watcher>, early: &[u8]) {
        client.tunnel(early);
        let Some(tunnel) = self.tunnel.take() else { return };
        let carried = tunnel.carry(client).await;
        let Some(record) = self.record.take() else { return };
        if let Some(progress) = &record.progress {
            progress.received(usize::try_from(carried.bytes_in).unwrap_or(usize::MAX));
            progress.downloaded(usize::try_from(carried.bytes_out).unwrap_or(usize::MAX));
        }
        record.complete();
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        // The process ended before the tunnel did, or the client left before its 101.
        if let Some(record) = self.record.take() {
            record.cut();
        }
    }
}
