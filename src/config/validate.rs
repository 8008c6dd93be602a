//! From the walked tree to the plan: everything that takes two fields to see.
//!
//! Each room's part has its file; they go on after mistakes like the walker does. What the walker already
//! reported is absent from the tree, so nothing is reported twice.

mod auth;
mod changes;
mod edge;
mod listeners;
mod public;
mod routes;
mod sinks;
mod upstreams;

use super::diagnostics::{Finding, Severity, Source, Span};
use super::fills::Fills;
use super::interpolate::Environment;
use super::plan::Plan;
use super::suggest::nearest;
use super::value::{Table, Value};
use std::collections::HashMap;
use std::path::Path;

/// The plan, if nothing is wrong; what is wrong is added to `findings`.
pub fn plan(
    root: &Table,
    source: &Source,
    directory: &Path,
    env: &dyn Environment,
    findings: &mut Vec<Finding>,
) -> Option<Plan> {
    let mut check = Check { source, directory, env, findings };
    let gateway = root.table("gateway").and_then(|table| edge::gateway(table, &mut check));
    let admin = root.table("admin").and_then(|table| edge::admin(table, &mut check));
    let access_log = root.table("access_log").and_then(|table| edge::access_log(table, &mut check));
    let listeners = listeners::all(root, &mut check);
    let upstreams = upstreams::all(root, gateway.as_ref(), &mut check);
    let auths = auth::all(root, &upstreams, &mut check);
    let routes = routes::all(root, gateway.as_ref(), &upstreams, &mut check);
    let sinks = sinks::all(root, &mut check);
    let incidents = root.table("incidents").and_then(public::incidents);
    let status_page = public::status_page(root, &mut check);
    let rollout = root.table("rollout").and_then(|table| changes::rollout(table, &mut check));
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return None;
    }
    if routes.is_empty() {
        findings.push(Finding::note(
            root.span.clone(),
            "there are no routes: every request is answered with 404",
        ));
    }
    Some(Plan {
        hash: blake3::hash(source.text.as_bytes()).to_hex().to_string(),
        gateway: gateway?,
        admin: admin?,
        listeners: listeners.into_iter().collect::<Option<_>>()?,
        upstreams: upstreams.into_iter().collect::<Option<_>>()?,
        auths: auths.into_iter().collect::<Option<_>>()?,
        routes: routes.into_iter().collect::<Option<_>>()?,
        rollout: rollout?,
        sinks: sinks.into_iter().flatten().collect(),
        access_log: access_log?,
        incidents: incidents?,
        status_page,
        fills: Fills::default(),
        notices: Vec::new(),
    })
}

/// What every part of the validation needs.
struct Check<'a> {
    source: &'a Source,
    directory: &'a Path,
    env: &'a dyn Environment,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn error(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.report(Finding::error(span, message).hint(hint));
    }

    fn warning(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.report(Finding::warning(span, message).hint(hint));
    }

    /// What stands at `span` in the file: placeholders, not what fills them.
    fn quote(&self, span: &Span) -> String {
        self.source.excerpt(span)
    }

    /// Reports names that are given twice.
    fn distinct<'t>(&mut self, what: &str, names: impl Iterator<Item = Option<&'t Value>>) {
        let mut first: HashMap<&str, &Value> = HashMap::new();
        for value in names.flatten() {
            let Some(name) = value.text() else { continue };
            match first.get(name) {
                Some(earlier) => {
                    let message = format!("two {what} are named {}", self.quote(&value.span));
                    let finding = Finding::error(value.span.clone(), message);
                    self.report(
                        finding.related(earlier.span.clone(), "the first").hint("give one another name"),
                    );
                }
                None => drop(first.insert(name, value)),
            }
        }
    }

    /// The index of the table of `targets` that `reference` names; reports it if there is none.
    fn refer<'t>(
        &mut self,
        what: &str,
        reference: &Value,
        targets: impl Iterator<Item = &'t Table>,
    ) -> Option<usize> {
        let wanted = reference.text()?;
        let (mut names, mut unnamed) = (Vec::new(), false);
        for (index, target) in targets.enumerate() {
            match target.get("name") {
                Some(name) if name.text() == Some(wanted) => return Some(index),
                Some(name) => names.extend(name.text().filter(|_| !name.filled)),
                None => unnamed = true,
            }
        }
        // Probably the one whose name is missing or wrong, which was reported.
        if unnamed {
            return None;
        }
        let meant = if reference.filled { None } else { nearest(wanted, names.iter().copied()) };
        let hint = match meant {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None if names.is_empty() => format!("there is no {what} yet; add it"),
            None => format!("known are {}", listed(&names)),
        };
        let message = format!("there is no {what} named {}", self.quote(&reference.span));
        self.error(reference.span.clone(), message, hint);
        None
    }

    /// A file that is not there may still come, so this only warns: loading it decides.
    fn file(&mut self, table: &Table, key: &str) {
        let Some(path) = table.path(key) else { return };
        if !self.env.exists(path) {
            let span = table.span_of(key);
            let message = format!("the file {} is not there", self.quote(&span));
            self.warning(span, message, "paths are relative to the configuration file");
        }
    }
}

/// The first few of many names.
fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(8)].join(", ");
    if names.len() > 8 { format!("{shown}, …") } else { shown }
}

/// A name from the tree, shared.
fn shared(table: &Table, key: &str) -> Option<std::sync::Arc<str>> {
    table.text(key).map(Into::into)
}

/// A path from the tree.
fn owned(path: Option<&std::path::PathBuf>) -> Option<std::path::PathBuf> {
    path.map(|path| Path::to_path_buf(path))
}
