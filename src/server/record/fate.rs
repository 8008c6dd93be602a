//! What a request counts as where two versions are compared: well, failed and how, or neither (`design.md`, "Guard").
//!
//! Counted once: with the head of the answer where that is all that is judged (streams, tunnels), else when it is over,
//! for an answer that breaks off has failed. What the client brought about is no failure. Without a trial nothing is
//! worked out.

use super::Record;
use crate::reject::Reason;
use crate::routing::trial::tallies::Fate;
use crate::server::ledger::Entry;
use crate::telemetry::access_log::End;
use crate::telemetry::metrics::Source;
use crate::telemetry::tally::Failure;
use http::StatusCode;

/// The head of the answer is on its way.
pub(super) fn answering(record: &mut Record) {
    let Some(chosen) = record.chosen.as_ref().filter(|chosen| chosen.is_compared()) else { return };
    record.head = Some(record.started.elapsed());
    let tunnel = record.status == StatusCode::SWITCHING_PROTOCOLS.as_u16();
    if tunnel || chosen.route().settings.streaming {
        count(record, End::Complete);
    }
}

/// It is over.
pub(super) fn ended(record: &mut Record, end: End) {
    if record.chosen.as_ref().is_some_and(|chosen| chosen.is_compared()) {
        count(record, end);
    }
}

fn count(record: &mut Record, end: End) {
    // One that was in flight for too long has been counted as that.
    let overdue = record.entry.as_ref().is_some_and(Entry::is_overdue);
    if std::mem::replace(&mut record.counted, true) || overdue {
        return;
    }
    let (core, fate) = (record.client.station.core, of(record, end));
    if let (Some(chosen), Some(fate)) = (&record.chosen, fate) {
        chosen.count(core, || fate);
    }
}

/// Nothing where nobody can say what would have become of it.
fn of(record: &Record, end: End) -> Option<Fate> {
    let Some(head) = record.head else {
        // Its client left before there was an answer: if that was after too long a time, it has waited for nothing.
        let chosen = record.chosen.as_ref()?;
        return chosen.overdue(record.started.elapsed()).map(|_| Fate::Failed(Failure::Overdue));
    };
    if let Some(failure) = record.reason.and_then(|reason| blamed(reason, record.hurried)) {
        return Some(Fate::Failed(failure));
    }
    Some(match (record.source, record.reason) {
        (Source::Backend, _) if record.status >= 500 || record.broke || end == End::BackendGone => {
            Fate::Failed(Failure::Backend)
        }
        (Source::Backend, _) if record.unsure => Fate::Failed(Failure::Auth),
        (Source::Backend, _) => Fate::Well(head),
        (Source::Gateway, _) => Fate::Passed,
    })
}

/// The failure that a reason is, if the version may have caused it.
fn blamed(reason: Reason, hurried: bool) -> Option<Failure> {
    match reason {
        Reason::AuthOverload | Reason::AuthFailed | Reason::AuthTimeout => Some(Failure::Auth),
        Reason::MissingSecret => Some(Failure::Gateway),
        // The process leaves: both would have refused it.
        Reason::Draining => None,
        // A person, or a restart, holds a backend below what it may carry: no version does.
        Reason::Ramp => None,
        reason if reason.is_shed() => Some(Failure::Shed),
        // The client gave it less time than the route does.
        Reason::Timeout if hurried => None,
        Reason::Timeout | Reason::ConnectFailed | Reason::BadResponse | Reason::BackendTooSlow => {
            Some(Failure::Gateway)
        }
        Reason::Reset | Reason::Internal => Some(Failure::Gateway),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_brought_about_is_no_failure_of_a_version() {
        for reason in Reason::ALL {
            let failed = blamed(reason, false).is_some();
            let status = reason.status().as_u16();
            let excused = matches!(reason, Reason::Draining | Reason::Ramp);
            assert_eq!(failed, status >= 500 && !excused, "{reason:?}");
        }
        assert_eq!(blamed(Reason::Timeout, true), None);
        assert_eq!(blamed(Reason::AuthOverload, false), Some(Failure::Auth));
        assert_eq!(blamed(Reason::UpstreamLimit, false), Some(Failure::Shed));
    }
}
