//! Log entries of the sessions that this node requests.

use std::collections::BTreeMap;
use std::time::Duration;

use potluck_protocol::SessionId;
use potluck_protocol::machine::Machine;
use potluck_protocol::placement::Prediction;
use potluck_protocol::session::SessionEvent;
use tracing::Span;

use super::name;

/// The active sessions.
#[derive(Default)]
pub(in crate::net) struct Sessions(BTreeMap<SessionId, Session>);

struct Session {
    span: Span,
    since: Duration,
    /// The span of its placement.
    epoch: Option<Span>,
    /// The span of a recovery, and when it began.
    recovery: Option<(Span, Duration)>,
}

impl Session {
    /// The innermost span, for events.
    fn inner(&self) -> &Span {
        let recovery = self.recovery.as_ref().map(|(span, _)| span);
        recovery.or(self.epoch.as_ref()).unwrap_or(&self.span)
    }
}

/// A session's id in the log.
pub(super) fn id(session: SessionId) -> String {
    format!("{:016x}", session.0)
}

impl Sessions {
    pub(in crate::net) fn started(&mut self, now: Duration, session: SessionId) {
        let span = tracing::info_span!("session", id = id(session));
        tracing::info!(parent: &span, "session started");
        let session_span = Session {
            span,
            since: now,
            epoch: None,
            recovery: None,
        };
        self.0.insert(session, session_span);
    }

    pub(in crate::net) fn finished(&mut self, now: Duration, session: SessionId) {
        if let Some(Session { span, since, .. }) = self.0.remove(&session) {
            let after_s = now.saturating_sub(since).as_secs();
            tracing::info!(parent: &span, after_s, "session finished");
        }
    }

    /// Logs an event of a session. Events of single tokens look nothing up.
    pub(in crate::net) fn event(
        &mut self,
        now: Duration,
        machine: &Machine,
        session: SessionId,
        event: &SessionEvent,
    ) {
        if let SessionEvent::Answered {
            start_position,
            hidden,
        } = event
        {
            let bytes = hidden.len();
            tracing::trace!(
                session = id(session),
                start_position,
                bytes,
                "rows returned"
            );
            return;
        }
        let Some(told) = self.0.get_mut(&session) else {
            return;
        };
        match event {
            SessionEvent::Placed(prediction) => told.placed(machine, session, prediction),
            SessionEvent::Ready { from, prefill_rows } => {
                tracing::debug!(parent: told.inner(), from, prefill_rows, "all stages are ready");
                if let Some((span, since)) = told.recovery.take() {
                    let after_ms = now.saturating_sub(since).as_millis();
                    tracing::info!(parent: &span, after_ms, from, "recovered");
                }
            }
            SessionEvent::Fetching {
                peer,
                received_bytes,
                total_bytes,
            } => {
                let name = name(machine, *peer);
                tracing::trace!(parent: told.inner(), name, received_bytes, total_bytes, "fetching weights");
            }
            SessionEvent::Shared { peer } => {
                let name = name(machine, *peer);
                tracing::trace!(parent: told.inner(), name, "stage is shared: drafts paused");
            }
            SessionEvent::Leaving { peer, within, .. } => {
                let (name, within_s) = (name(machine, *peer), within.as_secs_f32());
                tracing::info!(parent: told.inner(), name, within_s, "stage is leaving");
            }
            SessionEvent::Broken { peer, cause } => {
                let (span, name) = (&told.span, name(machine, *peer));
                let recovery = || tracing::info_span!(parent: span, "recovery", of = name.clone());
                let (span, _) = told.recovery.get_or_insert_with(|| (recovery(), now));
                tracing::warn!(parent: &*span, name, why = %cause, "stage failed");
            }
            SessionEvent::Waiting(why) => {
                tracing::info!(parent: told.inner(), why, "no placement: waiting");
            }
            SessionEvent::GivenUp(why) => {
                tracing::warn!(parent: told.inner(), why, "no placement: given up");
            }
            SessionEvent::Answered { .. } | SessionEvent::RolledBack => {}
        }
    }
}

impl Session {
    fn placed(&mut self, machine: &Machine, session: SessionId, prediction: &Prediction) {
        let number = machine.epoch_of(session).unwrap_or_default().0;
        let epoch = tracing::info_span!(parent: &self.span, "epoch", number);
        let stages = prediction.stages.iter().map(|placed| {
            let stage = &placed.stage;
            format!("{} {}", name(machine, stage.peer), stage.layers)
        });
        let stages: Vec<_> = stages.collect();
        let (stages, tokens_per_s) = (stages.join(", "), prediction.tokens_per_second());
        let within = self.recovery.as_ref().map_or(&epoch, |(span, _)| span);
        tracing::info!(parent: within, stages, tokens_per_s, "placed");
        self.epoch = Some(epoch);
    }
}
