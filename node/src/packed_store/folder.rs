//! The folder of a model's packed files.
//!
//! `sources` has a line for each model file that the packed files were made from: how it looked, a
//! tab, and its path. A line `shards` stands for the shard store. If none of them is as it was, the
//! folder is an orphan.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, SystemTime};

use potluck_model::PackedPart;
use potluck_protocol::wire::ContentHash;

use super::PackedView;
use crate::manifest::Look;
use crate::private_file;

/// How often a folder is claimed again that is just being removed, and how long each takes.
const TRIES: usize = 50;
const MOMENT: Duration = Duration::from_millis(20);

const USED: &str = "used";
const PACKING: &str = "packing";
const SOURCES: &str = "sources";
const PROBLEM: &str = "problem";
/// The line for the shard store, and one for a file whose path is no text.
const SHARDS: &str = "shards";
const UNKNOWN: &str = "unknown";
/// Far more than any file of sources or problems has.
const MOST_BYTES: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(super) struct Folder {
    home: PathBuf,
    path: PathBuf,
}

/// Held while files are used, or made.
#[derive(Debug)]
pub(super) struct Claim {
    _file: File,
}

impl Folder {
    /// Where the folders of all models are.
    pub(super) fn parent(home: &Path) -> PathBuf {
        home.join("packed")
    }

    pub(super) fn of(home: &Path, manifest: ContentHash) -> Self {
        Self {
            home: home.to_owned(),
            path: Self::parent(home).join(manifest.to_string()),
        }
    }

    /// The folders that are there.
    pub(super) fn all(home: &Path) -> Vec<Self> {
        let entries = fs::read_dir(Self::parent(home)).into_iter().flatten();
        let folders = entries.flatten().map(|entry| Self {
            home: home.to_owned(),
            path: entry.path(),
        });
        folders.filter(Self::is_named_by_hash).collect()
    }

    fn is_named_by_hash(&self) -> bool {
        let name = self.name();
        name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    pub(super) fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, part: PackedPart) -> PathBuf {
        self.path.join(part.file_name())
    }

    /// Where a part is written before it has its name.
    pub(super) fn unfinished(&self, part: PackedPart) -> PathBuf {
        let name = format!(".{}.{}", part.file_name(), process::id());
        self.path.join(name)
    }

    /// Names and lengths of the files.
    fn files(&self) -> impl Iterator<Item = (String, u64)> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name, entry.metadata().ok()?.len()))
        })
    }

    /// Bytes of the packed files, whole ones and others.
    pub(super) fn bytes(&self) -> u64 {
        self.files().map(|(_, bytes)| bytes).sum()
    }

    /// When a process last began to use it.
    pub(super) fn used(&self) -> SystemTime {
        let used = fs::metadata(self.path.join(USED)).and_then(|file| file.modified());
        used.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub(super) fn view(&self) -> PackedView {
        let mut view = PackedView::default();
        for (name, bytes) in self.files() {
            let Some(part) = part_of(&name) else { continue };
            view.bytes += bytes;
            match part {
                PackedPart::Layer(_) => view.layers += 1,
                PackedPart::Head => view.head = true,
            }
        }
        let problem = private_file::read(&self.path.join(PROBLEM), MOST_BYTES);
        let problem = problem.ok().flatten().map(String::from_utf8);
        view.problem = problem.and_then(Result::ok);
        view
    }

    /// Remembers why not all is packed, or that nothing prevents it. Nobody depends on it.
    pub(super) fn set_problem(&self, words: Option<&str>) {
        let path = self.path.join(PROBLEM);
        let _ = match words {
            Some(words) if self.path.is_dir() => private_file::replace(&path, words.as_bytes()),
            _ => fs::remove_file(path),
        };
    }

    /// Makes the folder, and says that this process uses it, for as long as the claim lives.
    pub(super) fn claim(&self) -> io::Result<Claim> {
        for _ in 0..TRIES {
            private_file::create_folder(&self.path)?;
            let used = self.path.join(USED);
            match open_to_lock(&used).map(|file| (file.try_lock_shared(), file)) {
                // Removed as it was opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok((Err(TryLockError::WouldBlock), _)) => thread::sleep(MOMENT),
                Ok((locked, file)) => {
                    allow_unlocked(locked)?;
                    // Else it was removed before it was locked.
                    if used.exists() {
                        // Only tells which model goes first.
                        let _ = file.set_modified(SystemTime::now());
                        return Ok(Claim { _file: file });
                    }
                }
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// The right to make files; `None` if another process has it.
    pub(super) fn lock(&self) -> io::Result<Option<Claim>> {
        let file = open_to_lock(&self.path.join(PACKING))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            locked => {
                allow_unlocked(locked)?;
                Ok(Some(Claim { _file: file }))
            }
        }
    }

    /// Removes what a process left that was killed, and files of other versions of the layout. Only for
    /// whoever has the right to make files.
    pub(super) fn tidy(&self) {
        let is_packed = |name: &str| name.starts_with("layer-") || name.starts_with("head.");
        for (name, _) in self.files() {
            let is_ours = is_packed(name.strip_prefix('.').unwrap_or(&name));
            if is_ours && part_of(&name).is_none() {
                let _ = fs::remove_file(self.path.join(name));
            }
        }
    }

    /// Remembers that packed files are made from the model file at `path`, or from the shard store.
    pub(super) fn add_source(&self, path: Option<&Path>) -> io::Result<()> {
        let line = match path {
            None => SHARDS.to_owned(),
            Some(path) => source_line(path)?.unwrap_or_else(|| UNKNOWN.to_owned()),
        };
        let mut sources = self.sources();
        if sources.contains(&line) {
            return Ok(());
        }
        // Those that have changed will not be as they were again.
        sources.retain(|source| self.is_there(source));
        sources.push(line);
        let text = sources.join("\n");
        private_file::replace(&self.path.join(SOURCES), text.as_bytes())
    }

    fn sources(&self) -> Vec<String> {
        let text = private_file::read(&self.path.join(SOURCES), MOST_BYTES);
        let text = text.ok().flatten().map(String::from_utf8);
        let text = text.and_then(Result::ok).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn is_there(&self, source: &str) -> bool {
        match source.split_once('\t') {
            Some((look, path)) => {
                Look::at(Path::new(path)).is_ok_and(|now| now.to_string() == look)
            }
            None if source == SHARDS => self.home.join(SHARDS).join(self.name()).exists(),
            None => source == UNKNOWN,
        }
    }

    /// Whether no model file is left that it could be used with.
    pub(super) fn is_orphan(&self) -> bool {
        !self.sources().iter().any(|source| self.is_there(source))
    }

    /// Removes it, unless a process uses it; whether it did.
    pub(super) fn remove(&self) -> io::Result<bool> {
        if !self.path.is_dir() {
            return Ok(false);
        }
        let used = open_to_lock(&self.path.join(USED))?;
        match used.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(false),
            locked => allow_unlocked(locked)?,
        }
        let gone = format!(".gone-{}-{}", self.name(), process::id());
        let gone = self.path.with_file_name(gone);
        // Windows renames no folder with an open file in it.
        let used = (!cfg!(windows)).then_some(used);
        fs::rename(&self.path, &gone)?;
        drop(used);
        fs::remove_dir_all(gone)?;
        Ok(true)
    }
}

/// The part that a file of the present version has.
fn part_of(name: &str) -> Option<PackedPart> {
    let part = match name.split_once('.')?.0 {
        "head" => PackedPart::Head,
        layer => PackedPart::Layer(layer.strip_prefix("layer-")?.parse().ok()?),
    };
    (part.file_name() == name).then_some(part)
}

/// `None` if the path is no text of one line.
fn source_line(path: &Path) -> io::Result<Option<String>> {
    let path = std::path::absolute(path)?;
    let look = Look::at(&path)?;
    let path = path.to_str().filter(|path| !path.contains(['\n', '\r']));
    Ok(path.map(|path| format!("{look}\t{path}")))
}

fn open_to_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Some network file systems have no locks: two processes may then do the same work, and each renames a
/// whole file.
fn allow_unlocked(locked: Result<(), TryLockError>) -> io::Result<()> {
    match locked {
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}
