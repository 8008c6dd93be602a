//! The file after the walk: typed values with their places, defaults filled in.
//!
//! What was wrong was reported by the walker and is absent here (or stands at its default), so those who read a
//! tree report only what takes two fields to see, and nothing twice.

use super::diagnostics::Span;
use crate::upstream::settings::Address;
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One value.
#[derive(Clone, Debug)]
pub struct Value {
    /// Where it stands; for a default, the table that leaves it out.
    pub span: Span,
    /// It stands in the file, and is no default.
    pub written: bool,
    /// Its text was filled in, and must not be shown.
    pub filled: bool,
    /// What it says.
    pub data: Data,
}

/// What a value says.
#[derive(Clone, Debug)]
pub enum Data {
    /// A text, a name or a word.
    Text(String),
    /// A switch.
    Bool(bool),
    /// A whole number, a size in bytes, or a number of cores (0: auto).
    Integer(u64),
    /// A number, or a percentage.
    Number(f64),
    /// A span of time.
    Duration(Duration),
    /// An address literal with a port.
    Socket(SocketAddr),
    /// An address block.
    Network(IpNet),
    /// A host with a port.
    Endpoint(Address),
    /// A path, absolute if the file's is.
    Path(PathBuf),
    /// The name of a header.
    HeaderName(HeaderName),
    /// Headers with their values and places.
    Headers(Vec<(HeaderName, HeaderValue, Span)>),
    /// An HTTP method.
    Method(Method),
    /// A table.
    Table(Table),
    /// A list.
    List(Vec<Value>),
}

/// One table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Where it stands; for `[[name]]` only its header.
    pub span: Span,
    /// Its values by key.
    pub entries: Vec<(&'static str, Value)>,
}

impl Table {
    /// The value of `key`; `None` if it is left out or was wrong.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The value of `key` if the file says it.
    pub fn written(&self, key: &str) -> Option<&Value> {
        self.get(key).filter(|value| value.written)
    }

    /// Where `key`'s value stands, or else the table.
    pub fn span_of(&self, key: &str) -> Span {
        self.get(key).map_or_else(|| self.span.clone(), |value| value.span.clone())
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// A switch.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)?.data {
            Data::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A whole number or a size in bytes.
    pub fn integer(&self, key: &str) -> Option<u64> {
        match self.get(key)?.data {
            Data::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// A whole number whose range in the table of fields fits.
    pub fn count(&self, key: &str) -> Option<u32> {
        self.integer(key).and_then(|value| u32::try_from(value).ok())
    }

    /// A number, or a percentage.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)?.data {
            Data::Number(value) => Some(value),
            _ => None,
        }
    }

    /// A span of time.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        match self.get(key)?.data {
            Data::Duration(value) => Some(value),
            _ => None,
        }
    }

    /// An address literal with a port.
    pub fn socket(&self, key: &str) -> Option<SocketAddr> {
        match self.get(key)?.data {
            Data::Socket(value) => Some(value),
            _ => None,
        }
    }

    /// A path.
    pub fn path(&self, key: &str) -> Option<&PathBuf> {
        match &self.get(key)?.data {
            Data::Path(value) => Some(value),
            _ => None,
        }
    }

    /// A table.
    pub fn table(&self, key: &str) -> Option<&Table> {
        match &self.get(key)?.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The values of a list; none if it is left out.
    pub fn list(&self, key: &str) -> &[Value] {
        match self.get(key).map(|value| &value.data) {
            Some(Data::List(items)) => items,
            _ => &[],
        }
    }

    /// The tables of a list.
    pub fn tables(&self, key: &str) -> impl Iterator<Item = &Table> {
        self.list(key).iter().filter_map(|value| match &value.data {
            Data::Table(table) => Some(table),
            _ => None,
        })
    }

    /// The headers of a table of headers; none if it is left out.
    pub fn headers(&self, key: &str) -> &[(HeaderName, HeaderValue, Span)] {
        match self.get(key).map(|value| &value.data) {
            Some(Data::Headers(headers)) => headers,
            _ => &[],
        }
    }

    /// The name of a header.
    pub fn header_name(&self, key: &str) -> Option<&HeaderName> {
        match &self.get(key)?.data {
            Data::HeaderName(name) => Some(name),
            _ => None,
        }
    }

    /// The header names of a list, with their places.
    pub fn header_names(&self, key: &str) -> impl Iterator<Item = (&HeaderName, &Span)> {
        self.list(key).iter().filter_map(|value| match &value.data {
            Data::HeaderName(name) => Some((name, &value.span)),
            _ => None,
        })
    }
}

impl Value {
    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }
}
