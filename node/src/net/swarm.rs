//! libp2p as nodes use it: TCP, Noise, Yamux.

use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::{Swarm, SwarmBuilder, noise, tcp, yamux};

use super::gate::Gate;

/// A connection that nobody uses is ended by whoever drives it, not by time.
const IDLE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long dialling and proving who is who may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A swarm that neither listens nor dials yet. To be called in the runtime that drives it.
pub(super) fn build(keypair: Keypair) -> Result<Swarm<Gate>, noise::Error> {
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|_| Gate::default())
        .unwrap_or_else(|never| match never {})
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .with_connection_timeout(CONNECT)
        .build();
    Ok(swarm)
}
