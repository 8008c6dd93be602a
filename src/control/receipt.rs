//! Receipts: one environment's word that a version was good there, so that another may demand it (`promote_from`).
//!
//! A gateway issues one when a version was active for everyone and baked: it is signed with an ed25519 key that never
//! leaves its state directory. It proves that exactly this text, before filling, was last good in that environment at
//! that time, for whoever holds the key. It proves nothing of what filled the text there (addresses, secrets), nor that
//! the version is still good, and it is no permission for one occasion: the same receipt can be shown again for the
//! same text, also after somebody rolled that text back. So it takes the place of no stage, guard or approval.
//! Rollbacks never ask for one.

mod key;
mod shelf;

pub use key::Signer;
pub use shelf::Shelf;

use crate::config::policy::{Policy, PromoteFrom};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The header that carries a receipt with a version.
pub const HEADER: &str = "x-tidegate-receipt";

/// Bytes of a receipt at most, in either form.
pub const MAX_BYTES: usize = 4 * 1024;

/// The only format there is.
const FORMAT: u32 = 1;

/// What a signature of ours is about, so that it can stand for nothing else.
const CONTEXT: &[u8] = b"tidegate receipt 1\0";

/// One environment's word about one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Which fields there are, and how they are signed: 1.
    pub format: u32,
    /// Whose word it is: `[rollout] environment` there.
    pub environment: String,
    /// Blake3 of the version's text before filling, hex.
    pub hash: String,
    /// The version's number there.
    pub number: u64,
    /// When it became last good there: UTC, RFC 3339.
    pub good_at: String,
    /// When this was issued: UTC, RFC 3339.
    pub issued_at: String,
    /// Names the key: 16 hexadecimal digits.
    pub key_id: String,
    /// Ed25519 over all of the above, base64.
    pub signature: String,
}

/// Why a version is not promoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// There is no receipt, and one is demanded.
    #[error(
        "this version needs a receipt of the environment {0}\nhint: `tidegate receipt VERSION` prints it there, once \
         the version has been fully active and baked; `apply --receipt FILE` takes it along, and beside a changed file it is FILE.receipt"
    )]
    Missing(String),
    /// It is no receipt.
    #[error("the receipt cannot be read: {0}")]
    Unreadable(String),
    /// It is of another release.
    #[error("the receipt has the format {0}; this release knows format {FORMAT}")]
    UnknownFormat(u32),
    /// Another environment issued it.
    #[error("the receipt is of the environment {found}; one of {wanted} is needed")]
    WrongEnvironment {
        /// Whose it is.
        found: String,
        /// Whose it has to be.
        wanted: String,
    },
    /// It is about another text.
    #[error("the receipt is of another version: of {found}, and not of {wanted}")]
    WrongHash {
        /// What it is about.
        found: String,
        /// What is proposed.
        wanted: String,
    },
    /// It is signed with another key.
    #[error(
        "the receipt is signed with the key {found}, and `promote_from` has the key {wanted}\nhint: `tidegate receipt \
         key` prints the key of a gateway; did that gateway lose its state directory?"
    )]
    OtherKey {
        /// Whose signature it is.
        found: String,
        /// The one that is known.
        wanted: String,
    },
    /// It was altered, or never signed with that key.
    #[error("the signature of the receipt is wrong: it was altered, or somebody else made it")]
    BadSignature,
    /// The key in the file is none; the check of the file says so too.
    #[error("`promote_from.public_key` {0}")]
    BadKey(&'static str),
}

impl Receipt {
    /// Reads one: a line of base64 as in the header, or JSON.
    ///
    /// # Errors
    /// Why it is none. That it can be read says nothing of its signature.
    pub fn parse(text: &str) -> Result<Receipt, Unproven> {
        let unreadable = |why: &dyn fmt::Display| Unproven::Unreadable(why.to_string());
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(unreadable(&"it is too long"));
        }
        let decoded = match text.starts_with('{') {
            true => text.as_bytes().to_vec(),
            false => {
                URL_SAFE_NO_PAD.decode(text).map_err(|_| unreadable(&"it is neither base64 nor JSON"))?
            }
        };
        serde_json::from_slice(&decoded).map_err(|error| unreadable(&error))
    }

    /// It in one line, for the header.
    pub fn line(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }

    /// What is signed: every field but the signature, each behind its length, so that no two receipts have the same.
    fn signed(&self) -> Vec<u8> {
        let Receipt { format, environment, hash, number, good_at, issued_at, key_id, signature: _ } = self;
        let mut bytes = CONTEXT.to_vec();
        bytes.extend(format.to_be_bytes());
        bytes.extend(number.to_be_bytes());
        for field in [environment, hash, good_at, issued_at, key_id] {
            bytes.extend((field.len() as u64).to_be_bytes());
            bytes.extend(field.as_bytes());
        }
        bytes
    }
}

/// Who checks receipts of one environment.
#[derive(Clone, Debug)]
pub struct Verifier {
    environment: String,
    key: [u8; 32],
}

impl Verifier {
    /// Of the receipts that a policy demands.
    ///
    /// # Errors
    /// [`Unproven::BadKey`].
    pub fn of(from: &PromoteFrom) -> Result<Self, Unproven> {
        Ok(Verifier { environment: from.environment.clone(), key: from.key().map_err(Unproven::BadKey)? })
    }

    /// Whether it is that environment's word about the text with this hash.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn verify(&self, receipt: &Receipt, hash: &str) -> Result<(), Unproven> {
        if receipt.format != FORMAT {
            return Err(Unproven::UnknownFormat(receipt.format));
        }
        if receipt.environment != self.environment {
            let (found, wanted) = (receipt.environment.clone(), self.environment.clone());
            return Err(Unproven::WrongEnvironment { found, wanted });
        }
        if receipt.hash != hash {
            return Err(Unproven::WrongHash { found: receipt.hash.clone(), wanted: hash.to_owned() });
        }
        let wanted = key_id(&self.key);
        if receipt.key_id != wanted {
            return Err(Unproven::OtherKey { found: receipt.key_id.clone(), wanted });
        }
        let signature = STANDARD.decode(&receipt.signature).map_err(|_| Unproven::BadSignature)?;
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        key.verify(&receipt.signed(), &signature).map_err(|_| Unproven::BadSignature)
    }
}

/// What `policy` demands of the version with this hash: nothing, or the receipt `shown`, which is given back for the
/// history.
///
/// # Errors
/// Why the version is refused.
pub fn demand(policy: &Policy, shown: Option<&str>, hash: &str) -> Result<Option<Receipt>, Unproven> {
    let Some(from) = &policy.promote_from else { return Ok(None) };
    let verifier = Verifier::of(from)?;
    let receipt = Receipt::parse(shown.ok_or_else(|| Unproven::Missing(from.environment.clone()))?)?;
    verifier.verify(&receipt, hash)?;
    Ok(Some(receipt))
}

/// A name for a public key that fits into a sentence.
fn key_id(key: &[u8]) -> String {
    blake3::hash(key).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests;
