//! State and helpers that all handlers share.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::account::Account;
use super::answers::{Answers, Choices};
use super::certificate::Certificate;
use super::connection::Connections;
use super::fault::Fault;
use super::guard::{Guard, Visitor};
use super::metrics::Counters;
use crate::device::random;
use crate::guests::{ALL_MODELS, DEFAULT_MODEL};
use crate::serve::{Embedded, Input, ModelCard, Request, RequestError};

/// Longest model name, in bytes.
const LONGEST_NAME: usize = 256;

/// State that all handlers share.
pub(super) struct Api {
    pub(super) answers: Arc<dyn Answers>,
    pub(super) guard: Guard,
    /// The certificate of the shared port.
    pub(super) certificate: Option<Certificate>,
    pub(super) counters: Arc<Counters>,
    /// Connections of this device's clients, and those of guests.
    pub(super) connections: Vec<Arc<Connections>>,
}

impl Api {
    /// The model with this name; the default model if it is empty.
    ///
    /// # Errors
    /// There is no such model, or this visitor may not use it.
    pub(super) async fn card(&self, visitor: &Visitor, name: &str) -> Result<ModelCard, Fault> {
        if name.len() > LONGEST_NAME {
            // The error would repeat the name.
            let error = RequestError::Invalid {
                field: Some("model"),
                message: format!("model must be a name of at most {LONGEST_NAME} bytes"),
            };
            return Err(error.into());
        }
        let is_guest = visitor.guest().is_some();
        let (name, visitor) = (name.to_owned(), visitor.clone());
        let found = self.looked_up(move |answers| {
            let card = answers.card(&name);
            card.map(|card| may_use(answers, &visitor, &card).then_some(card))
        });
        match found.await? {
            Ok(Some(card)) => Ok(card),
            // A guest learns nothing of the owner's other models, not even which there are.
            Ok(None) => Err(Fault::not_for_this_guest()),
            Err(RequestError::UnknownModel { .. } | RequestError::NotFetched { .. })
                if is_guest =>
            {
                Err(Fault::not_for_this_guest())
            }
            Err(error) => Err(error.into()),
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

    /// Embeds texts as vectors.
    ///
    /// # Errors
    /// A text is invalid, or the request is refused.
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

    /// Runs a lookup that reads files on another thread, so that other answers are not delayed.
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

    /// Submits the choices of one answer; `request` builds each from its index, starting at 0.
    ///
    /// # Errors
    /// A request is invalid or refused.
    pub(super) fn begin(
        &self,
        card: &ModelCard,
        choices: usize,
        account: &Arc<Account>,
        request: impl Fn(usize) -> Result<Request, Fault>,
    ) -> Result<Choices, Fault> {
        // First, so that a guest cannot have more requests written than it may have answers.
        account.take_places(choices)?;
        let caller = account.visitor().caller();
        let requests = (0..choices).map(|choice| {
            // The dialects build requests without knowing the caller.
            let caller = caller.clone();
            request(choice).map(|request| Request { caller, ..request })
        });
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        account.asks(&card.name, choices);
        Ok(Choices::begin(
            &*self.answers,
            requests,
            Arc::clone(account),
        )?)
    }
}

/// Whether a visitor may use a model. Reads files.
fn may_use(answers: &dyn Answers, visitor: &Visitor, card: &ModelCard) -> bool {
    let Some(guest) = visitor.guest() else {
        return true;
    };
    guest.models().iter().any(|allowed| match allowed.as_str() {
        ALL_MODELS => true,
        DEFAULT_MODEL => card.is_default,
        // A model may have several names.
        name => answers
            .card(name)
            .is_ok_and(|meant| meant.path == card.path),
    })
}

/// A new random id with this prefix.
pub(super) fn new_id(prefix: &str) -> String {
    // A system without random numbers could not have created a node either.
    let bytes: [u8; 12] = random().unwrap_or_default();
    format!("{prefix}{}", data_encoding::HEXLOWER.encode(&bytes))
}

/// A random seed for requests without one. JSON numbers are exact in this range in every language.
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

/// Writes a server-sent event with JSON data.
pub(super) fn event(out: &mut Vec<u8>, data: &Value) {
    // Compact JSON contains no line breaks, so no text can end the event.
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Writes a comment, which clients skip.
pub(super) fn comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b": keep-alive\n\n");
}
