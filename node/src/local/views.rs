//! The circle and placements as shown to people and programs.

use std::collections::BTreeMap;
use std::time::Duration;

use potluck_protocol::PeerId;
use potluck_protocol::circle::Member;
use potluck_protocol::machine::PeerStatus;
use potluck_protocol::pairing::{Change, Listed, Proposal};
use potluck_protocol::placement::{Plan, PredictedStage, Prediction};
use potluck_protocol::profile::{Power, Profile, Thermal};
use potluck_protocol::session::STEPS_ON_THE_WAY;
use serde::{Deserialize, Serialize};

use crate::profile::Caveats;

/// Shown when nothing is sent to any other device.
pub const ALONE: &str = "computing on this device only";

/// The names of the circle's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// This device; it is not a member if it was removed from its circle.
    pub this_device: PeerId,
    /// The members' names.
    pub members: BTreeMap<PeerId, String>,
}

impl Names {
    /// A device's name, or its PeerId if it is not a member.
    pub fn of(&self, peer: PeerId) -> String {
        let name = self.members.get(&peer).cloned();
        name.unwrap_or_else(|| peer.to_string())
    }

    /// Whether this device is a member of its circle.
    pub(super) fn has_this_device(&self) -> bool {
        self.members.contains_key(&self.this_device)
    }
}

/// A member of the circle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its PeerId.
    pub peer_id: String,
    /// Its name.
    pub name: String,
    /// Whether it is this device.
    pub this_device: bool,
    /// Whether it is connected; `null` if no running node can tell.
    pub connected: Option<bool>,
    /// Its program and version.
    pub software: Option<String>,
    /// The device that admitted it.
    pub admitted_by: String,
    /// The measured link to it.
    pub link: Option<LinkView>,
    /// Its reported profile.
    pub profile: Option<ProfileView>,
}

/// A pairing that both owners have to accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalView {
    /// The other device's PeerId.
    pub peer_id: String,
    /// The name it gives itself.
    pub name: String,
    /// The change that pairing makes.
    pub change: ChangeView,
    /// The current members of the circle that is joined.
    pub members: Vec<ListedView>,
    /// How far the other device's clock is ahead of this one's, negative if it is behind; `null` if
    /// the two agree within a minute.
    pub clock_ahead_s: Option<i64>,
}

/// The change that a pairing makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeView {
    /// The other device joins this one's circle.
    TheyJoin,
    /// This device joins the other's circle.
    WeJoin,
    /// Both were alone and form a circle of two.
    Begin,
    /// Both are already in one circle.
    Renew,
}

/// A member of a circle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedView {
    /// Its PeerId.
    pub peer_id: String,
    /// Its name.
    pub name: String,
}

impl From<Proposal> for ProposalView {
    fn from(proposal: Proposal) -> Self {
        let listed = |member: Listed| ListedView {
            peer_id: member.peer.to_string(),
            name: member.name.as_str().to_owned(),
        };
        Self {
            peer_id: proposal.peer.to_string(),
            name: proposal.name.as_str().to_owned(),
            change: match proposal.change {
                Change::TheyJoin => ChangeView::TheyJoin,
                Change::WeJoin => ChangeView::WeJoin,
                Change::Begin => ChangeView::Begin,
                Change::Renew => ChangeView::Renew,
            },
            members: proposal.members.into_iter().map(listed).collect(),
            clock_ahead_s: proposal.clock.map(|skew| skew.ahead_s),
        }
    }
}

/// The link to a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// Round-trip time.
    pub round_trip_ms: f64,
    /// One-way bandwidth.
    pub bandwidth_bytes_per_s: u64,
}

/// A device's own measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileView {
    /// Memory that its owner allows.
    pub memory_budget_bytes: u64,
    /// Rate of reading weights in decode, by the format's number in GGUF files.
    pub decode_bytes_per_s: BTreeMap<String, u64>,
    /// Rate of multiply-adds in prefill.
    pub prefill_multiply_adds_per_s: Option<u64>,
    /// `mains`, `unknown`, or the charge.
    pub power: String,
    /// `nominal`, `fair`, `serious` or `critical`.
    pub thermal: String,
    /// Why it does not help at present.
    pub unwilling: Option<String>,
}

/// A placement and its predicted cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementView {
    /// Stages in layer order.
    pub stages: Vec<StageView>,
    /// From this device round the ring and back.
    pub hops: Vec<HopView>,
    /// Memory of embedding and head on this device.
    pub ends_memory_bytes: u64,
    /// Time of embedding and head per step.
    pub ends_ms: f64,
    /// Speed of one conversation.
    pub tokens_per_s: f64,
    /// Total speed of all conversations that together keep the pipeline full.
    pub tokens_per_s_together: f64,
}

/// A device's layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// Its PeerId.
    pub peer_id: String,
    /// Its name.
    pub name: String,
    /// Whether it is this device.
    pub this_device: bool,
    /// The first layer.
    pub first_layer: u32,
    /// The layer after the last.
    pub end_layer: u32,
    /// Memory of weights and KV caches.
    pub memory_bytes: u64,
    /// Time per step.
    pub ms: f64,
    /// Bytes of weights that the device has to fetch before it can begin; 0 if none, `null` if it
    /// has not reported what it has.
    pub fetch_bytes: Option<u64>,
    /// Estimated fetch time over the measured links; `null` if one of them is unknown.
    pub fetch_s: Option<f64>,
}

/// From one device to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HopView {
    /// The sender's name.
    pub from: String,
    /// The receiver's name.
    pub to: String,
    /// Time from sending to arrival.
    pub ms: f64,
}

/// A device without layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnusedView {
    /// Its PeerId.
    pub peer_id: String,
    /// Its name.
    pub name: String,
    /// Whether it is the one that asks.
    pub this_device: bool,
    /// The reason.
    pub reason: String,
}

/// A planned placement and the alternatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// The best placement, or the requested one.
    pub best: PlacementView,
    /// The placement on this device alone.
    pub alone: Option<PlacementView>,
    /// Why this device cannot run the model alone.
    pub alone_impossible: Option<String>,
    /// The best placement over one device, two, …
    pub by_devices: Vec<Option<PlacementView>>,
    /// Devices without layers in the best placement.
    pub unused: Vec<UnusedView>,
    /// Limits of this device's own measurements.
    #[serde(default)]
    pub caveats: Caveats,
}

impl PlacementView {
    /// How many more tokens the slowest stage computes while one token goes round the ring: this
    /// many drafts delay nothing, even if all are rejected.
    pub fn drafts(&self) -> usize {
        let busy = |stage: &StageView| match stage.this_device {
            true => stage.ms + self.ends_ms,
            false => stage.ms,
        };
        let slowest = self.stages.iter().map(busy).fold(self.ends_ms, f64::max);
        let around = 1e3 / self.tokens_per_s;
        // NaN becomes 0.
        let steps = (around / slowest) as usize;
        steps.clamp(1, STEPS_ON_THE_WAY) - 1
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl MemberView {
    pub(super) fn new(member: &Member, me: PeerId, status: Option<PeerStatus>) -> Self {
        let this_device = member.peer == me;
        let connected = status.as_ref().map(|s| s.connected_since.is_some());
        let link = status.as_ref().and_then(|status| status.link);
        let profile = status.as_ref().and_then(|status| status.profile.as_ref());
        Self {
            peer_id: member.peer.to_string(),
            name: member.name.as_str().to_owned(),
            this_device,
            connected: if this_device { Some(true) } else { connected },
            admitted_by: member.admitted_by.to_string(),
            link: link.map(|link| LinkView {
                round_trip_ms: ms(link.round_trip.value),
                bandwidth_bytes_per_s: link.bandwidth.value.units_per_second(),
            }),
            profile: profile.map(ProfileView::new),
            software: status.and_then(|status| status.software),
        }
    }

    /// A member, when no running node knows more about it.
    pub fn offline(member: &Member, me: PeerId) -> Self {
        Self::new(member, me, None)
    }
}

impl ProfileView {
    /// Converts a profile.
    pub fn new(profile: &Profile) -> Self {
        let decode = profile.decode.iter();
        Self {
            memory_budget_bytes: profile.memory_budget_bytes.value,
            decode_bytes_per_s: decode
                .map(|(format, rate)| (format.0.to_string(), rate.value.units_per_second()))
                .collect(),
            prefill_multiply_adds_per_s: profile.prefill.map(|rate| rate.value.units_per_second()),
            power: match profile.power.value {
                Power::Mains => "mains".to_owned(),
                Power::Unknown => "unknown".to_owned(),
                Power::Battery { percent, charging } => {
                    let charging = if charging { ", charging" } else { "" };
                    format!("{percent} %{charging}")
                }
            },
            thermal: match profile.thermal.value {
                Thermal::Nominal => "nominal",
                Thermal::Fair => "fair",
                Thermal::Serious => "serious",
                Thermal::Critical => "critical",
            }
            .to_owned(),
            unwilling: profile.unwilling().map(|why| why.to_string()),
        }
    }
}

impl PlacementView {
    /// Converts a predicted placement.
    pub fn new(prediction: &Prediction, names: &Names) -> Self {
        let stage = |placed: &PredictedStage| StageView {
            peer_id: placed.stage.peer.to_string(),
            name: names.of(placed.stage.peer),
            this_device: placed.stage.peer == names.this_device,
            first_layer: placed.stage.layers.first(),
            end_layer: placed.stage.layers.end(),
            memory_bytes: placed.memory_bytes,
            ms: ms(placed.time),
            fetch_bytes: placed.fetch.map(|fetch| fetch.bytes),
            fetch_s: placed
                .fetch
                .and_then(|fetch| fetch.time)
                .map(|time| time.as_secs_f64()),
        };
        let hops = prediction.hops.iter().map(|hop| HopView {
            from: names.of(hop.from),
            to: names.of(hop.to),
            ms: ms(hop.time),
        });
        Self {
            stages: prediction.stages.iter().map(stage).collect(),
            hops: hops.collect(),
            ends_memory_bytes: prediction.ends_memory_bytes,
            ends_ms: ms(prediction.ends_time),
            tokens_per_s: prediction.tokens_per_second(),
            tokens_per_s_together: prediction.tokens_per_second_together(),
        }
    }

    /// The devices and their layers, in one line.
    pub fn in_words(&self) -> String {
        if let [only] = self.stages.as_slice()
            && only.this_device
        {
            return ALONE.to_owned();
        }
        let stages = self.stages.iter().map(|stage| {
            let who = if stage.this_device {
                "this device"
            } else {
                &stage.name
            };
            format!("{who}, layers {}..{}", stage.first_layer, stage.end_layer)
        });
        let stages: Vec<_> = stages.collect();
        format!("computing on: {}", stages.join("; "))
    }
}

impl PlanView {
    pub(super) fn new(plan: &Plan, names: &Names) -> Self {
        let view = |prediction: &Prediction| PlacementView::new(prediction, names);
        let unused = plan.unused.iter().map(|unused| UnusedView {
            peer_id: unused.peer.to_string(),
            name: names.of(unused.peer),
            this_device: unused.peer == names.this_device,
            reason: unused.reason.to_string(),
        });
        Self {
            best: view(&plan.best),
            alone: plan.alone.as_ref().ok().map(view),
            alone_impossible: plan.alone.as_ref().err().map(ToString::to_string),
            by_devices: plan
                .by_devices
                .iter()
                .map(|prediction| prediction.as_ref().map(view))
                .collect(),
            unused: unused.collect(),
            caveats: Caveats::default(),
        }
    }

    /// The plan for a placement written by a person.
    pub(super) fn only(prediction: &Prediction, names: &Names) -> Self {
        Self {
            best: PlacementView::new(prediction, names),
            alone: None,
            alone_impossible: None,
            by_devices: Vec::new(),
            unused: Vec::new(),
            caveats: Caveats::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(stages_ms: &[f64], ends_ms: f64, tokens_per_s: f64) -> PlacementView {
        let stage = |&ms: &f64| StageView {
            peer_id: String::new(),
            name: String::new(),
            this_device: false,
            first_layer: 0,
            end_layer: 1,
            memory_bytes: 0,
            ms,
            fetch_bytes: None,
            fetch_s: None,
        };
        PlacementView {
            stages: stages_ms.iter().map(stage).collect(),
            hops: Vec::new(),
            ends_memory_bytes: 0,
            ends_ms,
            tokens_per_s,
            tokens_per_s_together: tokens_per_s,
        }
    }

    #[test]
    fn so_many_drafts_as_the_slowest_stage_computes_while_a_token_goes_round() {
        // 20 ms per round.
        assert_eq!(placement(&[6.0, 6.0], 1.0, 50.0).drafts(), 2);
        assert_eq!(placement(&[6.0, 11.0], 1.0, 50.0).drafts(), 0);
        assert_eq!(placement(&[19.0], 1.0, 50.0).drafts(), 0);
        assert_eq!(placement(&[0.1, 0.1], 0.1, 50.0).drafts(), 5);
        for none in [0.0, f64::NAN, f64::INFINITY] {
            assert!(placement(&[0.0], 0.0, none).drafts() <= 5);
        }
        // Embedding and head take their share of time on the device that also has a stage.
        let mut shared = placement(&[9.0, 6.0], 2.0, 50.0);
        shared.stages[0].this_device = true;
        assert_eq!(shared.drafts(), 0);
    }
}
