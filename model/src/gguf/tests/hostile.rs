//! Files that must be refused, each for its reason.

use super::super::{
    Array, ClaimedCounts, Gguf, GgufError, GgufWriter, RawTensor, TensorProblem, Value, ValueType,
};
use super::{bytes_of, small_file};
use crate::TensorType;

fn refused(writer: &GgufWriter) -> GgufError {
    Gguf::parse(bytes_of(writer)).unwrap_err()
}

/// Why a file with this one tensor, and 1,024 bytes after its header, is refused.
fn refused_tensor(tensor: RawTensor) -> TensorProblem {
    refused_tensors(vec![tensor])
}

fn refused_tensors(tensors: Vec<RawTensor>) -> TensorProblem {
    let mut writer = GgufWriter::new();
    for tensor in tensors {
        writer.raw_tensor(tensor);
    }
    let mut file = writer.header();
    file.resize(file.len() + 1024, 0);
    match Gguf::parse(file.into()).unwrap_err() {
        GgufError::Tensor { problem, .. } => problem,
        other => panic!("refused for another reason: {other}"),
    }
}

/// A tensor entry that is fine: 32 bytes at the start of the data section.
fn fine() -> RawTensor {
    RawTensor {
        name: b"fine".into(),
        dimensions: vec![8],
        type_number: TensorType::F32 as u32,
        offset: 0,
    }
}

#[test]
fn other_files_are_not_gguf() {
    let error = Gguf::parse(b"\x7fELF"[..].into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not a GGUF file: it starts with \"\\x7fELF\", not \"GGUF\""
    );
}

#[test]
fn other_versions_are_refused_by_number() {
    for version in [0, 1, 4, 1000] {
        let error = refused(small_file().version(version));
        assert!(
            matches!(error, GgufError::UnsupportedVersion { version: met } if met == version),
            "{error}"
        );
    }
}

#[test]
fn big_endian_files_are_refused_as_such() {
    for version in [2_u32, 3] {
        let error = refused(small_file().version(version.swap_bytes()));
        assert!(matches!(error, GgufError::BigEndian), "{error}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let file = bytes_of(&small_file());
    // The padding after the last tensor is not missed.
    let needed = Gguf::parse(file.clone()).unwrap().tensors()[2].offset as usize + 20;
    for length in 0..needed {
        assert!(Gguf::parse(file.slice(..length)).is_err(), "{length} bytes");
    }
    assert!(Gguf::parse(file.slice(..needed)).is_ok());
}

#[test]
fn a_truncated_header_says_where_and_what() {
    let file = bytes_of(&small_file());
    let error = Gguf::parse(file.slice(..30)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the list of 9 metadata entries at byte 24 needs 117 bytes and the file has 6 left: \
         the file is cut short or corrupt, fetch it again"
    );
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    for (tensors, metadata) in [(u64::MAX, 0), (0, u64::MAX), (1 << 40, 0), (0, 1 << 40)] {
        let mut writer = small_file();
        let error = refused(writer.claim_counts(ClaimedCounts { tensors, metadata }));
        assert!(matches!(error, GgufError::TooMany { .. }), "{error}");
    }
    for (tensors, metadata) in [(65_536, 9), (3, 65_536)] {
        let mut writer = small_file();
        let error = refused(writer.claim_counts(ClaimedCounts { tensors, metadata }));
        assert!(matches!(error, GgufError::Truncated { .. }), "{error}");
    }
}

#[test]
fn lengths_of_strings_are_bounded() {
    for length in [u64::MAX, u64::MAX - 7, 1 << 62, 1 << 20] {
        let mut writer = GgufWriter::new();
        let string = ValueType::String as u32;
        writer.raw_metadata(b"text", string, &length.to_le_bytes());
        let error = refused(&writer);
        assert!(
            matches!(&error, GgufError::Truncated { item, needed, .. }
                if item == "value of metadata key `text`" && *needed == length),
            "{error}"
        );
    }
}

#[test]
fn keys_and_names_have_a_greatest_length() {
    let mut writer = GgufWriter::new();
    writer.raw_metadata(&[b'k'; 65_536], ValueType::U8 as u32, &[0]);
    assert!(matches!(
        refused(&writer),
        GgufError::TooMany {
            count: 65_536,
            limit: 65_535,
            ..
        }
    ));
    let mut writer = GgufWriter::new();
    writer.raw_tensor(RawTensor {
        name: vec![b'n'; 65],
        ..fine()
    });
    assert!(matches!(
        refused(&writer),
        GgufError::TooMany {
            count: 65,
            limit: 64,
            ..
        }
    ));
}

#[test]
fn keys_and_names_must_be_utf8() {
    let mut writer = GgufWriter::new();
    writer.raw_metadata(b"\xff", ValueType::U8 as u32, &[0]);
    let error = refused(&writer).to_string();
    assert!(
        error.starts_with("key of metadata entry 0 at byte 32 is not valid UTF-8"),
        "{error}"
    );
    let mut writer = GgufWriter::new();
    writer.raw_tensor(RawTensor {
        name: b"\xff".into(),
        ..fine()
    });
    assert!(matches!(refused(&writer), GgufError::InvalidName { .. }));
}

#[test]
fn a_key_may_appear_once() {
    let mut writer = GgufWriter::new();
    writer
        .metadata("a", &Value::U8(1))
        .metadata("a", &Value::U8(1));
    assert!(matches!(refused(&writer), GgufError::DuplicateKey { key } if key == "a"));
}

#[test]
fn unknown_value_types_are_refused_by_number() {
    for number in [13, u32::MAX] {
        let mut writer = GgufWriter::new();
        writer.raw_metadata(b"a", number, &[0; 64]);
        assert!(matches!(
            refused(&writer),
            GgufError::UnknownValueType { number: met, offset: 33, .. } if met == number
        ));
    }
    let mut writer = GgufWriter::new();
    writer.raw_metadata(b"a", ValueType::Array as u32, &[13; 64]);
    assert!(matches!(
        refused(&writer),
        GgufError::UnknownValueType { .. }
    ));
}

#[test]
fn element_counts_are_bounded_for_every_type() {
    for element in ValueType::ALL {
        for count in [u64::MAX, 1 << 61, 1 << 40, 1000] {
            let mut array = Vec::from((element as u32).to_le_bytes());
            array.extend(count.to_le_bytes());
            let mut writer = GgufWriter::new();
            writer.raw_metadata(b"a", ValueType::Array as u32, &array);
            let error = refused(&writer);
            assert!(matches!(error, GgufError::Truncated { .. }), "{error}");
        }
    }
}

#[test]
fn deeply_nested_arrays_are_refused() {
    let nest = |depth| {
        let mut array = Array::numbers([1_u32]);
        for _ in 1..depth {
            array = Array::arrays(&[array]);
        }
        let mut writer = GgufWriter::new();
        writer.metadata("a", &Value::Array(array));
        Gguf::parse(bytes_of(&writer))
    };
    assert!(nest(4).is_ok());
    for depth in [5, 1000] {
        assert!(matches!(nest(depth), Err(GgufError::TooDeep { .. })));
    }
}

#[test]
fn any_byte_but_0_is_true() {
    for (byte, expected) in [(0, false), (1, true), (2, true), (255, true)] {
        let mut writer = GgufWriter::new();
        writer.raw_metadata(b"a", ValueType::Bool as u32, &[byte]);
        let gguf = Gguf::parse(bytes_of(&writer)).unwrap();
        assert_eq!(gguf.metadata().bool("a").unwrap(), Some(expected));
    }
    let mut array = Vec::from((ValueType::Bool as u32).to_le_bytes());
    array.extend(3_u64.to_le_bytes());
    array.extend([0, 1, 255]);
    let mut writer = GgufWriter::new();
    writer.raw_metadata(b"a", ValueType::Array as u32, &array);
    let gguf = Gguf::parse(bytes_of(&writer)).unwrap();
    let array = gguf.metadata().array("a").unwrap().unwrap();
    let values: Vec<_> = array.values().collect();
    assert_eq!(values, [false, true, true].map(Value::Bool));
}

#[test]
fn alignments_are_powers_of_two_within_bounds() {
    for alignment in [0, 1, 4, 24, 33, 1 << 17, u32::MAX] {
        let mut writer = GgufWriter::new();
        writer.metadata("general.alignment", &Value::U32(alignment));
        assert!(matches!(
            refused(&writer),
            GgufError::InvalidAlignment { alignment: met } if met == alignment
        ));
    }
    let mut writer = GgufWriter::new();
    writer.metadata("general.alignment", &Value::string("32"));
    assert!(matches!(refused(&writer), GgufError::WrongType { .. }));
    let mut writer = GgufWriter::new();
    writer.metadata("general.alignment", &Value::I64(-32));
    assert!(matches!(refused(&writer), GgufError::OutOfRange { .. }));
}

#[test]
fn a_tensor_name_may_appear_once() {
    let other = RawTensor {
        offset: 64,
        ..fine()
    };
    let problem = refused_tensors(vec![fine(), other]);
    assert_eq!(problem, TensorProblem::DuplicateName);
}

#[test]
fn tensors_have_one_to_four_dimensions() {
    for count in [0, 5, 1000] {
        let problem = refused_tensor(RawTensor {
            dimensions: vec![1; count],
            ..fine()
        });
        let count = count as u32;
        assert_eq!(problem, TensorProblem::DimensionCount { count });
    }
}

#[test]
fn no_dimension_is_0() {
    let problem = refused_tensor(RawTensor {
        dimensions: vec![8, 0, 2],
        ..fine()
    });
    assert_eq!(problem, TensorProblem::EmptyDimension { index: 1 });
}

#[test]
fn sizes_that_overflow_are_refused() {
    let shapes = [
        vec![u64::MAX],
        vec![1 << 62],
        vec![1 << 32, 1 << 32],
        vec![1 << 32, 1 << 31],
        vec![2, 1 << 63],
        vec![1 << 16; 4],
        vec![1, u64::MAX, u64::MAX],
    ];
    for dimensions in shapes {
        let problem = refused_tensor(RawTensor {
            dimensions: dimensions.clone(),
            ..fine()
        });
        assert_eq!(problem, TensorProblem::TooLarge { dimensions });
    }
}

#[test]
fn rows_are_whole_blocks() {
    let quantised = TensorType::ALL.into_iter().filter(|t| !t.is_float());
    for tensor_type in quantised {
        let problem = refused_tensor(RawTensor {
            dimensions: vec![100, 32],
            type_number: tensor_type as u32,
            ..fine()
        });
        assert_eq!(
            problem.to_string(),
            format!(
                "rows of 100 elements are not a whole number of {tensor_type} blocks of {}",
                tensor_type.block_elements()
            )
        );
    }
}

/// A file of these tensors' entries, and room for their data.
fn file_of(tensors: Vec<RawTensor>) -> bytes::Bytes {
    let mut writer = GgufWriter::new();
    for tensor in tensors {
        writer.raw_tensor(tensor);
    }
    let mut file = writer.header();
    file.resize(file.len() + 4096, 0);
    file.into()
}

#[test]
fn unsupported_types_are_refused_all_by_name_or_number() {
    let tensors = [(0, 19), (1, 19), (2, 4096), (3, 40)].map(|(index, type_number)| RawTensor {
        name: format!("t{index}").into(),
        dimensions: vec![32, 2],
        type_number,
        offset: 64 * index,
    });
    let error = Gguf::parse(file_of(tensors.to_vec())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 tensors are stored as IQ1_S, 1 as NVFP4 and 1 as type number 4096, which this build does \
         not run: choose a file with F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, \
         Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4, IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, TQ2_0, TQ1_0"
    );
}

#[test]
fn every_type_is_supported_or_known_or_neither() {
    let mut known = 0;
    for type_number in 0..64 {
        if TensorType::from_gguf(type_number).is_some() {
            known += 1;
            continue;
        }
        let tensor = RawTensor {
            type_number,
            ..fine()
        };
        let GgufError::UnsupportedTypes { types } = Gguf::parse(file_of(vec![tensor])).unwrap_err()
        else {
            panic!("refused for another reason");
        };
        match types[0].0.name() {
            Some(_) => known += 1,
            None => assert!(type_number > 42),
        }
    }
    assert_eq!(known, 43);
}

#[test]
fn offsets_are_aligned() {
    let problem = refused_tensor(RawTensor {
        offset: 16,
        ..fine()
    });
    assert_eq!(
        problem,
        TensorProblem::Misaligned {
            offset: 16,
            alignment: 32
        }
    );
}

#[test]
fn data_lies_in_the_file() {
    for offset in [1024, 1 << 40, u64::MAX - 31, 1 << 63] {
        let problem = refused_tensor(RawTensor { offset, ..fine() });
        assert!(matches!(problem, TensorProblem::OutOfFile { .. }));
    }
    let problem = refused_tensor(RawTensor {
        dimensions: vec![257],
        ..fine()
    });
    assert!(matches!(
        problem,
        TensorProblem::OutOfFile { bytes: 1028, .. }
    ));
}

#[test]
fn tensors_do_not_overlap() {
    let named = |name: &str, length, offset| RawTensor {
        name: name.into(),
        dimensions: vec![length],
        offset,
        ..fine()
    };
    let overlapping = [
        // One byte too long, in either order; the same place; one inside the other.
        vec![named("a", 9, 0), named("b", 8, 32)],
        vec![named("b", 8, 32), named("a", 9, 0)],
        vec![named("a", 8, 32), named("b", 8, 32)],
        vec![named("a", 64, 0), named("c", 8, 256), named("b", 1, 64)],
    ];
    for tensors in overlapping {
        let problem = refused_tensors(tensors);
        assert!(matches!(problem, TensorProblem::Overlap { .. }));
    }
}

#[test]
fn gaps_and_any_order_of_data_are_accepted() {
    let mut writer = GgufWriter::new();
    for (name, offset) in [("late", 512), ("early", 0), ("middle", 64)] {
        writer.raw_tensor(RawTensor {
            name: name.into(),
            offset,
            ..fine()
        });
    }
    let mut file = writer.header();
    let data = file.len() as u64;
    file.resize(file.len() + 1024, 0);
    let gguf = Gguf::parse(file.into()).unwrap();
    assert_eq!(gguf.tensors()[0].offset, data + 512);
}
