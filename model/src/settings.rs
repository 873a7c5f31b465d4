//! The settings of a file under its architecture's prefix: read, each remembered as used, and what
//! is left over judged.
//!
//! A setting that nothing used is one of three:
//!
//! | what it is | example | what is done |
//! |---|---|---|
//! | known to change no answer, or of a value that says "none" | `vocab_size`; `expert_count` 0 | nothing |
//! | of a kind that can change an answer: the fragments of [`CHANGING`] | `attention.clamp_kqv`, `logit_scale` | refused, by name |
//! | any other, and those of [`PASSED_OVER`] | `rope.scaling.yarn_beta_fast` | a warning that names it |

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use crate::config::{RopeConfig, RopeDivisors, UnusedSetting, Yarn};
use crate::gguf::{Metadata, Value};
use crate::{ModelConfig, ModelError};

/// Settings that say what a file is or how it was made, that belong to other uses of a model
/// (embedding or classifying texts), or that matter only beside another, which is judged.
const HARMLESS: [&str; 15] = [
    "vocab_size",
    "tensor_data_layout",
    "embedding_length_out",
    "pooling_type",
    "classifier.output_labels",
    "classifier.pooling_type",
    "dense_2_feat_in",
    "dense_2_feat_out",
    "dense_3_feat_in",
    "dense_3_feat_out",
    // The epsilon of another kind of norm, which these graphs do not have.
    "attention.layer_norm_epsilon",
    // Beside a window.
    "attention.sliding_window_pattern",
    "rope.freq_base_swa",
    // Beside a type of scaling.
    "rope.scaling.original_context_length",
    // How scaling came about, not what it is.
    "rope.scaling.finetuned",
];

/// YaRN's bounds, which llama.cpp takes to be these in the architectures here, whatever a file says.
const PASSED_OVER: [(&str, f32); 2] = [
    ("rope.scaling.yarn_beta_fast", 32.0),
    ("rope.scaling.yarn_beta_slow", 1.0),
];

/// What is in the name of a setting that can change an answer.
const CHANGING: [&str; 21] = [
    "attention.",
    "attn_",
    "rope.",
    "scale",
    "softcap",
    "expert",
    "moe",
    "ssm.",
    "shortconv",
    "norm",
    "activation",
    "swiglu",
    "residual",
    "nextn",
    "loop",
    "leading_dense",
    "interleave",
    "interval",
    "per_layer",
    "token_shift",
    "hyper_connection",
];

/// Metadata under an architecture's prefix. What is read counts as used.
pub(crate) struct Settings<'a> {
    prefix: &'static str,
    metadata: &'a Metadata,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Settings<'a> {
    pub(crate) fn new(prefix: &'static str, metadata: &'a Metadata) -> Self {
        Self {
            prefix,
            metadata,
            used: RefCell::default(),
        }
    }

    /// The key with its prefix, from now on used.
    fn key(&self, key: &str) -> String {
        let key = self.name(key);
        self.used.borrow_mut().insert(key.clone());
        key
    }

    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    pub(crate) fn metadata(&self) -> &'a Metadata {
        self.metadata
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.metadata.get(&self.key(key))
    }

    pub(crate) fn refuse(
        &self,
        key: &str,
        value: impl fmt::Display,
        problem: &'static str,
    ) -> ModelError {
        ModelError::Setting {
            key: self.name(key),
            value: value.to_string(),
            problem,
        }
    }

    /// A size from 1 to `limit`: a number, or a list of one for each layer, all equal.
    pub(crate) fn size(&self, key: &str, limit: usize) -> Result<usize, ModelError> {
        match self.optional_size(key, limit)? {
            Some(size) => Ok(size),
            None => Ok(self.metadata.require_u32(&self.key(key))? as usize),
        }
    }

    pub(crate) fn optional_size(
        &self,
        key: &str,
        limit: usize,
    ) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.integer(key)? else {
            return Ok(None);
        };
        let size = value as usize;
        if size == 0 || size > limit {
            return Err(self.refuse(key, value, "out of range"));
        }
        Ok(Some(size))
    }

    fn integer(&self, key: &str) -> Result<Option<u32>, ModelError> {
        let name = self.key(key);
        let Some(value @ Value::Array(_)) = self.metadata.get(&name) else {
            return Ok(self.metadata.u32(&name)?);
        };
        let numbers = self.metadata.require_u32s(&name)?;
        let layers = self.metadata.require_u32(&self.key("block_count"))?;
        if numbers.len() != layers as usize {
            return Err(self.refuse(key, value, "a list must have one number for each layer"));
        }
        let mut numbers = numbers.iter();
        let first = numbers.next();
        if numbers.any(|number| Some(number) != first) {
            let problem = "this build runs models whose layers are all alike in this";
            return Err(self.refuse(key, value, problem));
        }
        Ok(first)
    }

    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        let value = self.metadata.f32(&self.key(key))?;
        match value.filter(|value| !value.is_finite()) {
            Some(value) => Err(self.refuse(key, value, "it must be a finite number")),
            None => Ok(value),
        }
    }

    pub(crate) fn require_positive_f32(&self, key: &str) -> Result<f32, ModelError> {
        match self.positive_f32(key)? {
            Some(value) => Ok(value),
            None => Ok(self.metadata.require_f32(&self.key(key))?),
        }
    }

    pub(crate) fn positive_f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        let value = self.f32(key)?;
        match value {
            Some(value) if value <= 0.0 => Err(self.refuse(key, value, "it must be positive")),
            _ => Ok(value),
        }
    }

    /// A number of which 0 says "none".
    pub(crate) fn f32_above_0(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.f32(key)? {
            Some(0.0) => Ok(None),
            _ => self.positive_f32(key),
        }
    }

    /// The rotary embedding that applies to all layers unless the family says otherwise.
    pub(crate) fn rope(&self) -> Result<RopeConfig, ModelError> {
        const TYPE: &str = "rope.scaling.type";
        let base = self.positive_f32("rope.freq_base")?.unwrap_or(10_000.0);
        let mut rope = RopeConfig {
            base,
            linear_factor: self.rope_factor()?,
            divisors: RopeDivisors::IfGiven,
            yarn: None,
            amplitude: self
                .positive_f32("rope.scaling.attn_factor")?
                .unwrap_or(1.0),
        };
        match self.metadata.str(&self.key(TYPE))? {
            None | Some("linear") => {}
            Some("none") => rope.linear_factor = 1.0,
            Some("llama3") => {
                // The factor is in the divisors.
                rope.linear_factor = 1.0;
                rope.divisors = RopeDivisors::Given;
            }
            Some("yarn") => {
                if rope.linear_factor < 1.0 {
                    let factor = rope.linear_factor;
                    let problem = "YaRN needs a factor of at least 1";
                    return Err(self.refuse("rope.scaling.factor", factor, problem));
                }
                rope.amplitude *= 1.0 + 0.1 * libm::logf(rope.linear_factor);
                rope.yarn = Some(Yarn {
                    original_context: self.original_context()?,
                });
            }
            // llama.cpp goes by the context that a session reserves; here, a file's logits do not
            // depend on that: it is the context that the file says the model is for.
            Some("longrope") => {
                let context = self.size("context_length", 1 << 30)?;
                rope.divisors = if context > self.original_context()? {
                    RopeDivisors::Long
                } else {
                    RopeDivisors::Short
                };
            }
            Some(other) => {
                let problem = "this build knows none, linear, yarn, longrope and llama3";
                return Err(self.refuse(TYPE, other, problem));
            }
        }
        Ok(rope)
    }

    /// What positions are divided by, by the key's present name or its old one.
    fn rope_factor(&self) -> Result<f32, ModelError> {
        const OLD: &str = "rope.scale_linear";
        let new = self.f32_above_0("rope.scaling.factor")?;
        let old = self.f32_above_0(OLD)?;
        match (new, old) {
            (Some(new), Some(old)) if new != old => {
                Err(self.refuse(OLD, old, "rope.scaling.factor says otherwise"))
            }
            _ => Ok(new.or(old).unwrap_or(1.0)),
        }
    }

    fn original_context(&self) -> Result<usize, ModelError> {
        match self.optional_size("rope.scaling.original_context_length", 1 << 30)? {
            Some(context) => Ok(context),
            None => self.size("context_length", 1 << 30),
        }
    }

    /// What is left over, to be told; or refused, where it can change an answer.
    pub(crate) fn unused(&self, config: &ModelConfig) -> Result<Vec<UnusedSetting>, ModelError> {
        let used = self.used.borrow();
        let mut unused = Vec::new();
        for (name, value) in self.metadata.iter() {
            let prefix = name.strip_prefix(self.prefix);
            let Some(key) = prefix.and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            if used.contains(name) || HARMLESS.contains(&key) || says_nothing(key, value, config) {
                continue;
            }
            let told = PASSED_OVER
                .iter()
                .any(|(passed_over, _)| *passed_over == key);
            if !told && CHANGING.iter().any(|fragment| key.contains(fragment)) {
                let problem =
                    "this build does not do that, and the answer would be wrong without it";
                return Err(self.refuse(key, value, problem));
            }
            unused.push(UnusedSetting {
                key: name.to_owned(),
                value: value.to_string(),
            });
        }
        Ok(unused)
    }
}

/// Whether a setting of this value leaves everything as it is without it.
fn says_nothing(key: &str, value: &Value, config: &ModelConfig) -> bool {
    let number = match *value {
        Value::F32(number) => f64::from(number),
        Value::F64(number) => number,
        Value::Bool(said) => f64::from(u8::from(said)),
        _ => match value.as_integer() {
            Some(number) => number as f64,
            None => return false,
        },
    };
    if let Some((_, usual)) = PASSED_OVER.iter().find(|(other, _)| *other == key) {
        return number == f64::from(*usual);
    }
    match key {
        "attention.causal" => number == 1.0,
        "attention.scale" => number == 0.0 || number as f32 == config.attention_scale,
        "attention.sliding_window" => number == 0.0 || number >= config.context as f64,
        "attention.key_length_swa" | "attention.value_length_swa" => {
            number == config.head_dim as f64
        }
        "rope.dimension_count_swa" => number == config.rope_dim as f64,
        "rope.scaling.yarn_ext_factor" | "rope.scaling.yarn_attn_factor" => number == 1.0,
        _ => number == 0.0 || key.ends_with("_scale") && number == 1.0,
    }
}
