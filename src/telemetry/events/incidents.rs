//! Incidents: opened, drafted, changed, closed, and what they hold.

use super::stream::{Kind, Record};

/// Something was done to an incident.
#[derive(Clone, Copy, Debug)]
pub struct IncidentChanged<'a> {
    /// `opened`, `drafted`, `published`, `updated`, `closed`, `frozen` or `thawed`.
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
    /// What was said last, if something was.
    pub text: Option<&'a str>,
    /// Why the gateway drafted it.
    pub drafted_because: Option<&'a str>,
}

impl IncidentChanged<'_> {
    /// Logs it.
    pub fn emit(self) {
        let IncidentChanged { what, id, title, severity, by, text, drafted_because, .. } = self;
        tracing::warn!(what, incident = id, title, severity, by, text, drafted_because, "incident");
        Record::new(Kind::Incident, format!("incident {id} ({severity}) {what} by {by}: {title}"))
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
