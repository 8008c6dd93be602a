//! (d) The whole fleet restarts, cold, under load: it is let up by percentage, and no origin dies of what it gets.
//! On 24 March 2023 that was done by hand, from 20:19 to 20:58.

use super::Drill;
use crate::cli::drill::crowd::Kind;
use crate::cli::drill::crowd::seen::Tally;
use std::time::{Duration, Instant};

/// For all of it, dwells that wait for traffic included.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at the ramps.
const LOOK: Duration = Duration::from_millis(200);
/// Of those who come, those who must be served for so much of the traffic to be back.
const QUARTER: f64 = 0.25;
const ALL: f64 = 0.95;
/// The traffic is back if it was for so long.
const STEADY: Duration = Duration::from_secs(2);

/// What was seen of the ramps.
struct Back {
    /// The least that any backend was let carry, in percent.
    least: f64,
    /// When a quarter of the traffic was back, and all of it.
    quarter: Option<Instant>,
    all: Option<Instant>,
}

impl Drill<'_> {
    /// Restarts it, and waits until everybody is served.
    pub(super) fn restarted(&mut self) -> anyhow::Result<()> {
        self.calms_down()?;
        let (from, before) = (Instant::now(), self.scene.fleet.seen());
        self.report.tell("(d) the whole fleet restarts at once, and comes back cold");
        self.scene.fleet.restart();
        let back = self.look_on(from)?;
        let seen = self.scene.fleet.seen();
        let crashes = seen.crashes - before.crashes;
        let said =
            format!("{crashes} crashes of a cold origin, of {} that came back", seen.boots - before.boots);
        self.report.bar("d", "no_cold_origin_crashes", crashes == 0, said);
        let took = back.all.map(|all| (all - from).as_secs_f64());
        let said = match took {
            Some(took) => format!("all of the traffic was back {took:.1} s after the restart"),
            None => format!("not all of the traffic was back within {} s", PATIENCE.as_secs()),
        };
        self.report.bar("d", "everything_is_back", took.is_some(), said);
        let first = self.first_step();
        let said =
            format!("backends were let carry {:.0} % at first; the first step is {first:.0} %", back.least);
        self.report.bar("d", "let_up_by_percentage", back.least <= first + 0.01, said);
        self.report.restart_to_well_s = took;
        self.part("d", "the fleet restarted, cold", from)
    }

    /// The smallest first step of any ramp that is configured, in percent.
    fn first_step(&self) -> f64 {
        let steps =
            self.scene.plan.upstreams.iter().filter_map(|upstream| upstream.balancing.ramp.steps.first());
        steps.copied().fold(100.0, f64::min)
    }

    fn look_on(&mut self, from: Instant) -> anyhow::Result<Back> {
        let mut back = Back { least: 100.0, quarter: None, all: None };
        while back.all.is_none() && from.elapsed() < PATIENCE {
            self.told.pass(LOOK)?;
            let ramp = self.ramp()?;
            if ramp < back.least {
                back.least = ramp;
                self.report.tell(format!("    backends may carry {ramp:.0} %"));
            }
            let lately = self.lately(Duration::from_secs(1));
            if back.quarter.is_none() && from.elapsed() > Duration::from_secs(1) && lately >= QUARTER {
                back.quarter = Some(Instant::now());
                self.report.tell("    a quarter of the traffic is served");
            }
            // Not before it was away.
            let returned = back.quarter.is_some() && from.elapsed() > STEADY * 2;
            if returned && ramp > 99.9 && self.lately(STEADY) >= ALL {
                back.all = Some(Instant::now());
                self.report.tell("    all of the traffic is served");
            }
        }
        Ok(back)
    }

    /// Of those who were due lately, the part that was served; those under way were not.
    fn lately(&self, time: Duration) -> f64 {
        let now = Instant::now();
        // The last ones are still under way, whatever becomes of them.
        let to = now.checked_sub(Duration::from_millis(300)).unwrap_or(now);
        let mut sum = Tally::default();
        let from = to.checked_sub(time).unwrap_or(to);
        Kind::ALL.iter().for_each(|kind| sum.add(&self.scene.crowd.seen().between(*kind, from, to)));
        1.0 - sum.lost_share()
    }

    /// The least that any backend may carry now, in percent.
    fn ramp(&self) -> anyhow::Result<f64> {
        let text = self.scene.gateway.admin().text("/metrics")?;
        let lines = text.lines().filter(|line| line.starts_with("tidegate_backend_ramp_percent{"));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.fold(100.0, f64::min))
    }
}
