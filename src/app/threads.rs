//! The threads beside the cores: who may block on what, and whom that holds up (nobody who serves).
//!
//! Each ends when it is told to stop; none is waited for longer than a second when the process leaves.

use crate::admin::{self, AdminState};
use crate::app::news::Newsreader;
use crate::control::Control;
use crate::control::apply::Job;
use crate::control::change::{Acts, Conductor};
use crate::control::checks::keep_checked;
use crate::control::incidents::{self, Incidents};
use crate::control::keyrings::Keyrings;
use crate::control::notify::Notifier;
use crate::control::probe::Jobs;
use crate::control::readdress::follow_names;
use crate::control::rollback;
use crate::control::spells::Spells;
use crate::control::steering::Steering;
use crate::control::steering::keep::keep;
use crate::control::store::Store;
use crate::control::watch::watch;
use crate::routing::table::Live;
use crate::runtime;
use crate::runtime::allocator;
use crate::runtime::clock::TICK;
use crate::telemetry::events::stream;
use crate::telemetry::metrics::Metrics;
use crate::upstream::discovery::{Directory, Pace, keep_resolved};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often what upstreams count is looked at for incidents.
const LOOK: Duration = Duration::from_secs(1);

/// How nice the thread is that probes.
#[cfg(target_os = "linux")]
const MODEST: i32 = 5;

/// The admin thread: nothing that blocks ever runs there.
///
/// # Errors
/// When the system gives no thread; so for each of these.
pub fn serve_admin(
    socket: TcpListener,
    socket_home: Option<PathBuf>,
    (state, steering, control): (Arc<AdminState>, Arc<Steering>, Arc<Control>),
    beating: Option<(Duration, Arc<AtomicU64>)>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::task::spawn_local(steer(steering, control));
        if let Some((every, beats)) = beating {
            tokio::task::spawn_local(async move {
                let mut ticks = tokio::time::interval(every);
                loop {
                    ticks.tick().await;
                    beats.fetch_add(1, Relaxed);
                }
            });
        }
        match socket_home.map(|home| admin::socket::bind(&home)) {
            Some(Ok(own)) => {
                let (state, stop) = (state.clone(), stop.clone());
                tokio::task::spawn_local(admin::serve(own, state, stop.cancelled_owned()));
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the admin socket cannot be made; the address can be used")
            }
            None => {}
        }
        tokio::task::spawn_local(admin::series::record(state.clone()));
        if let Some(records) = stream::receiver() {
            tokio::task::spawn_local(admin::events::keep(state.clone(), records));
        }
        match tokio::net::TcpListener::from_std(socket) {
            Ok(listener) => admin::serve(listener, state, stop.cancelled_owned()).await,
            Err(error) => tracing::error!(%error, "the admin side cannot listen"),
        }
    };
    runtime::spawn("admin", main).map(|(_, thread)| thread)
}

/// The thread of whoever watches: it looks at everything once a second, and does nothing while nobody watches.
pub fn run_live(state: Arc<AdminState>, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::select! {
            () = admin::live::keep(state) => {}
            () = stop.cancelled() => {}
        }
    };
    runtime::spawn("live", main).map(|(_, thread)| thread)
}

/// Lets ramps take their steps, references be learned, what routes usually do be known, and sheds be told of, for as
/// long as the admin thread lives.
async fn steer(steering: Arc<Steering>, control: Arc<Control>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let (mut looked, mut spells) = (None, Spells::default());
    loop {
        let now = ticks.tick().await.into_std();
        steering.tick(now);
        control.look_on(now);
        spells.watch(now, &control);
        if looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK) {
            looked = Some(now);
            control.incidents().look(now, control.metrics(), &control.thresholds());
        }
    }
}

/// The background thread: files and signals. It may block; nobody waits for it.
pub fn run_background(
    conductor: Arc<Conductor>,
    told: (mpsc::Receiver<()>, mpsc::Receiver<Job>),
    news: Newsreader,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::select! {
            () = watch(conductor, told, move |cause, outcome| news.tell(cause, outcome)) => {}
            () = stop.cancelled() => {}
        }
    };
    runtime::spawn("background", main).map(|(_, thread)| thread)
}

/// The thread of rollbacks: nothing else is ever in front of one.
pub fn run_rollbacks(
    control: Arc<Control>,
    asked: mpsc::Receiver<rollback::Job>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::select! {
            () = rollback::serve(control, asked) => {}
            () = stop.cancelled() => {}
        }
    };
    runtime::spawn("rollback", main).map(|(_, thread)| thread)
}

/// The thread of rollouts: it looks ten times a second, and blocks on files only where a version is made active.
pub fn run_rollouts(
    conductor: Arc<Conductor>,
    acts: Acts,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::select! {
            () = conductor.conduct(acts) => {}
            () = stop.cancelled() => {}
        }
    };
    runtime::spawn("rollouts", main).map(|(_, thread)| thread)
}

/// What is asked outside, and for whom.
pub struct Outside {
    /// Names of backends.
    pub directory: Arc<Directory>,
    /// Whose backends are checked.
    pub live: Arc<Live>,
    /// Where checks are counted.
    pub metrics: Arc<Metrics>,
    /// Keys that tokens are checked with.
    pub keyrings: Arc<Keyrings>,
    /// Who tells people what happens.
    pub notifier: Arc<Notifier>,
}

/// The thread of calls to the outside that nobody's request waits for. A disk that hangs must not hold it up, nor it
/// a change of the configuration.
pub fn run_outside(
    control: Arc<Control>,
    Outside { directory, live, metrics, keyrings, notifier }: Outside,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::task::spawn_local(keep_resolved(directory, Pace::default()));
        tokio::task::spawn_local(follow_names(control));
        tokio::task::spawn_local(keep_checked(live, metrics));
        tokio::task::spawn_local(keyrings.keep_fetched());
        tokio::task::spawn_local(notifier.run());
        stop.cancelled().await;
    };
    runtime::spawn("outside", main).map(|(_, thread)| thread)
}

/// The thread of files with keys and authorities. They may lie anywhere, and one that hangs must not hold up what is
/// kept of ramps.
pub fn run_keys(
    keyrings: Arc<Keyrings>,
    notifier: Arc<Notifier>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::task::spawn_local(notifier.keep_trust());
        tokio::select! {
            () = keyrings.keep_on_disk() => {}
            () = stop.cancelled() => {}
        }
    };
    runtime::spawn("keys", main).map(|(_, thread)| thread)
}

/// The probe's thread. It shakes hands by the hundred and may block on files, so it gives way to whoever serves, and
/// holds up nobody but probes.
pub fn run_probes(jobs: Jobs, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        // Of this thread alone, on Linux; it works without, only less modestly.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, MODEST);
        tokio::select! {
            () = jobs.run() => {}
            () = stop.cancelled() => {}
        }
    };
    runtime::spawn("probe", main).map(|(_, thread)| thread)
}

/// The thread of the status page: strangers read it, so it is nobody else's.
pub fn run_status_page(
    control: Arc<Control>,
    standing: Arc<admin::status_page::Standing>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::select! {
            () = admin::status_page::keep(control, standing) => {}
            () = stop.cancelled() => {}
        }
    };
    runtime::spawn("status-page", main).map(|(_, thread)| thread)
}

/// The keeper's thread. It writes once a minute whatever happens, and a disk that hangs must hold up neither
/// names nor changes.
pub fn run_keeper(
    (steering, incidents, notifier): (Arc<Steering>, Arc<Incidents>, Arc<Notifier>),
    store: Store,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let main = move || async move {
        tokio::task::spawn_local(allocator::give_back());
        tokio::select! {
            () = keep(steering.clone(), store.clone()) => {}
            () = incidents::keep::keep(incidents.clone(), store.clone()) => {}
            () = notifier.clone().keep_owed(store.clone()) => {}
            () = stop.cancelled() => {}
        }
        // What was learned since it was last kept.
        steering.keep_now(&store);
        incidents.keep_now(&store);
        // Nobody is left to hear that it failed.
        let _ = notifier.keep_owed_now(&store);
    };
    runtime::spawn("keeper", main).map(|(_, thread)| thread)
}
