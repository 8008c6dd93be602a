//! Names, labels and help texts of every counter, filled in at the scrape.
//!
//! What later work will count is listed already and reads 0 where its labels are known, so that rules and
//! boards can be written against it.

use super::{
    ApplyOutcome, CheckOutcome, Metrics, NONE, ProbeOutcome, RetryOutcome, RollbackCause, Source, Tables,
    auths,
};
use crate::reject::Reason;
use crate::request::Class;
use crate::telemetry::cells::{REQUEST_BOUNDS, WAIT_BOUNDS};
use crate::telemetry::family::Family;
use crate::telemetry::metrics::handles::CODE_CLASSES;
use prometheus::proto::MetricFamily;

impl Metrics {
    /// Everything counted so far, summed over the cores.
    pub fn families(&self) -> Vec<MetricFamily> {
        let tables = self.tables();
        let mut families = requests(&tables);
        families.extend(gates(&tables));
        families.extend(backends(&tables));
        families.extend(auths::families(&tables.auths));
        drop(tables);
        families.extend(self.process_families());
        families.into_iter().map(Family::finish).collect()
    }

    fn process_families(&self) -> Vec<Family> {
        let process = self.process();
        let mut refusals = Family::counter(
            "tidegate_refusals_total",
            "Exchanges that the gateway refused, failed or ended itself, by reason.",
        );
        for reason in Reason::ALL {
            refusals.count(&[("reason", reason.as_str())], process.refusals(reason));
        }
        let mut applies =
            Family::counter("tidegate_config_applies_total", "Configurations read, by what became of them.");
        for outcome in ApplyOutcome::ALL {
            applies.count(&[("outcome", outcome.as_str())], process.applies(outcome));
        }
        let mut probes =
            Family::counter("tidegate_probes_total", "Probes of what a candidate names, by what they found.");
        for outcome in ProbeOutcome::ALL {
            probes.count(&[("outcome", outcome.as_str())], process.probes(outcome));
        }
        let mut rollbacks =
            Family::counter("tidegate_rollbacks_total", "Versions that were taken back, by cause.");
        for cause in RollbackCause::ALL {
            rollbacks.count(&[("cause", cause.as_str())], process.rollbacks(cause));
        }
        vec![
            refusals,
            applies,
            probes,
            rollbacks,
            single(
                "tidegate_access_log_dropped_total",
                "Access lines dropped because the sink is slow or broken.",
                process.access_log_dropped.get(),
            ),
            single(
                "tidegate_log_dropped_total",
                "Lines of the process's own log dropped because standard error is slow.",
                process.log_lines_dropped(),
            ),
            single(
                "tidegate_stuck_cores_total",
                "Times that a core did not turn for two looks of the watchdog.",
                process.stuck_cores.get(),
            ),
            single(
                "tidegate_health_checks_delayed_total",
                "Active checks that waited because too many were under way.",
                process.checks_delayed.get(),
            ),
            single("tidegate_panics_total", "Requests that panicked.", process.panics()),
            single(
                "tidegate_trailers_dropped_total",
                "Messages that lost their trailers because the other side cannot take them.",
                process.dropped_trailers(),
            ),
        ]
    }
}

fn single(name: &str, help: &str, value: u64) -> Family {
    let mut family = Family::counter(name, help);
    family.count(&[], value);
    family
}

fn requests(tables: &Tables) -> Vec<Family> {
    let mut requests = Family::counter(
        "tidegate_requests_total",
        "Exchanges that ended, by route, class of status and who answered.",
    );
    let mut duration = Family::histogram(
        "tidegate_request_duration_seconds",
        "From a request's head to the last byte of its answer.",
    );
    for route in tables.routes.values() {
        for (class, code_class) in CODE_CLASSES.iter().enumerate() {
            for source in Source::ALL {
                let labels =
                    [("route", &*route.name), ("code_class", *code_class), ("source", source.as_str())];
                requests.count(&labels, route.requests(class, source));
            }
        }
        duration.observe(&[("route", &route.name)], &REQUEST_BOUNDS, &route.duration());
    }
    vec![requests, duration]
}

fn gates(tables: &Tables) -> Vec<Family> {
    let mut shed = Family::counter(
        "tidegate_shed_total",
        "Requests refused for want of room, by upstream, class and reason.",
    );
    let mut waits = Family::histogram(
        "tidegate_upstream_queue_wait_seconds",
        "Time in an upstream's queue, with a permit at its end or without.",
    );
    let mut retries = Family::counter(
        "tidegate_retries_total",
        "Second tries at another backend, by outcome or by why there was none.",
    );
    let mut released = Family::counter(
        "tidegate_zombies_released_total",
        "Abandoned requests whose slot was released early because too many were held.",
    );
    for upstream in tables.upstreams.values() {
        let name = ("upstream", &*upstream.name);
        for class in Class::ALL {
            for reason in Reason::ALL.into_iter().filter(|reason| reason.is_shed()) {
                let sheds = upstream.sheds(class, reason);
                if sheds > 0 || upstream.uses(class) {
                    shed.count(&[name, ("class", class.as_str()), ("reason", reason.as_str())], sheds);
                }
            }
        }
        if &*upstream.name == NONE {
            continue;
        }
        waits.observe(&[name], &WAIT_BOUNDS, &upstream.queue_waits());
        for outcome in RetryOutcome::ALL {
            retries.count(&[name, ("outcome", outcome.as_str())], upstream.retries(outcome));
        }
        released.count(&[name], upstream.zombies_released());
    }
    vec![shed, waits, retries, released]
}

fn backends(tables: &Tables) -> Vec<Family> {
    let mut ejections = Family::counter(
        "tidegate_backend_ejections_total",
        "Times that a backend was taken out for failing.",
    );
    let mut incarnations =
        Family::counter("tidegate_backend_incarnations_total", "Restarts of a backend that were noticed.");
    let mut dials = Family::counter(
        "tidegate_backend_connects_total",
        "Connections dialled to a backend, TLS included, by outcome.",
    );
    let mut tries = Family::counter(
        "tidegate_backend_requests_total",
        "Requests sent to a backend, by outcome; failed is 5xx, no answer in time, or a broken connection.",
    );
    let mut checks =
        Family::counter("tidegate_health_checks_total", "Active checks of a backend, by outcome.");
    for backend in tables.backends.values() {
        let labels = [("upstream", &*backend.own.upstream), ("backend", &*backend.own.name)];
        ejections.count(&labels, backend.sum(|it| it.ejections.get()));
        incarnations.count(&labels, backend.sum(|it| it.incarnations.get()));
        // A fleet that nobody checks is spared four series for each backend.
        for outcome in CheckOutcome::ALL.into_iter().filter(|_| backend.is_checked()) {
            let made = backend.sum(|it| it.checks(outcome));
            checks.count(&[labels[0], labels[1], ("outcome", outcome.as_str())], made);
        }
        for (outcome, connected) in [("connected", true), ("failed", false)] {
            dials.count(&[labels[0], labels[1], ("outcome", outcome)], backend.sum(|it| it.dials(connected)));
        }
        for (outcome, well) in [("ok", true), ("failed", false)] {
            tries.count(&[labels[0], labels[1], ("outcome", outcome)], backend.sum(|it| it.outcomes(well)));
        }
    }
    vec![ejections, incarnations, dials, tries, checks]
}
