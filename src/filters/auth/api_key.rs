//! API keys: whose is this one?
//!
//! The configuration holds hashes, never keys. What a client shows is hashed and looked up, so thousands of keys
//! cost what one costs, and how long it takes says nothing of the keys: a table is searched by a hash that is drawn
//! anew in every process, and what is found is compared in constant time. Slow hashes are for what people choose;
//! keys are random, and one slow hash a request would be an outage of our own making.

use crate::filters::auth::ask::Question;
use crate::filters::auth::settings::ApiKey;
use crate::filters::auth::verdict::{Decision, Identity, Passed, Refused};
use crate::reject::Reason;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Bytes of a key at most.
const MAX_LENGTH: usize = 512;

/// Keys, ready for use.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    header: HeaderName,
    owners: HashMap<blake3::Hash, Arc<str>, RandomState>,
}

impl ApiKeys {
    /// Keys by hash, with the names of their owners, shown in `header`.
    pub fn new(header: HeaderName, keys: impl IntoIterator<Item = (blake3::Hash, Arc<str>)>) -> Self {
        ApiKeys { header, owners: keys.into_iter().collect() }
    }

    /// Whose key it is.
    pub fn owner(&self, key: &[u8]) -> Option<&Arc<str>> {
        if key.len() > MAX_LENGTH {
            return None;
        }
        self.owners.get(&blake3::hash(key))
    }
}

/// Judges a request by the key that it shows.
pub fn judge(auth: &Arc<str>, settings: &ApiKey, keys: &ApiKeys, question: &Question<'_>) -> Decision {
    let refused = |reason| {
        let challenge = if settings.header == AUTHORIZATION { "Bearer" } else { "ApiKey" };
        let headers = [(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))];
        Decision::Refused(Arc::new(Refused { reason, headers: headers.into() }))
    };
    let shown = credential(&keys.header, question.headers);
    let Some(owner) = shown.and_then(|key| keys.owner(key)) else {
        return refused(Reason::Unauthenticated);
    };
    let name = Value::from(&**owner);
    let claims = Map::from_iter([("sub".to_owned(), name.clone()), ("name".to_owned(), name)]);
    match settings.grants.of(&claims) {
        Some(granted) => {
            let identity = Identity { auth: auth.clone(), subject: granted.subject };
            let (headers, class) = (granted.headers, granted.class);
            Decision::Passed(Arc::new(Passed { identity, headers, class }))
        }
        None => refused(Reason::Forbidden),
    }
}

/// What stands in a header that carries a credential: after `Bearer` in `Authorization`, whole in others. Two of
/// them are none: whoever else looks at the request might look at the other.
pub fn credential<'a>(name: &HeaderName, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let value = if name == AUTHORIZATION {
        let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)?
    } else {
        value
    };
    Some(value.trim_ascii()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = values
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect::<Vec<_>>().into_iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
    }

    #[test]
    fn each_of_thousands_of_keys_has_its_owner_and_nothing_else_has_one() {
        let key = |i: u32| format!("key-number-{i}-of-many");
        let all = (0..5_000).map(|i| (blake3::hash(key(i).as_bytes()), Arc::from(format!("owner-{i}"))));
        let keys = ApiKeys::new(HeaderName::from_static("x-api-key"), all);
        for i in [0, 1, 2_500, 4_999] {
            assert_eq!(keys.owner(key(i).as_bytes()).map(|owner| &**owner), Some(&*format!("owner-{i}")));
        }
        assert_eq!(keys.owner(key(5_000).as_bytes()), None);
        assert_eq!(keys.owner(blake3::hash(key(1).as_bytes()).to_hex().as_bytes()), None, "a hash is no key");
        assert_eq!(keys.owner(&[b'a'; MAX_LENGTH + 1]), None);
    }

    #[test]
    fn exactly_one_credential_is_one() {
        let own = HeaderName::from_static("x-api-key");
        assert_eq!(credential(&own, &headers(&[("x-api-key", " k ")])), Some(&b"k"[..]));
        for none in [&[][..], &[("x-api-key", "")], &[("x-api-key", "k"), ("x-api-key", "k")]] {
            assert_eq!(credential(&own, &headers(none)), None);
        }
        let bearer =
            |value| credential(&AUTHORIZATION, &headers(&[("authorization", value)])).map(<[u8]>::to_vec);
        assert_eq!(bearer("bearer k"), Some(b"k".to_vec()));
        for none in ["Basic k", "Bearer", "Bearer ", "k", "Bearerk"] {
            assert_eq!(bearer(none), None, "{none}");
        }
    }
}
