//! The table of what was agreed: reading it, comparing with it, writing it anew. It knows nothing of how anything is
//! counted.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter, Write};
use toml::de::{DeTable, DeValue};

/// What must never happen may not happen once in a while either.
const MARGIN_OF_NONE: f64 = 0.01;

/// All that was agreed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    margins: Margins,
    #[serde(rename = "path")]
    pub rows: Vec<Row>,
}

/// How far a count may be from what was agreed, in either direction.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Margins {
    instructions_percent: f64,
    allocations: f64,
    calls: f64,
}

/// One path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The case of the bench, and the path that system calls are counted on.
    pub name: String,
    /// The bench that has the case.
    pub bench: Option<String>,
    /// How often it is done to be counted.
    #[serde(default = "usual_times")]
    pub times: usize,
    /// The case whose instructions are taken away.
    pub above: Option<String>,
    /// Its own margins, where another thread or the moment has a say.
    margins: Option<Margins>,
    instructions: Option<f64>,
    allocations: Option<f64>,
    /// Calls by name; an empty table is to be filled.
    pub calls: Option<BTreeMap<String, f64>>,
}

fn usual_times() -> usize {
    500
}

/// What was counted now; `None` is what was not.
#[derive(Debug, Default)]
pub struct Found {
    /// The path.
    pub name: String,
    /// For one operation.
    pub instructions: Option<f64>,
    /// For one operation.
    pub allocations: Option<f64>,
    /// For one operation, by name.
    pub calls: Option<BTreeMap<String, f64>>,
}

/// A count beyond its margin.
#[derive(Debug, PartialEq)]
pub struct Change {
    path: String,
    what: String,
    agreed: f64,
    found: f64,
}

impl Table {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not such a table.
    pub fn parse(text: &str) -> Result<Table> {
        let document = DeTable::parse(text).context("the table of counts")?;
        let json = json(&DeValue::Table(document.into_inner()))?;
        serde_json::from_value(json).context("the table of counts")
    }

    /// The row of a path.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Every count that has left its margin.
    pub fn compare(&self, found: &[Found]) -> Vec<Change> {
        let pairs = found.iter().filter_map(|found| Some((self.row(&found.name)?, found)));
        pairs.flat_map(|(row, found)| self.changes(row, found)).collect()
    }

    fn changes(&self, row: &Row, found: &Found) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut look = |what: &str, agreed: Option<f64>, found: Option<f64>, margin: &dyn Fn(f64) -> f64| {
            let (agreed, Some(found)) = (agreed.unwrap_or(0.0), found) else { return };
            if (found - agreed).abs() > margin(agreed) {
                changes.push(Change { path: row.name.clone(), what: what.to_owned(), agreed, found });
            }
        };
        let Margins { instructions_percent, allocations, calls } = row.margins.unwrap_or(self.margins);
        look("instructions", row.instructions, found.instructions, &|agreed| {
            agreed * instructions_percent / 100.0
        });
        look("allocations", row.allocations, found.allocations, &|agreed| match agreed {
            0.0 => MARGIN_OF_NONE,
            _ => allocations,
        });
        if let (Some(agreed), Some(found)) = (&row.calls, &found.calls) {
            let names: BTreeSet<_> = agreed.keys().chain(found.keys()).collect();
            for name in names {
                let count = |of: &BTreeMap<String, f64>| Some(of.get(name).copied().unwrap_or(0.0));
                look(&format!("calls of {name}"), count(agreed), count(found), &|_| calls);
            }
        }
        changes
    }

    /// Agrees to what was found. What was not counted stays.
    pub fn take(&mut self, found: Vec<Found>) {
        for found in found {
            let Some(row) = self.rows.iter_mut().find(|row| row.name == found.name) else { continue };
            row.instructions = found.instructions.or(row.instructions);
            row.allocations = found.allocations.or(row.allocations);
            if let Some(mut calls) = found.calls {
                calls.retain(|_, count| *count > self.margins.calls / 2.0);
                row.calls = Some(calls);
            }
        }
    }

    /// The table as a file, below what `before` has above its margins.
    pub fn render(&self, before: &str) -> String {
        let (opening, _) = before.split_once("[margins]").unwrap_or_default();
        let mut text = format!("{opening}[margins]\n{}\n", self.margins.items().join("\n"));
        for row in &self.rows {
            row.render(&mut text).expect("text takes it");
        }
        text
    }
}

/// The few kinds of values that the table has.
fn json(value: &DeValue<'_>) -> Result<Value> {
    Ok(match value {
        DeValue::String(text) => Value::from(&**text),
        DeValue::Integer(digits) => Value::from(digits.as_str().parse::<u64>()?),
        DeValue::Float(number) => Value::from(number.as_str().parse::<f64>()?),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect::<Result<_>>()?,
        DeValue::Table(table) => {
            let pairs = table.iter();
            Value::Object(
                pairs
                    .map(|(key, value)| Ok((key.get_ref().to_string(), json(value.get_ref())?)))
                    .collect::<Result<_>>()?,
            )
        }
        other => bail!("the table of counts has no {}", other.type_str()),
    })
}

impl Margins {
    fn items(&self) -> [String; 3] {
        let Margins { instructions_percent, allocations, calls } = self;
        [
            format!("instructions_percent = {instructions_percent:?}"),
            format!("allocations = {allocations:?}"),
            format!("calls = {calls:?}"),
        ]
    }
}

impl Row {
    fn render(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "\n[[path]]\nname = {:?}", self.name)?;
        if let Some(bench) = &self.bench {
            writeln!(text, "bench = {bench:?}")?;
        }
        if self.times != usual_times() {
            writeln!(text, "times = {}", self.times)?;
        }
        if let Some(above) = &self.above {
            writeln!(text, "above = {above:?}")?;
        }
        if let Some(margins) = &self.margins {
            writeln!(text, "margins = {{ {} }}", margins.items().join(", "))?;
        }
        if let Some(instructions) = self.instructions {
            writeln!(text, "instructions = {instructions:.0}.0")?;
        }
        if let Some(allocations) = self.allocations {
            writeln!(text, "allocations = {allocations:.2}")?;
        }
        if let Some(calls) = &self.calls {
            let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{name} = {count:.2}")).collect();
            writeln!(text, "calls = {{ {} }}", calls.join(", "))?;
        }
        Ok(())
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<44}", self.name)?;
        let number = |count: Option<f64>, digits| match count {
            Some(count) => format!("{count:.digits$}"),
            None => "-".to_owned(),
        };
        write!(f, "{:>9} instructions", number(self.instructions, 0))?;
        write!(f, "{:>7} allocations", number(self.allocations, 2))?;
        let calls = self.calls.iter().flatten().filter(|(_, count)| **count >= 0.005);
        let calls: Vec<_> = calls.map(|(name, count)| format!("{name} {count:.2}")).collect();
        write!(f, "  {}", calls.join(", "))
    }
}

impl Change {
    /// A request costs more than before.
    pub fn is_dearer(&self) -> bool {
        self.found > self.agreed
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Change { path, what, agreed, found } = self;
        let verb = if self.is_dearer() { "grew" } else { "fell" };
        let digits = if what == "instructions" { 0 } else { 2 };
        write!(f, "{path}: {what} {verb} from {agreed:.digits$} to {found:.digits$}")?;
        match *agreed {
            0.0 => Ok(()),
            agreed => write!(f, " ({:+.1} %)", (found / agreed - 1.0) * 100.0),
        }
    }
}
