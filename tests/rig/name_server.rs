//! A name server that misbehaves on demand: over UDP, on a loopback port that the kernel chose, IPv4 addresses only.
//!
//! How it behaves may be the same for every name, or depend on how a name begins. Every question is remembered with
//! its time, up to a bound, so that a test can say how many were under way.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Questions that are remembered.
const MAX_ASKED: usize = 100_000;

/// What it does with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Says these addresses.
    Says(Vec<Ipv4Addr>),
    /// Says nothing.
    Silent,
    /// NXDOMAIN.
    NoSuchName,
    /// No error, and no address.
    Empty,
    /// SERVFAIL.
    Fails,
    /// REFUSED.
    Refuses,
    /// Bytes that are no answer.
    Garbage,
}

/// A running name server; it ends when dropped.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    manners: Mutex<Vec<(String, Manner)>>,
    asked: Mutex<Vec<(Instant, String)>>,
    stop: AtomicBool,
}

impl NameServer {
    /// Starts it; it behaves so with every name.
    pub fn start(manner: Manner) -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        let state = Arc::new(State {
            manners: Mutex::new(vec![(String::new(), manner)]),
            asked: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let own = state.clone();
        let thread = std::thread::spawn(move || serve(&socket, &own));
        NameServer { address, state, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it behaves so with names that begin so; the last that was said of a name holds.
    pub fn behaves(&self, prefix: &str, manner: Manner) {
        self.state.manners.lock().expect("nobody panicked").push((prefix.to_owned(), manner));
    }

    /// Questions so far for names that begin so.
    pub fn asked(&self, prefix: &str) -> usize {
        let asked = self.state.asked.lock().expect("nobody panicked");
        asked.iter().filter(|(_, name)| name.starts_with(prefix)).count()
    }

    /// The most different names that were asked for within such a time.
    pub fn most_names_within(&self, window: Duration) -> usize {
        let asked = self.state.asked.lock().expect("nobody panicked");
        let from = |(begin, _): &(Instant, String)| {
            let later =
                asked.iter().filter(|(at, _)| at >= begin && at.saturating_duration_since(*begin) < window);
            later.map(|(_, name)| name).collect::<std::collections::BTreeSet<_>>().len()
        };
        asked.iter().map(from).max().unwrap_or(0)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.stop.store(true, SeqCst);
        if let Ok(waker) = UdpSocket::bind("127.0.0.1:0") {
            let _ = waker.send_to(b"stop", self.address);
        }
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, state: &State) {
    let mut question = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut question) {
        if state.stop.load(SeqCst) {
            return;
        }
        let Some((name, end)) = name(&question[..length]) else { continue };
        let manners = state.manners.lock().expect("nobody panicked");
        let manner = manners.iter().rev().find(|(prefix, _)| name.starts_with(prefix.as_str()));
        let answer = manner.and_then(|(_, manner)| answer(&question[..end], manner));
        drop(manners);
        let mut asked = state.asked.lock().expect("nobody panicked");
        if asked.len() < MAX_ASKED {
            asked.push((Instant::now(), name));
        }
        drop(asked);
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, client);
        }
    }
}

/// The name that is asked for, and where its question ends (RFC 1035, 4.1.2).
fn name(message: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*message.get(at)?);
        let label = message.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
    }
    (message.len() >= at + 4).then_some((name, at + 4))
}

/// The header and question again, then one record for each address (RFC 1035, 4.1).
fn answer(asked: &[u8], manner: &Manner) -> Option<Vec<u8>> {
    let is_a = asked[asked.len() - 4..] == [0, 1, 0, 1];
    let (code, addresses) = match manner {
        Manner::Says(addresses) if is_a => (0, &addresses[..]),
        Manner::Says(_) | Manner::Empty => (0, &[][..]),
        Manner::NoSuchName => (3, &[][..]),
        Manner::Fails => (2, &[][..]),
        Manner::Refuses => (5, &[][..]),
        Manner::Silent => return None,
        Manner::Garbage => return Some(asked[..2].iter().chain(&[0xff; 40]).copied().collect()),
    };
    let mut answer = asked[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(&asked[12..]);
    for address in addresses {
        // A pointer to the question's name; A, IN, 60 s, 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
