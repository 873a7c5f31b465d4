//! What all handlers share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::account::Account;
use super::answers::{Answers, Choices};
use super::connection::Connections;
use super::fault::Fault;
use super::guard::{Guard, Visitor};
use super::metrics::Counters;
use crate::device::random;
use crate::guests::{ALL_MODELS, DEFAULT_MODEL};
use crate::serve::{Embedded, Input, ModelCard, Request, RequestError};

/// Bytes of a model's name.
const LONGEST_NAME: usize = 256;

/// What all handlers share.
pub(super) struct Api {
    pub(super) answers: Arc<dyn Answers>,
    pub(super) guard: Guard,
    pub(super) counters: Arc<Counters>,
    /// Those of this device, and those of guests.
    pub(super) connections: Vec<Arc<Connections>>,
}

impl Api {
    /// The model of this name; the default one if it is empty.
    ///
    /// # Errors
    /// There is none, or it is not for this visitor.
    pub(super) async fn card(&self, visitor: &Visitor, name: &str) -> Result<ModelCard, Fault> {
        if name.len() > LONGEST_NAME {
            // It would be repeated in the error.
            let error = RequestError::Invalid {
                field: Some("model"),
                message: format!("model must be a name of at most {LONGEST_NAME} bytes"),
            };
            return Err(error.into());
        }
        let (name, visitor) = (name.to_owned(), visitor.clone());
        let found = self.looked_up(move |answers| {
            let card = answers.card(&name);
            card.map(|card| (may_use(answers, &visitor, &card), card))
        });
        match found.await?? {
            (true, card) => Ok(card),
            (false, _) => Err(Fault::forbidden(
                "model_not_allowed",
                "guests may not use this model: GET /v1/models lists those that this guest may",
            )),
        }
    }

    /// All models that this visitor may use.
    pub(super) async fn models(&self, visitor: &Visitor) -> Result<Vec<ModelCard>, RequestError> {
        let visitor = visitor.clone();
        let found = self.looked_up(move |answers| {
            let mut all = answers.models();
            all.retain(|card| may_use(answers, &visitor, card));
            all
        });
        found.await
    }

    /// Texts as vectors.
    ///
    /// # Errors
    /// A text is wrong, or the request is refused.
    pub(super) async fn embed(
        &self,
        card: &ModelCard,
        inputs: Vec<Input>,
        account: &Account,
    ) -> Result<Embedded, Fault> {
        account.take_places(1)?;
        let caller = account.visitor().caller();
        Ok(self.answers.embed(&card.name, inputs, caller)?.await?)
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
        let caller = account.visitor().caller();
        let requests = (0..choices).map(|choice| {
            // The dialects do not know who asks.
            let caller = caller.clone();
            request(choice).map(|request| Request { caller, ..request })
        });
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        account.take_places(choices)?;
        account.asks(&card.name, choices);
        Ok(Choices::begin(
            &*self.answers,
            requests,
            Arc::clone(account),
        )?)
    }
}

/// Whether a visitor may use a model. Looks at files.
fn may_use(answers: &dyn Answers, visitor: &Visitor, card: &ModelCard) -> bool {
    let Some(guest) = visitor.guest() else {
        return true;
    };
    guest.models().iter().any(|allowed| match allowed.as_str() {
        ALL_MODELS => true,
        DEFAULT_MODEL => card.is_default,
        // It may have several names.
        name => answers
            .card(name)
            .is_ok_and(|meant| meant.path == card.path),
    })
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
