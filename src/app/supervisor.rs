//! Tells the service manager how the process is: ready, reloading, leaving, alive. The words are systemd's
//! (sd_notify(3)); without `NOTIFY_SOCKET` nothing is said and nothing runs.
//!
//! A datagram that cannot be sent at once is left out: a service manager that hangs never holds us up. The
//! socket is ours and not the library's, because that one blocks and knows no abstract addresses.
//!
//! The watchdog is fed from a thread of its own, and only while every core turns and the operators' side does:
//! a process that looks alive and serves nobody is ended and started again.

use crate::runtime::tied::Tied;
use crate::runtime::watchdog::Heartbeats;
use sd_notify::NotifyState;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What the end of a process may take beyond its drain: the log's last lines, and threads that end.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// The operators' side beats this often, or twice between two feeds if that is more often.
const BEAT: Duration = Duration::from_millis(500);
/// And never more often than this, whatever the manager asks for.
const BEAT_MIN: Duration = Duration::from_millis(10);

/// The way to the service manager, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
    /// Without a sign of life for this long, the process is ended.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// From the environment that the service manager made. One that cannot be reached is none: the variable may
    /// have been left behind by somebody else, and clients are waiting.
    pub fn from_environment() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty());
        // None also when it is meant for another process.
        let watchdog = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero());
        let found = address.map(|address| Supervisor::at(&address, watchdog)).transpose();
        let found = found.inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET cannot be reached"));
        found.ok().flatten().unwrap_or_default()
    }

    fn at(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match address.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => socket.connect(Path::new(address))?,
        }
        socket.set_nonblocking(true)?;
        Ok(Supervisor { socket: Some(Arc::new(socket)), watchdog })
    }

    /// Clients and operators are served; `status` is one line for `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Another line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.say(&[NotifyState::Status(status)]);
    }

    /// The configuration is read again; [`Supervisor::ready`] ends it.
    pub fn reloading(&self) {
        // With the time, or a manager of type notify-reload ends the process.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "no monotonic time: the service manager hears of no reload"),
        }
    }

    /// Leaving, which takes `at_most`: the manager's patience is extended to that, should it be shorter.
    pub fn stopping(&self, at_most: Duration) {
        let patience = at_most.saturating_add(LAST_WORDS).as_micros();
        let patience = u32::try_from(patience).unwrap_or(u32::MAX);
        self.say(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(patience),
            NotifyState::Status("draining"),
        ]);
    }

    fn say(&self, words: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let text: String = words.iter().map(|word| format!("{word}\n")).collect();
        if let Err(error) = socket.send(text.as_bytes()) {
            tracing::warn!(%error, "the service manager did not take a message");
        }
    }

    /// Feeds the manager's watchdog, at half of its patience, as long as the process is well. Nothing runs
    /// where there is no watchdog.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn feed(&self, health: Health) -> io::Result<Option<Feeder>> {
        let Some(patience) = self.watchdog.filter(|_| self.socket.is_some()) else { return Ok(None) };
        let (supervisor, mut health) = (self.clone(), health);
        let (stop, stopped) = mpsc::sync_channel::<Infallible>(0);
        let feed = move || {
            supervisor.say(&[NotifyState::Watchdog]);
            // Nothing is ever sent: a timeout means "look", a lost sender means "end".
            while stopped.recv_timeout((patience / 2).max(BEAT_MIN)) == Err(mpsc::RecvTimeoutError::Timeout) {
                match health.what_is_wrong() {
                    None => supervisor.say(&[NotifyState::Watchdog]),
                    Some(what) => {
                        tracing::error!(what, "not well: the service manager's watchdog is not fed");
                        supervisor.say(&[NotifyState::Status(what)]);
                    }
                }
            }
        };
        Ok(Some(Feeder { _thread: Tied::spawn("supervisor", stop, feed)? }))
    }

    /// How often the operators' side should count up what [`Health`] looks at; not at all without a watchdog.
    pub fn beat(&self) -> Option<Duration> {
        self.watchdog.map(|patience| (patience / 4).clamp(BEAT_MIN, BEAT))
    }
}

/// What must move for the process to be well.
#[derive(Debug)]
pub struct Health {
    hearts: Arc<Heartbeats>,
    beats: Arc<AtomicU64>,
    seen: u64,
}

impl Health {
    /// The cores by their watchdog's verdict; the operators' side by `beats`, which it counts up.
    pub fn new(hearts: Arc<Heartbeats>, beats: Arc<AtomicU64>) -> Self {
        Health { hearts, beats, seen: 0 }
    }

    /// What did not move since it was asked before.
    fn what_is_wrong(&mut self) -> Option<&'static str> {
        let before = std::mem::replace(&mut self.seen, self.beats.load(Relaxed));
        if self.hearts.all_stuck().next().is_some() {
            Some("a core is stuck")
        } else if before == self.seen {
            Some("the admin thread is stuck")
        } else {
            None
        }
    }
}

/// The thread that feeds. Dropping it ends it.
#[derive(Debug)]
pub struct Feeder {
    _thread: Tied<mpsc::SyncSender<Infallible>>,
}

/// One line for `systemctl status`: which program, which configuration, where clients and operators connect.
pub fn status_line(
    hash: &str,
    listeners: &[(Arc<str>, std::net::SocketAddr)],
    admin: std::net::SocketAddr,
) -> String {
    let listeners: Vec<String> = listeners.iter().map(|(name, at)| format!("{name} {at}")).collect();
    let (version, hash) = (env!("CARGO_PKG_VERSION"), hash.get(..12).unwrap_or(hash));
    format!("tidegate {version}, configuration {hash}, {}, admin {admin}", listeners.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    struct Manager {
        socket: UnixDatagram,
        supervisor: Supervisor,
        _place: tempfile::TempDir,
    }

    fn manager(watchdog: Duration) -> Manager {
        let place = tempfile::tempdir().expect("a folder");
        let address = place.path().join("notify");
        let socket = UnixDatagram::bind(&address).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let supervisor = Supervisor::at(address.as_os_str(), Some(watchdog)).expect("connected");
        Manager { socket, supervisor, _place: place }
    }

    impl Manager {
        fn hears(&self) -> String {
            let mut buffer = [0; 1024];
            let read = self.socket.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        }
    }

    #[test]
    fn the_watchdog_is_fed_while_cores_and_operators_side_turn_and_no_longer() {
        let manager = manager(Duration::from_millis(100));
        let hearts = Arc::new(Heartbeats::new(1));
        let beats = Arc::new(AtomicU64::new(0));
        let health = Health::new(hearts.clone(), beats.clone());
        let _feeder = manager.supervisor.feed(health).expect("a thread").expect("there is a watchdog");
        let wait_for = |what: &str, beat: bool| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !manager.hears().contains(what) {
                assert!(Instant::now() < deadline, "never {what}");
                beats.fetch_add(u64::from(beat), Relaxed);
            }
        };
        wait_for("WATCHDOG=1\n", true);
        wait_for("WATCHDOG=1\n", true);
        wait_for("STATUS=the admin thread is stuck\n", false);
        wait_for("WATCHDOG=1\n", true);
        hearts.accuse(0);
        wait_for("STATUS=a core is stuck\n", true);
        for _ in 0..5 {
            beats.fetch_add(1, Relaxed);
            assert_eq!(manager.hears(), "STATUS=a core is stuck\n", "no sign of life any more");
        }
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let manager = manager(Duration::from_secs(1));
        for _ in 0..10_000 {
            manager.supervisor.ready("again");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_said_and_nothing_runs() {
        let nobody = Supervisor::default();
        nobody.ready("ready");
        nobody.stopping(Duration::from_secs(1));
        let health = Health::new(Arc::new(Heartbeats::new(1)), Arc::default());
        assert!(nobody.feed(health).expect("nothing to fail").is_none());
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error() {
        assert!(Supervisor::at(OsStr::new("/nowhere/notify"), None).is_err());
    }

    #[test]
    fn a_core_that_is_stuck_or_operators_who_are_locked_out_are_told_apart() {
        let beats = Arc::new(AtomicU64::new(1));
        let mut health = Health::new(Arc::new(Heartbeats::new(1)), beats.clone());
        assert_eq!(health.what_is_wrong(), None);
        assert_eq!(health.what_is_wrong(), Some("the admin thread is stuck"));
        beats.store(2, Relaxed);
        assert_eq!(health.what_is_wrong(), None);
        health.hearts.accuse(0);
        assert_eq!(health.what_is_wrong(), Some("a core is stuck"));
    }
}
