//! Masks of grammars.

use std::sync::Arc;

use llguidance::Matcher;
use llguidance::toktrie::{SimpleVob, TokEnv};

use super::guard::{Going, Guard};
use crate::sampler::{Mask, MaskError};
use crate::tokenizer::TokenId;

/// The tokens that a grammar allows after the tokens so far.
pub(super) struct GrammarMask {
    matcher: Matcher,
    guard: Option<Guarded>,
}

/// Limits the unbounded parts of JSON.
pub(super) struct Guarded {
    pub(super) guard: Guard,
    pub(super) going: Arc<Going>,
    pub(super) environment: TokEnv,
}

impl GrammarMask {
    pub(super) fn new(matcher: Matcher, guard: Option<Guarded>) -> Self {
        Self { matcher, guard }
    }
}

impl Mask for GrammarMask {
    fn apply(&mut self, logits: &mut [f32]) -> Result<(), MaskError> {
        let mut allowed = self.matcher.compute_mask_or_eos().map_err(failed)?;
        if let Some(Guarded { guard, going, .. }) = &self.guard {
            guard.bound(&mut allowed, going);
        }
        forbid(&allowed, logits);
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<(), MaskError> {
        if let Some(guarded) = &mut self.guard {
            let trie = guarded.environment.tok_trie();
            guarded.guard.push(trie.token(token));
        }
        self.matcher.consume_token(token).map_err(failed)
    }

    fn is_finished(&self) -> bool {
        self.matcher.is_stopped()
    }
}

/// Sets the logits of forbidden tokens, and of rows beyond the vocabulary, to −∞.
fn forbid(allowed: &SimpleVob, logits: &mut [f32]) {
    const BITS: usize = u32::BITS as usize;
    let (within, beyond) = logits.split_at_mut(allowed.len().min(logits.len()));
    for (&word, logits) in allowed.as_slice().iter().zip(within.chunks_mut(BITS)) {
        match word {
            0 => logits.fill(f32::NEG_INFINITY),
            u32::MAX => {}
            _ => {
                for (bit, logit) in logits.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
    beyond.fill(f32::NEG_INFINITY);
}

fn failed(error: impl std::fmt::Display) -> MaskError {
    MaskError {
        reason: super::first_line(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_is_forbidden_and_all_beyond_the_vocabulary() {
        for size in [0_usize, 1, 31, 32, 33, 64, 100] {
            for rows in [size, size + 1, size + 64, size / 2] {
                let mut allowed = SimpleVob::alloc(size);
                let is_allowed = |id: usize| id.is_multiple_of(3) || (32..64).contains(&id);
                for id in (0..size).filter(|&id| is_allowed(id)) {
                    allowed.allow_token(id as TokenId);
                }
                let mut logits = vec![1.0; rows];
                forbid(&allowed, &mut logits);
                for (id, logit) in logits.into_iter().enumerate() {
                    let right = if id < size && is_allowed(id) {
                        1.0
                    } else {
                        f32::NEG_INFINITY
                    };
                    assert_eq!(logit, right, "token {id} of {size}, {rows} rows");
                }
            }
        }
    }
}
