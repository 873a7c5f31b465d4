//! How corrections of measured rates are kept.

use std::collections::BTreeMap;

use potluck_model::TensorType;
use potluck_protocol::correction::{Correction, Found};
use potluck_protocol::profile::RateKind;
use serde::{Deserialize, Serialize};

use crate::shape::quantisation;

/// A [`Correction`] as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Corrections {
    /// Steps that it rests on.
    pub steps: u64,
    /// Of rates that have no factor of their own.
    common: Option<Kept>,
    /// By the name of the rate: a format's, `KV cache` or `prefill`.
    own: BTreeMap<String, Kept>,
}

/// A factor as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Time measured over time claimed, in millionths.
    millionths: u64,
    medians: u32,
}

const KV_READ: &str = "KV cache";
const PREFILL: &str = "prefill";

impl Corrections {
    /// Whether nothing is corrected.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As the protocol computes with it; what makes no sense, as of a damaged file, corrects nothing.
    pub(super) fn to_correction(&self) -> Correction {
        let own = self.own.iter().filter_map(|(name, kept)| {
            let kind = match name.as_str() {
                KV_READ => RateKind::KvRead,
                PREFILL => RateKind::Prefill,
                name => RateKind::Decode(quantisation(TensorType::from_name(name)?)),
            };
            Some((kind, Found::from(*kept)))
        });
        let common = self.common.map(Found::from).unwrap_or_default();
        Correction::from_parts(common, own.collect(), self.steps).unwrap_or_default()
    }
}

impl From<&Correction> for Corrections {
    fn from(correction: &Correction) -> Self {
        let formats = TensorType::ALL;
        let own = correction.own().iter().filter_map(|(kind, found)| {
            let name = match kind {
                RateKind::KvRead => KV_READ,
                RateKind::Prefill => PREFILL,
                RateKind::Decode(number) => {
                    let format = formats.iter().find(|t| quantisation(**t) == *number)?;
                    format.name()
                }
            };
            Some((name.to_owned(), Kept::from(*found)))
        });
        let common = correction.common();
        Self {
            steps: correction.steps(),
            common: (common != Found::default()).then(|| common.into()),
            own: own.collect(),
        }
    }
}

impl From<Kept> for Found {
    fn from(kept: Kept) -> Self {
        Self {
            factor: kept.millionths as f64 / 1e6,
            medians: kept.medians,
        }
    }
}

impl From<Found> for Kept {
    fn from(found: Found) -> Self {
        Self {
            millionths: (found.factor * 1e6).round() as u64,
            medians: found.medians,
        }
    }
}
