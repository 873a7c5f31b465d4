//! Answering with the paired devices: what `run` and `chat` share.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use clap::builder::BoolishValueParser;
use potluck::Cancel;
use potluck::device::Device;
use potluck::engine::{Compute, Gguf};
use potluck::home::Home;
use potluck::local::{
    ALONE, Client, Pipeline, PlacementChoice, PlacementView, Reply, Request, SessionRequest,
    StageView,
};
use potluck::serve::Circle;
use potluck::shape::ShapeError;
use potluck::stages::{Ends, MemoryBudget};
use potluck::together::{Drafts, Notice, Recovery, Together};
use potluck_protocol::placement::ModelShape;
use potluck_protocol::session::SessionEvent;
use serde::Serialize;

use super::failure::{self, Code};
use super::fetches::{Fetch, Fetches};
use super::nodes::{self, Connected, NodeArgs, OwnNode, Purpose};
use super::{format, output};

/// Who may compute, and the node that asks them.
#[derive(Debug, Clone, Args)]
pub(super) struct TogetherArgs {
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    pub(super) node: NodeArgs,
}

/// Who may compute.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct WhoArgs {
    /// Compute with the paired devices, if the plan says that this is better than alone
    /// [default: only this device, unless POTLUCK_WITH_PEERS is set to 1]
    #[arg(long)]
    with_peers: bool,
    /// What a person once chose; an argument, so that it is read and refused as one, by the variable's
    /// name.
    #[arg(long = "POTLUCK_WITH_PEERS", hide = true, env = "POTLUCK_WITH_PEERS", hide_env = true, value_parser = BoolishValueParser::new())]
    peers_by_default: bool,
    /// Compute on this device only: nothing is sent to any other
    #[arg(long, conflicts_with_all = ["with_peers", "placement", "objective", "no_drafts"])]
    alone: bool,
    /// Send no guesses of the next tokens ahead: the others compute less, and answers may take longer
    #[arg(long)]
    no_drafts: bool,
    #[command(flatten)]
    placement: PlacementArgs,
}

/// Where layers may be.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct PlacementArgs {
    /// Give these devices these layers, such as self:0..6,kitchen:6..30. No other device gets any,
    /// whatever fails; this one may take over. ",*" at the end lets others, too
    #[arg(long, value_name = "STAGES")]
    placement: Option<String>,
    /// What the plan is to make best: latency, throughput or energy [default: latency]
    #[arg(long, value_name = "WHAT", conflicts_with = "placement", value_parser = ["latency", "throughput", "energy"])]
    objective: Option<String>,
}

/// A device's layers, as a program is told.
#[derive(Debug, Clone, Serialize)]
struct Share {
    name: String,
    this_device: bool,
    first_layer: u32,
    end_layer: u32,
}

/// What a program is told of who computed.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Devices {
    /// Who computed which layers at the end, in their order.
    computing_on: Vec<Share>,
    /// Who computed which layers at the end; `null` if only this device.
    placement: Option<PlacementView>,
    recoveries: Vec<Recovery>,
    drafts: Drafts,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Devices {
    /// This device has all layers.
    pub(super) fn only_this(home: &Home, layers: usize) -> Self {
        // A home that never met another gets no identity for this.
        let device = Device::is_known(home).then(|| Device::open(home).ok());
        let name = device
            .flatten()
            .map(|device| device.name.as_str().to_owned());
        let share = Share {
            name: name.unwrap_or_else(|| "this device".to_owned()),
            this_device: true,
            first_layer: 0,
            end_layer: u32::try_from(layers).unwrap_or(u32::MAX),
        };
        Self {
            computing_on: vec![share],
            ..Self::default()
        }
    }
}

fn computing_on(placement: &PlacementView) -> Vec<Share> {
    let share = |stage: &StageView| Share {
        name: stage.name.clone(),
        this_device: stage.this_device,
        first_layer: stage.first_layer,
        end_layer: stage.end_layer,
    };
    placement.stages.iter().map(share).collect()
}

/// How long a command's own node waits for devices to connect.
const CONNECTING: Duration = Duration::from_secs(3);

/// What a node is asked.
pub(super) fn request(
    path: &Path,
    context: usize,
    args: &PlacementArgs,
) -> anyhow::Result<SessionRequest> {
    Ok(SessionRequest {
        // The node may have another working folder.
        // Links stay: the parts of a split model are found by their names.
        model: std::path::absolute(path)
            .with_context(|| format!("cannot find {}", path.display()))?,
        context: u32::try_from(context).context("the context is longer than any model's")?,
        placement: args.choice(),
        objective: args.objective().to_owned(),
    })
}

/// Refuses a model that is beyond the memory that the owner allows, where that was said.
pub(super) fn check_room(
    shape: &Result<Arc<ModelShape>, ShapeError>,
    context: usize,
    memory: Option<u64>,
) -> anyhow::Result<()> {
    let Some(allowed) = memory else {
        return Ok(());
    };
    let shape = shape.as_ref().map_err(|why| anyhow!("{why}"))?;
    let needed = shape.bytes_with_context(u32::try_from(context)?);
    if needed > allowed {
        let words = format!(
            "the model needs {} with a context of {context}, and this device may use {}: allow more \
             memory, lower --context, or let paired devices help with --with-peers",
            format::bytes(needed),
            format::bytes(allowed)
        );
        return Err(failure::refusal(Code::Model, words));
    }
    Ok(())
}

impl TogetherArgs {
    /// Whether other devices may be asked.
    pub(super) fn wants_peers(&self) -> bool {
        self.who.wants_peers()
    }

    /// Refuses what only matters where other devices may be asked, if none may.
    pub(super) fn check_effects(&self) -> anyhow::Result<()> {
        self.who.check_effects(&[
            ("--listen", !self.node.listen.is_empty()),
            ("--peer", !self.node.peer.is_empty()),
        ])
    }

    /// The memory that the owner allows, if that was said.
    pub(super) fn memory(&self) -> Option<u64> {
        self.node.memory
    }
}

impl WhoArgs {
    /// Whether other devices may be asked: where that is wished, now or by a default that a person
    /// once set.
    pub(super) fn wants_peers(&self) -> bool {
        let wished = self.with_peers || self.placement.placement.is_some();
        !self.alone && (wished || self.peers_by_default)
    }

    /// Refuses what only matters where other devices may be asked, if none may: of these arguments and
    /// `more`, each with whether it was given.
    pub(super) fn check_effects(&self, more: &[(&str, bool)]) -> anyhow::Result<()> {
        let asks = [
            ("--objective", self.placement.objective.is_some()),
            ("--no-drafts", self.no_drafts),
        ];
        let mut asks = asks.iter().chain(more);
        match asks.find(|(_, given)| *given && !self.wants_peers()) {
            Some((flag, _)) => Err(failure::refusal(
                Code::Usage,
                format!(
                    "{flag} has no effect while only this device computes: add --with-peers or \
                     --placement, or leave it out"
                ),
            )),
            None => Ok(()),
        }
    }

    /// How the devices of a node's circle compute the answers that this process serves.
    pub(super) fn circle(&self, own: &OwnNode) -> Circle {
        let circle = Circle::of(own.local.clone(), own.compute.clone());
        match self.wants_peers() {
            true => circle.with_peers(
                self.placement.choice(),
                self.placement.objective(),
                !self.no_drafts,
            ),
            false => circle,
        }
    }
}

impl PlacementArgs {
    fn choice(&self) -> PlacementChoice {
        match &self.placement {
            Some(text) => PlacementChoice::Forced(text.clone()),
            None => PlacementChoice::Best,
        }
    }

    fn objective(&self) -> &str {
        self.objective.as_deref().unwrap_or("latency")
    }
}

/// Says that nothing is sent to any other device, where there are others or a person looks.
pub(super) fn tell_alone(home: &Home, quiet: bool) {
    let paired = || Device::open(home).is_ok_and(|device| device.circle.member_count() > 1);
    if !quiet && (output::stderr_is_terminal() || (Device::is_known(home) && paired())) {
        output::note(ALONE);
    }
}

/// A node, and the requester's part of a model.
pub(super) struct Requester {
    node: NodeInUse,
    ends: Ends,
    capacity: usize,
    drafts: bool,
}

/// The node that a conversation goes over.
struct NodeInUse {
    home: Home,
    args: NodeArgs,
    threads: Option<NonZeroUsize>,
    cancel: Cancel,
    request: SessionRequest,
    /// Until the first conversation begins.
    client: Option<Client>,
    own: Option<OwnNode>,
}

impl NodeInUse {
    /// Begins the conversation, at another node if there was one already. Of a process that is ending
    /// the socket may still be there.
    fn begin(&mut self) -> anyhow::Result<Pipeline> {
        nodes::again_if_lost(|| self.begin_once())
    }

    fn begin_once(&mut self) -> anyhow::Result<Pipeline> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                // Its right to be the home's node goes with it.
                self.own = None;
                let (home, args, cancel) = (&self.home, &self.args, &self.cancel);
                let purpose = Purpose::Computing;
                let connected = nodes::connect_again(home, args, purpose, self.threads, cancel)?;
                self.ready(connected)?
            }
        };
        Ok(client.begin(self.request.clone())?)
    }

    /// Waits for the devices of a node that has just started.
    fn ready(&mut self, connected: Connected) -> anyhow::Result<Client> {
        let Connected { mut client, own } = connected;
        self.own = own;
        if self.own.is_some() {
            nodes::wait_for_peers(&mut client, CONNECTING, &self.cancel)?;
        }
        Ok(client)
    }
}

impl Requester {
    /// Asks the node of this home, or starts one; `None` if that of this home places no layers, and
    /// nobody was named: then this device is alone.
    pub(super) fn open(
        home: &Home,
        args: &TogetherArgs,
        path: &Path,
        context: usize,
        threads: Option<NonZeroUsize>,
        cancel: &Cancel,
    ) -> anyhow::Result<Option<Self>> {
        let request = request(path, context, &args.who.placement)?;
        let connected = nodes::connect(home, &args.node, Purpose::Computing, threads, cancel)?;
        let mut node = NodeInUse {
            home: home.clone(),
            args: args.node.clone(),
            threads,
            cancel: cancel.clone(),
            request,
            client: None,
            own: None,
        };
        let mut client = node.ready(connected)?;
        match client.ask(&Request::Node) {
            Ok(Reply::Node {
                computes: false, ..
            }) => {
                if node.request.placement == PlacementChoice::Best {
                    return Ok(None);
                }
                let words = "potluck pair has this home's node, and this device was never measured: \
                             end it, or run `potluck bench --profile` first";
                return Err(failure::refusal(Code::Node, words));
            }
            // Another one is looked for when the conversation begins.
            Err(error) if error.is_lost() => {}
            told => {
                told?;
                node.client = Some(client);
            }
        }
        let (compute, memory) = match &node.own {
            Some(own) => (own.compute.clone(), own.memory.clone()),
            None => (Compute::new(threads)?, MemoryBudget::new(args.memory())),
        };
        Ok(Some(Self {
            ends: Ends::load(Arc::new(Gguf::open(path)?), compute, &memory)?,
            capacity: node.request.context as usize,
            node,
            drafts: !args.who.no_drafts,
        }))
    }

    /// Begins a conversation and gives its sequence to `with`.
    pub(super) fn converse<T>(
        self,
        cancel: &Cancel,
        quiet: bool,
        with: impl FnOnce(&mut Together<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Devices)> {
        let Self {
            mut node,
            ends,
            capacity,
            drafts,
        } = self;
        let home = node.home.clone();
        let mut notices = Notices {
            quiet,
            placed: None,
            fetches: Fetches::new(quiet),
        };
        let show = Box::new(move |notice: Notice<'_>| notices.show(notice));
        let connect = Box::new(move || -> Result<Pipeline, Box<dyn Error + Send + Sync>> {
            Ok(node.begin()?)
        });
        let mut sequence = Together::begin(&ends, connect, capacity, cancel, show)?;
        if drafts {
            sequence = sequence.with_drafts();
        }
        let outcome = with(&mut sequence)?;
        let (threads, isa) = (ends.compute().threads(), ends.compute().isa());
        sequence.times().keep(&home, threads, isa);
        let (bytes_sent, bytes_received) = sequence.traffic()?;
        let placement = sequence.placement().cloned();
        let devices = Devices {
            computing_on: placement.as_ref().map(computing_on).unwrap_or_default(),
            placement,
            recoveries: sequence.recoveries().to_vec(),
            drafts: sequence.drafts(),
            bytes_sent,
            bytes_received,
        };
        Ok((outcome, devices))
    }
}

/// Tells people on stderr what the devices do.
struct Notices {
    quiet: bool,
    placed: Option<String>,
    fetches: Fetches,
}

impl Notices {
    fn show(&mut self, notice: Notice<'_>) {
        let (event, names) = match notice {
            Notice::Session(event, names) => (event, names),
            Notice::NodeLost => {
                self.placed = None;
                let line = "the node of this device has ended; going on with another…";
                return self.line(line.to_owned());
            }
        };
        match event {
            SessionEvent::Placed(prediction) => {
                let placement = PlacementView::new(prediction, names);
                let words = placement.in_words();
                let rate = format::rate(placement.tokens_per_s);
                let line = format!("{words} · {rate} predicted");
                // Said once, however often a placement comes back.
                if self.placed.as_ref() == Some(&words) {
                    return self.fetches.end();
                }
                self.placed = Some(words);
                self.line(line);
            }
            SessionEvent::Fetching {
                peer,
                received_bytes,
                total_bytes,
            } => self.fetches.show(Fetch {
                peer: *peer,
                name: names.of(*peer),
                received_bytes: *received_bytes,
                total_bytes: *total_bytes,
            }),
            SessionEvent::Broken { peer, cause } => {
                self.placed = None;
                let name = names.of(*peer);
                self.line(format!("{name}: {cause}; going on without it…"));
            }
            SessionEvent::Leaving { peer, .. } => {
                let name = names.of(*peer);
                self.line(format!("{name} leaves; its layers are moved…"));
            }
            SessionEvent::Waiting(words) => self.line(format!("waiting: {words}")),
            // Its words are those of the error that ends the answer.
            SessionEvent::Ready { .. } | SessionEvent::GivenUp(_) => self.fetches.end(),
            SessionEvent::Answered { .. }
            | SessionEvent::RolledBack
            | SessionEvent::Shared { .. } => {}
        }
    }

    fn line(&mut self, line: String) {
        self.fetches.end();
        if !self.quiet {
            output::note(&line);
        }
    }
}
