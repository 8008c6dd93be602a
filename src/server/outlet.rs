//! A client's transport that knows stand-ins (`upstream::passage`): where the engine would write one, it empties the
//! passage of the answer under way into the client's socket. Everything else goes through as it is.
//!
//! It promises that no stand-in is ever written as it is: without its passage, writing it is an error that ends the
//! connection.

use crate::server::client::Client;
use crate::upstream::passage::{self, Passage, is_stand_in};
use crate::upstream::transport::Transport;
use std::io::{self, IoSlice};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module's text.
#[derive(Debug)]
pub struct Outlet {
    transport: Transport,
    client: Rc<Client>,
}

impl Outlet {
    /// In front of a client's transport.
    pub fn new(transport: Transport, client: Rc<Client>) -> Self {
        Outlet { transport, client }
    }

    /// The transport again.
    pub fn into_inner(self) -> Transport {
        self.transport
    }

    fn poll_pour(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut current = self.client.passage.borrow_mut();
        let (Some(passage), Transport::Tcp(socket)) = (&*current, &self.transport) else {
            return Poll::Ready(Err(passage::lost()));
        };
        // The answer's head may wait for the end of the turn.
        ready!(socket.poll_send(cx))?;
        let poured = ready!(passage.poll_pour(cx, socket.stream(), most));
        if passage.is_spent() {
            *current = None;
        }
        Poll::Ready(poured)
    }
}

impl Client {
    /// Takes the passage that `open` makes for the answer that begins, if this client's side is in clear and nothing
    /// is under way in another.
    pub(super) fn take_passage(&self, open: impl FnOnce() -> Option<Rc<Passage>>) -> Option<Rc<Passage>> {
        let mut current = self.passage.borrow_mut();
        if self.tls.is_some() || current.as_ref().is_some_and(|passage| !passage.is_spent()) {
            return None;
        }
        *current = open();
        current.clone()
    }
}

impl Deref for Outlet {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

impl AsyncRead for Outlet {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if is_stand_in(bytes) {
            return this.poll_pour(cx, bytes.len());
        }
        Pin::new(&mut this.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match bufs.iter().position(|buf| is_stand_in(buf)) {
            None => Pin::new(&mut this.transport).poll_write_vectored(cx, bufs),
            Some(0) => {
                let several = bufs.iter().take_while(|buf| is_stand_in(buf));
                this.poll_pour(cx, several.map(|buf| buf.len()).sum())
            }
            Some(before) => Pin::new(&mut this.transport).poll_write_vectored(cx, &bufs[..before]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(cx)
    }
}
