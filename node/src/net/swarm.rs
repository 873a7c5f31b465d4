//! libp2p as nodes use it: TCP, Noise, Yamux.

use std::time::Duration;

use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::Config;
use libp2p::{Swarm, noise, tcp, yamux};

use super::gate::Gate;
use super::sockets::{Hasty, Sockets};
use super::zones::Zoned;

/// A connection that nobody uses is ended by whoever drives it, not by time.
const IDLE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long dialling and proving who is who may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A swarm that neither listens nor dials yet, and its sockets. To be called in the runtime that drives
/// it.
pub(super) fn build(keypair: &Keypair) -> Result<(Swarm<Gate>, Sockets), noise::Error> {
    let sockets = Sockets::default();
    let added = sockets.clone();
    let transport = Zoned(tcp::tokio::Transport::new(
        tcp::Config::default().nodelay(true),
    ))
    .map(move |stream, _| added.add(stream))
    .upgrade(Version::V1Lazy)
    .authenticate(noise::Config::new(keypair)?)
    .multiplex(yamux::Config::default())
    .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Hasty::new(muxer))));
    let transport = TransportTimeout::new(transport, CONNECT).boxed();
    let config = Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
    let me = keypair.public().to_peer_id();
    Ok((Swarm::new(transport, Gate::default(), me, config), sockets))
}
