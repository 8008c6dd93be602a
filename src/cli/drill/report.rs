//! What a drill found: bars that hold or do not, what happened when, and all of it beside 24 March 2023.

use super::crowd::seen::Tally;
use crate::cli::table::{WIDTH, wrapped};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Minutes of 24 March 2023 (the postmortem's timeline): from the push to the rollback that worked, and from there
/// to 100 % of the traffic.
const PUSH_TO_ROLLBACK_MIN: f64 = 56.0;
const ROLLBACK_TO_WELL_MIN: f64 = 43.0;
/// From the first rollback, which the checks refused, to the one that worked.
const REFUSED_ROLLBACK_MIN: f64 = 21.0;
/// Everything failed from 19:35 to 20:48, three quarters from then to 20:58.
const OUTAGE_MIN: f64 = 73.0 + 0.75 * 10.0;

/// Something that a drill has to show.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bar {
    /// `a`, `b`, `c` or `d`.
    pub phase: &'static str,
    /// Its name for programs.
    pub name: &'static str,
    /// Whether it was shown.
    pub holds: bool,
    /// With the numbers, for people.
    pub said: String,
}

/// One moment of the drill.
#[derive(Clone, Debug, Serialize)]
struct Moment {
    at_s: f64,
    what: String,
}

/// One part of the drill, and what the clients saw of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Part {
    /// `a`, `b`, `c` or `d`.
    pub phase: &'static str,
    /// In words.
    pub title: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// Clients who were due meanwhile.
    pub asked: u64,
    /// Those who did not get what they came for.
    pub lost: u64,
    /// How these ended.
    pub why: BTreeMap<String, u64>,
}

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    started: Instant,
    /// Tells each moment as it comes.
    aloud: bool,
    moments: Vec<Moment>,
    /// In the order in which they were judged.
    pub bars: Vec<Bar>,
    parts: Vec<Part>,
    /// From a push that reached clients to its end, in seconds.
    pub push_to_revert_s: Option<f64>,
    /// A rollback, from the command to its answer, in seconds.
    pub rollback_s: Option<f64>,
    /// From the restart of the fleet to all of the traffic, in seconds.
    pub restart_to_well_s: Option<f64>,
    /// Requests a second.
    pub rate: f64,
    /// What is not as in the file.
    pub notes: Vec<String>,
}

impl Report {
    /// Nothing yet.
    pub fn new(aloud: bool) -> Report {
        Report {
            started: Instant::now(),
            aloud,
            moments: Vec::new(),
            bars: Vec::new(),
            parts: Vec::new(),
            push_to_revert_s: None,
            rollback_s: None,
            restart_to_well_s: None,
            rate: 0.0,
            notes: Vec::new(),
        }
    }

    /// Something happened now.
    pub fn tell(&mut self, what: impl Into<String>) {
        let (at_s, what) = (self.started.elapsed().as_secs_f64(), what.into());
        if self.aloud {
            wrapped(&what, &format!("{at_s:6.1} s  ")).iter().for_each(|line| eprintln!("{line}"));
        }
        self.moments.push(Moment { at_s, what });
    }

    /// Something was shown, or was not.
    pub fn bar(&mut self, phase: &'static str, name: &'static str, holds: bool, said: String) {
        if self.aloud && !holds {
            eprintln!("          ! {name}: {said}");
        }
        self.bars.push(Bar { phase, name, holds, said });
    }

    /// A part of it is over.
    pub fn part(&mut self, phase: &'static str, title: &'static str, seconds: f64, tally: Tally) {
        let Tally { asked, lost, why } = tally;
        self.parts.push(Part { phase, title, seconds, asked, lost, why });
    }

    /// Whether every bar holds.
    pub fn holds(&self) -> bool {
        !self.bars.is_empty() && self.bars.iter().all(|bar| bar.holds)
    }

    fn lost(&self) -> u64 {
        self.parts.iter().map(|part| part.lost).sum()
    }

    /// At this drill's rate of requests.
    fn lost_then(&self) -> f64 {
        self.rate * OUTAGE_MIN * 60.0
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "holds": self.holds(),
            "bars": self.bars,
            "parts": self.parts,
            "timeline": self.moments,
            "requests_per_second": self.rate,
            "lost": self.lost(),
            "push_to_revert_s": self.push_to_revert_s,
            "rollback_s": self.rollback_s,
            "restart_to_well_s": self.restart_to_well_s,
            "march_24": {
                "push_to_rollback_s": PUSH_TO_ROLLBACK_MIN * 60.0,
                "rollback_s": REFUSED_ROLLBACK_MIN * 60.0,
                "rollback_to_well_s": ROLLBACK_TO_WELL_MIN * 60.0,
                "lost_at_this_rate": self.lost_then().round(),
            },
            "rewritten": self.notes,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let line = |text: &mut String, line: &str| {
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(&mut text, "");
        line(&mut text, "part                                              seconds    asked     lost");
        for part in &self.parts {
            let (seconds, asked, lost) = (part.seconds, part.asked, part.lost);
            line(&mut text, &format!("{}  {:<44} {seconds:9.1} {asked:8} {lost:8}", part.phase, part.title));
            for (why, many) in &part.why {
                line(&mut text, &format!("     {many} × {why}"));
            }
        }
        line(&mut text, "");
        for bar in &self.bars {
            let mark = if bar.holds { "holds  " } else { "FAILS  " };
            wrapped(&bar.said, &format!("{}  {mark}", bar.phase)).iter().for_each(|it| line(&mut text, it));
        }
        line(&mut text, "");
        line(&mut text, &format!("{:<40}{:>20}{:>18}", "", "24 March 2023", "this drill"));
        for (what, then, now) in self.beside() {
            line(&mut text, &format!("{what:<40}{then:>20}{now:>18}"));
        }
        debug_assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        text
    }

    fn beside(&self) -> Vec<(&'static str, String, String)> {
        let minutes = |minutes: f64| format!("{minutes:.0} min");
        let seconds = |seconds: Option<f64>| match seconds {
            Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
            Some(seconds) => format!("{seconds:.1} s"),
            None => "-".to_owned(),
        };
        vec![
            ("from the push to its rollback", minutes(PUSH_TO_ROLLBACK_MIN), seconds(self.push_to_revert_s)),
            (
                "the rollback itself",
                format!("{} (refused first)", minutes(REFUSED_ROLLBACK_MIN)),
                seconds(self.rollback_s),
            ),
            (
                "from there to 100 % of the traffic",
                minutes(ROLLBACK_TO_WELL_MIN),
                seconds(self.restart_to_well_s),
            ),
            ("requests lost, at this rate", format!("{:.0}", self.lost_then()), self.lost().to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_beside_24_march_and_fits_a_terminal() {
        let mut report = Report::new(false);
        report.rate = 120.0;
        report.tell("the clients come");
        let why = BTreeMap::from([("503 auth_overload".to_owned(), 3)]);
        report.part("b", "forced through, and reverted", 3.25, Tally { asked: 400, lost: 3, why });
        report.bar(
            "b",
            "public",
            true,
            "100 of 100 clients of routes without auth were served, which is at least 99.9 %".to_owned(),
        );
        assert!(report.holds());
        report.bar("c", "rollback", false, "the rollback took 1.2 s, and may take 1 s".to_owned());
        report.rollback_s = Some(0.041);
        assert!(!report.holds());
        let text = report.text();
        for shown in ["56 min", "43 min", "41 ms", "579600", "FAILS", "3 × 503 auth_overload"] {
            assert!(text.contains(shown), "{shown}:\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let json = report.json();
        assert_eq!(
            (&json["holds"], &json["lost"], &json["march_24"]["push_to_rollback_s"]),
            (&false.into(), &3.into(), &3360.0.into())
        );
        assert!(!Report::new(false).holds(), "a drill that showed nothing has not passed");
    }
}
