//! What commands ask of a node, and what it answers.

use std::path::PathBuf;

use potluck_protocol::session::SessionEvent;
use serde::{Deserialize, Serialize};

use super::views::{MemberView, Names, PlanView, ProposalView};
use crate::log::{Level, Page};
use crate::net::Announces;
use crate::words::{Kind, Words};

/// What a command asks. On one connection one thing at a time, but for what belongs to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Where the node listens, and who it is: [`Reply::Node`].
    Node,
    /// The circle's members: [`Reply::Members`].
    Members,
    /// The command's own program computes something for this device's owner, until the connection
    /// ends: others wait more. [`Reply::Done`].
    ComputeHere,
    /// Another process of this home is to be its node: [`Reply::Done`] once this one has ended for
    /// that, if it is only a command's.
    GiveWay,
    /// End a membership: [`Reply::Forgotten`], once it is stored.
    Forget {
        /// A name, a PeerId or `self`.
        device: String,
        /// Also those of all whom it made members, and whom those did.
        #[serde(default)]
        with_admitted: bool,
    },
    /// Whose membership [`Forget`](Self::Forget) would end: [`Reply::WouldForget`].
    WouldForget {
        /// A name, a PeerId or `self`.
        device: String,
        /// Also those of all whom it made members, and whom those did.
        with_admitted: bool,
    },
    /// Leave the circle and begin a new one of this device alone: [`Reply::Done`], once it is stored.
    NewCircle,
    /// Open pairing: [`Reply::Invitation`]; then [`Reply::Proposed`], which is to be answered, and
    /// [`Reply::Paired`] or [`Reply::PairingOver`]. Ends with the connection.
    Invite {
        /// For so many seconds.
        seconds: u64,
        /// What this device is called from now on.
        name: Option<String>,
        /// Who is to join whose circle.
        #[serde(default)]
        wish: PairingWish,
    },
    /// Pair by an invitation: [`Reply::Proposed`], which is to be answered, then [`Reply::Paired`] or
    /// [`Reply::Failed`]. Ends with the connection.
    Join {
        /// The text.
        invitation: String,
        /// What this device is called from now on.
        name: Option<String>,
        /// Who is to join whose circle.
        #[serde(default)]
        wish: PairingWish,
    },
    /// The owner's answer to [`Reply::Proposed`] of this connection's pairing;
    /// [`Reply::AnswerTooLate`] if that is over, else nothing.
    AnswerPairing {
        /// Of the other device.
        peer_id: String,
        /// Whether to pair.
        agrees: bool,
    },
    /// What the node did last: [`Reply::Log`].
    Log {
        /// After the event of this number; 0 for all that are kept.
        after: u64,
        /// Those that matter as much as this.
        least: Level,
    },
    /// Where a model's layers should run: [`Reply::Plan`].
    Plan {
        /// What for.
        #[serde(flatten)]
        request: SessionRequest,
    },
    /// Begin a conversation: [`Reply::Started`], then [`Reply::Session`] for each of its events, until
    /// the connection ends.
    Session {
        /// What for.
        #[serde(flatten)]
        request: SessionRequest,
    },
    /// Rows of the conversation; the payload are their hidden states. Nothing answers rows that are
    /// not those that follow: [`SessionEvent::Ready`] says which are.
    Submit {
        /// Position of the first.
        start_position: u32,
        /// How many.
        rows: u32,
        /// Whether these are the last for now, whose hidden states are wanted.
        last: bool,
    },
    /// Drop the conversation's positions from this one on: [`SessionEvent::RolledBack`].
    RollBack {
        /// The first that is dropped.
        position: u32,
    },
    /// What the conversation has sent and received: [`Reply::Traffic`].
    Traffic,
}

/// What a node was told when it started. It holds for all commands that use the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Threads that it computes with; of one that runs, as many as it has.
    pub threads: Option<usize>,
    /// Where it was told to listen; nothing for any free port.
    pub listen: Vec<String>,
    /// Whether it neither looks for devices on the local network nor is found there.
    pub no_mdns: bool,
    /// When it is found there.
    #[serde(default)]
    pub announces: Announces,
    /// Where it was told that paired devices may be.
    pub peers: Vec<String>,
    /// The memory that its owner allows, in bytes, if that was said.
    pub memory: Option<u64>,
}

/// A model, and where its layers may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// The model's file.
    pub model: PathBuf,
    /// Positions to reserve.
    pub context: u32,
    /// Who may compute.
    pub placement: PlacementChoice,
    /// `latency`, `throughput` or `energy`.
    pub objective: String,
}

/// Who joins whose circle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingWish {
    /// As it may be: the owner is asked.
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

/// Who may compute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementChoice {
    /// Whoever is best.
    Best,
    /// Only this device.
    Alone,
    /// As a person wrote it: `self:0..6,kitchen:6..30`.
    Forced(String),
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// It cannot be done: why.
    Failed {
        /// Of what kind the reason is.
        kind: Kind,
        /// In words.
        words: String,
    },
    /// Who the node is.
    Node {
        /// Its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// Where it listens.
        listening: Vec<String>,
        /// Whether it places layers. The node of a command that pairs does not on a device that was
        /// never measured.
        computes: bool,
        /// What it was told when it started.
        settings: NodeSettings,
    },
    /// The circle's members, this device among them.
    Members {
        /// By their names.
        members: Vec<MemberView>,
    },
    /// A membership has ended.
    Forgotten {
        /// Whose: its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
    },
    /// Whose membership would end.
    WouldForget {
        /// The device that was named: its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// All who would go, that device among them unless it has left already.
        members: Vec<MemberView>,
    },
    /// The owner is to be asked whether to pair so.
    Proposed {
        /// What.
        proposal: ProposalView,
    },
    /// To be shown to the owner of the other device.
    Invitation {
        /// The text.
        text: String,
        /// When it expires, in seconds since 1970 (UTC).
        expires: u64,
    },
    /// Both devices are in one circle.
    Paired {
        /// The other's PeerId.
        peer_id: String,
        /// What it calls itself.
        name: String,
    },
    /// The owner's answer comes too late: nothing is proposed by this device any more.
    AnswerTooLate {
        /// The other's PeerId.
        peer_id: String,
    },
    /// One attempt to pair failed.
    PairingFailed {
        /// Who tried.
        peer_id: String,
        /// Why.
        words: String,
    },
    /// The invitation cannot be used any more.
    PairingOver {
        /// Why.
        words: String,
    },
    /// What the node did.
    Log {
        /// Some of it.
        page: Page,
    },
    /// Where the layers should run.
    Plan {
        /// Where.
        plan: Box<PlanView>,
    },
    /// The conversation has begun.
    Started {
        /// What its devices are called.
        names: Names,
    },
    /// What comes of the conversation. The payload are the hidden states of an answer.
    Session {
        /// As the protocol tells it.
        event: SessionEvent,
    },
    /// Bytes to and from peers.
    Traffic {
        /// To peers.
        bytes_sent: u64,
        /// From peers.
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
