//! The after-life of an HTTP/1.1 exchange whose client or deadline is gone: the backend may still be working
//! on it, so its slot stays taken until the connection ends or the time is up (`overload.md` 0.6).

use crate::upstream::connection::H1;
use crate::upstream::exchange::Lingering;
use crate::upstream::pool::Pool;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a backend may still send to nobody before we hang up.
const DISCARD: usize = 64 * 1024;

/// Tells the backend that nothing more will come, and waits for its end, which is the only thing that shows
/// that it stopped (`hyper-notes.md` 17), for at most `limit`. Holds the zombie meanwhile.
pub fn linger(connection: H1, pool: Rc<Pool>, zombie: impl Lingering, limit: Duration) {
    tokio::task::spawn_local(async move {
        tokio::select! {
            _ = tokio::time::timeout(limit, discard(connection)) => {}
            () = zombie.wanted_back() => {}
        }
        drop((zombie, pool));
    });
}

async fn discard(connection: H1) {
    let (mut transport, _, _descriptor) = connection.into_transport();
    if transport.shutdown().await.is_err() {
        return;
    }
    let mut left = DISCARD;
    let mut buffer = [0; 4096];
    while left > 0 {
        match transport.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}
