//! Load, run and sample language models from GGUF files, bit-exactly, on the Burn framework.

mod compute;
pub mod config;
mod error;
mod families;
pub mod gguf;
mod kernels;
mod kv_cache;
mod nn;
pub mod ops;
mod shard;
mod tensor_type;
pub mod tokenizer;

pub use compute::Compute;
pub use config::ModelConfig;
pub use error::ModelError;
pub use kernels::{Isa, IsaError};
pub use kv_cache::KvCache;
pub use shard::{SequenceStep, Shard, ShardRange, with_values};
pub use tensor_type::TensorType;
