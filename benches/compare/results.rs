//! What a run found, as it is written to `results.json` and read for the report: sections of measures, each with
//! the samples of all rounds of every peer, or why there are none. Nothing is computed here: medians and ratios
//! are made where they are shown, so that the raw numbers stay the only truth.

use crate::statistics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// `quick` or `full`.
    pub form: String,
    /// When it began (UTC), and how long it took, in seconds.
    pub date: String,
    pub seconds: u64,
    /// How it was started.
    pub command: String,
    /// Rounds of each measurement, at most.
    pub rounds: usize,
    /// The machine, a fact each.
    pub machine: Vec<(String, String)>,
    /// Who took part, in the order of their turns, and which version.
    pub peers: Vec<(String, String)>,
    /// Who would have, and is not installed.
    pub missing: Vec<String>,
    /// Sections that were not asked for.
    pub left_out: Vec<String>,
    /// Parts that another run measured, in place of this one's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Later>,
    /// Errors that measurements met, a line each.
    pub trouble: Vec<String>,
    pub sections: Vec<Section>,
    /// Experiments of the overload rig.
    #[serde(default)]
    pub overload: Vec<crate::outcome::Outcome>,
    /// A whole fleet that restarts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<crate::restart_report::Restart>,
}

/// Parts of a run that were measured again without the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Later {
    /// When it began (UTC), and how it was started.
    pub date: String,
    pub command: String,
    /// As they are asked for on the command line.
    pub sections: Vec<String>,
    pub trouble: Vec<String>,
}

/// Measures that are shown in one table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// As it is asked for on the command line.
    pub name: String,
    pub title: String,
    /// How it was measured.
    pub note: String,
    pub measures: Vec<Measure>,
}

/// One line of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// For pictures and bars, such as `small.cpu`.
    pub id: String,
    pub title: String,
    pub unit: String,
    /// By name, `direct` among them where there is no proxy.
    pub peers: BTreeMap<String, Outcome>,
}

/// What came of a measure for one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// One sample a round.
    Measured(Vec<f64>),
    /// It has no such thing, and what instead.
    Cannot(String),
    /// It was tried and did not work.
    Failed(String),
}

impl Results {
    /// The measure with this id, if it was taken.
    pub fn measure(&self, id: &str) -> Option<&Measure> {
        self.sections.iter().flat_map(|section| &section.measures).find(|measure| measure.id == id)
    }

    /// These results with what `part` measured in its place: the sections that it was asked for.
    pub fn with(mut self, part: Results, sections: &[&str]) -> Results {
        let taken = |name: &str| sections.contains(&name);
        self.sections.retain(|section| !taken(&section.name));
        self.sections.extend(part.sections);
        // Of the experiments, only those of whoever took part.
        let again = |old: &crate::outcome::Outcome| {
            let same = |new: &crate::outcome::Outcome| {
                (&old.experiment, &old.title, &old.contender, &old.setting)
                    == (&new.experiment, &new.title, &new.contender, &new.setting)
            };
            part.overload.iter().any(same)
        };
        self.overload.retain(|old| !again(old));
        self.overload.extend(part.overload);
        if taken("restart") {
            self.restart = part.restart;
        }
        self.left_out.retain(|name| !taken(name));
        // A line of trouble begins with its section.
        self.trouble.retain(|line| line.split_once(':').is_none_or(|(name, _)| !taken(name)));
        for later in &mut self.later {
            later.sections.retain(|name| !taken(name));
        }
        self.later.retain(|later| !later.sections.is_empty());
        let names = sections.iter().map(|name| (*name).to_owned()).collect();
        let Results { date, command, trouble, .. } = part;
        self.later.push(Later { date, command, sections: names, trouble });
        self
    }

    /// Takes the path of this checkout out of everything that was said: it is nobody's business.
    pub fn without_path(&mut self, path: &str) {
        let outcomes = self.sections.iter_mut().flat_map(|section| &mut section.measures);
        let outcomes = outcomes.flat_map(|measure| measure.peers.values_mut());
        let said = outcomes.filter_map(|outcome| match outcome {
            Outcome::Failed(why) => Some(why),
            Outcome::Measured(_) | Outcome::Cannot(_) => None,
        });
        for text in said.chain(&mut self.trouble).chain([&mut self.command]) {
            *text = text.replace(path, ".");
        }
    }

    /// The section with this name, made if there is none.
    pub fn section(&mut self, name: &str, title: &str, note: &str) -> &mut Section {
        let at = self.sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
            let (name, title, note) = (name.to_owned(), title.to_owned(), note.to_owned());
            self.sections.push(Section { name, title, note, measures: Vec::new() });
            self.sections.len() - 1
        });
        &mut self.sections[at]
    }
}

impl Section {
    /// The measure with this id, made if there is none.
    pub fn measure(&mut self, id: &str, title: &str, unit: &str) -> &mut Measure {
        let at = self.measures.iter().position(|measure| measure.id == id).unwrap_or_else(|| {
            let [id, title, unit] = [id, title, unit].map(str::to_owned);
            self.measures.push(Measure { id, title, unit, peers: BTreeMap::new() });
            self.measures.len() - 1
        });
        &mut self.measures[at]
    }
}

impl Measure {
    /// One more round's sample. It stands also if another round failed, of which the run's trouble tells.
    pub fn add(&mut self, peer: &str, sample: f64) {
        let outcome = self.peers.entry(peer.to_owned()).or_insert_with(|| Outcome::Measured(Vec::new()));
        match outcome {
            Outcome::Measured(samples) => samples.push(sample),
            Outcome::Failed(_) => *outcome = Outcome::Measured(vec![sample]),
            Outcome::Cannot(_) => {}
        }
    }

    /// It has no such thing, or a round of it did not work; what other rounds measured stays.
    pub fn without(&mut self, peer: &str, outcome: Outcome) {
        if self.samples(peer).is_empty() {
            self.peers.insert(peer.to_owned(), outcome);
        }
    }

    /// A peer's samples; empty if there are none.
    pub fn samples(&self, peer: &str) -> &[f64] {
        match self.peers.get(peer) {
            Some(Outcome::Measured(samples)) => samples,
            _ => &[],
        }
    }

    /// A peer's median.
    pub fn median(&self, peer: &str) -> Option<f64> {
        statistics::median(self.samples(peer))
    }

    /// How many times the other's median one's is.
    pub fn ratio(&self, one: &str, other: &str) -> Option<f64> {
        statistics::ratio(self.samples(one), self.samples(other))
    }

    /// The peer with the least median among these.
    pub fn least<'a>(&self, peers: &[&'a str]) -> Option<&'a str> {
        let measured = peers.iter().filter_map(|peer| Some((*peer, self.median(peer)?)));
        measured.min_by(|one, other| one.1.total_cmp(&other.1)).map(|(peer, _)| peer)
    }
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_failed_takes_nothing_from_the_others() {
        let failed = || Outcome::Failed("no".to_owned());
        let mut measure = Measure::default();
        measure.without("nginx", failed());
        assert_eq!(measure.median("nginx"), None);
        measure.add("nginx", 2.0);
        measure.without("nginx", failed());
        measure.add("nginx", 4.0);
        assert_eq!(measure.samples("nginx"), [2.0, 4.0]);
        measure.without("relay", Outcome::Cannot("none".to_owned()));
        measure.add("relay", 1.0);
        assert_eq!(measure.median("relay"), None);
    }

    #[test]
    fn the_best_is_the_least_of_those_measured() {
        let mut measure = Measure::default();
        measure.add("nginx", 2.0);
        measure.add("haproxy", 1.0);
        measure.add("envoy", 0.5);
        measure.without("caddy", Outcome::Cannot("none".to_owned()));
        assert_eq!(measure.least(&["nginx", "haproxy", "caddy"]), Some("haproxy"));
        assert_eq!(measure.least(&["caddy"]), None);
    }

    #[test]
    fn no_path_of_the_machine_is_kept() {
        let mut results = Results { trouble: vec!["in /home/me/it/x".to_owned()], ..Results::default() };
        let failed = Outcome::Failed("/home/me/it: no".to_owned());
        results.section("a", "A", "").measure("a.b", "B", "").without("nginx", failed);
        results.without_path("/home/me/it");
        let text = serde_json::to_string(&results).expect("written");
        assert!(!text.contains("/home/me") && text.contains("in ./x"), "{text}");
    }

    #[test]
    fn a_part_that_was_measured_again_replaces_its_own_and_nothing_else() {
        let with = |section: &str, sample: f64| {
            let mut results = Results { date: format!("at {sample}"), ..Results::default() };
            results.section(section, section, "").measure("x", "X", "").add("nginx", sample);
            results
        };
        let mut whole = with("small", 1.0);
        whole.section("swap", "Swap", "").measure("y", "Y", "").add("nginx", 2.0);
        let twice = whole.with(with("small", 3.0), &["small"]).with(with("small", 4.0), &["small"]);
        assert_eq!(twice.measure("x").and_then(|m| m.median("nginx")), Some(4.0));
        assert_eq!(twice.measure("y").and_then(|m| m.median("nginx")), Some(2.0));
        let dates: Vec<_> = twice.later.iter().map(|later| later.date.as_str()).collect();
        assert_eq!((twice.date.as_str(), dates), ("at 1", vec!["at 4"]));
    }

    #[test]
    fn results_survive_their_file() {
        let mut results = Results { form: "quick".to_owned(), ..Results::default() };
        results.section("small", "Small", "").measure("small.cpu", "CPU", "µs").add("nginx", 11.9);
        let text = serde_json::to_string(&results).expect("written");
        assert_eq!(serde_json::from_str::<Results>(&text).expect("read"), results);
        assert_eq!(results.measure("small.cpu").and_then(|m| m.median("nginx")), Some(11.9));
    }
}
