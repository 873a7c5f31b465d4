//! Embeddings while the circle's devices compute answers.
//!
//! Devices return the hidden states of last rows only, so this device computes embeddings alone. It
//! maps the whole model for the duration of the request. Requests take turns, so that the memory is
//! needed once. One that lacks memory ends idle sessions, then waits while answers run that may free
//! some, and fails otherwise.

use std::sync::{MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::{MOMENT, Split};
use crate::engine::{ModelError, PREFILL_CHUNK, TokenId};
use crate::serve::RequestError;
use crate::serve::client::Client;
use crate::serve::pooling::Pooling;
use crate::serve::prefix::kv_bytes;
use crate::stages::{NoRoom, Reservation};

/// How long the memory of a session that was ended may take to become free.
const FREEING: Duration = Duration::from_secs(1);

/// Why texts are not embedded.
enum End {
    /// The client has disconnected.
    Cancelled,
    Failed(RequestError),
}

impl Split<'_> {
    /// Embeds texts on this device.
    pub(super) fn embed(&self, client: Client, texts: Vec<Vec<TokenId>>) {
        let Some(mut pooling) = Pooling::new(client, texts) else {
            return;
        };
        let memory = self.await_turn(&pooling).and_then(|turn| {
            let weights = self.await_weights(&pooling)?;
            Ok((turn, weights))
        });
        let _memory = match memory {
            Ok(memory) => memory,
            Err(End::Cancelled) => return pooling.cancelled(),
            Err(End::Failed(error)) => return pooling.fail(error),
        };
        loop {
            match self.why_not(&pooling) {
                Some(End::Cancelled) => return pooling.cancelled(),
                Some(End::Failed(error)) => return pooling.fail(error),
                None => {}
            }
            if let Err(error) = self.read_some(&mut pooling) {
                return pooling.fail(error);
            }
            match pooling.after_step() {
                Some(next) => pooling = next,
                None => return,
            }
        }
    }

    /// Why the request has to stop, if it has to.
    fn why_not(&self, pooling: &Pooling) -> Option<End> {
        if pooling.is_gone() {
            return Some(End::Cancelled);
        }
        (self.is_stopping()).then_some(End::Failed(RequestError::Stopping))
    }

    /// Waits until no other request embeds texts.
    fn await_turn(&self, pooling: &Pooling) -> Result<MutexGuard<'_, ()>, End> {
        loop {
            match self.embedding.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
            self.pause(pooling)?;
        }
    }

    /// Reserves memory for the weights of all layers.
    fn await_weights(&self, pooling: &Pooling) -> Result<Reservation, End> {
        let layers = self.ends.shape().layers.iter();
        let bytes = layers.map(|layer| layer.memory_bytes(0)).sum();
        let mut freed: Option<Instant> = None;
        loop {
            let no_room = match self.shared.settings.memory.reserve(bytes) {
                Ok(weights) => return Ok(weights),
                Err(no_room) => no_room,
            };
            if self.kept().free_one() {
                freed = Some(Instant::now());
            }
            let is_freeing = freed.is_some_and(|freed| freed.elapsed() < FREEING);
            let others = || self.running().values().any(|one| one.news.is_some());
            if !is_freeing && !others() {
                return Err(End::Failed(no_memory(&no_room)));
            }
            self.pause(pooling)?;
        }
    }

    fn pause(&self, pooling: &Pooling) -> Result<(), End> {
        self.lane.pause(MOMENT);
        self.why_not(pooling).map_or(Ok(()), Err)
    }

    fn read_some(&self, pooling: &mut Pooling) -> Result<(), RequestError> {
        while let Some(tokens) = pooling.next(PREFILL_CHUNK) {
            let bytes = kv_bytes(self.engine.config(), tokens);
            let memory = self.shared.settings.memory.reserve(bytes);
            let memory = memory.map_err(|no_room| no_memory(&no_room))?;
            let begun = pooling.begin(self.engine, memory);
            begun.map_err(|error| failed(&error))?;
        }
        let (mut parts, mut heard): (Vec<_>, Vec<_>) =
            pooling.parts(PREFILL_CHUNK).into_iter().unzip();
        let read = &mut |part: usize, states: Result<&[f32], ModelError>| {
            heard[part].hear(states);
        };
        let read = self.engine.step(&mut parts, read);
        read.map_err(|error| failed(&error))
    }
}

fn no_memory(no_room: &NoRoom) -> RequestError {
    RequestError::NoMemory {
        message: format!(
            "{no_room}: texts are embedded on this device alone, choose a smaller model"
        ),
    }
}

fn failed(error: &ModelError) -> RequestError {
    RequestError::Failed {
        message: crate::words::of(error),
    }
}
