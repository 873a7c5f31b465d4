//! The key that a node proves itself with.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::PeerId;

/// This node's Ed25519 secret key, the one its links prove.
///
/// It is erased from memory when dropped and never shown.
pub struct Identity(SigningKey);

impl Identity {
    /// The identity of 32 secret, random bytes (the seed of RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The node that this key proves.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_public_key(self.0.verifying_key().to_bytes())
    }

    /// The signature of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id())
    }
}

/// Whether `author` signed `message`.
///
/// Strict: keys and points of small order and non-canonical scalars are refused, so that all members
/// judge every signature alike.
pub(crate) fn is_signed_by(author: PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(author.public_key()).is_ok_and(|key| {
        let signature = Signature::from_bytes(signature);
        key.verify_strict(message, &signature).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_author_and_message_only() {
        let [anna, ben] = [[1; 32], [2; 32]].map(|seed| Identity::from_seed(&seed));
        let signature = anna.sign(b"hello");
        assert!(is_signed_by(anna.peer_id(), b"hello", &signature));
        assert!(!is_signed_by(ben.peer_id(), b"hello", &signature));
        assert!(!is_signed_by(anna.peer_id(), b"hullo", &signature));
        let nobody = PeerId::from_public_key([0; 32]);
        assert!(!is_signed_by(nobody, b"hello", &[0; 64]));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?}", Identity::from_seed(&[0x5a; 32]));
        assert!(
            shown.starts_with("Identity(12D3KooW") && !shown.contains("90"),
            "{shown}"
        );
    }
}
