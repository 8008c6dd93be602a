//! Whether a backend came back as another process (`design.md`, "Restart detection"; `overload.md` 2(vii)).
//!
//! One [`Detector`] for each backend looks at its signs ten times a second. The first sign of anything is no change,
//! so starting the gateway notices nothing, and a backend that was never up cannot come back. Idle closes and
//! GOAWAY take no part. What is noticed is an incarnation; whether it also ramps is said with it: connections that
//! broke and were made again at once do not, and nothing does twice within a minute except a new boot id.
//!
//! A process that is gone leaves no connection behind. So while connections from before are alive, a refused connect
//! is a full backlog or a listener that moved, and no restart.

pub mod boots;

use crate::upstream::vitals::Signs;
use boots::{BootIds, Heard};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One ramp for a backend in this time, unless its boot id is new.
const ONE_RAMP: Duration = Duration::from_secs(60);
/// Connections that break within this time broke together.
const TOGETHER: Duration = Duration::from_secs(1);
/// So many at least.
const LEAST_LOST: u64 = 2;
/// How long after a connect was accepted again connections of before may live before it was no restart after all:
/// a process that leaves in good order answers what it has.
const LEAVING: Duration = Duration::from_secs(10);

/// What is seen of one backend at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// What the cores noticed.
    pub signs: Signs,
    /// What active checks say; nothing where there are none.
    pub health: Option<Health>,
    /// Its name leads to several addresses: what one refuses another may accept.
    pub several: bool,
    /// Its name leads to an address that is new.
    pub moved: bool,
}

/// What active checks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is up.
    Up,
    /// It is down.
    Down,
    /// It is down only because its answers were late or did not come: whoever is slow or hangs has not restarted.
    Late,
}

/// What told of the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All connections broke while they were used, and the next connect was accepted.
    ConnectionsLost,
    /// Connects were refused, and then accepted.
    Refused,
    /// Active checks found it down, and then up.
    Health,
    /// Its boot id is another one.
    BootId,
    /// Its name leads to a new address.
    NewAddress,
}

impl Cause {
    /// The word in events and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::ConnectionsLost => "connections_lost",
            Cause::Refused => "refused_then_accepted",
            Cause::Health => "health_down_then_up",
            Cause::BootId => "boot_id",
            Cause::NewAddress => "new_address",
        }
    }

    /// The same as half a sentence for a person.
    pub const fn told(self) -> &'static str {
        match self {
            Cause::ConnectionsLost => "its connections broke at once and were accepted again",
            Cause::Refused => "it refused connections and accepts them again",
            Cause::Health => "its health checks failed and pass again",
            Cause::BootId => "its boot id is a new one",
            Cause::NewAddress => "its name leads to a new address",
        }
    }
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is another process than before.
    Restarted {
        /// What told of it.
        cause: Cause,
        /// It is to be ramped; else it is only counted.
        ramps: bool,
    },
    /// It was no restart: the boot id is the same. What was begun for it ends.
    Withdrawn,
    /// Boot ids come back: several servers share its address, and what was begun for a boot id ends.
    Shared,
}

/// Notices when one backend restarts.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    before: Option<Signs>,
    away: Option<Away>,
    losses: VecDeque<Loss>,
    /// A connection broke and none was made since.
    is_broken: bool,
    /// What active checks said last.
    health: Option<Health>,
    /// They found it down since then.
    down_since: Option<Instant>,
    /// They found it up, or it was connected to, in this process.
    was_up: bool,
    boots: BootIds,
    claim: Option<Claim>,
    ramped: Option<Instant>,
    noticed: Option<Instant>,
}

/// It refused to be connected to.
#[derive(Clone, Copy, Debug)]
struct Away {
    since: Instant,
    /// Connections made before.
    connected: u64,
    /// When it accepted again.
    accepted: Option<Instant>,
}

/// Connections that broke in one look.
#[derive(Clone, Copy, Debug)]
struct Loss {
    at: Instant,
    count: u64,
    /// Connections made before.
    connected: u64,
}

/// A restart that its boot id has not confirmed or denied yet.
#[derive(Clone, Copy, Debug)]
struct Claim {
    boot: u64,
    connected: u64,
    /// The same boot id denies it.
    deniable: bool,
}

impl Detector {
    /// Looks once. At most one thing is noticed at a time, the surest first.
    pub fn look(&mut self, now: Instant, look: &Look) -> Option<Notice> {
        let signs = look.signs;
        let Some(before) = self.before.replace(signs).filter(|before| is_later(&signs, before)) else {
            // Nothing is known of it, or it is spoken to in another way now: this look is what others are held to.
            let noticed = (self.ramped, self.noticed);
            let (was_up, health) = (signs.connected > 0, look.health);
            *self = Detector { before: Some(signs), was_up, health, ..Detector::default() };
            (self.ramped, self.noticed) = noticed;
            self.boots.look(now, signs.boot, 0);
            return None;
        };
        let heard = self.boots.look(now, signs.boot, signs.boots - before.boots);
        let claimed = self.settle_claim(&signs, heard);
        let away = self.look_away(now, &before, look);
        let lost = self.look_lost(now, &before, &signs);
        let healed = self.look_health(now, look.health);
        let broke = |signs: &Signs| signs.lost_at_work.saturating_add(signs.lost_idle);
        self.is_broken =
            signs.connected == before.connected && (self.is_broken || broke(&signs) > broke(&before));
        self.was_up |= signs.connected > 0 || look.health == Some(Health::Up);
        match heard {
            Some(Heard::Shared) => {
                self.claim = None;
                return Some(Notice::Shared);
            }
            // What was noticed a moment ago, in another way, is confirmed by it.
            Some(Heard::New) if !claimed => return Some(self.restarted(now, Cause::BootId, &signs)),
            Some(Heard::New) | None => {}
        }
        if let Some(denied) = self.denied(&signs) {
            return Some(denied);
        }
        let known = signs.boot != 0;
        let cause = [
            (look.moved, Cause::NewAddress),
            (away && !look.several, Cause::Refused),
            (healed, Cause::Health),
            // Where it says who it is, that is asked and not guessed.
            (lost && !look.several && !known, Cause::ConnectionsLost),
        ];
        let (_, cause) = cause.into_iter().find(|(seen, _)| *seen)?;
        Some(self.restarted(now, cause, &signs))
    }

    /// It refuses to be connected to, or its last connections broke, and nobody has been let in since.
    pub fn is_away(&self) -> bool {
        let is_cut_off = self.is_broken && self.before.is_some_and(|signs| signs.established == 0);
        is_cut_off || self.refuses()
    }

    /// It refuses to be connected to, and nobody has been let in since.
    pub fn refuses(&self) -> bool {
        self.away.is_some_and(|away| away.accepted.is_none())
    }

    /// Boot ids take turns: several servers share the address, and boot ids are ignored.
    pub fn is_shared(&self) -> bool {
        self.boots.is_shared()
    }

    fn restarted(&mut self, now: Instant, cause: Cause, signs: &Signs) -> Notice {
        let lately = self.ramped.is_some_and(|at| now.saturating_duration_since(at) < ONE_RAMP);
        let ramps = match cause {
            Cause::ConnectionsLost => false,
            Cause::BootId => true,
            Cause::Refused | Cause::Health | Cause::NewAddress => !lately,
        };
        (self.away, self.noticed) = (None, Some(now));
        self.losses.clear();
        if ramps {
            self.ramped = Some(now);
            let deniable = cause == Cause::Refused;
            let Signs { boot, connected, .. } = *signs;
            // Where no connection told of it, the next one is the first to the new process.
            let connected = connected + u64::from(!deniable);
            let unsaid = boot != 0 && cause != Cause::BootId;
            self.claim = unsaid.then_some(Claim { boot, connected, deniable });
        }
        Notice::Restarted { cause, ramps }
    }

    /// A restart that was claimed is confirmed by a new boot id; then it is not noticed a second time.
    fn settle_claim(&mut self, signs: &Signs, heard: Option<Heard>) -> bool {
        let settled = self.claim.take_if(|claim| claim.boot != signs.boot).is_some();
        settled && heard == Some(Heard::New)
    }

    /// An answer after it carries the same boot id: it was none, where connections alone told of it.
    fn denied(&mut self, signs: &Signs) -> Option<Notice> {
        let claim =
            self.claim.filter(|claim| claim.boot == signs.boot && signs.confirmed >= claim.connected)?;
        self.claim = None;
        if !claim.deniable {
            return None;
        }
        self.ramped = None;
        Some(Notice::Withdrawn)
    }

    /// True when it accepts again after it refused, and nothing of before is left.
    fn look_away(&mut self, now: Instant, before: &Signs, look: &Look) -> bool {
        let signs = &look.signs;
        let refused = signs.refused > before.refused;
        if refused && self.was_up && self.away.is_none() {
            self.away = Some(Away { since: now, connected: before.connected, accepted: None });
        }
        let Some(away) = &mut self.away else { return false };
        // In one look it may have been the other way round; whoever is connected now says which.
        if signs.connected > before.connected && signs.established > 0 {
            away.accepted.get_or_insert(now);
        } else if refused {
            away.accepted = None;
        }
        let Away { since, connected, accepted: Some(accepted) } = *away else { return false };
        let alive = survivors(signs, connected);
        if alive > 0 && now.saturating_duration_since(accepted) < LEAVING {
            return false;
        }
        self.away = None;
        // Another sign has told of it meanwhile.
        alive == 0 && self.noticed.is_none_or(|noticed| noticed < since)
    }

    /// True when all connections broke together while they were used, and the next one is there.
    fn look_lost(&mut self, now: Instant, before: &Signs, signs: &Signs) -> bool {
        let count = signs.lost_at_work - before.lost_at_work;
        if count > 0 {
            self.losses.push_back(Loss { at: now, count, connected: before.connected });
        }
        // Ten looks a second: it stays short.
        self.losses.retain(|loss| now.saturating_duration_since(loss.at) < TOGETHER);
        let Some(first) = self.losses.front() else { return false };
        let lost = self.losses.iter().map(|loss| loss.count).fold(0, u64::saturating_add);
        let replaced = signs.connected > first.connected && signs.established > 0;
        lost >= LEAST_LOST && replaced && survivors(signs, first.connected) == 0 && self.away.is_none()
    }

    /// True when it is up after it was found down, and not only late.
    fn look_health(&mut self, now: Instant, health: Option<Health>) -> bool {
        let before = std::mem::replace(&mut self.health, health);
        match health {
            // Whoever was down when the gateway began was never known to be up.
            Some(Health::Down) if before != Some(Health::Down) && self.was_up => {
                self.down_since.get_or_insert(now);
                false
            }
            // Late after down is still the same outage; late alone is none.
            Some(Health::Down | Health::Late) => false,
            Some(Health::Up) => {
                let since = self.down_since.take();
                since.is_some_and(|since| self.noticed.is_none_or(|noticed| noticed < since))
            }
            None => {
                self.down_since = None;
                false
            }
        }
    }
}

/// Connections that were there when `connected` had been made and are alive, at least.
fn survivors(signs: &Signs, connected: u64) -> u64 {
    u64::from(signs.established).saturating_sub(signs.connected.saturating_sub(connected))
}

/// Counters of the same backend only grow.
fn is_later(now: &Signs, before: &Signs) -> bool {
    let counts = |signs: &Signs| [signs.connected, signs.refused, signs.lost_at_work, signs.boots];
    counts(now).into_iter().zip(counts(before)).all(|(now, before)| now >= before)
}

#[cfg(test)]
mod tests;
