//! Which protocol a cleartext client speaks, told by its first bytes: HTTP/2 with prior knowledge begins
//! with a fixed preface, and everything else is HTTP/1's business to judge.
//!
//! It sets no deadline; the caller's header deadline covers it.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the first read: a whole usual head, so that sniffing costs no system call of its own.
const FIRST_READ: usize = 4096;

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.x, or something that HTTP/1 refuses.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Reads until the bytes are, or cannot become, HTTP/2's preface; all that was read is in `read`, also when it is
/// given up and taken up again. A preface that goes wrong, or is cut off, goes to HTTP/1, which answers 400.
pub async fn sniff<T: AsyncRead + Unpin>(io: &mut T, read: &mut Vec<u8>) -> io::Result<Protocol> {
    read.reserve(FIRST_READ);
    loop {
        let n = io.read_buf(read).await?;
        let compared = read.len().min(PREFACE.len());
        if read[..compared] != PREFACE[..compared] {
            return Ok(Protocol::Http1);
        }
        if compared == PREFACE.len() {
            return Ok(Protocol::Http2);
        }
        if n == 0 {
            return Ok(Protocol::Http1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;

    /// What is sniffed of `pieces`, each sent as a segment of its own, then the end.
    fn sniffed(pieces: &[&[u8]]) -> (Protocol, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            // One byte of room, so that every byte is a read of its own.
            let (mut client, mut server) = tokio::io::duplex(1);
            let send = async move {
                for piece in pieces {
                    // The sniffer may have hung up, having seen enough.
                    let _ = client.write_all(piece).await;
                }
            };
            let sniff = async move {
                let mut read = Vec::new();
                (sniff(&mut server, &mut read).await.unwrap(), read)
            };
            tokio::join!(send, sniff).1
        })
    }

    #[test]
    fn a_preface_in_pieces_is_http2() {
        assert_eq!(sniffed(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n"]), (Protocol::Http2, PREFACE.to_vec()));
    }

    #[test]
    fn the_first_byte_that_differs_means_http1() {
        assert_eq!(sniffed(&[b"GET / HTTP/1.1\r\n"]), (Protocol::Http1, b"G".to_vec()));
        assert_eq!(sniffed(&[b"POST / HTTP/1.1\r\n"]), (Protocol::Http1, b"PO".to_vec()));
        assert_eq!(sniffed(&[b"PRI * HTTP/1.1\r\n"]), (Protocol::Http1, b"PRI * HTTP/1".to_vec()));
    }

    #[test]
    fn what_was_read_outlives_being_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = tokio::io::duplex(64);
            let mut read = Vec::new();
            client.write_all(&PREFACE[..9]).await.unwrap();
            assert!(sniff(&mut server, &mut read).now_or_never().is_none());
            client.write_all(&PREFACE[9..]).await.unwrap();
            assert_eq!(sniff(&mut server, &mut read).await.unwrap(), Protocol::Http2);
            assert_eq!(read, PREFACE);
        });
    }

    #[test]
    fn an_end_before_the_preface_is_complete_means_http1() {
        assert_eq!(sniffed(&[b"PRI * "]), (Protocol::Http1, b"PRI * ".to_vec()));
        assert_eq!(sniffed(&[]), (Protocol::Http1, Vec::new()));
    }
}
