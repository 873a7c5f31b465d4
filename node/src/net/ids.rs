//! Peers as libp2p and as the protocol name them.

use libp2p::identity::Keypair;
use potluck_protocol::PeerId;

/// The protocol's name of a peer; `None` for keys that are not Ed25519, which no node of ours has.
pub(super) fn of_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    PeerId::from_multihash(&peer.to_bytes())
}

/// libp2p's name of a peer.
pub(super) fn to_libp2p(peer: PeerId) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(&peer.to_multihash()).expect("an identity multihash is a peer's id")
}

/// libp2p's form of a device's key.
pub(super) fn keypair(mut seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(&mut seed).expect("any 32 bytes are a seed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_protocol::circle::Identity;

    #[test]
    fn both_name_a_device_alike() {
        let peer = Identity::from_seed(&[7; 32]).peer_id();
        let theirs = keypair([7; 32]).public().to_peer_id();
        assert_eq!(of_libp2p(&theirs), Some(peer));
        assert_eq!(to_libp2p(peer), theirs);
        assert_eq!(theirs.to_string(), peer.to_string());
    }
}
