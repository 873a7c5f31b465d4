//! Errors of loading and running a model.

use crate::Architecture;
use crate::gguf::GgufError;
use crate::kernels::IsaError;
use crate::packed_part::PackedPart;
use crate::sampler::{MaskError, SamplerError};
use crate::tokenizer::TokenizerError;

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file could not be read as GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file names an architecture this build does not know.
    #[error("unknown model architecture {0:?}: this build runs llama, qwen2, qwen3 and gemma3")]
    UnknownArchitecture(String),
    /// A file of packed weights was cut short while it was in use. The next step computes from the
    /// model's own file.
    #[error("the packed weights of {0} were cut short by another program")]
    PackedLost(PackedPart),
    /// A setting in the file is impossible or not supported.
    #[error("the model file's {key} is {value}: {problem}")]
    Setting {
        /// The metadata key.
        key: String,
        /// What it says.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A tensor does not have the shape or type the settings ask for.
    #[error("tensor {name} is {found}, but the model's settings need {expected}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What the file holds.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A tensor that no part of the model uses: its answers would be wrong without it.
    #[error(
        "the model file has a tensor {name}, which this build does not use in a {architecture} model: \
         its answers would be wrong without it"
    )]
    UnusedTensor {
        /// The tensor's name.
        name: String,
        /// The file's architecture.
        architecture: Architecture,
    },
    /// A mixture of experts, in an architecture of which this build runs only the plain models.
    #[error("the model is a mixture of experts ({sign}): this build does not run these")]
    MixtureOfExperts {
        /// What says so.
        sign: String,
    },
    /// Tokens that the embedding has no row for.
    #[error(
        "the file's tokenizer.ggml.tokens lists {tokens} tokens, but token_embd.weight has only {rows} rows: \
         get another file of the model"
    )]
    TokensWithoutRows {
        /// Tokens listed.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The layers asked for are not the model's.
    #[error("layers {first}..{end} of a model with {layers}")]
    LayerRange {
        /// First layer.
        first: usize,
        /// One past the last.
        end: usize,
        /// What the model has.
        layers: usize,
    },
    /// A shard was asked for a part it does not hold.
    #[error("this shard holds no {0}")]
    NotHeld(&'static str),
    /// The session has no room for what is to come.
    #[error(
        "{needed} tokens do not fit: the context has {free} of {capacity} positions free; \
         shorten the text or raise the context"
    )]
    ContextFull {
        /// Positions wanted.
        needed: usize,
        /// Positions left.
        free: usize,
        /// Positions reserved.
        capacity: usize,
    },
    /// A layer with a sliding window has overwritten positions that the next one sees.
    #[error(
        "a layer with a sliding window no longer holds what position {start} sees: compute the text \
         again from its beginning"
    )]
    Overwritten {
        /// The position to go on from.
        start: usize,
    },
    /// The context asked for exceeds what the model was made for.
    #[error("a context of {asked} positions: this model was made for at most {limit}")]
    ContextTooLong {
        /// Positions wanted.
        asked: usize,
        /// The model's own limit.
        limit: usize,
    },
    /// Bytes of hidden states are not whole rows.
    #[error("{bytes} bytes are no whole rows of {d_model} values of 4 bytes")]
    HiddenStates {
        /// How many bytes.
        bytes: usize,
        /// Values of a row.
        d_model: usize,
    },
    /// A token id beyond the vocabulary.
    #[error("token {id} is not in the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Tokens there are.
        vocabulary: usize,
    },
    /// There is nothing to continue from.
    #[error("the prompt is empty: give at least one token")]
    EmptyPrompt,
    /// The KV cache does not fit in memory.
    #[error("no memory for a KV cache of {bytes} bytes: choose a smaller context")]
    OutOfMemory {
        /// Bytes wanted.
        bytes: usize,
    },
    /// A key or value is beyond what the KV cache's numbers hold, and the logits are none.
    #[error(
        "keys or values of layer {layer} are beyond 65504, the most that the 16 bits hold in which they \
         are kept: this model cannot be run with this text"
    )]
    CacheOverflow {
        /// The first such layer.
        layer: usize,
    },
    /// The file's tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// No token could be chosen.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// The mask of what is generated cannot go on.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// The instruction set cannot be used.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

impl ModelError {
    /// Whether the caches no longer hold what a step sees, so that the text must be computed again
    /// from its beginning.
    pub fn is_overwritten(&self) -> bool {
        matches!(self, Self::Overwritten { .. })
    }

    /// Whether the model's file has changed since it was opened, so that nothing more can come of it.
    pub fn is_file_changed(&self) -> bool {
        matches!(
            self,
            Self::Gguf(GgufError::Changed { .. } | GgufError::Lost { .. })
        )
    }
}
