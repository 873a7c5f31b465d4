//! Energy and airtime are conserved: the totals equal the sum of what was counted.

use super::Finding;
use crate::record::{DeviceRecord, NetworkRecord};

const NAME: &str = "accounts";
/// Sums of many terms may differ by this share.
const ROUNDING: f64 = 1e-6;

/// Counted at the end of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Accounts<'a> {
    /// A device, and its joules but for those of computing and sending.
    Device {
        index: u32,
        record: &'a DeviceRecord,
        idle_joules: f64,
        /// The most that it can have taken idle.
        most_idle_joules: f64,
        most_compute_watts: f64,
    },
    /// A network whose air is shared, and how long it was there.
    Network {
        record: &'a NetworkRecord,
        elapsed_us: u64,
        shared: bool,
    },
}

impl Accounts<'_> {
    pub(super) fn check(&self) -> Option<Finding> {
        match self {
            Self::Device {
                index,
                record,
                idle_joules,
                most_idle_joules,
                most_compute_watts,
            } => {
                let parts = idle_joules + record.compute_joules + record.radio_joules;
                let most = most_compute_watts * record.busy_us as f64 / 1e6;
                let slack = 1.0 + ROUNDING;
                let wrong = if (parts - record.joules).abs() > ROUNDING * (1.0 + record.joules) {
                    format!("it took {} J, and its parts {parts}", record.joules)
                } else if *idle_joules > most_idle_joules * slack {
                    format!("idle, it took {idle_joules} J of {most_idle_joules} at most")
                } else if record.compute_joules > most * slack {
                    let took = record.compute_joules;
                    format!("computing, it took {took} J of {most} at most")
                } else {
                    return None;
                };
                Some(Finding::of_device(NAME, *index, wrong))
            }
            Self::Network {
                record,
                elapsed_us,
                shared,
            } => {
                let (airtime, elapsed) = (record.airtime_us, *elapsed_us);
                let parts: u64 = record.series.iter().sum();
                // The last burst may end after the run.
                let last = 1_000_000;
                let wrong = if *shared && airtime > elapsed + last {
                    format!(
                        "{} was on the air for {airtime} µs of {elapsed}",
                        record.name
                    )
                } else if parts != airtime || record.data_airtime_us > airtime {
                    format!("{} took {airtime} µs, and its parts {parts}", record.name)
                } else {
                    return None;
                };
                Some(Finding {
                    checker: NAME,
                    words: wrong,
                    device: None,
                    session: None,
                })
            }
        }
    }
}
