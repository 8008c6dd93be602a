//! The risk of a difference, and why: the class beside the field, raised by what the field says of itself and by what
//! takes more than one field to see.
//!
//! Nothing lowers a class. Where a value is filled in, how much more it is cannot be known, so it counts as the worst
//! that the field can do: a guess that shows low where it is high would be worse than one that asks a person.

use super::End;
use super::pairs::{Change, Event, Step};
use super::said::Said;
use crate::config::fields::{Kind, Rises, Risk};
use crate::config::value::{Data, Table};
use std::collections::{HashMap, HashSet};

/// What takes more than one field to see.
pub(super) struct Judge<'a> {
    /// Upstreams that an auth asks, in either version.
    asked: HashSet<&'a str>,
    /// Upstreams most of whose backends are others: how many of how many.
    replaced: HashMap<&'a str, (usize, usize)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(ends: &'a [End<'_>; 2], changes: &[Change]) -> Self {
        let asked =
            ends.iter().flat_map(|end| end.root.tables("auth")).filter_map(|auth| auth.text("upstream"));
        // Only where something of the kind differs: a plan has ten thousand backends that do not.
        let touched: HashSet<&str> = changes.iter().filter_map(|change| upstream_of(&change.path)).collect();
        let [then, now] = [&ends[0], &ends[1]].map(|end| upstreams(end, &touched));
        let replaced = now.iter().filter_map(|(name, table)| {
            let (out_of, others) = others(then.get(name)?, table);
            (others * 2 > out_of).then_some((*name, (others, out_of)))
        });
        Judge { asked: asked.collect(), replaced: replaced.collect() }
    }

    /// The risk of a difference, and why.
    pub(super) fn weigh(&self, change: &Change) -> (Risk, String) {
        let raised = self.across(change).or_else(|| rises(change)).or_else(|| where_it_stands(change));
        match raised {
            Some(why) => (Risk::High, why),
            None => (change.field.risk, reason(change).to_owned()),
        }
    }

    /// What the difference means among others.
    fn across(&self, change: &Change) -> Option<String> {
        let upstream = upstream_of(&change.path)?;
        if !change.path.iter().any(|step| step.is("backends")) {
            return None;
        }
        if self.asked.contains(upstream) {
            return Some(
                "an auth asks this upstream: what hangs here holds up every route behind it".to_owned(),
            );
        }
        let (others, out_of) = self.replaced.get(upstream)?;
        let is_weight = change.path.last().is_some_and(|step| step.is("weight"));
        (!is_weight).then(|| {
            format!("{others} of {out_of} backends are others than before: nobody knows how they serve")
        })
    }
}

/// The name of the upstream that a path leads into.
fn upstream_of(path: &[Step]) -> Option<&str> {
    match path {
        [Step::Key("upstreams"), Step::Name(name), ..] => Some(name),
        _ => None,
    }
}

fn upstreams<'a>(end: &'a End<'_>, wanted: &HashSet<&str>) -> HashMap<&'a str, &'a Table> {
    let named = end.root.tables("upstreams").filter_map(|table| Some((table.text("name")?, table)));
    named.filter(|(name, _)| wanted.contains(name)).collect()
}

/// Out of how many backends how many are others: gone from where they were, or come where nobody was.
fn others(before: &Table, after: &Table) -> (usize, usize) {
    let addresses = |table: &Table| -> HashSet<String> {
        let of = table.tables("backends").filter_map(|backend| match &backend.get("address")?.data {
            Data::Endpoint(address) => Some(address.to_string()),
            Data::Text(text) => Some(text.clone()),
            _ => None,
        });
        of.collect()
    };
    let (before, after) = (addresses(before), addresses(after));
    let (gone, come) = (before.difference(&after).count(), after.difference(&before).count());
    match gone * after.len() >= come * before.len() {
        true => (before.len(), gone),
        false => (after.len(), come),
    }
}

/// What the field says of itself.
fn rises(change: &Change) -> Option<String> {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    let removed = change.event == Event::Removed;
    let is_filled = |said: Option<&Said>| said.is_some_and(|said| said.filled);
    let rises = change.field.rises;
    if !matches!(rises, Rises::Never | Rises::Removed) && (is_filled(before) || is_filled(after)) {
        return Some(
            "what is filled in is not known here, so this counts as the worst that it can be".to_owned(),
        );
    }
    let numbers = || Some((before?.amounts.first()?, after?.amounts.first()?));
    let words = || Some((before?.parts.first()?.as_str(), after?.parts.first()?.as_str()));
    let why = match rises {
        Rises::Never => return None,
        Rises::Doubled if removed => "the bound is removed",
        Rises::Doubled => {
            let (before, after) = numbers()?;
            if *after <= *before * 2.0 {
                return None;
            }
            doubled(change)
        }
        Rises::Grows => numbers().filter(|(before, after)| after > before).map(|_| LOOSER)?,
        Rises::Shrinks => numbers().filter(|(before, after)| after < before).map(|_| LOOSER)?,
        Rises::Becomes(word) => words().filter(|(_, after)| *after == word).map(|_| LOOSER)?,
        Rises::Touches(word) => words()
            .filter(|(before, after)| *before == word || *after == word)
            .map(|_| "it begins to refuse requests of this upstream, or ceases to")?,
        Rises::Weakens(order) => {
            let place = |word: &str| order.iter().position(|known| *known == word);
            words().filter(|(before, after)| place(after) > place(before)).map(|_| LOOSER)?
        }
        Rises::Leaps => leaps(before?, after?).then_some("it reaches more at once than before")?,
        Rises::Loses => {
            let (before, after) = (before?, after?);
            let lost = before.parts.iter().any(|part| !after.parts.contains(part));
            lost.then_some("what was kept out of the log may stand in it")?
        }
        Rises::Removed if removed => match change.path.first() {
            Some(step) if step.is("routes") => "its requests go to another route, or get 404",
            _ => LOOSER,
        },
        Rises::Removed => return None,
    };
    Some(why.to_owned())
}

/// Why a relaxed rule is a risk of its own.
const LOOSER: &str = "a rule that guards against bad changes or bad backends is relaxed";

fn doubled(change: &Change) -> &'static str {
    match change.field.kind {
        Kind::Duration(..) => "raised to more than double: what hangs holds its places so much longer",
        _ => "raised to more than double: what lies behind may not bear it, and only load will show",
    }
}

fn leaps(before: &Said, after: &Said) -> bool {
    let (before, after) = (&before.amounts, &after.amounts);
    after.len() < before.len() || before.iter().zip(after).any(|(before, after)| after > before)
}

/// What a value means by itself.
fn where_it_stands(change: &Change) -> Option<String> {
    let says =
        |word: &str| change.after.as_ref().is_some_and(|said| said.parts.iter().any(|part| part == word));
    let why = match change.path.last()? {
        step if step.is("on_error") && says("allow") => {
            "without a decision requests pass unverified, whoever sends them"
        }
        step if step.is("client_ca") && change.event == Event::Removed => {
            "clients need no certificate any more"
        }
        step if step.is("tls") && change.event == Event::Removed => {
            "nothing is encrypted or verified here any more"
        }
        step if step.is("auth") && change.path.len() > 1 && change.event == Event::Removed => {
            "requests pass without being asked who they are"
        }
        _ => return None,
    };
    Some(why.to_owned())
}

/// Why a difference has the class that stands beside its field.
fn reason(change: &Change) -> &'static str {
    let key = change.path.iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(*key),
        Step::Name(_) => None,
    });
    let table = match change.path.first() {
        Some(Step::Key(table)) => *table,
        _ => "",
    };
    let inside = |wanted: &str| change.path.iter().any(|step| step.is(wanted));
    match (table, key.unwrap_or_default()) {
        ("admin", _) => "it decides who may operate the gateway; it is never staged and never rolled back",
        ("listeners", _) => "every client that connects here may notice, at the last stage, all at once",
        ("auth", _) if change.field.risk == Risk::High => "it decides who may pass",
        _ if inside("tls") => "it decides whom the gateway trusts, and who trusts it",
        ("upstreams", "address") => "requests go to another server",
        ("upstreams", "weight") => "it carries another share of the requests",
        ("upstreams", "backends") => "other servers share the requests",
        ("upstreams", "host" | "protocol") => "every request to this upstream is sent in another way",
        ("upstreams", "upstreams") => "nothing goes to an upstream but by routes and auths",
        ("routes", "routes") => {
            "it takes the requests that it matches, also from routes that match less exactly"
        }
        ("routes", "auth") => "others decide who may pass",
        ("routes", "upstream" | "respond" | "redirect") => "its requests are answered elsewhere",
        ("routes", "request_headers" | "set" | "remove") => "backends and clients may rely on these headers",
        ("rollout", _) if change.field.risk == Risk::Low => "nothing is relaxed by it",
        ("rollout", _) => "it decides how the next changes reach clients",
        ("notify" | "access_log" | "incidents", _) => "it reaches observers only",
        ("status_page", _) => "it is what everyone may read of this gateway",
        ("gateway", _) => bound(change).unwrap_or("it holds for every request of the process"),
        _ => bound(change).unwrap_or(match change.field.risk {
            Risk::Low => "no request notices it",
            Risk::Medium => "it reaches some requests",
            Risk::High => "it may reach every request of its table",
        }),
    }
}

/// A bound that moves by less than would be high risk.
fn bound(change: &Change) -> Option<&'static str> {
    if change.field.rises != Rises::Doubled {
        return None;
    }
    let amount = |said: &Option<Said>| said.as_ref()?.amounts.first().copied();
    Some(match (amount(&change.before), amount(&change.after), &change.field.kind) {
        (Some(before), Some(after), Kind::Duration(..)) if after < before => {
            "lowered: what takes longer is given up, which the guard sees at the first stage"
        }
        (Some(before), Some(after), _) if after < before => {
            "lowered: more is refused, which clients are told and the guard sees at the first stage"
        }
        (None, ..) => "a bound where there was none: what is beyond it is refused, which the guard sees",
        _ => "raised, to not more than double",
    })
}
