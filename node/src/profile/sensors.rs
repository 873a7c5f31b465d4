//! What a system tells of its device.

use std::time::Duration;

use potluck_protocol::profile::{Power, Thermal};

/// What a system tells of its device, now.
///
/// Implementations answer soon and never fail: what the system does not tell has a value that says so,
/// and nothing is guessed in its place.
pub trait SystemSensors: Send + Sync {
    /// The processor's name, to notice that a home came to another device.
    fn processor(&self) -> String;
    /// Bytes of memory that a program could take now without others being paged out; `None` if the
    /// system does not tell.
    fn available_memory(&self) -> Option<u64>;
    /// Where the device's power comes from.
    fn power(&self) -> Power;
    /// How hot the device is; `None` if the system does not tell.
    fn thermal(&self) -> Option<Thermal>;
    /// What this process has had of the processors until now; `None` if the system does not tell.
    fn processor_time(&self) -> Option<ProcessorTime>;
    /// How many threads of all programs ran or wanted to, on average over the last minute; `None` if
    /// the system does not tell.
    fn load(&self) -> Option<f64>;
}

/// What the threads of a process had of the processors, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessorTime {
    /// They ran.
    pub ran: Duration,
    /// They could have run, and others did.
    pub waited: Duration,
}

/// A system that tells nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnknownSystem;

impl SystemSensors for UnknownSystem {
    fn processor(&self) -> String {
        std::env::consts::ARCH.to_owned()
    }

    fn available_memory(&self) -> Option<u64> {
        None
    }

    fn power(&self) -> Power {
        Power::Unknown
    }

    fn thermal(&self) -> Option<Thermal> {
        None
    }

    fn processor_time(&self) -> Option<ProcessorTime> {
        None
    }

    fn load(&self) -> Option<f64> {
        None
    }
}
