//! Reading tokens, and going back to earlier ones.

use std::time::Instant;

use potluck_model::Drafts;
use potluck_protocol::session::RollBack;

use super::{Together, TogetherError};
use crate::engine::{SamplerSettings, Sequence, TokenId};

impl Together<'_> {
    /// How many of the first `len` tokens the devices need not read again if the sequence goes on
    /// after them: all, or none if a layer with a sliding window may have overwritten what is seen.
    pub(crate) fn reach(&self, len: usize) -> usize {
        let all = self.feed.tokens().len();
        if len < all { self.reach.of(len) } else { all }
    }

    /// Drops the tokens that have not passed through all layers. Stages may be so far ahead of them
    /// that they cannot go back: then all are dropped.
    fn give_up(&mut self) -> Option<RollBack> {
        let read = self.feed.read();
        if self.reach.of(read) == read {
            return self.feed.give_up();
        }
        if let Some(drafter) = &mut self.drafter {
            drafter.truncate(0);
        }
        self.reach.restart();
        self.feed.truncate(0)
    }
}

impl Sequence for Together<'_> {
    type Error = TogetherError;

    fn tokens(&self) -> &[TokenId] {
        self.feed.tokens()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn truncate(&mut self, len: usize) -> usize {
        let left = self.reach(len);
        if let Some(drafter) = self
            .drafter
            .as_mut()
            .filter(|_| left < self.feed.tokens().len())
        {
            drafter.truncate(left);
        }
        let back = self.feed.truncate(left);
        if left == 0 {
            self.reach.restart();
        }
        // If this fails, the next read begins the conversation anew.
        let _ = self.roll_back(back);
        left
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, TogetherError> {
        self.check(tokens)?;
        self.lost = 0;
        let guessed = self.feed.drafts().len().min(tokens.len());
        let back = self.feed.read_on(tokens);
        if back.is_none() {
            // All guesses were correct.
            self.drafts.right += guessed as u64;
        }
        self.roll_back(back)?;
        // A prompt keeps the stages busy without guesses.
        let Some(hidden) = self.pass(tokens.len() == 1, progress)? else {
            // Do not wait for what is in flight.
            let back = self.give_up();
            self.roll_back(back)?;
            return Ok(None);
        };
        let position = self.feed.tokens().len().saturating_sub(1);
        if let Some(drafter) = self.drafter.as_mut().filter(|drafter| drafter.listens()) {
            self.ends
                .normed(&hidden, |state| drafter.hear(position, state))?;
        }
        let (times, begin) = (&self.times, Instant::now());
        let value = self.ends.logits(&hidden, |logits| {
            times.head(position, begin.elapsed());
            read(logits)
        })?;
        Ok(Some(value))
    }

    fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        if let Some(drafter) = &mut self.drafter {
            drafter.chosen_with(sampling, from);
        }
    }

    fn drafts(&self) -> Drafts {
        self.drafts
    }
}
