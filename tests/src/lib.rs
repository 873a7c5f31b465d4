//! What the end-to-end tests share: the real binary, real models, devices to run them on, circles of
//! paired ones, and an emulated Wi-Fi between those.
//!
//! The tests themselves are in `tests/tests/`, one file a subject.

#[cfg(unix)]
pub mod attacker;
mod binary;
#[cfg(unix)]
pub mod circle;
mod device;
#[cfg(unix)]
mod fake_python;
#[cfg(target_os = "linux")]
pub mod fidelity;
#[cfg(target_os = "linux")]
pub mod mdns;
mod model_file;
mod pinned;
mod prompts;
#[cfg(unix)]
mod served;
#[cfg(unix)]
mod served_circle;
#[cfg(unix)]
pub mod signals;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
pub mod wifi;

pub use binary::{potluck_binary, workspace};
pub use device::{Device, Output, model_path, run};
#[cfg(unix)]
pub use fake_python::{FakePython, Wheel};
pub use model_file::ModelFile;
pub use pinned::Pinned;
pub use prompts::PROMPTS;
#[cfg(unix)]
pub use served::{Answer, Client, Connection, Served, content_of};
#[cfg(unix)]
pub use served_circle::ServedCircle;
#[cfg(target_os = "linux")]
pub use terminal::Terminal;

/// An address that nothing listens on: a model hub that cannot be reached, at once.
pub const NO_HUB: &str = "http://127.0.0.1:9";
