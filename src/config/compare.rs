//! What differs between two versions, in the operator's words, with the risk of each difference and why.
//!
//! Texts are compared as they are written, before filling, so that no secret can be in what is said of them. Tables
//! are matched by their names, a key that is left out equals its default written out, and comments, form and the order
//! of tables are no difference. What fills a placeholder is compared by its hash: that it changed is said, never
//! what it is. The class of a field stands beside it (`config::fields`); what raises one is in `risk`.
//!
//! It judges nothing by itself: what a risk asks of somebody is for the policy to say.

mod pairs;
mod reach;
mod risk;
mod ruled;
mod said;
mod words;
mod written;

use super::diagnostics::Source;
use super::fields::Risk;
use super::plan::Plan;
use super::value::Table;
use super::walk;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// Differences that are listed at most; those of lower risk are left out first. Ten thousand are nothing that a person
/// reads, and a history keeps them.
const MAX_DIFFERENCES: usize = 1000;

/// A version that is compared.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its text, before filling.
    pub text: &'a str,
    /// What it says, with what filled it then. Without one (a text of long ago, whose secrets are gone), what fills its
    /// placeholders is unknown, and which routes it reaches is told by what is written.
    pub plan: Option<&'a Plan>,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The highest risk of a difference; low when nothing differs.
    pub risk: Risk,
    /// The differences, the riskiest first.
    pub differences: Vec<Difference>,
    /// How many more there are.
    #[serde(default)]
    pub omitted: usize,
    /// The routes whose requests may notice: their own table, their upstream, their auth or its upstream differs.
    pub routes: Vec<RouteChange>,
    /// Every route may notice: the process or a listener differs, or it cannot be told which do.
    pub everything: bool,
    /// The longest timeout of a route among those, on either side; zero if there is none.
    #[serde(rename = "longest_timeout_seconds", with = "seconds")]
    pub longest_timeout: Duration,
    /// A listener comes, goes or differs.
    pub touches_listeners: bool,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where, with the names of tables: `upstreams.orders.backends.b.address`.
    pub path: String,
    /// What, in a sentence.
    pub what: String,
    /// What the earlier version says, as it is written; nothing where it says nothing, or it had better not be shown.
    pub before: Option<String>,
    /// What the later version says.
    pub after: Option<String>,
    /// How dangerous it is.
    pub risk: Risk,
    /// Why that is.
    pub why: String,
}

/// A route whose requests may notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// Its name, as metrics have it. Never shown: it may be filled in.
    #[serde(skip)]
    pub name: Arc<str>,
    /// Its name, as it is written.
    #[serde(rename = "name")]
    pub written: String,
    /// Only the later version has it.
    pub new: bool,
    /// Only the earlier version has it.
    pub removed: bool,
}

/// What differs between two versions.
///
/// Takes as long as parsing both texts, and touches neither files nor network.
pub fn compare(before: Side<'_>, after: Side<'_>) -> Comparison {
    let ends = [End::of(before), End::of(after)];
    let changes = pairs::changes(&ends);
    let judge = risk::Judge::new(&ends, &changes);
    let mut differences: Vec<Difference> = changes
        .iter()
        .map(|change| {
            let (risk, why) = judge.weigh(change);
            let shown = |said: &Option<said::Said>| said.as_ref().and_then(|said| said.shown.clone());
            Difference {
                path: words::path(&change.path),
                what: words::sentence(change),
                before: shown(&change.before),
                after: shown(&change.after),
                risk,
                why,
            }
        })
        .collect();
    differences.sort_by(|a, b| (Reverse(a.risk), &a.path).cmp(&(Reverse(b.risk), &b.path)));
    let omitted = differences.len().saturating_sub(MAX_DIFFERENCES);
    let risk = differences.first().map_or(Risk::Low, |first| first.risk);
    let touches =
        |table: &str| changes.iter().any(|change| change.path.first().is_some_and(|it| it.is(table)));
    let touches_listeners = touches("listeners");
    differences.truncate(MAX_DIFFERENCES);
    let reach = reach::reach(&ends, &changes, touches("gateway") || touches_listeners);
    Comparison {
        risk,
        differences,
        omitted,
        routes: reach.routes,
        everything: reach.everything,
        longest_timeout: reach.longest_timeout,
        touches_listeners,
    }
}

/// One of two versions, walked.
struct End<'a> {
    source: Source,
    root: Table,
    plan: Option<&'a Plan>,
}

impl<'a> End<'a> {
    fn of(side: Side<'a>) -> End<'a> {
        let source = Source { name: String::new(), text: side.text.to_owned() };
        let root = walk::written(&source);
        End { source, root, plan: side.plan }
    }
}

impl Comparison {
    /// Nothing differs but comments, form and order.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// How many there are of a risk among those that are listed.
    pub fn count(&self, risk: Risk) -> usize {
        self.differences.iter().filter(|difference| difference.risk == risk).count()
    }
}

/// Times as seconds.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
