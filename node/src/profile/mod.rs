//! What this device knows of itself: what it measured, what its system tells, what its owner allows.
//!
//! - [`Measurements`]: how fast it computes. Some seconds of work, remembered in the home, and made
//!   again when what they were made with has changed (threads, instruction set, program version,
//!   battery or mains) or somebody asks. Steps that are really computed correct them, as
//!   [`correction`](potluck_protocol::correction) says; a peer's rates only that peer corrects, as no
//!   frame tells how long a stage computed.
//! - [`SystemSensors`]: free memory, battery and heat, read whenever a profile is made. Linux tells in
//!   `/sys` and `/proc` ([`LinuxSensors`]), macOS through programs ([`MacSensors`]); applications on
//!   phones bring their own. What a system does not tell is not guessed: [`Caveats`] name it.
//! - [`DeviceProfile`] puts both and the owner's limits into the
//!   [`Profile`](potluck_protocol::profile::Profile) that peers see.

mod busy;
mod caveats;
mod cgroup;
mod corrections;
mod device;
mod error;
mod layers;
mod linux;
mod macos;
mod measure;
mod measurements;
mod overhead;
mod remembered;
mod report;
mod sensors;
mod system;
#[cfg(test)]
mod tests;

pub use caveats::Caveats;
pub use corrections::Corrections;
pub use device::{DeviceProfile, OwnerSettings};
pub use error::MeasureError;
pub use linux::LinuxSensors;
pub use macos::MacSensors;
pub(crate) use macos::host_name_of_macos;
pub use measurements::{MeasuredWith, Measurements};
pub use report::ProfileReport;
pub use sensors::{ProcessorTime, SystemSensors, UnknownSystem};
pub use system::this_system;
