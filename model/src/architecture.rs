//! The architectures by name.

use std::fmt;

/// The architectures this crate runs and can write, named as `general.architecture` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama and those that share its graph: SmolLM2, Llama 3.x, Mistral.
    Llama,
    /// Qwen 2 and 2.5: biases on query, key and value, as a rule.
    Qwen2,
    /// Qwen 3: norms on query and key.
    Qwen3,
    /// Gemma 3: sliding windows, norms around each part, scaled embeddings.
    Gemma3,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma3];

    /// The value of `general.architecture`, and the prefix of the architecture's own keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
        }
    }

    /// The architecture of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
