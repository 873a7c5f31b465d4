//! What this device knows of itself: what it measured, what its system tells, what its owner allows.
//!
//! - [`Measurements`]: how fast it computes. Some seconds of work, remembered in the home, and made
//!   again when what they were made with has changed or somebody asks.
//! - [`SystemSensors`]: free memory, battery and heat, read whenever a profile is made. Linux tells in
//!   `/sys` and `/proc` ([`LinuxSensors`]), macOS through programs ([`MacSensors`]); applications on
//!   phones bring their own. What a system does not tell is not guessed: [`Caveats`] name it.
//! - [`DeviceProfile`] puts both and the owner's limits into the
//!   [`Profile`](potluck_protocol::profile::Profile) that peers see.

mod busy;
mod caveats;
mod cgroup;
mod device;
mod linux;
mod macos;
mod measure;
mod measurements;
mod overhead;
mod report;
mod sensors;
#[cfg(test)]
mod tests;

pub use caveats::Caveats;
pub use device::{DeviceProfile, OwnerSettings};
pub use linux::LinuxSensors;
pub use macos::MacSensors;
pub(crate) use macos::host_name_of_macos;
pub use measure::MeasureError;
pub use measurements::{MeasuredWith, Measurements};
pub use report::ProfileReport;
pub use sensors::{ProcessorTime, SystemSensors, UnknownSystem, this_system};
