//! What a guest may use.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::unix;

/// In [`Limits::models`]: the model that requests get which name none.
pub const DEFAULT_MODEL: &str = "default";
/// In [`Limits::models`]: every model of this device.
pub const ALL_MODELS: &str = "all";

/// What a guest may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tokens of prompts and answers from one midnight of UTC to the next. Those of a prompt that were
    /// kept from the guest's earlier requests do not count.
    pub tokens_a_day: u64,
    /// Requests for answers in any minute.
    pub requests_a_minute: u32,
    /// Answers at the same time.
    pub at_once: u32,
    /// Names of models, [`DEFAULT_MODEL`] or [`ALL_MODELS`].
    pub models: Vec<String>,
    /// When its token ends, in seconds since 1970; never if `None`.
    pub until: Option<u64>,
}

impl Limits {
    /// Days that a guest's token is valid unless its owner says otherwise.
    pub const USUAL_DAYS: u64 = 30;

    /// Those of a guest who comes now, of whom nothing else is said.
    pub fn usual(now: SystemTime) -> Self {
        let days = Duration::from_secs(Self::USUAL_DAYS * 24 * 60 * 60);
        Self {
            tokens_a_day: 100_000,
            requests_a_minute: 30,
            at_once: 2,
            models: vec![DEFAULT_MODEL.to_owned()],
            until: Some(unix(now + days)),
        }
    }

    /// Whether the time is over.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= unix(now))
    }
}
