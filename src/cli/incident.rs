//! `incident …`: opens, reads, changes and closes incidents, and sets a freeze.

use super::client::Client;
use super::table::{WIDTH, fit, plain, wrapped};
use super::{Failure, print};
use crate::control::incidents::incident::{GATEWAY, Incident};
use crate::control::view::{IncidentsView, OpenView};
use clap::ArgGroup;
use http::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Lines of open incidents on one screen.
const MOST_LINES: usize = 5;
const SEVERITIES: [&str; 3] = ["minor", "major", "critical"];

/// What to do with incidents.
#[derive(Debug, clap::Subcommand)]
pub(super) enum IncidentVerb {
    /// Open one.
    Open {
        /// What it is, in a line; the status page shows it.
        #[arg(value_name = "TITLE")]
        title: String,
        /// How bad it is.
        #[arg(long, value_name = "SEVERITY", value_parser = SEVERITIES, default_value = "minor")]
        severity: String,
        /// An upstream that it is about; again for more. Without: the whole gateway.
        #[arg(long, value_name = "NAME")]
        upstream: Vec<String>,
        /// The first words; the status page shows them.
        #[arg(long, value_name = "TEXT")]
        text: Option<String>,
        /// Hold changes of medium and high risk until it is closed or thawed.
        #[arg(long)]
        freeze: bool,
        /// Keep it off the status page.
        #[arg(long)]
        private: bool,
        /// Why; for the audit and whoever meets the freeze.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Say something of one, or change it.
    #[command(override_usage = "tidegate incident update [OPTIONS] <ID> [TEXT]", group(ArgGroup::new("change").required(true).multiple(true).args([
        "text", "title", "severity", "upstream", "freeze", "thaw", "private", "public",
    ])))]
    Update {
        /// Its number.
        #[arg(value_name = "ID")]
        id: u64,
        /// What is said; the status page shows it if the incident is public.
        #[arg(value_name = "TEXT")]
        text: Option<String>,
        /// Another title.
        #[arg(long, value_name = "TITLE")]
        title: Option<String>,
        /// How bad it is now.
        #[arg(long, value_name = "SEVERITY", value_parser = SEVERITIES)]
        severity: Option<String>,
        /// An upstream that it is about from now on; again for more.
        #[arg(long, value_name = "NAME")]
        upstream: Vec<String>,
        /// Take it off the status page.
        #[arg(long, conflicts_with = "public")]
        private: bool,
        /// Put it on the status page; what was said before stays off it.
        #[arg(long)]
        public: bool,
        /// Hold changes of medium and high risk.
        #[arg(long, conflicts_with = "thaw")]
        freeze: bool,
        /// Let them go on.
        #[arg(long)]
        thaw: bool,
        /// Why; for the audit and whoever meets the freeze.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Close one; its freeze ends with it. A draft is dropped.
    Close {
        /// Its number.
        #[arg(value_name = "ID")]
        id: u64,
        /// The last words.
        #[arg(value_name = "TEXT")]
        text: Option<String>,
    },
    /// Open a draft of the gateway that you have read.
    Publish {
        /// Its number.
        #[arg(value_name = "ID")]
        id: u64,
        /// The first words; the status page shows them.
        #[arg(value_name = "TEXT")]
        text: Option<String>,
        /// Another title.
        #[arg(long, value_name = "TITLE")]
        title: Option<String>,
        /// How bad it is.
        #[arg(long, value_name = "SEVERITY", value_parser = SEVERITIES)]
        severity: Option<String>,
        /// Open it, and keep it off the status page.
        #[arg(long)]
        private: bool,
    },
    /// List them: what is open, drafts, what is closed; the worst first, then the newest.
    List,
    /// Show one with all that was said.
    Show {
        /// Its number.
        #[arg(value_name = "ID")]
        id: u64,
    },
}

/// `incident …`.
pub(super) fn incident(client: &Client, verb: IncidentVerb, json: bool) -> Result<ExitCode, Failure> {
    let (method, path, body) = match verb {
        IncidentVerb::List => return list(client, json),
        IncidentVerb::Show { id } => return show(client, id, json),
        IncidentVerb::Open { title, severity, upstream, text, freeze, private, reason } => {
            let body = json!({
                "title": title, "severity": severity, "upstreams": upstream, "text": text, "freeze": freeze,
                "public": !private, "reason": reason,
            });
            (Method::POST, "/v1/incidents".to_owned(), body)
        }
        IncidentVerb::Update {
            id,
            text,
            title,
            severity,
            upstream,
            private,
            public,
            freeze,
            thaw,
            reason,
        } => {
            let freeze = (freeze || thaw).then_some(freeze);
            let public = (private || public).then_some(public);
            let upstreams = (!upstream.is_empty()).then_some(upstream);
            let body = json!({
                "text": text, "title": title, "severity": severity, "upstreams": upstreams, "public": public,
                "freeze": freeze, "reason": reason,
            });
            (Method::PUT, format!("/v1/incidents/{id}"), body)
        }
        IncidentVerb::Close { id, text } => {
            (Method::PUT, format!("/v1/incidents/{id}"), json!({ "state": "closed", "text": text }))
        }
        IncidentVerb::Publish { id, text, title, severity, private } => {
            let body = json!({
                "state": "open", "text": text, "title": title, "severity": severity, "public": !private,
            });
            (Method::PUT, format!("/v1/incidents/{id}"), body)
        }
    };
    let answer: Value = client.ask(method, &path, Some(&body))?;
    if json {
        print(&format!("{answer:#}\n"));
    } else {
        print(&done(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of it.
fn done(answer: &Value) -> String {
    let words = answer["done"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words = words.map(plain).collect::<Vec<_>>().join(", ");
    let words = if words.is_empty() { "is as it was".to_owned() } else { words };
    let title = plain(answer["title"].as_str().unwrap_or_default());
    let id = &answer["id"];
    let mut out = wrapped(&format!("incident {id} {words}: {title}"), "").join("\n") + "\n";
    if answer["freeze"] == true {
        let told = format!(
            "risky changes are held until `tidegate incident update {id} --thaw` or its close; rollback, abort, ramp, \
             drain, low risk and `apply --incident {id}` go on"
        );
        out += &(wrapped(&told, "").join("\n") + "\n");
    }
    let says =
        answer["updates"].as_array().is_some_and(|all| all.iter().any(|update| update["public"] == true));
    let is_published = answer["done"].as_array().is_some_and(|done| done.contains(&json!("published")));
    if is_published && answer["public"] == true && !says {
        let told = format!("the status page shows it without a word: `tidegate incident update {id} TEXT`");
        out += &(wrapped(&told, "").join("\n") + "\n");
    }
    if answer["persisted"] == false {
        out += "warning: it holds, but is not on disk yet: a restart may not know it\n";
    }
    out
}

fn list(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let answer: Value = client.get("/v1/incidents")?;
    if json {
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let items: Vec<Incident> = client.read(answer["items"].clone())?;
    print(&table(&items));
    Ok(ExitCode::SUCCESS)
}

fn table(items: &[Incident]) -> String {
    if items.is_empty() {
        return "no incidents\n".to_owned();
    }
    let mut out = format!("{:>5}  {:<6}  {:<8}  {:<16}  title\n", "id", "state", "severity", "since");
    items.iter().flat_map(rows).for_each(|row| out += &(row + "\n"));
    out
}

/// One incident: what is closed in a line, what is not in full, with whose it is.
fn rows(incident: &Incident) -> Vec<String> {
    let Incident { id, title, upstreams, opened_by, .. } = incident;
    let since: String = plain(&incident.opened_at).replace('T', " ").chars().take(16).collect();
    let (state, severity) = (incident.state.as_str(), incident.severity.as_str());
    let freeze = if incident.freeze { "[freeze] " } else { "" };
    let mark = match () {
        () if incident.is_dismissed() => "[dismissed] ",
        () if incident.is_open() && !incident.public => "[private] ",
        () => "",
    };
    let before = format!("{id:>5}  {state:<6}  {severity:<8}  {since:<16}  ");
    let title = format!("{freeze}{mark}{title}");
    if state == "closed" {
        return vec![fit(&(before + &plain(&title)), WIDTH)];
    }
    let of = if upstreams.is_empty() { String::new() } else { format!(", of {}", upstreams.join(", ")) };
    let whose = match (&incident.drafted_because, state) {
        (Some(because), "draft") => format!("drafted by {opened_by}{of}: {because}"),
        _ => format!("opened by {opened_by}{of}"),
    };
    [wrapped(&title, &before), wrapped(&whose, "       ")].concat()
}

fn show(client: &Client, id: u64, json: bool) -> Result<ExitCode, Failure> {
    let answer: Value = client.get(&format!("/v1/incidents/{id}"))?;
    if json {
        print(&format!("{answer:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    print(&told(&client.read(answer)?));
    Ok(ExitCode::SUCCESS)
}

fn told(incident: &Incident) -> String {
    let Incident { id, state, severity, title, opened_by, opened_at, .. } = incident;
    let mut lines = wrapped(&format!("incident {id}, {}, {severity}: {title}", state.as_str()), "");
    if incident.cause.is_some() {
        lines.push(format!("drafted by {GATEWAY} at {}", plain(opened_at)));
        lines.extend(incident.published_by.iter().map(|by| format!("opened by {}", plain(by))));
    } else {
        lines.push(format!("opened by {} at {}", plain(opened_by), plain(opened_at)));
    }
    if let (Some(by), Some(at)) = (&incident.closed_by, &incident.closed_at) {
        let word = if incident.is_dismissed() { "dismissed" } else { "closed" };
        lines.push(format!("{word} by {} at {}", plain(by), plain(at)));
    }
    if !incident.upstreams.is_empty() {
        lines.extend(wrapped(&format!("about {}", incident.upstreams.join(", ")), ""));
    }
    if let Some(because) = &incident.drafted_because {
        lines.extend(wrapped(because, ""));
    }
    if let Some(frozen) = &incident.frozen {
        let told = format!("risky changes are held by {} since {}: {}", frozen.by, frozen.at, frozen.reason);
        lines.extend(wrapped(&told, "! "));
    }
    lines.push(match (incident.public, incident.is_shown()) {
        (_, true) => "it is on the status page".to_owned(),
        (false, _) if state.as_str() == "draft" => {
            format!("nobody else sees it; `tidegate incident publish {id}` opens it, `close {id}` drops it")
        }
        _ => "it is not on the status page".to_owned(),
    });
    for update in &incident.updates {
        let private = if update.public { "" } else { ", not shown" };
        lines.push(String::new());
        lines.push(format!("{} by {}{private}", plain(&update.at), plain(&update.by)));
        lines.extend(wrapped(&update.text, "  "));
    }
    lines.iter().map(|line| format!("{}\n", fit(line, WIDTH))).collect()
}

/// Those that are open, for one screen with everything else.
pub(super) fn lines(view: &IncidentsView) -> Vec<String> {
    let line = |incident: &OpenView| {
        let OpenView { id, severity, title, opened_by, opened_at, .. } = incident;
        fit(&plain(&format!("incident {id} ({severity}) {title}  by {opened_by} since {opened_at}")), WIDTH)
    };
    let mut lines: Vec<String> = view.open.iter().take(MOST_LINES).map(line).collect();
    if view.open.len() > MOST_LINES {
        lines.push(format!("  … and {} more: `tidegate incident list`", view.open.len() - MOST_LINES));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::incidents::incident::{Cause, Severity, State, Update};

    fn incident() -> Incident {
        Incident {
            id: 3,
            state: State::Open,
            title: "Orders are slow \u{1b}[31m".into(),
            severity: Severity::Major,
            freeze: true,
            opened_at: "2026-11-01T12:00:00.000Z".into(),
            opened_by: "ops".into(),
            ..Incident::default()
        }
    }

    #[test]
    fn the_list_looks_like_this() {
        let draft = Incident {
            id: 4,
            state: State::Draft,
            title: "Some requests are refused".into(),
            freeze: false,
            upstreams: vec!["orders".into()],
            opened_by: GATEWAY.into(),
            cause: Some(Cause::Shed),
            drafted_because: Some("It refused 23% of its requests over 30 s (230 of 1000)".into()),
            ..incident()
        };
        let expected = "\x20  id  state   severity  since             title
    3  open    major     2026-11-01 12:00  [freeze] [private] Orders are slow
                                           ?[31m
       opened by ops
    4  draft   major     2026-11-01 12:00  Some requests are refused
       drafted by gateway, of orders: It refused 23% of its requests over 30 s
       (230 of 1000)
    2  closed  major     2026-11-01 12:00  [dismissed] A change was taken back
";
        let dropped = Incident {
            id: 2,
            state: State::Closed,
            title: "A change was taken back".into(),
            freeze: false,
            cause: Some(Cause::Revert),
            ..incident()
        };
        assert_eq!(table(&[incident(), draft, dropped]), expected);
        assert_eq!(table(&[]), "no incidents\n");
    }

    #[test]
    fn everything_fits_80_columns_whatever_is_in_it() {
        let long = "w".repeat(500);
        let update = Update { at: long.clone(), by: long.clone(), text: long.clone(), public: false };
        let wide = Incident {
            title: long.clone(),
            opened_by: long.clone(),
            opened_at: long.clone(),
            upstreams: vec![long.clone(); 9],
            drafted_because: Some(long.clone()),
            cause: Some(Cause::Revert),
            updates: vec![update],
            published_by: Some(long),
            ..incident()
        };
        let closed = Incident { state: State::Closed, ..wide.clone() };
        for line in (told(&wide) + &table(&[wide, closed])).lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn what_was_done_is_told_with_what_is_held() {
        let answer = json!({ "id": 3, "title": "x\u{1b}", "done": ["opened", "frozen"], "freeze": true, "persisted": false });
        let told = done(&answer);
        assert!(told.starts_with("incident 3 opened, frozen: x?\n"), "{told}");
        assert!(told.contains("apply --incident 3") && told.contains("not on disk"), "{told}");
        let said = |updates: Value| {
            done(&json!({ "id": 3, "done": ["published"], "public": true, "updates": updates }))
        };
        assert!(said(json!([{ "public": false }])).contains("without a word"), "{}", said(json!([])));
        assert!(!said(json!([{ "public": true }])).contains("without a word"));
    }
}
