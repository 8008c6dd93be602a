//! Incidents: opened, drafted, changed, closed, and what they hold.

use super::stream::{Kind, Record};

/// Characters of what was said that a line has room for; the event's `text` has all of it.
const MAX_SAID: usize = 300;

/// Something was done to an incident.
#[derive(Clone, Copy, Debug)]
pub struct IncidentChanged<'a> {
    /// `opened`, `drafted`, `published`, `updated`, `closed`, `dismissed`, `frozen` or `thawed`.
    pub what: &'a str,
    /// Its number.
    pub id: u64,
    /// What it is, in a line.
    pub title: &'a str,
    /// `minor`, `major` or `critical`.
    pub severity: &'a str,
    /// `draft`, `open` or `closed`, from here on.
    pub state: &'a str,
    /// Whom it is about.
    pub upstreams: &'a [String],
    /// The status page shows it once it is open.
    pub public: bool,
    /// It holds risky changes.
    pub freeze: bool,
    /// Who; `gateway` for what nobody asked for.
    pub by: &'a str,
    /// What was said with it, if something was.
    pub text: Option<&'a str>,
    /// Why the gateway drafted it.
    pub drafted_because: Option<&'a str>,
}

impl IncidentChanged<'_> {
    /// In a sentence. What nobody has opened is a draft, and no incident, in every word that people are told.
    fn told(&self) -> String {
        let IncidentChanged { what, id, title, severity, by, upstreams, text, drafted_because, .. } = *self;
        let (noun, done) = match (what, self.state) {
            ("drafted", _) => ("incident", "drafted"),
            ("published", _) => ("incident", "opened from its draft"),
            ("dismissed", _) | (_, "draft") => ("draft of incident", what),
            _ => ("incident", what),
        };
        let whom = match upstreams {
            [] => String::new(),
            [one] => format!(" of {one}"),
            [one, others @ ..] => format!(" of {one} and {} more", others.len()),
        };
        let why = drafted_because.filter(|_| what == "drafted");
        let said: String = text.or(why).map(one_line).unwrap_or_default();
        format!("{noun} {id} ({severity}{whom}) {done} by {by}: {title}{said}")
    }

    /// Logs it.
    pub fn emit(self) {
        let IncidentChanged { what, id, title, severity, by, text, drafted_because, .. } = self;
        tracing::warn!(what, incident = id, title, severity, by, text, drafted_because, "incident");
        Record::new(Kind::Incident, self.told())
            .with("what", what)
            .with("incident", id)
            .with("title", title)
            .with("severity", severity)
            .with("state", self.state)
            .with_list("upstreams", self.upstreams)
            .with("public", self.public)
            .with("freeze", self.freeze)
            .with("by", by)
            .with("text", text)
            .with("drafted_because", drafted_because)
            .hand_on();
    }
}

/// Behind a title, as long as a line of a message may be.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut = if line.chars().count() > MAX_SAID { "…" } else { "" };
    format!(": {}{cut}", line.chars().take(MAX_SAID).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed<'a>(what: &'a str, state: &'a str) -> IncidentChanged<'a> {
        IncidentChanged {
            what,
            id: 3,
            title: "Some requests are refused",
            severity: "minor",
            state,
            upstreams: &[],
            public: false,
            freeze: false,
            by: "ops",
            text: None,
            drafted_because: Some("It refused 23%"),
        }
    }

    #[test]
    fn a_draft_is_never_told_as_an_incident_that_somebody_opened() {
        let upstreams = ["orders".to_owned(), "users".to_owned()];
        let told = |what, state, by| IncidentChanged { by, ..changed(what, state) }.told();
        assert_eq!(
            IncidentChanged { upstreams: &upstreams[..1], ..changed("drafted", "draft") }.told(),
            "incident 3 (minor of orders) drafted by ops: Some requests are refused: It refused 23%"
        );
        assert!(
            told("updated", "draft", "gateway").starts_with("draft of incident 3 (minor) updated by gateway")
        );
        assert!(
            told("dismissed", "closed", "ops").starts_with("draft of incident 3 (minor) dismissed by ops")
        );
        assert!(
            told("published", "open", "ops").starts_with("incident 3 (minor) opened from its draft by ops")
        );
        assert!(told("closed", "closed", "ops").starts_with("incident 3 (minor) closed by ops"));
        let said = IncidentChanged {
            text: Some("It gets\n better."),
            upstreams: &upstreams,
            ..changed("updated", "open")
        };
        let expected = "incident 3 (minor of orders and 1 more) updated by ops: Some requests are refused: It gets better.";
        assert_eq!(said.told(), expected);
        let long = "x".repeat(5000);
        assert!(IncidentChanged { text: Some(&long), ..changed("updated", "open") }.told().len() < 500);
    }
}
