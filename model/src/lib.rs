//! Load, run and sample language models from GGUF files, bit-exactly, on the Burn framework.

// The fuzz targets' properties refer to this crate by name, even in its own tests.
#[cfg(test)]
extern crate self as potluck_model;

mod architecture;
pub mod bandwidth;
mod buffers;
mod compute;
pub mod config;
mod cores;
mod drafts;
mod engine;
mod error;
mod families;
pub mod gguf;
pub mod grammar;
mod hidden;
#[allow(unsafe_code)]
mod kernels;
mod kv_cache;
mod kv_ring;
mod nn;
pub mod ops;
mod packed_part;
pub mod sampler;
mod settings;
mod shard;
pub mod template;
mod tensor_type;
pub mod tokenizer;

pub use architecture::Architecture;
pub use burn::tensor::Device;
pub use compute::{Arithmetic, Compute};
pub use config::ModelConfig;
pub use drafts::{
    DraftHead, DraftHeadError, Drafter, Drafts, HeadFile, HeadOutput, MOST_GUESSES, Planned,
    StepCosts,
};
pub use engine::{
    Chosen, ChosenToken, DraftModel, Engine, EngineOptions, Event, GenerateOptions, Generation,
    Generator, LocalSequence, MeanPool, PREFILL_CHUNK, Part, ReadLogits, ReadPart, Score, Sequence,
    Session, StopReason, TokenLogprobs, Wants, generate,
};
pub use error::ModelError;
pub use kernels::{Isa, IsaError};
pub use kv_cache::{KvCache, Reach};
pub use packed_part::PackedPart;
pub use shard::packed::PackedError;
pub use shard::{SequenceStep, Shard, ShardRange};
pub use tensor_type::TensorType;
