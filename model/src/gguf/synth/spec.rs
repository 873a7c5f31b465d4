//! What a synthetic model looks like.

use std::fmt;
use std::str::FromStr;

use super::SynthError;
pub use crate::Architecture;
use crate::TensorType;

/// Epsilon of the RMS norms, as released models have it.
pub(super) const fn norm_epsilon(architecture: Architecture) -> f32 {
    match architecture {
        Architecture::Llama => 1e-5,
        Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Gemma3 => 1e-6,
    }
}

/// A random-weight model: its shape, its types, its seed. The file is a pure function of this.
///
/// Every number is that of the whole model; a default one does not exist, start from
/// [`SynthSpec::preset`] and change fields.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthSpec {
    /// `general.name`.
    pub name: String,
    /// Which tensors and keys there are.
    pub architecture: Architecture,
    /// Transformer blocks.
    pub layers: u32,
    /// Length of a position's hidden state.
    pub d_model: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: u32,
    /// Length of a head's query, key and value; even.
    pub head_dim: u32,
    /// Length of the feed-forward part's inner state.
    pub d_ff: u32,
    /// Tokens, at least [`SynthSpec::minimum_vocabulary`].
    pub vocabulary: u32,
    /// The context length that the file states.
    pub context: u32,
    /// Types of the matrices; norms and biases are F32.
    pub types: TypeMix,
    /// Whether the embedding is the head, too.
    pub tied: bool,
    /// Chooses the weights.
    pub seed: u64,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// How positions beyond the trained context are scaled.
    pub rope_scaling: RopeScaling,
    /// Positions that local layers see, for architectures that have such layers.
    pub sliding_window: Option<u32>,
}

/// How rotary frequencies are scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Positions are divided by `factor`; keys `rope.scaling.type` and `rope.scaling.factor`.
    Linear {
        /// The divisor of positions.
        factor: f32,
    },
    /// Low frequencies are divided by `factor`, as Llama 3.1 does; tensor `rope_freqs.weight`.
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f32,
        /// Turns in the original context below which a frequency is low.
        low_frequency: f32,
        /// Turns in the original context above which a frequency is left alone.
        high_frequency: f32,
        /// Positions of the original context.
        original_context: u32,
    },
}

/// A matrix whose type can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named after their tensors")]
pub enum Matrix {
    /// `token_embd`, and of untied models `output`, too.
    Embedding,
    AttnQ,
    AttnK,
    AttnV,
    AttnOutput,
    FfnGate,
    FfnUp,
    FfnDown,
}

impl Matrix {
    /// Every matrix.
    pub const ALL: [Self; 8] = [
        Self::Embedding,
        Self::AttnQ,
        Self::AttnK,
        Self::AttnV,
        Self::AttnOutput,
        Self::FfnGate,
        Self::FfnUp,
        Self::FfnDown,
    ];

    /// The name in a type mix, which but for `embedding` is that in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::AttnQ => "attn_q",
            Self::AttnK => "attn_k",
            Self::AttnV => "attn_v",
            Self::AttnOutput => "attn_output",
            Self::FfnGate => "ffn_gate",
            Self::FfnUp => "ffn_up",
            Self::FfnDown => "ffn_down",
        }
    }

    /// The matrix of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }
}

/// One type for all matrices, and exceptions.
///
/// As text: `Q4_K`, or `Q4_K,embedding=Q8_0,ffn_down=Q6_K`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeMix {
    /// The type of matrices without an exception.
    pub matrices: TensorType,
    /// Exceptions, of which a later one wins.
    pub exceptions: Vec<(Matrix, TensorType)>,
}

impl TypeMix {
    /// One type for everything.
    pub const fn uniform(tensor_type: TensorType) -> Self {
        Self {
            matrices: tensor_type,
            exceptions: Vec::new(),
        }
    }

    /// This mix with another type for one matrix.
    #[must_use]
    pub fn with(mut self, matrix: Matrix, tensor_type: TensorType) -> Self {
        self.exceptions.push((matrix, tensor_type));
        self
    }

    /// The type of a matrix.
    pub fn of(&self, matrix: Matrix) -> TensorType {
        self.exceptions
            .iter()
            .rev()
            .find(|(excepted, _)| *excepted == matrix)
            .map_or(self.matrices, |&(_, tensor_type)| tensor_type)
    }
}

impl FromStr for TypeMix {
    type Err = SynthError;

    fn from_str(text: &str) -> Result<Self, SynthError> {
        let tensor_type = |name: &str| {
            TensorType::from_name(name).ok_or_else(|| SynthError::UnknownType { name: name.into() })
        };
        let mut parts = text.split(',').map(str::trim);
        let mut mix = Self::uniform(tensor_type(parts.next().unwrap_or_default())?);
        for part in parts {
            let Some((name, type_name)) = part.split_once('=') else {
                return Err(SynthError::UnknownMatrix { name: part.into() });
            };
            let Some(matrix) = Matrix::from_name(name) else {
                return Err(SynthError::UnknownMatrix { name: name.into() });
            };
            mix.exceptions.push((matrix, tensor_type(type_name)?));
        }
        Ok(mix)
    }
}

impl fmt::Display for TypeMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.matrices.fmt(f)?;
        for (matrix, tensor_type) in &self.exceptions {
            write!(f, ",{}={tensor_type}", matrix.name())?;
        }
        Ok(())
    }
}
