//! `permits`: who holds the slots: counted first, then the oldest, then who holds most. On a screen of 80 columns names
//! may be cut in their middle; where there is more room they are whole.

use super::client::Client;
use super::client::text::in_query;
use super::table::{WIDTH, column, columns, fit, fit_middle, plain};
use super::{Failure, print};
use crate::control::permits::PermitsView;
use std::fmt::Write;
use std::process::ExitCode;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct PermitsArgs {
    /// Only of this upstream.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Only of this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only of this client's address.
    #[arg(long, value_name = "IP")]
    client: Option<String>,
    /// How many to list, the oldest first; everything is counted.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    limit: u32,
}

/// Asks the gateway and prints who holds what.
pub(super) fn permits(client: &Client, wanted: &PermitsArgs, json: bool) -> Result<ExitCode, Failure> {
    let mut path = format!("/v1/permits?limit={}", wanted.limit);
    let filters = [("upstream", &wanted.upstream), ("route", &wanted.route), ("client", &wanted.client)];
    for (name, value) in filters {
        if let Some(value) = value {
            path += &format!("&{name}={}", in_query(value));
        }
    }
    if json {
        let view: serde_json::Value = client.get(&path)?;
        print(&format!("{view:#}\n"));
    } else {
        print(&render(&client.get(&path)?, columns()));
    }
    Ok(ExitCode::SUCCESS)
}

/// In lines of at most `width` columns.
fn render(view: &PermitsView, width: usize) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = summary(&mut out, view, width);
    let _ = items(&mut out, view, width);
    out
}

fn summary(out: &mut String, view: &PermitsView, width: usize) -> std::fmt::Result {
    for core in &view.unanswered {
        writeln!(out, "! core {core} did not answer: what it holds is missing here")?;
    }
    if view.total == 0 {
        return writeln!(out, "nobody holds a slot");
    }
    let spare = width.saturating_sub(WIDTH) / 2;
    let upstreams = column(view.summary.iter().map(|group| group.upstream.as_str()), 17, spare);
    let routes = column(view.summary.iter().map(|group| group.route.as_str()), 17, spare);
    let row = |cells: [&str; 4], count: &str, oldest: &str| {
        let [upstream, route, class, phase] = cells.map(plain);
        let (upstream, route) = (fit_middle(&upstream, upstreams), fit_middle(&route, routes));
        let line =
            format!("{upstream:<upstreams$} {route:<routes$} {class:<9} {phase:<19} {count:>6} {oldest:>7}");
        fit(line.trim_end(), width)
    };
    writeln!(out, "{}", row(["upstream", "route", "class", "phase"], "count", "oldest"))?;
    for group in &view.summary {
        let cells = [group.upstream.as_str(), &group.route, &group.class, &group.phase];
        writeln!(out, "{}", row(cells, &group.count.to_string(), &age(group.oldest_seconds)))?;
    }
    let most = view.clients.iter().take(3).map(|share| format!("{} {}", plain(&share.client), share.count));
    writeln!(out, "{}", fit(&format!("most by: {}", most.collect::<Vec<_>>().join("  ")), width))
}

fn items(out: &mut String, view: &PermitsView, width: usize) -> std::fmt::Result {
    if view.items.is_empty() {
        return Ok(());
    }
    let spare = width.saturating_sub(WIDTH) / 3;
    let clients = column(view.items.iter().map(|item| item.client.as_str()), 21, spare);
    let upstreams = column(view.items.iter().map(|item| item.upstream.as_str()), 14, spare);
    let routes = column(view.items.iter().map(|item| item.route.as_str()), 14, spare);
    let row = |cells: [&str; 4], oldest: &str| {
        let [client, upstream, route, phase] = cells.map(plain);
        let (client, upstream) = (fit_middle(&client, clients), fit_middle(&upstream, upstreams));
        let route = fit_middle(&route, routes);
        let line =
            format!("{client:<clients$} {upstream:<upstreams$} {route:<routes$} {phase:<19} {oldest:>8}");
        fit(line.trim_end(), width)
    };
    writeln!(out, "\n{}", row(["client", "upstream", "route", "phase"], "age"))?;
    for item in &view.items {
        let cells = [item.client.as_str(), &item.upstream, &item.route, &item.phase];
        writeln!(out, "{}", row(cells, &age(item.age_seconds)))?;
    }
    match view.total.saturating_sub(view.items.len()) {
        0 => Ok(()),
        more => writeln!(out, "and {more} younger ones"),
    }
}

fn age(seconds: f64) -> String {
    match seconds {
        young if young < 100.0 => format!("{young:.1}s"),
        old if old < 6_000.0 => format!("{:.0}m", old / 60.0),
        old => format!("{:.0}h", old / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::permits::{ClientShare, PermitGroup, PermitView};

    fn view() -> PermitsView {
        PermitsView {
            items: vec![PermitView {
                upstream: "orders".into(),
                route: "checkout".into(),
                class: "critical".into(),
                client: "2001:db8:1234:5678:9abc:def0:1234:5678".into(),
                phase: "waiting_for_backend".into(),
                age_seconds: 41.23,
            }],
            total: 64,
            truncated: true,
            summary: vec![PermitGroup {
                upstream: "orders".into(),
                route: "checkout".into(),
                class: "critical".into(),
                phase: "waiting_for_backend".into(),
                count: 64,
                oldest_seconds: 41.23,
            }],
            clients: vec![ClientShare { client: "192.0.2.1".into(), count: 64, oldest_seconds: 41.23 }],
            unanswered: vec![1],
        }
    }

    #[test]
    fn the_screen_looks_like_this() {
        let expected = "\
! core 1 did not answer: what it holds is missing here
upstream          route             class     phase                count  oldest
orders            checkout          critical  waiting_for_backend     64   41.2s
most by: 192.0.2.1 64

client                upstream       route          phase                    age
2001:db8:1…:1234:5678 orders         checkout       waiting_for_backend    41.2s
and 63 younger ones
";
        assert_eq!(render(&view(), WIDTH), expected);
        assert_eq!(render(&PermitsView::default(), WIDTH), "nobody holds a slot\n");
    }

    #[test]
    fn where_there_is_room_names_are_whole() {
        let mut view = view();
        view.summary[0].upstream = "u".repeat(60);
        view.items[0].route = "r".repeat(90);
        let screen = render(&view, usize::MAX);
        for whole in ["u".repeat(60), "r".repeat(90), view.items[0].client.clone()] {
            assert!(screen.contains(&whole), "{screen}");
        }
        let wide = render(&view, 120);
        assert!(wide.lines().all(|line| line.chars().count() <= 120) && wide.contains('…'), "{wide}");
    }

    #[test]
    fn the_table_fits_80_columns_and_commands_nothing() {
        let mut view = view();
        view.items[0].route = "r\x1b[31m".repeat(50);
        view.summary[0].upstream = "u\n".repeat(50);
        view.clients[0].client = "c".repeat(500);
        let screen = render(&view, WIDTH);
        assert!(screen.lines().all(|line| line.chars().count() <= WIDTH), "{screen}");
        assert!(!screen.contains('\x1b') && screen.lines().count() == 8, "{screen}");
    }
}
