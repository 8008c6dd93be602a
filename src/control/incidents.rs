//! Incidents: opened by people, or drafted by the gateway, with what was said of them; and a freeze of risky changes.
//!
//! One lock, held for arithmetic only, never over a file or a socket. What is done acts before its answer leaves and is
//! on disk soon after. The gateway drafts and adds to its drafts; it never opens, publishes, closes or freezes: a person
//! does. A freeze is asked about where changes begin ([`rules`](crate::control::change::rules)), and nowhere else, so
//! that it cannot hold a rollback, an abort, a ramp or a drain.

pub mod book;
pub mod incident;
pub mod keep;
mod look;
pub mod public;
pub mod pulse;
pub mod sentry;
pub mod wish;

use crate::config::fields::Risk;
use crate::config::public::Incidents as Thresholds;
use crate::control::change::course::{Ended, Outcome};
use crate::control::change::view::GlassView;
use crate::control::condition::{About, Condition};
use crate::control::view::{FreezeView, IncidentsView, OpenView};
use crate::routing::table::Live;
use crate::routing::trial::Tables;
use crate::telemetry::events::IncidentChanged;
use book::{Book, Deed, Done, Notice, Noticed};
use incident::{Cause, GATEWAY, Incident, Severity, State as Standing};
use jiff::Timestamp;
use keep::Kept;
use look::Counted;
use sentry::Sentry;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use wish::{Amendment, Known, Opening, Refusal};

/// Upstreams that a sentence lists.
const LISTED: usize = 20;

/// What came of a wish.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The incident as it is now.
    pub incident: Arc<Incident>,
    /// What was done, in order.
    pub deeds: Vec<Deed>,
    /// The change's number, for [`Incidents::persisted`].
    pub change: u64,
}

/// Every incident, and who watches for the next.
pub struct Incidents {
    live: Arc<Live>,
    state: Mutex<State>,
    /// Changes so far; what is kept follows them.
    changes: AtomicU64,
    changed: Notify,
    kept: watch::Sender<u64>,
    /// A freeze is over: what waited may come in.
    thawed: Notify,
    drafted: [AtomicU64; Cause::ALL.len()],
}

struct State {
    book: Book,
    sentry: Sentry,
    /// What was counted at the last look.
    counted: HashMap<Arc<str>, Counted>,
    /// What an earlier process left and could not be read.
    trouble: Option<String>,
    /// Why what is on disk is not what is here, if it is not.
    unkept: Option<String>,
}

impl fmt::Debug for Incidents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incidents").finish_non_exhaustive()
    }
}

impl Incidents {
    /// Takes over those of an earlier process, and watches what `live` serves.
    pub fn new(live: Arc<Live>, kept: Kept) -> Arc<Self> {
        let Kept { book, trouble } = kept;
        let state = State { book, sentry: Sentry::default(), counted: HashMap::new(), trouble, unkept: None };
        Arc::new(Incidents {
            live,
            state: Mutex::new(state),
            changes: AtomicU64::new(0),
            changed: Notify::new(),
            kept: watch::Sender::new(0),
            thawed: Notify::new(),
            drafted: Default::default(),
        })
    }

    /// Somebody opens one.
    ///
    /// # Errors
    /// What is wrong with it; nothing is opened then.
    pub fn open(&self, wish: Opening, by: &str) -> Result<Receipt, Refusal> {
        let wish = wish.checked(&Names(self.live.tables()))?;
        let done = self.state().book.open(wish, by, Timestamp::now())?;
        Ok(self.done(done, by))
    }

    /// Somebody changes one, says something of it, publishes a draft, or closes it.
    ///
    /// # Errors
    /// Why not; nothing is changed then.
    pub fn amend(&self, id: u64, wish: Amendment, by: &str) -> Result<Receipt, Refusal> {
        let wish = wish.checked(&Names(self.live.tables()))?;
        let done = self.state().book.amend(id, wish, by, Timestamp::now())?;
        Ok(self.done(done, by))
    }

    /// A change came to nothing. A draft, if its guard took it back; of one for incidents that are open, these know.
    pub fn failed(&self, ended: &Ended, thresholds: &Thresholds) {
        let Ended { number, outcome, why, incidents: named, .. } = ended;
        let what = match outcome {
            Outcome::Reverted => "was taken back by its guard",
            Outcome::Lapsed => "was taken back",
            Outcome::Refused => "did not begin",
            // Somebody did that, and knows.
            _ => return,
        };
        let is_known = || named.iter().any(|id| self.get(*id).is_some_and(|it| it.is_open()));
        if thresholds.drafts && thresholds.reverts && (*outcome == Outcome::Reverted || is_known()) {
            self.happened(Cause::Revert, format!("Version {number} {what}: {why}"), named);
        }
    }

    /// Somebody went around the stages, or a freeze; with the incidents that it is for.
    pub fn glass_broken(&self, glass: &GlassView, named: &[u64], thresholds: &Thresholds) {
        if thresholds.drafts && thresholds.break_glass {
            let GlassView { number, by, reason, .. } = glass;
            self.happened(
                Cause::BreakGlass,
                format!("{by} broke the glass for version {number}: {reason}"),
                named,
            );
        }
    }

    /// Something that does not last: each is news.
    fn happened(&self, cause: Cause, because: String, named: &[u64]) {
        let notice =
            Notice { upstream: None, cause, because, severity: Severity::Minor, named: named.to_vec() };
        let noticed = self.state().book.notice(&notice, Duration::ZERO, Timestamp::now());
        self.noticed(noticed, cause);
    }

    fn noticed(&self, noticed: Noticed, cause: Cause) {
        match noticed {
            Noticed::Drafted(done) => {
                self.drafted[cause as usize].fetch_add(1, Relaxed);
                self.done(done, GATEWAY);
            }
            Noticed::Added(done) => drop(self.done(done, GATEWAY)),
            Noticed::Noted(all) => all.into_iter().for_each(|done| drop(self.done(done, GATEWAY))),
            // Where there is no room there are two hundred that nobody has read, which is said.
            Noticed::Known | Noticed::TooSoon | Noticed::Full => {}
        }
    }

    /// Tells of it, and has it kept.
    fn done(&self, done: Done, by: &str) -> Receipt {
        let Done { incident, deeds, said } = done;
        let change = self.changes.fetch_add(1, Relaxed) + 1;
        self.changed.notify_one();
        // Words are told once, with the first thing that was done with them.
        let mut said = said.as_deref();
        deeds.iter().for_each(|deed| tell(&incident, (*deed, said.take()), by));
        if deeds.contains(&Deed::Thawed) {
            self.thawed.notify_one();
        }
        Receipt { incident, deeds, change }
    }

    /// All, in the order of [`Incident::place`].
    pub fn all(&self) -> Vec<Arc<Incident>> {
        self.state().all()
    }

    /// One.
    pub fn get(&self, id: u64) -> Option<Arc<Incident>> {
        self.state().book.get(id).cloned()
    }

    /// Whether an incident of people has this number, also one that is closed.
    pub fn is_known(&self, id: u64) -> bool {
        self.get(id).is_some_and(|incident| incident.state != Standing::Draft)
    }

    /// What holds a change of this risk, if anything does.
    pub fn freezes(&self, risk: Risk, thresholds: &Thresholds) -> Vec<FreezeView> {
        if risk < thresholds.freeze_from {
            return Vec::new();
        }
        self.state().book.freezes().map(|incident| freeze(incident, thresholds.freeze_from)).collect()
    }

    /// Waits until a freeze ends.
    pub async fn thawed(&self) {
        self.thawed.notified().await;
    }

    /// Beside everything else.
    pub fn view(&self, thresholds: &Thresholds) -> IncidentsView {
        let state = self.state();
        let all = state.all();
        let of = |standing: Standing| {
            all.iter().filter(|incident| incident.state == standing).map(|incident| line(incident)).collect()
        };
        let drafted = |cause: Cause| (cause.as_str().to_owned(), self.drafted[cause as usize].load(Relaxed));
        IncidentsView {
            open: of(Standing::Open),
            drafts: of(Standing::Draft),
            freezes: state.book.freezes().map(|incident| freeze(incident, thresholds.freeze_from)).collect(),
            drafted: Cause::ALL.into_iter().map(drafted).collect(),
        }
    }

    /// What a person should know, a sentence each.
    pub fn conditions(&self, thresholds: &Thresholds) -> Vec<Condition> {
        let state = self.state();
        let freezes: Vec<FreezeView> =
            state.book.freezes().map(|incident| freeze(incident, thresholds.freeze_from)).collect();
        let freezes = freezes.iter().map(|freeze| About::Frozen.says(freeze.told(&freezes)));
        let drafts = state.book.items().filter(|incident| incident.state == Standing::Draft).count();
        let drafts = drafts_wait(drafts).map(|why| About::DraftsWait.says(why));
        let trouble = state.trouble.iter().chain(&state.unkept);
        let trouble = trouble.map(|why| About::IncidentsUnkept.says(why));
        freezes.chain(drafts).chain(trouble).collect()
    }

    /// Waits until a change is on disk. False when it is not after `patience`: it holds all the same, but a restart may
    /// not know it.
    pub async fn persisted(&self, change: u64, patience: Duration) -> bool {
        let mut kept = self.kept.subscribe();
        let waited = tokio::time::timeout(patience, kept.wait_for(|kept| *kept >= change)).await;
        waited.is_ok_and(|kept| kept.is_ok())
    }

    /// Nothing that holds it panics half way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn all(&self) -> Vec<Arc<Incident>> {
        let mut all: Vec<_> = self.book.items().cloned().collect();
        all.sort_by_key(|incident| incident.place());
        all
    }
}

/// That drafts wait, if some do.
fn drafts_wait(count: usize) -> Option<String> {
    let told = match count {
        0 => return None,
        1 => "1 drafted incident waits for somebody to read it".to_owned(),
        count => format!("{count} drafted incidents wait for somebody to read them"),
    };
    Some(format!("{told}: `tidegate incident list`"))
}

/// The upstreams that serve now.
struct Names(Arc<Tables>);

impl Known for Names {
    fn has(&self, name: &str) -> bool {
        self.0.upstreams().any(|upstream| *upstream.name == *name)
    }

    fn listed(&self) -> String {
        let names: Vec<&str> = self.0.upstreams().map(|upstream| &*upstream.name).take(LISTED).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

fn tell(incident: &Incident, (deed, said): (Deed, Option<&str>), by: &str) {
    IncidentChanged {
        what: deed.as_str(),
        id: incident.id,
        title: &incident.title,
        severity: incident.severity.as_str(),
        state: incident.state.as_str(),
        upstreams: &incident.upstreams,
        public: incident.public,
        freeze: incident.freeze,
        by,
        text: said,
        drafted_because: incident.drafted_because.as_deref(),
    }
    .emit();
}

fn line(incident: &Incident) -> OpenView {
    OpenView {
        id: incident.id,
        title: incident.title.clone(),
        severity: incident.severity.as_str().to_owned(),
        upstreams: incident.upstreams.clone(),
        public: incident.public,
        freeze: incident.freeze,
        drafted_because: incident.drafted_because.clone(),
        opened_at: incident.opened_at.clone(),
        opened_by: incident.opened_by.clone(),
    }
}

fn freeze(incident: &Incident, from: Risk) -> FreezeView {
    let frozen = incident.frozen.clone().unwrap_or_default();
    FreezeView {
        incident: incident.id,
        title: incident.title.clone(),
        by: frozen.by,
        at: frozen.at,
        reason: frozen.reason,
        from_risk: from.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_draft_waits_and_two_wait() {
        assert_eq!(drafts_wait(0), None);
        let told = |count| drafts_wait(count).expect("some wait");
        assert_eq!(told(1), "1 drafted incident waits for somebody to read it: `tidegate incident list`");
        assert_eq!(told(2), "2 drafted incidents wait for somebody to read them: `tidegate incident list`");
    }
}
