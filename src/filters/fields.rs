//! Which of the fields that decide something a head has, found in one pass over its names: asking the map for each
//! of them, present or not, would cost a hash and a probe every time.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A set of kinds of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u16);

impl Fields {
    /// `Connection`.
    pub const CONNECTION: Fields = Fields(1);
    /// Whatever else is for one hop only; see [`super::hop_by_hop`].
    pub const ONE_HOP: Fields = Fields(1 << 9);
    /// `TE`.
    pub const TE: Fields = Fields(1 << 1);
    /// `Expect`.
    pub const EXPECT: Fields = Fields(1 << 2);
    /// `Upgrade`.
    pub const UPGRADE: Fields = Fields(1 << 3);
    /// `Transfer-Encoding`.
    pub const TRANSFER_ENCODING: Fields = Fields(1 << 4);
    /// `Content-Type`.
    pub const CONTENT_TYPE: Fields = Fields(1 << 5);
    /// `grpc-timeout`.
    pub const GRPC_TIMEOUT: Fields = Fields(1 << 6);
    /// Claims about the client: `X-Forwarded-*`, `X-Real-IP`, `Forwarded`.
    pub const CLAIM: Fields = Fields(1 << 7);
    /// A name with `_`, which some backends read as `-`.
    pub const ALIAS: Fields = Fields(1 << 8);
    /// `x-request-deadline`, `x-tidegate-attempt`: a proxy's word on the time that is left and on earlier tries.
    pub const PROXY_TIMES: Fields = Fields(1 << 10);
    /// Whatever says how much time is left.
    pub const TIMES: Fields = Fields::GRPC_TIMEOUT.or(Fields::PROXY_TIMES);

    /// Those of a head.
    pub fn of(headers: &HeaderMap) -> Self {
        Fields(headers.keys().fold(0, |found, name| found | kinds(name).0))
    }

    /// Those of either.
    #[must_use]
    pub const fn or(self, other: Fields) -> Self {
        Fields(self.0 | other.0)
    }

    /// Any of `kinds` is there.
    pub const fn has(self, kinds: Fields) -> bool {
        self.0 & kinds.0 != 0
    }

    /// The first value of the field `name`, looked for only if its kind is there.
    pub fn get<'a>(self, kind: Fields, headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
        if self.has(kind) { headers.get(name) } else { None }
    }
}

fn kinds(name: &HeaderName) -> Fields {
    match name.as_str() {
        "te" => Fields::TE,
        "expect" => Fields::EXPECT,
        "upgrade" => Fields::UPGRADE.or(Fields::ONE_HOP),
        "transfer-encoding" => Fields::TRANSFER_ENCODING.or(Fields::ONE_HOP),
        "content-type" => Fields::CONTENT_TYPE,
        "grpc-timeout" => Fields::GRPC_TIMEOUT,
        "x-request-deadline" | "x-tidegate-attempt" => Fields::PROXY_TIMES,
        "forwarded" | "x-real-ip" => Fields::CLAIM,
        "connection" => Fields::CONNECTION,
        "keep-alive"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-authentication-info"
        | "http2-settings"
        | "proxy" => Fields::ONE_HOP,
        // Of one name both can be true.
        other => {
            let claim = if other.starts_with("x-forwarded-") { Fields::CLAIM } else { Fields::default() };
            let alias = if other.as_bytes().contains(&b'_') { Fields::ALIAS } else { Fields::default() };
            claim.or(alias)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::hop_by_hop;

    fn of(names: &[&'static str]) -> Fields {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        Fields::of(&headers)
    }

    #[test]
    fn a_head_has_what_it_has_and_nothing_else() {
        assert_eq!(of(&["host", "accept", "user-agent", "cookie", "x-forwarded"]), Fields::default());
        assert_eq!(of(&["host", "te"]), Fields::TE);
        assert_eq!(of(&["x-forwarded-for", "x_y"]), Fields::CLAIM.or(Fields::ALIAS));
        let fields = of(&["connection", "upgrade"]);
        assert!(fields.has(Fields::CONNECTION) && fields.has(Fields::UPGRADE) && !fields.has(Fields::EXPECT));
    }

    #[test]
    fn every_field_for_one_hop_is_known_here() {
        for name in &hop_by_hop::ONE_HOP {
            assert!(kinds(name).has(Fields::ONE_HOP), "{name}");
        }
    }
}
