//! The keys that tokens are checked with: a JSON Web Key Set (RFC 7517) as somebody published it, or one secret.
//!
//! Whoever publishes a set publishes what anybody may read, so a symmetric key in it is never used. A key that is
//! for something else, is weak, or is not understood, is left out; a set of which nothing is left is none.

use super::Head;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Bytes of a set at most.
pub const MAX_BYTES: usize = 256 * 1024;
/// Keys of a set at most.
const MAX_KEYS: usize = 128;
/// Keys that are tried for one token at most, where several have its name, or it has none: each costs a verification.
const MAX_TRIES: usize = 4;
/// Bytes of an RSA modulus: 2048 to 8192 bits, which is what the cryptography takes.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Keys, ready for use.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Keys of the document that are not used.
    pub ignored: usize,
}

#[derive(Clone, Debug)]
struct Key {
    /// Its name; a secret has none, and is tried for every token.
    kid: Option<String>,
    /// What it may verify.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    secret: bool,
}

/// Why a document is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum BadSet {
    /// No JSON, or not of the form.
    #[error("it is no key set: {0}")]
    Malformed(serde_json::Error),
    /// More than [`MAX_BYTES`].
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// More than the bound of keys in one set.
    #[error("it has {0} keys, and at most {MAX_KEYS} are read")]
    TooMany(usize),
    /// Nothing in it can be used.
    #[error("none of its {0} keys can be used to verify signatures")]
    NoneUsable(usize),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a document.
    ///
    /// # Errors
    /// See [`BadSet`].
    pub fn parse(document: &[u8]) -> Result<Self, BadSet> {
        if document.len() > MAX_BYTES {
            return Err(BadSet::TooLarge);
        }
        let document: Document = serde_json::from_slice(document).map_err(BadSet::Malformed)?;
        let all = document.keys.len();
        if all > MAX_KEYS {
            return Err(BadSet::TooMany(all));
        }
        let keys: Vec<Key> = document.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(BadSet::NoneUsable(all));
        }
        Ok(KeySet { ignored: all - keys.len(), keys })
    }

    /// One secret, for HMAC only.
    pub fn secret(secret: &[u8]) -> Self {
        let algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        let key = Key { kid: None, algorithms, key: DecodingKey::from_secret(secret), secret: true };
        KeySet { keys: vec![key], ignored: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// There is none; never so for a set that was read.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Some key has the name that the token gives, and is for its algorithm.
    pub fn knows(&self, head: &Head) -> bool {
        self.fitting(head).next().is_some()
    }

    /// The keys that may have made the token's signature, a few at most.
    pub(super) fn fitting<'a>(&'a self, head: &'a Head) -> impl Iterator<Item = &'a DecodingKey> {
        let fits = |key: &&Key| {
            let named = key.secret || head.kid.is_none() || key.kid == head.kid;
            named && key.algorithms.contains(&head.algorithm)
        };
        self.keys.iter().filter(fits).take(MAX_TRIES).map(|key| &key.key)
    }
}

impl Key {
    /// Nothing if it is not for verifying signatures, or is none that is understood.
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
        let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !signs || !verifies {
            return None;
        }
        let mut algorithms = algorithms(&jwk.algorithm)?;
        if let Some(own) = common.key_algorithm {
            let own = Algorithm::try_from(own).ok()?;
            algorithms.retain(|algorithm| *algorithm == own);
        }
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| !algorithms.is_empty())?;
        Some(Key { kid: jwk.common.key_id, algorithms, key, secret: false })
    }
}

/// What a key of this make may verify; nothing if it is too weak, or no public key.
fn algorithms(make: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match make {
        AlgorithmParameters::RSA(rsa) => {
            // Base64 without padding: four characters for three bytes.
            let fits = MODULUS.contains(&(rsa.n.len() * 3 / 4));
            fits.then(|| vec![RS256, RS384, RS512, PS256, PS384, PS512])
        }
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => Some(vec![ES256]),
            EllipticCurve::P384 => Some(vec![ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => {
            (pair.curve == EllipticCurve::Ed25519).then(|| vec![EdDSA])
        }
        _ => None,
    }
}
