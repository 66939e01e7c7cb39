//! Durable Object ids, derived as workerd derives them, so that ids and file names agree.
//!
//! `K = SHA-256(unique key)`; the first half of an id is `HMAC(K, name)` or random, the second half
//! is `HMAC(K, first half)`. So an id belongs to one namespace and cannot be made up.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

const HALF: usize = 16;

/// A namespace's key: `<worker name>-<class name>` unless a migration renamed the class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UniqueKey(String);

/// The 32 bytes that name an object. Prints as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 2 * HALF]);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    #[error("Invalid Durable Object ID: must be 64 hex digits")]
    Shape,
    #[error("Durable Object ID is not valid for this namespace.")]
    OtherNamespace,
}

impl ObjectId {
    /// One of `of` parts, evenly, and always the same one for this id.
    pub fn part(&self, of: usize) -> usize {
        // The bytes come out of a MAC or a random generator: they are spread already.
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        let of = u64::try_from(of.max(1)).unwrap_or(u64::MAX);
        usize::try_from(u64::from_le_bytes(first) % of).unwrap_or(0)
    }
}

impl UniqueKey {
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id every caller gets for `name`.
    pub fn id_from_name(&self, name: &str) -> ObjectId {
        let mut base = [0; HALF];
        base.copy_from_slice(&self.mac(name.as_bytes())[..HALF]);
        self.seal(base)
    }

    /// An id nobody had before.
    pub fn new_unique_id(&self) -> ObjectId {
        let mut base = [0; HALF];
        getrandom::fill(&mut base).expect("the operating system gives random bytes");
        self.seal(base)
    }

    /// Reads `text` and checks that this namespace made it.
    ///
    /// # Errors
    /// `Shape` unless it is 64 hex digits of either case; `OtherNamespace` if the check half is wrong.
    pub fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError> {
        let mut bytes = [0; 2 * HALF];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError::Shape)?;
        let mut base = [0; HALF];
        base.copy_from_slice(&bytes[..HALF]);
        let id = self.seal(base);
        if id.0 == bytes {
            Ok(id)
        } else {
            Err(IdError::OtherNamespace)
        }
    }

    fn seal(&self, base: [u8; HALF]) -> ObjectId {
        let mut id = [0; 2 * HALF];
        id[..HALF].copy_from_slice(&base);
        id[HALF..].copy_from_slice(&self.mac(&base)[..HALF]);
        ObjectId(id)
    }

    fn mac(&self, data: &[u8]) -> [u8; 32] {
        let key = Sha256::digest(self.0.as_bytes());
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
        mac.update(data);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ObjectId {
    /// Reads 64 hex digits without asking which namespace made them.
    ///
    /// # Errors
    /// `Shape` unless it is 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 2 * HALF];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError::Shape)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_the_id_workerd_gives() {
        let id = UniqueKey::new("sup").id_from_name("foo");
        assert_eq!(
            id.to_string(),
            "67b27b86a477624d5458239e66757394a53356d64c8280abebe61bde75980cf4",
            "the vector of the behaviour contract"
        );
    }

    #[test]
    fn an_id_is_read_back_only_in_its_own_namespace() {
        let key = UniqueKey::new("a-A");
        let id = key.new_unique_id();
        assert_eq!(
            key.id_from_string(&id.to_string().to_uppercase()),
            Ok(id),
            "upper case too"
        );
        assert_eq!(
            UniqueKey::new("b-A").id_from_string(&id.to_string()),
            Err(IdError::OtherNamespace),
            "another namespace refuses it"
        );
        assert_eq!(key.id_from_string("xyz"), Err(IdError::Shape), "not hex");
        assert_eq!(
            key.id_from_string(&"0".repeat(63)),
            Err(IdError::Shape),
            "too short"
        );
    }
}
