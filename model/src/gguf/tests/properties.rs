//! What holds of every file.

use proptest::prelude::*;

use super::super::{Array, Gguf, GgufWriter, Value};
use super::{bytes_of, small_file};
use crate::TensorType;

/// What the fuzz target of this name checks.
#[path = "../../../fuzz/properties/gguf_parse.rs"]
mod gguf_parse;

/// Values of every type, arrays nested up to three deep.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        // Not NaN, which equals nothing.
        (-1e30_f32..1e30).prop_map(Value::F32),
        (-1e300_f64..1e300).prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        any::<Vec<u8>>().prop_map(|text| Value::string(&text)),
    ];
    prop_oneof![scalar, array().prop_map(Value::Array)]
}

fn array() -> impl Strategy<Value = Array> {
    let flat = prop_oneof![
        any::<Vec<Vec<u8>>>().prop_map(Array::strings),
        any::<Vec<i32>>().prop_map(Array::numbers),
        any::<Vec<u32>>().prop_map(Array::numbers),
        prop::collection::vec(-1e30_f32..1e30, 0..20).prop_map(Array::numbers),
    ];
    flat.prop_recursive(2, 30, 5, |inner| {
        prop::collection::vec(inner, 0..5).prop_map(|arrays| Array::arrays(&arrays))
    })
}

/// Tensor shapes of whole blocks: a type, blocks in a row, and the other dimensions.
fn tensor() -> impl Strategy<Value = (TensorType, Vec<u64>)> {
    let tensor_type = prop::sample::select(&TensorType::ALL[..]);
    let outer = prop::collection::vec(1_u64..4, 0..=3);
    (tensor_type, 1_u64..4, outer).prop_map(|(tensor_type, blocks, outer)| {
        let mut dimensions = vec![blocks * tensor_type.block_elements() as u64];
        dimensions.extend(outer);
        (tensor_type, dimensions)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        version in 2_u32..=3,
        alignment in prop::sample::select(vec![8_u32, 32, 64, 4096]),
        entries in prop::collection::btree_map("[a-z.]{1,12}", value(), 0..12),
        tensors in prop::collection::vec(tensor(), 0..8),
        seed: u8,
    ) {
        let mut writer = GgufWriter::new();
        writer.version(version).alignment(alignment);
        for (key, value) in &entries {
            writer.metadata(key, value);
        }
        for (index, (tensor_type, dimensions)) in tensors.iter().enumerate() {
            let name = format!("tensor.{index}");
            writer.tensor(&name, dimensions, *tensor_type).unwrap();
        }
        let mut file = Vec::new();
        let data = |index: usize| seed.wrapping_add(index as u8);
        let mut index = 0;
        writer.write(&mut file, |tensor, out| {
            index += 1;
            out.write_all(&vec![data(index - 1); tensor.bytes])
        }).unwrap();
        prop_assert_eq!(file.len() as u64, writer.file_len());

        let gguf = Gguf::parse(file.into()).unwrap();
        prop_assert_eq!(gguf.version(), version);
        prop_assert_eq!(gguf.alignment(), alignment);
        let read: Vec<_> = gguf.metadata().iter().skip(1).collect();
        let written: Vec<_> = entries.iter().map(|(key, value)| (&**key, value)).collect();
        prop_assert_eq!(read, written);
        prop_assert_eq!(gguf.tensors().len(), tensors.len());
        for (index, (info, (tensor_type, dimensions))) in
            gguf.tensors().iter().zip(&tensors).enumerate()
        {
            prop_assert_eq!(info.tensor_type, *tensor_type);
            prop_assert_eq!(&info.dimensions, dimensions);
            let bytes = gguf.tensor_bytes(info);
            prop_assert_eq!(bytes.len(), info.rows() * info.row_bytes());
            prop_assert!(bytes.iter().all(|&byte| byte == data(index)));
        }
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let mut file = bytes_of(&small_file()).to_vec();
        // The rest is tensor data, where nothing can go wrong.
        let header = small_file().header().len();
        for (at, byte) in edits {
            let at = at.index(header);
            file[at] = byte;
        }
        if cut {
            file.truncate(length.index(file.len()));
        }
        gguf_parse::check(&file);
    }

    #[test]
    fn a_damaged_number_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        number in prop_oneof![
            Just(0_u64), Just(u64::MAX), Just(i64::MAX as u64), Just(1 << 32),
            any::<u64>(), 0..100_u64,
        ],
    ) {
        let mut file = bytes_of(&small_file()).to_vec();
        let at = at.index(small_file().header().len());
        file[at..at + 8].copy_from_slice(&number.to_le_bytes());
        gguf_parse::check(&file);
    }

    #[test]
    fn random_bytes_are_read_or_refused(
        tensors in 0_u64..3, entries in 0_u64..5, rest: Vec<u8>,
    ) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(tensors.to_le_bytes());
        file.extend(entries.to_le_bytes());
        file.extend(rest);
        gguf_parse::check(&file);
    }
}
