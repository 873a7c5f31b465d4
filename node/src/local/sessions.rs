//! Conversations that commands begin.

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use potluck_model::ModelConfig;
use potluck_model::gguf::Gguf;
use potluck_protocol::SessionId;
use potluck_protocol::machine::{Choice, Request};
use potluck_protocol::placement::{Forced, ModelShape, Objective, PlacementOptions};
use potluck_protocol::session::{SessionEvent, SubmitError};
use potluck_protocol::wire::{Answer, ContentHash, Dtype, HiddenShape};

use super::meant::device;
use super::message::{PlacementChoice, Reply, SessionRequest};
use super::node::LocalNode;
use super::replies::Replies;
use super::views::PlanView;
use crate::Cancel;
use crate::net::{Node, NodeSession};
use crate::shape::model_shape;
use crate::words::Words;

/// Most rows of a frame: those of the largest prefill step.
const MOST_ROWS: u32 = 512;

/// How long a plan waits for devices to report which of the model's weights they have.
const WEIGHTS_FOR_PLAN: Duration = Duration::from_millis(500);
/// The same for a conversation, which begins without slower devices: usually one round trip.
const WEIGHTS_FOR_SESSION: Duration = Duration::from_millis(100);

/// How long a conversation waits, each time, for devices that a person named.
const PATIENCE_WITH_NAMED: Duration = Duration::from_secs(60);

/// Longer than a node takes to end.
const ENDING: Duration = Duration::from_secs(3);

/// The error when a removed device names others to compute with.
const REMOVED: &str = "this device was removed from its circle, and no device of it computes for it: pair it again, or \
     begin a new circle with `potluck circle new`";

/// A command's request in the protocol's terms.
pub(super) struct Asked {
    manifest: ContentHash,
    model: ModelShape,
    options: PlacementOptions,
    choice: Choice,
}

impl Asked {
    pub(super) fn new(local: &LocalNode, request: &SessionRequest) -> Result<Self, Words> {
        let path = &request.model;
        let manifest = identify(local, path, &Cancel::new())?;
        let gguf = Gguf::open(path)?;
        let config = ModelConfig::from_gguf(&gguf)?;
        let model = model_shape(&gguf, &config)?;
        let options = PlacementOptions {
            objective: objective(&request.objective)?,
            context: request.context,
            positions: request.context / 2,
            ..PlacementOptions::default()
        };
        let choice = match &request.placement {
            PlacementChoice::Best => Choice::Best,
            PlacementChoice::Alone => Choice::Alone,
            PlacementChoice::Forced(text) => {
                let names = local.names()?;
                if !names.has_this_device() {
                    return Err(Words::new(REMOVED));
                }
                let layers = u32::try_from(model.layers.len())?;
                let forced = Forced::parse(text, layers, |name| device(&names, name));
                Choice::Forced(forced?)
            }
        };
        Ok(Self {
            manifest,
            model,
            options,
            choice,
        })
    }

    /// Plans where the layers would run now.
    pub(super) fn plan(self, local: &LocalNode) -> Result<PlanView, Words> {
        let names = local.names()?;
        local.node.find_weights(self.manifest, WEIGHTS_FOR_PLAN)?;
        if let Choice::Forced(forced) = &self.choice {
            let devices = local.node.devices(self.manifest)?;
            let predicted = forced.predict(&self.model, &devices, &self.options);
            let predicted = predicted?;
            return Ok(PlanView::only(&predicted, &names));
        }
        let planned = local.node.plan(self.manifest, self.model, self.options);
        let planned = planned?;
        let plan = match planned {
            Ok(plan) => plan,
            Err(why) => return Err(Words::new(why.where_away(&local.node.away()?))),
        };
        Ok(PlanView::new(&plan, &names))
    }

    pub(super) fn begin(
        self,
        local: &LocalNode,
    ) -> Result<(NodeSession, Receiver<SessionEvent>), Words> {
        let hidden = HiddenShape::new(self.model.d_model, Dtype::F32, MOST_ROWS)?;
        let id = crate::device::random()?;
        if self.choice == Choice::Best {
            local
                .node
                .find_weights(self.manifest, WEIGHTS_FOR_SESSION)?;
        }
        let request = Request {
            id: SessionId(u64::from_le_bytes(id)),
            manifest: self.manifest,
            hidden,
            model: self.model,
            options: self.options,
            patience: matches!(self.choice, Choice::Forced(_)).then_some(PATIENCE_WITH_NAMED),
            choice: self.choice,
        };
        let started = local.node.start_session(request);
        let started = started?;
        Ok(started?)
    }
}

/// Identifies the model in a file, and allows stages of this node to use it.
///
/// # Errors
/// Why it cannot be used, in words.
pub(crate) fn identify(
    local: &LocalNode,
    path: &Path,
    cancel: &Cancel,
) -> Result<ContentHash, Words> {
    let manifest = local
        .manifests
        .get(path, cancel, &mut |_| ())?
        .ok_or_else(|| Words::new("stopped"))?;
    let added = local.files.add(manifest, path);
    added.map_err(|error| Words::new(format!("cannot use {}: {error}", path.display())))
}

fn objective(name: &str) -> Result<Objective, Words> {
    match name {
        "latency" => Ok(Objective::Latency),
        "throughput" => Ok(Objective::Throughput),
        "energy" => Ok(Objective::Energy),
        _ => Err(Words::new(format!(
            "{name:?} is no objective: latency, throughput or energy"
        ))),
    }
}

/// Submits rows. Rows that are not the next are ignored: session events report which rows are next.
pub(super) fn submit(
    session: &NodeSession,
    start_position: u32,
    rows: u32,
    last: bool,
    hidden: Vec<u8>,
) -> Result<(), Words> {
    let answer = if last { Answer::LastRow } else { Answer::Done };
    let submitted = session.submit(start_position, rows, answer, hidden);
    match submitted? {
        Ok(()) | Err(SubmitError::NotReady | SubmitError::NotNext(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Forwards a conversation's events to its command, until either ends. If the node ended, the
/// command sees the end of its connection.
pub(super) fn forward(events: &Receiver<SessionEvent>, replies: &Replies, node: &Node) {
    for mut event in events {
        let hidden = event.take_hidden();
        if replies.send(&Reply::Session { event }, &hidden).is_err() {
            return;
        }
    }
    // Either the conversation was finished, or the node is ending, which takes a moment.
    let until = Instant::now() + ENDING;
    while Instant::now() < until {
        if node.has_stopped() {
            return replies.end();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
