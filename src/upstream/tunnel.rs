//! What is left of an exchange after `101 Switching Protocols`, which is a WebSocket, for no other protocol
//! passes: bytes both ways, for as long as one of them moves and the route allows.
//!
//! When it must leave, because the process drains or its time is up, it says so: a Close frame towards either
//! side, as soon as no frame is under way in that direction, and then a moment for their answers. Its bytes are
//! never changed, and nothing is put inside a frame.

mod frames;
mod pump;

use crate::runtime::descriptors::DescriptorPermit;
use crate::upstream::transport::Transport;
use crate::upstream::tunnel::frames::Towards;
use crate::upstream::tunnel::pump::{Broken, Pump};
use bytes::Bytes;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Sleep, sleep, sleep_until};

/// How long both sides may take to answer a goodbye.
const CLOSING: Duration = Duration::from_secs(3);
/// How long the end of our side may take to be written.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// How long a tunnel may last.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// It ends when nothing moved for this long.
    pub idle: Duration,
    /// It is told to leave then, if its time is bounded.
    pub ends: Option<Instant>,
}

/// The backend's side of a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// Its bytes.
    pub transport: Transport,
    /// What it said right behind its 101.
    pub early: Bytes,
    /// Its descriptor, dropped after the socket.
    pub descriptor: DescriptorPermit,
    /// How long it may last.
    pub bounds: Bounds,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both sides were done.
    Closed,
    /// The client's connection broke.
    ClientBroke,
    /// The backend's did.
    BackendBroke,
    /// Nothing moved for too long.
    Quiet,
    /// It lasted as long as it may.
    TooLong,
    /// It was told to leave.
    Told,
}

/// What a tunnel carried, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// Why it is over.
    pub ended: Ended,
}

impl Tunnel {
    /// Carries bytes until both sides have closed, one breaks, nothing moves, or it must leave: at the latest
    /// when `told` returns.
    pub async fn carry<T>(self, mut client: T, told: impl Future<Output = ()>) -> Carried
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        // The descriptor is dropped with `self`, after the socket.
        let Tunnel { mut transport, early, descriptor, bounds } = self;
        let mut flow = Flow {
            up: Pump::new(Towards::Backend, &[]),
            down: Pump::new(Towards::Client, &early),
            why: None,
            closing: None,
        };
        drop(early);
        let last = Cell::new(Instant::now());
        let ended = {
            let mut told = pin!(told);
            let mut too_long = pin!(at(bounds.ends));
            let carried = poll_fn(|cx| {
                if flow.why.is_none() && told.as_mut().poll(cx).is_ready() {
                    flow.why = Some(Ended::Told);
                }
                // Told to leave or not, its time is bounded.
                if flow.why != Some(Ended::TooLong) && too_long.as_mut().poll(cx).is_ready() {
                    flow.leave_at_once();
                }
                let poll = flow.poll(cx, &mut client, &mut transport);
                last.set(flow.up.last.max(flow.down.last));
                poll
            });
            tokio::select! {
                ended = carried => ended,
                () = quiet(&last, bounds.idle) => Ended::Quiet,
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN, async {
            let _ = client.shutdown().await;
            transport.shutdown().await
        })
        .await;
        drop((transport, descriptor));
        Carried { bytes_in: flow.up.bytes, bytes_out: flow.down.bytes, ended }
    }
}

/// Both directions.
#[derive(Debug)]
struct Flow {
    up: Pump,
    down: Pump,
    /// Why it must leave, once it must.
    why: Option<Ended>,
    /// The end of all patience.
    closing: Option<Pin<Box<Sleep>>>,
}

impl Flow {
    /// Its time is up: in the middle of a frame or not, it ends within `CLOSING`.
    fn leave_at_once(&mut self) {
        self.why = Some(Ended::TooLong);
        self.closing = Some(Box::pin(sleep(CLOSING)));
    }

    fn poll<C, B>(&mut self, cx: &mut Context<'_>, client: &mut C, backend: &mut B) -> Poll<Ended>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let leaving = self.why.is_some();
        let down = self.down.poll(cx, backend, client, leaving);
        let up = self.up.poll(cx, client, backend, leaving);
        match (down, up) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                return Poll::Ready(self.why.unwrap_or(Ended::Closed));
            }
            // Told to leave, a side may leave as it likes.
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) if leaving => {
                return Poll::Ready(self.why.unwrap_or(Ended::Told));
            }
            (Poll::Ready(Err(Broken::Reader)), _) | (_, Poll::Ready(Err(Broken::Writer))) => {
                return Poll::Ready(Ended::BackendBroke);
            }
            (Poll::Ready(Err(Broken::Writer)), _) | (_, Poll::Ready(Err(Broken::Reader))) => {
                return Poll::Ready(Ended::ClientBroke);
            }
            _ => {}
        }
        if leaving && self.closing.is_none() && self.up.is_closing() && self.down.is_closing() {
            self.closing = Some(Box::pin(sleep(CLOSING)));
        }
        match &mut self.closing {
            Some(closing) => closing.as_mut().poll(cx).map(|()| self.why.unwrap_or(Ended::Told)),
            None => Poll::Pending,
        }
    }
}

/// Returns when nothing has moved for `idle`. Wakes once an idle time, not once a byte.
async fn quiet(last: &Cell<Instant>, idle: Duration) {
    loop {
        let left = idle.saturating_sub(last.get().elapsed());
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}

/// Returns at that time, or never.
async fn at(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, duplex};

    /// A short frame, unmasked; its payload looks like goodbyes.
    fn frame(opcode: u8, payload: usize) -> Vec<u8> {
        [vec![0x80 | opcode, payload as u8], vec![0x88; payload]].concat()
    }

    /// What the client gets of `said` by a backend, when the tunnel is told to leave at its `told`-th turn and
    /// no more than `pipe` bytes fit into a connection.
    fn received(said: &[u8], told: usize, pipe: usize) -> (Vec<u8>, Ended) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let (mut far_client, mut client) = duplex(pipe);
            let (mut far_backend, mut backend) = duplex(pipe);
            let mut flow = Flow {
                up: Pump::new(Towards::Backend, &[]),
                down: Pump::new(Towards::Client, &[]),
                why: None,
                closing: None,
            };
            let mut turns = 0;
            let carried = async {
                let ended = poll_fn(|cx| {
                    turns += 1;
                    if turns > told {
                        flow.why = Some(Ended::Told);
                    }
                    flow.poll(cx, &mut client, &mut backend)
                })
                .await;
                drop((client, backend));
                ended
            };
            let (mut to_client, mut to_backend) = (Vec::new(), Vec::new());
            let (mut client_reads, mut client_writes) = tokio::io::split(&mut far_client);
            let (mut backend_reads, mut backend_writes) = tokio::io::split(&mut far_backend);
            // Both sides say Close in the end; whatever breaks then is the other's end.
            let speaks = async {
                let _ = client_writes.write_all(&frame(8, 2)).await;
                let _ = client_writes.shutdown().await;
            };
            let answers = async {
                let _ = backend_writes.write_all(said).await;
                let _ = backend_writes.shutdown().await;
            };
            let (ended, ..) = tokio::join!(
                carried,
                speaks,
                answers,
                client_reads.read_to_end(&mut to_client),
                backend_reads.read_to_end(&mut to_backend),
            );
            (to_client, ended)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whenever it is told and however the bytes come: all that was said, or what was said up to the end of
        /// a frame and then the goodbye.
        #[test]
        fn a_goodbye_stands_between_two_frames(
            payloads in prop::collection::vec(0usize..120, 1..8),
            told in 0usize..40,
            pipe in 1usize..200,
        ) {
            let mut said = Vec::new();
            let mut ends = vec![0];
            for payload in payloads {
                said.extend(frame(2, payload));
                ends.push(said.len());
            }
            said.extend(frame(8, 2));
            let (got, ended) = received(&said, told, pipe);
            let cut = got.len().checked_sub(4).filter(|at| ends.contains(at) && got[*at..] == frames::goodbye(Towards::Client));
            match cut {
                Some(at) => {
                    prop_assert_eq!(&got[..at], &said[..at]);
                    prop_assert_eq!(ended, Ended::Told);
                }
                None => prop_assert_eq!(&got, &said),
            }
        }
    }
}
