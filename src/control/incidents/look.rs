//! Looks at what upstreams count, once a second: what the sentry drafts for, and what the status page says.
//!
//! It reads counters that cores write anyway, and holds nothing that a core waits for.

use super::Incidents;
use super::pulse::{Beat, Fleet, Health};
use super::sentry::Saw;
use crate::config::public::Incidents as Thresholds;
use crate::routing::table::Upstream;
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
        }
    }
}

impl Incidents {
    /// Looks once, and drafts what is to be drafted.
    pub fn look(&self, now: Instant, thresholds: &Thresholds) {
        let table = self.live.load();
        let mut said = Vec::new();
        {
            let mut state = self.state();
            let state = &mut *state;
            for upstream in &table.upstreams {
                let total = counted(upstream);
                // The first look only learns where the counters are.
                let before =
                    state.counted.insert(upstream.name.clone(), Counted(total)).unwrap_or(Counted(total));
                let look = (&upstream.name, before.until(total), fleet(upstream));
                let saw = state.sentry.look(now, look, thresholds);
                if thresholds.drafts {
                    said.extend(saw);
                }
            }
            if state.counted.len() > table.upstreams.len() {
                let is_there = |name: &str| table.upstreams.iter().any(|upstream| *upstream.name == *name);
                state.counted.retain(|name, _| is_there(name));
                state.sentry.keep_only(is_there);
            }
        }
        said.into_iter().for_each(|saw| self.saw(saw, thresholds));
    }

    fn saw(&self, saw: Saw, thresholds: &Thresholds) {
        match saw {
            Saw::Lasts(notice) => {
                let noticed = {
                    let mut state = self.state();
                    let noticed = state.book.notice(&notice, thresholds.redraft_after, Timestamp::now());
                    let is_told = !matches!(noticed, super::Noticed::TooSoon | super::Noticed::Full);
                    if let Some(upstream) = notice.upstream.as_ref().filter(|_| is_told) {
                        state.sentry.told(upstream, notice.cause);
                    }
                    noticed
                };
                self.noticed(noticed, notice.cause);
            }
            Saw::Over(notice) => {
                let over = self.state().book.over(&notice, Timestamp::now());
                over.into_iter().for_each(|done| drop(self.done(done, super::GATEWAY)));
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

fn counted(upstream: &Upstream) -> Beat {
    let sum = |well: bool| -> u64 {
        upstream.cluster.backends.iter().map(|backend| backend.metrics.outcomes(well)).sum()
    };
    Beat { well: sum(true), failed: sum(false), shed: upstream.metrics.all_sheds() }
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
