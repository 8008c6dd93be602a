//! Whoever signs tokens: keys, sets of them as they are published, and tokens.

use super::origins::Behaviour;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// One key of an issuer.
pub struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// For RS256.
    pub fn rsa(kid: &'static str) -> Signer {
        let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        // PKCS#8 is a head of 26 bytes and then the PKCS#1 that is wanted here.
        let der = pair.expect("a key").serialize_der().split_off(26);
        Signer { kid, algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_der(&der) }
    }

    /// For ES256.
    pub fn ec(kid: &'static str) -> Signer {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        Signer { kid, algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&pair.serialize_der()) }
    }

    /// The public half, as it is published.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// A token with these claims, beside those that every good one has here.
    pub fn token(&self, claims: &Value) -> String {
        self.token_of(self.kid, claims)
    }

    /// The same that names another key.
    pub fn token_of(&self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.into()), ..Header::new(self.algorithm) };
        encode(&header, &full(claims), &self.key).expect("a token")
    }

    /// A token that is signed by the public key as if it were a secret.
    pub fn confused(&self) -> String {
        let header = Header { kid: Some(self.kid.into()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(self.jwk().to_string().as_bytes());
        encode(&header, &full(&json!({ "sub": "root" })), &secret).expect("a token")
    }

    /// A token that says it needs no signature.
    pub fn unsigned(&self) -> String {
        let token = self.token(&json!({ "sub": "root" }));
        let payload = token.split('.').nth(1).expect("a payload");
        format!("eyJhbGciOiJub25lIn0.{payload}.")
    }
}

fn full(claims: &Value) -> Value {
    let mut all = json!({ "iss": "https://issuer.test", "aud": "orders", "exp": now() + 600 });
    let claims = claims.as_object().expect("claims").clone();
    all.as_object_mut().expect("claims").extend(claims);
    all
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A set of keys.
pub fn set(keys: &[&Signer]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Whoever publishes a set.
pub fn publishes(keys: &[&Signer]) -> Behaviour {
    says("200 OK", &set(keys))
}

/// Whoever says this to everybody.
pub fn says(status: &str, body: &str) -> Behaviour {
    let length = body.len();
    // For as long as the test lives.
    Behaviour::Says(Box::leak(
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_boxed_str(),
    ))
}
