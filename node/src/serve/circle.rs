//! The devices of the circle that may compute answers.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use potluck_protocol::circle::Member;
use potluck_protocol::machine::PeerStatus;
use potluck_protocol::placement::{Forced, ForcedError};

use crate::Cancel;
use crate::engine::Compute;
use crate::local::{ClientError, LocalNode, Pipeline, PlacementChoice, SessionRequest};
use crate::packed_store::PackedStore;
use crate::stages::{Ends, EndsError, MemoryBudget};

/// How long a node that has just started waits for the devices of its circle to connect.
const CONNECTING: Duration = Duration::from_secs(3);
/// How often it checks for them.
const MOMENT: Duration = Duration::from_millis(20);

/// The circle of this process's node, and which of its devices compute answers.
#[derive(Clone)]
pub struct Circle {
    node: LocalNode,
    compute: Compute,
    started: Instant,
    who: Who,
}

/// Which devices compute.
#[derive(Debug, Clone)]
enum Who {
    OnlyThisDevice,
    Peers {
        placement: PlacementChoice,
        objective: String,
        drafts: bool,
    },
}

impl fmt::Debug for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Circle").field(&self.who).finish()
    }
}

impl Circle {
    /// The circle of a node that has just started, with only this device computing answers.
    /// `compute` is the node's own backend.
    pub fn of(node: LocalNode, compute: Compute) -> Self {
        Self {
            node,
            compute,
            started: Instant::now(),
            who: Who::OnlyThisDevice,
        }
    }

    /// Lets paired devices compute answers as well, as `placement` says. `objective` is `latency`,
    /// `throughput` or `energy`. `drafts` enables speculative tokens.
    #[must_use]
    pub fn with_peers(self, placement: PlacementChoice, objective: &str, drafts: bool) -> Self {
        let who = Who::Peers {
            placement,
            objective: objective.to_owned(),
            drafts,
        };
        Self { who, ..self }
    }

    /// Whether other devices may compute.
    pub(super) fn has_peers(&self) -> bool {
        matches!(self.who, Who::Peers { .. })
    }

    /// Whether speculative tokens are enabled.
    pub(super) fn drafts(&self) -> bool {
        matches!(self.who, Who::Peers { drafts: true, .. })
    }

    /// Checks that the fixed placement, if there is one, is one of a model with so many layers. Its
    /// devices need not be known yet.
    ///
    /// # Errors
    /// [`ForcedError`].
    pub(super) fn check_placement(&self, layers: u32) -> Result<(), ForcedError> {
        match &self.who {
            Who::Peers {
                placement: PlacementChoice::Forced(text),
                ..
            } => Forced::check(text, layers),
            Who::Peers { .. } | Who::OnlyThisDevice => Ok(()),
        }
    }

    /// The number of connected devices of the circle, without this one.
    pub(super) fn connected(&self) -> usize {
        let members = self.node.node.members().unwrap_or_default().into_iter();
        let connected = members.filter_map(|(_, status)| status?.connected_since);
        connected.count()
    }

    /// Waits until all devices of the circle are connected, if the node has just started and while
    /// `goes_on` returns true.
    pub(super) fn await_devices(&self, goes_on: &mut dyn FnMut() -> bool) {
        let me = self.node.node.peer_id();
        while self.started.elapsed() < CONNECTING && goes_on() {
            let members = self.node.node.members().unwrap_or_default();
            let is_there = |(member, status): &(Member, Option<PeerStatus>)| {
                let is_near = |s: &PeerStatus| s.connected_since.is_some() && s.link.is_some();
                member.peer == me || status.as_ref().is_some_and(is_near)
            };
            if members.iter().all(is_there) {
                return;
            }
            std::thread::sleep(MOMENT);
        }
    }

    /// Loads the part of a model that stays on this device.
    ///
    /// # Errors
    /// [`EndsError`].
    pub(super) fn ends(
        &self,
        path: &Path,
        memory: &MemoryBudget,
        packed: Option<&PackedStore>,
    ) -> Result<Ends, EndsError> {
        let mut ends = Ends::open(path, self.compute.clone(), memory, packed)?;
        if self.drafts()
            && let Err(error) = ends.find_draft_head(path, &Cancel::new())
        {
            tracing::warn!(%error, "guesses are made without a draft head");
        }
        Ok(ends)
    }

    /// Begins a conversation with the model in this file, with room for `context` positions.
    ///
    /// # Errors
    /// [`ClientError`].
    pub(super) fn begin(&self, model: &Path, context: usize) -> Result<Pipeline, ClientError> {
        let failed = |words: String| ClientError::Failed(words);
        let Who::Peers {
            placement,
            objective,
            ..
        } = &self.who
        else {
            return Err(failed("no other device may be asked".to_owned()));
        };
        let request = SessionRequest {
            model: std::path::absolute(model).map_err(|error| failed(error.to_string()))?,
            context: u32::try_from(context).map_err(|error| failed(error.to_string()))?,
            placement: placement.clone(),
            objective: objective.clone(),
        };
        Pipeline::within(&self.node, &request)
    }
}
