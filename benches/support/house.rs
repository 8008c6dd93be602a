//! One core's station for a configuration, built as the gateway itself builds it, without its threads.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tidegate::config::plan::Plan;
use tidegate::config::{self, ProcessEnvironment};
use tidegate::control::build::Builder;
use tidegate::routing::table::Live;
use tidegate::runtime::bells::Bells;
use tidegate::runtime::descriptors::Descriptors;
use tidegate::server::process::Process;
use tidegate::server::station::{Shared, Station};
use tidegate::telemetry::access_log::AccessLog;
use tidegate::telemetry::cells::CoreId;
use tidegate::telemetry::metrics::Metrics;
use tidegate::upstream::discovery::Directory;

/// The station of the only core, and the plan behind it. No name is ever resolved here: a backend with a name
/// instead of an address is one that cannot be tried.
pub fn station(text: &str, descriptors: &Arc<Descriptors>) -> (Rc<Station>, Plan) {
    let checked = config::check(text, Path::new("bench.toml"), &ProcessEnvironment);
    let errors = checked.errors();
    let plan = checked.plan.unwrap_or_else(|| panic!("{errors:?}"));
    let metrics = Arc::new(Metrics::new(1));
    let log =
        AccessLog::start(plan.access_log.target.clone(), metrics.clone()).expect("a thread for the log");
    let mut builder = Builder::new(1, metrics.clone(), Arc::new(Directory::default()), descriptors.clone());
    let table = builder.build(&plan, 1).expect("no file is needed");
    let shared = Shared {
        live: Arc::new(Live::new(Arc::new(table))),
        process: Arc::new(Process::default()),
        metrics,
        bells: Arc::new(Bells::new(1)),
        started: Instant::now(),
    };
    (Station::new(CoreId(0), shared, log.core()), plan)
}
