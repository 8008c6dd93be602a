//! Who may pass. Every kind of auth has the same face: a question about one request, and a judgement that lets it
//! pass as somebody or refuses it.
//!
//! Waiting for a judgement holds the process's permit and the auth's own bound, and nothing of the route's upstream.
//! A service that judges is asked through the gate of its own upstream, within a deadline that counts from the
//! wish to ask. What was decided is kept, shared by all cores, for as long as auth and upstream stay as they are; where
//! a version that is fully active only asks somebody else, it may stand in while that one does not answer.
//! No credential is kept or logged here.

pub mod api_key;
pub mod ask;
pub mod breaker;
pub mod claims;
pub mod decisions;
pub mod external;
pub mod jwt;
pub mod settings;
pub mod tokens;
pub mod verdict;

use crate::admission::{Granted, RouteCounts, RouteGate};
use crate::filters::auth::api_key::ApiKeys;
use crate::filters::auth::ask::Question;
use crate::filters::auth::breaker::Breaker;
use crate::filters::auth::decisions::{Decisions, Found, Told};
use crate::filters::auth::jwt::ring::Ring;
use crate::filters::auth::settings::{CacheSettings, Kind, OnError, Settings};
use crate::filters::auth::verdict::{Judgement, Outcome, Passed, Undecided};
use crate::request::{Deadline, Holder};
use crate::runtime::clock::Clock;
use crate::telemetry::cells::CoreId;
use crate::telemetry::metrics::AuthMetrics;
use crate::upstream::exchange::Exchanges;
use arc_swap::ArcSwapOption;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// One auth of a table, shared by all cores.
#[derive(Debug)]
pub struct Auth {
    /// What it does.
    pub settings: Settings,
    /// The upstream that is asked, by its place in the table.
    pub upstream: Option<usize>,
    /// What it knows; lives on while neither the auth nor its upstream changes.
    pub known: Arc<Known>,
    /// Questions in flight; live as long as the name.
    pub counts: Arc<RouteCounts>,
    /// Where it counts; likewise.
    pub metrics: Arc<AuthMetrics>,
    /// What it judges by, if nobody is asked.
    pub own: Own,
    /// Requests at most that wait for what others ask: each of them holds a permit of the process.
    pub max_waiting: u32,
}

/// What an auth judges by.
#[derive(Debug)]
pub enum Own {
    /// Nothing: a service is asked.
    Nothing,
    /// The keys of whoever signs tokens.
    Keys(Arc<Ring>),
    /// A list of keys.
    List(ApiKeys),
}

/// What an auth learned.
#[derive(Debug)]
pub struct Known {
    /// Decisions, if they are kept.
    pub decisions: Option<Arc<Decisions>>,
    /// Whether the service answers at all.
    pub breaker: Breaker,
    /// What the version before had learned, where only whom it asks differs: its last decision about somebody may
    /// stand in until there is one of this version, and is never fresh here.
    before: ArcSwapOption<Known>,
}

impl Known {
    /// Nothing yet.
    pub fn new(decisions: Option<Arc<Decisions>>) -> Self {
        Known { decisions, breaker: Breaker::default(), before: ArcSwapOption::empty() }
    }

    /// This is the active version's now, in place of `before`, whose own predecessor is forgotten.
    pub fn follows(&self, before: &Arc<Known>) {
        before.before.store(None);
        self.before.store(Some(before.clone()));
    }
}

/// What a core lends to whoever asks.
#[derive(Debug)]
pub struct Lent<'a> {
    /// Exchanges with backends.
    pub exchanges: &'a Rc<Exchanges<Granted>>,
    /// The core's coarse time.
    pub clock: &'a Rc<Clock>,
    /// Which core.
    pub core: CoreId,
    /// On whose behalf.
    pub holder: Holder,
}

/// Judges one request, and counts it. `gate` is the auth's way to the upstream that it asks; `until` is how long the
/// request itself may wait.
pub async fn judge(
    auth: &Auth,
    gate: Option<&Rc<RouteGate>>,
    question: &Question<'_>,
    lent: &Lent<'_>,
    until: Deadline,
) -> Judgement {
    let began = Instant::now();
    let own = began + auth.settings.timeout;
    let deadline = Deadline { at: own.min(until.at), by_client: until.by_client && until.at < own };
    let asking = Asking { auth, gate, question, lent, deadline };
    let (judgement, waited) = asking.judge(began).await;
    let waited = waited.then(|| u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    auth.metrics.judged(lent.core, judgement.result, waited);
    judgement
}

/// One request on its way to a judgement.
struct Asking<'a> {
    auth: &'a Auth,
    gate: Option<&'a Rc<RouteGate>>,
    question: &'a Question<'a>,
    lent: &'a Lent<'a>,
    deadline: Deadline,
}

impl Asking<'_> {
    /// The judgement, and whether it was waited for.
    async fn judge(&self, now: Instant) -> (Judgement, bool) {
        let Settings { name, cache, kind, .. } = &self.auth.settings;
        if let (Kind::ApiKey(keys), Own::List(list)) = (kind, &self.auth.own) {
            return (Judgement::of(api_key::judge(name, keys, list, self.question)), false);
        }
        let (Some(decisions), Some(cache)) = (&self.auth.known.decisions, cache) else {
            let judgement = self.ask().await.0.map(Judgement::of);
            return (judgement.unwrap_or_else(|why| self.without(why, None)), true);
        };
        let key = match kind {
            Kind::External(external) => Some(ask::key(decisions.secret(), external, cache, self.question)),
            Kind::Jwt(jwt) => tokens::key(decisions.secret(), jwt, self.question),
            Kind::ApiKey(_) => None,
        };
        // Whoever shows nothing is nobody, and need not be remembered.
        let Some(key) = key else {
            let judgement = self.ask().await.0.map(Judgement::of);
            return (judgement.unwrap_or_else(|why| self.without(why, None)), false);
        };
        if let Some(kept) = decisions.fresh(&key, now) {
            return (Judgement::kept(kept), false);
        }
        // As of now: while this one waits, its version may be replaced and lose what it took over.
        let before = self.auth.known.before.load_full();
        let judgement = match self.together(decisions, key).await {
            Ok(decision) => Judgement::of(decision),
            Err(why) => {
                let now = Instant::now();
                let before = before.or_else(|| self.auth.known.before.load_full());
                let stale = decisions.stale(&key, now);
                let stale = stale.or_else(|| self.decided_before(before.as_deref()?, cache, now));
                self.without(why, stale)
            }
        };
        (judgement, true)
    }

    /// Without a decision. A client whose own time is over is refused by every rule: it could choose otherwise not to
    /// be judged.
    fn without(&self, why: Undecided, stale: Option<Arc<Passed>>) -> Judgement {
        let Settings { name, on_error, .. } = &self.auth.settings;
        let hurried = self.deadline.by_client && Instant::now() >= self.deadline.at;
        Judgement::without(why, if hurried { OnError::Deny } else { *on_error }, name, stale)
    }

    /// Asks, or waits for whoever asks the same just now.
    async fn together(&self, decisions: &Arc<Decisions>, key: decisions::Key) -> Outcome {
        loop {
            match decisions.find(key, Instant::now()) {
                Found::Kept(decision) => return Ok(decision),
                Found::Asked(flight) => {
                    let Some(_place) = decisions.wait(self.auth.max_waiting) else {
                        return Err(Undecided::Overload);
                    };
                    let told = timeout_at(self.deadline.at.into(), decisions::told(flight)).await;
                    match told {
                        Err(_) => return Err(Undecided::Timeout),
                        Ok(Some(Told::Outcome(outcome))) => return outcome,
                        Ok(Some(Told::NotForOthers)) => break,
                        // Whoever asked has left: somebody else must.
                        Ok(None) => {}
                    }
                }
                Found::Nobody(lead) => {
                    let (outcome, keep) = self.ask().await;
                    if !self.concerns_one_client(&outcome) {
                        lead.settle(&outcome, keep, Instant::now());
                    }
                    if outcome.is_ok() {
                        self.forget_before();
                    }
                    return outcome;
                }
            }
        }
        self.ask().await.0
    }

    /// The last decision of the version before, if the rule lets one stand in.
    fn decided_before(&self, before: &Known, cache: &CacheSettings, now: Instant) -> Option<Arc<Passed>> {
        if self.auth.settings.on_error != OnError::Stale {
            return None;
        }
        let decisions = before.decisions.as_ref()?;
        decisions.stale(&self.key_before(decisions, cache)?, now)
    }

    /// There is a decision of this version: whatever it says, an older one stands in no more.
    fn forget_before(&self) {
        let before = self.auth.known.before.load();
        let decisions = before.as_ref().and_then(|before| before.decisions.as_ref());
        if let (Some(decisions), Some(cache)) = (decisions, &self.auth.settings.cache)
            && let Some(key) = self.key_before(decisions, cache)
        {
            decisions.forget(&key);
        }
    }

    /// The same question as it is told from others there.
    fn key_before(&self, decisions: &Decisions, cache: &CacheSettings) -> Option<decisions::Key> {
        match &self.auth.settings.kind {
            Kind::External(external) => Some(ask::key(decisions.secret(), external, cache, self.question)),
            // They ask nobody whose address could differ.
            Kind::Jwt(_) | Kind::ApiKey(_) => None,
        }
    }

    /// A client that gave itself too little time, or leaves too much behind, says nothing about the service: those
    /// who wait for the same decision must not fail with it.
    fn concerns_one_client(&self, outcome: &Outcome) -> bool {
        match outcome {
            Err(Undecided::Timeout) => self.deadline.by_client,
            Err(Undecided::Aborts(_)) => true,
            _ => false,
        }
    }

    async fn ask(&self) -> (Outcome, decisions::Keep) {
        match (&self.auth.settings.kind, self.gate, &self.auth.own) {
            (Kind::External(external), Some(gate), _) => {
                external::ask(self.auth, external, gate, self.question, self.lent, self.deadline).await
            }
            (Kind::Jwt(jwt), _, Own::Keys(ring)) => {
                tokens::ask(&self.auth.settings.name, jwt, ring, self.question, self.deadline.at).await
            }
            _ => (Err(Undecided::Failed("there is nobody to ask")), decisions::Keep::Not),
        }
    }
}
