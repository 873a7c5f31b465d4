//! Two devices whose clocks do not agree.
//!
//! Pairing does not fail because of it. The only time in the protocol is an invitation's end, and only
//! the device that created it checks that, by the same clock. Owners are told because such a clock is
//! wrong on one of the devices, and other programs there will fail.

use std::fmt;
use std::time::Duration;

/// Clocks that differ by no more agree: a message may be on its way for up to
/// [`ATTEMPT_TIMEOUT`](super::ATTEMPT_TIMEOUT), and clocks that people set are a little wrong. No
/// invitation is open for less.
pub const TOLERATED_SKEW: Duration = Duration::from_secs(60);

/// How much the other device's clock is ahead of this one's; more than [`TOLERATED_SKEW`] either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// In seconds; negative if the other device's clock is behind.
    pub ahead_s: i64,
}

impl ClockSkew {
    /// How two clocks differ, in seconds since 1970 (UTC), if both are known and do not agree.
    pub(super) fn between(mine: Option<u64>, theirs: Option<u64>) -> Option<Self> {
        let (mine, theirs) = mine.zip(theirs)?;
        if mine.abs_diff(theirs) <= TOLERATED_SKEW.as_secs() {
            return None;
        }
        let farthest = if theirs > mine { i64::MAX } else { i64::MIN };
        let ahead_s = i64::try_from(i128::from(theirs) - i128::from(mine)).unwrap_or(farthest);
        Some(Self { ahead_s })
    }
}

/// As in "its clock is …": `70 minutes behind this device's`.
impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("year", 365 * 86_400),
            ("day", 86_400),
            ("hour", 3_600),
            ("minute", 60),
        ];
        let seconds = self.ahead_s.unsigned_abs();
        // At least two of a unit, so that rounding hides little.
        let unit = UNITS.into_iter().find(|(_, unit)| seconds >= 2 * unit);
        let (name, unit) = unit.unwrap_or(("minute", 60));
        let count = (seconds + unit / 2) / unit;
        let plural = if count == 1 { "" } else { "s" };
        let way = if self.ahead_s < 0 {
            "behind"
        } else {
            "ahead of"
        };
        write!(f, "{count} {name}{plural} {way} this device's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_within_what_messages_and_people_take() {
        let between = |mine, theirs| ClockSkew::between(Some(mine), Some(theirs));
        assert_eq!(between(1_000, 1_060), None);
        assert_eq!(between(1_060, 1_000), None);
        assert_eq!(between(1_000, 1_061), Some(ClockSkew { ahead_s: 61 }));
        assert_eq!(between(1_061, 1_000), Some(ClockSkew { ahead_s: -61 }));
        assert_eq!(ClockSkew::between(None, Some(0)), None);
        assert_eq!(ClockSkew::between(Some(0), None), None);
        let far = between(0, u64::MAX).map(|skew| skew.ahead_s);
        assert_eq!(far, Some(i64::MAX));
        let far = between(u64::MAX, 0).map(|skew| skew.ahead_s);
        assert_eq!(far, Some(i64::MIN));
    }

    #[test]
    fn how_much_they_differ_is_said_in_words() {
        let said = |ahead_s| ClockSkew { ahead_s }.to_string();
        assert_eq!(said(61), "1 minute ahead of this device's");
        assert_eq!(said(-4_200), "70 minutes behind this device's");
        assert_eq!(said(3 * 3_600 + 60), "3 hours ahead of this device's");
        assert_eq!(said(-3 * 86_400), "3 days behind this device's");
        assert_eq!(said(-1_800_000_000), "57 years behind this device's");
        assert!(said(i64::MIN).ends_with("years behind this device's"));
    }
}
