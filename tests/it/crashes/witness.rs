//! Who saw everything that was asked and answered, and so knows what a start may serve.

use super::{BAKE, Deed};
use crate::audit::{row_of, verdict};
use crate::support::gateway::Gateway;
use crate::support::raw::Answer;
use crate::support::{PATIENCE, wait_for};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What it knows. Versions are told apart by the hash of their text.
#[derive(Debug, Default)]
pub struct Witness {
    /// Every text that was ever handed in, by its hash.
    texts: BTreeMap<String, String>,
    /// Every number that was ever seen.
    numbers: BTreeMap<u64, String>,
    /// Numbers that everyone was served by, as an answer had it.
    goods: Vec<u64>,
    /// What a start may serve now.
    may: BTreeSet<String>,
    /// The same before the last thing was asked.
    before: BTreeSet<String>,
    /// What may have passed its stages meanwhile: since when it is under way, and how long that takes at least.
    under_way: Vec<(String, Instant, Duration)>,
    /// What waits for its confirmation.
    unconfirmed: Option<String>,
    /// What must not come back by itself.
    barred: BTreeSet<String>,
    /// The ramp may be one of these.
    ramps: Vec<f64>,
    /// The newest row of the audit that an answer named.
    row: u64,
}

/// Whatever a killed process left is whole: what cannot be read would be set aside or passed over.
pub fn is_whole(state: &Path) {
    let file = state.join("state.json");
    let read = |path: &Path| -> Value {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for entry in fs::read_dir(state.join("good")).expect("good versions").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(path.with_extension("toml")).expect("its text");
            assert_eq!(read(&path)["hash"], Witness::hash(&text), "{}", path.display());
        }
    }
    // So often killed, it would be a crash loop.
    let mut ledger = read(&file);
    ledger["starts"] = json!([]);
    fs::write(&file, ledger.to_string()).expect("written");
}

impl Witness {
    /// As versions are named.
    pub fn hash(text: &str) -> String {
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The first version.
    pub fn begins(&mut self, gateway: &Gateway, text: &str) {
        let hash = self.know(text);
        assert_eq!(gateway.hash(), hash);
        self.name(1, &hash);
        self.goods.push(1);
        self.ramps = vec![100.0];
        self.may = BTreeSet::from([hash]);
    }

    /// A version that came by the file has a number too.
    pub fn sees(&mut self, gateway: &Gateway) {
        let version = gateway.status()["version"].clone();
        let named = (version["number"].as_u64(), version["hash"].as_str());
        let (Some(number), Some(hash)) = named else { panic!("no version in {version}") };
        self.name(number, hash);
    }

    /// Any text that was handed in before.
    pub fn any_text(&self, chance: &mut Rng) -> String {
        self.texts.values().nth(chance.usize(0..self.texts.len())).expect("one of them").clone()
    }

    /// Any version that everyone was served by.
    pub fn any_good(&self, chance: &mut Rng) -> Option<u64> {
        Some(self.goods[chance.usize(0..self.goods.len())])
    }

    /// It is asked for, from now on it may be done.
    pub fn asked(&mut self, deed: &Deed) {
        self.before = self.may.clone();
        match deed {
            Deed::Apply(text, query) => {
                let hash = self.know(text);
                self.barred.remove(&hash);
                match *query {
                    query if query.contains("confirm") => {}
                    "" if text.contains("required = true") => {
                        self.under_way.push((hash, Instant::now(), 2 * BAKE));
                    }
                    query if query.contains("break_glass") => {
                        self.under_way.push((hash, Instant::now(), BAKE));
                    }
                    _ => {
                        self.may.insert(hash);
                    }
                }
            }
            // A start looks at the file: it is active after one in any case.
            Deed::File(text) => {
                let hash = self.know(text);
                self.may = BTreeSet::from([hash]);
                self.unconfirmed = None;
            }
            Deed::Say("confirm") => self.may.extend(self.unconfirmed.clone()),
            Deed::Say(_) => {}
            Deed::Back(to) => {
                self.may.extend(self.goods.iter().map(|number| self.numbers[number].clone()));
                if let Some(number) = to {
                    self.barred.remove(&self.numbers[number]);
                }
            }
            Deed::Ramp(percent) => self.ramps.push(*percent as f64),
        }
    }

    /// It was answered: what was acknowledged holds from now on.
    pub fn answered(&mut self, deed: &Deed, answer: &Answer) {
        let body = answer.json();
        if let Some(row) = answer.get("x-tidegate-audit").and_then(|_| row_of(answer)) {
            self.row = self.row.max(row);
        }
        let version = &body["version"];
        if let (Some(number), Some(hash)) = (version["number"].as_u64(), version["hash"].as_str()) {
            self.name(number, hash);
        }
        if !matches!(answer.status(), 200 | 202) {
            assert!([404, 409].contains(&answer.status()), "{deed:?}: {} {body}", answer.status());
            self.may = self.before.clone();
            return;
        }
        match deed {
            Deed::Apply(text, query) => self.applied(Witness::hash(text), query, &body),
            Deed::Say("confirm") => {
                self.may = self.unconfirmed.take().into_iter().collect();
            }
            Deed::Say("abort") => {
                let ended = body["rollout"]["last"]["number"].as_u64().expect("which one");
                let hash = self.numbers[&ended].clone();
                self.under_way.retain(|(under_way, _, _)| *under_way != hash);
                self.barred.insert(hash);
            }
            Deed::Back(_) if body["persisted"] == true => {
                let from = self.numbers[&body["from"].as_u64().expect("a number")].clone();
                let to = version["hash"].as_str().expect("a hash").to_owned();
                self.barred.insert(from);
                self.barred.remove(&to);
                self.under_way.clear();
                self.unconfirmed = None;
                self.may = BTreeSet::from([to]);
            }
            Deed::Ramp(percent) if body["persisted"] == true => self.ramps = vec![*percent as f64],
            Deed::Say(_) | Deed::Back(_) | Deed::Ramp(_) | Deed::File(_) => {}
        }
    }

    fn applied(&mut self, hash: String, query: &str, body: &Value) {
        if body["changed"] == false {
            self.may = self.before.clone();
        } else if query.contains("confirm") {
            self.unconfirmed = Some(hash);
        } else if body["persisted"] == true && !query.contains("break_glass") {
            self.goods.push(body["version"]["number"].as_u64().expect("a number"));
            self.unconfirmed = None;
            self.may = BTreeSet::from([hash]);
        }
    }

    /// What a start made of it.
    pub fn judge(&mut self, gateway: &Gateway, killed: Instant, what: &str) {
        let passed = |(hash, since, least): &(String, Instant, Duration)| {
            (killed.saturating_duration_since(*since) >= *least).then(|| hash.clone())
        };
        let passed: Vec<String> = self.under_way.iter().filter_map(passed).collect();
        self.may.extend(passed);
        let status = gateway.status();
        let hash = status["version"]["hash"].as_str().expect("a hash").to_owned();
        let ledger = fs::read_to_string(gateway.folder().join("state/state.json")).expect("a ledger");
        assert!(self.may.contains(&hash), "{what}: {hash} runs; {self:?}; {ledger}; {status}");
        // A busy machine may take longer than the route's timeout.
        let served = wait_for(PATIENCE, "it serves", || gateway.get("/").get("x-gen").map(str::to_owned));
        let marked = self.texts[&hash].contains(&format!("\"x-gen\" = \"{served}\""));
        assert!(marked, "{what}: {served} is served");
        let number = status["version"]["number"].as_u64().expect("a number");
        self.name(number, &hash);
        let reasons = status["reasons"].to_string();
        let spoilt = ["damaged", "not whole", "cannot start"].iter().any(|word| reasons.contains(word));
        assert!(!spoilt, "{what}: {reasons}");
        self.barred.remove(&hash);
        let out = |hash: &String| ledger.contains(&format!("\"hash\":\"{hash}\""));
        assert!(self.barred.iter().all(out), "{what}: {:?} stay out; {ledger}", self.barred);
        self.judge_history(gateway, number, what);
        let ramp = gateway.upstreams()[0]["ramp_percent"].as_f64().expect("a ramp");
        assert!(self.ramps.contains(&ramp), "{what}: {ramp} of {:?}", self.ramps);
        (self.ramps, self.unconfirmed) = (vec![ramp], None);
        self.goods.push(number);
        self.may = BTreeSet::from([hash]);
        self.under_way.clear();
    }

    fn judge_history(&mut self, gateway: &Gateway, active: u64, what: &str) {
        let verdict = verdict(gateway, &format!("?count={}", self.row));
        let is_whole = verdict["valid"] == true && verdict["segment"] == 1 && verdict["notices"] == json!([]);
        assert!(is_whole, "{what}: {verdict}");
        let versions = gateway.admin_get("/v1/versions?limit=200").json();
        for version in versions["items"].as_array().expect("items") {
            let (number, outcome) = (version["number"].as_u64().expect("a number"), &version["outcome"]);
            self.name(number, version["hash"].as_str().expect("a hash"));
            let unknown = outcome == "rolling_out" || (number == active && outcome == "interrupted");
            assert!(!unknown, "{what}: version {number} is {outcome}; {active} runs");
        }
    }

    fn know(&mut self, text: &str) -> String {
        let hash = Witness::hash(text);
        self.texts.insert(hash.clone(), text.to_owned());
        hash
    }

    /// A number is one version's for ever.
    fn name(&mut self, number: u64, hash: &str) {
        let known = self.numbers.entry(number).or_insert_with(|| hash.to_owned());
        assert_eq!(known, hash, "version {number} is two texts");
    }
}
