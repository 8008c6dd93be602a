//! `reference`: every reason, metric, event and key, as the Markdown that `deploy/REFERENCE.md` is. Made from what the
//! program itself has, so that nothing can be missing from it; no gateway is asked.

use crate::admin::catalogue;
use crate::config::reference::{Row, rows};
use crate::control::notify::ALERTS;
use crate::reject::Reason;
use crate::telemetry::events::schema::FIELDS;
use crate::telemetry::events::stream::Kind;
use std::fmt::{self, Write};

const HEAD: &str = "\
# Reference

Made by `tidegate reference`; a test compares. [Reasons](#reasons), [metrics](#metrics), [events](#events),
[alerts](#alerts), [keys](#keys). Bounds that are fixed are in [`LIMITS.md`](LIMITS.md), what an alert wants of you is in
[`RUNBOOK.md`](RUNBOOK.md), the admin API in [`OPERATING.md`](OPERATING.md).
";

const REASONS: &str = "
## Reasons

What `x-tidegate-reason`, `reason` in the access log and in problem objects, and `tidegate_refusals_total` say. Those
with Retry-After were refused for want of room: they cost the upstream nothing, count in `tidegate_shed_total`, and may
be tried again. `client_gone`, `client_too_slow`, `backend_too_slow` and `reset` may end an answer in its middle, when no
status can be sent any more; then only the log and the metrics have them. To gRPC 503 and 502 are status 14, 504 and 408 are 4, 429 and 413 are 8, 401 is 16, 403 is 7, 404 and 405
are 12, 500 is 13, others 3.

| reason | status | means | what to do |
|---|---|---|---|
";

const METRICS: &str = "
## Metrics

Prometheus text on `/metrics` of the admin address. Labels come from the configuration only; what matched no route or
upstream is `-`. Beside counts stands the limit that they are compared with. A backend is up when its name has an address
and neither its checks nor ejection leave it out. The gauges of a backend sum over the addresses of its name; latency and
ramp are means. The usual `process_…` are there too.

| metric | type | labels | is |
|---|---|---|---|
";

const EVENTS: &str = "
## Events

`GET /v1/events`, `tidegate events`, and whoever is notified. Each is a JSON object with `id` (grows, also from process to
process), `at` (RFC 3339, UTC), `kind`, `message` (for people; its words may change) and the fields of its step; a field
that has nothing to say is null or missing. The schema is stable: steps and fields are added, never renamed or given
another type.
";

const FIELD_HEAD: &str = "
### Fields

| field | holds | is |
|---|---|---|
";

const ALERTS_HEAD: &str = "
## Alerts

What notifications carry as `alert` or `alertname`. `events` is the word that a sink chooses it by; `page` stands for
whatever pages. What [`prometheus/alerts.yml`](prometheus/alerts.yml) has too is called so there, and is as urgent.

| alert | severity | `events` | type next |
|---|---|---|---|
";

const KEYS: &str = "
## Keys

`config/tidegate.toml` is the annotated reference, `config/schema.json` is for editors. `a[].b` is `b` of each of `a`.
Risk is that of a change of the key, and says what it needs (`tidegate plan`). Times are `250ms`, `5s`, `10m`; sizes
`64KiB`, `10MiB`; percentages `25%`.
";

/// All of it, as Markdown.
pub(super) fn markdown() -> String {
    let mut out = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ = reasons(&mut out);
    let _ = metrics(&mut out);
    let _ = events(&mut out);
    let _ = alerts(&mut out);
    let _ = keys(&mut out);
    out
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn reasons(out: &mut String) -> fmt::Result {
    out.write_str(REASONS)?;
    for reason in Reason::ALL {
        let again = if reason.is_shed() { ", Retry-After" } else { "" };
        let (word, status) = (reason.as_str(), reason.status().as_u16());
        let (meaning, advice) = (cell(reason.meaning()), cell(reason.advice()));
        writeln!(out, "| `{word}` | {status}{again} | {meaning} | {advice} |")?;
    }
    Ok(())
}

fn metrics(out: &mut String) -> fmt::Result {
    out.write_str(METRICS)?;
    for metric in catalogue::metrics().iter().filter(|metric| metric.name.starts_with("tidegate_")) {
        let (name, kind, labels) = (&metric.name, metric.kind, metric.labels.join(", "));
        writeln!(out, "| `{name}` | {kind} | {labels} | {} |", cell(&metric.help))?;
    }
    Ok(())
}

fn events(out: &mut String) -> fmt::Result {
    out.write_str(EVENTS)?;
    for kind in Kind::ALL {
        let shape = kind.shape();
        writeln!(out, "\n### `{}`\n", kind.as_str())?;
        writeln!(out, "| {} | when | fields |", shape.by.map(|by| format!("`{by}`")).unwrap_or_default())?;
        writeln!(out, "|---|---|---|")?;
        for step in shape.steps {
            let word = if step.word.is_empty() { String::new() } else { format!("`{}`", step.word) };
            let fields: Vec<_> = step.fields.iter().map(|field| format!("`{field}`")).collect();
            writeln!(out, "| {word} | {} | {} |", cell(step.when), fields.join(" "))?;
        }
    }
    out.write_str(FIELD_HEAD)?;
    for (name, holds, is) in FIELDS {
        writeln!(out, "| `{name}` | {} | {} |", holds.as_str(), cell(is))?;
    }
    Ok(())
}

fn alerts(out: &mut String) -> fmt::Result {
    out.write_str(ALERTS_HEAD)?;
    for alert in ALERTS {
        let (name, chapter, severity) = (alert.name, alert.chapter(), alert.severity.as_str());
        let (kind, next) = (alert.kind.as_str(), alert.next.replace("{}", "…"));
        writeln!(out, "| [`{name}`](RUNBOOK.md#{chapter}) | {severity} | `{kind}` | `{next}` |")?;
    }
    Ok(())
}

fn keys(out: &mut String) -> fmt::Result {
    out.write_str(KEYS)?;
    for Row { table, key, takes, default, risk, doc } in rows() {
        if key.is_empty() {
            writeln!(out, "\n### `{table}`\n\n{doc} Default: {default}. Risk: {risk}.\n")?;
            writeln!(out, "| key | takes | default | risk | is |\n|---|---|---|---|---|")?;
            continue;
        }
        let (takes, default, doc) = (cell(&takes), cell(&default), cell(&doc));
        writeln!(out, "| `{key}` | {takes} | {default} | {risk} | {doc} |")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_the_one_that_is_printed() {
        let committed = include_str!("../../deploy/REFERENCE.md");
        let lines = |text: &'static str| text.lines().collect::<std::collections::BTreeSet<_>>();
        let printed: &'static str = markdown().leak();
        let missing: Vec<_> = lines(printed).difference(&lines(committed)).copied().take(5).collect();
        assert!(
            printed == committed,
            "deploy/REFERENCE.md is out of date: `cargo run -q -- reference > deploy/REFERENCE.md`. Not in it are, \
             among others: {missing:#?}"
        );
    }
}
