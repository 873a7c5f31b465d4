//! Embeddings while the circle's devices compute answers.
//!
//! Devices return the hidden states of last rows only, so this device computes embeddings alone. It
//! maps the whole model for the duration of the request, which fails if there is not enough memory.

use super::Split;
use crate::engine::{ModelError, PREFILL_CHUNK, TokenId};
use crate::serve::RequestError;
use crate::serve::client::Client;
use crate::serve::pooling::Pooling;
use crate::serve::prefix::kv_bytes;
use crate::stages::NoRoom;

impl Split<'_> {
    /// Embeds texts on this device.
    pub(super) fn embed(&self, client: Client, texts: Vec<Vec<TokenId>>) {
        let Some(mut pooling) = Pooling::new(client, texts) else {
            return;
        };
        let layers = self.ends.shape().layers.iter();
        let bytes = layers.map(|layer| layer.memory_bytes(0)).sum();
        let memory = &self.shared.settings.memory;
        let _weights = match memory.reserve(bytes) {
            Ok(weights) => weights,
            Err(no_room) => return pooling.fail(no_memory(&no_room)),
        };
        loop {
            if pooling.is_gone() {
                return pooling.cancelled();
            }
            if self.is_stopping() {
                return pooling.fail(RequestError::Stopping);
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
