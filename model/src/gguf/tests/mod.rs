#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the error"
)]

mod changed;
mod foreign;
mod hostile;
mod open;
mod properties;
mod reading;
mod split;

use bytes::Bytes;

use super::{Array, GgufWriter, Value};
use crate::TensorType;

/// A small valid file with something of everything.
fn small_file() -> GgufWriter {
    let mut writer = GgufWriter::new();
    writer
        .metadata("general.architecture", &Value::string("llama"))
        .metadata("answer", &Value::U32(42))
        .metadata("negative", &Value::I64(-7))
        .metadata("ratio", &Value::F32(0.5))
        .metadata("flag", &Value::Bool(true))
        .metadata("texts", &Value::Array(Array::strings(["a", "", "ünï"])))
        .metadata("ids", &Value::Array(Array::numbers([3_i32, -1, 7])))
        .metadata("scores", &Value::Array(Array::numbers([0.25_f32, -1.5])))
        .metadata(
            "nested",
            &Value::Array(Array::arrays(&[
                Array::numbers([1_u32, 2]),
                Array::strings(["x"]),
            ])),
        );
    writer
        .tensor("token_embd.weight", &[64, 10], TensorType::Q8_0)
        .unwrap()
        .tensor("blk.0.attn_q.weight", &[32, 3], TensorType::Q4_1)
        .unwrap()
        .tensor("output_norm.weight", &[5], TensorType::F32)
        .unwrap();
    writer
}

/// The file's bytes, each tensor's data being its index, repeated.
fn bytes_of(writer: &GgufWriter) -> Bytes {
    let mut file = Vec::new();
    let mut index = 0_u8;
    writer
        .write(&mut file, |tensor, out| {
            out.write_all(&vec![index; tensor.bytes])?;
            index += 1;
            Ok(())
        })
        .unwrap();
    file.into()
}
