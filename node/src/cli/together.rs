//! Answering with the paired devices: what `run` and `chat` share.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use potluck::Cancel;
use potluck::device::Device;
use potluck::engine::{Compute, Gguf, ModelConfig};
use potluck::home::Home;
use potluck::local::{PlacementChoice, PlacementView, SessionRequest, Socket};
use potluck::shape::model_shape;
use potluck::stages::{Ends, MemoryBudget};
use potluck::together::{Drafts, Notice, Recovery, Together};
use serde::Serialize;

use super::fetches::{Fetch, Fetches};
use super::nodes::{self, NodeArgs, Purpose};
use super::{format, output};

/// Who may compute.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct TogetherArgs {
    /// Compute with the paired devices, if the plan says that this is better than alone
    #[arg(long)]
    with_peers: bool,
    /// Compute on this device only: nothing is sent to any other
    #[arg(long, conflicts_with_all = ["with_peers", "placement"])]
    alone: bool,
    /// Send no guesses of the next tokens ahead: the others compute less, and answers may take longer
    #[arg(long)]
    no_drafts: bool,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    pub(super) node: NodeArgs,
}

/// Where layers may be.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct PlacementArgs {
    /// Give these devices these layers, such as self:0..6,kitchen:6..30
    #[arg(long, value_name = "STAGES")]
    placement: Option<String>,
    /// What the plan is to make best: latency, throughput or energy
    #[arg(long, value_name = "WHAT", default_value = "latency", value_parser = ["latency", "throughput", "energy"])]
    objective: String,
}

/// What a program is told of who computed.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Devices {
    /// Who computed which layers at the end; `null` if only this device.
    placement: Option<PlacementView>,
    recoveries: Vec<Recovery>,
    drafts: Drafts,
    bytes_sent: u64,
    bytes_received: u64,
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
        placement: match &args.placement {
            Some(text) => PlacementChoice::Forced(text.clone()),
            None => PlacementChoice::Best,
        },
        objective: args.objective.clone(),
    })
}

/// Refuses a model that is beyond the memory that the owner allows, where that was said.
pub(super) fn check_room(path: &Path, context: usize, memory: Option<u64>) -> anyhow::Result<()> {
    let Some(allowed) = memory else {
        return Ok(());
    };
    let gguf = Gguf::open(path)?;
    let shape = model_shape(&gguf, &ModelConfig::from_gguf(&gguf)?)?;
    let needed = shape.bytes_with_context(u32::try_from(context)?);
    if needed > allowed {
        bail!(
            "the model needs {} with a context of {context}, and this device may use {}: allow more \
             memory, lower --context, or let paired devices help with --with-peers",
            format::bytes(needed),
            format::bytes(allowed)
        );
    }
    Ok(())
}

impl TogetherArgs {
    /// Whether a node is to be asked: when that is wished, or when one runs that has peers.
    pub(super) fn wants_peers(&self, home: &Home) -> anyhow::Result<bool> {
        if self.alone {
            return Ok(false);
        }
        if self.with_peers || self.placement.placement.is_some() {
            return Ok(true);
        }
        let runs = Socket::connect(home).is_some();
        Ok(runs && Device::open(home)?.circle.member_count() > 1)
    }

    /// The memory that the owner allows, if that was said.
    pub(super) fn memory(&self) -> Option<u64> {
        self.node.memory
    }
}

/// A node, and the requester's part of a model.
pub(super) struct Requester {
    connected: nodes::Connected,
    ends: Ends,
    request: SessionRequest,
    capacity: usize,
    drafts: bool,
}

impl Requester {
    /// Asks the node of this home, or starts one.
    pub(super) fn open(
        home: &Home,
        args: &TogetherArgs,
        path: &Path,
        context: usize,
        threads: Option<NonZeroUsize>,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let request = request(path, context, &args.placement)?;
        let mut connected = nodes::connect(home, &args.node, Purpose::Computing, threads, cancel)?;
        if connected.own.is_some() {
            nodes::wait_for_peers(&mut connected.client, CONNECTING, cancel)?;
        }
        let (compute, memory) = match &connected.own {
            Some(own) => (own.compute.clone(), own.memory.clone()),
            None => (Compute::new(threads)?, MemoryBudget::new(args.memory())),
        };
        let ends = Ends::load(Arc::new(Gguf::open(path)?), compute, &memory)?;
        Ok(Self {
            connected,
            ends,
            capacity: request.context as usize,
            request,
            drafts: !args.no_drafts,
        })
    }

    /// Begins a conversation and gives its sequence to `with`.
    pub(super) fn converse<T>(
        self,
        cancel: &Cancel,
        quiet: bool,
        with: impl FnOnce(&mut Together<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Devices)> {
        let pipeline = self.connected.client.begin(self.request)?;
        let mut notices = Notices {
            quiet,
            placed: None,
            fetches: Fetches::new(quiet),
        };
        let mut show = |notice: Notice<'_>| notices.show(notice);
        let mut sequence = Together::new(&self.ends, pipeline, self.capacity, cancel, &mut show);
        if self.drafts {
            sequence = sequence.with_drafts();
        }
        let outcome = with(&mut sequence)?;
        let (bytes_sent, bytes_received) = sequence.traffic()?;
        let devices = Devices {
            placement: sequence.placement().cloned(),
            recoveries: sequence.recoveries().to_vec(),
            drafts: sequence.drafts(),
            bytes_sent,
            bytes_received,
        };
        drop(sequence);
        if let Some(own) = self.connected.own {
            own.local.node.stop();
        }
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
        if let Notice::Fetching {
            peer_id,
            name,
            received_bytes,
            total_bytes,
        } = notice
        {
            let fetch = Fetch {
                peer_id: peer_id.to_owned(),
                name: name.to_owned(),
                received_bytes,
                total_bytes,
            };
            return self.fetches.show(fetch);
        }
        self.fetches.end();
        let line = match notice {
            Notice::Fetching { .. } | Notice::Ready => return,
            Notice::Placed(placement) => {
                let words = placement.in_words();
                let rate = format::rate(placement.tokens_per_s);
                let line = format!("{words} · {rate} predicted");
                // Said once, however often a placement comes back.
                if self.placed.as_ref() == Some(&words) {
                    return;
                }
                self.placed = Some(words);
                line
            }
            Notice::Broken(name, cause) => {
                self.placed = None;
                format!("{name}: {cause}; going on without it…")
            }
            Notice::Leaving(name) => format!("{name} leaves; its layers are moved…"),
            Notice::Waiting(words) => format!("waiting: {words}"),
        };
        if !self.quiet {
            output::note(&line);
        }
    }
}
