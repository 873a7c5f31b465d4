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
use crate::serve::{ModelCard, Request, RequestError};

/// Bytes of a model's name.
const LONGEST_NAME: usize = 256;

/// What all handlers share.
pub(super) struct Api {
    pub(super) answers: Arc<dyn Answers>,
    pub(super) guard: Guard,
    pub(super) counters: Arc<Counters>,
    pub(super) connections: Arc<Connections>,
}

impl Api {
    /// The model of this name; the default one if it is empty.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn card(&self, name: &str) -> Result<ModelCard, RequestError> {
        if name.len() > LONGEST_NAME {
            // It would be repeated in the error.
            return Err(RequestError::Invalid {
                field: Some("model"),
                message: format!("model must be a name of at most {LONGEST_NAME} bytes"),
            });
        }
        let name = name.to_owned();
        self.looked_up(move |answers| answers.card(&name)).await?
    }

    /// All models.
    pub(super) async fn models(&self) -> Result<Vec<ModelCard>, RequestError> {
        self.looked_up(|answers| answers.models()).await
    }

    /// Does what looks at files on another thread: answers to others go on meanwhile.
    async fn looked_up<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn Answers) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let answers = Arc::clone(&self.answers);
        let found = tokio::task::spawn_blocking(move || look(&*answers)).await;
        found.map_err(|_| RequestError::Failed {
            message: "its models cannot be looked at".to_owned(),
        })
    }

    /// Asks a model for the choices of one answer, which `request` makes, from 0.
    ///
    /// # Errors
    /// A request is wrong or refused.
    pub(super) fn begin(
        &self,
        card: &ModelCard,
        choices: usize,
        account: &Arc<Account>,
        request: impl Fn(usize) -> Result<Request, Fault>,
    ) -> Result<Choices, Fault> {
        let requests: Result<Vec<_>, _> = (0..choices).map(request).collect();
        let requests = requests?;
        account.asks(&card.name, choices);
        Ok(Choices::begin(
            &*self.answers,
            requests,
            Arc::clone(account),
        )?)
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
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
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
