//! Addresses of members.

use super::proto;
use crate::PeerId;
use crate::pairing::Address;
use crate::wire::check::{Checked, Malformed, Problem, length, peer};
use crate::wire::limits::MAX_ADDRESSES;

/// Where a member listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddresses {
    /// Which.
    pub peer: PeerId,
    /// At most [`MAX_ADDRESSES`](crate::wire::limits::MAX_ADDRESSES).
    pub addresses: Vec<Address>,
}

impl From<&PeerAddresses> for proto::PeerAddresses {
    fn from(message: &PeerAddresses) -> Self {
        let texts = message.addresses.iter();
        Self {
            peer: message.peer.public_key().to_vec(),
            addresses: texts.map(|address| address.as_str().to_owned()).collect(),
        }
    }
}

impl TryFrom<proto::PeerAddresses> for PeerAddresses {
    type Error = Malformed;

    fn try_from(message: proto::PeerAddresses) -> Checked<Self> {
        const ADDRESSES: &str = "PeerAddresses.addresses";
        length(ADDRESSES, message.addresses.len(), 0..=MAX_ADDRESSES)?;
        let addresses = message.addresses.iter().map(|text| Address::new(text));
        Ok(Self {
            peer: peer("PeerAddresses.peer", &message.peer)?,
            addresses: addresses
                .collect::<Result<_, _>>()
                .map_err(|_| Problem::Characters.of(ADDRESSES))?,
        })
    }
}
