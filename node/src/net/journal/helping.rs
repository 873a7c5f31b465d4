//! Log entries of the stages that this device computes.

use std::collections::BTreeMap;
use std::time::Duration;

use potluck_protocol::machine::{LoadRefused, Machine};
use potluck_protocol::stage::{Load, Step};
use potluck_protocol::{LayerRange, PeerId, PlanEpoch, StageId};
use tracing::Span;

use super::name;
use super::sessions::id;
use crate::net::report::NodeEvent;

/// The stages on this device.
#[derive(Default)]
pub(in crate::net) struct Helping(BTreeMap<StageId, Stage>);

struct Stage {
    span: Span,
    /// Whether this node is its requester.
    own: bool,
    epoch: PlanEpoch,
    layers: LayerRange,
    standby: bool,
    /// When the owner was told that this device helps, and with which layers.
    told: Option<(Duration, LayerRange)>,
    /// Rows computed.
    rows: u64,
}

impl Helping {
    /// A stage is loaded.
    pub(in crate::net) fn load(&mut self, me: PeerId, machine: &Machine, load: &Load) {
        let Some(open) = machine.opening(load.stage) else {
            return;
        };
        let StageId { requester, session } = load.stage;
        let (epoch, layers, standby) = (load.epoch, load.layers, open.standby);
        let stage = self.0.entry(load.stage).or_insert_with(|| Stage {
            span: tracing::info_span!(
                "stage",
                session = id(session),
                of = name(machine, requester)
            ),
            own: requester == me,
            epoch,
            layers,
            standby,
            told: None,
            rows: 0,
        });
        (stage.epoch, stage.layers, stage.standby) = (epoch, layers, standby);
        let (epoch, context) = (epoch.0, load.context);
        let span = &stage.span;
        tracing::debug!(parent: span, epoch, %layers, context, standby, "loading layers");
    }

    /// A stage is ready, or could not be loaded. Returns the event for the owner, once for each range
    /// of layers.
    pub(in crate::net) fn loaded(
        &mut self,
        now: Duration,
        of: StageId,
        epoch: PlanEpoch,
        result: &Result<u64, LoadRefused>,
    ) -> Option<NodeEvent> {
        let stage = self.0.get_mut(&of).filter(|stage| stage.epoch == epoch)?;
        let bytes = match result {
            Ok(bytes) => *bytes,
            Err(LoadRefused {
                words,
                available_bytes,
                ..
            }) => {
                let why = words;
                tracing::debug!(parent: &stage.span, why, available_bytes, "cannot load layers");
                return None;
            }
        };
        let layers = stage.layers;
        tracing::debug!(parent: &stage.span, %layers, bytes, "layers are ready");
        let is_told = stage.told.is_some_and(|(_, told)| told == layers);
        if stage.own || stage.standby || is_told {
            return None;
        }
        tracing::info!(parent: &stage.span, %layers, "helping");
        stage.told = Some((now, layers));
        Some(NodeEvent::Helping {
            peer: of.requester,
            session: of.session,
            layers,
        })
    }

    /// A step is computed.
    pub(in crate::net) fn compute(&mut self, step: &Step) {
        for part in &step.parts {
            if let Some(stage) = self.0.get_mut(&part.stage) {
                stage.rows += u64::from(part.rows);
            }
        }
        tracing::trace!(
            number = step.number,
            parts = step.parts.len(),
            "computing a step"
        );
    }

    /// A stage is freed.
    pub(in crate::net) fn free(&mut self, now: Duration, of: StageId) -> Option<NodeEvent> {
        let Stage {
            span, told, rows, ..
        } = self.0.remove(&of)?;
        tracing::debug!(parent: &span, rows, "layers freed");
        let (since, layers) = told?;
        let time = now.saturating_sub(since);
        let after_s = time.as_secs();
        tracing::info!(parent: &span, %layers, rows, after_s, "stopped helping");
        Some(NodeEvent::Helped {
            peer: of.requester,
            session: of.session,
            layers,
            rows,
            time,
        })
    }
}
