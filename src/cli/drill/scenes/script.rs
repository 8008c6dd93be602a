//! What all scenes of a drill share: the staged configuration, what it says, whom it asks for what, and how long
//! things last.

use crate::cli::drill::facts::Facts;
use crate::cli::drill::origins::Setting;
use crate::cli::drill::rewrite::{Pace, Staged};
use crate::cli::drill::sample::Sample;
use crate::cli::drill::scene::{setting, shown_in};
use crate::cli::drill::scratch::Scratch;
use crate::cli::drill::target;
use crate::config::plan::Plan;
use crate::config::{self, ProcessEnvironment};
use crate::filters::auth::settings::Kind as AuthKind;
use crate::request::cohort::Fact;
use anyhow::bail;
use http::HeaderName;
use std::path::Path;
use std::time::Duration;

/// Requests a second to one upstream in calm, and to all of them together.
const RATE: f64 = 40.0;
const RATES: f64 = 120.0;

/// What light and heavy requests take of a warm stand-in at most.
const FAST: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_millis(200);

/// What requests are to stand-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Done soon.
    Light,
    /// Several are under way at once, so that a quarter of them means something, and a cold stand-in can be run over.
    Heavy,
}

/// The script of a drill.
#[derive(Debug)]
pub(in super::super) struct Script {
    /// What the configuration says.
    pub facts: Facts,
    /// Who is asked.
    pub sample: Sample,
    /// The configuration, before anybody's addresses.
    pub staged: Staged,
    /// What chooses cohorts.
    pub(super) fact: Fact,
    /// Where each auth is shown a token, and which key if it knows keys.
    pub(super) shown_in: Vec<HeaderName>,
    pub(super) keys: Vec<Option<String>>,
    /// Shorter.
    pub quick: bool,
    plan: Plan,
}

impl Script {
    /// Reads a configuration found in `file`, with the upstreams that are wanted by name, or some.
    ///
    /// # Errors
    /// If it is wrong, or nothing of it can be asked.
    pub fn of(text: &str, file: &Path, pace: Pace, quick: bool, wanted: &[String]) -> anyhow::Result<Script> {
        let checked = config::check(text, file, &ProcessEnvironment);
        let mut staged = match Staged::of(text, file, pace) {
            Ok(staged) => staged,
            Err(_) => bail!("the configuration is not valid\n{}", checked.render(false)),
        };
        let scratch = Scratch::new()?;
        let rewritten = config::check(&staged.bare(scratch.path()), file, &ProcessEnvironment);
        let why = rewritten.render(false);
        let plan = match (rewritten.plan, checked.is_refused()) {
            (Some(plan), false) => plan,
            (Some(plan), true) => {
                let said = checked.render(false);
                let first = said.lines().next().unwrap_or_default();
                staged.notes.push(format!("as it is, it is refused here: {first}"));
                plan
            }
            (None, true) => bail!("the configuration is not valid\n{}", checked.render(false)),
            (None, false) => bail!("rewritten for loopback it is not valid\n{why}"),
        };
        let facts = Facts::of(&plan, &staged.written);
        let sample = Sample::of(&facts, target::of(&plan), wanted, quick)?;
        if sample.targets.is_empty() {
            bail!("no route of it goes to an upstream and can be asked with a head alone");
        }
        staged.note_backends(&sample.cast(&facts));
        let is_key = |kind: &AuthKind| matches!(kind, AuthKind::ApiKey(_)).then(|| staged.key.clone());
        Ok(Script {
            fact: plan.rollout.cohort.clone(),
            shown_in: plan.auths.iter().map(|auth| header(&auth.kind)).collect(),
            keys: plan.auths.iter().map(|auth| is_key(&auth.kind)).collect(),
            facts,
            sample,
            staged,
            quick,
            plan,
        })
    }

    /// Requests a second to one upstream in calm.
    pub fn rate(&self) -> f64 {
        (RATES / self.sample.upstreams.len().max(1) as f64).min(RATE)
    }

    /// One of two lengths.
    pub fn long(&self, seconds: f64, quick: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { quick } else { seconds })
    }

    /// What one stand-in of an upstream takes for a request when it is warm.
    fn service(&self, upstream: &str, weight: Weight) -> Duration {
        let timeouts = self.facts.routes.values().filter(|route| route.upstream == upstream);
        let shortest = timeouts.map(|route| route.timeout).min().unwrap_or(SLOW);
        match weight {
            // So little that nobody times out and no limit is felt while all is well.
            Weight::Light => {
                let objective =
                    self.facts.upstreams.get(upstream).map_or(SLOW, |upstream| upstream.objective);
                (shortest / 20).min(objective / 3).min(FAST)
            }
            Weight::Heavy => (shortest / 8).min(SLOW),
        }
    }

    /// The weights of an upstream's stand-ins, each as a part of all.
    pub(super) fn weights(&self, upstream: &str) -> Vec<f64> {
        let many = self.staged.many(upstream);
        let found = self.plan.upstreams.iter().find(|it| &*it.name == upstream);
        let weights =
            found.into_iter().flat_map(|it| &it.balancing.backends).map(|it| f64::from(it.weight.get()));
        let mut weights: Vec<f64> = weights.take(many).collect();
        weights.resize(many, 100.0);
        let all: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / all).collect()
    }

    /// How each stand-in of an upstream is set.
    pub(super) fn settings(&self, upstream: &str, weight: Weight) -> Vec<Setting> {
        let service = self.service(upstream, weight);
        let of = |part: f64| {
            let rate = self.rate() * part;
            let setting = setting(rate, service);
            match weight {
                Weight::Light => setting,
                Weight::Heavy => delicate(setting, rate),
            }
        };
        self.weights(upstream).into_iter().map(of).collect()
    }
}

/// A cold one dies if as many wait as a warm one has in hand: what a part of the traffic never makes of it.
fn delicate(setting: Setting, rate: f64) -> Setting {
    let in_hand = (rate * setting.service.as_secs_f64()).ceil();
    // One that nothing ever runs over stays so.
    let most_waiting = if setting.most_waiting == u64::MAX { u64::MAX } else { in_hand as u64 };
    Setting { most_waiting, ..setting }
}

fn header(kind: &AuthKind) -> HeaderName {
    match kind {
        AuthKind::ApiKey(keys) => keys.header.clone(),
        other => shown_in(other),
    }
}
