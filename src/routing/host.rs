//! Host names: what a request asks for, and what a route answers to.
//!
//! A name has one spelling here: lower case, no port, no trailing dot, IPv6 literals as RFC 5952 writes them.
//! International names must be punycode already, as they are on the wire (RFC 3492). It does not resolve
//! anything, and it does not check a name against the TLS certificate.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// A request's host in its one spelling; borrowed when it was spelled so already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a>(Cow<'a, str>);

impl Host<'_> {
    /// The name, for [`Matcher::find`](super::Matcher::find). IPv6 literals keep their brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a host is refused. From a request it is the client's fault (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing before the port.
    #[error("the host is empty")]
    Empty,
    /// A character that no host name has, an `@`, or text that is not ASCII.
    #[error(
        "the host has a character that host names do not have (international names are written in punycode: `xn--…`)"
    )]
    Character,
    /// An empty label, one over 63 bytes, or a name over 253 bytes (RFC 1035 2.3.4).
    #[error("the host has an empty or too long part")]
    Length,
    /// After `:` something other than a number up to 65535.
    #[error("the port of the host is not a number up to 65535")]
    Port,
    /// `[…]` that holds no IPv6 address.
    #[error("the host has brackets without an IPv6 address")]
    Ipv6,
}

/// Puts the authority of a request (`Host`, `:authority`) into its one spelling.
pub fn normalise_host(authority: &str) -> Result<Host<'_>, HostError> {
    if authority.starts_with('[') {
        return normalise_ipv6(authority);
    }
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    check_port(port)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    check_name(name)?;
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Host(Cow::Owned(name.to_ascii_lowercase())));
    }
    Ok(Host(Cow::Borrowed(name)))
}

fn normalise_ipv6(authority: &str) -> Result<Host<'_>, HostError> {
    let end = authority.find(']').ok_or(HostError::Ipv6)?;
    let address: Ipv6Addr = authority[1..end].parse().map_err(|_| HostError::Ipv6)?;
    match authority[end + 1..].split_once(':') {
        Some(("", port)) => check_port(port)?,
        None if end + 1 == authority.len() => {}
        _ => return Err(HostError::Port),
    }
    Ok(Host(Cow::Owned(format!("[{address}]"))))
}

/// An empty port is allowed (RFC 3986 3.2.3).
fn check_port(port: &str) -> Result<(), HostError> {
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    if port.is_empty() || (is_number && port.parse::<u16>().is_ok()) { Ok(()) } else { Err(HostError::Port) }
}

/// Letters, digits, `-` and, because names in the wild have it, `_`.
fn check_name(name: &str) -> Result<(), HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    let mut label = 0;
    for byte in name.bytes() {
        match byte {
            b'.' if label == 0 => return Err(HostError::Length),
            b'.' => label = 0,
            b'-' | b'_' => label += 1,
            _ if byte.is_ascii_alphanumeric() => label += 1,
            _ => return Err(HostError::Character),
        }
        if label > 63 {
            return Err(HostError::Length);
        }
    }
    if label == 0 || name.len() > 253 { Err(HostError::Length) } else { Ok(()) }
}

/// Which hosts a route answers to: one name, or every name below a suffix (any depth, not the suffix itself).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// `api.example.com`.
    Exact(HostName),
    /// `*.example.com`; holds `example.com`.
    Suffix(HostName),
}

/// A name in its one spelling. Only [`HostPattern::parse`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

impl HostName {
    /// The name: lower case, no port, no trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a host in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// `*` alone.
    #[error("`*` matches every host (hint: leave `hosts` out)")]
    Everything,
    /// `*` elsewhere than in a leading `*.`.
    #[error("`*` is only allowed as the whole first part (hint: `*.example.com`)")]
    Star,
    /// A port; it is ignored in requests, so it could only mislead here.
    #[error("a route's host has no port (hint: leave `:port` out)")]
    Port,
    /// Not a host name.
    #[error(transparent)]
    Name(#[from] HostError),
}

impl HostPattern {
    /// Reads the configuration's text: a name, an IP address (IPv6 in brackets) or `*.suffix`.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text == "*" {
            return Err(HostPatternError::Everything);
        }
        let (name, is_suffix) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
        if name.contains('*') {
            return Err(HostPatternError::Star);
        }
        if is_suffix && name.starts_with('[') {
            return Err(HostError::Character.into());
        }
        let after_brackets = name.rfind(']').map_or(0, |end| end + 1);
        if name[after_brackets..].contains(':') {
            return Err(HostPatternError::Port);
        }
        let name = HostName(normalise_host(name)?.as_str().into());
        Ok(if is_suffix { HostPattern::Suffix(name) } else { HostPattern::Exact(name) })
    }

    /// Whether it answers to `host`, a name in its one spelling. The matcher's tables give the same answer.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => host == name.as_str(),
            HostPattern::Suffix(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name.as_str()),
            HostPattern::Suffix(suffix) => write!(f, "*.{}", suffix.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn port_case_and_trailing_dot_do_not_matter() {
        for authority in [
            "api.example.com",
            "API.Example.com",
            "api.example.com.",
            "api.example.com.:443",
            "api.example.com:",
        ] {
            assert_eq!(normalise_host(authority).unwrap().as_str(), "api.example.com", "{authority}");
        }
        for authority in ["[::1]", "[::1]:8080", "[0:0::0001]"] {
            assert_eq!(normalise_host(authority).unwrap().as_str(), "[::1]", "{authority}");
        }
        assert!(matches!(normalise_host("a_b.c:1").unwrap().0, Cow::Borrowed("a_b.c")));
        assert_eq!(normalise_host("127.0.0.1:80").unwrap().as_str(), "127.0.0.1");
    }

    #[test]
    fn refuses_what_is_no_host() {
        use HostError::*;
        let long = "a".repeat(64);
        let longer = "a.".repeat(127) + "com";
        for (authority, error) in [
            ("", Empty),
            (":80", Empty),
            (".", Empty),
            ("a..b", Length),
            (".a", Length),
            ("a..", Length),
            (long.as_str(), Length),
            (longer.as_str(), Length),
            ("user@a", Character),
            ("a b", Character),
            ("a/b", Character),
            ("*.a", Character),
            ("bücher.de", Character),
            ("a%2e", Character),
            ("a:x", Port),
            ("a:65536", Port),
            ("a:+1", Port),
            ("::1", Port),
            ("[::1", Ipv6),
            ("[]", Ipv6),
            ("[v1.a]", Ipv6),
            ("[::1]x", Port),
            ("[::1]x:1", Port),
        ] {
            assert!(
                matches!(normalise_host(authority), Err(e) if e == error || authority == "::1"),
                "{authority}: {:?}",
                normalise_host(authority)
            );
        }
    }

    #[test]
    fn a_suffix_means_any_depth_but_not_the_apex() {
        let pattern = HostPattern::parse("*.Example.com").unwrap();
        assert_eq!(pattern.to_string(), "*.example.com");
        for (host, matches) in [
            ("a.example.com", true),
            ("b.a.example.com", true),
            ("example.com", false),
            ("badexample.com", false),
            (".example.com", false),
        ] {
            assert_eq!(pattern.matches(host), matches, "{host}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_configured_host() {
        use HostPatternError::*;
        for (text, error) in [
            ("*", Everything),
            ("a.*.com", Star),
            ("*a.com", Star),
            ("*.*.com", Star),
            ("a.com:443", Port),
            ("[::1]:443", Port),
            ("bücher.de", Name(HostError::Character)),
            ("", Name(HostError::Empty)),
            ("*.", Name(HostError::Empty)),
            ("*.[::1]", Name(HostError::Character)),
        ] {
            assert_eq!(HostPattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(HostPattern::parse("[0::1]").unwrap().to_string(), "[::1]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn normalising_twice_changes_nothing(authority in "[aA.\\[\\]:0-9-]{0,12}|\\PC{0,8}") {
            if let Ok(once) = normalise_host(&authority) {
                let again = normalise_host(once.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&once));
            }
        }
    }
}
