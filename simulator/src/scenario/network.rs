//! Networks.

use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::units::{BitRate, Span};

/// A network that devices share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// The name by which devices refer to it.
    pub name: String,
    /// How its devices reach each other.
    pub kind: NetworkKind,
    /// The delay from one device to another, beside the airtime.
    pub delay: Span,
    /// Jitter: the maximum that is added to the delay, uniformly distributed.
    pub jitter: Span,
    /// The rate that all its devices share; on a direct network, that of each pair.
    pub rate: BitRate,
    /// Probability that a packet is lost and sent again, which causes a stall.
    pub stall_rate: f64,
    /// The mean stall; each takes between half and one and a half times of it.
    pub stall: Span,
    /// Packets that a device sends before others get their turn.
    pub burst_packets: u32,
    /// Whether the access point isolates devices from each other, as in many public places.
    pub isolated: bool,
    /// The phone that is the access point of a hotspot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hotspot: Option<String>,
}

/// How the devices of a network reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkKind {
    /// Through an access point: what one device sends to another uses the air twice.
    #[default]
    AccessPoint,
    /// Through a phone that is the access point: what it sends or receives itself uses the air once.
    Hotspot,
    /// In pairs that do not disturb each other (Wi-Fi Direct, Wi-Fi Aware).
    Direct,
}

impl Default for NetworkSpec {
    /// A quiet home, like the emulated Wi-Fi of the end-to-end tests.
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
