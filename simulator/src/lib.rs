//! The simulator: the protocol core in virtual time, for two phones or ten thousand.
//!
//! It models devices, links and mobility around the same [`Machine`](potluck_protocol::machine::Machine)
//! that real nodes run, with scripted and random faults, and checks safety and liveness. A run is a function
//! of its [`Scenario`] and seed: [`run`] returns a [`Record`].
//!
//! Architectural invariants: there is no protocol logic here. A run depends only on scenario and seed, so
//! nothing here reads a clock, iterates in an undefined order, or takes decisions by floating-point
//! functions of the platform.
#![forbid(unsafe_code)]

pub mod baseline;
mod checks;
pub mod compare;
mod device;
pub mod explore;
mod host;
mod network;
pub mod profiles;
pub mod quantisation;
mod random;
#[cfg(feature = "real")]
pub mod real;
pub mod record;
pub mod report;
pub mod scenario;
pub mod sweep;
pub mod units;
mod world;

pub use record::Record;
pub use scenario::{Scenario, ScenarioError};

use profiles::ProfileError;

/// What a run does beside running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// A seed instead of the scenario's.
    pub seed: Option<u64>,
    /// The session, by its index, whose events are to be written to [`Record::trace`].
    pub trace: Option<usize>,
    /// Whether it ends when all questions were asked and answered and no fault is pending.
    pub until_answered: bool,
    /// How long it continues then, so that leftovers show.
    pub linger: units::Span,
}

impl Options {
    /// To the end of the last answer and the last fault.
    pub fn until_answered() -> Self {
        Self {
            until_answered: true,
            ..Self::default()
        }
    }
}

/// Why a scenario cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A device's profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Runs a scenario.
///
/// # Errors
/// [`RunError`] if it cannot begin. What goes wrong during the run is in the record.
pub fn run(scenario: &Scenario, options: &Options) -> Result<Record, RunError> {
    run_watched(scenario, options, &mut |_| true)
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Far {
    /// Virtual time since it began.
    pub now: units::Span,
    /// When it ends.
    pub end: units::Span,
    /// What has happened.
    pub events: u64,
}

/// Runs a scenario, and asks now and then whether to go on, which changes nothing of what happens. If
/// not, the record is of what there was until then.
///
/// # Errors
/// As [`run`].
pub fn run_watched(
    scenario: &Scenario,
    options: &Options,
    goes_on: &mut dyn FnMut(Far) -> bool,
) -> Result<Record, RunError> {
    world::run(scenario, options, None, goes_on)
}
