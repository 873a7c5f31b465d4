//! Devices that join and leave by themselves.

use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::units::Span;

/// How long devices stay in reach and away.
///
/// Both are heavy-tailed, as contacts of people are: a device that has stayed for `t` stays for another
/// `Δ` with probability `t / (t + Δ)`. From `least` on that is the Pareto distribution of
/// exponent 1, `P(longer than t) = least / t`, cut at `most`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mobility {
    /// The devices that move: a circle, a device, or `each`.
    pub who: String,
    /// The shortest stay.
    pub stays_least: Span,
    /// The longest.
    pub stays_most: Span,
    /// The shortest absence.
    pub away_least: Span,
    /// The longest.
    pub away_most: Span,
    /// Whether requesters stay.
    pub requesters_stay: bool,
}

impl Default for Mobility {
    fn default() -> Self {
        Self {
            who: "each".to_owned(),
            stays_least: Span::seconds(60),
            stays_most: Span::seconds(3_600),
            away_least: Span::seconds(30),
            away_most: Span::seconds(1_800),
            requesters_stay: false,
        }
    }
}

impl Mobility {
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let backwards = self.stays_least > self.stays_most || self.away_least > self.away_most;
        if backwards || self.stays_least.0 == 0 || self.away_least.0 == 0 {
            let words = "times are above 0, and the least is not more than the most".to_owned();
            return Err(ScenarioError::senseless(
                "mobility",
                0,
                "stays_least",
                words,
            ));
        }
        Ok(())
    }
}
