//! Starting a node, and the handle of a running one.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use potluck_protocol::PeerId;
use potluck_protocol::circle::Member;
use potluck_protocol::machine::{Machine, MachineSetup, PeerStatus};
use potluck_protocol::placement::{Devices, ModelShape, PlacementError, PlacementOptions, Plan};
use potluck_protocol::stage::StageLimits;
use potluck_protocol::wire::{ContentHash, HandOverReason};
use tokio::sync::mpsc;

use super::addresses::Addresses;
use super::discovery::{Announces, Discovery};
use super::driver::{Command, Driver};
use super::nearby::Nearby;
use super::networks::{self, Networks};
use super::ports::Ports;
use super::report::{NodeError, NodeEvent};
use super::traffic::Traffic;
use super::{ids, swarm};
use crate::device::{Device, random};
use crate::home::Home;
use crate::profile::{Caveats, DeviceProfile};
use crate::shard_store::{Keeper, OwnModels};
use crate::stages::{MemoryBudget, StageExecutor};

/// How often a wait checks for its result.
const ANSWERS: Duration = Duration::from_millis(2);
/// How long [`Node::stop`] waits at most.
const STOPPING: Duration = Duration::from_secs(3);

/// Options of a node.
pub struct NodeOptions {
    /// Addresses to listen on.
    pub listen: Vec<Multiaddr>,
    /// Means of finding devices and of being found, usually [`Mdns::both`](super::Mdns::both).
    pub discovery: Vec<Box<dyn Discovery>>,
    /// When to announce this device by them.
    pub announces: Announces,
    /// Addresses at which to try peers.
    pub peers: Vec<Multiaddr>,
    /// Computes the stages.
    pub compute: potluck_model::Compute,
    /// The models on this device, and the store for weights received from others.
    pub models: OwnModels,
    /// Memory for stages.
    pub memory: MemoryBudget,
    /// The measured device and its sensors. Without it no layers can be placed on or by this node;
    /// pairing needs none.
    pub profile: Option<DeviceProfile>,
}

/// A node on threads of its own. It runs until it is told to stop or its last handle is dropped.
///
/// Calls block until the network thread answers, usually for microseconds; do not call them on that
/// thread.
#[derive(Clone)]
pub struct Node {
    peer: PeerId,
    computes: bool,
    commands: mpsc::UnboundedSender<Command>,
    _thread: Arc<Thread>,
}

/// Joined when the last handle is dropped.
struct Thread(Option<JoinHandle<()>>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Node {
    /// Starts a node for the device of this home.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn start(home: &Home, device: Device, options: NodeOptions) -> Result<Self, NodeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(NodeError::Threads)?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let (results, done) = mpsc::unbounded_channel();
        let (kept, stored) = mpsc::unbounded_channel();
        let peer = device.peer_id();
        let computes = options.profile.is_some();
        let file = home.root().join("addresses.json");
        let ports = home.root().join("ports.json");
        let met = home.root().join("networks.json");
        let mut driver = {
            let _in_runtime = runtime.enter();
            let swarm = swarm::build(&ids::keypair(device.seed()))?;
            let report = move |report| {
                // The network thread may have ended.
                let _ = results.send(report);
            };
            let executor = StageExecutor::start(
                options.compute,
                Box::new(options.models.clone()),
                options.memory,
                Box::new(report),
            );
            let executor = executor.map_err(NodeError::Threads)?;
            let keeper = Keeper::start(options.models, move |answer| {
                let _ = kept.send(answer);
            });
            let keeper = keeper.map_err(NodeError::Threads)?;
            let machine = machine(&device, u64::from_le_bytes(random()?));
            let nearby = Nearby::new(Networks::open(met), networks::own);
            let places = (Addresses::open(Some(file)), Ports::open(ports), nearby);
            let threads = (executor, keeper);
            Driver::new(device, machine, swarm, places, threads, options.profile)
        };
        {
            let _in_runtime = runtime.enter();
            let discovering = driver.discover(options.discovery, options.announces);
            discovering.map_err(NodeError::Discovery)?;
            for address in options.listen {
                let listening = driver.listen(&address);
                listening.map_err(|source| NodeError::Listen { address, source })?;
            }
            for address in &options.peers {
                driver.add_address(address);
            }
            driver.look_at_device();
            driver.follow_up();
        }
        let thread = thread::Builder::new()
            .name("potluck-net".to_owned())
            .spawn(move || runtime.block_on(driver.run(inbox, done, stored)))
            .map_err(NodeError::Threads)?;
        Ok(Self {
            peer,
            computes,
            commands,
            _thread: Arc::new(Thread(Some(thread))),
        })
    }

    /// Runs `question` on the network thread and waits for its result.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let command: Command = Box::new(move |driver| {
            let answered = question(driver);
            // Follow up before answering: the caller may end this process on the answer.
            driver.follow_up();
            let _ = answer.send(answered);
        });
        self.commands
            .send(command)
            .map_err(|_| NodeError::Stopped)?;
        answered.recv().map_err(|_| NodeError::Stopped)
    }

    /// The node's identity.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Whether it was started with a profile of its device, and so can place layers.
    pub fn computes(&self) -> bool {
        self.computes
    }

    /// Whether it has stopped and answers no more calls.
    pub fn has_stopped(&self) -> bool {
        self.commands.is_closed()
    }

    /// Subscribes to the node's events.
    ///
    /// # Errors
    /// It has stopped.
    pub fn events(&self) -> Result<mpsc::UnboundedReceiver<NodeEvent>, NodeError> {
        self.ask(Driver::watch)
    }

    /// The addresses that this node listens on.
    ///
    /// # Errors
    /// It has stopped.
    pub fn listening(&self) -> Result<Vec<Multiaddr>, NodeError> {
        self.ask(|driver| driver.listening())
    }

    /// The members of the circle, this device included, and the status of the others.
    ///
    /// # Errors
    /// It has stopped.
    pub fn members(&self) -> Result<Vec<(Member, Option<PeerStatus>)>, NodeError> {
        self.ask(|driver| {
            let mut known: Vec<_> = driver.machine.peers().collect();
            let members = driver.machine.circle().members().cloned();
            members
                .map(|member| {
                    let at = known.iter().position(|status| status.peer == member.peer);
                    (member, at.map(|at| known.swap_remove(at)))
                })
                .collect()
        })
    }

    /// Asks all devices which layers of a model they have, and waits for their answers for at most
    /// `within`. Later plans use the answers.
    ///
    /// # Errors
    /// It has stopped.
    pub fn find_weights(&self, manifest: ContentHash, within: Duration) -> Result<(), NodeError> {
        let until = Instant::now() + within;
        self.ask(move |driver| {
            let now = driver.now();
            driver.machine.find_weights(now, manifest);
        })?;
        while !self.ask(move |driver| driver.machine.knows_weights(manifest))? {
            if Instant::now() >= until {
                break;
            }
            thread::sleep(ANSWERS);
        }
        Ok(())
    }

    /// The devices on which layers of this model can be placed now.
    ///
    /// # Errors
    /// It has stopped.
    pub fn devices(&self, manifest: ContentHash) -> Result<Devices, NodeError> {
        self.ask(move |driver| driver.machine.devices_for(manifest))
    }

    /// Adds an address at which to try a peer, such as one found by the system's own discovery.
    ///
    /// # Errors
    /// It has stopped.
    pub fn add_address(&self, address: Multiaddr) -> Result<(), NodeError> {
        self.ask(move |driver| driver.add_address(&address))
    }

    /// The names of the members that are not connected.
    ///
    /// # Errors
    /// It has stopped.
    pub fn away(&self) -> Result<Vec<String>, NodeError> {
        self.ask(|driver| driver.machine.away())
    }

    /// The best placements of a model's layers now.
    ///
    /// # Errors
    /// It has stopped; the inner result says why there is no placement.
    pub fn plan(
        &self,
        manifest: ContentHash,
        model: ModelShape,
        options: PlacementOptions,
    ) -> Result<Result<Plan, PlacementError>, NodeError> {
        self.ask(move |driver| driver.machine.plan(manifest, &model, &options))
    }

    /// Reads the sensors, so that later plans use this device's present state, and returns what its
    /// owner should know about the measurements.
    ///
    /// # Errors
    /// It has stopped.
    pub fn look_at_device(&self) -> Result<Caveats, NodeError> {
        self.ask(|driver| {
            driver.look_at_device();
            driver.caveats()
        })
    }

    /// Asks the requesters of this node's stages to place them elsewhere.
    ///
    /// # Errors
    /// It has stopped.
    pub fn hand_over(&self, reason: HandOverReason, within: Duration) -> Result<(), NodeError> {
        self.ask(move |driver| driver.hand_over(reason, within))
    }

    /// Whether it has no stages of other devices.
    ///
    /// # Errors
    /// It has stopped.
    pub fn is_idle(&self) -> Result<bool, NodeError> {
        self.ask(|driver| driver.machine.is_idle())
    }

    /// Bytes sent and received so far.
    ///
    /// # Errors
    /// It has stopped.
    pub fn traffic(&self) -> Result<Traffic, NodeError> {
        self.ask(|driver| driver.traffic())
    }

    /// Stops the node and waits a few seconds at most. Its sessions are finished, so that helpers free
    /// their stages; queued messages are sent, then connections are closed.
    pub fn stop(&self) {
        // A node that has already stopped is fine.
        let _ = self.ask(Driver::stop);
        let until = Instant::now() + STOPPING;
        while !self.has_stopped() && Instant::now() < until {
            thread::sleep(ANSWERS);
        }
    }
}

fn machine(device: &Device, run: u64) -> Machine {
    Machine::new(MachineSetup {
        identity: device.identity(),
        circle: device.circle.clone(),
        name: device.name.clone(),
        software: concat!("potluck ", env!("CARGO_PKG_VERSION")).to_owned(),
        stages: StageLimits::default(),
        run,
    })
}
