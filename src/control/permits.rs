//! Who holds the slots: every core is asked at once and waited for together, what they say is sorted and summed
//! here. A core that is stuck is named, never waited for longer than the others.

use crate::server::ledger::{Census, Holding};
use crate::worker::Workers;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long all cores together may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Items of one answer at most.
pub const MAX_ITEMS: usize = 1_000;

/// Clients that are named as the greatest holders.
const TOP_CLIENTS: usize = 20;

/// What stands where a request has no route or no upstream, as in the metrics.
const NONE: &str = "-";

/// Which of them are asked for; what is `None` is no condition.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this upstream.
    pub upstream: Option<String>,
    /// Of this route.
    pub route: Option<String>,
    /// Of this class.
    pub class: Option<String>,
    /// In this phase.
    pub phase: Option<String>,
    /// Of this client.
    pub client: Option<IpAddr>,
    /// Items at most, up to [`MAX_ITEMS`]; the summary is of all.
    pub limit: usize,
}

/// The answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PermitsView {
    /// The oldest first.
    pub items: Vec<PermitView>,
    /// How many match, with those that are not listed.
    pub total: usize,
    /// Not all of them are listed.
    pub truncated: bool,
    /// All of them, counted; the greatest group first.
    pub summary: Vec<PermitGroup>,
    /// Whoever holds most, at most twenty.
    pub clients: Vec<ClientShare>,
    /// Cores that did not answer in time; what they hold is missing.
    pub unanswered: Vec<usize>,
}

/// One holder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PermitView {
    /// `-` where there is none.
    pub upstream: String,
    /// `-` where none matched.
    pub route: String,
    /// `-` where no route matched.
    pub class: String,
    /// The client's address, proxies looked through.
    pub client: String,
    /// How far it has come.
    pub phase: String,
    /// Since its head was complete.
    pub age_seconds: f64,
}

/// Holders that are alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PermitGroup {
    /// `-` where there is none.
    pub upstream: String,
    /// `-` where none matched.
    pub route: String,
    /// `-` where no route matched.
    pub class: String,
    /// How far they have come.
    pub phase: String,
    /// How many.
    pub count: usize,
    /// The oldest.
    pub oldest_seconds: f64,
}

/// What one client holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientShare {
    /// Its address, proxies looked through.
    pub client: String,
    /// How many.
    pub count: usize,
    /// The oldest.
    pub oldest_seconds: f64,
}

/// Asks every core.
pub async fn who_holds(workers: &Workers, filter: &Filter) -> PermitsView {
    let answers = gathered(workers.ask_who_holds(), PATIENCE).await;
    summed(answers, filter, Instant::now())
}

/// The same of all of them, counted and not listed.
pub async fn all_counted(workers: &Workers) -> PermitsView {
    who_holds(workers, &Filter::default()).await
}

/// What the cores answer in time.
async fn gathered(asked: Vec<Option<oneshot::Receiver<Census>>>, patience: Duration) -> Vec<Option<Census>> {
    let end = Instant::now() + patience;
    let answers = asked
        .into_iter()
        .map(|answer| async move { tokio::time::timeout_at(end.into(), answer?).await.ok()?.ok() });
    join_all(answers).await
}

/// What the cores said, in one view; `None` is a core that said nothing.
fn summed(answers: Vec<Option<Census>>, filter: &Filter, now: Instant) -> PermitsView {
    let unanswered = answers.iter().enumerate().filter(|(_, answer)| answer.is_none()).map(|(core, _)| core);
    let unanswered = unanswered.collect();
    let untold: usize = answers.iter().flatten().map(|census| census.total - census.holdings.len()).sum();
    let mut all: Vec<Holding> = answers.into_iter().flatten().flat_map(|census| census.holdings).collect();
    all.retain(|holding| filter.takes(holding));
    all.sort_by_key(|holding| holding.since);
    let limit = filter.limit.min(MAX_ITEMS);
    PermitsView {
        items: all.iter().take(limit).map(|holding| view(holding, now)).collect(),
        total: all.len() + untold,
        truncated: all.len() > limit || untold > 0,
        summary: groups(&all, now),
        clients: clients(&all, now),
        unanswered,
    }
}

impl Filter {
    fn takes(&self, holding: &Holding) -> bool {
        let is = |wanted: &Option<String>, word: &str| wanted.as_ref().is_none_or(|wanted| wanted == word);
        let [upstream, route, class, phase] = words(holding);
        is(&self.upstream, upstream)
            && is(&self.route, route)
            && is(&self.class, class)
            && is(&self.phase, phase)
            && self.client.is_none_or(|client| client.to_canonical() == holding.client.to_canonical())
    }
}

fn words(holding: &Holding) -> [&str; 4] {
    [
        holding.upstream.as_deref().unwrap_or(NONE),
        holding.route.as_deref().unwrap_or(NONE),
        holding.class.map_or(NONE, |class| class.as_str()),
        holding.phase.as_str(),
    ]
}

fn age(since: Instant, now: Instant) -> f64 {
    // Milliseconds are as much as anyone reads.
    now.saturating_duration_since(since).as_millis() as f64 / 1e3
}

fn view(holding: &Holding, now: Instant) -> PermitView {
    let [upstream, route, class, phase] = words(holding).map(str::to_owned);
    let client = holding.client.to_canonical().to_string();
    PermitView { upstream, route, class, client, phase, age_seconds: age(holding.since, now) }
}

/// How many of each kind there are, and since when the oldest; the most first, then the oldest. `all` is sorted by
/// age, so the first of a kind is its oldest.
fn counted<K: Hash + Eq + Ord>(kinds: impl Iterator<Item = (K, Instant)>) -> Vec<(K, usize, Instant)> {
    let mut counts: HashMap<K, (usize, Instant)> = HashMap::new();
    for (kind, since) in kinds {
        match counts.entry(kind) {
            Entry::Occupied(mut known) => known.get_mut().0 += 1,
            Entry::Vacant(new) => drop(new.insert((1, since))),
        }
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(kind, (count, since))| (kind, count, since)).collect();
    counts.sort_by(|a, b| (Reverse(a.1), a.2, &a.0).cmp(&(Reverse(b.1), b.2, &b.0)));
    counts
}

fn groups(all: &[Holding], now: Instant) -> Vec<PermitGroup> {
    let kinds = all.iter().map(|holding| (words(holding), holding.since));
    let group = |(words, count, since): ([&str; 4], usize, Instant)| {
        let [upstream, route, class, phase] = words.map(str::to_owned);
        PermitGroup { upstream, route, class, phase, count, oldest_seconds: age(since, now) }
    };
    counted(kinds).into_iter().map(group).collect()
}

fn clients(all: &[Holding], now: Instant) -> Vec<ClientShare> {
    let kinds = all.iter().map(|holding| (holding.client.to_canonical(), holding.since));
    let share = |(client, count, since): (IpAddr, usize, Instant)| ClientShare {
        client: client.to_string(),
        count,
        oldest_seconds: age(since, now),
    };
    counted(kinds).into_iter().take(TOP_CLIENTS).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Class;
    use crate::server::ledger::Phase;

    fn holding(upstream: &str, client: u8, phase: Phase, since: Instant) -> Holding {
        Holding {
            upstream: Some(upstream.into()),
            route: Some("r".into()),
            class: Some(Class::Default),
            client: [192, 0, 2, client].into(),
            since,
            phase,
        }
    }

    fn census(holdings: Vec<Holding>) -> Option<Census> {
        Some(Census { total: holdings.len(), holdings })
    }

    fn any() -> Filter {
        Filter { limit: MAX_ITEMS, ..Filter::default() }
    }

    #[tokio::test]
    async fn a_core_that_says_nothing_is_named_and_not_waited_for() {
        let ((answer, well), (_kept, stuck)) = (oneshot::channel(), oneshot::channel());
        answer.send(Census::default()).expect("it is waited for");
        let asked = vec![Some(stuck), Some(well), None];
        let answers = gathered(asked, Duration::from_millis(5)).await;
        assert_eq!(summed(answers, &any(), Instant::now()).unanswered, [0, 2]);
    }

    #[test]
    fn the_oldest_come_first_and_everything_is_counted_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let one = vec![
            holding("a", 1, Phase::WaitingForBackend, at(3)),
            holding("a", 1, Phase::WaitingForBackend, at(1)),
        ];
        let other = vec![holding("b", 2, Phase::Zombie, at(2))];
        let view = summed(vec![census(one), None, census(other)], &any(), at(10));
        let ages: Vec<_> = view.items.iter().map(|item| item.age_seconds).collect();
        assert_eq!((ages, view.total, view.truncated), (vec![9.0, 8.0, 7.0], 3, false));
        assert_eq!(view.unanswered, [1]);
        let groups: Vec<_> = view
            .summary
            .iter()
            .map(|group| (group.upstream.as_str(), group.phase.as_str(), group.count, group.oldest_seconds))
            .collect();
        assert_eq!(groups, [("a", "waiting_for_backend", 2, 9.0), ("b", "zombie", 1, 8.0)]);
        assert_eq!((view.clients[0].client.as_str(), view.clients[0].count), ("192.0.2.1", 2));
    }

    #[test]
    fn filters_narrow_all_of_the_answer_and_the_limit_only_its_items() {
        let now = Instant::now();
        let all = (0..50).map(|client| holding(["a", "b"][client as usize % 2], client, Phase::Reading, now));
        let all: Vec<_> = all.collect();
        let of = |filter| summed(vec![census(all.clone())], &filter, now);
        let view = of(Filter { upstream: Some("a".into()), limit: 5, ..Filter::default() });
        assert_eq!((view.items.len(), view.total, view.truncated), (5, 25, true));
        assert_eq!((view.summary.len(), view.summary[0].count, view.clients.len()), (1, 25, TOP_CLIENTS));
        let one = of(Filter { client: "::ffff:192.0.2.7".parse().ok(), ..any() });
        assert_eq!((one.total, one.items[0].upstream.as_str()), (1, "b"));
        for none in [
            Filter { route: Some("x".into()), ..any() },
            Filter { class: Some("batch".into()), ..any() },
            Filter { phase: Some("zombie".into()), ..any() },
        ] {
            assert_eq!(of(none).total, 0);
        }
    }

    #[test]
    fn ten_thousand_holders_are_summed_well_within_the_patience() {
        let now = Instant::now();
        let all = (0..10_000).map(|n| holding(["a", "b"][n % 2], (n % 251) as u8, Phase::Reading, now));
        let all: Vec<_> = all.collect();
        let started = Instant::now();
        assert_eq!(summed(vec![census(all)], &any(), now).total, 10_000);
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    }
}
