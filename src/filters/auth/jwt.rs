//! Signed tokens (RFC 7519): is this one good, and what does it say? A pure function of the token, the keys, the
//! rules and the time.
//!
//! What a token says of its own key is never followed: no address, no certificate, no key inside it. Its algorithm
//! must be one of those that the configuration pins, and one that the key is made for, so that a public key is never
//! taken for a secret. A token that demands extensions (`crit`) is refused, for none is understood.

pub mod keys;
pub mod pace;
pub mod ring;

use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation, decode, decode_header, errors::ErrorKind};
use keys::KeySet;
use serde_json::{Map, Value};
use std::time::Duration;

/// Bytes of a `kid` at most: it is remembered when it is unknown.
const MAX_KID: usize = 256;

/// What a token must fulfil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Signatures that are accepted; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Who may have issued it; empty: anyone who has the key.
    pub issuers: Vec<String>,
    /// For whom it must be; empty: for anyone, which the configuration has to say in words.
    pub audiences: Vec<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Bytes of a token at most.
    pub max_length: usize,
}

/// What of a token is read before its signature: not to be believed, only to find the key by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How it says that it is signed; one of the pinned algorithms.
    pub algorithm: Algorithm,
    /// The key that it names.
    pub kid: Option<String>,
}

/// A token that is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What it says.
    pub claims: Map<String, Value>,
    /// Until when it is good, in seconds since 1970, leeway included.
    pub until: u64,
}

/// Why a token is not good. Whoever shows one may know: it names no key and no other client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Longer than the bound.
    #[error("the token is too long")]
    TooLong,
    /// No token at all.
    #[error("the token is malformed")]
    Malformed,
    /// Not one of the pinned ones.
    #[error("the token's algorithm is not accepted here")]
    Algorithm,
    /// It demands extensions.
    #[error("the token demands extensions that are not understood")]
    Critical,
    /// No key of the set has its name, or is for its algorithm.
    #[error("the token's key is not known")]
    UnknownKey,
    /// No key made this signature.
    #[error("the token's signature is not valid")]
    Signature,
    /// Its time is over, or it has none.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// From somebody else.
    #[error("the token's issuer is not accepted here")]
    Issuer,
    /// For somebody else.
    #[error("the token is not meant for this service")]
    Audience,
}

/// Whether verifying takes so long that a core must not do it. On two shared cores RS256 with 2048 bits took 27 to
/// 42 µs, ES256 95 to 116, EdDSA 60 to 70, and a hop to another thread and back 10
/// (`tests::what_a_verification_costs`, in the dev profile): a flood of tokens costs a core the hop.
pub fn is_slow(algorithm: Algorithm) -> bool {
    algorithm.family() != AlgorithmFamily::Hmac
}

/// Reads how a token is signed. Costs next to nothing.
///
/// # Errors
/// A token that no key could make good.
pub fn head(token: &[u8], rules: &Rules) -> Result<Head, Unfit> {
    if token.len() > rules.max_length {
        return Err(Unfit::TooLong);
    }
    // The library has names for the algorithms that exist; `none` is not one of them.
    let header = decode_header(token).map_err(|_| Unfit::Malformed)?;
    if header.crit.is_some() {
        return Err(Unfit::Critical);
    }
    if !rules.algorithms.contains(&header.alg) {
        return Err(Unfit::Algorithm);
    }
    if header.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return Err(Unfit::Malformed);
    }
    Ok(Head { algorithm: header.alg, kid: header.kid })
}

/// Whether a token is good at `now`, in seconds since 1970.
///
/// # Errors
/// See [`Unfit`].
pub fn verify(token: &[u8], keys: &KeySet, rules: &Rules, now: u64) -> Result<Verified, Unfit> {
    let head = head(token, rules)?;
    let mut why = Unfit::UnknownKey;
    for key in keys.fitting(&head) {
        let mut only = Validation::new(head.algorithm);
        // Times and names are looked at below, at a time that is given.
        only.required_spec_claims.clear();
        (only.validate_exp, only.validate_aud, only.leeway) = (false, false, 0);
        match decode::<Map<String, Value>>(token, key, &only) {
            Ok(data) => return accept(data.claims, rules, now),
            Err(error) => {
                why = match error.kind() {
                    ErrorKind::InvalidSignature => Unfit::Signature,
                    ErrorKind::InvalidAlgorithm => Unfit::Algorithm,
                    _ => Unfit::Malformed,
                }
            }
        }
    }
    Err(why)
}

/// What a signed token says of its own time, issuer and audience.
fn accept(claims: Map<String, Value>, rules: &Rules, now: u64) -> Result<Verified, Unfit> {
    let leeway = rules.leeway.as_secs();
    // A token without an end would be good for ever, whoever has stolen it.
    let until = time(&claims, "exp")?.ok_or(Unfit::Expired)?.saturating_add(leeway);
    if now >= until {
        return Err(Unfit::Expired);
    }
    if time(&claims, "nbf")?.is_some_and(|begin| begin > now.saturating_add(leeway)) {
        return Err(Unfit::Early);
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    let known = |issuer: &str| rules.issuers.iter().any(|known| known == issuer);
    if !rules.issuers.is_empty() && !issuer.is_some_and(known) {
        return Err(Unfit::Issuer);
    }
    let meant = |value: &Value| value.as_str().is_some_and(|name| rules.audiences.iter().any(|a| a == name));
    let for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(meant),
        Some(one) => meant(one),
        None => false,
    };
    if !rules.audiences.is_empty() && !for_us {
        return Err(Unfit::Audience);
    }
    Ok(Verified { claims, until })
}

/// A time in seconds since 1970; parts of a second are cut off, what lies before 1970 is its beginning.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Unfit> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite()).ok_or(Unfit::Malformed)?;
    Ok(Some(value.as_u64().unwrap_or(seconds.max(0.0) as u64)))
}

#[cfg(test)]
mod tests;
