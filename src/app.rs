//! The composition root, as a table of contents: build the parts, start the threads, wait for a signal, leave
//! in order.

mod boot;
mod demo;
mod ground;
mod leave;
mod news;
mod office;
mod street;
mod supervisor;
mod threads;

pub use demo::demo;

use crate::admin::reach::Reach;
use crate::admin::{AdminState, ViewSource};
use crate::config::operators::Settings as AdminSettings;
use crate::config::{Environment, ProcessEnvironment};
use crate::control::apply::Desk;
use crate::control::history::History;
use crate::control::incidents::Incidents;
use crate::control::observe::Observatory;
use crate::control::rollback::Counter;
use crate::control::steering::Steering;
use crate::control::steering::keep::Kept;
use crate::control::{Control, Parts};
use crate::listener::Listeners;
use crate::runtime::bells::Bells;
use crate::runtime::watchdog::Watchdog;
use crate::server::process::Process;
use crate::server::station::Shared;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::events::Started;
use crate::telemetry::logs::{self, Logs};
use anyhow::Context;
use boot::Boot;
use ground::Ground;
use leave::Ears;
use news::Newsreader;
use office::Office;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;
use street::Street;
use supervisor::{Feeder, Health, Supervisor};
use threads::{
    run_background, run_keeper, run_keys, run_live, run_outside, run_probes, run_rollbacks, run_rollouts,
    run_status_page, serve_admin,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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
    history: History,
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
    let boot = Boot::read(options, &environment)?;
    let ground = Ground::lay(&boot, logs)?;
    let (builder, live, files) = ground.first_table(&boot)?;
    // Before the first request: a ramp outlives a restart.
    let bells = Arc::new(Bells::new(ground.cores));
    let steering = Steering::new(live.clone(), bells.clone(), Kept::read(boot.books.store()));
    let incidents = Incidents::new(live.clone(), boot.incidents.clone());
    let (process, metrics) = (Arc::new(Process::default()), ground.metrics.clone());
    let shared = Shared { live, process, metrics, bells, started };

    // The admin address before the cores: when it is taken, no client was let in yet.
    let admin_socket = bind_admin(boot.active.plan.admin.address)?;
    let admin = admin_socket.local_addr()?;
    let street = Street::open(&boot, &ground, &shared, &files)?;

    // Each needs the other: a change brings the admin side new tokens, and the admin side looks at the control
    // plane. So control gets a place where the admin side will be.
    let admin_side = AdminSlot::default();
    let parts = Parts {
        file: options.config.clone(),
        environment,
        live: shared.live.clone(),
        steering: steering.clone(),
        listeners: street.listeners.clone(),
        builder,
        names: ground.directory.clone(),
        keyrings: ground.keyrings.clone(),
        notifier: ground.notifier.clone(),
        books: boot.books.clone(),
        incidents: incidents.clone(),
        metrics: shared.metrics.clone(),
        access_log: ground.access_log.clone(),
        admin: tokens_for(admin_side.clone()),
    };
    let bookkeeper = boot.keep(&shared.metrics)?;
    let Office { conductor, history, audit, prober, probes, acts } = Office::open(parts, &boot, &ground);
    let control = conductor.control().clone();
    let observatory = street.observe(&conductor, &shared);
    let state = AdminState::new(shared.metrics.clone(), view(&observatory), &boot.active.plan.admin)?;
    // It was empty: nobody else has it.
    let _ = admin_side.set(state.clone());
    state.audit_in(audit);
    let page = state.page();
    let (desk, orders) = Desk::open(&conductor);
    let (counter, asked) = Counter::open();
    state.connect(Reach::new(observatory.clone(), desk, prober, counter));

    let stop = CancellationToken::new();
    let (wishes, heard) = mpsc::channel(1);
    let socket_home = boot.active.plan.admin.socket.then(|| boot.books.store().directory().to_owned());
    let beats = Arc::new(AtomicU64::new(0));
    let beating = supervisor.beat().map(|every| (every, beats.clone()));
    let keeper = run_keeper(
        (steering.clone(), incidents, control.notifier().clone()),
        boot.books.store().clone(),
        stop.clone(),
    )?;
    let live = run_live(state.clone(), stop.clone())?;
    let admin_thread =
        serve_admin(admin_socket, socket_home, (state, steering, control.clone()), beating, stop.clone())?;
    observatory.ready.store(true, Relaxed);
    // Before the background thread, which writes the same file after a change.
    boot.announce(options, admin, &street.listeners.bound());
    let news = Newsreader { supervisor: supervisor.clone(), observatory: observatory.clone(), admin };
    let background = run_background(conductor.clone(), (heard, orders), news.clone(), stop.clone())?;
    let outside = run_outside(control.clone(), ground.outside(shared.live), stop.clone())?;
    let probes = run_probes(probes, stop.clone())?;
    let keys = run_keys(ground.keyrings, ground.notifier, stop.clone())?;
    let page = run_status_page(control.clone(), page, stop.clone())?;
    let rollbacks = run_rollbacks(control.clone(), asked, stop.clone())?;
    let rollouts = run_rollouts(conductor, acts, stop.clone())?;
    let feeder = supervisor.feed(Health::new(street.hearts, beats))?;
    supervisor.ready(&news.status());
    Ok(Running {
        control,
        observatory,
        listeners: street.listeners,
        access_log: ground.access_log,
        history,
        wishes,
        drain: boot.drain,
        admin,
        stop_cores: street.stop,
        stop_rest: stop,
        cores: street.cores,
        rest: vec![
            keeper,
            admin_thread,
            live,
            background,
            outside,
            probes,
            keys,
            page,
            rollbacks,
            rollouts,
            bookkeeper,
        ],
        supervisor,
        _watchdog: street.watchdog,
        _feeder: feeder,
    })
}

/// What operators look at.
fn view(observatory: &Arc<Observatory>) -> ViewSource {
    let observatory = observatory.clone();
    Arc::new(move || observatory.view())
}

/// Binds the address of the operators' side.
fn bind_admin(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket =
        TcpListener::bind(address).with_context(|| format!("the admin address {address} cannot be bound"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
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
