//! One conversation's tokens and KV cache.

use crate::ModelError;
use crate::kv_cache::KvCache;
use crate::tokenizer::TokenId;

/// The tokens a model has read and written so far, with their keys and values.
#[derive(Debug)]
pub struct Session {
    // INVARIANT: the cache holds the positions of `tokens`, in order.
    pub(super) tokens: Vec<TokenId>,
    pub(super) cache: KvCache,
}

impl Session {
    /// Tokens that a session needs for [`Session::repeat`].
    pub const REPEATABLE: usize = 64;

    /// Tokens in the cache.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// Number of tokens in the cache.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether no token has been read yet.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Positions reserved.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Positions left.
    pub fn free(&self) -> usize {
        self.capacity() - self.len()
    }

    /// How many of the first `len` tokens need not be read again by a session that goes on after
    /// them: all that there are of them, or none if a layer with a sliding window has overwritten what
    /// the next token sees. Of the last 512 tokens that were read, none is out of reach.
    pub fn reach(&self, len: usize) -> usize {
        let len = len.min(self.len());
        if self.cache.holds(len) { len } else { 0 }
    }

    /// Drops the tokens from `len` on. The tokens before stay cached if they are within
    /// [`reach`](Self::reach), otherwise they are dropped, too. Returns the number of tokens left.
    pub fn truncate(&mut self, len: usize) -> usize {
        if len < self.len() {
            self.tokens.truncate(self.reach(len));
        }
        self.len()
    }

    /// Creates a session with room for `capacity` positions that holds the first `len` tokens of
    /// this one (or all, if it has fewer), or none if they are out of [`reach`](Self::reach). Keys and
    /// values are copied; nothing is read again.
    ///
    /// # Errors
    /// There is not enough memory, or `capacity` is less than the number of tokens.
    pub fn copy_prefix(&self, len: usize, capacity: usize) -> Result<Self, ModelError> {
        let len = self.reach(len);
        if len > capacity {
            return Err(ModelError::ContextFull {
                needed: len,
                free: capacity,
                capacity,
            });
        }
        Ok(Self {
            tokens: self.tokens[..len].to_vec(),
            cache: self.cache.copy_prefix(len, capacity)?,
        })
    }

    /// Fills the session up to `len` tokens with copies of those it has, whose keys and values are
    /// copied, not computed: for measuring what is read behind them. It says nothing about the text.
    ///
    /// # Errors
    /// The session has not [`Session::REPEATABLE`] tokens, or not so much room.
    pub fn repeat(&mut self, len: usize) -> Result<(), ModelError> {
        let known = self.len();
        if known < Self::REPEATABLE || len > self.capacity() {
            return Err(ModelError::ContextFull {
                needed: len.max(Self::REPEATABLE),
                free: self.free(),
                capacity: self.capacity(),
            });
        }
        self.cache.repeat(known, len);
        let tokens = (known..len).map(|at| self.tokens[at % known]);
        let tokens: Vec<_> = tokens.collect();
        self.tokens.extend(tokens);
        Ok(())
    }

    /// Bytes reserved for keys and values.
    pub fn kv_bytes(&self) -> usize {
        self.cache.bytes()
    }
}
