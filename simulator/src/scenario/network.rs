//! Networks.

use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::units::{BitRate, Span};

/// A network that devices share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// What devices name it by.
    pub name: String,
    /// How its devices reach each other.
    pub kind: NetworkKind,
    /// From one device to another, beside the airtime.
    pub delay: Span,
    /// The most that is added to it, each time by another share, evenly distributed.
    pub jitter: Span,
    /// What all its devices send together; of each pair alone, on a direct one.
    pub rate: BitRate,
    /// Probability that a packet is lost and repeated, which is seen as a stall.
    pub stall_rate: f64,
    /// The mean stall, each between half of it and one and a half times of it.
    pub stall: Span,
    /// Packets that a device sends before others get the air.
    pub burst_packets: u32,
    /// Whether the access point keeps devices from each other, as in many public places.
    pub isolated: bool,
    /// The phone that is the access point of a hotspot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hotspot: Option<String>,
}

/// How the devices of a network reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    /// By one access point: what goes from device to device is on the one air twice.
    #[default]
    AccessPoint,
    /// By a phone that is the access point: what it sends or receives itself is on the air once.
    Hotspot,
    /// In pairs that do not disturb each other (Wi-Fi Direct, Wi-Fi Aware).
    Direct,
}

impl Default for NetworkSpec {
    /// A quiet home, as that of the emulated Wi-Fi of the end-to-end tests.
    fn default() -> Self {
        Self {
            name: "wifi".to_owned(),
            kind: NetworkKind::AccessPoint,
            delay: Span(2_500),
            jitter: Span(0),
            rate: BitRate::new(100_000_000),
            stall_rate: 0.0,
            stall: Span::millis(30),
            burst_packets: 4,
            isolated: false,
            hotspot: None,
        }
    }
}

impl NetworkSpec {
    pub(super) fn check(&self, at: usize) -> Result<(), ScenarioError> {
        let wrong = |field, words: &str| {
            Err(ScenarioError::senseless(
                "network",
                at,
                field,
                words.to_owned(),
            ))
        };
        if !(0.0..=1.0).contains(&self.stall_rate) {
            return wrong("stall_rate", "a probability is from 0 to 1");
        }
        if !(1..=64).contains(&self.burst_packets) {
            return wrong("burst_packets", "from 1 to 64 packets");
        }
        if self.kind == NetworkKind::Hotspot && self.hotspot.is_none() {
            return wrong("hotspot", "name the phone that is the access point");
        }
        Ok(())
    }
}
