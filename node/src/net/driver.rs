//! The loop that owns the machine, the swarm and the clock.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libp2p::futures::StreamExt as _;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, Swarm};
use potluck_protocol::machine::{Event, Input, LoadRefused, Machine, Output};
use potluck_protocol::session::SessionEvent;
use potluck_protocol::transfer::StoreAnswer;
use potluck_protocol::wire::HandOverReason;
use potluck_protocol::{PeerId, SessionId};
use tokio::sync::{Notify, mpsc};

use super::addresses::Addresses;
use super::connections::Connections;
use super::discovery::{Announces, Discovery};
use super::gate::Gate;
use super::giving::Giving;
use super::ids;
use super::journal::Journal;
use super::nearby::Nearby;
use super::pairings::Pairings;
use super::ports::Ports;
use super::pump::Arrival;
use super::report::NodeEvent;
use super::sockets::Sockets;
use super::stream::Purpose;
use super::traffic::Traffic;
use super::underway::{Joining, Underway};
use crate::device::{Device, DeviceError};
use crate::profile::DeviceProfile;
use crate::shard_store::Keeper;
use crate::stages::{Done, StageExecutor, Stopped};

/// How often to try peers that are not connected.
const TICK: Duration = Duration::from_millis(250);
/// How long a stopping node waits for its queued messages to be sent, and again for its connections
/// to close.
const LEAVING: Duration = Duration::from_millis(500);
/// How often to read battery and temperature.
const SENSE: Duration = Duration::from_secs(10);
/// Capacity of the queue of received pieces that wait for the driver.
const ARRIVALS: usize = 64;

/// A request of the handle. The driver runs it on its own thread, between two events.
pub(super) type Command = Box<dyn FnOnce(&mut Driver) + Send>;

/// Everything that the network thread owns.
pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) device: Device,
    pub(super) swarm: Swarm<Gate>,
    started: Instant,
    /// The machine's clock at that moment: time since 1970, so that measurements of earlier runs have
    /// an age.
    started_at: Duration,
    pub(super) connections: Connections,
    pub(super) pairings: Pairings,
    pub(super) addresses: Addresses,
    pub(super) sockets: Sockets,
    pub(super) ports: Ports,
    pub(super) nearby: Nearby,
    /// When it last dialled an address without knowing whose it is.
    pub(super) dialled_anyone: Option<Duration>,
    pub(super) joining: Option<Joining>,
    /// The connection that the joining uses, once there is one.
    pub(super) joining_over: Option<ConnectionId>,
    pub(super) underway: Underway,
    pub(super) journal: Journal,
    executor: StageExecutor,
    keeper: Keeper,
    giving: Giving,
    pub(super) profile: Option<DeviceProfile>,
    sessions: BTreeMap<SessionId, Sender<SessionEvent>>,
    watchers: Vec<mpsc::UnboundedSender<NodeEvent>>,
    /// An event from before there was a watcher, for the first one.
    pub(super) untold: Option<NodeEvent>,
    pub(super) traffic: Traffic,
    arrivals: mpsc::Receiver<Arrival>,
    drained: Arc<Notify>,
    /// How many computations of this device's owner run beside the node.
    owner_works: usize,
    /// Why the last attempt to store the circle failed.
    pub(super) unstored: Option<DeviceError>,
    /// Whether to store the circle again, because the last attempt failed.
    pub(super) is_to_store: bool,
    /// Whether it has begun to hand over its layers.
    pub(super) leaving: bool,
    /// Whether to end once the queued messages are sent.
    stopping: bool,
}

impl Driver {
    pub(super) fn new(
        device: Device,
        machine: Machine,
        (swarm, sockets): (Swarm<Gate>, Sockets),
        (addresses, ports, nearby): (Addresses, Ports, Nearby),
        (executor, keeper): (StageExecutor, Keeper),
        profile: Option<DeviceProfile>,
    ) -> Self {
        let (arrive, arrivals) = mpsc::channel(ARRIVALS);
        let drained = Arc::new(Notify::new());
        let me = device.peer_id();
        let mut driver = Self {
            machine,
            device,
            swarm,
            started: Instant::now(),
            started_at: since_1970(),
            connections: Connections::new(me, Arc::clone(&drained), arrive.clone()),
            pairings: Pairings::new(Arc::clone(&drained), arrive),
            addresses,
            sockets,
            ports,
            nearby,
            dialled_anyone: None,
            joining: None,
            joining_over: None,
            underway: Underway::default(),
            journal: Journal::default(),
            executor,
            keeper,
            giving: Giving::default(),
            profile,
            sessions: BTreeMap::new(),
            watchers: Vec::new(),
            untold: None,
            traffic: Traffic::default(),
            arrivals,
            drained,
            owner_works: 0,
            unstored: None,
            is_to_store: false,
            leaving: false,
            stopping: false,
        };
        driver.admit_members();
        driver
    }

    /// The machine's clock, which never goes back.
    pub(super) fn now(&self) -> Duration {
        self.started_at + self.started.elapsed()
    }

    /// Runs until it is told to stop or its last handle is dropped.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut done: mpsc::UnboundedReceiver<Done>,
        mut stored: mpsc::UnboundedReceiver<StoreAnswer>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        let mut sense = tokio::time::interval(SENSE);
        while !self.stopping {
            let timeout = self.machine.poll_timeout();
            let timeout = timeout.map_or(TICK, |at| at.saturating_sub(self.now()));
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                found = poll_fn(|cx| self.nearby.poll_found(cx)) => {
                    self.add_found(&found);
                }
                Some(arrival) = self.arrivals.recv() => self.on_arrival(arrival),
                command = commands.recv() => match command {
                    Some(command) => command(&mut self),
                    None => break,
                },
                Some(done) = done.recv() => self.on_done(done),
                Some(answer) = stored.recv() => {
                    self.giving.answered(&answer);
                    let (now, giving) = (self.now(), &mut self.journal.giving);
                    giving.answered(now, &self.machine, &answer);
                    self.tell(Input::Stored(answer));
                }
                () = self.drained.notified() => {}
                _ = tick.tick() => {
                    self.look_after_circle();
                    self.look_after_peers();
                    self.announce();
                    self.correct_profile();
                    let now = self.now();
                    self.journal.giving.look(now);
                }
                _ = sense.tick() => self.look_at_device(),
                () = tokio::time::sleep(timeout) => {
                    let now = self.now();
                    self.machine.handle_timeout(now);
                }
            }
            self.follow_up();
        }
        self.leave().await;
    }

    /// Performs the machine's outputs.
    pub(super) fn follow_up(&mut self) {
        for (peer, congested) in self.connections.congestion() {
            self.tell(Input::Congested { peer, congested });
        }
        while let Some(output) = self.machine.poll_output() {
            self.perform(output);
        }
        let connections = &self.connections;
        for order in self.giving.due(|peer| connections.transfer_queued(peer)) {
            self.keeper.order(order);
        }
        let inviting = self.machine.is_inviting();
        let pairs_with = self.machine.pairs_with().map(ids::to_libp2p);
        let gate = self.swarm.behaviour_mut();
        gate.set_inviting(inviting);
        gate.set_pairs_with(pairs_with);
        let machine = &self.machine;
        self.connections.read_data(|peer| machine.wants_data(peer));
    }

    pub(super) fn tell(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle_input(now, input);
    }

    fn on_done(&mut self, done: Done) {
        let input = match done {
            Done::Loaded {
                stage,
                epoch,
                result,
            } => {
                let result = result.map_err(|error| LoadRefused {
                    code: error.code,
                    words: error.words,
                    available_bytes: error.available_bytes,
                });
                let (now, helping) = (self.now(), &mut self.journal.helping);
                let told = helping.loaded(now, stage, epoch, &result);
                told.iter().for_each(|event| self.tell_watchers(event));
                Input::Loaded {
                    stage,
                    epoch,
                    result: result.map(drop),
                }
            }
            Done::Computed {
                number,
                hidden,
                times,
                overwritten,
            } => {
                for stage in overwritten {
                    self.tell(Input::Overwritten { stage });
                }
                if let Some(profile) = &mut self.profile {
                    times.into_iter().for_each(|step| profile.computed(step));
                }
                Input::Computed { number, hidden }
            }
            Done::Failed => {
                // Without an executor every stage here would hang. Peers notice a lost node at once.
                self.tell_watchers(&NodeEvent::Problem(Stopped.to_string()));
                self.stopping = true;
                return;
            }
        };
        self.tell(input);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::SendControl(peer, bytes) => self.send(peer, Purpose::Control, bytes),
            Output::SendData(peer, bytes) => self.send(peer, Purpose::Data, bytes),
            Output::Disconnect(peer) => {
                let now = self.now();
                match self.connections.drop_peer(peer) {
                    Some(connection) if self.is_of_pairing(connection) => {
                        self.pairings.keep_for_pairing(connection);
                    }
                    Some(connection) => self.pairings.let_go(now, connection),
                    None => {}
                }
            }
            Output::SendPairing(peer, bytes) => self.pairings.send(peer, bytes),
            Output::ClosePairing(peer) => {
                let now = self.now();
                self.pairings.close(now, peer);
                self.end_joining(peer);
            }
            Output::SendTransfer(peer, bytes) => {
                if let Some(connection) = self.connections.open_transfer(peer) {
                    let gate = self.swarm.behaviour_mut();
                    gate.open(ids::to_libp2p(peer), connection, Purpose::Transfer);
                }
                self.send(peer, Purpose::Transfer, bytes);
            }
            Output::Store(order) => {
                if let Some(order) = self.giving.order(order) {
                    self.keeper.order(order);
                }
            }
            Output::Load(load) => {
                let me = self.device.peer_id();
                self.journal.helping.load(me, &self.machine, &load);
                self.order(|executor| executor.load(load));
            }
            Output::Compute(step) => {
                self.journal.helping.compute(&step);
                self.order(|executor| executor.compute(step));
            }
            Output::Free(stage) => {
                let told = self.journal.helping.free(self.now(), stage);
                told.iter().for_each(|event| self.tell_watchers(event));
                self.order(|executor| executor.free(stage));
            }
            Output::PeerAddresses(peer, addresses) => self.learn_addresses(peer, &addresses),
            Output::CircleChanged => self.circle_changed(),
            Output::Event(Event::Session(session, event)) => {
                let (now, sessions) = (self.now(), &mut self.journal.sessions);
                sessions.event(now, &self.machine, session, &event);
                self.tell_session(session, event);
            }
            Output::Event(Event::Pairing(event)) => {
                let joins = self.underway.joining.map(|(_, of)| of);
                if let Some(of) = self.underway.take_event(&event) {
                    let pairings = &mut self.journal.pairings;
                    pairings.event(&self.machine, of, joins == Some(of), &event);
                    self.tell_watchers(&NodeEvent::Pairing { of, event });
                }
            }
            Output::Event(event) => {
                self.note(&event);
                let now = self.now();
                let told = self.journal.event(now, &self.machine, event);
                told.iter().for_each(|event| self.tell_watchers(event));
            }
        }
    }

    fn order(&mut self, order: impl FnOnce(&StageExecutor) -> Result<(), Stopped>) {
        if let Err(stopped) = order(&self.executor) {
            self.tell_watchers(&NodeEvent::Problem(stopped.to_string()));
        }
    }

    fn send(&mut self, peer: PeerId, purpose: Purpose, bytes: Vec<u8>) {
        self.traffic.bytes_sent += bytes.len() as u64;
        let (stream, length) = (purpose.name(), bytes.len());
        tracing::trace!(%peer, stream, bytes = length, "sent");
        if !self.connections.send(peer, purpose, bytes)
            && let Some(connection) = self.connections.drop_peer(peer)
        {
            let words = format!(
                "{peer} sends requests but does not read the answers: its connection is closed"
            );
            self.tell_watchers(&NodeEvent::Problem(words));
            self.swarm.close_connection(connection);
            self.tell(Input::Disconnected(peer));
        }
    }

    fn tell_session(&mut self, session: SessionId, event: SessionEvent) {
        let told = self.sessions.get(&session).map(|s| s.send(event).is_ok());
        if told == Some(false) {
            self.finish(session);
        }
    }

    pub(super) fn tell_watchers(&mut self, event: &NodeEvent) {
        if let NodeEvent::Problem(words) = event {
            tracing::warn!("{words}");
        }
        self.watchers
            .retain(|watcher| watcher.send(event.clone()).is_ok());
    }

    /// Adds these means of finding devices and of being found.
    pub(super) fn discover(
        &mut self,
        by: Vec<Box<dyn Discovery>>,
        announces: Announces,
    ) -> io::Result<()> {
        self.nearby.start(by, announces, self.device.peer_id())
    }

    /// Where others reach this node.
    pub(super) fn listening(&self) -> Vec<Multiaddr> {
        self.swarm.listeners().cloned().collect()
    }

    pub(super) fn watch(&mut self) -> mpsc::UnboundedReceiver<NodeEvent> {
        let (watcher, events) = mpsc::unbounded_channel();
        self.watchers.push(watcher);
        if let Some(event) = self.untold.take() {
            self.tell_watchers(&event);
        }
        events
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Registers the receiver of a session's events.
    pub(super) fn add_session(&mut self, session: SessionId, events: Sender<SessionEvent>) {
        self.sessions.insert(session, events);
        self.journal.sessions.started(self.now(), session);
    }

    pub(super) fn finish(&mut self, session: SessionId) {
        let now = self.now();
        self.sessions.remove(&session);
        self.journal.sessions.finished(now, session);
        self.machine.finish(now, session);
    }

    /// Asks the requesters of this device's stages to place them elsewhere, and accepts no new ones.
    pub(super) fn hand_over(&mut self, reason: HandOverReason, within: Duration) {
        self.leaving = true;
        self.tell(Input::HandOver { reason, within });
    }

    /// Counts computations of this device's owner beside the node, as they begin and end.
    pub(super) fn owner_computes(&mut self, begins: bool) {
        if begins {
            self.owner_works += 1;
        } else {
            self.owner_works = self.owner_works.saturating_sub(1);
        }
        self.tell(Input::OwnerBusy(self.owner_works > 0));
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Finishes the sessions, sends what is queued and closes the connections, each within [`LEAVING`].
    async fn leave(mut self) {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.finish(session);
        }
        self.follow_up();
        // Helpers must hear that the sessions are over. Queued data is no longer of use to them.
        let told = async {
            while self.connections.control_queued() > 0 {
                tokio::select! {
                    _ = self.swarm.select_next_some() => {}
                    () = self.drained.notified() => {}
                }
            }
        };
        let _ = tokio::time::timeout(LEAVING, told).await;
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        self.store_addresses();
        self.keep_profile();
        for peer in peers {
            if let Some(connection) = ids::of_libp2p(&peer).and_then(|id| self.connections.of(id)) {
                self.swarm.close_connection(connection);
            }
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                let _ = self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(LEAVING, closed).await;
    }

    pub(super) fn store_addresses(&mut self) {
        let gate = self.swarm.behaviour();
        if let Err(error) = self.addresses.store(|peer| gate.is_member(peer)) {
            let words = format!("cannot store the addresses of peers: {error}");
            self.tell_watchers(&NodeEvent::Problem(words));
        }
    }
}

/// Time since 1970 (UTC), by the system's clock.
fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Seconds since 1970 (UTC), by the system's clock.
pub(super) fn unix_seconds() -> u64 {
    since_1970().as_secs()
}
