//! An origin that costs next to nothing: fixed answers, chosen by the path. One port speaks HTTP/1.1, another
//! HTTP/2 without TLS, with gRPC for who asks for it.
//!
//! `/16k` and `/1m` are answers of these sizes, `/hold` is never answered, everything else is 135 bytes of JSON.

use super::{report, runtime};
use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The small answer's body: 135 bytes.
pub const SMALL: &str = "{\"order\":4711,\"state\":\"open\",\"lines\":[{\"sku\":\"A-100\",\"count\":2},\
    {\"sku\":\"B-200\",\"count\":1}],\"total\":\"99.90\",\"currency\":\"EUR\",\"vat\":true}";

/// A gRPC message: five bytes of prefix, then 16 bytes.
pub const MESSAGE: &[u8] = b"\0\0\0\0\x10\x0a\x0ehello, gateway";

/// Where it listens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Origin {
    /// HTTP/1.1.
    pub http1: SocketAddr,
    /// HTTP/2 by prior knowledge.
    pub http2: SocketAddr,
}

/// Fixed answers, whole.
struct Answers {
    small: Vec<u8>,
    medium: Vec<u8>,
    large: Vec<u8>,
}

/// Listens on two ports, reports them and answers until it is killed.
pub fn run() -> Result<()> {
    runtime()?.block_on(async {
        let http1 = TcpListener::bind("127.0.0.1:0").await?;
        let http2 = TcpListener::bind("127.0.0.1:0").await?;
        report(&Origin { http1: http1.local_addr()?, http2: http2.local_addr()? })?;
        tokio::task::spawn_local(async move {
            while let Ok((socket, _)) = http2.accept().await {
                let _ = socket.set_nodelay(true);
                tokio::task::spawn_local(serve_http2(socket));
            }
        });
        let answers = Rc::new(Answers {
            small: whole(SMALL.as_bytes()),
            medium: whole(&[b'x'; 16 << 10]),
            large: whole(&vec![b'x'; 1 << 20]),
        });
        loop {
            let (socket, _) = http1.accept().await?;
            socket.set_nodelay(true)?;
            tokio::task::spawn_local(serve_http1(socket, answers.clone()));
        }
    })
}

fn whole(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nServer: origin\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Requests have no body here, so one ends with its empty line.
async fn serve_http1(mut socket: TcpStream, answers: Rc<Answers>) {
    let mut room = vec![0; 16 << 10];
    let mut read = 0;
    loop {
        match socket.read(&mut room[read..]).await {
            Ok(0) | Err(_) => return,
            Ok(more) => read += more,
        }
        if !room[..read].ends_with(b"\r\n\r\n") {
            continue;
        }
        let answer = match &room[..read] {
            [b'G', b'E', b'T', b' ', b'/', b'1', b'6', ..] => &answers.medium,
            [b'G', b'E', b'T', b' ', b'/', b'1', b'm', ..] => &answers.large,
            [b'G', b'E', b'T', b' ', b'/', b'h', b'o', ..] => std::future::pending().await,
            _ => &answers.small,
        };
        // Our clients say this last; through a proxy it never comes here, through the relay it does.
        let last = room[..read].ends_with(b"close\r\n\r\n");
        read = 0;
        if socket.write_all(answer).await.is_err() || last {
            return;
        }
    }
}

async fn serve_http2(socket: TcpStream) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1000).initial_connection_window_size(1 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(async move {
            let (head, mut body) = request.into_parts();
            let grpc = head
                .headers
                .get("content-type")
                .is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
            }
            let _ = if grpc { answer_grpc(respond) } else { answer_json(respond) };
        });
    }
}

fn answer_json(mut respond: h2::server::SendResponse<Bytes>) -> Result<()> {
    let head = Response::builder()
        .header("content-type", "application/json")
        .header("cache-control", "no-store")
        .header("content-length", SMALL.len())
        .body(())?;
    respond.send_response(head, false)?.send_data(Bytes::from_static(SMALL.as_bytes()), true)?;
    Ok(())
}

fn answer_grpc(mut respond: h2::server::SendResponse<Bytes>) -> Result<()> {
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(Bytes::from_static(MESSAGE), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    #[test]
    fn the_small_answer_is_as_long_as_it_is_said_to_be() {
        assert_eq!(SMALL.len(), 135);
        assert_eq!(MESSAGE.len(), 5 + usize::from(MESSAGE[4]));
    }
}
