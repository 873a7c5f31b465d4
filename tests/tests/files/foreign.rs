//! What is no model is named for what it is, by every command.

use std::fs;

use potluck_tests::Device;

use super::write;

#[test]
fn every_command_says_what_a_file_is_that_is_no_model() {
    let device = Device::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 98362432\n";
    let mut safetensors = 30_u64.to_le_bytes().to_vec();
    safetensors.extend(b"{\"weight\":{\"dtype\":\"F16\"}}");
    let files: [(&str, &[u8], &str); 7] = [
        ("pointer.gguf", pointer.as_bytes(), "Git LFS pointer"),
        ("page.gguf", b"<!doctype html>\n<html></html>", "web page"),
        ("archive.gguf", b"PK\x03\x04\0\0", "zip archive"),
        ("weights.gguf", &safetensors, "safetensors file"),
        ("old.gguf", b"tjgg\x03\0\0\0", "GGJT file"),
        ("empty.gguf", b"", "empty"),
        ("begun.gguf", b"GG", "cut short"),
    ];
    for (name, bytes, words) in files {
        write(&device.folder().join(name), bytes);
        for command in [
            &["inspect", name][..],
            &["run", "-m", name, "Hi"],
            &["score", "-m", name, "Hi"],
            &["bench", "-m", name],
            &["chat", "-m", name],
        ] {
            device.potluck(command).failure(1, &[name, words]);
        }
    }
    let plan = ["plan", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
    device
        .potluck(plan.into_iter().chain(["page.gguf"]))
        .failure(1, &["web page"]);
}

#[test]
fn a_folder_says_which_models_are_in_it() {
    let device = Device::new();
    let folder = device.folder().join("models-of-mine");
    fs::create_dir_all(&folder).expect("created");
    device
        .potluck(["run", "-m", "./models-of-mine", "Hi"])
        .failure(1, &["is a folder", "no .gguf file"]);
    write(&folder.join("one.gguf"), b"");
    device
        .potluck(["inspect", "./models-of-mine"])
        .failure(1, &["is a folder", "one.gguf"]);
}

#[test]
fn a_download_that_did_not_finish_says_so() {
    let device = Device::new();
    let _ = device.potluck(["synth", "whole.gguf"]).success();
    let whole = fs::read(device.folder().join("whole.gguf")).expect("written");
    for (name, length) in [("header.gguf", 1000), ("data.gguf", whole.len() - 1000)] {
        write(&device.folder().join(name), &whole[..length]);
        for command in [&["inspect", name][..], &["run", "-m", name, "Hi"]] {
            device
                .potluck(command)
                .failure(1, &[name, "cut short", "fetch it again"]);
        }
    }
}
