//! Deterministic random-weight models of any shape and type, as GGUF files.
//!
//! For speed, memory and property tests, wherever a model's words do not matter: activations stay
//! finite and logits vary, and that is all that can be said of them. The file is a pure function
//! of its [`SynthSpec`], has a complete tokenizer and a chat template, and runs wherever a real
//! model does.

mod layout;
mod presets;
mod spec;
#[cfg(test)]
mod tests;
mod vocabulary;
mod weights;

use std::io::{self, Write};

use bytes::Bytes;

use self::layout::{Content, Tensor};
pub use self::presets::PRESETS;
pub use self::spec::{Architecture, Matrix, RopeScaling, SynthSpec, TypeMix};
use self::weights::Stream;
use super::{GgufWriter, TensorProblem, Value};
use crate::TensorType;

/// Why a synthetic model could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// A number of the specification is out of range, or does not go with another.
    #[error("{field} is {value}: it must be {expected}")]
    Field {
        /// The field of [`SynthSpec`].
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: String,
    },
    /// The shape and the type do not go together.
    #[error("tensor `{name}`: {problem}: choose another type for it, or another shape")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: TensorProblem,
    },
    /// A type that does not exist or is not supported.
    #[error(
        "tensor type \"{name}\" is not known: choose one of {}",
        TensorType::ALL.map(TensorType::name).join(", ")
    )]
    UnknownType {
        /// The name given.
        name: String,
    },
    /// A part of a type mix that is not `MATRIX=TYPE`.
    #[error(
        "\"{name}\" names no matrix: write a mix as Q4_K,embedding=Q8_0,ffn_down=Q6_K, with embedding, attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up or ffn_down"
    )]
    UnknownMatrix {
        /// What was given in place of a matrix.
        name: String,
    },
    /// The output could not be written.
    #[error("cannot write the model: {0}")]
    Write(#[from] io::Error),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SynthSummary {
    /// Bytes of the file.
    pub bytes: u64,
    /// Elements of all tensors.
    pub parameters: u64,
    /// The number of tensors.
    pub tensors: usize,
}

/// One of the files that a model is split into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynthPart {
    /// Which, from 0.
    pub number: u32,
    /// How many there are; 1 if it is not split.
    pub count: u32,
}

const WHOLE: SynthPart = SynthPart {
    number: 0,
    count: 1,
};

impl SynthSpec {
    /// The fewest tokens this architecture's tokenizer can have.
    pub const fn minimum_vocabulary(&self) -> u32 {
        vocabulary::minimum(self.architecture)
    }

    /// What [`Self::write`] would write, without the data.
    ///
    /// # Errors
    /// Those of [`Self::write`] but for writing.
    pub fn summary(&self) -> Result<SynthSummary, SynthError> {
        self.part_summary(WHOLE)
    }

    /// What [`Self::write_part`] would write, without the data.
    ///
    /// # Errors
    /// Those of [`Self::write_part`] but for writing.
    pub fn part_summary(&self, part: SynthPart) -> Result<SynthSummary, SynthError> {
        let (writer, tensors) = self.prepare(part)?;
        Ok(summary(&writer, &tensors))
    }

    /// Writes the model as a GGUF file, streaming: memory is that of the header, whatever the
    /// model's size. A file should be given through a [`io::BufWriter`].
    ///
    /// # Errors
    /// [`SynthError::Field`] and [`SynthError::Tensor`] before anything is written, where the
    /// specification contradicts itself; [`SynthError::Write`] from `out`.
    pub fn write(&self, out: impl Write) -> Result<SynthSummary, SynthError> {
        self.write_part(WHOLE, out)
    }

    /// Writes one file of the model, split into several as [`files_at`](crate::gguf::files_at) says:
    /// the first has all metadata, and each an equal share of the tensors.
    ///
    /// # Errors
    /// Those of [`Self::write`]; [`SynthError::Field`] for more parts than there are tensors.
    pub fn write_part(&self, part: SynthPart, out: impl Write) -> Result<SynthSummary, SynthError> {
        let (writer, tensors) = self.prepare(part)?;
        let mut remaining = tensors.iter();
        writer.write(out, |placed, out| match remaining.next() {
            Some(tensor) => self.write_tensor(tensor, placed.bytes, out),
            None => Err(io::Error::other("more tensors placed than were laid out")),
        })?;
        Ok(summary(&writer, &tensors))
    }

    /// The file in memory, for small models in tests.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub fn to_bytes(&self) -> Result<Bytes, SynthError> {
        let mut file = Vec::new();
        self.write(&mut file)?;
        Ok(file.into())
    }

    /// The model's files in memory, split into `count`.
    ///
    /// # Errors
    /// Those of [`Self::write_part`].
    pub fn to_parts(&self, count: u32) -> Result<Vec<Bytes>, SynthError> {
        let parts = (0..count).map(|number| {
            let mut file = Vec::new();
            self.write_part(SynthPart { number, count }, &mut file)?;
            Ok(file.into())
        });
        parts.collect()
    }

    fn write_tensor(&self, tensor: &Tensor, bytes: usize, out: &mut dyn Write) -> io::Result<()> {
        match &tensor.content {
            Content::Numbers(numbers) => numbers
                .iter()
                .try_for_each(|number| out.write_all(&number.to_le_bytes())),
            Content::Random(spread) => {
                let mut stream = Stream::new(self.seed, &tensor.name);
                weights::write_random(out, &mut stream, tensor.tensor_type, bytes, *spread)
            }
        }
    }

    /// The header of a part, and what its data section is to hold, in its order.
    fn prepare(&self, part: SynthPart) -> Result<(GgufWriter, Vec<Tensor>), SynthError> {
        self.check()?;
        let mut writer = GgufWriter::new();
        let SynthPart { number, count } = part;
        if number == 0 {
            self.write_metadata(&mut writer);
        }
        let mut tensors = layout::tensors(self);
        let all = tensors.len();
        let possible = number < count && count as usize <= all;
        require("split", count, possible, || {
            format!("from 1 to {all}, the number of tensors")
        })?;
        if count > 1 {
            writer
                .metadata("split.no", &Value::U16(number as u16))
                .metadata("split.count", &Value::U16(count as u16))
                .metadata("split.tensors.count", &Value::I32(all as i32));
        }
        let end = |number: u32| number as usize * all / count as usize;
        tensors.truncate(end(number + 1));
        tensors.drain(..end(number));
        for tensor in &tensors {
            writer
                .tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type)
                .map_err(|problem| SynthError::Tensor {
                    name: tensor.name.clone(),
                    problem,
                })?;
        }
        Ok((writer, tensors))
    }

    fn check(&self) -> Result<(), SynthError> {
        // Far above any model, far below where sizes overflow.
        const MOST: u32 = 1 << 24;
        let counts = [
            ("layers", self.layers, 1, 1024),
            ("d_model", self.d_model, 1, MOST),
            ("heads", self.heads, 1, 65_536),
            ("kv_heads", self.kv_heads, 1, self.heads),
            ("head_dim", self.head_dim, 2, 65_536),
            ("d_ff", self.d_ff, 1, MOST),
            (
                "vocabulary",
                self.vocabulary,
                self.minimum_vocabulary(),
                MOST,
            ),
            ("context", self.context, 1, u32::MAX),
        ];
        for (field, value, least, most) in counts {
            require(field, value, (least..=most).contains(&value), || {
                format!("from {least} to {most}")
            })?;
        }
        let divides = self.heads.is_multiple_of(self.kv_heads);
        require("kv_heads", self.kv_heads, divides, || {
            format!("a divisor of the {} heads", self.heads)
        })?;
        let even = self.head_dim.is_multiple_of(2);
        require("head_dim", self.head_dim, even, || "even".into())?;
        let base = self.rope_base;
        require("rope_base", base, base.is_finite() && base > 0.0, || {
            "a finite number above 0".into()
        })?;
        let windowed = self.architecture == Architecture::Gemma3;
        let window = self.sliding_window.unwrap_or_default();
        require("sliding_window", window, windowed == (window > 0), || {
            let name = self.architecture.name();
            let word = if windowed { "given" } else { "left out" };
            format!("{word} for the {name} architecture")
        })?;
        self.check_scaling()
    }

    fn check_scaling(&self) -> Result<(), SynthError> {
        let check_factor = |factor: f32| {
            let valid = factor.is_finite() && factor >= 1.0;
            require("rope_scaling's factor", factor, valid, || {
                "a finite number of at least 1".into()
            })
        };
        match self.rope_scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => check_factor(factor),
            RopeScaling::Llama3 {
                factor,
                low_frequency: low,
                high_frequency: high,
                original_context: context,
            } => {
                check_factor(factor)?;
                let ordered = 0.0 < low && low < high && high.is_finite();
                require("rope_scaling's low_frequency", low, ordered, || {
                    format!("above 0 and below high_frequency, {high}")
                })?;
                require(
                    "rope_scaling's original_context",
                    context,
                    context > 0,
                    || "above 0".into(),
                )
            }
        }
    }

    fn write_metadata(&self, writer: &mut GgufWriter) {
        let architecture = self.architecture.name();
        let key = |key: &str| format!("{architecture}.{key}");
        let description = "random weights from Potluck's generator: its words mean nothing";
        writer
            .metadata("general.architecture", &Value::string(architecture))
            .metadata("general.type", &Value::string("model"))
            .metadata("general.name", &Value::string(&self.name))
            .metadata("general.description", &Value::string(description))
            .metadata("general.quantization_version", &Value::U32(2))
            .metadata("potluck.synth.seed", &Value::U64(self.seed));
        let mut numbers = vec![
            ("block_count", self.layers),
            ("context_length", self.context),
            ("embedding_length", self.d_model),
            ("feed_forward_length", self.d_ff),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
            ("vocab_size", self.vocabulary),
        ];
        if let Some(window) = self.sliding_window {
            numbers.push(("attention.sliding_window", window));
        }
        for (name, number) in numbers {
            writer.metadata(&key(name), &Value::U32(number));
        }
        let epsilon = spec::norm_epsilon(self.architecture);
        writer
            .metadata(
                &key("attention.layer_norm_rms_epsilon"),
                &Value::F32(epsilon),
            )
            .metadata(&key("rope.freq_base"), &Value::F32(self.rope_base));
        if let RopeScaling::Linear { factor } = self.rope_scaling {
            writer
                .metadata(&key("rope.scaling.type"), &Value::string("linear"))
                .metadata(&key("rope.scaling.factor"), &Value::F32(factor));
        }
        vocabulary::write(self.architecture, self.vocabulary, writer);
    }
}

fn summary(writer: &GgufWriter, tensors: &[Tensor]) -> SynthSummary {
    let elements = |tensor: &Tensor| tensor.dimensions.iter().product::<u64>();
    SynthSummary {
        bytes: writer.file_len(),
        parameters: tensors.iter().map(elements).sum(),
        tensors: tensors.len(),
    }
}

fn require(
    field: &'static str,
    value: impl ToString,
    holds: bool,
    expected: impl FnOnce() -> String,
) -> Result<(), SynthError> {
    if holds {
        return Ok(());
    }
    Err(SynthError::Field {
        field,
        value: value.to_string(),
        expected: expected(),
    })
}
