//! Requests that commands send to a node, and its replies.

use std::path::PathBuf;

use potluck_protocol::session::SessionEvent;
use serde::{Deserialize, Serialize};

use super::views::{MemberView, Names, PlanView, ProposalView};
use crate::log::{Level, Page};
use crate::net::Announces;
use crate::words::{Kind, Words};

/// A command's request. A connection handles one request at a time, except within a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// The node's identity and listening addresses: [`Reply::Node`].
    Node,
    /// The circle's members: [`Reply::Members`].
    Members,
    /// The command's program computes for this device's owner until the connection ends. Steps
    /// for other devices wait longer meanwhile. [`Reply::Done`].
    ComputeHere,
    /// Another process of this home wants to be its node. A command's temporary node ends, and
    /// replies [`Reply::Done`] once it has.
    GiveWay,
    /// End a membership: [`Reply::Forgotten`], once it is stored.
    Forget {
        /// A name, a PeerId or `self`.
        device: String,
        /// Also the members that it admitted, and those that they admitted, and so on.
        #[serde(default)]
        with_admitted: bool,
    },
    /// List the memberships that [`Forget`](Self::Forget) would end: [`Reply::WouldForget`].
    WouldForget {
        /// A name, a PeerId or `self`.
        device: String,
        /// Also the members that it admitted, and those that they admitted, and so on.
        with_admitted: bool,
    },
    /// Leave the circle and start a new one with only this device: [`Reply::Done`], once it is
    /// stored.
    NewCircle,
    /// Open pairing: [`Reply::Invitation`]; then [`Reply::Proposed`], which needs an answer, and
    /// [`Reply::Paired`] or [`Reply::PairingOver`]. Ends with the connection.
    Invite {
        /// Validity in seconds.
        seconds: u64,
        /// This device's new name.
        name: Option<String>,
        /// Which device joins the other's circle.
        #[serde(default)]
        wish: PairingWish,
    },
    /// Pair by an invitation: [`Reply::Proposed`], which needs an answer, then [`Reply::Paired`] or
    /// [`Reply::Failed`]. Ends with the connection.
    Join {
        /// The invitation's text.
        invitation: String,
        /// This device's new name.
        name: Option<String>,
        /// Which device joins the other's circle.
        #[serde(default)]
        wish: PairingWish,
    },
    /// The owner's answer to [`Reply::Proposed`] of this connection's pairing;
    /// [`Reply::AnswerTooLate`] if that pairing is over, else no reply.
    AnswerPairing {
        /// The other device's PeerId.
        peer_id: String,
        /// Whether to pair.
        agrees: bool,
    },
    /// The node's recent events: [`Reply::Log`].
    Log {
        /// Return the events after this number; 0 for all that are kept.
        after: u64,
        /// The least important level to return.
        least: Level,
    },
    /// Plan where a model's layers should run: [`Reply::Plan`].
    Plan {
        /// The model and constraints.
        #[serde(flatten)]
        request: SessionRequest,
    },
    /// Begin a conversation: [`Reply::Started`], then [`Reply::Session`] for each of its events,
    /// until the connection ends.
    Session {
        /// The model and constraints.
        #[serde(flatten)]
        request: SessionRequest,
    },
    /// Submit rows to the conversation, with their hidden states as payload. Rows that are not the
    /// next in order are ignored without a reply: [`SessionEvent::Ready`] says which rows are next.
    Submit {
        /// Position of the first row.
        start_position: u32,
        /// Number of rows.
        rows: u32,
        /// Whether these are the last rows for now, and their hidden states should be returned.
        last: bool,
    },
    /// Drop the conversation's positions from this one on: [`SessionEvent::RolledBack`].
    RollBack {
        /// The first position to drop.
        position: u32,
    },
    /// The conversation's traffic: [`Reply::Traffic`].
    Traffic,
}

/// The settings a node was started with. They apply to all commands that use the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Number of compute threads. In a reply, the number in use.
    pub threads: Option<usize>,
    /// Listening addresses; empty for any free port.
    pub listen: Vec<String>,
    /// Whether discovery on the local network is off, both looking and being found.
    pub no_mdns: bool,
    /// When the node announces itself there.
    #[serde(default)]
    pub announces: Announces,
    /// Known addresses of paired devices.
    pub peers: Vec<String>,
    /// The owner's memory limit in bytes, if set.
    pub memory: Option<u64>,
    /// Whether the node computes from model files as they are, without packed weights.
    #[serde(default)]
    pub no_pack: bool,
    /// Bytes of disk space for packed weights, if set.
    #[serde(default)]
    pub packed: Option<u64>,
}

/// A model, and constraints on its placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// The model's file.
    pub model: PathBuf,
    /// Number of positions to reserve.
    pub context: u32,
    /// Which devices may compute.
    pub placement: PlacementChoice,
    /// `latency`, `throughput` or `energy`.
    pub objective: String,
}

/// Which device joins the other's circle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingWish {
    /// Either may join; the owner is asked.
    #[default]
    Asks,
    /// The other device joins this one's.
    Admits,
    /// This device joins the other's.
    Joins,
}

impl From<PairingWish> for potluck_protocol::pairing::Wish {
    fn from(wish: PairingWish) -> Self {
        match wish {
            PairingWish::Asks => Self::Asks,
            PairingWish::Admits => Self::Admits,
            PairingWish::Joins => Self::Joins,
        }
    }
}

/// Which devices may compute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementChoice {
    /// The best placement over all devices.
    Best,
    /// Only this device.
    Alone,
    /// A placement written by a person: `self:0..6,kitchen:6..30`.
    Forced(String),
}

/// A node's reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The request succeeded.
    Done,
    /// The request failed.
    Failed {
        /// The kind of failure.
        kind: Kind,
        /// The reason in words.
        words: String,
    },
    /// The node's identity.
    Node {
        /// Its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// Its listening addresses.
        listening: Vec<String>,
        /// Whether it places layers. The node of `pair` does not on a device that was never
        /// measured.
        computes: bool,
        /// The settings it was started with.
        settings: NodeSettings,
    },
    /// The circle's members, this device among them.
    Members {
        /// The members by name.
        members: Vec<MemberView>,
    },
    /// A membership has ended.
    Forgotten {
        /// The former member's PeerId.
        peer_id: String,
        /// Its name.
        name: String,
    },
    /// The memberships that would end.
    WouldForget {
        /// The named device's PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// All members that would be removed, including the named device unless it has already
        /// left.
        members: Vec<MemberView>,
    },
    /// The owner must accept or refuse this pairing.
    Proposed {
        /// The proposed pairing.
        proposal: ProposalView,
    },
    /// The invitation to show to the owner of the other device.
    Invitation {
        /// The invitation's text.
        text: String,
        /// Expiry, in seconds since 1970 (UTC).
        expires: u64,
    },
    /// Both devices are now in one circle.
    Paired {
        /// The other device's PeerId.
        peer_id: String,
        /// The name it gives itself.
        name: String,
    },
    /// The owner answered too late: this device's proposal is no longer open.
    AnswerTooLate {
        /// The other device's PeerId.
        peer_id: String,
    },
    /// One attempt to pair failed.
    PairingFailed {
        /// The other device's PeerId.
        peer_id: String,
        /// The reason.
        words: String,
    },
    /// The invitation is no longer valid.
    PairingOver {
        /// The reason.
        words: String,
    },
    /// The node's events.
    Log {
        /// One page of them.
        page: Page,
    },
    /// The planned placement.
    Plan {
        /// The plan.
        plan: Box<PlanView>,
    },
    /// The conversation has begun.
    Started {
        /// The names of the circle's devices.
        names: Names,
    },
    /// An event of the conversation. The payload is the hidden states of an answer.
    Session {
        /// The protocol's event.
        event: SessionEvent,
    },
    /// Bytes sent to and received from peers.
    Traffic {
        /// Bytes sent.
        bytes_sent: u64,
        /// Bytes received.
        bytes_received: u64,
    },
}

impl From<Words> for Reply {
    fn from(Words { kind, words }: Words) -> Self {
        Self::Failed { kind, words }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use potluck_protocol::placement::{Fetch, PredictedHop, PredictedStage, Prediction, Stage};
    use potluck_protocol::session::Cause;
    use potluck_protocol::wire::{HandOverReason, StageRefusedCode};
    use potluck_protocol::{LayerRange, PeerId};

    use super::*;
    use crate::local::framing;

    fn prediction(peer: PeerId) -> Prediction {
        let time = Duration::from_nanos(1_234_567);
        Prediction {
            stages: vec![PredictedStage {
                stage: Stage {
                    peer,
                    layers: LayerRange::new(0, 30).expect("forwards"),
                },
                memory_bytes: u64::MAX,
                time,
                picojoules: None,
                fetch: Some(Fetch {
                    bytes: 3,
                    time: None,
                }),
            }],
            hops: vec![PredictedHop {
                from: peer,
                to: peer,
                time,
                occupied: time,
                picojoules: Some(7),
            }],
            ends_memory_bytes: 1,
            ends_time: time,
            step_time: time,
            pace: time,
            picojoules: None,
            rows: NonZeroU32::MIN,
        }
    }

    fn every_kind_of_event() -> Vec<SessionEvent> {
        let peer = PeerId::from_public_key([9; 32]);
        let within = Duration::from_millis(1_500);
        let refused = Cause::Refused {
            code: StageRefusedCode::Other(77),
            words: "\"full\"\n".to_owned(),
            available_bytes: 5,
        };
        let causes = [
            Cause::Silent(within),
            Cause::Disconnected,
            refused,
            Cause::Forgotten,
            Cause::Faulty,
            Cause::NotFinite,
            Cause::Stuck(within),
            Cause::RowsLost,
        ];
        let broken = causes.map(|cause| SessionEvent::Broken { peer, cause });
        let mut events = vec![
            SessionEvent::Placed(Box::new(prediction(peer))),
            SessionEvent::Ready {
                from: 3,
                prefill_rows: NonZeroU32::MAX,
            },
            SessionEvent::Fetching {
                peer,
                received_bytes: 0,
                total_bytes: u64::MAX,
            },
            SessionEvent::Answered {
                start_position: 9,
                hidden: vec![0, 255, 34],
            },
            SessionEvent::RolledBack,
            SessionEvent::Shared { peer },
            SessionEvent::Leaving {
                peer,
                reason: HandOverReason::Battery,
                within,
            },
            SessionEvent::Waiting("nobody is in reach".to_owned()),
            SessionEvent::GivenUp("nobody came".to_owned()),
        ];
        events.extend(broken);
        events
    }

    #[test]
    fn every_event_of_a_conversation_reaches_a_command_as_the_protocol_told_it() {
        for told in every_kind_of_event() {
            let mut event = told.clone();
            let hidden = event.take_hidden();
            let mut bytes = Vec::new();
            let sent = framing::write(&mut bytes, &Reply::Session { event }, &hidden);
            sent.expect("a vector grows");
            let came = framing::read::<Reply>(&mut bytes.as_slice()).expect("a message");
            let Some((Reply::Session { event }, payload)) = came else {
                panic!("{told:?} came as {came:?}");
            };
            assert_eq!(event.with_hidden(payload), told);
        }
    }

    #[test]
    fn an_event_with_impossible_layers_or_no_peer_is_refused() {
        let event = SessionEvent::Placed(Box::new(prediction(PeerId::from_public_key([9; 32]))));
        let text = serde_json::to_string(&event).expect("text");
        assert!(serde_json::from_str::<SessionEvent>(&text).is_ok());
        for (right, wrong) in [("[0,30]", "[30,0]"), ("12D3KooW", "13D3KooW")] {
            let text = text.replace(right, wrong);
            assert!(text.contains(wrong), "{text}");
            assert!(serde_json::from_str::<SessionEvent>(&text).is_err());
        }
    }
}
