//! Errors of TOML itself, and what they explain.
//!
//! The parser goes on after an error, but what it makes of the rest of the line is a guess: neither its further
//! errors there nor what the walk thinks of the guessed values would help anyone.

use super::diagnostics::{Finding, Source, Span};
use std::ops::RangeInclusive;
use toml::de::Error;

/// What to remember about TOML.
const HINT: &str =
    "TOML is written as key = value; values are \"text\", 5, true, [\"a\", \"b\"] or { key = 5 }";

/// Adds the parser's errors to what the walk found, without what they explain.
pub fn merge(source: &Source, errors: &[Error], mut walked: Vec<Finding>) -> Vec<Finding> {
    let findings = first_of_each_line(source, errors);
    let garbled: Vec<RangeInclusive<usize>> =
        findings.iter().map(|error| rest_of_line(source, &error.span)).collect();
    walked.retain(|finding| !garbled.iter().any(|part| touches(part, &finding.span)));
    walked.extend(findings);
    walked
}

fn first_of_each_line(source: &Source, errors: &[Error]) -> Vec<Finding> {
    let place = |error: &Error| source.clamp(&error.span().unwrap_or(0..0));
    let mut errors: Vec<(Span, &str)> = errors.iter().map(|error| (place(error), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut findings: Vec<Finding> = Vec::new();
    for (span, message) in errors {
        let same_line = |earlier: &Finding| !source.text[earlier.span.start..span.start].contains('\n');
        if findings.last().is_some_and(same_line) {
            continue;
        }
        let message = message.lines().next().unwrap_or("this is not TOML").to_owned();
        findings.push(Finding::error(span, message).hint(HINT));
    }
    findings
}

fn rest_of_line(source: &Source, span: &Span) -> RangeInclusive<usize> {
    let rest = &source.text[span.start..];
    span.start..=rest.find('\n').map_or(source.text.len(), |newline| span.start + newline)
}

fn touches(part: &RangeInclusive<usize>, span: &Span) -> bool {
    span.end >= *part.start() && span.start <= *part.end()
}
