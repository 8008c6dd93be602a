//! What people can be told: each family of events is one alert, with the weight that it has for whoever is on call and
//! the next command to type. The names are a contract: alerts and messages carry them. What `deploy/prometheus/` says
//! too has the same name and the same severity there (`tests/documents/runbook.rs`), so that it is one alert to people.

use crate::config::sinks::Sink;
use crate::telemetry::events::stream::Kind;
use std::fmt;
use std::time::Duration;

/// How urgent it is. Fixed for a family: an alert whose severity moved would be another alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody should look now.
    Page,
    /// Somebody should look today.
    Ticket,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word in messages and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Page => "page",
            Severity::Ticket => "ticket",
            Severity::Info => "info",
        }
    }
}

/// A family of events.
#[derive(Debug)]
pub struct Family {
    /// As which alert it is known.
    pub name: &'static str,
    /// The kind that a sink chooses it by.
    pub kind: Kind,
    /// How urgent it is.
    pub severity: Severity,
    /// Over what it is when it is over, as a sentence about `{}`.
    pub over: &'static str,
    /// What to type next; `{}` is what it is about.
    pub next: &'static str,
    /// It is over when nothing more is heard of it for so long, whether somebody says so or not.
    pub fades: Option<Duration>,
    /// It may have begun in an earlier process: its end is news though its beginning was not heard.
    pub outlives: bool,
    /// It is told though the process ends before it was: late, by the next one.
    pub keeps: bool,
}

impl Family {
    /// Its chapter of the runbook, as a heading is linked to.
    pub fn chapter(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// Whether a sink wants to hear of it.
    pub fn is_for(&self, sink: &Sink) -> bool {
        sink.wants(self.kind, self.severity == Severity::Page)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Family {}

impl PartialOrd for Family {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Family {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(other.name)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn family(
    kind: Kind,
    severity: Severity,
    name: &'static str,
    over: &'static str,
    next: &'static str,
) -> Family {
    Family { name, kind, severity, over, next, fades: None, outlives: false, keeps: false }
}

const fn fading(after: Duration, family: Family) -> Family {
    Family { fades: Some(after), ..family }
}

const fn outliving(family: Family) -> Family {
    Family { outlives: true, ..family }
}

const fn kept(family: Family) -> Family {
    Family { keeps: true, ..family }
}

use Kind::{
    Audit, Auth, Certificate, Config, Ejection, Incident, Limit, Listener, Name, Notification, Process, Ramp,
    Rollback, Rollout, Shed,
};
use Severity::{Info, Page, Ticket};

const STATUS: &str = "tidegate status";
const RAMPS: &str = "tidegate ramp show";
const EVENTS: &str = "tidegate events";

/// Every family is made here, so that none can be missing from the list.
macro_rules! families {
    ($($name:ident = $family:expr;)*) => {
        $(pub static $name: Family = $family;)*

        /// All of them.
        pub static ALL: &[&Family] = &[$(&$name),*];
    };
}

families! {
    // Its end is told; should that be lost on the way, it is over after three sums that did not come.
    SHEDDING = fading(
        Duration::from_secs(90),
        family(Shed, Page, "TidegateShedding", "{} sheds no more", "tidegate permits --upstream {}"),
    );
    CORE_BEHIND = family(Shed, Page, "TidegateCoreDoesNotKeepUp", "core {} keeps up again", STATUS);
    DOWN = family(Ejection, Ticket, "TidegateBackendDown", "every backend of {} is back", STATUS);
    CHECKS_DOUBTED =
        family(Ejection, Page, "TidegateUpstreamDown", "the checks of {} are believed again", STATUS);
    RAMPED = outliving(family(Ramp, Info, "TidegateRamped", "{} is no longer ramped", RAMPS));
    DRAINED = outliving(family(Ramp, Info, "TidegateDrained", "nothing of {} is drained any more", RAMPS));
    RESTARTED = family(Ramp, Info, "TidegateRestarted", "what restarted of {} is back", RAMPS);
    RAMP_STUCK = family(Ramp, Ticket, "TidegateRampHeld", "what restarted of {} is back", RAMPS);
    RAMP_CONFLICT = family(Ramp, Ticket, "TidegateRampConflict", "", RAMPS);
    ROLLOUT = family(Rollout, Info, "TidegateRollout", "the rollout of version {} is over", "tidegate show {}");
    ROLLOUT_FAILED = kept(family(Rollout, Ticket, "TidegateRolloutFailed", "", "tidegate show {}"));
    GLASS_BROKEN = kept(outliving(family(
        Rollout,
        Page,
        "TidegateGlassBroken",
        "somebody has seen that version {} went around the stages",
        "tidegate acknowledge",
    )));
    ROLLED_BACK = kept(family(Rollback, Ticket, "TidegateRolledBack", "", "tidegate show {}"));
    CONFIG_APPLIED = family(Config, Info, "TidegateConfigApplied", "", "tidegate history");
    CONFIG_REFUSED = family(Config, Ticket, "TidegateApplyFailed", "a configuration was applied", STATUS);
    DEGRADED = family(Config, Page, "TidegateConfigDegraded", "a configuration was applied", STATUS);
    LIMIT_AT_FLOOR = family(
        Limit,
        Page,
        "TidegateLimitAtFloor",
        "the adaptive limit of {} does not sit at its floor any more",
        STATUS,
    );
    LIMIT_MOVED = family(Limit, Info, "TidegateLimitMoved", "", STATUS);
    STARTED = family(Process, Info, "TidegateStarted", "", STATUS);
    LEAVING = family(Process, Info, "TidegateLeaving", "", STATUS);
    DRAIN_TIMED_OUT = family(Process, Ticket, "TidegateDrainTimedOut", "", STATUS);
    CORE_STUCK = family(Process, Page, "TidegateCoreStuck", "core {} turns again", STATUS);
    CERTIFICATE_REFUSED =
        family(Certificate, Ticket, "TidegateCertificateRefused", "{}: certificate files renewed", STATUS);
    CERTIFICATE_EXPIRES =
        family(Certificate, Ticket, "TidegateCertificateExpires", "{}: certificate files renewed", STATUS);
    CERTIFICATE_EXPIRED =
        family(Certificate, Page, "TidegateCertificateExpired", "{}: certificate files renewed", STATUS);
    ACCEPT_FAILED = fading(
        Duration::from_secs(30),
        family(Listener, Page, "TidegateAcceptPaused", "{} accepts again", STATUS),
    );
    LISTENER_CHANGED = family(Listener, Info, "TidegateListenerChanged", "", STATUS);
    ADDRESSES_CHANGED = family(Name, Info, "TidegateAddressesChanged", "", STATUS);
    AUTH_SILENT = family(Auth, Page, "TidegateAuthSilent", "{} answers again", STATUS);
    KEYS_MISSING = family(Auth, Page, "TidegateKeysMissing", "keys are fetched again from {}", STATUS);
    KEYS_OLD = family(Auth, Ticket, "TidegateKeysOld", "keys are fetched again from {}", STATUS);
    AUDITED = family(Audit, Info, "TidegateAudited", "", "tidegate audit");
    UNRECORDED = family(
        Audit,
        Ticket,
        "TidegateHistoryUnavailable",
        "history and audit are recorded again",
        STATUS,
    );
    INCIDENT = kept(outliving(family(
        Incident,
        Ticket,
        "TidegateIncidentOpen",
        "incident {} is closed",
        "tidegate incident show {}",
    )));
    INCIDENT_DRAFTED = kept(outliving(family(
        Incident,
        Ticket,
        "TidegateIncidentDrafted",
        "the draft of incident {} was taken up or dropped",
        "tidegate incident show {}",
    )));
    SINK_FAILING = family(
        Notification,
        Ticket,
        "TidegateNotificationsFailing",
        "{} is told again what happens",
        "tidegate notify test {}",
    );
    EVENTS_LOST = family(Notification, Ticket, "TidegateLogDropped", "", EVENTS);
    TEST = family(Notification, Info, "TidegateTest", "", "tidegate notify list");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_alert_has_a_name_of_its_own_and_a_next_command() {
        let names: BTreeSet<&str> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            assert!(family.name.starts_with("Tidegate") && family.next.starts_with("tidegate "), "{family}");
            assert!(family.fades.is_none() || !family.over.is_empty(), "{family}");
            let lasts = family.keeps && !family.over.is_empty();
            assert!(family.outlives || !lasts, "{family}: an earlier process may have told that it began");
        }
    }
}
