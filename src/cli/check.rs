//! `check`: everything that is wrong with a file, at once, without the network; with `--probe` also whether anybody is
//! at the addresses that it names, as seen from here. No gateway is asked.
#![expect(clippy::disallowed_methods, reason = "a command of its own process")]

use super::table::wrapped;
use super::{Failure, print};
use crate::config::plan::Plan;
use crate::config::{self, Fillings, ProcessEnvironment};
use crate::control::probe::{DEADLINE, Finding, Prober, Progress, Scope, Wanted, gates};
use crate::runtime;
use crate::runtime::descriptors::Descriptors;
use crate::telemetry::metrics::Metrics;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Connections that a probe from here may hold; it makes far fewer at a time.
const CONNECTIONS: u32 = 1_024;

/// Between two looks at how far a probe has come.
const LOOK: Duration = Duration::from_millis(100);

/// Prints what was found; the status is 1 if there is no plan, or if the probe refuses it.
pub(super) fn check(file: &Path, probe: bool, json: bool) -> Result<ExitCode, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", file.display())))?;
    let mut checked = config::check(&text, file, &ProcessEnvironment);
    let plan = checked.plan.take();
    let (valid, hash) = (plan.is_some(), plan.as_ref().map(|plan| plan.hash.clone()));
    if !json {
        let stderr = io::stderr();
        let findings = checked.render(stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none());
        // Nobody is left to tell if standard error is closed.
        let _ = stderr.lock().write_all(findings.as_bytes());
    }
    let probed = match plan.filter(|_| probe) {
        Some(plan) => Some(look(plan, &text, file, json)?),
        None => None,
    };
    let refused = probed.as_ref().is_some_and(|(findings, _)| gates(findings));
    if json {
        let mut answer = serde_json::json!({ "valid": valid, "hash": hash, "findings": checked.json() });
        if let Some((findings, _)) = &probed {
            answer["probe"] = serde_json::json!(findings);
        }
        print(&format!("{answer:#}\n"));
    } else if valid {
        let probed = probed.map(|(findings, places)| told(&findings, places)).unwrap_or_default();
        print(&format!("{probed}{} is valid\n", file.display()));
    }
    Ok(if valid && !refused { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Probes everything in a file, whatever may run elsewhere; and says of how many places that is.
fn look(plan: Plan, text: &str, file: &Path, json: bool) -> Result<(Vec<Finding>, usize), Failure> {
    let failed = |error: io::Error| Failure::refused(format!("the probe cannot begin: {error}"));
    let descriptors = Arc::new(Descriptors::with_budget(CONNECTIONS));
    let (prober, jobs) = Prober::open(descriptors, Arc::new(Metrics::new(1)));
    let progress = Arc::<Progress>::default();
    let (candidate, scope) = (Arc::new(plan), Scope::Everything);
    let wanted = Wanted { candidate, active: None, scope, progress: progress.clone() };
    // It ends with the process.
    runtime::spawn("probe", move || jobs.run()).map_err(failed)?;
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let shown = !json && io::stderr().is_terminal();
    let findings = own.block_on(async {
        tokio::select! {
            findings = prober.ask(wanted, DEADLINE) => findings,
            never = show(&progress, shown) => match never {},
        }
    });
    if shown {
        let _ = io::stderr().write_all(b"\r\x1b[K");
    }
    let directory = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let fillings = Fillings::of(text, directory.parent().unwrap_or(Path::new("")), &ProcessEnvironment);
    let findings = findings.into_iter().map(|finding| finding.unfilled(|text| fillings.hide_words(text)));
    Ok((findings.collect(), progress.now().1))
}

/// How far it has come, on a terminal.
async fn show(progress: &Progress, shown: bool) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        let (done, of) = progress.now();
        if shown {
            // Nobody looks if standard error is closed.
            let _ = write!(io::stderr(), "\r\x1b[Kprobing: {done} of {of} addresses");
        }
    }
}

/// What was found, for people.
fn told(findings: &[Finding], places: usize) -> String {
    let line = |finding: &Finding| {
        let at = if finding.address.is_empty() { String::new() } else { format!(" ({})", finding.address) };
        let text = format!("{}{at}: {}", finding.target, finding.what);
        wrapped(&text, &format!("{}: ", finding.severity.as_str())).join("\n")
    };
    let mut out: String = findings.iter().map(|finding| line(finding) + "\n").collect();
    let refusing = findings.iter().filter(|finding| finding.gates()).count();
    out += &match (refusing, findings.len()) {
        (0, 0) => format!("probed {places} addresses: somebody is at each of them\n"),
        (0, _) => format!("probed {places} addresses: nothing refuses the change\n"),
        (1, _) => format!("probed {places} addresses: 1 finding refuses the change\n"),
        (count, _) => format!("probed {places} addresses: {count} findings refuse the change\n"),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::policy::Weight;

    #[test]
    fn what_the_probe_found_is_told_in_lines_that_fit_and_obey_nobody() {
        let finding = |severity, what: &str| Finding {
            target: "auth session".into(),
            address: "auth.test:80".into(),
            severity,
            what: what.into(),
        };
        let findings = [
            finding(
                Weight::Gate,
                "cannot be reached: its name does not resolve: no name server answered within 2s",
            ),
            finding(Weight::Warning, "\u{1b}[31mred"),
        ];
        let text = told(&findings, 7);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.starts_with("gate: auth session (auth.test:80): cannot be reached"), "{text}");
        assert!(
            text.contains("?[31mred") && text.ends_with("7 addresses: 1 finding refuses the change\n"),
            "{text}"
        );
        assert_eq!(told(&[], 2), "probed 2 addresses: somebody is at each of them\n");
    }
}
