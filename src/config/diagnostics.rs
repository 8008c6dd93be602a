//! What `check` has to say: findings with their place, for people and for machines.
//!
//! A finding quotes the text of the file, so that what was filled in from the environment is never shown.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};
use std::ops::Range;

/// A place in the text, in bytes; always on character boundaries inside the text.
pub type Span = Range<usize>;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// There is no plan.
    Error,
    /// There is a plan, but probably not the one that was meant.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The word in the output of `check`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One thing that `check` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What happened, in a sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Another place that it is about, with a word on why.
    pub related: Option<(Span, String)>,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding because of which there is no plan.
    pub fn error(span: Span, message: impl Into<String>) -> Finding {
        Finding::new(Severity::Error, span, message)
    }

    /// A finding that a person should look at.
    pub fn warning(span: Span, message: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, span, message)
    }

    /// A finding that is good to know.
    pub fn note(span: Span, message: impl Into<String>) -> Finding {
        Finding::new(Severity::Note, span, message)
    }

    fn new(severity: Severity, span: Span, message: impl Into<String>) -> Finding {
        Finding { severity, message: message.into(), span, related: None, hint: None }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }

    /// With another place that it is about.
    pub fn related(mut self, span: Span, why: impl Into<String>) -> Finding {
        self.related = Some((span, why.into()));
        self
    }
}

/// A text with its name, for turning spans into lines.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name shown in findings.
    pub name: String,
    /// The text before filling.
    pub text: String,
}

impl Source {
    /// The first line: the place of what is missing in the whole.
    pub fn first_line(&self) -> Span {
        0..self.text.lines().next().map_or(0, str::len)
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..self.inside(at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `span`, moved to character boundaries inside the text.
    pub fn clamp(&self, span: &Span) -> Span {
        let start = self.inside(span.start);
        start..self.inside(span.end).max(start)
    }

    /// The first line of what stands at `span`, shortened, as it is in the file.
    pub fn excerpt(&self, span: &Span) -> String {
        let line = self.text[self.clamp(span)].lines().next().unwrap_or_default();
        match line.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.to_owned(),
        }
    }

    fn inside(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// Renders findings as compilers do, each with its lines and what to do.
    pub fn render(&self, findings: &[Finding], coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        for finding in findings {
            out.push_str(&renderer.render(&[self.group(finding)]));
            out.push_str("\n\n");
        }
        out
    }

    fn group<'a>(&'a self, finding: &'a Finding) -> Group<'a> {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let title = level.primary_title(finding.message.as_str());
        let mut group = title.element(self.snippet(&finding.span, AnnotationKind::Primary, None));
        if let Some((span, why)) = &finding.related {
            group = group.element(self.snippet(span, AnnotationKind::Context, Some(why)));
        }
        if let Some(hint) = &finding.hint {
            group = group.element(Level::HELP.with_name(Some("hint")).message(hint.as_str()));
        }
        group
    }

    /// Only the lines around the span are handed on: the renderer reads all that it is given.
    fn snippet<'a>(
        &'a self,
        span: &Span,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let span = self.clamp(span);
        let start = self.text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[span.end..].find('\n').map_or(self.text.len(), |newline| span.end + newline);
        let annotation = kind.span(span.start - start..span.end - start).label(label);
        // The end of a DOS line would be drawn as a sign of its own.
        let lines = self.text[start..end].strip_suffix('\r').filter(|line| start + line.len() >= span.end);
        Snippet::source(lines.unwrap_or(&self.text[start..end]))
            .line_start(self.position(span.start).0)
            .path(self.name.as_str())
            .annotation(annotation)
    }

    /// Findings for machines: `[{file, line, column, text, message, hint, severity}]`.
    pub fn json(&self, findings: &[Finding]) -> Value {
        Value::Array(findings.iter().map(|finding| self.json_of(finding)).collect())
    }

    fn json_of(&self, finding: &Finding) -> Value {
        let (line, column) = self.position(finding.span.start);
        let mut object = json!({
            "file": self.name,
            "line": line,
            "column": column,
            "text": self.excerpt(&finding.span),
            "message": finding.message,
            "hint": finding.hint,
            "severity": finding.severity.as_str(),
        });
        if let Some((span, why)) = &finding.related {
            let (line, column) = self.position(span.start);
            object["related"] = json!({ "line": line, "column": column, "message": why });
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source { name: "gateway.toml".into(), text: "[gateway]\nwörkers = 1\nx = \"${SECRET}\"\n".into() }
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = source();
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(10), (2, 1));
        let two_bytes_in = source.text.find("rkers").unwrap();
        assert_eq!(source.position(two_bytes_in), (2, 3));
        assert_eq!(source.position(9_999), (4, 1));
    }

    #[test]
    fn a_finding_shows_its_line_underlined_with_a_hint() {
        let source = source();
        let finding = Finding::error(10..18, "unknown key `wörkers`")
            .hint("did you mean `workers`?")
            .related(0..9, "in this table");
        let text = source.render(std::slice::from_ref(&finding), false);
        for part in [
            "error",
            "unknown key `wörkers`",
            "gateway.toml:2:1",
            "^^^^^^^",
            "hint: did you mean `workers`?",
            "in this table",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let json = source.json(&[finding]);
        assert_eq!(json[0]["line"], 2);
        assert_eq!(json[0]["text"], "wörkers");
        assert_eq!(json[0]["related"]["line"], 1);
    }

    #[test]
    fn spans_outside_the_text_are_moved_inside() {
        let source = source();
        assert_eq!(source.clamp(&(11..12)), 11..11, "the second byte of ö");
        assert_eq!(source.clamp(&(500..600)), source.text.len()..source.text.len());
    }
}
