//! What differs between two versions, for people: by risk, each with why; then whom it reaches.

use super::table::{plain, wrapped};
use crate::config::compare::{Comparison, Difference, RouteChange};
use crate::config::fields::Risk;
use std::fmt::Write;

/// Differences of one risk that are shown at most.
const MAX_SHOWN: usize = 100;

/// Routes that are named at most.
const MAX_ROUTES: usize = 20;

/// The differences by risk, the highest first; a sentence if there are none.
pub(super) fn render(comparison: &Comparison) -> String {
    if comparison.is_empty() {
        return "nothing differs but the text: comments, form or order\n".to_owned();
    }
    let risks = [Risk::High, Risk::Medium, Risk::Low];
    let mut out: String = risks.into_iter().map(|risk| group(comparison, risk)).collect();
    if comparison.omitted > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "and {} more of no higher risk", comparison.omitted);
    }
    out + &reaches(comparison)
}

fn group(comparison: &Comparison, risk: Risk) -> String {
    let of_risk: Vec<&Difference> = comparison.differences.iter().filter(|it| it.risk == risk).collect();
    if of_risk.is_empty() {
        return String::new();
    }
    let mut lines = vec![format!("{risk} risk")];
    // What stands one below the other for the same reason has it once.
    let mut told = "";
    for difference in of_risk.iter().take(MAX_SHOWN) {
        if !told.is_empty() && told != difference.why {
            lines.extend(wrapped(told, "      why: "));
        }
        told = &difference.why;
        lines.extend(wrapped(&difference.what, "  "));
    }
    lines.extend(wrapped(told, "      why: "));
    let more = of_risk.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        lines.push(format!("  … and {more} more; --json shows all"));
    }
    lines.join("\n") + "\n"
}

/// Whose requests may notice.
fn reaches(comparison: &Comparison) -> String {
    let Comparison { routes, everything, .. } = comparison;
    let text = match (everything, routes.as_slice()) {
        (true, []) => "every route may notice".to_owned(),
        (true, routes) => format!("every route may notice; most of all: {}", named(routes)),
        (false, []) => "no route notices".to_owned(),
        (false, routes) => format!("routes that may notice: {}", named(routes)),
    };
    wrapped(&text, "").join("\n") + "\n"
}

fn named(routes: &[RouteChange]) -> String {
    let named: Vec<String> = routes.iter().take(MAX_ROUTES).map(word).collect();
    let more = routes.len().saturating_sub(MAX_ROUTES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

fn word(route: &RouteChange) -> String {
    let name = plain(&route.written);
    match (route.new, route.removed) {
        (true, _) => format!("{name} (new)"),
        (_, true) => format!("{name} (removed)"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(what: &str, risk: Risk, why: &str) -> Difference {
        let (path, what, why) = (String::new(), what.to_owned(), why.to_owned());
        Difference { path, what, before: None, after: None, risk, why }
    }

    fn route(name: &str, new: bool, removed: bool) -> RouteChange {
        RouteChange { name: name.into(), written: name.to_owned(), new, removed }
    }

    #[test]
    fn differences_stand_by_risk_with_why_and_whom_they_reach() {
        let comparison = Comparison {
            risk: Risk::High,
            differences: vec![
                difference(
                    "upstream orders: backend b moves from 10.0.0.2:80 to 10.0.0.9:80",
                    Risk::High,
                    "requests go to another server",
                ),
                difference(
                    "upstream orders: backend c moves from 10.0.0.3:80 to 10.0.0.8:80",
                    Risk::High,
                    "requests go to another server",
                ),
                difference(
                    "route \u{1b}[31m: timeout 4s → 5s",
                    Risk::Medium,
                    "raised, to not more than double",
                ),
            ],
            routes: vec![
                route("orders", false, false),
                route("more", true, false),
                route("old", false, true),
            ],
            ..Comparison::default()
        };
        let expected = "high risk\n\
             \x20 upstream orders: backend b moves from 10.0.0.2:80 to 10.0.0.9:80\n\
             \x20 upstream orders: backend c moves from 10.0.0.3:80 to 10.0.0.8:80\n\
             \x20     why: requests go to another server\n\
             medium risk\n\
             \x20 route ?[31m: timeout 4s → 5s\n\
             \x20     why: raised, to not more than double\n\
             routes that may notice: orders, more (new), old (removed)\n";
        assert_eq!(render(&comparison), expected);
    }

    #[test]
    fn many_are_cut_and_counted() {
        let differences = vec![difference("x", Risk::Low, "y"); MAX_SHOWN + 3];
        let text = render(&Comparison { differences, omitted: 7, everything: true, ..Comparison::default() });
        assert!(text.contains("… and 3 more") && text.contains("and 7 more of no higher risk"), "{text}");
        assert!(text.lines().count() < MAX_SHOWN + 6 && text.ends_with("every route may notice\n"), "{text}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert!(render(&Comparison::default()).starts_with("nothing differs"));
    }
}
