//! Load, run and sample language models from GGUF files, bit-exactly, on the Burn framework.

pub mod gguf;
pub mod kernels;
pub mod template;
mod tensor_type;
pub mod tokenizer;

pub use tensor_type::TensorType;
