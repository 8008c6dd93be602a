//! Small writes leave together, at the end of a core's turn.
//!
//! Whoever is written to may be asleep, and waking it costs as much as the writing. A core that works, writes, works
//! and writes again wakes the same neighbour again and again; one that first does all that its turn has brought and
//! then writes wakes it once, and finds its answers in one go (Seastar's batched flush does the same). So a small
//! piece waits here until the tasks that were awake when it was written have run, which on a core with nothing else
//! to do is at once. It counts as written, as it does when the system has taken it.
//!
//! Large pieces are written directly, after what waits; and nothing is taken for a socket that is full. Sockets that
//! have nothing to send hold no buffer.

use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The largest piece that waits, and the most that waits for one socket.
const SMALL: usize = 1024;
const MOST: usize = 4096;
/// Empty buffers that a core keeps.
const SPARE: usize = 64;

/// What a core has to send at the end of its turn.
#[derive(Debug, Default)]
pub struct Outbox {
    full: RefCell<Vec<Weak<Sending>>>,
    spare: RefCell<Vec<Vec<u8>>>,
    postman: RefCell<Option<Waker>>,
}

impl Outbox {
    /// Sends what waits whenever the others have had their turn, until the core ends.
    pub async fn deliver(self: Rc<Self>) {
        let mut turn = Vec::new();
        let mut stuck: Vec<Weak<Sending>> = Vec::new();
        poll_fn(|cx| {
            *self.postman.borrow_mut() = Some(cx.waker().clone());
            stuck.retain(|sending| {
                sending.upgrade().is_some_and(|sending| sending.poll_stuck(cx).is_pending())
            });
            mem::swap(&mut turn, &mut *self.full.borrow_mut());
            for sending in turn.drain(..).filter_map(|sending: Weak<Sending>| sending.upgrade()) {
                sending.listed.set(false);
                if matches!(sending.try_send(), Ok(false)) && sending.poll_stuck(cx).is_pending() {
                    stuck.push(Rc::downgrade(&sending));
                }
            }
            Poll::<()>::Pending
        })
        .await;
    }

    fn add(&self, sending: &Rc<Sending>) {
        if !sending.listed.replace(true) {
            self.full.borrow_mut().push(Rc::downgrade(sending));
            let postman = self.postman.borrow_mut().take();
            postman.into_iter().for_each(Waker::wake);
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn take_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE && buffer.capacity() > 0 {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// A socket whose small writes may wait for the end of the turn.
#[derive(Debug)]
pub struct Socket {
    reading: OwnedReadHalf,
    sending: Rc<Sending>,
}

#[derive(Debug)]
struct Sending {
    /// Gone only when all else is.
    half: Option<OwnedWriteHalf>,
    waiting: RefCell<Vec<u8>>,
    /// The postman will come.
    listed: Cell<bool>,
    /// Who waits until the system takes more.
    blocked: RefCell<Option<Waker>>,
    /// Why nothing can be sent any more; for whoever writes next.
    failed: Cell<Option<io::ErrorKind>>,
    outbox: Rc<Outbox>,
}

impl Socket {
    /// A socket on the core of `outbox`.
    pub fn new(stream: TcpStream, outbox: &Rc<Outbox>) -> Self {
        let (reading, half) = stream.into_split();
        let sending = Sending {
            half: Some(half),
            waiting: RefCell::default(),
            listed: Cell::new(false),
            blocked: RefCell::default(),
            failed: Cell::new(None),
            outbox: outbox.clone(),
        };
        Socket { reading, sending: Rc::new(sending) }
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        self.reading.as_ref()
    }

    /// Nothing waits to be sent.
    pub fn is_sent(&self) -> bool {
        self.sending.waiting.borrow().is_empty()
    }

    /// Sends what waits, now.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sending.try_send()? {
                return Poll::Ready(Ok(()));
            }
            // The postman may ask for the same, and then it is the postman who is told.
            *self.sending.blocked.borrow_mut() = Some(cx.waker().clone());
            ready!(self.stream().poll_write_ready(cx))?;
        }
    }

    fn poll_write_pieces(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = bufs.iter().fold(0, |sum: usize, buf| sum.saturating_add(buf.len()));
        if self.sending.keep(bufs, length) {
            return Poll::Ready(Ok(length));
        }
        ready!(self.poll_send(cx))?;
        loop {
            ready!(self.stream().poll_write_ready(cx))?;
            match self.stream().try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl Sending {
    /// Keeps a small piece for the postman, unless the system did not take the last one.
    fn keep(self: &Rc<Self>, bufs: &[IoSlice<'_>], length: usize) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let full = waiting.len() + length > MOST || !(waiting.is_empty() || self.listed.get());
        if length > SMALL || full || self.failed.get().is_some() {
            return false;
        }
        if waiting.capacity() == 0 {
            *waiting = self.outbox.buffer();
        }
        bufs.iter().for_each(|buf| waiting.extend_from_slice(buf));
        drop(waiting);
        self.outbox.add(self);
        true
    }

    /// True when nothing is left. What cannot be sent any more is dropped, and whoever writes next is told.
    fn try_send(&self) -> io::Result<bool> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(half) = &self.half else { return Ok(true) };
        if let Some(failed) = self.failed.get() {
            return Err(failed.into());
        }
        while !waiting.is_empty() {
            match half.try_write(&waiting) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Ok(sent) if (1..waiting.len()).contains(&sent) => drop(waiting.drain(..sent)),
                ended => {
                    self.outbox.take_back(mem::take(&mut *waiting));
                    self.failed.set(ended.as_ref().err().map(io::Error::kind));
                    return ended.map(|_| true);
                }
            }
        }
        Ok(true)
    }

    /// Sends as soon as the system takes more; then whoever waits for that is told.
    fn poll_stuck(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(half) = &self.half else { return Poll::Ready(()) };
        loop {
            // An error of the socket is met by the sending.
            drop(ready!(half.as_ref().poll_write_ready(cx)));
            if !matches!(self.try_send(), Ok(false)) {
                self.blocked.take().into_iter().for_each(Waker::wake);
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().reading).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_pieces(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_pieces(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What the postman will take is as good as sent.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sending.failed.get().is_none() && (self.sending.listed.get() || self.is_sent()) {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Poll::Ready(SockRef::from(self.stream()).shutdown(Shutdown::Write))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody is left who could be told that it failed.
        let _ = self.sending.try_send();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Dropped, it would end our side with a call of its own: the socket's end does that.
        self.half.take().into_iter().for_each(OwnedWriteHalf::forget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    async fn pair(outbox: &Rc<Outbox>) -> (Socket, TcpStream) {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        (Socket::new(listener.accept().await.expect("accepted").0, outbox), client)
    }

    /// On a core with a postman.
    fn on_a_core<F: Future>(test: impl FnOnce(Rc<Outbox>) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let outbox = Rc::<Outbox>::default();
            tokio::task::spawn_local(outbox.clone().deliver());
            test(outbox).await
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn pieces_of_all_sizes_arrive_in_order(
            sizes in proptest::collection::vec(prop_oneof![1_usize..1100, 1_usize..200_000], 1..20),
            flushed in any::<bool>(),
        ) {
            let total = sizes.iter().sum();
            let (sent, got) = on_a_core(|outbox| async move {
                let (mut socket, mut client) = pair(&outbox).await;
                let reader = tokio::task::spawn_local(async move {
                    let mut got = vec![0; total];
                    client.read_exact(&mut got).await.map(|_| got)
                });
                let sent: Vec<u8> = (0..total).map(|n| (n * n / 7) as u8).collect();
                let mut rest = &sent[..];
                for size in sizes {
                    let (piece, more) = rest.split_at(size);
                    socket.write_all(piece).await.expect("written");
                    if flushed {
                        socket.flush().await.expect("flushed");
                    }
                    rest = more;
                }
                (sent, reader.await.expect("no panic").expect("all of it"))
            });
            prop_assert!(sent == got);
        }
    }

    #[test]
    fn a_full_socket_takes_no_more_and_goes_on_when_it_is_read() {
        on_a_core(|outbox| async move {
            let (mut socket, mut client) = pair(&outbox).await;
            let mut written = 0_usize;
            // Until the system has taken all that it takes, and we have kept what we keep.
            loop {
                let piece = socket.write_all(&[7; 1000]);
                match tokio::time::timeout(std::time::Duration::from_millis(200), piece).await {
                    Ok(done) => done.expect("written"),
                    Err(_) => break,
                }
                written += 1000;
                tokio::task::yield_now().await;
            }
            assert!(socket.sending.waiting.borrow().len() <= MOST);
            let writer = tokio::task::spawn_local(async move {
                socket.write_all(&[8; 10]).await.expect("it goes on");
                socket.shutdown().await.expect("and ends");
            });
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.expect("all of it");
            writer.await.expect("no panic");
            let end = got.split_off(got.len() - 10);
            assert_eq!(end, [8; 10]);
            assert!(got.len() >= written && got.iter().all(|byte| *byte == 7));
        });
    }

    #[test]
    fn whoever_writes_to_nobody_is_told() {
        on_a_core(|outbox| async move {
            let (mut socket, client) = pair(&outbox).await;
            drop(client);
            let told = async {
                while socket.write_all(b"piece").await.is_ok() {
                    tokio::task::yield_now().await
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(10), told)
                .await
                .expect("it is told in the end");
            assert!(socket.flush().await.is_err(), "and it stays so");
        });
    }

    #[test]
    fn what_waits_is_sent_before_the_socket_closes_and_keeps_no_buffer() {
        on_a_core(|outbox| async move {
            let (mut socket, mut client) = pair(&outbox).await;
            socket.write_all(b"first").await.expect("written");
            assert!(!socket.is_sent(), "it waits for the end of the turn");
            tokio::task::yield_now().await;
            assert!(socket.is_sent());
            assert_eq!(socket.sending.waiting.borrow().capacity(), 0);
            socket.write_all(b" and last").await.expect("written");
            drop(socket);
            let mut got = String::new();
            client.read_to_string(&mut got).await.expect("it ends in order");
            assert_eq!(got, "first and last");
        });
    }
}
