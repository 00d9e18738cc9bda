//! What stands in the log beside the event: the receipt of a write under an idempotency key.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::joint::Touched;
use crate::domain::{Item, Principal, Product, ReservationId, SyncStatus};

/// 128 bits of BLAKE3: short enough to keep tens of millions in memory, long enough that two never meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

/// Of a principal and its idempotency key.
pub type KeyHash = Digest;

/// Of method, path, query and body of a request.
pub type Fingerprint = Digest;

impl Digest {
    /// Of the parts in order; a part's length counts, so that moving a border changes the digest.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(digest)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub fn of_key(principal: &Principal, key: &str) -> KeyHash {
        Self::of(&[principal.as_str().as_bytes(), key.as_bytes()])
    }

    /// Of an operation in a batch, beside the key of the batch.
    pub fn of_operation(self, index: u32) -> KeyHash {
        Self::of(&[&self.0, &index.to_le_bytes()])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = u128::from_str_radix(&text, 16).ok().filter(|_| text.len() == 32);
        let value = value.ok_or_else(|| serde::de::Error::custom("a digest has 32 hexadecimal digits"))?;
        Ok(Self(value.to_be_bytes()))
    }
}

/// Recorded with the event of a keyed write, so that its repeat is answered and not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    pub key: KeyHash,
    pub fingerprint: Fingerprint,
    /// The HTTP status of the first answer; its body is written again from the event.
    pub status: u16,
    /// Of an operation in a batch that is not atomic: its place. Each has a receipt of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u32>,
    /// Of a write that was answered with its item: the item after it, which the event alone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<Item>>,
    /// Of a write that was answered with its product: the product after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Arc<Product>>,
    /// Of a write that was answered with a reservation: which. How it stood then, the events up to this one tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationId>,
    /// Of an atomic batch: what each of its operations has touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Arc<[Touched]>>,
    /// Of a write that was answered with how the sync stands: how it stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<Arc<SyncStatus>>,
}

impl Receipt {
    /// Of a write that its event alone tells.
    pub fn new(key: KeyHash, fingerprint: Fingerprint, status: u16) -> Self {
        Self {
            key,
            fingerprint,
            status,
            operation: None,
            item: None,
            product: None,
            reservation: None,
            operations: None,
            sync: None,
        }
    }

    /// What finds it: the key, or for an operation in a batch one that is made of it.
    pub fn id(&self) -> KeyHash {
        self.operation.map_or(self.key, |index| self.key.of_operation(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_border_between_parts_changes_the_digest() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
    }

    #[test]
    fn a_digest_reads_back_as_it_was_written() {
        let digest = Digest::of(&[b"x"]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"+1\"").is_err());
    }
}
