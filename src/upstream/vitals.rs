//! What the cores notice of one backend while they use it: the raw signs from which the control plane concludes that
//! it fails, went away, or came back as another process (`overload.md` 2(vi), 2(vii)).
//!
//! Cores only write, and mostly nothing: a success costs one read of a word that rarely changes. Whoever concludes
//! something from it reads ten times a second and keeps what it saw last. Nothing here decides.

use crate::reject::Reason;
use crate::telemetry::cells::{CoreId, Counter, PerCore};
use crate::upstream::checkup::Checkup;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_64;

/// The signs of one backend; as old as its identity.
#[derive(Debug, Default)]
pub struct Vitals {
    /// What active checks found, which are no core's.
    pub checkup: Checkup,
    tries: PerCore<Tries>,
    failures_in_row: AtomicU32,
    last_failure: AtomicU32,
    connected: AtomicU64,
    refused: AtomicU64,
    established: AtomicU32,
    lost_at_work: AtomicU64,
    lost_idle: AtomicU64,
    boot: AtomicU64,
    boots: AtomicU64,
    confirmed: AtomicU64,
}

/// Tries that said something of the backend, as one core counts them.
#[derive(Debug, Default)]
struct Tries {
    ok: Counter,
    failed: Counter,
    /// Of those within the gate: what was answered in time and below 500, how long that took, and the others.
    well: Counter,
    latency_ns: Counter,
    ended_badly: Counter,
}

/// What a failure of the backend was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// An answer with this status.
    Status(u16),
    /// An answer with this `grpc-status`.
    Grpc(u8),
    /// No answer.
    Reason(Reason),
}

/// How an attempt to connect ended, if that says whether somebody listens. What was not answered, not routed or no TLS
/// does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// With a connection, TLS and handshake included.
    Connected,
    /// The host is there and nobody listens (ECONNREFUSED).
    Refused,
}

/// The signs at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Failures since the last success, over all cores; what a deadline of the client's cut short is none.
    pub failures_in_row: u32,
    /// Tries that succeeded, ever.
    pub ok: u64,
    /// Tries that failed by the backend's fault, ever.
    pub failed: u64,
    /// What the last of them was.
    pub last_failure: Option<Blame>,
    /// Times that active checks took it for dead, ever; not for slow.
    pub health_downs: u64,
    /// Times that they found it alive again after that, ever.
    pub health_ups: u64,
    /// Connections made, ever.
    pub connected: u64,
    /// Connects refused, ever.
    pub refused: u64,
    /// Connections that are open now.
    pub established: u32,
    /// Connections that ended while a request was in flight on them, ever.
    pub lost_at_work: u64,
    /// Connections that ended while they were idle, ever; a server may close those at any time.
    pub lost_idle: u64,
    /// Hash of the last boot id that an answer carried; 0 before the first.
    pub boot: u64,
    /// Times that an answer carried another boot id than the answer before.
    pub boots: u64,
    /// Connections that were made when an answer carried the last boot id: the id is that of the process which
    /// accepted them, or of one that still answers beside it.
    pub confirmed: u64,
}

impl Vitals {
    /// No signs yet, of a backend that this many cores use.
    pub fn new(cores: usize) -> Self {
        Vitals { tries: PerCore::new(cores), ..Vitals::default() }
    }

    /// A request succeeded: there was an answer, and it was no failure of the backend.
    #[inline]
    pub fn succeeded(&self, core: CoreId) {
        if let Some(tries) = self.tries.of(core) {
            tries.ok.add(1);
        }
        if self.failures_in_row.load(Relaxed) != 0 {
            self.failures_in_row.store(0, Relaxed);
        }
    }

    /// A request failed and the backend is to blame.
    pub fn failed(&self, core: CoreId, blame: Blame) {
        if let Some(tries) = self.tries.of(core) {
            tries.failed.add(1);
        }
        self.last_failure.store(blame.code(), Relaxed);
        self.failures_in_row.fetch_add(1, Relaxed);
    }

    /// One try within the gate ended: with an answer below 500 after so many nanoseconds, or with one above, none in
    /// time, or a broken connection.
    #[inline]
    pub fn ended(&self, core: CoreId, well: Option<u64>) {
        let Some(tries) = self.tries.of(core) else { return };
        match well {
            Some(ns) => {
                tries.well.add(1);
                tries.latency_ns.add(ns);
            }
            None => tries.ended_badly.add(1),
        }
    }

    /// Tries within the gate that ended well, that did not, and the nanoseconds to the head of the former together,
    /// ever.
    pub fn outcomes(&self) -> [u64; 3] {
        let sum = |cell: fn(&Tries) -> &Counter| self.tries.sum(|tries| cell(tries).get());
        [sum(|it| &it.well), sum(|it| &it.ended_badly), sum(|it| &it.latency_ns)]
    }

    /// Tries that succeeded so far.
    pub fn ok(&self) -> u64 {
        self.tries.sum(|tries| tries.ok.get())
    }

    /// Somebody tried to connect.
    pub fn dialled(&self, dial: Dial) {
        let count = match dial {
            Dial::Connected => &self.connected,
            Dial::Refused => &self.refused,
        };
        count.fetch_add(1, Relaxed);
    }

    /// A connection ended by the backend's doing, with a request in flight or without.
    pub fn lost(&self, at_work: bool) {
        if at_work { &self.lost_at_work } else { &self.lost_idle }.fetch_add(1, Relaxed);
    }

    /// An answer carried this boot id.
    #[inline]
    pub fn booted(&self, id: &[u8]) {
        // Zero is none.
        let boot = xxh3_64(id).max(1);
        if self.boot.load(Relaxed) != boot {
            let before = self.boot.swap(boot, Relaxed);
            if before != boot && before != 0 {
                self.boots.fetch_add(1, Relaxed);
            }
        }
        // Once for each new connection: both words are only read otherwise.
        let connected = self.connected.load(Relaxed);
        if self.confirmed.load(Relaxed) != connected {
            self.confirmed.store(connected, Relaxed);
        }
    }

    /// The signs now.
    pub fn signs(&self) -> Signs {
        let (health_downs, health_ups) = self.checkup.turns();
        Signs {
            failures_in_row: self.failures_in_row.load(Relaxed),
            ok: self.ok(),
            failed: self.tries.sum(|tries| tries.failed.get()),
            last_failure: Blame::of_code(self.last_failure.load(Relaxed)),
            health_downs,
            health_ups,
            connected: self.connected.load(Relaxed),
            refused: self.refused.load(Relaxed),
            established: self.established.load(Relaxed),
            lost_at_work: self.lost_at_work.load(Relaxed),
            lost_idle: self.lost_idle.load(Relaxed),
            boot: self.boot.load(Relaxed),
            boots: self.boots.load(Relaxed),
            confirmed: self.confirmed.load(Relaxed),
        }
    }
}

/// Codes of blames begin here: what is below is a status.
const GRPC: u32 = 1_000;
const REASON: u32 = 2_000;

impl Blame {
    /// In one word, so that no lock is needed; 0 is none.
    fn code(self) -> u32 {
        match self {
            Blame::Status(status) => u32::from(status),
            Blame::Grpc(status) => GRPC + u32::from(status),
            Blame::Reason(reason) => REASON + reason as u32,
        }
    }

    fn of_code(code: u32) -> Option<Blame> {
        match code {
            0 => None,
            1..GRPC => Some(Blame::Status(code as u16)),
            GRPC..REASON => Some(Blame::Grpc((code - GRPC) as u8)),
            _ => Reason::ALL.get((code - REASON) as usize).map(|reason| Blame::Reason(*reason)),
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blame::Status(status) => write!(f, "{status}"),
            Blame::Grpc(status) => write!(f, "grpc-status {status}"),
            Blame::Reason(reason) => f.write_str(reason.as_str()),
        }
    }
}

/// One open connection to a backend; counted as long as it is held.
#[derive(Debug)]
pub struct Established(Arc<Vitals>);

impl Established {
    /// Counts one.
    pub fn new(vitals: &Arc<Vitals>) -> Self {
        vitals.established.fetch_add(1, Relaxed);
        Established(vitals.clone())
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        self.0.established.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_a_row_of_failures() {
        let vitals = Vitals::new(2);
        vitals.failed(CoreId(0), Blame::Status(500));
        vitals.failed(CoreId(1), Blame::Reason(Reason::Reset));
        let signs = vitals.signs();
        assert_eq!((signs.failures_in_row, signs.failed, signs.ok), (2, 2, 0));
        vitals.succeeded(CoreId(1));
        assert_eq!((vitals.signs().failures_in_row, vitals.signs().ok), (0, 1));
    }

    #[test]
    fn what_failed_last_is_told_in_words() {
        let told = |blame: Blame| Blame::of_code(blame.code()).map(|blame| blame.to_string());
        assert_eq!(told(Blame::Status(502)).as_deref(), Some("502"));
        assert_eq!(told(Blame::Grpc(14)).as_deref(), Some("grpc-status 14"));
        assert_eq!(told(Blame::Reason(Reason::Reset)).as_deref(), Some("reset"));
        assert_eq!(Vitals::default().signs().last_failure, None);
    }

    #[test]
    fn a_boot_id_is_news_only_when_it_is_another_one() {
        let vitals = Vitals::default();
        for id in ["a", "a", "b", "b", "a"] {
            vitals.booted(id.as_bytes());
        }
        assert_eq!(vitals.signs().boots, 2);
    }

    #[test]
    fn a_boot_id_is_confirmed_by_the_first_answer_after_a_connection_was_made() {
        let vitals = Vitals::default();
        vitals.dialled(Dial::Connected);
        vitals.booted(b"a");
        vitals.dialled(Dial::Connected);
        assert_eq!((vitals.signs().connected, vitals.signs().confirmed), (2, 1));
        vitals.booted(b"a");
        assert_eq!((vitals.signs().boots, vitals.signs().confirmed), (0, 2));
    }

    #[test]
    fn a_connection_counts_while_it_is_held() {
        let vitals = Arc::new(Vitals::default());
        let connection = Established::new(&vitals);
        assert_eq!(vitals.signs().established, 1);
        drop(connection);
        assert_eq!(vitals.signs().established, 0);
    }
}
