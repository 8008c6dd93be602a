//! One connection of a backend: heads in, answers out, in the time that the model says.
//!
//! Requests have no bodies here. A request whose client leaves is told to the model, which works on.

use super::Shared;
use super::knobs::Fault;
use bytes::{Buf as _, BytesMut};
use socket2::SockRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest head, and the most that a client may send ahead.
const MAX_AHEAD: usize = 64 << 10;
/// What every good answer says: 135 bytes of JSON.
const BODY: &str = "{\"order\":4711,\"state\":\"paid\",\"customer\":\"c-20931\",\"lines\":[{\"sku\":\"tide-1\",\
    \"quantity\":2},{\"sku\":\"gate-7\",\"quantity\":1}],\"total\":\"59.90\"}";

/// Serves a connection to its end.
pub async fn serve(shared: Arc<Shared>, backend: usize, mut socket: TcpStream) {
    let mut read = BytesMut::with_capacity(4 << 10);
    while head(&mut socket, &mut read).await {
        let Some((ticket, answered)) = shared.arrive(backend) else { return };
        let fault = tokio::select! {
            fault = answered => fault,
            () = gone(&mut socket, &mut read) => {
                shared.abandon(ticket);
                return;
            }
        };
        let boot = shared.inside().model.knobs(backend).boot.clone();
        let Ok(fault) = fault else { return };
        if !answer(&mut socket, fault, &boot).await {
            return;
        }
    }
}

/// Reads a head and throws it away; false when the client is done.
async fn head(socket: &mut TcpStream, read: &mut BytesMut) -> bool {
    loop {
        if let Some(at) = memchr::memmem::find(read, b"\r\n\r\n") {
            read.advance(at + 4);
            return true;
        }
        if read.len() > MAX_AHEAD || !matches!(socket.read_buf(read).await, Ok(1..)) {
            return false;
        }
    }
}

/// Waits until the client has left, or sends more than it may ahead.
async fn gone(socket: &mut TcpStream, read: &mut BytesMut) {
    while read.len() <= MAX_AHEAD && matches!(socket.read_buf(read).await, Ok(1..)) {}
}

/// False if the connection is over.
async fn answer(socket: &mut TcpStream, fault: Option<Fault>, boot: &str) -> bool {
    let status = match fault {
        None | Some(Fault::ResetsMidBody) => 200,
        Some(Fault::Status(status)) => status,
        Some(Fault::ResetsBeforeHead) => return reset(socket),
    };
    let length = BODY.len();
    let mut text = format!(
        "HTTP/1.1 {status} As Set\r\ncontent-type: application/json\r\nx-boot-id: {boot}\r\n\
         content-length: {length}\r\n\r\n{BODY}"
    );
    if fault == Some(Fault::ResetsMidBody) {
        text.truncate(text.len() - length / 2);
        let _ = socket.write_all(text.as_bytes()).await;
        return reset(socket);
    }
    socket.write_all(text.as_bytes()).await.is_ok()
}

/// The close that follows is a reset.
fn reset(socket: &TcpStream) -> bool {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
    false
}
