//! The table of fields: every key of the file, in one place.
//!
//! The walker, the JSON Schema, the test of the annotated reference and the risk of a change all read it; a key
//! that is not here does not exist, and one without a class of risk does not compile. What one field alone can say is checked from here (kind, range, default);
//! what takes two fields is in `validate`.

pub mod auth;
pub mod changes;
pub mod edge;
pub mod public;
pub mod routes;
pub mod upstreams;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One key of one table.
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// What happens when it is left out.
    pub need: Need,
    /// How dangerous it is to change it, at least.
    pub risk: Risk,
    /// Which changes of it are of high risk, whatever its class.
    pub rises: Rises,
    /// What it means, in a sentence.
    pub doc: &'static str,
}

/// What a value looks like.
#[derive(Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A name: 1 to 64 letters, digits, `-`, `_` or `.`; it becomes a label in metrics.
    Name,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Integer(u64, u64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// A span of time from the first to the second.
    Duration(Duration, Duration),
    /// Bytes, from the first to the second.
    Size(u64, u64),
    /// A percentage, from the first to the second.
    Percent(f64, f64),
    /// `"auto"` or a number of cores.
    Workers,
    /// An address literal with a port.
    Socket,
    /// An address block such as `10.0.0.0/8`.
    Network,
    /// A host name or an address literal, with a port.
    Endpoint,
    /// A file or directory, relative to the file.
    Path,
    /// A blake3 hash: 64 hexadecimal digits.
    Hash,
    /// The name of a header.
    HeaderName,
    /// Header names with a text each.
    Headers,
    /// An HTTP method.
    Method,
    /// A table.
    Table(&'static [Field]),
    /// A list of at least so many.
    List(&'static Kind, usize),
}

/// What happens when a key is left out.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// It may not be left out.
    Required,
    /// Nothing.
    Optional,
    /// This, in TOML, stands for it.
    Default(&'static str),
    /// A rule decides, as this sentence says.
    Rule(&'static str),
}

/// How dangerous a change of a field is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Reaches observers only, or loosens nothing.
    #[default]
    Low,
    /// Reaches some requests.
    Medium,
    /// May reach every request, or who may do what.
    High,
}

/// Which changes of a field are of high risk, whatever its class. A bound that is lowered is not among them: it sheds,
/// which clients are told and the guard sees at the first stage; a bound that is raised is felt only under load, which
/// the quiet minutes of a rollout do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rises {
    /// None.
    Never,
    /// To more than double, or away.
    Doubled,
    /// To more.
    Grows,
    /// To less.
    Shrinks,
    /// To this word.
    Becomes(&'static str),
    /// To or from this word.
    Touches(&'static str),
    /// To a later one of these words.
    Weakens(&'static [&'static str]),
    /// To fewer steps, or to one that reaches more.
    Leaps,
    /// To a list without something that was in it.
    Loses,
    /// Away.
    Removed,
}

/// The whole file.
pub static ROOT: [Field; 11] = [
    table("gateway", &edge::GATEWAY, "The process.").medium(),
    table("admin", &edge::ADMIN, "The operators' door. Never staged and never rolled back.").high(),
    field("listeners", Kind::List(&edge::LISTENER, 1), Need::Required, "Addresses that accept clients.")
        .high(),
    field(
        "upstreams",
        Kind::List(&upstreams::UPSTREAM, 0),
        EMPTY,
        "Services: sets of backends behind one gate each.",
    )
    .medium(),
    field("auth", Kind::List(&auth::AUTH, 0), EMPTY, "Who may pass; routes refer to it by name.").high(),
    field("routes", Kind::List(&routes::ROUTE, 0), EMPTY, "What requests match, and where they go.")
        .medium()
        .rises(Rises::Removed),
    table("rollout", &changes::ROLLOUT, "How a change reaches clients.").low(),
    field("notify", Kind::List(&changes::NOTIFY, 0), EMPTY, "Who hears of events.").low(),
    table("incidents", &public::INCIDENTS, "When the gateway drafts an incident, and what a freeze holds.")
        .low(),
    optional(
        "status_page",
        Kind::Table(&public::STATUS_PAGE),
        "A page for everyone, on an address of its own.",
    )
    .medium(),
    table("access_log", &edge::ACCESS_LOG, "One line a request, written at its last byte.").low(),
];

/// The default of lists.
const EMPTY: Need = Need::Default("[]");

/// A field whose class is not said yet: it is none until it is, so no key can be without one.
struct Unclassed(Field);

/// A field.
const fn field(key: &'static str, kind: Kind, need: Need, doc: &'static str) -> Unclassed {
    Unclassed(Field { key, kind, need, risk: Risk::High, rises: Rises::Never, doc })
}

/// A table that is there even when it is left out.
const fn table(key: &'static str, fields: &'static [Field], doc: &'static str) -> Unclassed {
    field(key, Kind::Table(fields), Need::Default("{}"), doc)
}

/// A field with a default.
const fn preset(key: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Unclassed {
    field(key, kind, Need::Default(default), doc)
}

/// A field that must be there.
const fn required(key: &'static str, kind: Kind, doc: &'static str) -> Unclassed {
    field(key, kind, Need::Required, doc)
}

/// A field that may be left out without anything taking its place.
const fn optional(key: &'static str, kind: Kind, doc: &'static str) -> Unclassed {
    field(key, kind, Need::Optional, doc)
}

/// A field whose default depends on others.
const fn ruled(key: &'static str, kind: Kind, rule: &'static str, doc: &'static str) -> Unclassed {
    field(key, kind, Need::Rule(rule), doc)
}

/// Times from one millisecond to so many seconds.
const fn up_to(seconds: u64) -> Kind {
    Kind::Duration(Duration::from_millis(1), Duration::from_secs(seconds))
}

impl Unclassed {
    const fn low(self) -> Field {
        self.of(Risk::Low)
    }

    const fn medium(self) -> Field {
        self.of(Risk::Medium)
    }

    const fn high(self) -> Field {
        self.of(Risk::High)
    }

    const fn of(self, risk: Risk) -> Field {
        let mut field = self.0;
        field.risk = risk;
        field
    }
}

impl Field {
    const fn rises(mut self, rises: Rises) -> Field {
        self.rises = rises;
        self
    }
}

impl Rises {
    /// In words, for the schema; nothing if there are none.
    pub fn sentence(self) -> Option<String> {
        Some(match self {
            Rises::Never => return None,
            Rises::Doubled => "raised to more than double, or removed".to_owned(),
            Rises::Grows => "raised".to_owned(),
            Rises::Shrinks => "lowered".to_owned(),
            Rises::Becomes(word) => format!("set to {word}"),
            Rises::Touches(word) => format!("set to {word}, or no longer {word}"),
            Rises::Weakens(words) => format!("moved further along {}", words.join(", ")),
            Rises::Leaps => "there are fewer steps, or one reaches more".to_owned(),
            Rises::Loses => "something is taken out of it".to_owned(),
            Rises::Removed => "removed".to_owned(),
        })
    }
}

impl Risk {
    /// The word in plans and schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind {
    /// The fields of the table, or of each table of the list, if it is one.
    pub fn fields(&self) -> Option<&'static [Field]> {
        match self {
            Kind::Table(fields) => Some(fields),
            Kind::List(item, _) => item.fields(),
            _ => None,
        }
    }

    /// What is expected, for messages: with an example where that teaches.
    pub fn expected(&self) -> &'static str {
        match self {
            Kind::Text => "a text in quotes",
            Kind::Name => "a name in quotes",
            Kind::Word(_) => "a word in quotes",
            Kind::Bool => "`true` or `false`",
            Kind::Integer(..) => "a whole number",
            Kind::Number(..) => "a number",
            Kind::Duration(..) => "a duration such as \"250ms\"",
            Kind::Size(..) => "a size such as \"64KiB\"",
            Kind::Percent(..) => "a percentage such as \"25%\"",
            Kind::Workers => "\"auto\" or a number of cores",
            Kind::Socket => "an address with a port such as \"0.0.0.0:8080\"",
            Kind::Network => "an address block such as \"10.0.0.0/8\"",
            Kind::Endpoint => "a host with a port such as \"10.0.0.1:8080\"",
            Kind::Path => "a path in quotes",
            Kind::Hash => "a hash of 64 hexadecimal digits",
            Kind::HeaderName => "the name of a header in quotes",
            Kind::Headers => "header names with a text each, such as { \"x-team\" = \"orders\" }",
            Kind::Method => "an HTTP method in quotes",
            Kind::Table(_) => "a table",
            Kind::List(..) => "a list",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(fields: &'static [Field], path: &str, visit: &mut dyn FnMut(&str, &'static Field)) {
        for field in fields {
            let path = format!("{path}.{}", field.key);
            visit(&path, field);
            if let Some(inner) = field.kind.fields() {
                each(inner, &path, visit);
            }
        }
    }

    #[test]
    fn every_field_is_documented_in_a_sentence_and_named_once_in_its_table() {
        let mut seen = std::collections::HashSet::new();
        each(&ROOT, "", &mut |path, field| {
            assert!(seen.insert(path.to_owned()), "{path} twice");
            assert!(field.doc.ends_with('.') && field.doc.len() > 8, "{path}: {}", field.doc);
            assert!(
                field.key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{path}"
            );
        });
        assert!(seen.len() > 100);
    }
}
