//! Amounts of bytes as text.

use std::fmt;

/// Bytes that are offered, rounded down.
pub(super) struct Offered(pub(super) u64);

/// Bytes that are needed, rounded up, so that they never read as what is offered and too little.
pub(super) struct Needed(pub(super) u64);

/// Thousandths as percent.
pub(super) struct Percent(pub(super) u64);

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, unit) = unit_of(self.0);
        write!(f, "{} {unit}", self.0 / size)
    }
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, unit) = unit_of(self.0);
        write!(f, "{} {unit}", self.0.div_ceil(size))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole @ 0..10, tenth) if tenth != 0 => write!(f, "{whole}.{tenth} %"),
            (whole, _) => write!(f, "{whole} %"),
        }
    }
}

/// MiB from one on, as budgets are given in them: two amounts compare at a glance.
fn unit_of(bytes: u64) -> (u64, &'static str) {
    if bytes < 1 << 20 {
        (1 << 10, "KiB")
    } else {
        (1 << 20, "MiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_round_down_needs_up_and_percents_keep_small_tenths() {
        assert_eq!(Offered((110 << 20) + 5).to_string(), "110 MiB");
        assert_eq!(Needed((110 << 20) + 5).to_string(), "111 MiB");
        assert_eq!(Needed(1).to_string(), "1 KiB");
        assert_eq!(Offered(0).to_string(), "0 KiB");
        let percents = [0, 4, 10, 99, 123, 1_000].map(|value| Percent(value).to_string());
        assert_eq!(percents, ["0 %", "0.4 %", "1 %", "9.9 %", "12 %", "100 %"]);
    }
}
