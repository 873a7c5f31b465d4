//! What a system tells of its device.

use potluck_protocol::profile::{Power, Thermal};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::LinuxSensors;

/// What a system tells of its device, now.
///
/// Implementations answer within milliseconds and never fail: what the system does not tell has a
/// value that says so.
pub trait SystemSensors: Send + Sync {
    /// The processor's name, to notice that a home came to another device.
    fn processor(&self) -> String;
    /// Bytes of memory that a program could take now without others being paged out; `None` if the
    /// system does not tell.
    fn available_memory(&self) -> Option<u64>;
    /// Where the device's power comes from.
    fn power(&self) -> Power;
    /// How hot the device is; [`Thermal::Nominal`] if the system does not tell.
    fn thermal(&self) -> Thermal;
}

/// The sensors of the system that this program runs on.
pub fn this_system() -> Box<dyn SystemSensors> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Box::new(LinuxSensors::new());
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Box::new(UnknownSystem);
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

    fn thermal(&self) -> Thermal {
        Thermal::Nominal
    }
}
