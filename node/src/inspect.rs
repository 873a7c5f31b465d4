//! What a model file holds and what running it takes.

use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;

use potluck_model::gguf::{Gguf, GgufError, Metadata, OtherTensor, OtherType, TensorInfo};
use potluck_model::template::ChatTemplate;
use potluck_model::tokenizer::Tokenizer;
use potluck_model::{ModelConfig, ModelError, Shard, TensorType};
use serde::Serialize;

use crate::engine::context_of;
use crate::packed_store::PackedView;
use crate::words;

/// What `inspect` reports.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// All files of the model, if it is split into several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRow>,
    /// Their length.
    pub bytes: u64,
    /// The format's version.
    pub gguf_version: u32,
    /// `general.name`.
    pub name: Option<String>,
    /// `general.architecture`.
    pub architecture: Option<String>,
    /// The kind of tokenizer.
    pub tokenizer: Option<String>,
    /// How text is cut into words before it is made tokens, if the tokenizer needs that.
    pub pre_tokenizer: Option<String>,
    /// Whether it brings a chat template, without which it only continues text.
    pub chat_template: bool,
    /// Whether that lets a person choose whether the model thinks before it answers.
    pub thinking_switch: bool,
    /// Elements of all tensors.
    pub parameters: u64,
    /// The number of tensors.
    pub tensor_count: usize,
    /// Where the bytes go, the largest share first.
    pub types: Vec<TypeShare>,
    /// The model's sizes, as far as the file says them.
    pub shape: Shape,
    /// What running it takes; absent if this build cannot run it.
    pub memory: Option<Memory>,
    /// Whether this build can run it.
    pub runs: bool,
    /// Why not: every reason that was found.
    pub reasons: Vec<String>,
    /// What works less well than the file's author meant.
    pub warnings: Vec<String>,
    /// The settings of its architecture, if this build cannot run it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Its packed weights in this home.
    pub packed: PackedView,
    /// Every tensor, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<TensorRow>>,
}

/// One file of a split model.
#[derive(Debug, Clone, Serialize)]
pub struct FileRow {
    /// Its path.
    pub file: String,
    /// Its length.
    pub bytes: u64,
}

/// The tensors of one storage type.
#[derive(Debug, Clone, Serialize)]
pub struct TypeShare {
    /// The type's name, or its number if it has no name.
    #[serde(rename = "type")]
    pub tensor_type: String,
    /// Whether this build computes with it.
    pub supported: bool,
    /// Whether it has no kernels of its own: weights are rearranged each time that they are used, which
    /// is slow, until they are packed.
    pub slow_until_packed: bool,
    /// Elements and bytes of a block; `null` if they are not known.
    pub block: Option<[u64; 2]>,
    /// How many tensors have it.
    pub tensors: usize,
    /// Their elements.
    pub parameters: u64,
    /// Their bytes; `null` if the type's layout is not known.
    pub bytes: Option<u64>,
}

/// The sizes of a model; `null` what the file does not say.
#[derive(Debug, Clone, Serialize)]
pub struct Shape {
    /// Transformer blocks.
    pub layers: Option<usize>,
    /// Width of the hidden states.
    pub d_model: Option<usize>,
    /// Width of the feed-forward part.
    pub d_ff: Option<usize>,
    /// Query heads.
    pub heads: Option<usize>,
    /// Key and value heads.
    pub kv_heads: Option<usize>,
    /// Coordinates of a head.
    pub head_dim: Option<usize>,
    /// Tokens.
    pub vocabulary: Option<usize>,
    /// Positions the model was made for.
    pub context: Option<usize>,
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
    /// The KV cache of one session. Layers with a sliding window keep only the last positions.
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
    pub tensor_type: String,
    /// Lengths, innermost first.
    pub dimensions: Vec<u64>,
    /// Its bytes; `null` if the type's layout is not known.
    pub bytes: Option<u64>,
}

/// A file could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is no GGUF file, or a part of it is missing.
    #[error(transparent)]
    File(#[from] GgufError),
    /// More positions than the model was made for.
    #[error(transparent)]
    Context(ModelError),
}

/// Looks into the file at `path`, or the split model of which it is a part. Memory is stated for
/// `context` positions, by default as many as commands reserve: 2048, or what the model was made for
/// if that is less. `tensors` lists every tensor, too.
///
/// A file of a model that this build cannot run is described as far as it can be read, with every
/// reason that is found.
///
/// # Errors
/// [`InspectError`].
pub fn inspect(
    path: &Path,
    context: Option<NonZeroUsize>,
    tensors: bool,
) -> Result<Inspection, InspectError> {
    let gguf = Gguf::describe(path)?;
    let metadata = gguf.metadata();
    let config = ModelConfig::from_gguf(&gguf);
    let verdict = Verdict::of(&gguf, &config);
    let rows: Vec<_> = all_tensors(&gguf).collect();
    let types = type_shares(&gguf);
    let memory = match &config {
        Ok(config) if verdict.reasons.is_empty() => {
            let weights = types.iter().filter_map(|share| share.bytes).sum();
            Some(Memory::of(config, context, weights)?)
        }
        Ok(_) | Err(_) => None,
    };
    let files: Vec<_> = gguf
        .files()
        .map(|(file, bytes)| FileRow {
            file: file.display().to_string(),
            bytes,
        })
        .collect();
    let architecture = metadata.text("general.architecture");
    Ok(Inspection {
        file: path.display().to_string(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files: if files.len() > 1 { files } else { Vec::new() },
        gguf_version: gguf.version(),
        name: metadata.text("general.name"),
        tokenizer: metadata.text("tokenizer.ggml.model"),
        pre_tokenizer: metadata.text("tokenizer.ggml.pre"),
        chat_template: metadata.get(CHAT_TEMPLATE).is_some(),
        thinking_switch: verdict.thinking_switch,
        parameters: types.iter().map(|share| share.parameters).sum(),
        tensor_count: rows.len(),
        types,
        memory,
        shape: match &config {
            Ok(config) => Shape::of(config),
            Err(_) => Shape::said(metadata, architecture.as_deref().unwrap_or_default()),
        },
        runs: verdict.reasons.is_empty(),
        settings: match verdict.reasons.is_empty() {
            true => BTreeMap::new(),
            false => settings(metadata, architecture.as_deref().unwrap_or_default()),
        },
        packed: PackedView::default(),
        reasons: verdict.reasons,
        warnings: verdict.warnings,
        architecture,
        tensors: tensors.then_some(rows),
    })
}

const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// What keeps a file from being run, or from being run as it was meant.
struct Verdict {
    reasons: Vec<String>,
    warnings: Vec<String>,
    thinking_switch: bool,
}

impl Verdict {
    fn of(gguf: &Gguf, config: &Result<ModelConfig, ModelError>) -> Self {
        let mut reasons = Vec::new();
        let mut refuse = |error: Option<&dyn Error>| reasons.extend(error.map(words::of));
        let types = gguf.unsupported();
        refuse(types.as_ref().map(|error| error as _));
        refuse(config.as_ref().err().map(|error| error as _));
        let tokenizer = Tokenizer::from_metadata(gguf.metadata());
        refuse(tokenizer.as_ref().err().map(|error| error as _));
        if let (None, Ok(config)) = (&types, config) {
            let tensors = Shard::check(gguf, config);
            refuse(tensors.as_ref().err().map(|error| error as _));
        }
        let template = ChatTemplate::check(gguf.metadata());
        let unused = config.iter().flat_map(|config| &config.unused_settings);
        let mut warnings: Vec<_> = unused.map(ToString::to_string).collect();
        warnings.extend(template.err().map(|error| {
            let error = words::of(&error);
            format!("the chat template cannot be used, so the model only continues text: {error}")
        }));
        let source = gguf.metadata().text(CHAT_TEMPLATE);
        let template = source.zip(tokenizer.ok());
        let template =
            template.and_then(|(source, known)| ChatTemplate::for_tokenizer(&source, &known).ok());
        Self {
            reasons,
            warnings,
            thinking_switch: template.is_some_and(|template| template.has_thinking_switch()),
        }
    }
}

/// What the file says of its architecture.
fn settings(metadata: &Metadata, architecture: &str) -> BTreeMap<String, String> {
    let prefix = format!("{architecture}.");
    let settings = metadata.iter();
    let settings = settings.filter(|(key, _)| key.starts_with(&prefix));
    settings
        .map(|(key, value)| (key.to_owned(), value.to_string()))
        .collect()
}

fn all_tensors(gguf: &Gguf) -> impl Iterator<Item = TensorRow> {
    let known = gguf.tensors().iter().map(TensorRow::of);
    known.chain(gguf.other_tensors().iter().map(TensorRow::of_other))
}

fn type_shares(gguf: &Gguf) -> Vec<TypeShare> {
    let mut shares = BTreeMap::<TensorType, TypeShare>::new();
    for tensor in gguf.tensors() {
        let of = tensor.tensor_type;
        let share = shares.entry(of).or_insert_with(|| TypeShare {
            tensor_type: of.name().to_owned(),
            supported: true,
            slow_until_packed: !of.has_own_products(),
            block: Some([of.block_elements() as u64, of.block_bytes() as u64]),
            tensors: 0,
            parameters: 0,
            bytes: Some(0),
        });
        share.add(tensor.elements() as u64, Some(tensor.bytes as u64));
    }
    let mut others = BTreeMap::<OtherType, TypeShare>::new();
    for tensor in gguf.other_tensors() {
        let of = tensor.other_type;
        let share = others.entry(of).or_insert_with(|| TypeShare {
            tensor_type: of.to_string(),
            supported: false,
            slow_until_packed: false,
            block: of.block().map(|(elements, bytes)| [elements, bytes]),
            tensors: 0,
            parameters: 0,
            bytes: Some(0),
        });
        share.add(tensor.elements(), tensor.bytes);
    }
    let mut shares: Vec<_> = shares.into_values().chain(others.into_values()).collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

impl TypeShare {
    fn add(&mut self, elements: u64, bytes: Option<u64>) {
        self.tensors += 1;
        self.parameters = self.parameters.saturating_add(elements);
        let all = self.bytes.zip(bytes);
        self.bytes = all.map(|(all, bytes)| all.saturating_add(bytes));
    }
}

impl Shape {
    fn of(config: &ModelConfig) -> Self {
        let windows = || config.attention.iter().filter_map(|layer| layer.window);
        Self {
            layers: Some(config.layers),
            d_model: Some(config.d_model),
            d_ff: Some(config.d_ff),
            heads: Some(config.heads),
            kv_heads: Some(config.kv_heads),
            head_dim: Some(config.head_dim),
            vocabulary: Some(config.vocabulary),
            context: Some(config.context),
            sliding_window: windows().next(),
            sliding_layers: windows().count(),
        }
    }

    /// What the file says, by the names that all architectures use. A list, which gives each layer a
    /// number of its own, is left to the settings.
    fn said(metadata: &Metadata, architecture: &str) -> Self {
        let said = |key: &str| {
            let number = metadata.u64(&format!("{architecture}.{key}"));
            usize::try_from(number.ok()??).ok()
        };
        let tokens = metadata.strings("tokenizer.ggml.tokens").ok().flatten();
        Self {
            layers: said("block_count"),
            d_model: said("embedding_length"),
            d_ff: said("feed_forward_length"),
            heads: said("attention.head_count"),
            kv_heads: said("attention.head_count_kv"),
            head_dim: said("attention.key_length"),
            vocabulary: tokens.map(|tokens| tokens.len()),
            context: said("context_length"),
            sliding_window: said("attention.sliding_window"),
            sliding_layers: 0,
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
        let kv_bytes = config.kv_bytes(0..config.layers, context);
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
            tensor_type: tensor.tensor_type.name().to_owned(),
            dimensions: tensor.dimensions.clone(),
            bytes: Some(tensor.bytes as u64),
        }
    }

    fn of_other(tensor: &OtherTensor) -> Self {
        Self {
            name: tensor.name.clone(),
            tensor_type: tensor.other_type.to_string(),
            dimensions: tensor.dimensions.clone(),
            bytes: tensor.bytes,
        }
    }
}
