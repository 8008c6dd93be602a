//! A candidate beside the active version: offered to a share of the clients, to a larger one, and then withdrawn or made
//! active as it was built, with the connections, averages and decisions that it has by then.
//!
//! Who may be tried, how much, for how long and with what result is decided elsewhere; here it is done, in one pointer
//! swap each time. Listeners, the admin side and what `[gateway]` and `[access_log]` say change at the full activation
//! only.

use crate::config::plan::Plan;
use crate::control::activate::Step;
use crate::control::apply::Receipt;
use crate::control::build::{Builder, Wishes};
use crate::control::origin::Origin;
use crate::control::trust::{Supply, Trust};
use crate::control::{Active, Cause, Control};
use crate::request::cohort::{Fact, Share};
use crate::routing::settings::Action;
use crate::routing::table::Table;
use crate::routing::trial::caps::{Parts, beside};
use crate::routing::trial::choice::Choice;
use crate::routing::trial::tallies::Tallies;
use crate::routing::trial::{Side, Tables, Trial};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often what counts as too long is worked out.
const FOLLOW: Duration = Duration::from_secs(1);

/// A version that may become active.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it says; checked.
    pub plan: Plan,
    /// Its text.
    pub text: Arc<str>,
    /// Its number.
    pub number: u64,
    /// Where it came from.
    pub origin: Origin,
    /// The file's text that it will stand over, see [`Active::overruled`].
    pub overruled: Option<blake3::Hash>,
}

impl Candidate {
    /// What it is once it is active.
    pub fn into_active(self) -> Active {
        let Candidate { plan, text, origin, overruled, .. } = self;
        Active { plan, text, origin, overruled }
    }
}

/// What is tried, or was until it became everyone's.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// The candidate.
    pub(super) running: Option<Running>,
    /// Where the active version's requests go on counting, while it is watched.
    pub(super) watched: Option<Arc<Tallies>>,
    /// When what counts as too long was last worked out.
    followed: Option<Instant>,
}

impl Trials {
    /// Nothing is tried; the active version may be watched.
    pub(super) fn over(watched: Option<Arc<Tallies>>) -> Self {
        Trials { running: None, watched, followed: None }
    }

    fn tallies(&self) -> Option<Arc<Tallies>> {
        let tried = self.running.as_ref().map(|running| &running.tallies);
        tried.or(self.watched.as_ref()).cloned()
    }
}

/// A candidate that is tried.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) candidate: Candidate,
    /// Its table as it was built: what becomes active.
    pub(super) table: Arc<Table>,
    /// The stable table as it was built: what stays.
    pub(super) stable: Arc<Table>,
    /// What it wants of what both use, once it is active. Only whoever has the builder locks it.
    wishes: Arc<Mutex<Wishes>>,
    share: Share,
    fact: Fact,
    occasion: u64,
    pub(super) tallies: Arc<Tallies>,
    choice: Arc<Choice>,
    parts: Arc<Parts>,
    /// Requests of both sides when the stage began.
    began: [u64; 2],
    /// How many rollbacks there were when it was offered.
    rollbacks: u64,
}

impl Running {
    /// What serves now.
    pub(super) fn tables(&self) -> Tables {
        let (stable, table) = beside(&self.stable, &self.table, self.share, &self.parts);
        let trial = Trial {
            table,
            share: self.share,
            fact: self.fact.clone(),
            occasion: self.occasion,
            tallies: self.tallies.clone(),
            choice: self.choice.clone(),
            parts: self.parts.clone(),
        };
        Tables { stable, trial: Some(trial), watched: None }
    }

    /// It is still the one that was looked at.
    pub(super) fn is(&self, seen: &Tried) -> bool {
        Arc::ptr_eq(&self.wishes, &seen.wishes)
    }

    fn chosen(&self) -> [u64; 2] {
        Side::ALL.map(|side| self.choice.chosen(side))
    }
}

/// A candidate as it was looked at. Whoever has the builder works on it, which may take long, and then looks whether it
/// is still tried: a withdrawal waits for nobody.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) plan: Plan,
    pub(super) table: Arc<Table>,
    pub(super) stable: Arc<Table>,
    pub(super) tallies: Arc<Tallies>,
    wishes: Arc<Mutex<Wishes>>,
}

impl Tried {
    /// What it wants once it is active.
    pub(super) fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its table again, with what its files hold now.
    pub(super) fn renew(
        &self,
        builder: &mut Builder,
        renewed: Vec<(Arc<str>, Trust)>,
    ) -> Result<Arc<Table>, String> {
        let table = builder.rebuild_aside(&self.plan, (self.table.number, renewed), &mut self.wishes())?;
        Ok(Arc::new(table))
    }

    /// Its table again, if its names have other addresses.
    pub(super) fn readdress(&self, builder: &mut Builder) -> Result<Option<Arc<Table>>, String> {
        let table = builder.readdress_aside(&self.plan, &self.table, &mut self.wishes())?;
        Ok(table.map(Arc::new))
    }
}

/// A trial, for whoever conducts it.
#[derive(Clone, Debug)]
pub struct TrialSight {
    /// The candidate's number.
    pub number: u64,
    /// Blake3 of its text, hex.
    pub hash: String,
    /// The part of the clients that it is to serve.
    pub share: Share,
    /// The part of the requests that it was given since this stage began; nothing before the first one.
    pub realised: Option<f64>,
    /// Requests of both sides since this stage began: of the stable version, and of the candidate.
    pub requests: [u64; 2],
    /// Each request is given for itself.
    pub per_request: bool,
    /// Names of the candidate that are still looked up for the first time: requests for them would fail.
    pub unresolved: Vec<String>,
    /// What became of the requests of both.
    pub tallies: Arc<Tallies>,
}

impl Control {
    /// Puts a candidate beside the active version and lets it serve this share of the clients. With a share of nothing it
    /// only warms up: its names are looked up, its keys fetched, its backends checked. Reads files: for the background
    /// thread.
    ///
    /// # Errors
    /// What keeps it from being built, or that another one is tried. Nothing is changed then.
    pub fn offer(&self, candidate: Candidate, share: Share, fact: Fact) -> Result<(), String> {
        let rollbacks = self.rollbacks();
        // Before the lock: a file that hangs must not hold up a rollback.
        let (shelf, _) = self.sources(&candidate.clone().into_active());
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &self.trials().running {
            return Err(format!("version {} is being tried", running.candidate.number));
        }
        builder.supply(Supply { files: Arc::new(shelf), forgiving: false });
        let built = builder.build(&candidate.plan, candidate.number);
        let table = built.map(Arc::new).map_err(|why| {
            builder.forget_unused(&self.state().active.plan.clone());
            self.unfilled(&why, &candidate.text)
        })?;
        let wishes = Arc::new(Mutex::new(builder.set_aside()));
        let (stable, cores) = (self.live.load(), builder.cores());
        let routes = [&stable, &table].into_iter().flat_map(|table| table.routes.iter());
        let tallies = Tallies::new(routes.map(|route| &route.settings.name), cores);
        let running = Running {
            occasion: occasion(&candidate.plan.hash),
            candidate,
            table,
            stable,
            wishes,
            share,
            fact,
            tallies: Arc::new(tallies),
            choice: Arc::new(Choice::new(cores, true)),
            parts: Arc::new(Parts::new(cores)),
            began: [0; 2],
            rollbacks,
        };
        // Another one comes only by whoever has the builder.
        let mut trials = self.trials();
        let before = self.steering.replace(running.tables());
        *trials = Trials { running: Some(running), ..Trials::default() };
        drop((trials, builder));
        self.retire(before);
        Ok(())
    }

    /// Lets the candidate serve another share; a larger one holds everyone of a smaller one. Waits for nobody. False when
    /// none is tried.
    pub fn widen(&self, share: Share) -> bool {
        let mut trials = self.trials();
        let Some(running) = trials.running.as_mut() else { return false };
        running.share = share;
        running.began = running.chosen();
        let before = self.steering.replace(running.tables());
        drop(trials);
        self.retire(before);
        true
    }

    /// Ends the trial: new requests find the stable version only, those in flight finish on the version that they began
    /// with. Waits for nobody, also while something is being built. False when none is tried.
    pub fn withdraw(&self) -> bool {
        self.withdraw_if(|_| true)
    }

    /// The same if the candidate has this number.
    pub fn withdraw_version(&self, number: u64) -> bool {
        self.withdraw_if(|running| running.candidate.number == number)
    }

    fn withdraw_if(&self, meant: impl FnOnce(&mut Running) -> bool) -> bool {
        let mut trials = self.trials();
        let Some(running) = trials.running.take_if(meant) else { return false };
        let before = self.steering.swap(running.stable.clone());
        drop(trials);
        drop(running);
        self.retire(before);
        true
    }

    /// The active version, which was tried until it became everyone's, is not watched any more.
    pub fn stop_watching(&self) {
        let mut trials = self.trials();
        if trials.running.is_some() || trials.watched.take().is_none() {
            return;
        }
        let before = self.steering.swap(self.live.load());
        drop(trials);
        self.retire(before);
    }

    /// What became of requests: of both sides while one is tried, and of the candidate after it became everyone's, until
    /// [`Control::stop_watching`].
    pub fn tallies(&self) -> Option<Arc<Tallies>> {
        self.trials().tallies()
    }

    /// Makes the candidate active for everyone, as it was built, and goes on counting what becomes of its requests.
    /// Blocks on files and sockets: for the background thread.
    ///
    /// # Errors
    /// That none is tried, or what its listeners lack; it is tried on then.
    pub fn promote(&self) -> Result<Receipt, String> {
        // It is good after its last bake.
        let good = false;
        let running = |running: &Running| (running.candidate.clone(), running.rollbacks);
        let tried = self.trials().running.as_ref().map(running);
        let (mut candidate, rollbacks) = tried.ok_or("no version is being tried")?;
        // It was handed in before; it is active from now on.
        candidate.origin.since = Origin::now(Cause::Api, None, None).since;
        let (text, number) = (candidate.text.clone(), candidate.number);
        self.activate(candidate.into_active(), Step { number, rollbacks, good })
            .map_err(|why| self.unfilled(&why, &text))
    }

    /// The number of the version that is tried.
    pub fn tried_number(&self) -> Option<u64> {
        self.trials().running.as_ref().map(|running| running.candidate.number)
    }

    /// The trial, if there is one.
    pub fn trial(&self) -> Option<TrialSight> {
        let trials = self.trials();
        let running = trials.running.as_ref()?;
        let chosen = running.chosen();
        let requests = [0, 1].map(|side| chosen[side].saturating_sub(running.began[side]));
        let all: u64 = requests.iter().sum();
        Some(TrialSight {
            number: running.candidate.number,
            hash: running.candidate.plan.hash.clone(),
            share: running.share,
            realised: (all > 0).then(|| requests[Side::Candidate as usize] as f64 / all as f64),
            requests,
            per_request: running.choice.is_per_request(),
            unresolved: unresolved(&running.table),
            tallies: running.tallies.clone(),
        })
    }

    /// Lets what counts as too long follow what the stable version takes: once a second.
    pub(super) fn follow_patience(&self, now: Instant) {
        let tallies = {
            let mut trials = self.trials();
            let told = trials.followed.filter(|told| now.saturating_duration_since(*told) < FOLLOW);
            let Some(tallies) = trials.tallies().filter(|_| told.is_none()) else { return };
            trials.followed = Some(now);
            tallies
        };
        let tables = self.live.tables();
        let table = tables.candidate().unwrap_or(&tables.stable);
        for route in table.routes.iter() {
            let settings = &route.settings;
            let objective = match settings.action {
                Action::Upstream(index) => table.upstreams[index].gate.adaptive.objective,
                _ => settings.timeout,
            };
            tallies.follow(&settings.name, objective, settings.timeout);
        }
    }

    /// What is tried, locked; never for longer than a swap takes. Whoever swaps tables has it.
    pub(super) fn trials(&self) -> MutexGuard<'_, Trials> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The candidate that is tried, to be worked on by whoever has the builder.
    pub(super) fn tried(&self) -> Option<Tried> {
        self.trials().running.as_ref().map(|running| Tried {
            plan: running.candidate.plan.clone(),
            table: running.table.clone(),
            stable: running.stable.clone(),
            tallies: running.tallies.clone(),
            wishes: running.wishes.clone(),
        })
    }

    /// Swaps in tables of the same versions that were built again, each where it is new. `tried` is the candidate that
    /// was looked at when that began; one that was withdrawn since then stays out.
    pub(super) fn put(&self, stable: Option<Arc<Table>>, tried: Option<(&Tried, Option<Arc<Table>>)>) {
        let mut trials = self.trials();
        let watched = trials.watched.clone();
        let before = match (trials.running.as_mut(), tried) {
            (Some(running), Some((seen, table))) if running.is(seen) => {
                running.stable = stable.unwrap_or_else(|| running.stable.clone());
                running.table = table.unwrap_or_else(|| running.table.clone());
                Some(self.steering.replace(running.tables()))
            }
            // Nobody offers one while the builder is held.
            _ => stable.map(|stable| self.steering.replace(Tables { watched, ..Tables::only(stable) })),
        };
        drop(trials);
        before.into_iter().for_each(|before| self.retire(before));
    }
}

/// Gateways beside each other try the same text on the same clients.
fn occasion(hash: &str) -> u64 {
    hash.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// Names without an address, as far as nobody has said why.
fn unresolved(table: &Table) -> Vec<String> {
    let groups = table.upstreams.iter().flat_map(|upstream| &upstream.cluster.groups);
    let waits = groups.filter(|group| {
        group.names.as_ref().is_some_and(|names| !names.is_known() && names.failure().is_none())
    });
    waits.map(|group| group.settings.address.to_string()).collect()
}

#[cfg(test)]
mod tests;
