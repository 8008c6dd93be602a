//! `check`: everything that is wrong with a file, at once, without the network.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use super::{Failure, print};
use crate::config::{self, ProcessEnvironment};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints what was found; the status is 1 if there is no plan.
pub(super) fn check(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", file.display())))?;
    let checked = config::check(&text, file, &ProcessEnvironment);
    let valid = !checked.is_refused();
    if json {
        let hash = checked.plan.as_ref().map(|plan| plan.hash.as_str());
        let answer = serde_json::json!({ "valid": valid, "hash": hash, "findings": checked.json() });
        print(&format!("{answer:#}\n"));
    } else {
        let stderr = io::stderr();
        let findings = checked.render(stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none());
        // Nobody is left to tell if standard error is closed.
        let _ = stderr.lock().write_all(findings.as_bytes());
        if valid {
            print(&format!("{} is valid\n", file.display()));
        }
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
