//! Files of draft heads: safetensors with 8-bit weights.
//!
//! | tensor | type | shape |
//! |---|---|---|
//! | `hidden_norm`, `embedding_norm`, `attn_norm`, `ffn_norm`, `output_norm` | F32 | `[d_model]` |
//! | `join` | Q8_0 | `[d_model, 2 · d_model]` |
//! | `attn_q` | Q8_0 | `[heads · head_dim, d_model]` |
//! | `attn_k`, `attn_v` | Q8_0 | `[kv_heads · head_dim, d_model]` |
//! | `attn_output` | Q8_0 | `[d_model, heads · head_dim]` |
//! | `ffn_gate`, `ffn_up` | Q8_0 | `[d_ff, d_model]` |
//! | `ffn_down` | Q8_0 | `[d_model, d_ff]` |
//! | `tokens` | U32 | `[count]`, ascending: the tokens that the head can guess |
//!
//! A Q8_0 matrix is stored as U8 `[rows, columns / 32 · 34]`: GGUF's blocks, row after row. The
//! metadata binds the head to one model file: `format` = `potluck-draft-head`, `version` = `1`,
//! `base` (its name), `base_bytes` and `base_sha256`, `architecture`, and the sizes `d_model`,
//! `d_ff`, `heads`, `kv_heads`, `head_dim` and `vocabulary`; `window` is the number of positions
//! that the head attends to.

use std::fmt;

use bytes::Bytes;
use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::{ModelConfig, TensorType};

/// The most positions of a head's window.
const MOST_WINDOW: usize = 4096;

const FORMAT: &str = "potluck-draft-head";
const VERSION: &str = "1";

/// Why a draft head cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftHeadError {
    /// The file is not safetensors.
    #[error("the draft head is no safetensors file: {0}")]
    Safetensors(String),
    /// The file is too long.
    #[error("the draft head has {bytes} bytes, more than the {longest} that are read", longest = HeadFile::LONGEST)]
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// A metadata entry is missing or wrong.
    #[error("the draft head's {key} is {value:?}: {problem}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value; empty if it is missing.
        value: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A tensor is missing or has another type or shape.
    #[error("the draft head's tensor {name} is {found}, expected {expected}")]
    Tensor {
        /// Its name.
        name: &'static str,
        /// What the file holds.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A tensor's numbers cannot be used.
    #[error("the draft head's tensor {name}: {problem}")]
    Numbers {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The head was trained for another model file.
    #[error(
        "the draft head is for {base} (SHA-256 {expected}), not for this model's file (SHA-256 \
         {found}): use it with that file, or get the head of this model"
    )]
    OtherModel {
        /// The name of the model it is for.
        base: String,
        /// The SHA-256 of that model's file.
        expected: String,
        /// The SHA-256 of the model's file at hand.
        found: String,
    },
    /// The head has other sizes than the model.
    #[error(
        "the draft head is for {base}, whose {what} is {expected}; this model's is {found}: get the \
         head of this model"
    )]
    OtherSizes {
        /// The name of the model it is for.
        base: String,
        /// The size or setting.
        what: &'static str,
        /// The head's.
        expected: String,
        /// The model's.
        found: String,
    },
}

/// A draft head's file whose metadata and tensors have been checked.
#[derive(Clone)]
pub struct HeadFile {
    bytes: Bytes,
    metadata: Metadata,
    /// Where the tensors' data begins.
    data: usize,
    base: String,
    base_bytes: u64,
    base_sha256: String,
    pub(super) window: usize,
    sizes: Sizes,
}

/// The sizes that the metadata declares.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sizes {
    architecture: String,
    d_model: usize,
    d_ff: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocabulary: usize,
}

impl fmt::Debug for HeadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadFile")
            .field("base", &self.base)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl HeadFile {
    /// The longest file that is read, in bytes.
    pub const LONGEST: u64 = 1 << 28;

    /// Checks the length of a file before it is read.
    ///
    /// # Errors
    /// [`DraftHeadError::TooLong`].
    pub fn check_length(bytes: u64) -> Result<(), DraftHeadError> {
        match bytes <= Self::LONGEST {
            true => Ok(()),
            false => Err(DraftHeadError::TooLong { bytes }),
        }
    }

    /// Checks the file's header, and that all tensors have the shapes that its metadata declares.
    ///
    /// # Errors
    /// [`DraftHeadError`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, DraftHeadError> {
        let bytes = bytes.into();
        Self::check_length(bytes.len() as u64)?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| DraftHeadError::Safetensors(error.to_string()))?;
        let text = |key: &'static str| {
            let value = metadata.metadata().as_ref().and_then(|all| all.get(key));
            value
                .cloned()
                .ok_or_else(|| bad(key, String::new(), "it must be given"))
        };
        let number = |key: &'static str, most: usize| {
            let value = text(key)?;
            match value.parse::<usize>() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(bad(key, value, "it must be a positive number in range")),
            }
        };
        for (key, expected) in [("format", FORMAT), ("version", VERSION)] {
            let value = text(key)?;
            if value != expected {
                return Err(bad(key, value, "this build does not know it"));
            }
        }
        let sizes = Sizes {
            architecture: text("architecture")?,
            d_model: number("d_model", 1 << 17)?,
            d_ff: number("d_ff", 1 << 20)?,
            heads: number("heads", 1 << 12)?,
            kv_heads: number("kv_heads", 1 << 12)?,
            head_dim: number("head_dim", 1 << 12)?,
            vocabulary: number("vocabulary", 1 << 24)?,
        };
        let base_sha256 = text("base_sha256")?;
        let is_hash = base_sha256.len() == 64
            && base_sha256
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hash {
            let problem = "it must be 64 lower-case hexadecimal digits";
            return Err(bad("base_sha256", base_sha256, problem));
        }
        let file = Self {
            base: text("base")?,
            base_bytes: number("base_bytes", usize::MAX)? as u64,
            base_sha256,
            window: number("window", MOST_WINDOW)?,
            sizes,
            data: size_of::<u64>() + header,
            metadata,
            bytes,
        };
        file.check_tensors()?;
        Ok(file)
    }

    /// The name of the model file that the head is for.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The length of that file.
    pub fn base_bytes(&self) -> u64 {
        self.base_bytes
    }

    /// The SHA-256 of that file: 64 lower-case hexadecimal digits.
    pub fn base_sha256(&self) -> &str {
        &self.base_sha256
    }

    /// Checks that the head is for the model file with this SHA-256.
    ///
    /// # Errors
    /// [`DraftHeadError::OtherModel`].
    pub fn check_base(&self, sha256: &str) -> Result<(), DraftHeadError> {
        if self.base_sha256 == sha256 {
            return Ok(());
        }
        Err(DraftHeadError::OtherModel {
            base: self.base.clone(),
            expected: self.base_sha256.clone(),
            found: sha256.to_owned(),
        })
    }

    /// Checks that the head has the model's sizes.
    pub(super) fn check_sizes(&self, config: &ModelConfig) -> Result<(), DraftHeadError> {
        let Sizes {
            architecture,
            d_model,
            d_ff,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
        } = &self.sizes;
        let check = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected == found {
                return Ok(());
            }
            Err(DraftHeadError::OtherSizes {
                base: self.base.clone(),
                what,
                expected,
                found,
            })
        };
        check("architecture", architecture, &config.architecture.name())?;
        check("d_model", d_model, &config.d_model)?;
        check("d_ff", d_ff, &config.d_ff)?;
        check("heads", heads, &config.heads)?;
        check("kv_heads", kv_heads, &config.kv_heads)?;
        check("head_dim", head_dim, &config.head_dim)?;
        check("vocabulary", vocabulary, &config.vocabulary)?;
        // Settings that would change the layer's arithmetic, and that no head was made for.
        let plain = !config.qk_norm && !config.post_norms && config.logit_cap.is_none();
        check("plain llama block", &true, &plain)
    }

    fn check_tensors(&self) -> Result<(), DraftHeadError> {
        let Sizes {
            d_model,
            d_ff,
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.sizes;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        for name in NORMS {
            self.norm(name, d_model)?;
        }
        for (name, rows, columns) in [
            ("join", d_model, 2 * d_model),
            ("attn_q", q, d_model),
            ("attn_k", kv, d_model),
            ("attn_v", kv, d_model),
            ("attn_output", d_model, q),
            ("ffn_gate", d_ff, d_model),
            ("ffn_up", d_ff, d_model),
            ("ffn_down", d_model, d_ff),
        ] {
            self.matrix(name, rows, columns)?;
        }
        self.tokens()?;
        Ok(())
    }

    fn tensor(
        &self,
        name: &'static str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<Bytes, DraftHeadError> {
        let expected = || format!("{dtype:?} {shape:?}");
        let missing = || DraftHeadError::Tensor {
            name,
            found: "missing".to_owned(),
            expected: expected(),
        };
        let info: &TensorInfo = self.metadata.info(name).ok_or_else(missing)?;
        if info.dtype != dtype || info.shape != shape {
            return Err(DraftHeadError::Tensor {
                name,
                found: format!("{:?} {:?}", info.dtype, info.shape),
                expected: expected(),
            });
        }
        let (start, end) = info.data_offsets;
        // The header's check covers this; a slice beyond would panic.
        let (start, end) = (self.data + start, self.data + end);
        if start > end || end > self.bytes.len() {
            return Err(missing());
        }
        Ok(self.bytes.slice(start..end))
    }

    /// A norm's factors.
    pub(super) fn norm(
        &self,
        name: &'static str,
        width: usize,
    ) -> Result<Vec<f32>, DraftHeadError> {
        let bytes = self.tensor(name, Dtype::F32, &[width])?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|&b| f32::from_le_bytes(b)).collect();
        finite(name, numbers.iter().all(|x| x.is_finite()))?;
        Ok(numbers)
    }

    /// The Q8_0 blocks of a matrix.
    pub(super) fn matrix(
        &self,
        name: &'static str,
        rows: usize,
        columns: usize,
    ) -> Result<Bytes, DraftHeadError> {
        let row_bytes = TensorType::Q8_0.row_bytes(columns);
        let row_bytes = row_bytes.ok_or(DraftHeadError::Numbers {
            name,
            problem: "its columns must be a multiple of 32",
        })?;
        let bytes = self.tensor(name, Dtype::U8, &[rows, row_bytes])?;
        let (blocks, _) = bytes.as_chunks::<34>();
        let scale = |block: &[u8; 34]| f16::from_le_bytes([block[0], block[1]]);
        finite(name, blocks.iter().all(|block| scale(block).is_finite()))?;
        Ok(bytes)
    }

    /// The tokens that the head can guess, ascending.
    pub(super) fn tokens(&self) -> Result<Vec<u32>, DraftHeadError> {
        const NAME: &str = "tokens";
        let info = self.metadata.info(NAME);
        let count = info.map_or(1, |info| info.shape.first().copied().unwrap_or(0));
        let bytes = self.tensor(NAME, Dtype::U32, &[count])?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let tokens: Vec<u32> = numbers.iter().map(|&b| u32::from_le_bytes(b)).collect();
        let ascending = tokens.is_sorted_by(|a, b| a < b);
        let within = tokens
            .last()
            .is_some_and(|&last| (last as usize) < self.sizes.vocabulary);
        if !ascending || !within {
            return Err(DraftHeadError::Numbers {
                name: NAME,
                problem: "they must be ascending ids of the vocabulary, at least one",
            });
        }
        Ok(tokens)
    }
}

/// The norms' names, in the order of the computation.
pub(super) const NORMS: [&str; 5] = [
    "hidden_norm",
    "embedding_norm",
    "attn_norm",
    "ffn_norm",
    "output_norm",
];

fn bad(key: &'static str, value: String, problem: &'static str) -> DraftHeadError {
    DraftHeadError::Metadata {
        key,
        value,
        problem,
    }
}

fn finite(name: &'static str, is_finite: bool) -> Result<(), DraftHeadError> {
    if is_finite {
        return Ok(());
    }
    Err(DraftHeadError::Numbers {
        name,
        problem: "its numbers must be finite",
    })
}
