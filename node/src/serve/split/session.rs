//! A conversation over the circle's devices, which can answer several requests in sequence.

use std::error::Error;

use super::Split;
use super::news::{News, Sizes};
use crate::Cancel;
use crate::answer::Drafts;
use crate::engine::{Sequence as _, TokenId};
use crate::local::{ClientError, Pipeline};
use crate::serve::RequestError;
use crate::together::{Together, TogetherError};

/// Session capacities are rounded up to a multiple of this many positions.
const ROOM: usize = 256;

/// A conversation and its observed state.
pub(super) struct Session<'e> {
    pub(super) sequence: Together<'e>,
    pub(super) news: News,
    /// Drafts already counted.
    counted: Drafts,
}

impl<'e> Split<'e> {
    /// Begins a conversation with room for `capacity` positions.
    pub(super) fn open(&self, capacity: usize) -> Result<Session<'e>, RequestError> {
        let cancel = Cancel::new();
        let sizes = Sizes::new(self.ends, self.engine.config(), capacity);
        let news = News::new(&cancel, sizes);
        let (circle, path, hears) = (self.circle, self.path.clone(), news.clone());
        let connect = move || -> Result<Pipeline, Box<dyn Error + Send + Sync>> {
            Ok(circle.begin(&path, capacity)?)
        };
        let hear = Box::new(move |notice: crate::together::Notice<'_>| hears.hear(notice));
        let sequence = Together::begin(self.ends, Box::new(connect), capacity, &cancel, hear);
        let sequence = sequence.map_err(|error| refused(&error))?;
        Ok(Session {
            sequence: match circle.drafts() {
                true => sequence.with_drafts(),
                false => sequence,
            },
            news,
            counted: Drafts::default(),
        })
    }

    /// Capacity for a request of at most `most` positions plus the next turns of its conversation.
    pub(super) fn roomy(&self, most: usize) -> usize {
        let roomy = most.saturating_mul(2).next_multiple_of(ROOM);
        roomy.min(self.engine.context()).max(most)
    }
}

impl Session<'_> {
    pub(super) fn tokens(&self) -> &[TokenId] {
        self.sequence.tokens()
    }

    /// Drafts since the last call.
    pub(super) fn take_drafts(&mut self) -> Drafts {
        let drafts = Drafts::from(self.sequence.drafts());
        drafts.since(std::mem::replace(&mut self.counted, drafts))
    }
}

/// The request error for a failure of the circle.
pub(super) fn refused(error: &TogetherError) -> RequestError {
    let message = crate::words::of(error);
    let lost = |error: &ClientError| error.is_lost();
    match error {
        TogetherError::Node(error) if !lost(error) => RequestError::NoDevices { message },
        TogetherError::Connect(error) => match error.downcast_ref::<ClientError>() {
            Some(error) if !lost(error) => RequestError::NoDevices { message },
            _ => RequestError::Failed { message },
        },
        TogetherError::Node(_) | TogetherError::Model(_) => RequestError::Failed { message },
    }
}
