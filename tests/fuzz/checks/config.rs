//! A configuration, as a person or a program writes it.

use std::io;
use std::path::Path;
use tidegate::config::{self, Checked, Environment, Severity};

/// What every variable and every file is filled with.
const SECRET: &str = "qx7-never-shown-zv9";

/// Knows every variable and every file, and touches nothing.
struct Known;

impl Environment for Known {
    fn variable(&self, _name: &str) -> Option<String> {
        Some(SECRET.to_owned())
    }

    fn read(&self, _path: &Path) -> io::Result<String> {
        Ok(SECRET.to_owned())
    }

    fn exists(&self, _path: &Path) -> bool {
        true
    }
}

/// Never panics, gives the same verdict twice, refuses exactly when it says an error, with its place in the
/// text, and never shows what was filled in.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let checked = check(text);
    let shown = checked.render(false);
    let is_error = |finding: &config::Finding| finding.severity == Severity::Error;
    assert_eq!(checked.is_refused(), checked.findings.iter().any(is_error), "{shown}");
    for finding in &checked.findings {
        assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
    }
    let notices = checked.plan.as_ref().map(|plan| plan.notices.join("\n"));
    let said = format!("{shown}{}{:?}{notices:?}", checked.json(), checked.errors());
    assert!(!said.contains(SECRET) || text.contains(SECRET), "{said}");
    assert_eq!(check(text).json(), checked.json());
}

fn check(text: &str) -> Checked {
    config::check(text, Path::new("/nonexistent/gateway.toml"), &Known)
}
