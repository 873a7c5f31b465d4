//! This home's node: the one that is running, or one that a command starts for itself.

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::Args;
use potluck::Cancel;
use potluck::OwnerLimits;
use potluck::device::Device;
use potluck::engine::Compute;
use potluck::home::Home;
use potluck::local::{
    Client, ClientError, LocalNode, NodeSettings, Reply, Request, ServeError, Socket,
};
use potluck::manifest::{KnownFiles, ManifestCache};
use potluck::net::{Announces, HandOverReason, Mdns, Multiaddr, Node, NodeOptions};
use potluck::packed_store::PackedStore;
use potluck::profile::{DeviceProfile, Measurements, OwnerSettings, this_system};
use potluck::shard_store::{OwnModels, ShardStore};
use potluck::stages::MemoryBudget;

use super::failure::{self, Code};
use super::interrupt::Stopped;
use super::{format, given, output};

/// Options: how a node finds other devices, and how much memory it may use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "This device's node")]
pub(super) struct NodeArgs {
    /// Address to listen on, such as /ip4/0.0.0.0/tcp/4001; may be given several times [default: a free
    /// port on all addresses]
    #[arg(long, value_name = "MULTIADDR", value_parser = address)]
    pub(super) listen: Vec<Multiaddr>,
    /// Do not look for devices on the local network, and do not announce this one there
    #[arg(long)]
    pub(super) no_mdns: bool,
    /// Announce this device in every network. Everyone there can then see its id, which never changes.
    /// Without this flag it is announced only in networks where it met a paired device before, and while
    /// an invitation is open
    #[arg(long, conflicts_with = "no_mdns")]
    pub(super) mdns: bool,
    /// Address of a paired device, such as /ip4/192.168.1.5/tcp/4001/p2p/12D3KooW…; may be given several
    /// times
    #[arg(long, value_name = "MULTIADDR", value_parser = address)]
    pub(super) peer: Vec<Multiaddr>,
    /// Memory for weights and caches, such as 800M or 2G [default: half of the free memory, within a
    /// container's limit]
    #[arg(long, value_name = "SIZE", value_parser = format::parse_bytes)]
    pub(super) memory: Option<u64>,
    /// Whether the command prints only its result and errors.
    #[arg(skip)]
    pub(super) quiet: bool,
    /// Where the layers that this node computes are packed.
    #[arg(skip)]
    pub(super) packed: Option<PackedStore>,
}

fn address(text: &str) -> Result<Multiaddr, String> {
    text.parse()
        .map_err(|_| "write an address like /ip4/192.168.1.5/tcp/4001".to_owned())
}

impl NodeArgs {
    fn settings(&self, threads: Option<usize>) -> NodeSettings {
        let words = |addresses: &[Multiaddr]| addresses.iter().map(ToString::to_string).collect();
        NodeSettings {
            threads,
            listen: words(&self.listen),
            no_mdns: self.no_mdns,
            announces: Announces::always(self.mdns),
            peers: words(&self.peer),
            memory: self.memory,
            no_pack: self.packed.is_none(),
            packed: self.packed.as_ref().and_then(PackedStore::quota),
        }
    }

    /// The first given option, `--threads` included, that a running node was not started with. Settings
    /// of the configuration file do not count as given.
    fn unknown_to(&self, threads: Option<usize>, running: &NodeSettings) -> Option<&'static str> {
        let ours = self.settings(threads);
        let within = |ours: &[String], theirs: &[String]| ours.iter().all(|a| theirs.contains(a));
        [
            ("--listen", "listen", within(&ours.listen, &running.listen)),
            ("--no-mdns", "no_mdns", !ours.no_mdns || running.no_mdns),
            (
                "--mdns",
                "mdns",
                ours.announces == Announces::WhereExpected || running.announces == ours.announces,
            ),
            ("--peer", "peer", within(&ours.peers, &running.peers)),
            (
                "--memory",
                "memory",
                ours.memory.is_none() || ours.memory == running.memory,
            ),
            (
                "--threads",
                "threads",
                ours.threads.is_none() || ours.threads == running.threads,
            ),
            ("--no-pack", "no_pack", !ours.no_pack || running.no_pack),
            (
                "--packed",
                "packed",
                match ours.no_pack {
                    // `--packed 0` packs nothing.
                    true => running.no_pack,
                    false => ours.packed.is_none() || ours.packed == running.packed,
                },
            ),
        ]
        .into_iter()
        .find_map(|(flag, id, holds)| (!holds && given::has(id)).then_some(flag))
    }

    /// Refuses options that only matter to a node that computes, if this one does not.
    fn check_computes(&self, computes: bool) -> anyhow::Result<()> {
        if computes || self.memory.is_none() || !given::has("memory") {
            return Ok(());
        }
        let words = "--memory has no effect here: this device was never measured, so nothing is \
                     computed while it pairs. Leave it out, and give it to `potluck up`";
        Err(failure::refusal(Code::Usage, words))
    }

    /// Refuses options that the running node was not started with, as it would not apply them.
    fn check_running(
        &self,
        threads: Option<NonZeroUsize>,
        client: &mut Client,
    ) -> anyhow::Result<()> {
        let threads = threads.map(NonZeroUsize::get);
        if self.unknown_to(threads, &NodeSettings::default()).is_none() {
            return Ok(());
        }
        let Reply::Node { settings, .. } = client.ask(&Request::Node)? else {
            return Err(ClientError::OtherAnswer.into());
        };
        match self.unknown_to(threads, &settings) {
            Some(flag) => Err(failure::refusal(
                Code::Usage,
                format!(
                    "`potluck up` or another command runs this home's node, and {flag} does not change \
                     it: give {flag} to that command, or leave it out"
                ),
            )),
            None => Ok(()),
        }
    }

    fn listen(&self) -> Vec<Multiaddr> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let any = ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"];
        any.iter()
            .filter_map(|address| address.parse().ok())
            .collect()
    }
}

/// How long another process may take to start this home's node.
const STARTING: Duration = Duration::from_secs(20);
/// How often a wait checks again.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long another command's node may take to stop, or to answer that it will not.
const GIVING_WAY: Duration = Duration::from_secs(5);
/// How long a node may take to acknowledge that its owner computes.
const HEARD: Duration = Duration::from_secs(1);
/// How long a command that lost its node waits for another one to start, such as `up`'s, before it
/// starts its own.
const ANOTHER: Duration = Duration::from_secs(2);

/// A command that lost its node this often gives up.
const MOST_LOST: usize = 5;

/// What a command needs a node for. [`potluck::local`] says what that means for other commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To help other devices, as `up` does.
    Helping,
    /// To compute an answer.
    Computing,
    /// To plan a placement.
    Planning,
    /// To pair. This does not measure the device.
    Pairing,
    /// Only to tell other devices something. This does not measure the device.
    Telling,
}

impl Purpose {
    /// Whether a device that was never measured is measured first.
    fn measures(self) -> bool {
        match self {
            Self::Helping | Self::Computing | Self::Planning => true,
            Self::Pairing | Self::Telling => false,
        }
    }

    /// Whether other commands may use the node meanwhile.
    fn serves(self) -> bool {
        match self {
            Self::Helping | Self::Computing | Self::Pairing => true,
            Self::Planning | Self::Telling => false,
        }
    }
}

/// A node in this process.
pub(super) struct OwnNode {
    pub(super) local: LocalNode,
    pub(super) memory: MemoryBudget,
    pub(super) compute: Compute,
    _socket: Socket,
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        // Helpers must hear of it before the process ends.
        self.local.node.stop();
    }
}

/// The limits that the owner sets for helping.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OwnerWishes {
    /// When it helps.
    pub(super) limits: OwnerLimits,
    /// Bytes of disk for weights received from others; the default share if `None`.
    pub(super) store: Option<u64>,
}

/// Starts this home's node in this process, and serves other commands if its purpose allows it.
pub(super) fn start(
    home: &Home,
    args: &NodeArgs,
    purpose: Purpose,
    threads: Option<NonZeroUsize>,
    wishes: OwnerWishes,
    cancel: &Cancel,
) -> anyhow::Result<OwnNode> {
    let OwnerWishes { limits, store } = wishes;
    let socket = Socket::claim(home)?;
    let device = Device::open(home)?;
    let compute = Compute::new(threads)?;
    let settings = OwnerSettings {
        memory_bytes: args.memory,
        limits,
    };
    let profile = if purpose.measures() {
        match measured(home, &compute, &settings, args.quiet, cancel)? {
            Some(profile) => Some(profile),
            None => return Err(Stopped.into()),
        }
    } else {
        let sensors = this_system();
        let known = Measurements::remembered(home, &*sensors);
        args.check_computes(known.is_some())?;
        known.map(|known| DeviceProfile::new(known, sensors, &settings))
    };
    let budget = profile.as_ref().map(DeviceProfile::memory_budget_bytes);
    let memory = MemoryBudget::new(budget);
    let files = KnownFiles::new();
    let options = NodeOptions {
        listen: args.listen(),
        discovery: if args.no_mdns {
            Vec::new()
        } else {
            Mdns::both()
        },
        announces: Announces::always(args.mdns),
        peers: args.peer.clone(),
        compute: compute.clone(),
        models: OwnModels {
            files: files.clone(),
            shards: ShardStore::open(home, store),
            packed: args.packed.clone(),
        },
        memory: memory.clone(),
        profile,
    };
    let node = Node::start(home, device, options)?;
    if !purpose.measures() {
        // Pairing does not mean that the owner wants this device to help.
        node.hand_over(HandOverReason::Stopping, Duration::ZERO)?;
    }
    let local = LocalNode {
        node,
        files,
        manifests: ManifestCache::of(home),
        settings: args.settings(Some(compute.threads())),
    };
    if purpose.serves() {
        socket.serve(local.clone(), purpose == Purpose::Computing)?;
    }
    Ok(OwnNode {
        local,
        memory,
        compute,
        _socket: socket,
    })
}

/// The profile of this device, measured now if it never was; `None` if the user stopped that.
fn measured(
    home: &Home,
    compute: &Compute,
    settings: &OwnerSettings,
    quiet: bool,
    cancel: &Cancel,
) -> anyhow::Result<Option<DeviceProfile>> {
    let sensors = this_system();
    let bar = output::count_bar(0, !quiet).with_message("measuring this device, once");
    let mut told = false;
    let measurements = Measurements::get(home, compute, &*sensors, cancel, &mut |done, all| {
        // Without a bar, say why nothing happens for some seconds.
        if !std::mem::replace(&mut told, true) && !quiet && bar.is_hidden() {
            output::note("measuring this device, once: this takes some seconds");
        }
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let profile = |measured| DeviceProfile::new(measured, sensors, settings).kept_in(home);
    Ok(measurements?.map(profile))
}

/// A command's connection to the node of this home.
pub(super) struct Connected {
    pub(super) client: Client,
    /// The node, if this process runs it.
    pub(super) own: Option<OwnNode>,
}

/// As [`connect`], for a command that has lost its node.
pub(super) fn connect_again(
    home: &Home,
    args: &NodeArgs,
    purpose: Purpose,
    threads: Option<NonZeroUsize>,
    cancel: &Cancel,
) -> anyhow::Result<Connected> {
    let another = until_some(ANOTHER, cancel, || running(home))?;
    if let Some(client) = another {
        return Ok(Connected { client, own: None });
    }
    if cancel.is_cancelled() {
        // The user has stopped the command: do not start a node for it.
        return Err(Stopped.into());
    }
    connect_to_any(home, args, purpose, threads, cancel)
}

/// Connects to this home's node, or starts one for this command.
///
/// # Errors
/// Among others, the running node was not started with these options.
pub(super) fn connect(
    home: &Home,
    args: &NodeArgs,
    purpose: Purpose,
    threads: Option<NonZeroUsize>,
    cancel: &Cancel,
) -> anyhow::Result<Connected> {
    let mut connected = connect_to_any(home, args, purpose, threads, cancel)?;
    if connected.own.is_none() {
        match args.check_running(threads, &mut connected.client) {
            // The next request fails in the same way, and its caller connects again.
            Err(error) if is_lost(&error) => {}
            checked => checked?,
        }
    }
    Ok(connected)
}

/// As [`connect`], whatever options a running node was started with.
fn connect_to_any(
    home: &Home,
    args: &NodeArgs,
    purpose: Purpose,
    threads: Option<NonZeroUsize>,
    cancel: &Cancel,
) -> anyhow::Result<Connected> {
    let connected = until_some(STARTING, cancel, || {
        if let Some(client) = running(home)? {
            return Ok(Some(Connected { client, own: None }));
        }
        match start(home, args, purpose, threads, OwnerWishes::default(), cancel) {
            Ok(own) => {
                let client = Client::within(own.local.clone())?;
                let own = Some(own);
                Ok(Some(Connected { client, own }))
            }
            // Another process is starting the node; it may be measuring this device first.
            Err(error) if matches!(error.downcast_ref(), Some(ServeError::Running)) => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    connected.ok_or_else(|| ServeError::Running.into())
}

/// Calls `look` until it finds something, at least once.
fn until_some<T>(
    at_most: Duration,
    cancel: &Cancel,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let until = Instant::now() + at_most;
    loop {
        let found = look()?;
        if found.is_some() || Instant::now() > until || cancel.is_cancelled() {
            return Ok(found);
        }
        std::thread::sleep(PATIENCE);
    }
}

/// A connection to this home's node, if one is running.
pub(super) fn running(home: &Home) -> anyhow::Result<Option<Client>> {
    let stream = Socket::connect(home)?;
    Ok(stream.map(Client::over).transpose()?)
}

/// Whether an error means that the node is gone and another is needed.
pub(super) fn is_lost(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<ClientError>();
    error.is_some_and(ClientError::is_lost)
}

/// Calls `ask` again if it lost its node, such as that of another command which ended. `ask` connects
/// to whichever node then runs, or starts one. A request that changes something must check first
/// whether the lost node has done it.
pub(super) fn again_if_lost<T>(mut ask: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut lost = 0;
    loop {
        match ask() {
            Err(error) if is_lost(&error) && lost < MOST_LOST => lost += 1,
            asked => return asked,
        }
        std::thread::sleep(PATIENCE);
    }
}

/// Asks the command that runs this home's node to stop it, so that this process can run one. Waits for
/// the answer; some nodes stay, such as that of a command that pairs.
pub(super) fn ask_to_give_way(home: &Home) {
    if let Ok(Some(mut client)) = running(home)
        && client.send(&Request::GiveWay, &[]).is_ok()
    {
        let _ = client.next(GIVING_WAY);
    }
}

/// Tells this home's node that its owner's answer, which this process computes, goes first until the
/// result is dropped.
pub(super) fn compute_here(home: &Home) -> Option<Client> {
    // Without a node nothing is computed for others. A node that hangs is not waited for.
    let mut client = running(home).ok().flatten()?;
    client.send(&Request::ComputeHere, &[]).ok()?;
    client.next(HEARD).ok()?;
    Some(client)
}

/// Waits until all other members are connected, at most this long.
pub(super) fn wait_for_peers(
    client: &mut Client,
    at_most: Duration,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    let until = Instant::now() + at_most;
    while Instant::now() < until && !cancel.is_cancelled() {
        let members = client.members()?;
        let ready = |connected: Option<bool>| connected == Some(true);
        if members
            .iter()
            .all(|m| ready(m.connected) && (m.this_device || m.link.is_some()))
        {
            break;
        }
        std::thread::sleep(PATIENCE);
    }
    Ok(())
}
