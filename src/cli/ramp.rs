//! `ramp`, `drain` and `ready`: the levers, moved and shown.

use super::client::{Client, ClientError};
use super::table::{WIDTH, fit, plain, span};
use super::{Failure, print};
use crate::config::units;
use crate::control::steering::forecast::Forecast;
use crate::control::view::{LeverView, ThenView};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

/// What to do with ramps.
#[derive(Debug, clap::Subcommand)]
pub(super) enum RampVerb {
    /// Let an upstream or a backend carry a percentage of what it holds when it is well.
    Set {
        /// UPSTREAM or UPSTREAM/BACKEND.
        target: Target,
        /// 0 to 100, such as 25, 25% or 2.5.
        #[arg(value_parser = percent)]
        percent: f64,
        /// The next percentage, after --after.
        #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "after")]
        then: Option<f64>,
        /// How long until then, such as 10m.
        #[arg(long, value_name = "DURATION", value_parser = duration, requires = "then")]
        after: Option<String>,
        /// Requests in flight that the percentage is of, in place of what was learned.
        #[arg(long, value_name = "NUMBER", value_parser = reference, allow_negative_numbers = true)]
        reference: Option<f64>,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Stop the clock of the next step.
    Pause {
        /// UPSTREAM or UPSTREAM/BACKEND.
        target: Target,
    },
    /// Let the clock of the next step go on.
    Resume {
        /// UPSTREAM or UPSTREAM/BACKEND.
        target: Target,
    },
    /// Take a ramp away: everything is carried again.
    Clear {
        /// UPSTREAM or UPSTREAM/BACKEND.
        target: Target,
    },
    /// Show every ramp and drain, or one ramp.
    #[command(alias = "list")]
    Show {
        /// UPSTREAM or UPSTREAM/BACKEND.
        target: Option<Target>,
    },
}

/// An upstream, or one of its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    upstream: String,
    backend: Option<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let (upstream, backend) = match text.split_once('/') {
            Some((upstream, backend)) => (upstream, Some(backend)),
            None => (text, None),
        };
        if !is_name(upstream) || backend.is_some_and(|backend| !is_name(backend)) {
            return Err("expected UPSTREAM or UPSTREAM/BACKEND".to_owned());
        }
        Ok(Target { upstream: upstream.to_owned(), backend: backend.map(str::to_owned) })
    }
}

/// One backend.
#[derive(Clone, Debug)]
pub(super) struct BackendTarget(Target);

impl FromStr for BackendTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let target: Target = text.parse().map_err(|_| "expected UPSTREAM/BACKEND")?;
        if target.backend.is_none() { Err("expected UPSTREAM/BACKEND".into()) } else { Ok(Self(target)) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            None => f.write_str(&self.upstream),
            Some(backend) => write!(f, "{}/{backend}", self.upstream),
        }
    }
}

impl Target {
    /// By names that the gateway told.
    pub(super) fn of(upstream: &str, backend: Option<&str>) -> Self {
        Target { upstream: upstream.to_owned(), backend: backend.map(str::to_owned) }
    }

    /// Where it is in the API. Names need no escaping.
    pub(super) fn path(&self) -> String {
        match &self.backend {
            None => format!("/v1/upstreams/{}", self.upstream),
            Some(backend) => format!("/v1/upstreams/{}/backends/{backend}", self.upstream),
        }
    }
}

/// The answer to everything that concerns one lever.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(flatten)]
    lever: LeverView,
    set: bool,
    persisted: Option<bool>,
}

/// `ramp …`.
pub(super) fn ramp(client: &Client, verb: RampVerb, json: bool) -> Result<ExitCode, Failure> {
    let (method, target, more, body) = match verb {
        RampVerb::Show { target: None } => return list(client, json),
        RampVerb::Show { target: Some(target) } => (Method::GET, target, "", None),
        RampVerb::Pause { target } => (Method::POST, target, ":pause", None),
        RampVerb::Resume { target } => (Method::POST, target, ":resume", None),
        RampVerb::Clear { target } => (Method::DELETE, target, "", None),
        RampVerb::Set { target, percent, then, after, reference, reason } => {
            let mut body = json!({ "percent": percent, "reason": reason });
            if let (Some(then), Some(after)) = (then, after) {
                body["then"] = then.into();
                body["after"] = after.into();
            }
            if let Some(reference) = reference {
                body["reference"] = reference.into();
            }
            (Method::PUT, target, "", Some(body))
        }
    };
    let path = format!("{}/ramp{more}", target.path());
    let answer: Value = client.ask(method, &path, body.as_ref())?;
    show(client, answer, json)
}

/// `drain` and `ready`.
pub(super) fn drain(
    client: &Client,
    BackendTarget(target): &BackendTarget,
    drain: bool,
    reason: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let state = if drain { "drain" } else { "ready" };
    let body = json!({ "state": state, "reason": reason });
    let answer = client.ask(Method::PUT, &format!("{}/state", target.path()), Some(&body))?;
    show(client, answer, json)
}

fn show(client: &Client, answer: Value, json: bool) -> Result<ExitCode, Failure> {
    match json {
        true => print(&format!("{answer:#}\n")),
        false => print(&told(client, answer)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of a lever, what will be shed now, and whether a restart will know: a line each.
///
/// # Errors
/// If it is no answer about a lever.
pub(super) fn told(client: &Client, answer: Value) -> Result<String, ClientError> {
    let answer: Answer = client.read(answer)?;
    let mut out = words(&answer) + "\n";
    if let Some(forecast) = &answer.lever.forecast {
        out += &format!("{}\n", outlook(&answer.lever.upstream, forecast));
    }
    if answer.persisted == Some(false) {
        out += "warning: it acts, but is not on disk yet: a restart may not know it\n";
    }
    Ok(out)
}

fn words(answer: &Answer) -> String {
    let name = name(&answer.lever);
    match (answer.lever.kind.as_str(), answer.set, answer.persisted) {
        ("drain", true, _) => format!("{name} is drained: no new requests"),
        ("drain", false, Some(_)) => format!("{name} is back"),
        ("drain", false, None) => format!("{name} was not drained"),
        (_, true, _) => sentence(&answer.lever),
        (_, false, _) => format!("{name} has no ramp"),
    }
}

fn list(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let answer: Value = client.get("/v1/levers")?;
    if json {
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let items: Vec<LeverView> = client.read(answer["items"].clone())?;
    print(&table(&items, Timestamp::now()));
    Ok(ExitCode::SUCCESS)
}

/// Every lever, and under it who moved it and why.
fn table(levers: &[LeverView], now: Timestamp) -> String {
    if levers.is_empty() {
        return "no ramps, and nothing is drained\n".to_owned();
    }
    let mut out = String::new();
    row(&mut out, "upstream / backend", ["ramp", "then", "since", "sheds"]);
    for lever in levers {
        let ramp = if lever.kind == "drain" { "drain".to_owned() } else { percent_text(lever.percent) };
        let then = lever.then.as_ref().map(then_text).unwrap_or_default();
        let since = lever
            .since
            .parse()
            .map_or("-".to_owned(), |since: Timestamp| span(now.duration_since(since).as_secs_f64()));
        let sheds = lever.forecast.map_or("-".to_owned(), |forecast| percent_text(forecast.shed_percent));
        row(&mut out, &name(lever), [&ramp, &then, &since, &sheds]);
        let why = if lever.reason.is_empty() { "" } else { ": " };
        let signed = format!("  by {}{why}{}", plain(&lever.by), plain(&lever.reason));
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", fit(&signed, WIDTH));
        if lever.forecast.is_none() && lever.kind == "ramp" {
            out += "  waits: the active version has no such name\n";
        }
    }
    out
}

fn row(out: &mut String, name: &str, [ramp, then, since, sheds]: [&str; 4]) {
    let (name, then) = (fit(name, 32), fit(then, 21));
    let line = format!("{name:<32} {ramp:>6}  {then:<21} {since:>8} {sheds:>7}");
    let _ = writeln!(out, "{}", fit(line.trim_end(), WIDTH));
}

fn name(lever: &LeverView) -> String {
    plain(&match &lever.backend {
        None => lever.upstream.clone(),
        Some(backend) => format!("{}/{backend}", lever.upstream),
    })
}

/// What a ramp is, in one sentence.
fn sentence(lever: &LeverView) -> String {
    let mut words = format!("{} carries {}", name(lever), percent_text(lever.percent));
    match lever.reference {
        Some(reference) => words += &format!(" of {reference} in flight"),
        None => words += " of what it holds when it is well",
    }
    if let Some(then) = &lever.then {
        words += &format!(", then {}", then_text(then));
    }
    words
}

fn then_text(then: &ThenView) -> String {
    // What is left of a clock that stands still is what is left when it goes on.
    let clock = if then.paused { "paused," } else { "in" };
    format!("{} {clock} {}", percent_text(then.percent), span(then.in_seconds))
}

/// What will be shed if the demand stays as it is.
pub(super) fn outlook(upstream: &str, forecast: &Forecast) -> String {
    let upstream = plain(upstream);
    let Forecast { demand_in_flight, room, offered_per_second, shed_percent } = forecast;
    let asked = format!("{demand_in_flight} in flight and {offered_per_second} a second are asked for");
    match room {
        None => format!("{upstream} sheds nothing for ramps: {asked}"),
        Some(room) => {
            let part = if *shed_percent > 0.0 {
                format!("about {}", percent_text(*shed_percent))
            } else {
                "nothing".to_owned()
            };
            format!("{upstream} now sheds {part}: {asked}, {room} may be in flight")
        }
    }
}

/// `25%`, `2.5%`.
fn percent_text(percent: f64) -> String {
    format!("{}%", (percent * 10.0).round() / 10.0)
}

/// `25`, `25%` or `2.5`.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%');
    let percent =
        units::percent(&format!("{number}%")).map_err(|_| "expected a percentage such as 25 or 25%")?;
    if percent > 100.0 { Err("a ramp is at most 100%".into()) } else { Ok(percent) }
}

/// A number that JSON has a word for; it turns the others into nothing, and the gateway would never hear of them.
fn reference(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "expected a number of requests in flight".to_owned())
}

/// Checked here, read by the gateway.
fn duration(text: &str) -> Result<String, String> {
    units::duration(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lever(name: &str, backend: Option<&str>) -> LeverView {
        LeverView {
            kind: "ramp".into(),
            upstream: name.into(),
            backend: backend.map(str::to_owned),
            percent: 25.0,
            then: Some(ThenView { percent: 100.0, in_seconds: 598.0, paused: true }),
            by: "ops".into(),
            reason: "release 1.2 \u{1b}[31mis cold".into(),
            since: "2026-11-01T12:00:00Z".into(),
            forecast: Some(Forecast {
                demand_in_flight: 12.4,
                room: Some(3),
                offered_per_second: 120.0,
                shed_percent: 75.8,
            }),
            ..LeverView::default()
        }
    }

    #[test]
    fn the_table_looks_like_this() {
        let now = "2026-11-01T12:01:03Z".parse().expect("a time");
        let drained = LeverView {
            kind: "drain".into(),
            then: None,
            forecast: None,
            reason: String::new(),
            ..lever("users", Some("b"))
        };
        let gone = LeverView { forecast: None, then: None, ..lever("gone", None) };
        let expected = "\
upstream / backend                 ramp  then                     since   sheds
orders/a                            25%  100% paused, 9m 58s      1m 3s   75.8%
  by ops: release 1.2 ?[31mis cold
users/b                           drain                           1m 3s       -
  by ops
gone                                25%                           1m 3s       -
  by ops: release 1.2 ?[31mis cold
  waits: the active version has no such name
";
        assert_eq!(table(&[lever("orders", Some("a")), drained, gone], now), expected);
    }

    #[test]
    fn the_table_fits_80_columns_whatever_is_in_it() {
        let mut wide = lever(&"u".repeat(200), Some("b"));
        (wide.by, wide.reason) = ("b".repeat(200), "r".repeat(500));
        wide.since = "1970-01-01T00:00:00Z".into();
        wide.then = Some(ThenView { percent: 100.0, in_seconds: 1e12, paused: true });
        for line in table(&[wide], Timestamp::now()).lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn percentages_may_have_a_sign_and_end_at_100() {
        assert_eq!((percent("25"), percent("25%"), percent("2.5%")), (Ok(25.0), Ok(25.0), Ok(2.5)));
        for bad in ["", "%", "-1", "101", "1e1", "NaN", "a quarter"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_is_a_number_that_reaches_the_gateway() {
        assert_eq!((reference("12"), reference("0.5")), (Ok(12.0), Ok(0.5)));
        for bad in ["NaN", "inf", "1e999", "twelve"] {
            assert!(reference(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_is_an_upstream_or_one_backend_of_it() {
        let target: Target = "orders/a".parse().expect("a backend");
        assert_eq!(target.path(), "/v1/upstreams/orders/backends/a");
        for bad in ["", "/", "orders/", "/a", "a/b/c", "a b", "..%2f"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        assert!("orders".parse::<BackendTarget>().is_err());
    }
}
