//! Answering with paired devices, for `run` and `chat`.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap::builder::BoolishValueParser;
use potluck::device::Device;
use potluck::engine::{Compute, Engine, LocalSequence, OpenOptions, Opened, Session};
use potluck::home::Home;
use potluck::local::{
    ALONE, Client, Pipeline, PlacementChoice, PlacementView, Reply, Request, SessionRequest,
    StageView,
};
use potluck::serve::Circle;
use potluck::stages::{Ends, MemoryBudget};
use potluck::together::{Notice, Recovery, Together};
use potluck::{Cancel, ModelRef};
use potluck_protocol::session::SessionEvent;
use serde::Serialize;

use super::failure::{self, Code};
use super::fetches::{Fetch, Fetches};
use super::nodes::{self, Connected, NodeArgs, OwnNode, Purpose};
use super::{format, given, obtain, output};

/// Options: which devices may compute, and the node that asks them.
#[derive(Debug, Clone, Args)]
pub(super) struct TogetherArgs {
    #[command(flatten)]
    pub(super) who: WhoArgs,
    #[command(flatten)]
    pub(super) node: NodeArgs,
}

/// Options: which devices may compute.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct WhoArgs {
    /// Compute with paired devices if the plan predicts that this is better than alone
    /// [default: only this device, unless POTLUCK_WITH_PEERS is set to 1]
    #[arg(long)]
    with_peers: bool,
    /// The default of `--with-peers` from the environment. It is an argument so that clap parses it and
    /// reports errors by the variable's name.
    #[arg(long = "POTLUCK_WITH_PEERS", hide = true, env = "POTLUCK_WITH_PEERS", hide_env = true, value_parser = BoolishValueParser::new())]
    peers_by_default: bool,
    /// Compute on this device only and send nothing to others
    #[arg(long, conflicts_with_all = ["with_peers", "placement", "objective"])]
    alone: bool,
    /// Do not guess tokens ahead: devices compute less, but answers may take longer
    #[arg(long)]
    no_drafts: bool,
    /// A smaller model of the same family that guesses ahead on this device, where that saves time: a
    /// name from `potluck models`, or a GGUF file. Refused if its tokens are not the model's
    #[arg(long, value_name = "MODEL", conflicts_with = "no_drafts")]
    drafter: Option<ModelRef>,
    #[command(flatten)]
    placement: PlacementArgs,
}

/// Options: where layers may be placed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct PlacementArgs {
    /// Place these layers on these devices, such as self:0..6,kitchen:6..30. If one fails, only this
    /// device takes over its layers; with ",*" at the end, any other may
    #[arg(long, value_name = "STAGES")]
    placement: Option<String>,
    /// What the plan optimises: latency, throughput or energy [default: latency]
    #[arg(long, value_name = "WHAT", conflicts_with = "placement", value_parser = ["latency", "throughput", "energy"])]
    objective: Option<String>,
}

/// A device's layers, in the JSON output.
#[derive(Debug, Clone, Serialize)]
struct Share {
    name: String,
    this_device: bool,
    first_layer: u32,
    end_layer: u32,
}

/// Who computed an answer, in the JSON output.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Devices {
    /// Which device computed which layers at the end, in layer order.
    computing_on: Vec<Share>,
    /// The placement at the end; `null` if only this device computed.
    placement: Option<PlacementView>,
    recoveries: Vec<Recovery>,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Devices {
    /// This device computed all layers.
    pub(super) fn only_this(home: &Home, layers: usize) -> Self {
        // An identity is not created only for this.
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

/// How long a node that was started for a command waits for devices to connect.
const CONNECTING: Duration = Duration::from_secs(3);

/// The request for a session with this model file and placement.
pub(super) fn request(
    path: &Path,
    context: usize,
    args: &PlacementArgs,
) -> anyhow::Result<SessionRequest> {
    Ok(SessionRequest {
        // Absolute, as the node may have another working folder. Links are not resolved: the parts
        // of a split model are found by their names.
        model: std::path::absolute(path)
            .with_context(|| format!("cannot find {}", path.display()))?,
        context: u32::try_from(context).context("the context is longer than any model's")?,
        placement: args.choice(),
        objective: args.objective().to_owned(),
    })
}

impl TogetherArgs {
    /// Whether other devices may compute.
    pub(super) fn wants_peers(&self) -> bool {
        self.who.wants_peers()
    }

    /// Refuses flags that matter only if other devices may compute, if none may.
    pub(super) fn check_effects(&self) -> anyhow::Result<()> {
        self.who.check_effects(&[
            ("--listen", "listen", !self.node.listen.is_empty()),
            ("--peer", "peer", !self.node.peer.is_empty()),
        ])
    }

    /// A sequence that this device computes alone, with guesses unless they are turned off.
    pub(super) fn alone<'e>(
        &self,
        engine: &'e Engine,
    ) -> anyhow::Result<LocalSequence<'e, Session>> {
        let sequence = LocalSequence::new(engine, engine.new_session()?);
        Ok(match self.who.drafts() {
            true => sequence.with_drafts(),
            false => sequence,
        })
    }

    /// The memory that the owner allows, if given.
    pub(super) fn memory(&self) -> Option<u64> {
        self.node.memory
    }
}

impl WhoArgs {
    /// Whether other devices may compute, by the flags or by POTLUCK_WITH_PEERS.
    pub(super) fn wants_peers(&self) -> bool {
        let wished = self.with_peers || self.placement.placement.is_some();
        !self.alone && (wished || self.peers_by_default)
    }

    /// The fixed placement, if there is one and others may compute.
    pub(super) fn placement(&self) -> Option<&str> {
        let placement = self.placement.placement.as_deref();
        placement.filter(|_| self.wants_peers())
    }

    /// The smaller model that guesses, if one is given.
    pub(super) fn drafter(&self) -> Option<&ModelRef> {
        self.drafter.as_ref()
    }

    /// Whether tokens may be guessed ahead.
    pub(super) fn drafts(&self) -> bool {
        !self.no_drafts
    }

    /// Refuses flags that matter only if other devices may compute, if none may: those of these options
    /// and `more`, each with its id and whether it has a value.
    pub(super) fn check_effects(&self, more: &[(&str, &str, bool)]) -> anyhow::Result<()> {
        let asks = [(
            "--objective",
            "objective",
            self.placement.objective.is_some(),
        )];
        let in_vain = |id, asked| asked && given::has(id) && !self.wants_peers();
        let mut asks = asks.iter().chain(more);
        match asks.find(|(_, id, asked)| in_vain(id, *asked)) {
            Some((flag, ..)) => Err(failure::refusal(
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
                self.drafts(),
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

/// Says that nothing is sent to other devices, if there are paired ones or stderr is a terminal.
pub(super) fn tell_alone(home: &Home, quiet: bool) {
    let paired = || Device::open(home).is_ok_and(|device| device.circle.member_count() > 1);
    if !quiet && (output::stderr_is_terminal() || (Device::is_known(home) && paired())) {
        output::note(ALONE);
    }
}

/// A node and the requester's part of a model: its embedding and head.
pub(super) struct Requester {
    node: NodeInUse,
    ends: Ends,
    capacity: usize,
    drafts: bool,
}

/// The node that a session runs at.
struct NodeInUse {
    home: Home,
    args: NodeArgs,
    threads: Option<NonZeroUsize>,
    cancel: Cancel,
    request: SessionRequest,
    /// Set until the first session begins.
    client: Option<Client>,
    own: Option<OwnNode>,
}

impl NodeInUse {
    /// Begins the session, at a new node if there was one before. It tries again while the socket of
    /// a process that is ending is still there.
    fn begin(&mut self) -> anyhow::Result<Pipeline> {
        nodes::again_if_lost(|| self.begin_once())
    }

    fn begin_once(&mut self) -> anyhow::Result<Pipeline> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                // Dropped first: only one process can be the home's node.
                self.own = None;
                let (home, args, cancel) = (&self.home, &self.args, &self.cancel);
                let purpose = Purpose::Computing;
                let connected = nodes::connect_again(home, args, purpose, self.threads, cancel)?;
                self.ready(connected)?
            }
        };
        Ok(client.begin(self.request.clone())?)
    }

    /// Waits for devices to connect, if the node has just started.
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
    /// Connects to this home's node, or starts one. `None` if that node places no layers and the
    /// placement names no devices: this device then computes alone. `model` was opened with `options`.
    pub(super) fn open(
        home: &Home,
        args: &TogetherArgs,
        model: &Opened,
        options: &OpenOptions,
        cancel: &Cancel,
    ) -> anyhow::Result<Option<Self>> {
        let (engine, path) = (&model.engine, model.file.path());
        let (context, threads) = (engine.context(), options.threads);
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
                let words = "`potluck pair` runs this home's node, and this device was never \
                             measured: end it, or run `potluck bench --profile` first";
                return Err(failure::refusal(Code::Node, words));
            }
            // The session will look for another node when it begins.
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
        let mut ends = Ends::open(path, compute, &memory, args.node.packed.as_ref())?;
        if let Some(drafter) = &options.drafter {
            let packed = args.node.packed.as_ref();
            ends.use_drafter(drafter, engine, &memory, packed)?;
        } else if args.who.drafts() {
            let problem = ends.find_draft_head(path, cancel).err();
            obtain::tell_head(problem.as_ref().filter(|_| !args.node.quiet));
        }
        Ok(Some(Self {
            ends,
            capacity: node.request.context as usize,
            node,
            drafts: args.who.drafts(),
        }))
    }

    /// Begins a session and passes its sequence to `with`.
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
            bytes_sent,
            bytes_received,
        };
        Ok((outcome, devices))
    }
}

/// Prints to stderr what happens to a session.
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
                let line = "this device's node has ended; continuing with another…";
                return self.line(line.to_owned());
            }
        };
        match event {
            SessionEvent::Placed(prediction) => {
                let placement = PlacementView::new(prediction, names);
                let words = placement.in_words();
                let rate = format::rate(placement.tokens_per_s);
                let line = format!("{words} · {rate} predicted");
                // The same placement is printed once.
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
                self.line(format!("{name}: {cause}; continuing without it…"));
            }
            SessionEvent::Leaving { peer, .. } => {
                let name = names.of(*peer);
                self.line(format!("{name} is leaving; its layers are moved…"));
            }
            SessionEvent::Waiting(words) => self.line(format!("waiting: {words}")),
            // `GivenUp` is printed as the error that ends the answer.
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
