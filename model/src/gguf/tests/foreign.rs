//! Files that people take for models, each named for what it is.

use super::super::{Foreign, Gguf, GgufError};

fn told(bytes: &[u8]) -> Foreign {
    match Gguf::parse(bytes.to_vec().into()).unwrap_err() {
        GgufError::NotGguf(foreign) => foreign,
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn what_a_download_left_is_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 98362432\n";
    let mut zip = b"PK\x03\x04\x14\0\0\0\0\0".to_vec();
    let plain_zip = zip.clone();
    zip.extend(b"........archive/data.pkl");
    let mut safetensors = 64_u64.to_le_bytes().to_vec();
    safetensors.extend(br#"{"a":{"dtype":"F32"}}"#);
    let cases: [(&[u8], &str); 20] = [
        (b"", "is empty"),
        (b"GG", "cut short"),
        (
            pointer.as_bytes(),
            "Git LFS pointer, a note in place of the model of 99 MB: run `git lfs pull`",
        ),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf\r\n <HTML lang=en>", "web page"),
        (b"<?xml version=\"1.0\"?><Error>", "XML"),
        (b"{\"error\":\"Entry not found\"}", "JSON"),
        (&plain_zip, "zip archive"),
        (&zip, "PyTorch"),
        (b"\x80\x02}q", "PyTorch"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (&safetensors, "safetensors"),
        (b"lmgg\x01", "GGML file"),
        (b"fmgg\x01", "GGMF file"),
        (b"tjgg\x03", "GGJT file"),
        (&[0; 5000], "begins with zeros"),
        (b"\x7fELF\x02", "starts with \"\\x7fELF\""),
        (b"GGUX", "starts with \"GGUX\""),
    ];
    for (bytes, words) in cases {
        let message = told(bytes).to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
}
