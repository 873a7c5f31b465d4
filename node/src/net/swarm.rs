//! libp2p as nodes use it: TCP, Noise, Yamux, mDNS.

use std::io;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Swarm, SwarmBuilder, mdns, noise, tcp, yamux};

use super::gate::Gate;

/// A connection that nobody uses is ended by whoever drives it, not by time.
const IDLE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long dialling and proving who is who may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What a node does on the network.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) gate: Gate,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// The network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// No encryption.
    #[error("cannot set up encryption")]
    Noise(#[from] noise::Error),
    /// No multicast.
    #[error("cannot look for devices with mDNS: use --no-mdns")]
    Mdns(#[source] io::Error),
}

/// A swarm that neither listens nor dials yet. To be called in the runtime that drives it.
pub(super) fn build(keypair: Keypair, with_mdns: bool) -> Result<Swarm<Behaviour>, SwarmError> {
    let peer = keypair.public().to_peer_id();
    let mdns = with_mdns
        .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer))
        .transpose()
        .map_err(SwarmError::Mdns)?;
    let behaviour = Behaviour {
        gate: Gate::default(),
        mdns: mdns.into(),
    };
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|_| behaviour)
        .unwrap_or_else(|never| match never {})
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .with_connection_timeout(CONNECT)
        .build();
    Ok(swarm)
}
