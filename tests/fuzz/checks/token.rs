//! A signed token, as anybody may send it, and a set of keys, as its server may publish it.

use std::time::Duration;
use tidegate::filters::auth::jwt::keys::KeySet;
use tidegate::filters::auth::jwt::{Rules, verify};

/// A set whose private half nobody has any more.
const SET: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Nothing is good that nobody signed, whatever is pinned, and whatever keys somebody publishes.
pub fn token(data: &[u8]) {
    let rules = Rules {
        algorithms: ["EdDSA", "ES256", "RS256", "HS256"]
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::from_secs(30),
        max_length: 8192,
    };
    let own = KeySet::parse(SET.as_bytes()).expect("one key");
    assert!(verify(data, &own, &rules, 0).is_err());
    // The first line as a set, the rest as a token under it.
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (Some(set), Some(token)) = (lines.next(), lines.next()) else { return };
    if let Ok(keys) = KeySet::parse(set) {
        assert!(!keys.is_empty());
        let _ = verify(token, &keys, &rules, 0);
    }
}
