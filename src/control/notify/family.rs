//! What people can be told: each family of events is one alert, with the weight that it has for whoever is on call and
//! the next command to type. The names are a contract: alerts and messages carry them.

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
}

impl Family {
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
    Family { name, kind, severity, over, next, fades: None, outlives: false }
}

const fn fading(after: Duration, family: Family) -> Family {
    Family { fades: Some(after), ..family }
}

const fn outliving(family: Family) -> Family {
    Family { outlives: true, ..family }
}

use Kind::{
    Audit, Auth, Certificate, Config, Ejection, Incident, Limit, Listener, Name, Notification, Process, Ramp,
    Rollback, Rollout, Shed,
};
use Severity::{Info, Page, Ticket};

const STATUS: &str = "tidegate status";
const RAMPS: &str = "tidegate ramp show";

/// Its end is told; should that be lost on the way, it is over after three sums that did not come.
pub static SHEDDING: Family = fading(
    Duration::from_secs(90),
    family(Shed, Page, "TidegateShedding", "{} sheds no more", "tidegate permits --upstream {}"),
);
pub static CORE_BEHIND: Family = family(Shed, Page, "TidegateCoreBehind", "core {} keeps up again", STATUS);
pub static EJECTED: Family = family(
    Ejection,
    Ticket,
    "TidegateBackendEjected",
    "every ejected backend of {} is back",
    "tidegate events --kind ejection",
);
pub static DOWN: Family =
    family(Ejection, Ticket, "TidegateBackendDown", "every backend of {} is up again", STATUS);
pub static CHECKS_DOUBTED: Family =
    family(Ejection, Page, "TidegateChecksDoubted", "the checks of {} are believed again", STATUS);
pub static RAMPED: Family = outliving(family(Ramp, Info, "TidegateRamped", "{} is no longer ramped", RAMPS));
pub static DRAINED: Family =
    outliving(family(Ramp, Info, "TidegateDrained", "nothing of {} is drained any more", RAMPS));
pub static RESTARTED: Family = family(Ramp, Info, "TidegateRestarted", "what restarted of {} is back", RAMPS);
pub static RAMP_STUCK: Family =
    family(Ramp, Page, "TidegateRampStuck", "what restarted of {} is back", RAMPS);
pub static RAMP_CONFLICT: Family = family(Ramp, Ticket, "TidegateRampConflict", "", RAMPS);
pub static ROLLOUT: Family =
    family(Rollout, Info, "TidegateRollout", "the rollout of version {} is over", "tidegate show {}");
pub static ROLLOUT_FAILED: Family = family(Rollout, Ticket, "TidegateRolloutFailed", "", "tidegate show {}");
pub static GLASS_BROKEN: Family = outliving(family(
    Rollout,
    Page,
    "TidegateGlassBroken",
    "somebody has seen that version {} went around the stages",
    "tidegate acknowledge",
));
pub static ROLLED_BACK: Family = family(Rollback, Page, "TidegateRolledBack", "", "tidegate history");
pub static CONFIG_APPLIED: Family = family(Config, Info, "TidegateConfigApplied", "", "tidegate history");
pub static CONFIG_REFUSED: Family =
    family(Config, Ticket, "TidegateConfigRefused", "a configuration was applied", STATUS);
pub static DEGRADED: Family = family(Config, Page, "TidegateDegraded", "a configuration was applied", STATUS);
pub static LIMIT_AT_FLOOR: Family = family(
    Limit,
    Page,
    "TidegateLimitAtFloor",
    "the adaptive limit of {} does not sit at its floor any more",
    STATUS,
);
pub static LIMIT_MOVED: Family = family(Limit, Info, "TidegateLimitMoved", "", STATUS);
pub static STARTED: Family = family(Process, Info, "TidegateStarted", "", STATUS);
pub static LEAVING: Family = family(Process, Info, "TidegateLeaving", "", STATUS);
pub static DRAIN_TIMED_OUT: Family = family(Process, Ticket, "TidegateDrainTimedOut", "", "tidegate permits");
pub static CORE_STUCK: Family = family(Process, Page, "TidegateCoreStuck", "core {} turns again", STATUS);
pub static CERTIFICATE_REFUSED: Family =
    family(Certificate, Ticket, "TidegateCertificateRefused", "{}: certificate files renewed", STATUS);
pub static CERTIFICATE_EXPIRES: Family =
    family(Certificate, Ticket, "TidegateCertificateExpires", "{}: certificate files renewed", STATUS);
pub static CERTIFICATE_EXPIRED: Family =
    family(Certificate, Page, "TidegateCertificateExpired", "{}: certificate files renewed", STATUS);
pub static ACCEPT_FAILED: Family = fading(
    Duration::from_secs(30),
    family(Listener, Ticket, "TidegateAcceptFails", "{} accepts again", STATUS),
);
pub static LISTENER_CHANGED: Family = family(Listener, Info, "TidegateListenerChanged", "", STATUS);
pub static ADDRESSES_CHANGED: Family = family(Name, Info, "TidegateAddressesChanged", "", STATUS);
pub static AUTH_SILENT: Family = family(Auth, Page, "TidegateAuthSilent", "{} answers again", STATUS);
pub static KEYS_FAILED: Family =
    family(Auth, Ticket, "TidegateKeysNotFetched", "keys are fetched again from {}", STATUS);
pub static AUDITED: Family = family(Audit, Info, "TidegateAudited", "", "tidegate audit");
pub static UNRECORDED: Family =
    family(Audit, Page, "TidegateHistoryUnavailable", "history and audit are recorded again", STATUS);
pub static INCIDENT: Family =
    outliving(family(Incident, Page, "TidegateIncident", "incident {} is closed", "tidegate incident list"));
pub static INCIDENT_DRAFTED: Family = family(
    Incident,
    Ticket,
    "TidegateIncidentDrafted",
    "the draft of incident {} was taken up or closed",
    "tidegate incident list",
);
pub static SINK_FAILING: Family = family(
    Notification,
    Ticket,
    "TidegateNotificationsFail",
    "{} is told again what happens",
    "tidegate notify test {}",
);
pub static EVENTS_LOST: Family = family(Notification, Ticket, "TidegateEventsLost", "", "tidegate events");
pub static TEST: Family = family(Notification, Info, "TidegateTest", "", "tidegate notify list");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_alert_has_a_name_of_its_own_and_a_next_command() {
        let all = [
            &SHEDDING,
            &CORE_BEHIND,
            &EJECTED,
            &DOWN,
            &CHECKS_DOUBTED,
            &RAMPED,
            &DRAINED,
            &RESTARTED,
            &RAMP_STUCK,
            &RAMP_CONFLICT,
            &ROLLOUT,
            &ROLLOUT_FAILED,
            &GLASS_BROKEN,
            &ROLLED_BACK,
            &CONFIG_APPLIED,
            &CONFIG_REFUSED,
            &DEGRADED,
            &LIMIT_AT_FLOOR,
            &LIMIT_MOVED,
            &STARTED,
            &LEAVING,
            &DRAIN_TIMED_OUT,
            &CORE_STUCK,
            &CERTIFICATE_REFUSED,
            &CERTIFICATE_EXPIRES,
            &CERTIFICATE_EXPIRED,
            &ACCEPT_FAILED,
            &LISTENER_CHANGED,
            &ADDRESSES_CHANGED,
            &AUTH_SILENT,
            &KEYS_FAILED,
            &AUDITED,
            &UNRECORDED,
            &INCIDENT,
            &INCIDENT_DRAFTED,
            &SINK_FAILING,
            &EVENTS_LOST,
            &TEST,
        ];
        let names: BTreeSet<&str> = all.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), all.len());
        for family in all {
            assert!(family.name.starts_with("Tidegate") && family.next.starts_with("tidegate "), "{family}");
            assert!(family.fades.is_none() || !family.over.is_empty(), "{family}");
        }
    }
}
