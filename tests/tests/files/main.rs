//! Files as people have them: of other kinds, unsupported, split into several, changed while in use.

mod changed;
mod described;
mod foreign;
mod split;

use std::fs;
use std::path::Path;

use potluck_model::gguf::synth::SynthSpec;
use potluck_model::gguf::{Gguf, GgufWriter, RawTensor, TensorInfo, Value};

/// A small model.
fn tiny() -> Gguf {
    let spec = SynthSpec::preset("tiny").expect("a preset");
    Gguf::parse(spec.to_bytes().expect("valid")).expect("valid")
}

/// The file of `gguf` with other metadata, where `value_of` gives some, and other numbers of types.
fn rewritten(
    gguf: &Gguf,
    value_of: impl Fn(&str, &Value) -> Option<Value>,
    type_of: impl Fn(&TensorInfo) -> u32,
) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata().iter() {
        writer.metadata(key, &value_of(key, value).unwrap_or_else(|| value.clone()));
    }
    let mut data = Vec::new();
    for tensor in gguf.tensors() {
        writer.raw_tensor(RawTensor {
            name: tensor.name.as_bytes().to_vec(),
            dimensions: tensor.dimensions.clone(),
            type_number: type_of(tensor),
            offset: data.len() as u64,
        });
        data.extend(gguf.tensor_bytes(tensor));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    [writer.header(), data].concat()
}

/// The file of `gguf` with these values in place of its own.
fn with_values(gguf: &Gguf, values: &[(&str, Value)]) -> Vec<u8> {
    let value_of = |key: &str, _: &Value| {
        let mut values = values.iter();
        values
            .find(|(of, _)| *of == key)
            .map(|(_, value)| value.clone())
    };
    rewritten(gguf, value_of, |tensor| tensor.tensor_type as u32)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
}
