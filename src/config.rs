//! From text to plan: the only door through which a configuration comes in.
//!
//! [`check`] reports everything that is wrong at once, each with its place, the text underlined and a hint. A
//! [`plan::Plan`] that exists is ready to build, with every default filled in. Nothing here touches the network;
//! local files are read only where the text says `${file:…}`, and what was filled in is never shown.
//! [`compare`](compare::compare) says what differs between two versions. It does not load certificates or resolve
//! names.

pub mod compare;
pub mod diagnostics;
pub mod fields;
pub mod fills;
pub mod interpolate;
pub mod operators;
pub mod plan;
pub mod policy;
pub mod public;
pub mod reference;
mod scalar;
pub mod schema;
pub mod sinks;
mod suggest;
mod syntax;
pub mod units;
mod validate;
mod value;
mod walk;

pub use diagnostics::{Finding, Severity};
pub use interpolate::{Environment, Fillings, ProcessEnvironment, unfill};
pub use schema::schema;

use diagnostics::Source;
use plan::Plan;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a configuration at most: ten thousand routes take about two million.
const MAX_TEXT: usize = 16 << 20;

/// Findings that are kept at most; a file with more has one mistake repeated.
const MAX_FINDINGS: usize = 200;

/// What [`check`] found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The plan, unless there are errors.
    pub plan: Option<Plan>,
    /// Everything to say, in the order of the file.
    pub findings: Vec<Finding>,
    source: Source,
}

/// Reads a configuration: `text`, found in `file`, filled from `env`.
///
/// Paths in the text are relative to `file`. Never touches the network and never panics, whatever the text.
pub fn check(text: &str, file: &Path, env: &dyn Environment) -> Checked {
    let name = file.display().to_string();
    if text.len() > MAX_TEXT {
        let finding =
            Finding::error(0..0, format!("the configuration is larger than {} MiB", MAX_TEXT >> 20));
        return Checked { plan: None, findings: vec![finding], source: Source { name, text: String::new() } };
    }
    let source = Source { name, text: text.to_owned() };
    // Without a working directory relative paths stay relative, which is what they would have been anyway.
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let directory = absolute.parent().unwrap_or(Path::new(""));
    let (root, mut findings, fills) = walk::walk(&source, directory, env);
    let mut plan = validate::plan(&root, &source, directory, env, &mut findings);
    tidy(&source, &mut findings);
    if let Some(plan) = &mut plan {
        plan.fills = fills;
        plan.notices = findings.iter().map(|finding| notice(&source, finding)).collect();
    }
    Checked { plan, findings, source }
}

/// Reads a text that is to be checked. Blocks on the file.
///
/// # Errors
/// When it cannot be read, is no text, or is larger than any that is checked.
#[expect(clippy::disallowed_methods, reason = "at start, and on the background thread")]
pub fn read(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_TEXT {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_TEXT >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Findings in the order of the file, not more than anyone reads; errors stay before remarks.
fn tidy(source: &Source, findings: &mut Vec<Finding>) {
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        findings.sort_by_key(|finding| finding.severity);
        findings.truncate(MAX_FINDINGS);
    }
    for finding in findings.iter_mut() {
        finding.span = source.clamp(&finding.span);
    }
    findings.sort_by_key(|finding| (finding.span.start, finding.severity));
    if more > 0 {
        let end = source.text.len();
        findings.push(Finding::note(end..end, format!("{more} more findings are not shown")));
    }
}

/// A finding in one line, for logs.
fn notice(source: &Source, finding: &Finding) -> String {
    format!("line {}: {}", source.position(finding.span.start).0, finding.message)
}

impl Checked {
    /// Whether there is no plan.
    pub fn is_refused(&self) -> bool {
        self.plan.is_none()
    }

    /// This version, to be compared with another.
    pub fn side(&self) -> compare::Side<'_> {
        compare::Side { text: &self.source.text, plan: self.plan.as_ref() }
    }

    /// One hash of what filled the placeholders, under a key, hex; of a text that has a plan.
    pub fn filled_hash(&self, key: &[u8; 32]) -> Option<String> {
        self.plan.as_ref().map(|plan| plan.fills.keyed(key))
    }

    /// The findings for people, as compilers show them.
    pub fn render(&self, coloured: bool) -> String {
        self.source.render(&self.findings, coloured)
    }

    /// The findings for machines: `[{file, line, column, text, message, hint, severity}]`.
    pub fn json(&self) -> serde_json::Value {
        self.source.json(&self.findings)
    }

    /// The errors in one line each, for logs and `/readyz`.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.findings.iter().filter(|finding| finding.severity == Severity::Error);
        errors.map(|finding| notice(&self.source, finding)).collect()
    }
}

#[cfg(test)]
mod tests;
