//! Why there is no placement, in words.

use super::shape::MOST_LAYERS;
use super::text::{Needed, Offered};

/// Why no placement can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A model of no layers, or of more than [`MOST_LAYERS`].
    #[error(
        "the model has {layers} layers, and placing takes 1 to {most}: choose another model",
        most = MOST_LAYERS
    )]
    LayerCount {
        /// Its layers.
        layers: usize,
    },
    /// The requester is not among the devices.
    #[error(
        "this device has not measured itself yet: wait some seconds, or run \
         `potluck bench --profile`"
    )]
    NoProfile,
    /// The requester cannot compute with the head's format.
    #[error(
        "this device has no measured speed for the model's output layer: run \
         `potluck bench --profile`"
    )]
    HeadUnmeasured,
    /// Energy is the objective and the requester does not know its own.
    #[error(
        "this device's system does not tell what computing takes: choose latency or throughput"
    )]
    EnergyUnknown,
    /// The requester's budget does not hold embedding and head.
    #[error(
        "this device offers {}, the model's embedding and output layer alone need {}: \
         allow it more memory or choose a smaller model",
        Offered(*offers_bytes), Needed(*needs_bytes)
    )]
    EndsDoNotFit {
        /// Its budget.
        offers_bytes: u64,
        /// What is needed, with headroom.
        needs_bytes: u64,
    },
    /// All budgets together are too small.
    #[error(
        "{}: pair another device or choose a smaller model or a shorter context{}",
        too_large(*devices, *offers_bytes, *needs_bytes), left_out(*unavailable)
    )]
    TooLarge {
        /// Devices that may hold layers or are the requester.
        devices: usize,
        /// Their budgets together.
        offers_bytes: u64,
        /// What the model and its KV caches need, with headroom.
        needs_bytes: u64,
        /// Other devices, which can hold no layer.
        unavailable: usize,
    },
    /// No device can compute with the formats of this layer.
    #[error(
        "no device here has a measured speed for the format of layer {layer}: \
         update potluck on them or choose another model"
    )]
    LayerUnmeasured {
        /// The first such layer.
        layer: u32,
    },
    /// The devices would have room if all links were known.
    #[error(
        "{devices} devices have room for the model together, but the links between them are not \
         measured yet: wait some seconds, or bring them into one network"
    )]
    LinksUnknown {
        /// Devices that may hold layers or are the requester.
        devices: usize,
    },
    /// The budgets would do together, but whole layers do not fit into each.
    #[error(
        "{}: allow one more memory, pair another device or choose a shorter context{}",
        not_divided(*devices, *offers_bytes, *needs_bytes), left_out(*unavailable)
    )]
    WholeLayersDoNotFit {
        /// Devices that may hold layers or are the requester.
        devices: usize,
        /// Their budgets together.
        offers_bytes: u64,
        /// What the model and its KV caches need, with headroom.
        needs_bytes: u64,
        /// Other devices, which can hold no layer.
        unavailable: usize,
    },
}

impl PlacementError {
    /// In words, where paired devices of these names are away: to bring one back is what helps.
    pub fn where_away(&self, away: &[String]) -> String {
        let lack = match *self {
            Self::TooLarge {
                devices,
                offers_bytes,
                needs_bytes,
                ..
            } => too_large(devices, offers_bytes, needs_bytes),
            Self::WholeLayersDoNotFit {
                devices,
                offers_bytes,
                needs_bytes,
                ..
            } => not_divided(devices, offers_bytes, needs_bytes),
            Self::LayerCount { .. }
            | Self::NoProfile
            | Self::HeadUnmeasured
            | Self::EnergyUnknown
            | Self::EndsDoNotFit { .. }
            | Self::LayerUnmeasured { .. }
            | Self::LinksUnknown { .. } => return self.to_string(),
        };
        let (names, one) = match away {
            [] => return self.to_string(),
            [one] => (format!("{one} is away"), "it"),
            [names @ .., last] if names.len() < NAMED => {
                (format!("{} and {last} are away", names.join(", ")), "one")
            }
            [..] => (format!("{} paired devices are away", away.len()), "one"),
        };
        format!(
            "{lack}; {names}: run `potluck up` on {one} in this network, or choose a smaller model or a \
             shorter context"
        )
    }
}

/// Fewer devices than this and one are called by their names.
const NAMED: usize = 3;

fn too_large(devices: usize, offers_bytes: u64, needs_bytes: u64) -> String {
    let (offer, needed) = (devices_offer(devices), Needed(needs_bytes));
    format!(
        "{offer} {}, the model needs {needed}",
        Offered(offers_bytes)
    )
}

fn not_divided(devices: usize, offers_bytes: u64, needs_bytes: u64) -> String {
    let (offer, needed) = (devices_offer(devices), Needed(needs_bytes));
    format!(
        "{offer} {} and the model needs {needed}, but whole layers do not divide into what each has",
        Offered(offers_bytes)
    )
}

/// The model does not fit on the requester alone. Pairing more devices does not change that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AloneError {
    /// Its budget is too small.
    #[error(
        "this device offers {}, the model needs {}: allow it more memory or choose a smaller model or \
         a shorter context",
        Offered(*offers_bytes), Needed(*needs_bytes)
    )]
    TooLarge {
        /// Its budget.
        offers_bytes: u64,
        /// What the model and its KV caches need, with headroom.
        needs_bytes: u64,
    },
    /// It cannot compute with the formats of some layers.
    #[error(
        "this device has no measured speed for a format of the model: run `potluck bench --profile`"
    )]
    Unmeasured,
}

fn devices_offer(devices: usize) -> String {
    match devices {
        1 => "this device offers".to_owned(),
        _ => format!("{devices} devices offer"),
    }
}

fn left_out(unavailable: usize) -> String {
    match unavailable {
        0 => String::new(),
        1 => " (one more device cannot help)".to_owned(),
        _ => format!(" ({unavailable} more devices cannot help)"),
    }
}
