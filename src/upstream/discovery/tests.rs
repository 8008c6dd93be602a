//! Names against a small name server on the loopback interface that misbehaves on demand.

use super::*;
use crate::upstream::settings::Address;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const QUICK: Pace = Pace {
    refresh: Duration::from_millis(10),
    retry_min: Duration::from_millis(10),
    retry_max: Duration::from_millis(20),
    deadline: Duration::from_millis(500),
};

/// What the name server does with a question; names that begin with `hangs` are never answered.
#[derive(Clone)]
enum Manner {
    Answers(Vec<Ipv4Addr>),
    NoSuchName,
    AnswersWithNothing,
}

struct NameServer {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    fn start(manner: Manner) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        let (manner, asked, stop) = (Arc::new(Mutex::new(manner)), Arc::default(), Arc::default());
        let thread = {
            let (manner, asked, stop) = (Arc::clone(&manner), Arc::clone(&asked), Arc::clone(&stop));
            std::thread::spawn(move || serve(&socket, &manner, &asked, &stop))
        };
        NameServer { address, manner, asked, stop, thread: Some(thread) }
    }

    fn behaves(&self, manner: Manner) {
        *self.manner.lock().expect("not poisoned") = manner;
    }

    fn asked(&self) -> u32 {
        self.asked.load(SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let waker = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        waker.send_to(b"stop", self.address).expect("sent");
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, manner: &Mutex<Manner>, asked: &AtomicU32, stop: &AtomicBool) {
    let mut question = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut question) {
        if stop.load(SeqCst) {
            return;
        }
        asked.fetch_add(1, SeqCst);
        let manner = manner.lock().expect("not poisoned").clone();
        if let Some(answer) = answer(&question[..length], &manner) {
            socket.send_to(&answer, client).expect("sent");
        }
    }
}

/// RFC 1035, 4.1: the header and question again, then one A record for each address.
fn answer(message: &[u8], manner: &Manner) -> Option<Vec<u8>> {
    let end_of_name = 12 + message[12..].iter().position(|byte| *byte == 0)?;
    if message[13..].to_ascii_lowercase().starts_with(b"hangs") {
        return None;
    }
    let question = &message[12..end_of_name + 5];
    let is_a = question[question.len() - 4..] == [0, 1, 0, 1];
    let (code, addresses) = match manner {
        Manner::Answers(addresses) if is_a => (0, &addresses[..]),
        Manner::Answers(_) | Manner::AnswersWithNothing => (0, &[][..]),
        Manner::NoSuchName => (3, &[][..]),
    };
    let mut answer = message[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        // A pointer to the question's name; A, IN, 60 s, 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// Runs `test` beside a directory that is kept resolved by `server`.
fn beside<F: Future<Output = ()>>(server: &NameServer, test: impl FnOnce(Arc<Directory>) -> F) {
    let options = tokio::runtime::LocalOptions::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(options).expect("a runtime");
    runtime.block_on(async {
        let directory = Arc::new(Directory::default());
        directory.ask(&[server.address]);
        let keeping = keep_resolved(Arc::clone(&directory), QUICK);
        tokio::select! {
            () = keeping => unreachable!("it never ends"),
            done = tokio::time::timeout(PATIENCE, test(directory)) => done.expect("in time"),
        }
    });
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn set_of(directory: &Directory, host: &str) -> Arc<AddressSet> {
    directory.addresses_of(&Address { host: host.into(), port: 8080 }, OnMissing::Keep)
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn lists(set: &AddressSet, lasts: &[u8]) -> bool {
    let expected: Vec<_> = lasts.iter().map(|last| SocketAddr::from((ip(*last), 8080))).collect();
    *set.load().list == *expected && set.is_known() != expected.is_empty()
}

#[test]
fn a_literal_needs_no_name_server() {
    let directory = Directory::default();
    let set = set_of(&directory, "2001:db8::1");
    assert_eq!(*set.load().list, ["[2001:db8::1]:8080".parse().expect("an address")]);
    assert!(directory.take_added().is_empty());
}

#[test]
fn a_name_follows_its_answers_and_an_equal_answer_is_no_change() {
    let server = NameServer::start(Manner::Answers(vec![ip(2), ip(1)]));
    beside(&server, async |directory| {
        let set = set_of(&directory, "orders.test.");
        directory.tried().await;
        assert!(lists(&set, &[1, 2]), "{:?}", set.load());
        let (version, asked) = (set.load().version, server.asked());
        server.behaves(Manner::Answers(vec![ip(1), ip(2), ip(1)]));
        until(|| server.asked() > asked + 3).await;
        assert_eq!(set.load().version, version);
        server.behaves(Manner::Answers(vec![ip(3)]));
        until(|| lists(&set, &[3])).await;
        assert!(set.load().version > version);
    });
}

#[test]
fn no_such_name_and_empty_answers_keep_the_last_good_addresses() {
    let server = NameServer::start(Manner::Answers(vec![ip(1)]));
    beside(&server, async |directory| {
        let set = set_of(&directory, "orders.test.");
        directory.tried().await;
        for manner in [Manner::NoSuchName, Manner::AnswersWithNothing] {
            server.behaves(manner);
            until(|| set.failure().is_some()).await;
            assert!(lists(&set, &[1]));
            server.behaves(Manner::Answers(vec![ip(1)]));
            until(|| set.failure().is_none()).await;
        }
    });
}

#[test]
fn a_name_that_never_resolved_has_no_address_and_says_why() {
    let server = NameServer::start(Manner::NoSuchName);
    beside(&server, async |directory| {
        let set = set_of(&directory, "orders.test.");
        directory.tried().await;
        assert!(set.load().list.is_empty());
        assert!(set.failure().is_some());
    });
}

#[test]
fn a_name_server_that_hangs_for_some_names_does_not_stop_the_others() {
    let server = NameServer::start(Manner::Answers(vec![ip(1)]));
    beside(&server, async |directory| {
        let hung: Vec<_> =
            (0..MAX_LOOKUPS).map(|n| set_of(&directory, &format!("hangs-{n}.test."))).collect();
        let set = set_of(&directory, "orders.test.");
        directory.tried().await;
        assert!(lists(&set, &[1]));
        assert!(hung.iter().all(|set| set.load().list.is_empty() && set.failure().is_some()));
    });
}

#[test]
fn a_name_that_comes_back_has_its_last_addresses_at_once() {
    let server = NameServer::start(Manner::Answers(vec![ip(1)]));
    beside(&server, async |directory| {
        let set = set_of(&directory, "orders.test.");
        assert!(Arc::ptr_eq(&set, &set_of(&directory, "orders.test.")));
        directory.tried().await;
        server.behaves(Manner::NoSuchName);
        until(|| set.failure().is_some()).await;
        drop(set);
        until(|| directory.sets_in_use() == 0).await;
        assert!(lists(&set_of(&directory, "orders.test."), &[1]));
    });
}

#[test]
fn failures_back_off_and_names_spread() {
    let pace = Pace::default();
    assert_eq!(pace.wait(0, 0.0), Duration::from_secs(4));
    assert_eq!(pace.wait(0, 1.0), Duration::from_secs(6));
    let waits: Vec<_> = (1..40).map(|failures| pace.wait(failures, 0.5)).collect();
    assert!(waits.is_sorted());
    assert_eq!((waits[0], waits[38]), (Duration::from_secs(1), Duration::from_secs(30)));
    assert_eq!(pace.wait(u32::MAX, 1.0), Duration::from_secs(30));
}
