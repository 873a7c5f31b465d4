//! What a well-formed file is read as.

use super::super::{Gguf, GgufError, GgufWriter, Value, ValueType};
use super::{bytes_of, small_file};
use crate::TensorType;

fn small() -> Gguf {
    Gguf::parse(bytes_of(&small_file())).unwrap()
}

#[test]
fn versions_2_and_3_are_read_alike() {
    for version in [2, 3] {
        let mut writer = small_file();
        let gguf = Gguf::parse(bytes_of(writer.version(version))).unwrap();
        assert_eq!(gguf.version(), version);
        assert_eq!(gguf.alignment(), 32);
        assert_eq!(gguf.tensors(), small().tensors());
        assert_eq!(gguf.metadata().len(), 9);
    }
}

#[test]
fn metadata_keeps_the_order_of_the_file() {
    let gguf = small();
    let keys: Vec<&str> = gguf.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!(keys[..3], ["general.architecture", "answer", "negative"]);
}

#[test]
fn tensors_are_where_the_writer_put_them() {
    let gguf = small();
    let tensor = gguf.tensor("blk.0.attn_q.weight").unwrap();
    assert_eq!(tensor.dimensions, [32, 3]);
    assert_eq!(tensor.tensor_type, TensorType::Q4_1);
    assert_eq!((tensor.columns(), tensor.rows()), (32, 3));
    assert_eq!((tensor.row_bytes(), tensor.elements()), (20, 96));
    assert_eq!(tensor.offset % 32, 0);
    assert_eq!(gguf.tensor_bytes(tensor), vec![1; 60]);

    let norm = gguf.require_tensor("output_norm.weight").unwrap();
    assert_eq!((norm.columns(), norm.rows(), norm.bytes), (5, 1, 20));
    assert!(gguf.tensor("blk.9.attn_q.weight").is_none());
    assert!(matches!(
        gguf.require_tensor("blk.9.attn_q.weight"),
        Err(GgufError::MissingTensor { name }) if name == "blk.9.attn_q.weight"
    ));
}

#[test]
fn tensor_bytes_share_the_files_memory() {
    let file = bytes_of(&small_file());
    let gguf = Gguf::parse(file.clone()).unwrap();
    let tensor = &gguf.tensors()[1];
    let at = gguf.tensor_bytes(tensor).as_ptr() as usize;
    assert_eq!(at - file.as_ptr() as usize, tensor.offset as usize);
}

#[test]
fn another_alignment_moves_the_tensors() {
    let mut writer = GgufWriter::new();
    writer.alignment(4096);
    for name in ["a", "b"] {
        writer.tensor(name, &[3], TensorType::F32).unwrap();
    }
    let gguf = Gguf::parse(bytes_of(&writer)).unwrap();
    assert_eq!(gguf.alignment(), 4096);
    let offsets: Vec<u64> = gguf.tensors().iter().map(|t| t.offset).collect();
    assert_eq!(offsets, [4096, 8192]);
}

#[test]
fn a_file_of_metadata_alone_is_read() {
    let mut writer = GgufWriter::new();
    writer.metadata("a", &Value::U8(1));
    let mut file = writer.header();
    // Such files end with the last entry, without padding.
    file.truncate(24 + 8 + 1 + 4 + 1);
    let gguf = Gguf::parse(file.into()).unwrap();
    assert_eq!(gguf.tensors(), []);
    assert_eq!(gguf.metadata().get("a"), Some(&Value::U8(1)));
}

#[test]
fn absent_keys_are_none_and_missing_when_required() {
    let gguf = small();
    let metadata = gguf.metadata();
    assert!(metadata.str("none").unwrap().is_none());
    assert!(metadata.u32("none").unwrap().is_none());
    assert!(metadata.strings("none").unwrap().is_none());
    assert!(metadata.i32s("none").unwrap().is_none());
    let error = metadata.require_u32("none").unwrap_err();
    assert!(matches!(&error, GgufError::MissingKey { key } if key == "none"));
    assert!(error.to_string().contains("`none` is missing"));
}

#[test]
fn values_are_read_by_type() {
    let gguf = small();
    let metadata = gguf.metadata();
    assert_eq!(
        metadata.require_str("general.architecture").unwrap(),
        "llama"
    );
    assert_eq!(metadata.require_u32("answer").unwrap(), 42);
    assert_eq!(metadata.u64("answer").unwrap().unwrap(), 42);
    assert_eq!(metadata.require_f32("ratio").unwrap(), 0.5);
    assert!(metadata.bool("flag").unwrap().unwrap());
    let texts = metadata.require_strings("texts").unwrap();
    let texts: Vec<&str> = texts.iter().map(Result::unwrap).collect();
    assert_eq!(texts, ["a", "", "ünï"]);
    let ids = metadata.i32s("ids").unwrap().unwrap();
    assert_eq!(ids.iter().collect::<Vec<_>>(), [3, -1, 7]);
    let scores = metadata.f32s("scores").unwrap().unwrap();
    assert_eq!(scores.iter().collect::<Vec<_>>(), [0.25, -1.5]);
}

#[test]
fn integers_of_every_width_are_read_where_they_fit() {
    let mut writer = GgufWriter::new();
    let sevens = [
        Value::U8(7),
        Value::I8(7),
        Value::U16(7),
        Value::I16(7),
        Value::U32(7),
        Value::I32(7),
        Value::U64(7),
        Value::I64(7),
    ];
    for value in &sevens {
        writer.metadata(value.value_type().name(), value);
    }
    writer.metadata("big", &Value::U64(1 << 32));
    let gguf = Gguf::parse(bytes_of(&writer)).unwrap();
    for value in &sevens {
        let key = value.value_type().name();
        assert_eq!(gguf.metadata().require_u32(key).unwrap(), 7, "{key}");
        assert_eq!(gguf.metadata().u64(key).unwrap().unwrap(), 7, "{key}");
    }
    assert_eq!(gguf.metadata().u64("big").unwrap().unwrap(), 1 << 32);
    let error = gguf.metadata().u32("big").unwrap_err().to_string();
    assert_eq!(
        error,
        "metadata key `big` must be an unsigned 32-bit integer, and this file has 4294967296"
    );
}

#[test]
fn a_negative_number_is_no_unsigned_one() {
    let gguf = small();
    assert!(matches!(
        gguf.metadata().u64("negative"),
        Err(GgufError::OutOfRange { value: -7, .. })
    ));
    assert!(matches!(
        gguf.metadata().u32s("ids"),
        Err(GgufError::OutOfRange { value: -1, .. })
    ));
}

#[test]
fn another_type_is_refused_by_name() {
    let gguf = small();
    let metadata = gguf.metadata();
    let messages = [
        metadata.u32("ratio").unwrap_err().to_string(),
        metadata.str("answer").unwrap_err().to_string(),
        metadata.f32("texts").unwrap_err().to_string(),
        metadata.strings("ids").unwrap_err().to_string(),
        metadata.i32s("scores").unwrap_err().to_string(),
        metadata.bool("negative").unwrap_err().to_string(),
    ];
    assert_eq!(
        messages,
        [
            "metadata key `ratio` must be an unsigned 32-bit integer, and this file has an f32",
            "metadata key `answer` must be a string, and this file has a u32",
            "metadata key `texts` must be a floating-point number, and this file has an array of 3 string values",
            "metadata key `ids` must be an array of strings, and this file has an array of 3 i32 values",
            "metadata key `scores` must be an array of 32-bit integers, and this file has an array of 2 f32 values",
            "metadata key `negative` must be a bool, and this file has an i64",
        ]
    );
}

#[test]
fn text_that_is_not_utf8_is_an_error_when_it_is_read_as_text() {
    let mut writer = GgufWriter::new();
    let texts = super::super::Array::strings([&b"ok"[..], b"\xff\xfe"]);
    writer
        .metadata("text", &Value::string(b"\xc3"))
        .metadata("texts", &Value::Array(texts));
    let gguf = Gguf::parse(bytes_of(&writer)).unwrap();
    assert!(matches!(
        gguf.metadata().str("text"),
        Err(GgufError::InvalidText { key }) if key == "text"
    ));
    let texts = gguf.metadata().require_strings("texts").unwrap();
    let mut iter = texts.iter();
    assert_eq!(iter.next().unwrap().unwrap(), "ok");
    assert!(matches!(
        iter.next().unwrap(),
        Err(GgufError::InvalidElement { key, index: 1 }) if key == "texts"
    ));
    assert!(iter.next().is_none());
    assert_eq!(texts.iter_bytes().last().unwrap(), b"\xff\xfe");
}

#[test]
fn arrays_of_other_widths_are_converted() {
    let mut writer = GgufWriter::new();
    let bytes = [1, 255_u8];
    let mut encoded = Vec::from((ValueType::U8 as u32).to_le_bytes());
    encoded.extend(2_u64.to_le_bytes());
    encoded.extend(bytes);
    let mut doubles = Vec::from((ValueType::F64 as u32).to_le_bytes());
    doubles.extend(1_u64.to_le_bytes());
    doubles.extend(0.1_f64.to_le_bytes());
    let array = ValueType::Array as u32;
    writer
        .raw_metadata(b"bytes", array, &encoded)
        .raw_metadata(b"doubles", array, &doubles);
    let gguf = Gguf::parse(bytes_of(&writer)).unwrap();
    let metadata = gguf.metadata();
    let numbers = metadata.i32s("bytes").unwrap().unwrap();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [1, 255]);
    let numbers = metadata.f32s("doubles").unwrap().unwrap();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [0.1_f32]);
}

#[test]
fn nested_arrays_are_read_inside_out() {
    let gguf = small();
    let array = gguf.metadata().array("nested").unwrap().unwrap();
    assert_eq!(array.element_type(), ValueType::Array);
    let inner: Vec<Value> = array.values().collect();
    let Value::Array(texts) = &inner[1] else {
        panic!("an array of arrays has arrays");
    };
    assert_eq!(texts.values().collect::<Vec<_>>(), [Value::string("x")]);
    assert_eq!(inner[0].to_string(), "[1, 2]");
}

#[test]
fn long_arrays_are_shown_by_their_first_elements() {
    let array = super::super::Array::numbers(0..20_u32);
    assert_eq!(
        Value::Array(array).to_string(),
        "[0, 1, 2, 3, 4, 5, 6, 7, … 20 u32 in all]"
    );
    assert_eq!(Value::string("say \"a\"\n").to_string(), r#""say \"a\"\n""#);
}

#[test]
fn the_writer_refuses_data_of_another_length() {
    let writer = small_file();
    let error = writer
        .write(Vec::new(), |_, out| out.write_all(&[0]))
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn the_writer_knows_the_files_length() {
    let writer = small_file();
    assert_eq!(writer.file_len(), bytes_of(&writer).len() as u64);
}
