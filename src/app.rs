//! The composition root, as a table of contents: build the parts, start the threads, wait for a signal, leave
//! in order.

mod boot;
mod demo;
mod leave;
mod news;
mod supervisor;
mod threads;

pub use demo::demo;

use crate::admin::reach::Reach;
use crate::admin::{AdminState, ViewSource};
use crate::config::operators::Settings as AdminSettings;
use crate::config::{Environment, ProcessEnvironment};
use crate::control::apply::Desk;
use crate::control::build::Builder;
use crate::control::keyrings::Keyrings;
use crate::control::observe::Observatory;
use crate::control::steering::Steering;
use crate::control::steering::keep::Kept;
use crate::control::{Control, Parts};
use crate::listener::Listeners;
use crate::routing::table::Live;
use crate::runtime::bells::Bells;
use crate::runtime::descriptors::Descriptors;
use crate::runtime::watchdog::{Heartbeats, Verdict, Watchdog};
use crate::server::process::Process;
use crate::server::station::Shared;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::events::Started;
use crate::telemetry::logs::{self, Logs};
use crate::telemetry::metrics::Metrics;
use crate::upstream::discovery::Directory;
use crate::worker::Workers;
use anyhow::Context;
use boot::Boot;
use leave::Ears;
use news::Newsreader;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;
use supervisor::{Feeder, Health, Supervisor};
use threads::{Outside, run_background, run_keeper, run_keys, run_outside, serve_admin};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runtimes beside the cores, which need descriptors of their own: admin, background, outside, keeper, keys, acceptor,
/// signals; and two to spare.
const OTHER_RUNTIMES: usize = 9;

/// What `run` was told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub config: PathBuf,
    /// Where state is kept, if the command line or the environment says so.
    pub state_dir: Option<PathBuf>,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// If it cannot start: there is neither a good configuration nor a last good one, or an address is taken.
pub fn run(options: RunOptions) -> anyhow::Result<ExitCode> {
    let logs = logs::start();
    let ears = Ears::open()?;
    let running = start(&options, Arc::new(ProcessEnvironment), &logs)?;
    Ok(running.until_told(ears))
}

/// A gateway that is up.
struct Running {
    control: Arc<Control>,
    observatory: Arc<Observatory>,
    listeners: Arc<Listeners>,
    access_log: AccessLog,
    wishes: mpsc::Sender<()>,
    drain: boot::DrainTimes,
    admin: SocketAddr,
    stop_cores: CancellationToken,
    stop_rest: CancellationToken,
    cores: Vec<JoinHandle<()>>,
    rest: Vec<JoinHandle<()>>,
    supervisor: Supervisor,
    _watchdog: Watchdog,
    _feeder: Option<Feeder>,
}

fn start(
    options: &RunOptions,
    environment: Arc<dyn Environment + Send + Sync>,
    logs: &Logs,
) -> anyhow::Result<Running> {
    let started = Instant::now();
    Started { program: env!("CARGO_PKG_VERSION") }.emit();
    let supervisor = Supervisor::from_environment();
    let boot = Boot::read(options, &*environment)?;
    let plan = &boot.active.plan;
    let cores = plan.gateway.workers;

    let (descriptors, warning) = Descriptors::at_start(cores + OTHER_RUNTIMES);
    warning.into_iter().for_each(|warning| tracing::warn!("{warning}"));
    let metrics = Arc::new(Metrics::new(cores));
    metrics.process().watch_log(logs.dropped());
    let access_log = AccessLog::start(plan.access_log.target.clone(), metrics.clone())?;
    let directory = Arc::new(Directory::default());

    let mut builder = Builder::new(cores, metrics.clone(), directory.clone(), descriptors.clone());
    let keyrings = Arc::new(Keyrings::new(Some(boot.store.clone()), directory.clone()));
    builder.use_keyrings(keyrings.clone());
    if boot.again {
        builder.forgive_certificates();
    }
    let table = builder.build(plan).map_err(anyhow::Error::msg)?;
    builder.commit(plan);
    let live = Arc::new(Live::new(Arc::new(table)));
    // Before the first request: a ramp outlives a restart.
    let bells = Arc::new(Bells::new(cores));
    let steering = Steering::new(live.clone(), bells.clone(), Kept::read(&boot.store));
    let process = Arc::new(Process::default());
    let shared =
        Shared { live: live.clone(), process: process.clone(), metrics: metrics.clone(), bells, started };

    // The admin address before the cores: when it is taken, no client was let in yet.
    let admin_socket = bind_admin(plan.admin.address)?;
    let admin = admin_socket.local_addr()?;

    let stop_cores = CancellationToken::new();
    let stop_rest = CancellationToken::new();
    let hearts = Arc::new(Heartbeats::new(cores));
    let (workers, core_threads) = Workers::start(cores, &shared, &access_log, &hearts, &stop_cores)?;
    let workers = Arc::new(workers);
    let watchdog = watch_cores(&hearts, &metrics)?;
    let listeners = Arc::new(Listeners::start(workers.clone(), descriptors)?);
    open_doors(&listeners, &boot)?;

    // Each needs the other: a change brings the admin side new tokens, and the admin side looks at the control
    // plane. So control gets a place where the admin side will be.
    let admin_side = AdminSlot::default();
    let (active, counted) = (live.clone(), metrics.clone());
    let parts = Parts {
        file: options.config.clone(),
        environment,
        live,
        steering: steering.clone(),
        listeners: listeners.clone(),
        builder,
        names: directory.clone(),
        store: boot.store.clone(),
        metrics: metrics.clone(),
        access_log: access_log.clone(),
        admin: tokens_for(admin_side.clone()),
    };
    let control =
        Arc::new(Control::new(parts, boot.read.as_deref(), boot.active.clone(), boot.degraded.clone()));
    if let Err(error) = boot.keep() {
        control.not_kept(&error);
    }
    let observatory = Arc::new(Observatory {
        control: control.clone(),
        process,
        workers: workers.clone(),
        hearts: hearts.clone(),
        cores,
        started,
        ready: AtomicBool::new(false),
    });
    let view: ViewSource = {
        let observatory = observatory.clone();
        Arc::new(move || observatory.view())
    };
    let state = AdminState::new(metrics, view, &plan.admin)?;
    // It was empty: nobody else has it.
    let _ = admin_side.set(state.clone());

    let (desk, orders) = Desk::open(&control);
    state.connect(Reach::new(workers, control.clone(), desk));
    let (wishes, heard) = mpsc::channel(1);
    let socket_home = plan.admin.socket.then(|| boot.store.directory().to_owned());
    let beats = Arc::new(AtomicU64::new(0));
    let beating = supervisor.beat().map(|every| (every, beats.clone()));
    let news = Newsreader { supervisor: supervisor.clone(), observatory: observatory.clone(), admin };
    let keeper = run_keeper(steering.clone(), boot.store.clone(), stop_rest.clone())?;
    let admin_thread = serve_admin(admin_socket, socket_home, (state, steering), beating, stop_rest.clone())?;
    observatory.ready.store(true, Relaxed);
    // Before the background thread, which writes the same file after a change.
    boot.announce(options, admin, &listeners.bound());
    let background = run_background(control.clone(), (heard, orders), news.clone(), stop_rest.clone())?;
    let calls = Outside { directory, live: active, metrics: counted, keyrings: keyrings.clone() };
    let outside = run_outside(control.clone(), calls, stop_rest.clone())?;
    let keys = run_keys(keyrings, stop_rest.clone())?;
    let rest = vec![keeper, admin_thread, background, outside, keys];
    let feeder = supervisor.feed(Health::new(hearts, beats))?;
    supervisor.ready(&news.status());
    Ok(Running {
        control,
        observatory,
        listeners,
        access_log,
        wishes,
        drain: boot.drain,
        admin,
        stop_cores,
        stop_rest,
        cores: core_threads,
        rest,
        supervisor,
        _watchdog: watchdog,
        _feeder: feeder,
    })
}

/// Binds the address of the operators' side.
fn bind_admin(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket =
        TcpListener::bind(address).with_context(|| format!("the admin address {address} cannot be bound"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Watches whether the cores turn, and counts when one does not.
fn watch_cores(hearts: &Arc<Heartbeats>, metrics: &Arc<Metrics>) -> io::Result<Watchdog> {
    let metrics = metrics.clone();
    Watchdog::start(hearts.clone(), move |verdict| {
        if matches!(verdict, Verdict::Stuck { .. }) {
            metrics.process().stuck_cores.add(1);
        }
    })
}

/// Opens the street doors of the first plan; its warnings are logged.
fn open_doors(listeners: &Listeners, boot: &Boot) -> anyhow::Result<()> {
    let plan = &boot.active.plan;
    let wanted = &plan.listeners;
    let opened = if boot.again { listeners.start_again(wanted) } else { listeners.apply(wanted) };
    let warnings = opened.map_err(|errors| {
        anyhow::Error::msg(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    plan.notices.iter().chain(&warnings).for_each(|notice| tracing::warn!("{notice}"));
    Ok(())
}

/// Where the admin side is once it is up.
type AdminSlot = Arc<OnceLock<Arc<AdminState>>>;

/// Hands the tokens of a change to the admin side.
fn tokens_for(admin_side: AdminSlot) -> Box<dyn Fn(&AdminSettings) + Send + Sync> {
    Box::new(move |settings| {
        if let Some(Err(error)) = admin_side.get().map(|state| state.set_access(settings)) {
            tracing::error!(%error, "the admin tokens stay as they were");
        }
    })
}
