//! Incidents and the status page.

use super::Check;
use super::listeners::collide;
use crate::config::diagnostics::Finding;
use crate::config::fields::Risk;
use crate::config::public::{Incidents, Shown, StatusPage};
use crate::config::value::Table;

/// Characters of a name or a title that everyone reads.
const MAX_NAME: usize = 80;
/// The same of a description.
const MAX_DESCRIPTION: usize = 200;

/// `[incidents]`.
pub fn incidents(table: &Table) -> Option<Incidents> {
    Some(Incidents {
        drafts: table.bool("drafts")?,
        shed: table.number("shed")? / 100.0,
        shed_for: table.duration("shed_for")?,
        backends_out: table.number("backends_out")? / 100.0,
        backends_for: table.duration("backends_for")?,
        reverts: table.bool("reverts")?,
        break_glass: table.bool("break_glass")?,
        redraft_after: table.duration("redraft_after")?,
        freeze_from: if table.text("freeze_from")? == "high" { Risk::High } else { Risk::Medium },
    })
}

/// `[status_page]`, if the file has it.
pub fn status_page(root: &Table, check: &mut Check<'_>) -> Option<StatusPage> {
    let table = root.table("status_page")?;
    alone(root, table, check);
    line(table, "title", MAX_NAME, check);
    check.distinct(
        "upstreams of the status page",
        table.tables("upstreams").map(|shown| shown.get("upstream")),
    );
    let shown = table.tables("upstreams").filter_map(|shown| self::shown(root, shown, check));
    let shown = shown.collect();
    Some(StatusPage {
        address: table.socket("address")?,
        title: table.text("title")?.trim().to_owned(),
        shown,
    })
}

fn shown(root: &Table, table: &Table, check: &mut Check<'_>) -> Option<Shown> {
    if let Some(upstream) = table.get("upstream") {
        check.refer("upstream", upstream, root.tables("upstreams"));
    }
    line(table, "name", MAX_NAME, check);
    line(table, "description", MAX_DESCRIPTION, check);
    Some(Shown {
        upstream: table.text("upstream")?.into(),
        name: table.text("name")?.trim().to_owned(),
        description: table.text("description").map(|text| text.trim().to_owned()),
    })
}

/// Reports what is no line of a readable length.
fn line(table: &Table, key: &str, most: usize, check: &mut Check<'_>) {
    let Some(text) = table.text(key) else { return };
    let length = text.trim().chars().count();
    if length == 0 || length > most || text.chars().any(char::is_control) {
        let message = format!("`{key}` is no line of 1 to {most} characters");
        check.error(table.span_of(key), message, "everyone reads it: say it in a few words");
    }
}

/// The page has an address of its own.
fn alone(root: &Table, table: &Table, check: &mut Check<'_>) {
    let Some(address) = table.socket("address") else { return };
    let admin = root.table("admin").into_iter().map(|admin| (admin, "the admin server listens here"));
    let listeners = root.tables("listeners").map(|listener| (listener, "a listener has it"));
    for (other, why) in admin.chain(listeners) {
        if other.socket("address").is_some_and(|other| collide(other, address)) {
            let span = table.span_of("address");
            let message = format!("the address {} is taken", check.quote(&span));
            let finding = Finding::error(span, message).related(other.span_of("address"), why);
            check.report(finding.hint("the status page is for everyone, so it has an address of its own"));
            return;
        }
    }
}
