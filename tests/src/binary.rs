//! The `potluck` binary.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The release binary of the same target directory as the running test.
///
/// A test of the whole workspace builds it before any test runs. When this package is tested
/// alone it may be absent or older than the sources; it is then built here, as a test of an old
/// binary says nothing.
///
/// # Panics
/// When it cannot be built.
pub fn potluck_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let binary = profile_folder().join(format!("potluck{}", env::consts::EXE_SUFFIX));
        let built = fs::metadata(&binary)
            .and_then(|metadata| metadata.modified())
            .ok();
        if built.is_none_or(|built| built < newest_source()) {
            build();
        }
        assert!(binary.exists(), "cargo build left no {}", binary.display());
        binary
    })
}

/// `target/release`, two levels above the test in its `deps`.
pub(crate) fn profile_folder() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent);
    folder
        .expect("cargo puts tests two folders deep")
        .to_owned()
}

/// The repository's root.
///
/// # Panics
/// Never: this package is in the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
}

fn build() {
    let status = Command::new(env!("CARGO"))
        // With the features that the workspace's tests are built with: nothing is built twice.
        .args([
            "build",
            "--quiet",
            "--release",
            "--workspace",
            "--bin",
            "potluck",
        ])
        .current_dir(workspace())
        .status()
        .expect("cargo runs");
    assert!(
        status.success(),
        "cargo build --release --workspace --bin potluck failed"
    );
}

/// When anything that the binary is made of was last changed.
fn newest_source() -> SystemTime {
    [
        "node/src",
        "model/src",
        "protocol/src",
        "proto",
        "node/Cargo.toml",
        "model/Cargo.toml",
        "protocol/Cargo.toml",
        "Cargo.lock",
    ]
    .iter()
    .map(|path| newest_in(&workspace().join(path)))
    .max()
    .expect("the list is not empty")
}

fn newest_in(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).expect("the sources are readable");
    let own = metadata
        .modified()
        .expect("this platform has modification times");
    if !metadata.is_dir() {
        return own;
    }
    // A folder's own time is left out: it changes with files that are no sources, too.
    fs::read_dir(path)
        .expect("the sources are readable")
        .map(|entry| newest_in(&entry.expect("the sources are readable").path()))
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
