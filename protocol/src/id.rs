//! Identifiers of nodes, sessions, stages, epochs and branches.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A node, by the Ed25519 public key that its links prove.
///
/// Shown as other libp2p programs show it: the base58 of the identity multihash of the key's
/// protobuf (<https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId([u8; 32]);

/// Identity multihash of 36 bytes; protobuf field 1, key type Ed25519; field 2, 32 bytes.
const MULTIHASH_OF_ED25519: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl PeerId {
    /// The node that holds the secret key of this public key.
    pub const fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The identity multihash, libp2p's binary form.
    pub fn to_multihash(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&MULTIHASH_OF_ED25519);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// The node of libp2p's binary form; `None` if it is not of an Ed25519 key.
    pub fn from_multihash(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&MULTIHASH_OF_ED25519)?;
        key.try_into().ok().map(Self)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_multihash()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for PeerId {
    type Err = NotAPeerId;

    fn from_str(text: &str) -> Result<Self, NotAPeerId> {
        // The longest text of 38 bytes; decoding takes time quadratic in the length.
        if text.len() > 52 {
            return Err(NotAPeerId);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| NotAPeerId)?;
        Self::from_multihash(&bytes).ok_or(NotAPeerId)
    }
}

// As text, as people and programs are shown it.
impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(Error::custom)
    }
}

/// A text that names no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a peer's id: they look like 12D3KooW…, and `potluck peers` lists them")]
pub struct NotAPeerId;

/// One conversation's KV caches over a pipeline, named at random by its requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// The stage of a session on a node that helps, where two requesters may have chosen the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId {
    /// Whose session it is.
    pub requester: PeerId,
    /// As the requester calls it.
    pub session: SessionId,
}

/// Which placement of a session a frame belongs to: each new one counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PlanEpoch(pub u32);

/// Which continuation of a session a frame belongs to: each rejected draft starts a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Branch(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the libp2p specification's test vectors.
    const PUBLIC_KEY: &str = "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";

    fn key() -> [u8; 32] {
        let byte = |i: usize| u8::from_str_radix(&PUBLIC_KEY[2 * i..2 * i + 2], 16);
        std::array::from_fn(|i| byte(i).expect("hexadecimal"))
    }

    #[test]
    fn a_peer_is_shown_as_libp2p_shows_it_and_read_back() {
        let peer = PeerId::from_public_key(key());
        let text = peer.to_string();
        assert!(text.starts_with("12D3KooW") && text.len() == 52, "{text}");
        assert_eq!(text.parse(), Ok(peer));
        assert_eq!(PeerId::from_multihash(&peer.to_multihash()), Some(peer));
    }

    #[test]
    fn what_is_not_a_peer_is_refused_in_words() {
        let long = "1".repeat(10_000);
        // The last is a peer of an RSA key.
        let rsa = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        for text in ["", "kitchen", "12D3KooW", "0OIl", &long, rsa] {
            let error = text.parse::<PeerId>().expect_err("not a peer");
            assert!(error.to_string().contains("potluck peers"));
        }
    }
}
