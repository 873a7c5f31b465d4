//! Any bytes are refused, or parse to a file of which every value and tensor can be read.

use std::io::Write;

use bytes::Bytes;
use potluck_model::gguf::{Gguf, Metadata};

/// Panics on an input that violates the property.
pub(super) fn check(file: &[u8]) {
    let bytes = Bytes::copy_from_slice(file);
    match Gguf::parse(bytes) {
        Ok(gguf) => read_everything(&gguf),
        // Messages are made from the file, too.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn read_everything(gguf: &Gguf) {
    read_metadata(gguf.metadata());
    let mut end_of_last = 0;
    let mut tensors: Vec<_> = gguf.tensors().iter().collect();
    tensors.sort_by_key(|tensor| tensor.offset);
    for tensor in tensors {
        assert!(tensor.offset >= end_of_last, "tensors overlap");
        assert_eq!(tensor.offset % u64::from(gguf.alignment()), 0);
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
        let bytes = gguf.tensor_bytes(tensor);
        assert_eq!(bytes.len(), tensor.rows() * tensor.row_bytes());
        assert_eq!(
            Some(tensor.row_bytes()),
            tensor.tensor_type.row_bytes(tensor.columns())
        );
        end_of_last = tensor.offset + tensor.bytes as u64;
    }
    assert!(end_of_last <= gguf.file_len());
}

fn read_metadata(metadata: &Metadata) {
    for (key, value) in metadata.iter() {
        write!(std::io::sink(), "{key} = {value}").expect("a sink takes everything");
        assert_eq!(
            metadata.get(key).map(|v| v.value_type()),
            Some(value.value_type())
        );
        let errors = [
            metadata.str(key).err(),
            metadata.bool(key).err(),
            metadata.u32(key).err(),
            metadata.u64(key).err(),
            metadata.f32(key).err(),
        ];
        for error in errors.into_iter().flatten() {
            assert!(error.to_string().contains(key));
        }
        if let Ok(Some(texts)) = metadata.strings(key) {
            assert_eq!(texts.iter().count(), texts.len());
        }
        if let Ok(Some(numbers)) = metadata.i32s(key) {
            assert_eq!(numbers.iter().count(), numbers.len());
        }
        if let Ok(Some(numbers)) = metadata.u32s(key) {
            assert_eq!(numbers.iter().count(), numbers.len());
        }
        if let Ok(Some(numbers)) = metadata.f32s(key) {
            assert_eq!(numbers.iter().count(), numbers.len());
        }
        if let Ok(Some(array)) = metadata.array(key) {
            assert_eq!(array.values().count(), array.len());
        }
    }
}
