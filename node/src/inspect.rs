//! What a model file holds and what running it takes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use potluck_model::gguf::{Gguf, GgufError, TensorInfo};
use potluck_model::template::ChatTemplate;
use potluck_model::{ModelConfig, ModelError, TensorType};
use serde::Serialize;

use crate::engine::context_of;

/// What `inspect` reports.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// The format's version.
    pub gguf_version: u32,
    /// `general.name`.
    pub name: Option<String>,
    /// `general.architecture`.
    pub architecture: Option<String>,
    /// The kind of tokenizer.
    pub tokenizer: Option<String>,
    /// Whether it brings a chat template, without which it only continues text.
    pub chat_template: bool,
    /// Why the chat template cannot be used, if it cannot; the model runs without it.
    pub chat_template_problem: Option<String>,
    /// Elements of all tensors.
    pub parameters: u64,
    /// The number of tensors.
    pub tensor_count: usize,
    /// Where the bytes go, the largest share first.
    pub types: Vec<TypeShare>,
    /// The model's sizes; absent if this build cannot run it.
    pub shape: Option<Shape>,
    /// What running it takes; absent if this build cannot run it.
    pub memory: Option<Memory>,
    /// Why this build cannot run it.
    pub unsupported: Option<String>,
    /// Every tensor, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<TensorRow>>,
}

/// The tensors of one storage type.
#[derive(Debug, Clone, Serialize)]
pub struct TypeShare {
    /// The type's name.
    #[serde(rename = "type")]
    pub tensor_type: &'static str,
    /// How many tensors have it.
    pub tensors: usize,
    /// Their elements.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The sizes of a model.
#[derive(Debug, Clone, Serialize)]
pub struct Shape {
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the hidden states.
    pub d_model: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Coordinates of a head.
    pub head_dim: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Positions the model was made for.
    pub context: usize,
    /// Positions that local layers see.
    pub sliding_window: Option<usize>,
    /// Layers that see a sliding window only.
    pub sliding_layers: usize,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// Positions it is for.
    pub context: usize,
    /// Weights, which stay in the mapped file.
    pub weights_bytes: u64,
    /// The KV cache of one session.
    pub kv_bytes: u64,
    /// Both.
    pub total_bytes: u64,
}

/// One tensor.
#[derive(Debug, Clone, Serialize)]
pub struct TensorRow {
    /// Its name.
    pub name: String,
    /// Its storage type's name.
    #[serde(rename = "type")]
    pub tensor_type: &'static str,
    /// Lengths, innermost first.
    pub dimensions: Vec<u64>,
    /// Its bytes.
    pub bytes: u64,
}

/// A file could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is no usable GGUF file.
    #[error(transparent)]
    File(#[from] GgufError),
    /// More positions than the model was made for.
    #[error(transparent)]
    Context(ModelError),
}

/// Looks into the file at `path`. Memory is stated for `context` positions, by default as many as
/// commands reserve: 2048, or what the model was made for if that is less. `tensors` lists every
/// tensor, too.
///
/// A file of a model that this build cannot run is described as far as it can be.
///
/// # Errors
/// [`InspectError`].
pub fn inspect(
    path: &Path,
    context: Option<NonZeroUsize>,
    tensors: bool,
) -> Result<Inspection, InspectError> {
    let gguf = Gguf::open(path)?;
    let metadata = gguf.metadata();
    let text = |key| Ok::<_, GgufError>(metadata.str(key)?.map(str::to_owned));
    let config = ModelConfig::from_gguf(&gguf);
    let weights_bytes = gguf
        .tensors()
        .iter()
        .map(|tensor| tensor.bytes as u64)
        .sum();
    let memory = match &config {
        Ok(config) => Some(Memory::of(config, context, weights_bytes)?),
        Err(_) => None,
    };
    Ok(Inspection {
        file: path.display().to_string(),
        bytes: gguf.file_len(),
        gguf_version: gguf.version(),
        name: text("general.name")?,
        architecture: text("general.architecture")?,
        tokenizer: text("tokenizer.ggml.model")?,
        chat_template: metadata.get("tokenizer.chat_template").is_some(),
        chat_template_problem: ChatTemplate::check(metadata).err().map(|e| e.to_string()),
        parameters: gguf
            .tensors()
            .iter()
            .map(|tensor| tensor.elements() as u64)
            .sum(),
        tensor_count: gguf.tensors().len(),
        types: type_shares(gguf.tensors()),
        memory,
        unsupported: config.as_ref().err().map(ToString::to_string),
        shape: config.ok().map(|config| Shape::of(&config)),
        tensors: tensors.then(|| gguf.tensors().iter().map(TensorRow::of).collect()),
    })
}

fn type_shares(tensors: &[TensorInfo]) -> Vec<TypeShare> {
    let mut shares = BTreeMap::<TensorType, TypeShare>::new();
    for tensor in tensors {
        let share = shares
            .entry(tensor.tensor_type)
            .or_insert_with(|| TypeShare {
                tensor_type: tensor.tensor_type.name(),
                tensors: 0,
                parameters: 0,
                bytes: 0,
            });
        share.tensors += 1;
        share.parameters += tensor.elements() as u64;
        share.bytes += tensor.bytes as u64;
    }
    let mut shares: Vec<_> = shares.into_values().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

impl Shape {
    fn of(config: &ModelConfig) -> Self {
        let windows = || config.attention.iter().filter_map(|layer| layer.window);
        Self {
            layers: config.layers,
            d_model: config.d_model,
            d_ff: config.d_ff,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            vocabulary: config.vocabulary,
            context: config.context,
            sliding_window: windows().next(),
            sliding_layers: windows().count(),
        }
    }
}

impl Memory {
    fn of(
        config: &ModelConfig,
        context: Option<NonZeroUsize>,
        weights_bytes: u64,
    ) -> Result<Self, InspectError> {
        let limit = config.context;
        let context = context_of(config, context);
        if context > limit {
            let asked = context;
            return Err(InspectError::Context(ModelError::ContextTooLong {
                asked,
                limit,
            }));
        }
        let kv_bytes = config.kv_bytes(config.layers, context);
        let total_bytes = weights_bytes.saturating_add(kv_bytes);
        Ok(Self {
            context,
            weights_bytes,
            kv_bytes,
            total_bytes,
        })
    }
}

impl TensorRow {
    fn of(tensor: &TensorInfo) -> Self {
        Self {
            name: tensor.name.clone(),
            tensor_type: tensor.tensor_type.name(),
            dimensions: tensor.dimensions.clone(),
            bytes: tensor.bytes as u64,
        }
    }
}
