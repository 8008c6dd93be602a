//! The overload experiments in their short form: seconds instead of a minute, two backends instead of eight, and
//! bars that hold on a shared machine. Counts and shares are judged; times only where they differ by a lot.
//!
//! The long form, with the bars themselves, is run by `.ci/long` and by the comparison with the peers.

use crate::rig::experiments::outcome::Outcome;
use crate::rig::experiments::{self, Contender, Proxy, Scale, Slots, Street};
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

/// Names, addresses and routes; everything else is a default.
struct Untuned;

/// The real binary, and the end of its log that nobody reads.
struct Running {
    gateway: Gateway,
    control: SocketAddr,
    _unread: Option<std::io::PipeReader>,
}

impl Contender for Untuned {
    fn name(&self) -> &str {
        "tidegate"
    }

    fn setting(&self) -> &str {
        "untuned"
    }

    fn start(&self, street: &Street) -> Box<dyn Proxy> {
        let (mut launch, mut unread) = (Launch::default(), None);
        if street.log_hangs {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            (launch, unread) = (Launch::stdout(Stdio::from(writer)), Some(reader));
        }
        let config = if street.judged { judged(street) } else { config(&street.main, street.control) };
        let gateway = Gateway::launch(&config, launch);
        Box::new(Running { gateway, control: street.control, _unread: unread })
    }
}

fn config(main: &[SocketAddr], control: SocketAddr) -> Config {
    Config::new()
        .upstream("main", main, "")
        .upstream("control", &[control], "")
        .route("main", "/main", "main", "")
        .route("control", "/control", "control", "")
}

/// The fleet says who may pass to what the healthy backend serves.
fn judged(street: &Street) -> Config {
    Config::new()
        .upstream("main", &street.main, "")
        .upstream("control", &[street.control], "")
        .text("[[auth]]\nname = \"session\"\nupstream = \"main\"\npath = \"/verify\"")
        .route("main", "/main", "control", "auth = \"session\"")
        .route("control", "/control", "control", "")
}

impl Proxy for Running {
    fn edge(&self) -> SocketAddr {
        self.gateway.edge()
    }

    fn slots(&self) -> Option<Slots> {
        let metrics = self.gateway.metrics();
        let main = |name| metrics.get(name, &[("upstream", "main")]);
        Some(Slots { held: main("tidegate_upstream_inflight")?, limit: main("tidegate_upstream_limit")? })
    }

    fn stands_before(&mut self, main: &[SocketAddr]) -> bool {
        self.gateway.write(&config(main, self.control));
        self.gateway.hup();
        true
    }

    fn is_quiet(&self) -> Option<bool> {
        let metrics = self.gateway.metrics();
        let gauges = ["tidegate_inflight", "tidegate_upstream_inflight", "tidegate_backend_inflight"];
        let more = ["tidegate_upstream_queue_depth", "tidegate_zombies"];
        Some(gauges.iter().chain(&more).all(|gauge| metrics.value(gauge, &[]) == 0.0))
    }
}

/// What holds in every experiment; a figure that does not hold is shown with all the others.
fn neighbour_is_served(outcome: &Outcome) {
    assert!(outcome.capacity > 300.0, "the origin can do its 400 a second: {outcome:#?}");
    assert!(outcome.control_served >= 0.97, "the neighbour is served: {outcome:#?}");
    assert!(outcome.skipped == 0 && outcome.errors == 0, "no connection broke: {outcome:#?}");
}

fn short() -> Scale {
    Scale::short(1)
}

#[test]
fn e1_a_hung_upstream_holds_no_more_than_its_cap_and_serves_again_when_it_is_well() {
    let outcome = experiments::hung_upstream(&Untuned, short());
    neighbour_is_served(&outcome);
    assert!(outcome.slots_held <= outcome.slots_limit, "{outcome:#?}");
    assert!(outcome.refused.n > 50, "they are refused: {outcome:#?}");
    assert!(outcome.refused.p50_ms < 30.0, "at once: {outcome:#?}");
    assert!(outcome.goodput > 0.9, "{outcome:#?}");
}

#[test]
fn e2_an_upstream_ten_times_slower_keeps_to_its_cap_and_serves_again_when_it_is_well() {
    let outcome = experiments::slow_upstream(&Untuned, Scale { during: Duration::from_secs(2), ..short() });
    neighbour_is_served(&outcome);
    assert!(outcome.slots_held <= outcome.slots_limit, "{outcome:#?}");
    assert!(outcome.refused.n > 50 && outcome.refused.p50_ms < 30.0, "refused at once: {outcome:#?}");
    assert!(outcome.recovery_s.is_some(), "{outcome:#?}");
}

#[test]
fn e3_a_flash_crowd_of_five_times_costs_hardly_an_answer() {
    let outcome = experiments::flash_crowd(&Untuned, short(), 5.0);
    neighbour_is_served(&outcome);
    assert!(outcome.goodput > 0.85, "{outcome:#?}");
    assert!(outcome.refused.n > 1_000, "{outcome:#?}");
}

#[test]
fn e4_a_retry_storm_is_over_when_its_cause_is() {
    let outcome = experiments::retry_storm(&Untuned, short());
    neighbour_is_served(&outcome);
    assert!(outcome.goodput > 0.9, "{outcome:#?}");
}

#[test]
fn e9_a_service_that_falls_silent_is_not_waited_for_and_is_asked_again_when_it_is_well() {
    let outcome = experiments::silent_auth(&Untuned, Scale { after: Duration::from_secs(4), ..short() });
    neighbour_is_served(&outcome);
    assert!(outcome.slots_held <= outcome.slots_limit, "{outcome:#?}");
    assert!(outcome.refused.n > 50 && outcome.refused.p50_ms < 30.0, "refused at once: {outcome:#?}");
    assert!(outcome.goodput > 0.9, "{outcome:#?}");
    assert!(outcome.recovery_s.is_some_and(|seconds| seconds <= 3.0), "{outcome:#?}");
}

#[test]
fn e10_a_log_that_nobody_reads_is_not_noticed() {
    // It is measured twice, with a log that is read and with one that is not.
    let part = Duration::from_millis(250);
    let scale = Scale { calm: part, before: part, during: 2 * part, after: part, ..short() };
    let outcome = experiments::hung_log_sink(&Untuned, scale);
    neighbour_is_served(&outcome);
    assert!(outcome.goodput > 0.97, "{outcome:#?}");
}

#[test]
fn e11_more_latency_is_not_taken_for_overload() {
    let outcome = experiments::latency_shift(&Untuned, short());
    neighbour_is_served(&outcome);
    assert!(outcome.goodput > 0.95, "{outcome:#?}");
}

#[test]
fn e12_backends_that_come_are_used() {
    let outcome = experiments::scale_out(&Untuned, Scale { after: Duration::from_secs(2), ..short() });
    neighbour_is_served(&outcome);
    assert!(outcome.goodput > 0.9, "{outcome:#?}");
}

#[test]
fn e14_steady_load_below_what_is_possible_is_served() {
    let outcome = experiments::steady(&Untuned, short());
    neighbour_is_served(&outcome);
    assert!(outcome.goodput > 0.97 && outcome.refused.n < 5, "{outcome:#?}");
}

#[test]
fn e15_clients_that_leave_leave_nothing_behind() {
    let outcome = experiments::aborts(&Untuned, short());
    neighbour_is_served(&outcome);
    assert!(outcome.goodput > 0.95, "{outcome:#?}");
    assert!(outcome.checks.iter().any(|c| c.what.contains("returned to zero") && c.reached), "{outcome:#?}");
}
