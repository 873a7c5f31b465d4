//! Limits of guests.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::unix;

/// In [`Limits::models`]: the model for requests that name none.
pub const DEFAULT_MODEL: &str = "default";
/// In [`Limits::models`]: all models of this device.
pub const ALL_MODELS: &str = "all";

/// What a guest may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tokens of prompts and answers per UTC day. Prompt tokens taken from a cached prefix do not
    /// count.
    pub tokens_a_day: u64,
    /// Requests for answers within any minute.
    pub requests_a_minute: u32,
    /// Concurrent answers.
    pub at_once: u32,
    /// Model names, [`DEFAULT_MODEL`] or [`ALL_MODELS`].
    pub models: Vec<String>,
    /// When the token expires, in seconds since 1970; `None` for never.
    pub until: Option<u64>,
}

impl Limits {
    /// Days until a token expires by default.
    pub const USUAL_DAYS: u64 = 30;

    /// The default limits of a guest added at `now`.
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

    /// Whether the token has expired.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= unix(now))
    }
}
