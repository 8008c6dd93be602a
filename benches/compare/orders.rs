//! The command line: which form, which sections, which peers, where to.

use crate::peers::{ALL, Kind};
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;

/// Sections that can be asked for, and those that the quick form takes.
pub const SECTIONS: [(&str, bool); 18] = [
    ("small", true),
    ("16k", false),
    ("1m", true),
    ("connection", false),
    ("h2c", true),
    ("h2-upstream", false),
    ("grpc", false),
    ("tls-full", true),
    ("tls-resumed", false),
    ("tls-pq", false),
    ("workers", false),
    ("latency", false),
    ("memory", true),
    ("start", true),
    ("scrape", false),
    ("swap", true),
    ("overload", false),
    ("restart", false),
];

/// How long and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    pub name: &'static str,
    pub rounds: usize,
    /// Seconds of warming up and of measuring a throughput.
    pub warm: f64,
    pub seconds: f64,
    /// Connections that are held for their memory, how many kinds of them, and seconds of quiet before it is
    /// looked at.
    pub held: usize,
    pub ways: usize,
    pub quiet: f64,
    /// Rounds of what takes long: memory, latency, swaps.
    pub long_rounds: usize,
    /// Sizes of swapped configurations.
    pub routes: &'static [usize],
}

/// Under five minutes.
pub const QUICK: Form = Form {
    name: "quick",
    rounds: 3,
    warm: 0.3,
    seconds: 1.0,
    held: 1000,
    ways: 1,
    quiet: 8.0,
    long_rounds: 1,
    routes: &[1000],
};

/// Five rounds of everything like the full form, in shorter pieces: about half an hour.
pub const HALF: Form = Form {
    name: "half",
    rounds: 5,
    warm: 0.3,
    seconds: 1.0,
    held: 1000,
    ways: 5,
    quiet: 8.0,
    long_rounds: 1,
    routes: &[1000, 10_000],
};

/// More than an hour.
pub const FULL: Form = Form {
    name: "full",
    rounds: 5,
    warm: 0.5,
    seconds: 2.0,
    held: 1000,
    ways: 5,
    quiet: 8.0,
    long_rounds: 3,
    routes: &[1000, 10_000],
};

/// What a run is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Orders {
    pub form: Form,
    pub sections: Vec<&'static str>,
    pub peers: Vec<Kind>,
    /// The binary under test; the one that cargo built if none is given.
    pub tidegate: Option<PathBuf>,
    /// The folder of the results.
    pub output: Option<PathBuf>,
    /// Put what is measured into the results of this file, in place of what it has of the same sections.
    pub into: Option<PathBuf>,
    /// Render this file again and measure nothing.
    pub render: Option<PathBuf>,
}

impl Orders {
    /// Everything of the full form, by everyone: only such a run may replace the committed results unasked.
    pub fn is_whole(&self) -> bool {
        self.form == FULL && self.sections.len() == SECTIONS.len() && self.peers.len() == ALL.len()
    }

    /// Sections of the program that are not taken.
    pub fn left_out(&self) -> Vec<String> {
        let all = SECTIONS.iter().map(|(name, _)| *name);
        all.filter(|name| !self.sections.contains(name)).map(str::to_owned).collect()
    }

    /// Reads arguments: `[quick|half|full] [--only A,B] [--peers A,B] [--tidegate FILE] [--output FOLDER] [--into FILE]`, or
    /// `--render FILE`.
    pub fn parse(arguments: &[String]) -> Result<Orders> {
        let mut orders = Orders {
            form: QUICK,
            sections: Vec::new(),
            peers: ALL.to_vec(),
            tidegate: None,
            output: None,
            into: None,
            render: None,
        };
        let mut only = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().cloned().with_context(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "quick" => orders.form = QUICK,
                "half" => orders.form = HALF,
                "full" => orders.form = FULL,
                "--only" => only = Some(value()?),
                "--peers" => orders.peers = peers(&value()?)?,
                "--tidegate" => orders.tidegate = Some(value()?.into()),
                "--output" => orders.output = Some(value()?.into()),
                "--into" => orders.into = Some(value()?.into()),
                "--render" => orders.render = Some(value()?.into()),
                // Cargo's own.
                "--bench" => {}
                unknown => bail!("unknown argument {unknown}"),
            }
        }
        orders.sections = match only {
            Some(names) => sections(&names)?,
            None => {
                let wanted =
                    |(name, quick): &(&'static str, bool)| (*quick || orders.form != QUICK).then_some(*name);
                SECTIONS.iter().filter_map(wanted).collect()
            }
        };
        Ok(orders)
    }
}

fn sections(names: &str) -> Result<Vec<&'static str>> {
    let known = |name: &str| {
        let found = SECTIONS.iter().find(|(known, _)| *known == name).map(|(known, _)| *known);
        let all = || SECTIONS.map(|(known, _)| known).join(", ");
        found.with_context(|| format!("no section {name}; there are {}", all()))
    };
    names.split(',').map(known).collect()
}

fn peers(names: &str) -> Result<Vec<Kind>> {
    let named = |name: &str| Kind::named(name).with_context(|| format!("no peer {name}"));
    let wanted: Vec<Kind> = names.split(',').map(named).collect::<Result<_>>()?;
    ensure!(!wanted.is_empty(), "--peers names nobody");
    // Turns keep their order.
    Ok(ALL.into_iter().filter(|kind| wanted.contains(kind)).collect())
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Orders> {
        Orders::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn only_a_whole_run_is_whole() {
        assert!(parse("full").expect("orders").is_whole());
        for part in ["quick", "full --only small", "full --peers nginx,tidegate", "--bench"] {
            assert!(!parse(part).expect("orders").is_whole(), "{part}");
        }
    }

    #[test]
    fn what_is_left_out_is_known() {
        let orders = parse("full --only small,swap").expect("orders");
        assert_eq!(orders.sections, ["small", "swap"]);
        assert_eq!(orders.left_out().len(), SECTIONS.len() - 2);
        assert!(parse("full").expect("orders").left_out().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("--only smal", "no section smal"),
            ("--peers apache", "no peer apache"),
            ("fast", "fast"),
            ("--only", "value"),
        ] {
            assert!(format!("{:#}", parse(line).expect_err(line)).contains(part), "{line}");
        }
    }
}
