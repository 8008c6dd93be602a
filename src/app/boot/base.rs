//! The version that a start falls back to: what ran, unless it was to be confirmed and was not, or did not stay up; and
//! if that cannot be read any more, the good one before it.

use super::Surroundings;
use crate::config::plan::Plan;
use crate::control::Cause;
use crate::control::origin::{Kept, Origin};
use crate::control::rollback::within;
use crate::control::sources::{self, understood};
use crate::control::store::ledger::{Barred, Ref, Why};
use crate::control::store::materials::Materials;
use crate::control::store::record::{Good, Record};
use crate::telemetry::metrics::RollbackCause;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a start waits for what fills a version that was good before: what was kept is as good.
const SOON: Duration = Duration::from_secs(1);

/// A version that was active before.
pub(super) struct Base {
    /// Its number and hash.
    pub(super) name: Ref,
    /// Its text.
    pub(super) text: Arc<str>,
    /// What it says.
    pub(super) plan: Plan,
    /// Where it came from, and over which text of the file it stands.
    pub(super) kept: Kept,
    /// What it was made of.
    pub(super) materials: Arc<Materials>,
    /// The version before it.
    pub(super) parent: Option<u64>,
    /// Why it is not the one that ran, or is not as it was.
    pub(super) degraded: Option<String>,
    /// The version that was left for it.
    pub(super) left: Option<Left>,
}

/// A version that is taken back by a start.
pub(super) struct Left {
    name: Ref,
    cause: RollbackCause,
}

impl Base {
    /// Looks for it.
    pub(super) fn find(
        record: &Record,
        file: &Path,
        environment: &Surroundings,
        now_ms: i64,
    ) -> Option<Base> {
        let ran = record.ledger.active.clone()?;
        let left = |cause| Left { name: ran.clone(), cause };
        if let Some(confirm) = record.ledger.confirm.as_ref().filter(|confirm| confirm.number == ran.number)
            && let Some(base) = record
                .named(&confirm.return_to)
                .and_then(|good| Base::of(good, record, file, environment).ok())
        {
            let why = format!("version {} was not confirmed before the process ended", ran.number);
            return Some(base.instead(why, left(RollbackCause::Unconfirmed)));
        }
        if record.ledger.is_crash_loop(ran.number, now_ms) {
            let mut older = record.candidates(ran.number);
            if let Some(base) = older.find_map(|good| Base::of(good, record, file, environment).ok()) {
                let why = format!(
                    "version {} did not stay up: three starts in five minutes without a minute of readiness",
                    ran.number
                );
                return Some(base.instead(why, left(RollbackCause::CrashLoop)));
            }
        }
        Base::standing(record, &ran, file, environment)
    }

    /// What ran, else the last good version, else the next older one that can be read.
    fn standing(record: &Record, ran: &Ref, file: &Path, environment: &Surroundings) -> Option<Base> {
        let mut trouble = Vec::new();
        let mut tried = |good: &Good| {
            let base = Base::of(good, record, file, environment);
            base.map_err(|why| trouble.push(format!("version {} cannot start: {why}", good.facts.number)))
                .ok()
        };
        let newest = record.named(ran).into_iter().chain(record.last_good());
        let found = newest.chain(record.candidates(ran.number)).find_map(&mut tried)?;
        let degraded = (found.name != *ran).then(|| trouble.join("; "));
        Some(Base { degraded: degraded.filter(|why| !why.is_empty()).or(found.degraded), ..found })
    }

    fn of(good: &Good, record: &Record, file: &Path, environment: &Surroundings) -> Result<Base, String> {
        let now = values(&good.text, file, environment);
        let (mut plan, notices) = understood(&good.text, file, &now, &good.materials)?;
        // [admin] is never rolled back.
        let admin = record
            .admin
            .as_ref()
            .and_then(|text| understood(text, file, &values(text, file, environment), &good.materials).ok());
        if let Some((owner, _)) = admin {
            plan.admin = owner.admin;
        }
        // Whatever comes in place of what ran stands over the file as that did: nobody changed the file.
        let standing = record.active.as_ref().map(|active| &active.kept);
        let overruled = standing.and_then(Kept::overruled);
        let kept = standing
            .filter(|kept| kept.hash == good.facts.hash)
            .map_or_else(|| Kept::of(&good.text, &good.facts.origin, overruled), Kept::clone);
        Ok(Base {
            name: good.name(),
            text: good.text.clone(),
            plan,
            kept,
            materials: Arc::new(good.materials.with(now)),
            parent: good.facts.parent,
            degraded: (!notices.is_empty()).then(|| notices.join(" ")),
            left: None,
        })
    }

    fn instead(self, why: String, left: Left) -> Base {
        let told = format!("running version {}, because {why}", self.name.number);
        let origin = Origin::now(Cause::Rollback, Some("tidegate".into()), Some(why));
        let kept = Kept::of(&self.text, &origin, self.kept.overruled());
        Base { degraded: Some(told), left: Some(left), kept, ..self }
    }

    /// Writes down what is taken back by it, if anything is, and says on whose account.
    pub(super) fn leave(&mut self, record: &mut Record) -> Option<(Ref, RollbackCause)> {
        let left = self.left.take()?;
        let told = (left.name.clone(), left.cause);
        left.note(record, &self.name);
        Some(told)
    }

    /// Somebody decided for it over just this text of the file.
    pub(super) fn overrules(&self, file: blake3::Hash) -> bool {
        self.kept.overruled() == Some(file) && file.to_hex().as_str() != self.name.hash
    }

    /// What the file says of the same text now, with the `[admin]` that holds.
    pub(super) fn with_admin_of(&self, plan: Plan) -> Plan {
        Plan { admin: self.plan.admin.clone(), ..plan }
    }
}

/// What fills a text now, if that can be read soon.
fn values(text: &Arc<str>, file: &Path, environment: &Surroundings) -> Materials {
    let (text, file, environment) = (text.clone(), file.to_owned(), environment.clone());
    let read = move || sources::values(&text, &file, &*environment);
    within(Instant::now() + SOON, read).unwrap_or_default()
}

impl Left {
    /// Writes down that it is taken back.
    fn note(self, record: &mut Record, to: &Ref) {
        let why = match self.cause {
            RollbackCause::CrashLoop => Why::CrashLoop,
            _ => Why::Unconfirmed,
        };
        let at = Origin::now(Cause::Boot, None, None).since;
        record.mark_reverted(self.name.number);
        record.ledger.bar(Barred { hash: self.name.hash, number: self.name.number, why, at });
        record.ledger.last_good = Some(to.clone());
        record.ledger.confirmed = Some(to.clone());
        record.ledger.confirm = None;
        record.ledger.pending = None;
    }
}
