//! Everything that the gateway calls or writes to may be full or hang: it costs what was meant for it, is counted,
//! and neither requests nor operators notice.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::{PATIENCE, wait_until};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn logging_to(config: Config, target: &Path) -> Config {
    config.text(&format!("[access_log]\ntarget = \"{}\"\n", target.display()))
}

fn dropped(gateway: &Gateway) -> f64 {
    gateway.metrics().value("tidegate_access_log_dropped_total", &[])
}

/// A pipe that nobody has opened: opening it for writing hangs.
fn pipe(folder: &TempDir) -> PathBuf {
    let pipe = folder.path().join("pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).expect("a pipe");
    pipe
}

#[test]
fn a_full_disk_costs_lines_and_no_requests() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&logging_to(Config::simple(origin.address()), Path::new("/dev/full")));
    let load = Load::closed(gateway.edge(), "/", 4);
    wait_until(Duration::from_secs(60), "lines are dropped and counted", || dropped(&gateway) > 100.0);
    load.stop().only(&[200]);
    let told = gateway.log().matches("access log cannot be written").count();
    assert_eq!(told, 1, "said once, and not for every line");
    assert!(gateway.serves("/"));
}

#[test]
fn a_log_that_cannot_even_be_opened_holds_up_neither_requests_nor_the_end() {
    let (origin, folder) = (Origin::well_behaved(), TempDir::new().expect("a temporary folder"));
    let config = logging_to(Config::simple(origin.address()), &pipe(&folder));
    let config = config.gateway("drain_delay = \"0s\"\ndrain_timeout = \"5s\"");
    let mut gateway = Gateway::start(&config);
    let load = Load::closed(gateway.edge(), "/", 4);
    wait_until(Duration::from_secs(60), "lines are dropped and counted", || dropped(&gateway) > 0.0);
    load.stop().only(&[200]);
    gateway.term();
    assert!(gateway.exit(Duration::from_secs(20)).success());
}

#[test]
fn operators_are_answered_while_everything_that_is_called_hangs() {
    let (well, hung) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let folder = TempDir::new().expect("a temporary folder");
    let auths: String = (0..20)
        .map(|n| {
            format!(
                "[[auth]]\nname = \"a{n}\"\nkind = \"jwt\"\njwks_url = \"http://{}/{n}\"\naudiences = [\"x\"]\n",
                hung.address()
            )
        })
        .collect();
    let config = Config::new()
        .upstream("well", &[well.address()], "")
        .upstream("hung", &[hung.address()], "")
        .route("well", "/", "well", "")
        .route("hung", "/hung", "hung", "")
        .route("guarded", "/guarded", "well", "auth = \"a0\"")
        .text(&auths);
    let gateway = Gateway::start(&logging_to(config, &pipe(&folder)));
    wait_until(PATIENCE, "every source of keys is asked", || hung.requests() >= 20);
    let load = Load::closed(gateway.edge(), "/", 2);
    let waiting = gateway.ask("/hung", 8);
    for path in ["/readyz", "/metrics", "/v1/status", "/v1/upstreams", "/v1/permits"] {
        let started = Instant::now();
        assert_eq!(gateway.admin_get(path).status(), 200, "{path}");
        assert!(started.elapsed() < Duration::from_secs(1), "{path} took {:?}", started.elapsed());
    }
    load.stop().only(&[200]);
    drop(waiting);
}
