//! What all handlers share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::account::Account;
use super::answers::{Answers, Choices};
use super::connection::Connections;
use super::fault::Fault;
use super::guard::Guard;
use super::metrics::Counters;
use crate::device::random;
use crate::serve::{ModelCard, Request};

/// What all handlers share.
pub(super) struct Api {
    pub(super) answers: Box<dyn Answers>,
    pub(super) guard: Guard,
    pub(super) counters: Arc<Counters>,
    pub(super) connections: Arc<Connections>,
}

impl Api {
    /// Asks for the choices of one answer, which `request` makes from 0, of the model that a client
    /// names; an empty name is the default one.
    ///
    /// # Errors
    /// There is no such model, or a request is wrong or refused.
    pub(super) fn begin(
        &self,
        model: &str,
        choices: usize,
        account: &Arc<Account>,
        request: impl Fn(&ModelCard, usize) -> Result<Request, Fault>,
    ) -> Result<(ModelCard, Choices), Fault> {
        let card = self.answers.card(model)?;
        let requests: Result<Vec<_>, _> = (0..choices).map(|n| request(&card, n)).collect();
        let requests = requests?;
        account.asks(&card.name, choices);
        let begun = Choices::begin(&*self.answers, requests, Arc::clone(account))?;
        Ok((card, begun))
    }
}

/// A new id, which begins with this.
pub(super) fn new_id(prefix: &str) -> String {
    // A system without random numbers has no node either.
    let bytes: [u8; 12] = random().unwrap_or_default();
    format!("{prefix}{}", data_encoding::HEXLOWER.encode(&bytes))
}

/// A seed that nobody said; JSON's numbers are exact up to it in every language.
pub(super) fn new_seed() -> u64 {
    let bytes: [u8; 8] = random().unwrap_or_default();
    u64::from_le_bytes(bytes) >> 11
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    unix_seconds(SystemTime::now())
}

/// Seconds from 1970 to a time.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A frame of server-sent events with JSON.
pub(super) fn event(out: &mut Vec<u8>, data: &Value) {
    // JSON on one line has no line ends: no text can end a frame.
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// A comment, which clients skip.
pub(super) fn comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b": keep-alive\n\n");
}
