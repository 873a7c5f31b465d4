//! Programs that speak libp2p as nodes do, and say over it what they like.

use std::time::Duration;

use libp2p::futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _,
};
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream::{Behaviour, Control};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What streams between nodes are for, by the names that libp2p negotiates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Control messages.
    Control,
    /// Hidden states.
    Data,
    /// Weights.
    Weights,
    /// Pairing.
    Pairing,
}

impl Purpose {
    fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Control => "/potluck/control/1",
            Self::Data => "/potluck/data/1",
            Self::Weights => "/potluck/weights/1",
            Self::Pairing => "/potluck/pairing/2",
        })
    }
}

/// A program with a key.
pub struct Attacker {
    runtime: Runtime,
    swarm: Swarm<Behaviour>,
    control: Control,
}

/// An address with the id of who is there.
///
/// # Panics
/// When it is none.
fn target(address: &str) -> (Multiaddr, PeerId) {
    let address: Multiaddr = address.parse().expect("an address");
    let last = address.iter().last();
    match last {
        Some(libp2p::multiaddr::Protocol::P2p(peer)) => (address, peer),
        other => panic!("an address ends with an id, not {other:?}"),
    }
}

impl Attacker {
    /// One whose key is made of these bytes.
    ///
    /// # Panics
    /// When libp2p does not start.
    pub fn new(mut seed: [u8; 32]) -> Self {
        let key = Keypair::ed25519_from_bytes(&mut seed).expect("any bytes are a key");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let entered = runtime.enter();
        let swarm = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )
            .expect("a transport")
            .with_behaviour(|_| Behaviour::new())
            .expect("a behaviour")
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
            .build();
        drop(entered);
        let control = swarm.behaviour().new_control();
        Self {
            runtime,
            swarm,
            control,
        }
    }

    /// Who it is to others.
    pub fn peer_id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// Says this over streams to a node, each on its own and in this order, takes what comes, and
    /// stays for a while. Whether all of it could be said.
    pub fn say(self, address: &str, said: Vec<(Purpose, Vec<u8>)>, stays: Duration) -> bool {
        self.talk(address, said, stays, true)
    }

    /// As [`say`](Self::say), but takes nothing of what comes: the node's streams stay open, and nobody
    /// reads them.
    pub fn say_deaf(self, address: &str, said: Vec<(Purpose, Vec<u8>)>, stays: Duration) -> bool {
        self.talk(address, said, stays, false)
    }

    fn talk(
        mut self,
        address: &str,
        said: Vec<(Purpose, Vec<u8>)>,
        stays: Duration,
        reads: bool,
    ) -> bool {
        let (address, peer) = target(address);
        let mut control = self.control;
        let listened = [Purpose::Control, Purpose::Data, Purpose::Weights].map(|purpose| {
            let incoming = control.accept(purpose.protocol());
            incoming.expect("nobody else accepts")
        });
        let mut incoming = libp2p::futures::stream::select_all(listened);
        let talk = async move {
            let mut streams = Vec::new();
            for (purpose, bytes) in said {
                let mut stream = control.open_stream(peer, purpose.protocol()).await.ok()?;
                stream.write_all(&bytes).await.ok()?;
                stream.flush().await.ok()?;
                streams.push(stream);
            }
            tokio::time::sleep(stays).await;
            Some(())
        };
        let listen = async move {
            let mut unread = Vec::new();
            while let Some((_, stream)) = incoming.next().await {
                if reads {
                    tokio::spawn(swallow(stream));
                } else {
                    unread.push(stream);
                }
            }
        };
        self.runtime.block_on(async {
            self.swarm.dial(address).expect("an address to dial");
            let drive = async {
                loop {
                    self.swarm.select_next_some().await;
                }
            };
            tokio::select! {
                said = timeout(PATIENCE, talk) => matches!(said, Ok(Some(()))),
                () = listen => false,
                () = drive => false,
            }
        })
    }

    /// Listens where a node that is called is expected, tells `ready` the address, and carries what
    /// the first who wants to pair says to another node, and back, until either ends. How many bytes
    /// it saw of each.
    ///
    /// # Panics
    /// When nobody comes.
    pub fn relay_pairing(mut self, to: &str, ready: impl FnOnce(Multiaddr)) -> (u64, u64) {
        let (address, peer) = target(to);
        let mut control = self.control;
        let mut callers = control
            .accept(Purpose::Pairing.protocol())
            .expect("nobody else accepts");
        let here: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
        let relay = async move {
            let (_, caller) = callers.next().await.expect("somebody calls");
            let called = control.open_stream(peer, Purpose::Pairing.protocol()).await;
            let called = called.expect("it is paired with now");
            let (mut from_caller, mut to_caller) = caller.split();
            let (mut from_called, mut to_called) = called.split();
            let forth = carry(&mut from_caller, &mut to_called);
            let back = carry(&mut from_called, &mut to_caller);
            tokio::join!(forth, back)
        };
        self.runtime.block_on(async {
            self.swarm.listen_on(here).expect("a free port");
            let mut ready = Some(ready);
            let drive = async {
                loop {
                    let event = self.swarm.select_next_some().await;
                    if let SwarmEvent::NewListenAddr { address: here, .. } = event
                        && let Some(ready) = ready.take()
                    {
                        self.swarm.dial(address.clone()).expect("to dial");
                        ready(here);
                    }
                }
            };
            tokio::select! {
                seen = timeout(PATIENCE, relay) => seen.expect("somebody pairs"),
                never = drive => never,
            }
        })
    }
}

async fn swallow(mut stream: Stream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// Carries bytes until there are no more; how many.
async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> u64 {
    let (mut buffer, mut carried) = (vec![0; 1 << 12], 0);
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() || to.flush().await.is_err() {
            break;
        }
        carried += length as u64;
    }
    let _ = to.close().await;
    carried
}
