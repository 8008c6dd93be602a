//! What the clients saw: each request with when it was due, when it ended and how.

use super::Kind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Requests that are kept: hours of any drill. What comes after is not counted, and the report says so.
const MOST: usize = 1 << 20;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Ended {
    /// With an answer, and the gateway's reason if it was its own.
    Answer {
        /// Its status.
        status: u16,
        /// `x-tidegate-reason`.
        reason: Option<String>,
    },
    /// No connection, or no whole answer.
    Broken,
    /// No answer before the client's patience ended.
    Late,
    /// The drill itself had too many under way.
    NotSent,
}

impl Ended {
    /// Whether the client got what it came for.
    pub fn is_good(&self) -> bool {
        matches!(self, Ended::Answer { status: 200..300, .. })
    }

    /// In few words.
    pub fn why(&self) -> String {
        match self {
            Ended::Answer { status, reason: Some(reason) } => format!("{status} {reason}"),
            Ended::Answer { status, reason: None } => status.to_string(),
            Ended::Broken => "broken off".to_owned(),
            Ended::Late => "no answer".to_owned(),
            Ended::NotSent => "not sent".to_owned(),
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(in super::super) struct One {
    /// Whose.
    pub kind: Kind,
    /// What it asked for, by its number.
    pub target: u32,
    /// When it should have left.
    pub due: Instant,
    /// When it left.
    pub sent: Instant,
    /// How often it was sent.
    pub tries: u32,
    /// How it ended.
    pub how: Ended,
}

/// One that is over.
#[derive(Clone, Debug)]
pub(in super::super) struct Over {
    /// Which.
    pub one: One,
    /// When.
    pub at: Instant,
}

/// All of them so far.
#[derive(Debug, Default)]
pub(in super::super) struct Seen(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    all: Vec<Over>,
    /// Those under way, by when they were due; there may be several at one moment.
    under_way: BTreeMap<Instant, u64>,
    many: u64,
    /// Those that were not kept.
    forgotten: u64,
}

/// What became of those who were due in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Tally {
    /// Clients who were due.
    pub asked: u64,
    /// Those who did not get what they came for.
    pub lost: u64,
    /// How these ended.
    pub why: BTreeMap<String, u64>,
}

impl Tally {
    fn of(all: &[Over], counts: impl Fn(&Over) -> bool) -> Tally {
        let mut tally = Tally::default();
        for over in all.iter().filter(|over| counts(over)) {
            tally.asked += 1;
            if !over.one.how.is_good() {
                tally.lost += 1;
                *tally.why.entry(over.one.how.why()).or_default() += 1;
            }
        }
        tally
    }

    /// The part that was lost, 0 to 1.
    pub fn lost_share(&self) -> f64 {
        self.lost as f64 / self.asked.max(1) as f64
    }

    /// Both together.
    pub fn add(&mut self, more: &Tally) {
        self.asked += more.asked;
        self.lost += more.lost;
        more.why.iter().for_each(|(why, many)| *self.why.entry(why.clone()).or_default() += many);
    }
}

/// A request under way.
pub(super) struct Turn {
    seen: Arc<Seen>,
    due: Instant,
    others: u64,
    open: bool,
}

impl Seen {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is due.
    pub(super) fn due(self: &Arc<Self>, due: Instant) -> Turn {
        let mut inside = self.inside();
        let others = inside.many;
        inside.many += 1;
        *inside.under_way.entry(due).or_default() += 1;
        Turn { seen: self.clone(), due, others, open: true }
    }

    /// Nobody who was due before `until` is under way.
    pub fn is_settled(&self, until: Instant) -> bool {
        self.inside().under_way.keys().next().is_none_or(|first| *first >= until)
    }

    /// Those of a kind who were due in `[from, to)` and have ended.
    pub fn between(&self, kind: Kind, from: Instant, to: Instant) -> Tally {
        Tally::of(&self.inside().all, |over| {
            over.one.kind == kind && over.one.due >= from && over.one.due < to
        })
    }

    /// All who were due from a moment on and had ended by another: what a gateway can have counted by then.
    pub fn ended_between(&self, from: Instant, by: Instant) -> Tally {
        Tally::of(&self.inside().all, |over| over.one.due >= from && over.at <= by)
    }

    /// When so many of some kinds, who were due after `from`, had been lost.
    pub fn nth_lost(&self, kinds: &[Kind], from: Instant, nth: usize) -> Option<Instant> {
        let inside = self.inside();
        let lost = inside
            .all
            .iter()
            .filter(|it| kinds.contains(&it.one.kind) && it.one.due >= from && !it.one.how.is_good());
        let mut ends: Vec<Instant> = lost.map(|over| over.at).collect();
        ends.sort_unstable();
        ends.get(nth.checked_sub(1)?).copied()
    }

    /// When the last of some kinds that was lost had been due, if any was, of those due in `[from, to)`.
    pub fn last_lost(&self, kinds: &[Kind], from: Instant, to: Instant) -> Option<Instant> {
        let inside = self.inside();
        let ones = inside.all.iter().map(|over| &over.one);
        let lost = ones.filter(|one| kinds.contains(&one.kind) && one.due >= from && one.due < to);
        lost.filter(|one| !one.how.is_good()).map(|one| one.due).max()
    }

    /// Looks at each that was due in `[from, to)` and is over.
    pub fn each(&self, from: Instant, to: Instant, mut look: impl FnMut(&Over)) {
        let inside = self.inside();
        inside.all.iter().filter(|over| over.one.due >= from && over.one.due < to).for_each(&mut look);
    }

    /// Requests that were not kept.
    pub fn forgotten(&self) -> u64 {
        self.inside().forgotten
    }
}

impl Turn {
    /// Others that were under way then.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// It ended.
    pub fn ends(mut self, one: One) {
        let mut inside = self.seen.inside();
        match inside.all.len() {
            MOST.. => inside.forgotten += 1,
            _ => inside.all.push(Over { one, at: Instant::now() }),
        }
        drop(inside);
        self.close();
    }

    fn close(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let mut inside = self.seen.inside();
        inside.many -= 1;
        if let Some(many) = inside.under_way.get_mut(&self.due) {
            *many -= 1;
            if *many == 0 {
                inside.under_way.remove(&self.due);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_was_due_when_and_lost_what_is_counted() {
        let (seen, start) = (Arc::new(Seen::default()), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let good = || Ended::Answer { status: 200, reason: None };
        let shed = Ended::Answer { status: 503, reason: Some("auth_overload".to_owned()) };
        let one = |kind, due, how| One { kind, target: 7, due, sent: due, tries: 1, how };
        seen.due(at(0)).ends(one(Kind::New, at(0), good()));
        seen.due(at(1)).ends(one(Kind::New, at(1), shed));
        seen.due(at(2)).ends(one(Kind::Public, at(2), Ended::Late));
        seen.due(at(3)).ends(one(Kind::New, at(3), Ended::Broken));
        let mut many = 0;
        seen.each(at(1), at(3), |over| many += over.one.target);
        assert_eq!(many, 14);
        let tally = seen.between(Kind::New, at(0), at(3));
        assert_eq!((tally.asked, tally.lost, tally.why.get("503 auth_overload")), (2, 1, Some(&1)));
        assert_eq!(seen.ended_between(at(0), at(0)), Tally::default(), "none had ended before it began");
        assert_eq!(seen.ended_between(at(2), Instant::now()).lost, 2);
        assert!(seen.nth_lost(&[Kind::New], at(0), 2).is_some());
        assert_eq!(seen.nth_lost(&[Kind::New], at(0), 3), None);
        assert_eq!(seen.last_lost(&Kind::ALL, at(0), at(9)), Some(at(3)));
        let waits = seen.due(at(4));
        assert!(seen.is_settled(at(4)) && !seen.is_settled(at(5)));
        assert_eq!(waits.others(), 0);
        drop(waits);
        assert!(seen.is_settled(at(5)));
    }
}
