//! What this device knows of itself: what it measured, what its system tells, what its owner allows.
//!
//! - [`Measurements`]: how fast it computes. Some seconds of work, remembered in the home, and made
//!   again when what they were made with has changed or somebody asks.
//! - [`SystemSensors`]: free memory, battery and heat, read whenever a profile is made. Linux tells in
//!   `/sys` and `/proc` ([`LinuxSensors`]); applications on phones bring their own.
//! - [`DeviceProfile`] puts both and the owner's limits into the
//!   [`Profile`](potluck_protocol::profile::Profile) that peers see.

mod device;
mod linux;
mod measure;
mod measurements;
mod overhead;
mod report;
mod sensors;
#[cfg(test)]
mod tests;

pub use device::{DeviceProfile, OwnerSettings};
pub use linux::LinuxSensors;
pub use measure::MeasureError;
pub use measurements::{MeasuredWith, Measurements};
pub use report::ProfileReport;
pub use sensors::{SystemSensors, UnknownSystem, this_system};
