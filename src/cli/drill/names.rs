//! The name server of a drill: it knows the names that the drill gave to its stand-ins, and does what name servers do
//! on bad days: it says that a name does not exist, or it says nothing at all.
//!
//! It hears on loopback only, and asks nobody.

use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// What the names of stand-ins end with (RFC 2606: nobody has it).
pub(super) const DOMAIN: &str = "stand-in.drill.example";
/// How long an answer counts, in seconds; the gateway asks at its own pace.
const TTL: u32 = 1;
/// A question over UDP is no longer.
const MOST_BYTES: usize = 4096;

/// What it does with questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Answers.
    Well,
    /// Says that no such name exists.
    Denies,
    /// Hears, and says nothing.
    Silent,
}

/// The name server; it ends when it is dropped.
pub(super) struct Names {
    at: SocketAddr,
    mood: Arc<AtomicU8>,
    denied: Arc<AtomicU64>,
    over: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Starts it, answering every name below [`DOMAIN`] with `home`.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(home: Ipv4Addr) -> anyhow::Result<Names> {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let at = socket.local_addr()?;
        let (mood, denied) = (Arc::new(AtomicU8::new(Mood::Well as u8)), Arc::new(AtomicU64::new(0)));
        let over = CancellationToken::new();
        let (felt, counted, ended) = (mood.clone(), denied.clone(), over.clone());
        let (_, thread) = crate::runtime::spawn("drill-names", move || async move {
            let Ok(socket) = UdpSocket::from_std(socket) else { return };
            tokio::select! {
                () = ended.cancelled() => {}
                () = hear(&socket, home, &felt, &counted) => {}
            }
        })?;
        Ok(Names { at, mood, denied, over, thread: Some(thread) })
    }

    /// Where it is.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// From now on it does this.
    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Relaxed);
    }

    /// Names that it denied so far.
    pub fn denied(&self) -> u64 {
        self.denied.load(Relaxed)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn hear(socket: &UdpSocket, home: Ipv4Addr, mood: &AtomicU8, denied: &AtomicU64) {
    let mut bytes = vec![0; MOST_BYTES];
    loop {
        // A question that was answered too late is an error of the next one, which is heard again.
        let Ok((many, from)) = socket.recv_from(&mut bytes).await else { continue };
        let mood = mood.load(Relaxed);
        if mood == Mood::Silent as u8 {
            continue;
        }
        let Some(answer) = bytes.get(..many).and_then(|bytes| answer(bytes, home, mood)) else { continue };
        denied.fetch_add(u64::from(mood == Mood::Denies as u8), Relaxed);
        let _ = socket.send_to(&answer, from).await;
    }
}

/// What is said to a question; nothing to what is none.
fn answer(bytes: &[u8], home: Ipv4Addr, mood: u8) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    let query = question.queries.first()?.clone();
    let mut said = Message::response(question.metadata.id, question.metadata.op_code);
    said.metadata = Metadata::response_from_request(&question.metadata);
    let name = query.name().to_ascii();
    let known = name.trim_end_matches('.').to_ascii_lowercase().ends_with(DOMAIN);
    if mood == Mood::Denies as u8 || !known {
        said.metadata.response_code = ResponseCode::NXDomain;
    } else if query.query_type() == RecordType::A {
        said.add_answer(Record::from_rdata(query.name().clone(), TTL, RData::A(A(home))));
    }
    said.add_query(query);
    said.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::Name;
    use std::time::Duration;

    fn ask(at: SocketAddr, name: &str) -> Option<Message> {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a bound");
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
        socket.send_to(&question.to_vec().expect("bytes"), at).expect("sent");
        let mut bytes = [0; 512];
        let many = socket.recv(&mut bytes).ok()?;
        Some(Message::from_vec(&bytes[..many]).expect("an answer"))
    }

    #[test]
    fn it_knows_the_stand_ins_denies_them_and_falls_silent() {
        let names = Names::start(Ipv4Addr::new(127, 77, 0, 1)).expect("starts");
        let name = format!("a-0.{DOMAIN}.");
        assert_eq!(ask(names.at(), &name).expect("an answer").answers.len(), 1);
        let other = ask(names.at(), "example.com.").expect("an answer");
        assert_eq!(
            other.metadata.response_code,
            ResponseCode::NXDomain,
            "whoever is not of the drill is nobody"
        );
        names.set(Mood::Denies);
        assert_eq!(ask(names.at(), &name).expect("an answer").metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(names.denied(), 1);
        names.set(Mood::Silent);
        assert!(ask(names.at(), &name).is_none());
    }
}
