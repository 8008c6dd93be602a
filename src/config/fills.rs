//! What filled the placeholders of a text, as far as it has to be known: whether it has changed.
//!
//! Kept as hashes, never shown, never written anywhere as they are. Whoever has to know after a restart whether the
//! same text means the same keeps [`Fills::keyed`], under a key that stays with the state (`design.md`, "Change":
//! filled-in values are kept as a keyed hash).

use blake3::Hash;
use std::collections::BTreeMap;
use std::fmt;

/// What stands between the braces of each placeholder, and the hash of what filled it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fills(BTreeMap<String, Hash>);

impl Fills {
    /// Notes what filled a placeholder.
    pub(super) fn note(&mut self, inner: &str, value: &str) {
        // The same placeholder is the same value, but for a file that changes between: the later one is newer.
        self.0.insert(inner.to_owned(), blake3::hash(value.as_bytes()));
    }

    /// Whether a placeholder was filled with something else than in `other`; not if one of them never filled it.
    pub fn differ(&self, other: &Fills, inner: &str) -> bool {
        matches!((self.0.get(inner), other.0.get(inner)), (Some(here), Some(there)) if here != there)
    }

    /// One hash of all of them under a key, hex; two texts that are the same mean the same if it is. Without the key
    /// it says nothing about the values.
    pub fn keyed(&self, key: &[u8; 32]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(key);
        for (inner, hash) in &self.0 {
            hasher
                .update(&(inner.len() as u64).to_le_bytes())
                .update(inner.as_bytes())
                .update(hash.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// The names only: a hash of a weak secret can be found by trying.
impl fmt::Debug for Fills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(value: &str) -> Fills {
        let mut fills = Fills::default();
        fills.note("TOKEN", value);
        fills
    }

    #[test]
    fn a_difference_is_seen_and_nothing_else() {
        let (one, other) = (filled("hunter2"), filled("hunter3"));
        assert!(one.differ(&other, "TOKEN") && !one.differ(&one, "TOKEN"));
        assert!(!one.differ(&other, "NEVER") && !one.differ(&Fills::default(), "TOKEN"));
        assert!(!format!("{one:?}").contains(&blake3::hash(b"hunter2").to_hex()[..8]));
    }

    #[test]
    fn the_keyed_hash_follows_the_values_and_the_key() {
        let (key, another) = ([1; 32], [2; 32]);
        assert_eq!(filled("a").keyed(&key), filled("a").keyed(&key));
        assert_ne!(filled("a").keyed(&key), filled("b").keyed(&key));
        assert_ne!(filled("a").keyed(&key), filled("a").keyed(&another));
        assert_ne!(filled("a").keyed(&key), Fills::default().keyed(&key));
    }
}
