//! (b) The bad address is forced through with broken glass: only what needs the auth service suffers, operators see
//! everything, and the guard or one command ends it.

use super::course::{How, Pushed};
use super::{Drill, percent};
use crate::cli::drill::crowd::Kind;
use std::time::{Duration, Instant};

/// The guard may need so long; then somebody rolls back.
const GUARD: Duration = Duration::from_secs(6);
/// For the forced version to become active.
const ACTIVE: Duration = Duration::from_secs(10);
/// From the end of a change to the moment when its reason is told.
const WRITTEN_DOWN: Duration = Duration::from_secs(2);
/// What must be served of routes without auth, and of identities that are known.
const SERVED: f64 = 0.999;
/// What an operator's question may take: in the middle, and at worst.
const USUAL: Duration = Duration::from_millis(100);
const WORST: Duration = Duration::from_secs(2);
/// What monitoring asks for.
const WATCHED: [&str; 3] = ["/metrics", "/v1/status", "/readyz"];

impl Drill<'_> {
    /// Forces it, watches, and ends it.
    pub(super) fn forced(&mut self) -> anyhow::Result<()> {
        let from = Instant::now();
        let silent = self.scene.silence.server()?.to_string();
        self.report.tell("(b) the same address is forced through: --now --break-glass");
        let text = self.scene.bad(&silent);
        let number = match self.push(&text, &How::BrokenGlass, "drill: forced through")? {
            Pushed::Taken(number) => number,
            Pushed::Refused(why) => anyhow::bail!("the gateway refuses broken glass: {why}"),
        };
        let active = self.told.wait_for(ACTIVE, || Ok((!self.is_good()?).then(Instant::now)))?;
        self.report.tell("    it is active, for everyone");
        let mut looks = Vec::new();
        let guarded = self.told.wait_for(GUARD, || {
            for path in WATCHED {
                let began = Instant::now();
                let answered = self.scene.gateway.admin().text(path);
                looks.push((began.elapsed(), answered.is_ok()));
            }
            Ok(self.is_good()?.then_some(()))
        })?;
        let by = match guarded {
            Some(()) => "the guard",
            None => {
                self.scene.gateway.roll_back("drill: it hurts")?;
                "one command"
            }
        };
        let (to, good) = (Instant::now(), self.is_good()?);
        let took = active.map_or(to - from, |active| to - active);
        let why = match guarded {
            Some(()) => self.follow(number, WRITTEN_DOWN)?.why,
            None => "it was told to".to_owned(),
        };
        self.report.tell(format!("    reverted by {by} after {:.1} s: {why}", took.as_secs_f64()));
        self.judge_forced(from, to, &mut looks)?;
        let said = format!("reverted by {by}, {:.1} s after it was active", took.as_secs_f64());
        self.report.bar("b", "forced_is_reverted", good && active.is_some(), said);
        self.part("b", "the silent address, forced through", from)?;
        self.restores()
    }

    fn judge_forced(
        &mut self,
        from: Instant,
        to: Instant,
        looks: &mut [(Duration, bool)],
    ) -> anyhow::Result<()> {
        let public = self.tally(&[Kind::Public], from, to)?;
        let said = format!(
            "{} of {} clients of routes without auth were lost, of at most {}",
            public.lost,
            public.asked,
            percent(1.0 - SERVED)
        );
        self.report.bar("b", "routes_without_auth_notice_nothing", public.lost_share() <= 1.0 - SERVED, said);
        let known = self.tally(&[Kind::Known], from, to)?;
        let served = 1.0 - known.lost_share();
        let (holds, note) = match self.scene.known_outlast {
            true => (served >= SERVED, ""),
            false => (true, "; their auth is not set to outlast it (on_error = \"stale\" and a cache)"),
        };
        let said = format!("{} of {} clients with a known identity were lost{note}", known.lost, known.asked);
        self.report.bar("b", "known_identities_keep_working", holds, said);
        looks.sort_unstable();
        let slowest = looks.last().map_or(Duration::MAX, |look| look.0);
        let usual = looks.get(looks.len() / 2).map_or(Duration::MAX, |look| look.0);
        let answered = looks.iter().filter(|look| look.1).count();
        let said = format!(
            "{answered} of {} looks at /metrics, /v1/status and /readyz were answered, in {:.1} ms (at worst {:.0} ms)",
            looks.len(),
            usual.as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3
        );
        self.report.bar(
            "b",
            "monitoring_answers",
            answered == looks.len() && usual <= USUAL && slowest <= WORST,
            said,
        );
        Ok(())
    }
}
