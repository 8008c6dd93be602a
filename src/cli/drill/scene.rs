//! Everything that a drill needs, set up: a rewritten configuration, origins, an auth service, silence, the gateway,
//! and the clients that come. It ends in this order when it is dropped: clients, gateway, servers, folder.

use super::crowd::{self, Crowd, Kind, Stream, World};
use super::gateway::{FILE, Gateway};
use super::judge::{Judge, Mint, Silence};
use super::origins::{Fleet, Setting};
use super::rewrite::{Draft, Pace, Places, SECRET};
use super::scratch::Scratch;
use super::target::{self, Target};
use super::told::Told;
use crate::config::plan::Plan;
use crate::config::{self, ProcessEnvironment};
use crate::filters::auth::settings::{Kind as AuthKind, OnError};
use crate::routing::settings::Action;
use anyhow::{Context, bail};
use http::HeaderName;
use http::header::AUTHORIZATION;
use std::path::Path;
use std::time::Duration;

/// Routes of each kind that are asked at most.
const MOST_ROUTES: usize = 8;
/// Requests a second of each kind.
const RATES: [(Kind, f64); 3] = [(Kind::Public, 80.0), (Kind::New, 60.0), (Kind::Known, 60.0)];
/// In the hands of one origin while all is well: so many that a quarter of it means something.
const IN_HAND: f64 = 4.0;
/// With fewer in hand it is quiet.
const QUIET: f64 = 2.0;
/// For one request of a warm origin at most.
const LONGEST: Duration = Duration::from_millis(200);

/// For so long at least a decision must be able to stand in, for identities to outlast the drill.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// A drill's world.
pub(super) struct Scene {
    /// The clients.
    pub crowd: Crowd,
    /// The gateway.
    pub gateway: Gateway,
    /// The origins.
    pub fleet: Fleet,
    /// The auth service.
    pub judge: Judge,
    /// Those who never answer.
    pub silence: Silence,
    /// The folder with the configuration and the state.
    pub scratch: Scratch,
    /// What the gateway runs.
    pub plan: Plan,
    /// Its text.
    pub good: String,
    /// Whether known identities outlast the silence of the service, as their auth is set.
    pub known_outlast: bool,
    /// What is not as in the file.
    pub notes: Vec<String>,
    draft: Draft,
    places: Places,
}

impl Scene {
    /// Sets it up for a configuration found in `file`, with clients coming.
    ///
    /// # Errors
    /// If the configuration is wrong or cannot be drilled, or this machine has no room.
    pub fn set(text: &str, file: &Path, pace: Pace, told: &Told) -> anyhow::Result<Scene> {
        let checked = config::check(text, file, &ProcessEnvironment);
        if checked.is_refused() {
            bail!("the configuration is not valid\n{}", checked.render(false));
        }
        let draft = Draft::of(text, file, pace)?;
        let (scratch, mint, silence) = (Scratch::new()?, Mint::new(), Silence::open()?);
        let secret = mint.token("origin");
        let (fleet, origins) = Fleet::start(draft.origins.len(), &secret)?;
        let (judge, judges) = Judge::start(draft.judges, mint.clone())?;
        let places = Places { origins, judges, names: silence.names()? };
        let good = draft.good(&places, scratch.path());
        scratch.write(SECRET, &secret)?;
        scratch.write(FILE, &good)?;
        let checked = config::check(&good, &scratch.file(FILE), &ProcessEnvironment);
        let why = checked.render(false);
        let plan = checked.plan.with_context(|| format!("rewritten for loopback it is not valid:\n{why}"))?;
        let gateway = Gateway::start(&scratch, told)?;
        let world = World {
            listeners: gateway.listeners.clone(),
            shown_in: plan.auths.iter().map(|auth| shown_in(&auth.kind)).collect(),
            keys: Vec::new(),
            mint,
            fact: plan.rollout.cohort.clone(),
        };
        let mut notes = draft.notes.clone();
        if !plan.rollout.required {
            notes.push("as in the file: stages are not required, so nothing stops what is pushed".to_owned());
        }
        let streams = streams(&plan, &world, &mut notes)?;
        set_origins(&fleet, &draft, &plan, &streams);
        let outlasts = |target: &Target| {
            let auth = target.auth.and_then(|auth| plan.auths.get(auth));
            let cache =
                auth.filter(|auth| auth.on_error == OnError::Stale).and_then(|auth| auth.cache.as_ref());
            cache.is_some_and(|cache| cache.ttl + cache.stale >= LONG_ENOUGH)
        };
        let known = streams.iter().filter(|stream| stream.kind == Kind::Known);
        let known_outlast = known.flat_map(|stream| &stream.targets).all(outlasts);
        let crowd = Crowd::start(world, streams)?;
        Ok(Scene {
            crowd,
            gateway,
            fleet,
            judge,
            silence,
            scratch,
            plan,
            good,
            known_outlast,
            notes,
            draft,
            places,
        })
    }

    /// The same configuration with the auth service at `address`.
    pub fn bad(&self, address: &str) -> String {
        self.draft.bad(&self.places, self.scratch.path(), address)
    }

    /// The same, with a name that does not resolve, and without anything that stands in a file.
    ///
    /// # Errors
    /// If an address is not known.
    pub fn worse(&self) -> anyhow::Result<String> {
        let silent = self.silence.server()?.to_string();
        self.draft.worse(&self.places, self.scratch.path(), &silent)
    }

    /// Requests a second in all.
    pub fn rate(&self) -> f64 {
        RATES.iter().map(|(_, rate)| rate).sum()
    }
}

/// The header in which an auth is shown a token.
pub(super) fn shown_in(kind: &AuthKind) -> HeaderName {
    match kind {
        AuthKind::External(external) if !external.headers.contains(&AUTHORIZATION) => {
            external.headers.first().cloned().unwrap_or(AUTHORIZATION)
        }
        _ => AUTHORIZATION,
    }
}

/// Who asks for what: routes that really answer, some of each kind.
fn streams(plan: &Plan, world: &World, notes: &mut Vec<String>) -> anyhow::Result<Vec<Stream>> {
    let targets = target::of(plan);
    let served = crowd::try_each(world, &targets)?;
    for (target, why) in targets.iter().zip(&served) {
        if let Err(why) = why {
            notes.push(format!("route {}: not asked, because a request for it got {why}", target.route));
        }
    }
    let usable = targets.into_iter().zip(served).filter_map(|(target, served)| served.ok().map(|()| target));
    let (guarded, public): (Vec<Target>, Vec<Target>) = usable.partition(|target| target.auth.is_some());
    if guarded.is_empty() || public.is_empty() {
        bail!(
            "no route {} answers: {}",
            if public.is_empty() { "without auth" } else { "with auth" },
            notes.join("; ")
        );
    }
    let some = |of: &[Target]| of.iter().take(MOST_ROUTES).cloned().collect::<Vec<_>>();
    let of = |(kind, rate): (Kind, f64)| {
        let targets = if kind == Kind::Public { some(&public) } else { some(&guarded) };
        Stream { kind, targets, rate }
    };
    Ok(RATES.map(of).into())
}

/// Sets each origin by what will be asked of it, so that it has a few requests in hand when it is warm, and dies
/// within a second or two if it gets as many while it is cold.
fn set_origins(fleet: &Fleet, draft: &Draft, plan: &Plan, streams: &[Stream]) {
    let served =
        plan.upstreams.iter().filter(|upstream| draft.origins.iter().any(|it| **it == *upstream.name));
    let mut nth = 0;
    for upstream in served {
        let of_stream = |stream: &Stream| {
            let here = stream.targets.iter().filter(|target| *target.upstream == *upstream.name).count();
            stream.rate * here as f64 / stream.targets.len().max(1) as f64
        };
        let rate: f64 = streams.iter().map(of_stream).sum();
        let timeouts = plan.routes.iter().filter_map(|(_, route)| match &route.action {
            Action::Upstream(index) if plan.upstreams[*index].name == upstream.name => Some(route.timeout),
            _ => None,
        });
        let longest = timeouts.min().map_or(LONGEST, |timeout| (timeout / 20).min(LONGEST));
        let backends = &upstream.balancing.backends;
        let weights: f64 = backends.iter().map(|backend| f64::from(backend.weight.get())).sum();
        for backend in backends {
            fleet.set(nth, setting(rate * f64::from(backend.weight.get()) / weights, longest));
            nth += 1;
        }
    }
}

pub(super) fn setting(rate: f64, longest: Duration) -> Setting {
    let wanted = Duration::from_secs_f64(IN_HAND / rate.max(0.1));
    let service = wanted.clamp(Duration::from_millis(2), longest.max(Duration::from_millis(2)));
    let in_hand = rate * service.as_secs_f64();
    // Whole requests: a fraction of one is one.
    let workers = (1.5 * in_hand).ceil().max(2.0) as usize;
    // Nobody runs over one that has hardly anything to do.
    let most_waiting = if in_hand < QUIET { u64::MAX } else { (3.0 * in_hand).ceil() as u64 };
    Setting { service, workers, most_waiting }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_few_in_hand_and_only_one_that_is_busy_can_be_run_over() {
        let long = Duration::from_millis(200);
        assert_eq!(
            setting(40.0, long),
            Setting { service: Duration::from_millis(100), workers: 6, most_waiting: 12 }
        );
        let quiet = setting(5.0, long);
        assert_eq!((quiet.service, quiet.workers, quiet.most_waiting), (long, 2, u64::MAX));
        // Where routes have little time, so does it.
        assert_eq!(setting(40.0, Duration::ZERO).service, Duration::from_millis(2));
    }
}
