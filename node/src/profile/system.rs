//! The sensors that this program has.

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::LinuxSensors;
#[cfg(target_os = "macos")]
use super::MacSensors;
use super::SystemSensors;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
use super::UnknownSystem;

/// The sensors of the system that this program runs on.
pub fn this_system() -> Box<dyn SystemSensors> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Box::new(LinuxSensors::new());
    #[cfg(target_os = "macos")]
    return Box::new(MacSensors::new());
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
    return Box::new(UnknownSystem);
}
