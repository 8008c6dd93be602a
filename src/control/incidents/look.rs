//! Looks at what upstreams count, once a second: what the sentry drafts for, and what the status page says.
//!
//! It reads counters that cores write anyway, and holds nothing that a core waits for.

use super::book::{Notice, Noticed};
use super::pulse::{Beat, Fleet, Health};
use super::sentry::{PROCESS, Saw};
use super::{GATEWAY, Incidents, State};
use crate::config::public::Incidents as Thresholds;
use crate::reject::Reason;
use crate::request::Class;
use crate::routing::table::{Table, Upstream};
use crate::telemetry::metrics::Metrics;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Instant;

/// Counters as they were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted(Beat);

impl Counted {
    /// What came since; counters of a name that came back may begin again.
    fn until(self, now: Beat) -> Beat {
        Beat {
            well: now.well.saturating_sub(self.0.well),
            failed: now.failed.saturating_sub(self.0.failed),
            shed: now.shed.saturating_sub(self.0.shed),
            ramped: now.ramped.saturating_sub(self.0.ramped),
        }
    }
}

impl Incidents {
    /// Looks once, and drafts what is to be drafted.
    pub fn look(&self, now: Instant, metrics: &Metrics, thresholds: &Thresholds) {
        let table = self.live.load();
        let said = self.state().look((&table, metrics), now, thresholds);
        if thresholds.drafts {
            said.into_iter().for_each(|saw| self.saw(saw, thresholds));
        }
    }

    fn saw(&self, saw: Saw, thresholds: &Thresholds) {
        match saw {
            Saw::Lasts(notice) => {
                let (watched, notice) = named(notice);
                let noticed = {
                    let mut state = self.state();
                    let noticed = state.book.notice(&notice, thresholds.redraft_after, Timestamp::now());
                    let is_told = !matches!(noticed, Noticed::TooSoon | Noticed::Full);
                    if is_told {
                        state.sentry.told(&watched, notice.cause);
                    }
                    noticed
                };
                self.noticed(noticed, notice.cause);
            }
            Saw::Over(notice) => {
                let (_, notice) = named(notice);
                let over = self.state().book.over(&notice, Timestamp::now());
                over.into_iter().for_each(|done| drop(self.done(done, GATEWAY)));
            }
        }
    }

    /// How these upstreams do, and how all of them together do.
    pub(super) fn health<'a>(
        &self,
        upstreams: impl Iterator<Item = &'a Arc<str>>,
        now: Instant,
    ) -> (Vec<Health>, Health) {
        let state = self.state();
        (upstreams.map(|name| state.sentry.health(name, now)).collect(), state.sentry.overall(now))
    }
}

impl State {
    fn look(
        &mut self,
        (table, metrics): (&Table, &Metrics),
        now: Instant,
        thresholds: &Thresholds,
    ) -> Vec<Saw> {
        let (mut said, mut well) = (Vec::new(), 0);
        for upstream in &table.upstreams {
            let beat = self.since(&upstream.name, counted(upstream));
            well += beat.well;
            said.extend(self.sentry.look(now, (&upstream.name, beat, fleet(upstream)), thresholds));
        }
        let process: Arc<str> = PROCESS.into();
        let beat = Beat { well, ..self.since(&process, refused(metrics)) };
        said.extend(self.sentry.look(now, (&process, beat, Fleet::default()), thresholds));
        if self.counted.len() > table.upstreams.len() + 1 {
            let is_there = |name: &str| {
                name == PROCESS || table.upstreams.iter().any(|upstream| *upstream.name == *name)
            };
            self.counted.retain(|name, _| is_there(name));
            self.sentry.keep_only(is_there);
        }
        said
    }

    /// What was counted since the last look; the first only learns where the counters are.
    fn since(&mut self, name: &Arc<str>, total: Beat) -> Beat {
        self.counted.insert(name.clone(), Counted(total)).unwrap_or(Counted(total)).until(total)
    }
}

/// What is watched, and the notice as people read it: what the process refuses is of no upstream.
fn named(notice: Notice) -> (Arc<str>, Notice) {
    let watched = notice.upstream.clone().unwrap_or_else(|| PROCESS.into());
    let upstream = notice.upstream.filter(|name| **name != *PROCESS);
    (watched, Notice { upstream, ..notice })
}

/// What never came to an upstream.
fn refused(metrics: &Metrics) -> Beat {
    let reasons = [Reason::ProcessLimit, Reason::Cpu, Reason::Memory];
    let shed = reasons.into_iter().map(|reason| metrics.process().refusals(reason)).sum();
    Beat { shed, ..Beat::default() }
}

fn counted(upstream: &Upstream) -> Beat {
    let sum = |well: bool| -> u64 {
        upstream.cluster.backends.iter().map(|backend| backend.metrics.outcomes(well)).sum()
    };
    let ramped = Class::ALL.into_iter().map(|class| upstream.metrics.sheds(class, Reason::Ramp)).sum();
    let shed = upstream.metrics.all_sheds().saturating_sub(ramped);
    Beat { well: sum(true), failed: sum(false), shed, ramped }
}

/// A backend that somebody drained is not missed.
fn fleet(upstream: &Upstream) -> Fleet {
    let shares = upstream.cluster.shares.load();
    let backends = upstream.cluster.backends.iter().zip(&shares.of);
    backends.fold(Fleet::default(), |fleet, (backend, share)| {
        let (present, drained) = (backend.is_present(), share.cap == 0 && !share.out);
        match (present, drained) {
            (true, true) => fleet,
            (present, _) => {
                Fleet { total: fleet.total + 1, out: fleet.out + u32::from(share.out || !present) }
            }
        }
    })
}
