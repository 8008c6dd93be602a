//! What is known of the certificates in use, and what operators have to be told of them: each content that
//! cannot be used once, each end that comes near once a day.
//!
//! A pure ledger: it reads no file and no clock, and holds nothing for a name that is not configured.

use crate::control::condition::{About, Condition};
use crate::control::view::{CertificateView, TlsView};
use crate::upstream::certificate::{CertificateFacts, rfc3339};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// From so long before its end a certificate is warned about, in seconds: 14 days.
const SOON: i64 = 14 * DAY;
/// How often, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// Whose certificates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A listener, by name.
    Listener(Arc<str>),
    /// An upstream, by name: what its backends are shown and trusted by.
    Upstream(Arc<str>),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Listener(name) => write!(f, "listener {name}"),
            Owner::Upstream(name) => write!(f, "upstream {name}"),
        }
    }
}

/// What a look at an owner's files found.
#[derive(Clone, Debug)]
pub struct Look {
    /// Whose.
    pub owner: Owner,
    /// The certificates in use after it.
    pub certificates: Vec<CertificateFacts>,
    /// Whether they are new, or why the files are not used.
    pub renewed: Result<bool, String>,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// New content is in use; with the first end among its certificates, in seconds since 1970.
    Renewed(Owner, Option<i64>),
    /// New content cannot be used, for this reason.
    Refused(Owner, String),
    /// This certificate ends soon, or has ended.
    Expires(Owner, CertificateFacts),
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Owner, Entry>,
    /// Keys that others can read, told of once.
    open_keys: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct Entry {
    certificates: Vec<CertificateFacts>,
    refused: Option<String>,
    failures: u64,
    /// When which end was last warned about, in seconds since 1970.
    warned: BTreeMap<(PathBuf, i64), i64>,
}

impl Ledger {
    /// Takes in one look at everything that is configured, at `now` (seconds since 1970).
    pub fn take_in(&mut self, looks: Vec<Look>, now: i64) -> Vec<News> {
        let mut news = Vec::new();
        let mut before = std::mem::take(&mut self.entries);
        for look in looks {
            let mut entry = before.remove(&look.owner).unwrap_or_default();
            entry.certificates = look.certificates;
            news.extend(entry.outcome(&look.owner, look.renewed));
            news.extend(entry.ends(&look.owner, now));
            self.entries.insert(look.owner, entry);
        }
        news
    }

    /// The keys that others can read: those that nobody was told of yet.
    pub fn newly_open(&mut self, keys: BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let new = keys.difference(&self.open_keys).cloned().collect();
        self.open_keys = keys;
        new
    }

    /// What a person should know now, a sentence each.
    pub fn conditions(&self, now: i64) -> Vec<Condition> {
        let sentences = |(owner, entry): (&Owner, &Entry)| {
            let refused = entry.refused.iter();
            let refused =
                refused.map(|why| format!("{owner}: its certificate files are not used as they are: {why}"));
            let refused = refused.map(|why| About::CertificateRefused.says(why));
            let ended = entry.certificates.iter().filter(|certificate| certificate.not_after < now);
            let ended = ended.map(|certificate| {
                let (path, end) = (certificate.path.display(), rfc3339(certificate.not_after));
                About::CertificateExpired.says(format!("{owner}: the certificate {path} expired at {end}"))
            });
            refused.chain(ended).collect::<Vec<_>>()
        };
        self.entries.iter().flat_map(sentences).collect()
    }

    /// One owner's part, if it has certificates.
    pub fn view(&self, owner: &Owner) -> Option<TlsView> {
        let entry = self.entries.get(owner)?;
        let certificate = |facts: &CertificateFacts| CertificateView {
            certificate: facts.path.display().to_string(),
            names: facts.names.clone(),
            not_after: rfc3339(facts.not_after),
            not_after_seconds: facts.not_after,
        };
        Some(TlsView {
            certificates: entry.certificates.iter().map(certificate).collect(),
            refused: entry.refused.clone(),
            reload_failures: entry.failures,
        })
    }
}

impl Entry {
    fn outcome(&mut self, owner: &Owner, renewed: Result<bool, String>) -> Option<News> {
        match renewed {
            Ok(renewed) => {
                self.refused = None;
                let first_end = self.certificates.iter().map(|certificate| certificate.not_after).min();
                renewed.then(|| News::Renewed(owner.clone(), first_end))
            }
            Err(why) if self.refused.as_ref() == Some(&why) => None,
            Err(why) => {
                self.refused = Some(why.clone());
                self.failures += 1;
                Some(News::Refused(owner.clone(), why))
            }
        }
    }

    fn ends(&mut self, owner: &Owner, now: i64) -> Vec<News> {
        let mut news = Vec::new();
        let mut warned = BTreeMap::new();
        for certificate in self.certificates.iter().filter(|it| it.not_after.saturating_sub(now) < SOON) {
            let key = (certificate.path.clone(), certificate.not_after);
            let last = self.warned.get(&key).copied();
            let due = last.is_none_or(|last| now.saturating_sub(last) >= DAY);
            // Two entries may name the same file.
            if due && !warned.contains_key(&key) {
                news.push(News::Expires(owner.clone(), certificate.clone()));
            }
            warned.insert(key, if due { now } else { last.unwrap_or(now) });
        }
        self.warned = warned;
        news
    }
}

/// Whether a file's permissions let others than its owner read or replace it.
pub fn is_open_to_others(mode: u32) -> bool {
    mode & 0o077 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn edge() -> Owner {
        Owner::Listener("edge".into())
    }

    fn look(ends: &[i64], renewed: Result<bool, &str>) -> Vec<Look> {
        let facts = |end: &i64| CertificateFacts {
            path: format!("{end}.pem").into(),
            names: vec!["edge.test".into()],
            not_before: 0,
            not_after: *end,
        };
        let certificates = ends.iter().map(facts).collect();
        vec![Look { owner: edge(), certificates, renewed: renewed.map_err(str::to_owned) }]
    }

    #[test]
    fn files_that_cannot_be_used_are_told_once_and_forgotten_when_they_can() {
        let mut ledger = Ledger::default();
        let far = NOW + 100 * DAY;
        let mut refused = |why| ledger.take_in(look(&[far], Err(why)), NOW).len();
        assert_eq!([refused("bad"), refused("bad"), refused("worse")], [1, 0, 1]);
        assert_eq!(ledger.conditions(NOW).len(), 1);
        assert_eq!(ledger.take_in(look(&[far], Ok(true)), NOW), [News::Renewed(edge(), Some(far))]);
        assert!(ledger.conditions(NOW).is_empty());
        let view = ledger.view(&edge()).expect("known");
        assert_eq!((view.refused, view.reload_failures), (None, 2));
        ledger.take_in(vec![], NOW);
        assert_eq!(ledger.view(&edge()), None, "a name that is gone leaves nothing");
    }

    #[test]
    fn an_end_that_comes_near_is_told_once_a_day() {
        let mut ledger = Ledger::default();
        let end = NOW + SOON;
        let mut told = |now| ledger.take_in(look(&[end, end, end + 90 * DAY], Ok(false)), now).len();
        assert_eq!(told(NOW), 0);
        let days = (0..20 * 24 * 120).map(|look| told(NOW + 1 + look * 30));
        assert_eq!(days.sum::<usize>(), 20, "looked at every 30 s for 20 days");
        assert_eq!(ledger.conditions(NOW).len(), 0, "an end to come is no reason yet");
        assert_eq!(ledger.conditions(end + 1).len(), 2);
        // Its successor ends soon as well.
        assert_eq!(ledger.take_in(look(&[end + 1], Ok(true)), NOW + 20 * DAY).len(), 2);
    }

    #[test]
    fn an_open_key_is_told_of_once() {
        let mut ledger = Ledger::default();
        let key = || BTreeSet::from([PathBuf::from("a.key")]);
        assert_eq!(ledger.newly_open(key()).len(), 1);
        assert_eq!(ledger.newly_open(key()).len(), 0);
        assert!(is_open_to_others(0o640) && is_open_to_others(0o604) && !is_open_to_others(0o600));
    }
}
