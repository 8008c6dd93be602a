//! One value by one kind: text or number to what it says, with its range.
//!
//! Reasons never hold the value: it may have been filled from a secret. The walker adds what stands in the file.

use super::diagnostics::{Finding, Span};
use super::fields::Kind;
use super::suggest::nearest;
use super::units;
use super::value::Data;
use crate::upstream::settings::Address;
use http::{HeaderName, Method};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use toml::de::DeValue;

/// Why a value is not of its kind.
#[derive(Debug)]
pub struct Reason {
    why: String,
    hint: String,
}

impl Reason {
    /// The finding at `span`, which reads `excerpt` in the file.
    pub fn finding(self, span: Span, kind: &Kind, excerpt: &str, filled: bool) -> Finding {
        let subject = if filled { format!("what fills {excerpt}") } else { excerpt.to_owned() };
        let message = match self.why.as_str() {
            "" => format!("{subject} is not {}", kind.expected()),
            why => format!("{subject} is not {}: {why}", kind.expected()),
        };
        Finding::error(span, message).hint(self.hint)
    }
}

fn because(why: impl Into<String>, hint: impl Into<String>) -> Reason {
    Reason { why: why.into(), hint: hint.into() }
}

/// Reads a text; texts that were filled in may stand for numbers and switches too.
///
/// # Errors
/// Why the text is not of this kind.
pub fn from_text(kind: &Kind, text: &str, filled: bool, directory: &Path) -> Result<Data, Reason> {
    let plain = |hint: String| because("", hint);
    match kind {
        Kind::Text => Ok(Data::Text(text.to_owned())),
        Kind::Name => name(text),
        Kind::Word(words) => word(words, text, filled),
        Kind::Bool | Kind::Integer(..) | Kind::Number(..) if !filled => {
            Err(plain("write it without quotes".into()))
        }
        Kind::Bool => text.trim().parse().map(Data::Bool).map_err(|_| plain(example(kind))),
        Kind::Integer(least, most) => {
            let number = text.trim().parse().map_err(|_| plain(example(kind)))?;
            within(number, *least, *most, u64::to_string).map(Data::Integer)
        }
        Kind::Number(least, most) => {
            let number = text.trim().parse().map_err(|_| plain(example(kind)))?;
            within(number, *least, *most, f64::to_string).map(Data::Number)
        }
        Kind::Duration(least, most) => {
            let time = units::duration(text).map_err(|why| because(why, example(kind)))?;
            within(time, *least, *most, show_duration).map(Data::Duration)
        }
        Kind::Size(least, most) => {
            let size = units::size(text).map_err(|why| because(why, example(kind)))?;
            within(size, *least, *most, show_size).map(Data::Integer)
        }
        Kind::Percent(least, most) => {
            let share = units::percent(text).map_err(|why| because(why, example(kind)))?;
            within(share, *least, *most, |share| format!("{share}%")).map(Data::Number)
        }
        Kind::Workers => match text.trim() {
            "auto" => Ok(Data::Integer(0)),
            number if filled => cores(number.parse().map_err(|_| plain(example(kind)))?),
            _ => Err(plain(example(kind))),
        },
        Kind::Socket => socket(text),
        Kind::Network => network(text).ok_or_else(|| plain("such as \"10.0.0.0/8\" or \"::1/128\"".into())),
        Kind::Endpoint => endpoint(text).map(Data::Endpoint),
        Kind::Path if text.is_empty() => {
            Err(because("it is empty", "paths are relative to the configuration file"))
        }
        Kind::Path => Ok(Data::Path(directory.join(text))),
        Kind::Hash if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(Data::Text(text.to_ascii_lowercase()))
        }
        Kind::Hash => Err(plain("`tidegate hash-token` makes the hash of a token".into())),
        Kind::HeaderName => HeaderName::from_bytes(text.as_bytes())
            .map(Data::HeaderName)
            .map_err(|_| plain("names are letters, digits and `-`, without spaces".into())),
        Kind::Method => method(text).map(Data::Method),
        Kind::Headers | Kind::Table(_) | Kind::List(..) => Err(plain(example(kind))),
    }
}

/// Reads what is no text; `None` if the type is wrong.
pub fn from_toml(kind: &Kind, value: &DeValue<'_>) -> Option<Result<Data, Reason>> {
    match (kind, value) {
        (Kind::Bool, DeValue::Boolean(on)) => Some(Ok(Data::Bool(*on))),
        (Kind::Number(least, most), DeValue::Float(number)) => {
            let number = number.as_str().parse().unwrap_or(f64::NAN);
            Some(within(number, *least, *most, f64::to_string).map(Data::Number))
        }
        (_, DeValue::Integer(digits)) => {
            // Negative numbers and those beyond u64 are outside every range alike.
            integer(kind, u64::from_str_radix(digits.as_str(), digits.radix()).ok())
        }
        _ => None,
    }
}

fn integer(kind: &Kind, number: Option<u64>) -> Option<Result<Data, Reason>> {
    match (kind, number) {
        (Kind::Integer(least, most), Some(number)) => {
            Some(within(number, *least, *most, u64::to_string).map(Data::Integer))
        }
        (Kind::Size(least, most), Some(number)) => {
            Some(within(number, *least, *most, show_size).map(Data::Integer))
        }
        (Kind::Number(least, most), Some(number)) => {
            Some(within(number as f64, *least, *most, f64::to_string).map(Data::Number))
        }
        (Kind::Workers, Some(number)) => Some(cores(number)),
        (Kind::Integer(..) | Kind::Size(..) | Kind::Number(..) | Kind::Workers, None) => {
            Some(Err(because("it is out of range", example(kind))))
        }
        _ => None,
    }
}

/// Cores of the data plane at most.
pub(super) const MAX_WORKERS: u64 = 1024;

fn cores(number: u64) -> Result<Data, Reason> {
    within(number, 1, MAX_WORKERS, u64::to_string).map(Data::Integer)
}

fn within<T: PartialOrd>(value: T, least: T, most: T, show: impl Fn(&T) -> String) -> Result<T, Reason> {
    if value >= least && value <= most { Ok(value) } else { Err(range(show(&least), show(&most))) }
}

fn range(least: String, most: String) -> Reason {
    because("it is out of range", format!("from {least} to {most}"))
}

fn name(text: &str) -> Result<Data, Reason> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    // A name that began with `-` could be taken for an option, or for the label of what matched no route.
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if first && text.len() <= 64 && text.bytes().all(valid) {
        return Ok(Data::Text(text.to_owned()));
    }
    Err(because("", "1 to 64 letters, digits, `-`, `_` or `.`, beginning with a letter or a digit"))
}

fn word(words: &[&str], text: &str, filled: bool) -> Result<Data, Reason> {
    if words.contains(&text) {
        return Ok(Data::Text(text.to_owned()));
    }
    let known = format!("known are {}", words.join(", "));
    match nearest(text, words.iter().copied()) {
        Some(meant) if !filled => Err(because("it is unknown", format!("did you mean \"{meant}\"? {known}"))),
        _ => Err(because("it is unknown", known)),
    }
}

fn socket(text: &str) -> Result<Data, Reason> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Data::Socket(address));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(because(
            "the port is missing",
            "add a colon and the port; an IPv6 address stands in brackets",
        ));
    }
    Err(because("", "an address literal, not a name: 0.0.0.0 is every IPv4 address, [::] every address"))
}

fn network(text: &str) -> Option<Data> {
    let block = text.parse::<IpNet>().map(|block| block.trunc());
    block.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok().map(Data::Network)
}

fn endpoint(text: &str) -> Result<Address, Reason> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| because("its `]` is missing", BRACKETS))?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| because("what stands in brackets is no IPv6 address", BRACKETS))?;
            (host, port.strip_prefix(':'))
        }
        None if text.parse::<Ipv6Addr>().is_ok() => return Err(because("the port is missing", BRACKETS)),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let Some(port) = port else { return service(host) };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port > 0);
    let port = port.ok_or_else(|| because("the port is not a number", "ports are from 1 to 65535"))?;
    if !text.starts_with('[') && !is_host(host) {
        return Err(because(
            "the host is neither a name nor an address",
            "a scheme such as http:// does not belong here",
        ));
    }
    Ok(Address { host: host.into(), port })
}

/// A name without a port: `_service._proto.domain`, whose SRV records have the ports (RFC 2782).
fn service(host: &str) -> Result<Address, Reason> {
    let mut labels = host.splitn(3, '.');
    let is_tag = |label: Option<&str>| label.is_some_and(|label| label.len() > 1 && label.starts_with('_'));
    let tags = [is_tag(labels.next()), is_tag(labels.next())];
    let domain = labels.next().is_some_and(|domain| !domain.trim_end_matches('.').is_empty());
    match tags {
        [true, true] if domain && is_host(host) => Ok(Address { host: host.into(), port: 0 }),
        [true, _] => Err(because(
            "it is neither a host with a port nor the name of a service",
            "a service is _name._tcp and a domain, such as \"_http._tcp.orders.internal\"; a host needs a colon and a port",
        )),
        _ => Err(because("the port is missing", "add a colon and the port")),
    }
}

const BRACKETS: &str = "an IPv6 address stands in brackets: \"[::1]:8080\"";

/// RFC 1123 names (underscores allowed, as in many internal zones); names that look like an address must be one.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && (!numeric || host.parse::<IpAddr>().is_ok())
}

fn method(text: &str) -> Result<Method, Reason> {
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) => Err(because("CONNECT is never served", "leave it out")),
        Ok(_) if text.bytes().any(|b| b.is_ascii_lowercase()) => {
            Err(because("methods are case-sensitive", "write it in capitals"))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(because("", "such as \"GET\"")),
    }
}

/// What to write instead, for a hint.
pub fn example(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "write true or false".into(),
        Kind::Integer(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Number(least, most) => format!("a number from {least} to {most}"),
        Kind::Duration(..) => "a number with its unit: \"250ms\", \"5s\", \"10m\", \"1h30m\"".into(),
        Kind::Size(..) => "bytes, or a number with its unit: 512, \"64KiB\", \"10MiB\"".into(),
        Kind::Percent(..) => "a number with its sign: \"25%\"".into(),
        Kind::Workers => format!("\"auto\", or a number from 1 to {MAX_WORKERS}"),
        Kind::Word(words) => format!("known are {}", words.join(", ")),
        other => format!("write {}", other.expected()),
    }
}

pub(super) fn show_duration(time: &Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (seconds, 0) => format!("{seconds}s"),
        (_, _) => format!("{}ms", time.as_millis()),
    }
}

pub(super) fn show_size(bytes: &u64) -> String {
    for (unit, scale) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if *bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &Kind, text: &str) -> Result<Data, Reason> {
        from_text(kind, text, false, Path::new("/etc/tidegate"))
    }

    #[test]
    fn endpoints_have_a_host_and_a_port() {
        for text in [
            "10.0.0.1:8080",
            "[::1]:80",
            "orders-b.internal:8080",
            "a_b.svc.:1",
            "_http._tcp.orders.internal",
            "_http._tcp.orders.internal.",
            "_http._tcp.orders.internal:80",
        ] {
            assert!(endpoint(text).is_ok(), "{text}");
        }
        for text in [
            "",
            ":80",
            "10.0.0.1",
            "::1",
            "::1:80",
            "[::1]",
            "[::1:80",
            "http://a:80",
            "a:b",
            "a:0",
            "a:+1",
            "a:70000",
            "1.2.3:80",
            "a b:80",
            "-a:80",
            "a..b:80",
            "_http._tcp",
            "_http._tcp.",
            "_http.orders.internal",
            "_._tcp.orders.internal",
            "_http._tcp.a..b",
            "http._tcp.orders.internal",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_in_quotes_are_refused_unless_filled() {
        let kind = Kind::Integer(1, 10);
        assert!(read(&kind, "5").is_err());
        assert!(matches!(from_text(&kind, "5", true, Path::new("")), Ok(Data::Integer(5))));
        assert!(from_text(&kind, "11", true, Path::new("")).is_err());
    }

    #[test]
    fn reasons_never_hold_the_value() {
        for kind in [
            Kind::Name,
            Kind::Socket,
            Kind::Endpoint,
            Kind::Hash,
            Kind::Network,
            Kind::HeaderName,
            Kind::Word(&["s3cre"]),
            Kind::Bool,
            UP,
        ] {
            let reason = from_text(&kind, "s3cret value", true, Path::new("")).unwrap_err();
            let finding = reason.finding(0..1, &kind, "\"${SECRET}\"", true);
            assert!(!format!("{finding:?}").contains("s3cret"), "{finding:?}");
        }
    }

    const UP: Kind = Kind::Duration(Duration::ZERO, Duration::from_secs(1));
}
