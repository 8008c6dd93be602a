//! A lean client: writes one fixed request and reads past its answer, over any stream; and the same on a stream
//! of HTTP/2.

use super::tls::Connector;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Either kind of connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Connects, over TLS if there is a connector. `first` has no ticket yet.
pub async fn connect(to: SocketAddr, tls: Option<&Connector>, first: bool) -> Result<Box<dyn Stream>> {
    let socket = TcpStream::connect(to).await.context("connecting")?;
    socket.set_nodelay(true)?;
    Ok(match tls {
        Some(tls) => Box::new(tls.connect(socket, first).await.context("shaking hands")?),
        None => Box::new(socket),
    })
}

/// One HTTP/1.1 connection.
pub struct Http1 {
    stream: Box<dyn Stream>,
    request: Bytes,
    room: Vec<u8>,
}

/// The peer had closed the connection before anything of an answer came.
#[derive(Debug, thiserror::Error)]
#[error("closed before an answer")]
pub struct Stale;

/// The request of every HTTP/1.1 measurement.
pub fn request(path: &str, close: bool) -> Bytes {
    let close = if close { "Connection: close\r\n" } else { "" };
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: edge.test\r\nUser-Agent: compare/1.0\r\nAccept: application/json\r\n{close}\r\n"
    );
    head.into()
}

impl Http1 {
    /// A client on this connection, which asks for this.
    pub fn new(stream: Box<dyn Stream>, request: Bytes, room: usize) -> Http1 {
        Http1 { stream, request, room: vec![0; room] }
    }

    /// Sends the request without waiting for the answer.
    pub async fn send(&mut self) -> Result<()> {
        Ok(self.stream.write_all(&self.request).await?)
    }

    /// Sends the request and reads its answer to the last byte. Anything but 200 is an error; `Stale` if nothing
    /// of an answer came.
    pub async fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await.map_err(|_| Stale)?;
        let (mut read, mut rest, mut any) = (0, None, false);
        loop {
            let more = match self.stream.read(&mut self.room[read..]).await {
                Ok(0) | Err(_) if !any => return Err(Stale.into()),
                more => more?,
            };
            ensure!(more > 0, "closed before the end of an answer");
            any = true;
            rest = match rest {
                Some(rest) => Some(usize::checked_sub(rest, more).context("more than one answer")?),
                None => {
                    read += more;
                    remainder(&self.room[..read])?
                }
            };
            match rest {
                Some(0) => return Ok(()),
                // The body's bytes are looked at no more.
                Some(_) => read = 0,
                None => ensure!(read < self.room.len(), "a head without an end"),
            }
        }
    }

    /// Reads until the peer closes.
    pub async fn closed(&mut self) -> Result<()> {
        // A peer may leave without saying so (TLS without close_notify, a reset after its last byte).
        while matches!(self.stream.read(&mut self.room).await, Ok(more) if more > 0) {}
        Ok(())
    }
}

/// How many bytes of the answer that begins like this are still to come; `None` while its head has no end.
fn remainder(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    if !bytes.starts_with(b"HTTP/1.1 200") {
        bail!("{}", String::from_utf8_lossy(&bytes[..end.min(200)]));
    }
    let lines = bytes[..end].split(|byte| *byte == b'\n').skip(1);
    let name = b"content-length:";
    let mut lengths = lines.filter(|l| l.len() > name.len() && l[..name.len()].eq_ignore_ascii_case(name));
    let length = lengths.next().context("an answer without Content-Length")?;
    let length: usize = std::str::from_utf8(&length[name.len()..])?.trim().parse()?;
    (end + 4 + length).checked_sub(bytes.len()).map(Some).context("more than one answer")
}

/// One HTTP/2 connection, to be cloned for each stream.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    grpc: bool,
    path: String,
    scheme: &'static str,
}

impl Http2 {
    /// Shakes hands on this connection and drives it from then on.
    pub async fn new(stream: Box<dyn Stream>, tls: bool, path: &str, grpc: bool) -> Result<Http2> {
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(1 << 20).enable_push(false);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::task::spawn_local(connection);
        Ok(Http2 { sender, grpc, path: path.to_owned(), scheme: if tls { "https" } else { "http" } })
    }

    /// One request and its answer to the last byte, trailers included.
    pub async fn ask(&mut self) -> Result<()> {
        let request = Request::builder().uri(format!("{}://edge.test{}", self.scheme, self.path));
        let request = match self.grpc {
            true => {
                request.method("POST").header("content-type", "application/grpc").header("te", "trailers")
            }
            false => request.method("GET").header("accept", "application/json"),
        };
        let request = request.header("user-agent", "compare/1.0").body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut body) = sender.send_request(request, !self.grpc)?;
        if self.grpc {
            body.send_data(Bytes::from_static(super::origin::MESSAGE), true)?;
        }
        let answer = answer.await?;
        ensure!(answer.status() == 200, "{:?}", answer.into_parts().0);
        let mut body = answer.into_body();
        while let Some(piece) = body.data().await {
            body.flow_control().release_capacity(piece?.len())?;
        }
        if self.grpc {
            let trailers = body.trailers().await?.context("no trailers")?;
            ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "{trailers:?}");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    #[test]
    fn an_answers_end_is_known_from_its_head() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\nhello";
        assert_eq!(remainder(whole).expect("an answer"), Some(0));
        assert_eq!(remainder(&whole[..whole.len() - 2]).expect("an answer"), Some(2));
        assert_eq!(remainder(&whole[..20]).expect("no head yet"), None);
        assert!(remainder(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(remainder(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
