//! The handle of a running node.

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

/// How often answers that are waited for are looked at.
const ANSWERS: Duration = Duration::from_millis(2);
/// A node that is told to stop ends sooner than this.
const STOPPING: Duration = Duration::from_secs(3);

/// What a node is started with.
pub struct NodeOptions {
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
    /// How to find devices, and to be found: [`Mdns::both`](super::Mdns::both) as a rule.
    pub discovery: Vec<Box<dyn Discovery>>,
    /// When it is to be found by them.
    pub announces: Announces,
    /// Addresses where peers may be.
    pub peers: Vec<Multiaddr>,
    /// What stages are computed with.
    pub compute: potluck_model::Compute,
    /// The models that it has, and where weights of others are kept.
    pub models: OwnModels,
    /// What stages may take.
    pub memory: MemoryBudget,
    /// This device as it was measured, and its sensors. Without it layers can be placed neither here
    /// nor from here; pairing needs none.
    pub profile: Option<DeviceProfile>,
}

/// A node that runs on threads of its own, until it is told to stop or the last handle goes.
///
/// Calls wait for the network thread, microseconds as a rule: not to be made on it.
#[derive(Clone)]
pub struct Node {
    peer: PeerId,
    computes: bool,
    commands: mpsc::UnboundedSender<Command>,
    _thread: Arc<Thread>,
}

/// Joined with the last handle.
struct Thread(Option<JoinHandle<()>>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Its panic, if it had one, was printed.
            let _ = thread.join();
        }
    }
}

impl Node {
    /// Starts a node for a device of this home.
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
                // A network thread that has ended wants nothing any more.
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

    /// Calls `question` on the network thread, and waits for its answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let command: Command = Box::new(move |driver| {
            let answered = question(driver);
            // Done, then said: whoever asked may end this process when it hears the answer.
            driver.follow_up();
            let _ = answer.send(answered);
        });
        self.commands
            .send(command)
            .map_err(|_| NodeError::Stopped)?;
        answered.recv().map_err(|_| NodeError::Stopped)
    }

    /// This node.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Whether it was started with a profile of its device, and so places layers.
    pub fn computes(&self) -> bool {
        self.computes
    }

    /// Whether it has ended: nothing that is asked of it will be answered.
    pub fn has_stopped(&self) -> bool {
        self.commands.is_closed()
    }

    /// What happens from now on.
    ///
    /// # Errors
    /// It has stopped.
    pub fn events(&self) -> Result<mpsc::UnboundedReceiver<NodeEvent>, NodeError> {
        self.ask(Driver::watch)
    }

    /// Where others reach this node.
    ///
    /// # Errors
    /// It has stopped.
    pub fn listening(&self) -> Result<Vec<Multiaddr>, NodeError> {
        self.ask(|driver| driver.listening())
    }

    /// The members of the circle, this device among them, and what is known of the others.
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

    /// Asks all devices which layers of a model they have, for the plans to come, and waits until
    /// all have said so, but no longer than `within`.
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

    /// The devices that layers of this model may be placed on now.
    ///
    /// # Errors
    /// It has stopped.
    pub fn devices(&self, manifest: ContentHash) -> Result<Devices, NodeError> {
        self.ask(move |driver| driver.machine.devices_for(manifest))
    }

    /// Tells of an address where a peer may be, as discovery by the system's own service does.
    ///
    /// # Errors
    /// It has stopped.
    pub fn add_address(&self, address: Multiaddr) -> Result<(), NodeError> {
        self.ask(move |driver| driver.add_address(&address))
    }

    /// What the other members are called that are not in reach.
    ///
    /// # Errors
    /// It has stopped.
    pub fn away(&self) -> Result<Vec<String>, NodeError> {
        self.ask(|driver| driver.machine.away())
    }

    /// Where a model's layers should run.
    ///
    /// # Errors
    /// It has stopped; in the inner result, why there is no placement.
    pub fn plan(
        &self,
        manifest: ContentHash,
        model: ModelShape,
        options: PlacementOptions,
    ) -> Result<Result<Plan, PlacementError>, NodeError> {
        self.ask(move |driver| driver.machine.plan(manifest, &model, &options))
    }

    /// Takes up what this device is like now, for the plans to come, and says what its owner should
    /// know of its figures.
    ///
    /// # Errors
    /// It has stopped.
    pub fn look_at_device(&self) -> Result<Caveats, NodeError> {
        self.ask(|driver| {
            driver.look_at_device();
            driver.caveats()
        })
    }

    /// Asks those for whom stages are computed here to place them elsewhere.
    ///
    /// # Errors
    /// It has stopped.
    pub fn hand_over(&self, reason: HandOverReason, within: Duration) -> Result<(), NodeError> {
        self.ask(move |driver| driver.hand_over(reason, within))
    }

    /// Whether nothing is computed here for others.
    ///
    /// # Errors
    /// It has stopped.
    pub fn is_idle(&self) -> Result<bool, NodeError> {
        self.ask(|driver| driver.machine.is_idle())
    }

    /// Bytes so far.
    ///
    /// # Errors
    /// It has stopped.
    pub fn traffic(&self) -> Result<Traffic, NodeError> {
        self.ask(|driver| driver.traffic())
    }

    /// Ends the node, and waits for that, but not for long: its conversations are finished, so that
    /// helpers free what they have for them, and its connections closed after what was to be sent.
    pub fn stop(&self) {
        // One that has stopped is what was wanted.
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
