//! A whole fleet that restarts cold, as a table and as curves: what clients saw, what the backends held, and how far
//! Tidegate's ramp was. Only what was measured in the run appears.

use crate::panels::{self, Line, Panel};
use crate::pictures::Picture;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

const SIZE: (u32, u32) = (900, 1_100);

/// What came of one contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    pub contender: String,
    pub setting: String,
    pub seed: u64,
    /// Asked for a second, and when the fleet was killed, in seconds from the beginning.
    pub offered: f64,
    pub killed_at_s: f64,
    /// From the kill until two seconds in a row at 95 % of what was asked; nothing if that never came.
    pub recovered_s: Option<f64>,
    /// Backends that died of their queue after the restart.
    pub crashes: u64,
    /// From the kill to the end, by clients: served at last, and not.
    pub clients: u64,
    pub served: u64,
    /// Tries from the kill to the end, by how they ended.
    pub refused: u64,
    pub failed: u64,
    /// Of the answers in that time.
    pub p99_ms: f64,
    pub curve: Vec<Moment>,
}

/// Half a second of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    pub at_s: f64,
    /// A second: good answers, refusals, timeouts and errors.
    pub good: f64,
    pub refused: f64,
    pub failed: f64,
    /// In the backends' hands, those whose client has left included.
    pub in_flight: f64,
    /// The mean ramp of its backends, where the contender tells.
    pub ramp_percent: Option<f64>,
}

/// The section of the page; empty if nothing was measured.
pub fn section(restarts: &[Restart]) -> String {
    let Some(first) = restarts.first() else { return String::new() };
    let mut text = format!(
        "\n## A whole fleet restarts cold\n\nEight backends, each a process of its own, are killed at second {:.0} and started again three \
         seconds later with cold caches; one whose queue grows too long dies and comes back cold after three seconds more. \
         {:.0} requests a second are asked for, 0.7 of what the warm fleet can do; clients wait a second and ask twice \
         more. HAProxy has `slowstart` and `maxconn`, Envoy slow start and circuit breakers \
         (`benches/compare/peers/restart/`); Tidegate has names, addresses and routes.\n\n\
         | | back at 95 %, s | crashes of cold backends | clients never served | refused | failed | p99, ms |\n\
         |---|---|---|---|---|---|---|\n",
        first.killed_at_s, first.offered
    );
    for it in restarts {
        let back = it.recovered_s.map_or("never".to_owned(), |seconds| format!("{seconds:.1}"));
        let lost = it.clients.saturating_sub(it.served);
        let _ = writeln!(
            text,
            "| {} | {back} | {} | {lost} of {} | {} | {} | {:.0} |",
            it.entrant(),
            it.crashes,
            it.clients,
            it.refused,
            it.failed,
            it.p99_ms
        );
    }
    text
}

/// One picture of all.
pub fn pictures(restarts: &[Restart]) -> Result<Vec<Picture>> {
    if restarts.is_empty() {
        return Ok(Vec::new());
    }
    let title = "A whole fleet restarts cold".to_owned();
    let panel = |label, value: fn(&Moment) -> Option<f64>| Panel {
        label,
        lines: restarts.iter().map(|it| it.line(value)).filter(|line| !line.points.is_empty()).collect(),
    };
    let panels = [
        panel("good answers a second", |moment| Some(moment.good)),
        panel("timeouts and errors a second", |moment| Some(moment.failed)),
        panel("in the backends' hands", |moment| Some(moment.in_flight)),
        panel("ramp, %", |moment| moment.ramp_percent),
    ];
    let svg = panels::draw(&title, SIZE, &panels)?;
    Ok(vec![Picture { file: "restart.svg".to_owned(), title, svg }])
}

impl Restart {
    fn entrant(&self) -> String {
        format!("{}, {}", self.contender, self.setting)
    }

    fn line(&self, value: fn(&Moment) -> Option<f64>) -> Line {
        let ours = self.contender == "tidegate";
        Line {
            name: self.entrant(),
            peer: self.contender.clone(),
            width: if ours { 3 } else { 2 },
            shade: 1.0,
            points: self.curve.iter().filter_map(|moment| Some((moment.at_s, value(moment)?))).collect(),
        }
    }
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    fn restart(contender: &str, recovered_s: Option<f64>) -> Restart {
        let moment = |at_s, ramp_percent| Moment {
            at_s,
            good: 560.0,
            refused: 0.0,
            failed: 0.0,
            in_flight: 24.0,
            ramp_percent,
        };
        Restart {
            contender: contender.to_owned(),
            setting: "slow start".to_owned(),
            seed: 1,
            offered: 560.0,
            killed_at_s: 20.0,
            recovered_s,
            crashes: 7,
            clients: 1_000,
            served: 900,
            refused: 50,
            failed: 60,
            p99_ms: 321.0,
            curve: vec![moment(0.0, None), moment(0.5, (contender == "tidegate").then_some(25.0))],
        }
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        assert!(section(&[]).is_empty());
        assert!(pictures(&[]).expect("no picture").is_empty());
    }

    #[test]
    fn who_never_came_back_is_said_to_have_never_come_back() {
        let text = section(&[restart("envoy", None), restart("tidegate", Some(14.5))]);
        assert!(text.contains("| envoy, slow start | never | 7 | 100 of 1000 | 50 | 60 | 321 |"), "{text}");
        assert!(text.contains("| tidegate, slow start | 14.5 |"), "{text}");
    }

    #[test]
    fn only_who_tells_its_ramp_has_one_on_the_picture() {
        let pictures = pictures(&[restart("envoy", None), restart("tidegate", Some(1.0))]).expect("drawn");
        assert_eq!(pictures.len(), 1);
        assert!(pictures[0].svg.contains("envoy, slow start") && pictures[0].svg.contains("ramp, %"));
    }
}
