//! The thread that packs a model.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use potluck_model::{PackedError, PackedPart, Shard};
use potluck_protocol::wire::ContentHash;
use serde::Serialize;

use super::folder::{Claim, Folder};
use super::{PackError, PackedStore};
use crate::Cancel;
use crate::manifest::MappedFile;

/// How often to look for what another process packs.
const MOMENT: Duration = Duration::from_millis(50);
/// How long dropping a [`Packing`] waits for the thread, so that it leaves no unfinished file when the
/// program ends. Only a slow disk takes longer. Layers for others are not waited for: the thread that
/// drops them computes.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Which model is packed.
pub(super) enum Model {
    /// That in a mapped file, whose manifest is made first if it is not known.
    File(MappedFile),
    /// That of this manifest, with its file if it did not come from peers.
    Known {
        manifest: ContentHash,
        path: Option<PathBuf>,
    },
}

/// The packing of a shard, which ends when this is dropped. Keep it as long as the shard is used: until
/// then its files are not removed.
#[derive(Debug)]
pub struct Packing {
    stop: Cancel,
    patience: Duration,
    progress: Arc<Progress>,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PackingState {
    /// Parts that have a packed form: layers, and the head.
    pub parts: usize,
    /// Those that are computed from packed weights.
    pub ready: usize,
    /// Those of them that were not there and have been made.
    pub made: usize,
    /// Bytes of the files of those that are ready.
    pub bytes: u64,
    /// Seconds since it began, until it ended.
    pub seconds: f64,
    /// Why it ended before all parts were ready.
    pub problem: Option<String>,
}

#[derive(Debug)]
struct Progress {
    state: Mutex<Inner>,
    ended: Condvar,
    store: PackedStore,
}

#[derive(Debug)]
struct Inner {
    state: PackingState,
    begun: Instant,
    ended: bool,
    /// Held while files are used.
    claim: Option<Claim>,
    /// Nobody wants it any more.
    dropped: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ready(&self, bytes: u64, made: bool) {
        let mut inner = self.lock();
        inner.state.ready += 1;
        inner.state.made += usize::from(made);
        inner.state.bytes += bytes;
        if !inner.dropped {
            let in_use = &self.store.0.in_use;
            in_use.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.state.seconds = inner.begun.elapsed().as_secs_f64();
        self.ended.notify_all();
    }

    /// Waits until it has ended, at most so long.
    fn wait(&self, most: Duration) -> bool {
        let inner = self.lock();
        let waited = self.ended.wait_timeout_while(inner, most, |i| !i.ended);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.ended
    }
}

/// Ends on drop, even if the thread panics.
struct Ending<'a>(&'a Progress);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Packing {
    pub(super) fn start(store: &PackedStore, shard: &Arc<Shard>, model: Model) -> Self {
        let inner = Inner {
            state: PackingState::default(),
            begun: Instant::now(),
            ended: false,
            claim: None,
            dropped: false,
        };
        let progress = Arc::new(Progress {
            state: Mutex::new(inner),
            ended: Condvar::new(),
            store: store.clone(),
        });
        let packing = Self {
            stop: Cancel::new(),
            patience: match model {
                Model::File(_) => LAST_WORDS,
                Model::Known { .. } => Duration::ZERO,
            },
            progress: Arc::clone(&progress),
        };
        let work = Work {
            store: store.clone(),
            shard: Arc::clone(shard),
            stop: packing.stop.clone(),
            progress,
        };
        let thread = thread::Builder::new().name("potluck-packing".to_owned());
        if let Err(error) = thread.spawn(move || work.run(model)) {
            packing.progress.lock().state.problem = Some(store.tell(&PackError::Thread(error)));
            packing.progress.end();
        }
        packing
    }

    /// How far it is.
    pub fn state(&self) -> PackingState {
        let inner = self.progress.lock();
        let mut state = inner.state.clone();
        if !inner.ended {
            state.seconds = inner.begun.elapsed().as_secs_f64();
        }
        state
    }

    /// Waits until all is packed, or it ended for another reason, or `cancel` is set.
    pub fn wait(&self, cancel: &Cancel) -> PackingState {
        while !cancel.is_cancelled() && !self.progress.wait(MOMENT) {}
        self.state()
    }
}

impl Drop for Packing {
    fn drop(&mut self) {
        self.stop.cancel();
        self.progress.wait(self.patience);
        let mut inner = self.progress.lock();
        inner.dropped = true;
        let in_use = &self.progress.store.0.in_use;
        in_use.fetch_sub(inner.state.bytes, Ordering::Relaxed);
    }
}

/// Why it ended early.
enum Ended {
    /// It was told to.
    Stopped,
    Failed(PackError),
}

impl From<PackError> for Ended {
    fn from(error: PackError) -> Self {
        Self::Failed(error)
    }
}

/// What the thread works with.
struct Work {
    store: PackedStore,
    shard: Arc<Shard>,
    stop: Cancel,
    progress: Arc<Progress>,
}

impl Work {
    fn run(self, model: Model) {
        let _ending = Ending(&self.progress);
        match self.pack(model) {
            Ok(()) => {
                let PackingState {
                    ready, made, bytes, ..
                } = self.progress.lock().state;
                tracing::debug!(parts = ready, made, bytes, "weights are packed");
            }
            Err(Ended::Stopped) => {}
            Err(Ended::Failed(error)) => {
                let words = self.store.tell(&error);
                self.progress.lock().state.problem = Some(words);
            }
        }
    }

    fn pack(&self, model: Model) -> Result<(), Ended> {
        let parts = self.shard.packed_parts();
        if parts.is_empty() {
            return Ok(());
        }
        self.progress.lock().state.parts = parts.len();
        let (manifest, path) = self.identify(model)?;
        let folder = self.store.folder(manifest);
        let path = path.as_deref();
        let claim = folder.claim().map_err(|error| failed(&folder, error))?;
        self.progress.lock().claim = Some(claim);
        let sourced = folder.add_source(path);
        sourced.map_err(|error| failed(&folder, error))?;
        self.store.clean();
        let packed = Packed {
            work: self,
            folder,
            key: manifest.0,
        };
        let outcome = packed.all(parts);
        match &outcome {
            Ok(()) => packed.folder.set_problem(None),
            Err(Ended::Failed(error)) => {
                packed.folder.set_problem(Some(&crate::words::of(error)));
            }
            Err(Ended::Stopped) => {}
        }
        outcome
    }

    /// The manifest of the model, and its file.
    fn identify(&self, model: Model) -> Result<(ContentHash, Option<PathBuf>), Ended> {
        match model {
            Model::Known { manifest, path } => Ok((manifest, path)),
            Model::File(file) => {
                let manifests = &self.store.0.manifests;
                match file.manifest(manifests, &self.stop) {
                    Ok(Some(manifest)) => Ok((manifest.content(), Some(file.path().to_owned()))),
                    Ok(None) if self.stop.is_cancelled() => Err(Ended::Stopped),
                    Ok(None) => Err(Ended::Failed(PackError::Changed)),
                    Err(error) => Err(Ended::Failed(error.into())),
                }
            }
        }
    }
}

/// The packed files of the model.
struct Packed<'a> {
    work: &'a Work,
    folder: Folder,
    key: [u8; 32],
}

impl Packed<'_> {
    /// Puts all parts to use: first those that are there, then those that are made.
    fn all(&self, parts: Vec<(PackedPart, u64)>) -> Result<(), Ended> {
        let mut wrong = Vec::new();
        let mut missing = Vec::new();
        for (part, bytes) in parts {
            self.check_stop()?;
            match self.open(part, bytes, false)? {
                Opened::InUse => {}
                Opened::Missing => missing.push((part, bytes)),
                Opened::Wrong => {
                    wrong.push(part);
                    missing.push((part, bytes));
                }
            }
        }
        let mut lock = None;
        for (part, bytes) in missing {
            let is_wrong = wrong.contains(&part);
            let mut opened = Opened::Missing;
            while lock.is_none() && opened != Opened::InUse {
                self.check_stop()?;
                lock = self.folder.lock().map_err(|error| self.failed(error))?;
                if lock.is_some() {
                    self.folder.tidy();
                } else if is_wrong {
                    thread::sleep(MOMENT);
                } else {
                    opened = self.open(part, bytes, false)?;
                    if opened != Opened::InUse {
                        thread::sleep(MOMENT);
                    }
                }
            }
            // Another process may have made it before this one got the lock.
            if opened != Opened::InUse && self.open(part, bytes, false)? != Opened::InUse {
                self.make(part, bytes)?;
            }
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<(), Ended> {
        match self.work.stop.is_cancelled() {
            true => Err(Ended::Stopped),
            false => Ok(()),
        }
    }

    /// Puts a part to use if its file is there and right.
    fn open(&self, part: PackedPart, bytes: u64, made: bool) -> Result<Opened, Ended> {
        let path = self.folder.file(part);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Missing),
            Err(error) => return Err(self.failed(error)),
        };
        match self.work.shard.use_packed(part, &self.key, &file) {
            Ok(()) => {
                self.work.progress.is_ready(bytes, made);
                Ok(Opened::InUse)
            }
            Err(error @ (PackedError::Other | PackedError::Damaged)) => {
                let file = path.display();
                tracing::debug!(%file, why = %error, "a packed file is made again");
                Ok(Opened::Wrong)
            }
            Err(error) => Err(self.model_failed(error)),
        }
    }

    fn make(&self, part: PackedPart, bytes: u64) -> Result<(), Ended> {
        self.work.store.make_room(bytes, &self.folder)?;
        let unfinished = self.folder.unfinished(part);
        let written = self.write(part, &unfinished);
        let written = written.and_then(|()| {
            let renamed = fs::rename(&unfinished, self.folder.file(part));
            renamed.map_err(|error| self.failed(error))
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        match self.open(part, bytes, true)? {
            Opened::InUse => Ok(()),
            Opened::Missing | Opened::Wrong => Err(Ended::Failed(PackError::Damaged {
                path: self.folder.file(part),
            })),
        }
    }

    fn write(&self, part: PackedPart, path: &Path) -> Result<(), Ended> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| self.failed(error))?;
        let mut to = BufWriter::with_capacity(BUFFER, file);
        let go_on = || !self.work.stop.is_cancelled();
        let shard = &self.work.shard;
        let written = shard.write_packed(part, &self.key, &mut to, &go_on);
        written.map_err(|error| self.model_failed(error))?;
        let file = to.into_inner().map_err(|error| error.into_error());
        let synced = file.and_then(|file| file.sync_data());
        synced.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Ended {
        Ended::Failed(failed(&self.folder, error))
    }

    fn model_failed(&self, error: PackedError) -> Ended {
        match error {
            PackedError::Io(error) => self.failed(error),
            PackedError::Stopped => Ended::Stopped,
            _ => Ended::Failed(PackError::Changed),
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    InUse,
    Missing,
    /// It is damaged, or holds something else.
    Wrong,
}

fn failed(folder: &Folder, source: io::Error) -> PackError {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => PackError::Full(source),
        _ => PackError::Disk {
            path: folder.path().to_owned(),
            source,
        },
    }
}
