//! Model files with one thing changed.

use potluck_model::TensorType;
use potluck_model::gguf::synth::{SynthSpec, TypeMix};
use potluck_model::gguf::{Gguf, GgufWriter, Value};

/// A model file to be: settings and tensors of a synthetic model, which tests change.
#[derive(Debug, Clone)]
pub struct ModelFile {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    tensor_type: TensorType,
    bytes: Vec<u8>,
}

impl ModelFile {
    /// The file of a synthetic model.
    ///
    /// # Panics
    /// If there is no such model.
    pub fn synthetic(spec: &SynthSpec) -> Self {
        let gguf = Gguf::parse(spec.to_bytes().expect("a valid spec")).expect("a valid file");
        let metadata = gguf.metadata().iter();
        let tensors = gguf.tensors().iter();
        Self {
            metadata: metadata.map(|(k, v)| (k.to_owned(), v.clone())).collect(),
            tensors: tensors
                .map(|tensor| Tensor {
                    name: tensor.name.clone(),
                    dimensions: tensor.dimensions.clone(),
                    tensor_type: tensor.tensor_type,
                    bytes: gguf.tensor_bytes(tensor).to_vec(),
                })
                .collect(),
        }
    }

    /// A model of two small layers in F32, of the preset's architecture.
    ///
    /// # Panics
    /// If there is no such preset.
    pub fn small(preset: &str) -> Self {
        Self::synthetic(&Self::small_spec(preset))
    }

    /// [`Self::small`] with biases and a scale, heads that are not a multiple of 8 wide, YaRN and, in gemma3, capped logits.
    ///
    /// # Panics
    /// If there is no such preset.
    pub fn odd(preset: &str) -> Self {
        let mut spec = Self::small_spec(preset);
        spec.head_dim = 20;
        let prefix = spec.architecture.name();
        let mut file = Self::synthetic(&spec)
            .with(
                &format!("{prefix}.rope.scaling.type"),
                Value::string("yarn"),
            )
            .with(&format!("{prefix}.rope.scaling.factor"), Value::F32(4.0))
            .with_random("output.bias", 300, 0.5);
        if prefix == "gemma3" {
            file = file.with("gemma3.final_logit_softcapping", Value::F32(3.0));
        }
        for layer in 0..2 {
            for (name, width) in [
                ("attn_q", 80),
                ("attn_v", 40),
                ("attn_output", 64),
                ("ffn_up", 96),
                ("ffn_down", 64),
            ] {
                file = file.with_random(&format!("blk.{layer}.{name}.bias"), width, 0.4);
            }
            file = file.with_tensor(&format!("blk.{layer}.attn_k.scale"), &[1], &[0.7]);
        }
        file
    }

    /// What [`Self::small`] is made of.
    ///
    /// # Panics
    /// If there is no such preset.
    pub fn small_spec(preset: &str) -> SynthSpec {
        let mut spec = SynthSpec::preset(preset).expect("a preset");
        spec.types = TypeMix::uniform(TensorType::F32);
        (spec.layers, spec.d_model, spec.d_ff) = (2, 64, 96);
        (spec.heads, spec.kv_heads, spec.head_dim) = (4, 2, 16);
        (spec.vocabulary, spec.context, spec.tied) = (300, 256, false);
        spec
    }

    /// Sets a metadata key.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self = self.without(key);
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// Takes away a metadata key or tensor of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.metadata.retain(|(key, _)| key != name);
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    /// Sets a tensor of `f32`, whose `dimensions` are innermost first.
    #[must_use]
    pub fn with_tensor(mut self, name: &str, dimensions: &[u64], values: &[f32]) -> Self {
        self = self.without(name);
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dimensions: dimensions.to_vec(),
            tensor_type: TensorType::F32,
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        });
        self
    }

    /// Sets a vector of numbers that look random, from −`size` to `size`.
    #[must_use]
    pub fn with_random(self, name: &str, width: usize, size: f32) -> Self {
        let salt: usize = name.bytes().map(usize::from).sum();
        let number = |i: usize| {
            let mixed = (i + salt * 977).wrapping_mul(2_654_435_761) >> 9;
            ((mixed % 2000) as f32 / 1000.0 - 1.0) * size
        };
        let values: Vec<f32> = (0..width).map(number).collect();
        self.with_tensor(name, &[width as u64], &values)
    }

    /// The numbers of a tensor in F32, if there is one.
    pub fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name)?;
        assert_eq!(tensor.tensor_type, TensorType::F32, "{name}");
        let numbers = tensor.bytes.chunks_exact(4);
        let number = |bytes: &[u8]| bytes.try_into().map(f32::from_le_bytes).unwrap_or(f32::NAN);
        Some(numbers.map(number).collect())
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// If a tensor has another number of bytes than its dimensions say.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        for (key, value) in &self.metadata {
            writer.metadata(key, value);
        }
        for tensor in &self.tensors {
            writer
                .tensor(&tensor.name, &tensor.dimensions, tensor.tensor_type)
                .expect("whole blocks");
        }
        let mut tensors = self.tensors.iter();
        let mut file = Vec::new();
        writer
            .write(&mut file, |_, out| {
                let tensor = tensors.next().expect("as many as were added");
                out.write_all(&tensor.bytes)
            })
            .expect("memory takes all");
        file
    }

    /// The file, parsed.
    ///
    /// # Panics
    /// If it is no GGUF file.
    pub fn gguf(&self) -> Gguf {
        Gguf::parse(self.bytes().into()).expect("a valid file")
    }
}
