//! What all models' threads share: settings, names, memory, and each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::lane::{Lane, NotTaken, Raw};
use super::models::{Found, Models};
use super::numbers::Counters;
use super::prepare::prepare_all;
use super::scheduler::Scheduler;
use super::{RequestError, Settings};
use crate::Cancel;
use crate::catalogue::{self, FetchEvent, FetchOptions};
use crate::engine::{Engine, Gguf, ModelConfig, OpenOptions, open};
use crate::stages::Reservation;

/// How long one who lacks memory waits before looking again whether others have freed some.
const MOMENT: Duration = Duration::from_millis(20);

pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) models: Models,
    pub(super) counters: Arc<Counters>,
    lanes: Mutex<Lanes>,
    /// A lane has gone.
    gone: Condvar,
    /// Fetching ends with the service.
    cancel: Cancel,
}

#[derive(Default)]
struct Lanes {
    all: Vec<Arc<Lane>>,
    stopping: bool,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self {
            models: Models::new(&settings),
            settings,
            counters: Arc::default(),
            lanes: Mutex::default(),
            gone: Condvar::new(),
            cancel: Cancel::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lock().all.clone()
    }

    /// Gives a request to the model's threads, which are started if there are none.
    pub(super) fn submit(self: &Arc<Self>, model: Found, mut raw: Raw) -> Result<(), RequestError> {
        let Settings {
            streams, waiting, ..
        } = *self.settings;
        let mut lanes = self.lock();
        if lanes.stopping {
            return refuse(raw, RequestError::Stopping);
        }
        let same = lanes
            .all
            .iter()
            .filter(|lane| lane.model.path == model.path);
        for lane in same {
            match lane.submit(raw, streams, waiting) {
                Ok(()) => return Ok(()),
                Err(NotTaken::Closed(back)) => raw = back,
                Err(NotTaken::Busy { raw, error }) => return refuse(raw, error),
            }
        }
        let lane = Arc::new(Lane::new(model));
        match lane.submit(raw, streams, waiting) {
            Ok(()) => {}
            Err(NotTaken::Closed(raw)) => return refuse(raw, RequestError::Stopping),
            Err(NotTaken::Busy { raw, error }) => return refuse(raw, error),
        }
        let (of_thread, shared) = (Arc::clone(&lane), Arc::clone(self));
        let thread = thread::Builder::new()
            .name("potluck-engine".to_owned())
            .spawn(move || shared.live(&of_thread));
        match thread {
            Ok(_runs_alone) => lanes.all.push(lane),
            Err(error) => lane.close(&RequestError::Failed {
                message: format!("the system gives no thread for the model: {error}"),
            }),
        }
        Ok(())
    }

    /// The life of an engine's thread.
    fn live(&self, lane: &Arc<Lane>) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve(lane)));
        let error = match outcome {
            Ok(Ok(())) => RequestError::Stopping,
            Ok(Err(error)) => {
                tracing::warn!(model = lane.model.name, %error, "a model is no longer served");
                error
            }
            Err(_panic) => RequestError::Failed {
                message: "the thread that computes has failed: ask again".to_owned(),
            },
        };
        lane.close(&error);
        self.lock().all.retain(|other| !Arc::ptr_eq(other, lane));
        self.gone.notify_all();
    }

    fn serve(&self, lane: &Lane) -> Result<(), RequestError> {
        let began = Instant::now();
        let (engine, memory) = self.load(lane)?;
        let load_ms = began.elapsed().as_millis() as u64;
        tracing::info!(model = lane.model.name, load_ms, "a model is loaded");
        lane.loaded(engine.context());
        thread::scope(|scope| {
            let closer = Closer(lane);
            let prepare = thread::Builder::new()
                .name("potluck-prepare".to_owned())
                .spawn_scoped(scope, || prepare_all(&engine, lane));
            prepare.map_err(|error| RequestError::Failed {
                message: format!("the system gives no thread for the model: {error}"),
            })?;
            let served = Scheduler::new(&engine, lane, self, memory.bytes()).run();
            if let Err(error) = &served {
                lane.close(error);
            }
            drop(closer);
            served
        })?;
        tracing::info!(model = lane.model.name, "a model is unloaded");
        Ok(())
    }

    fn load(&self, lane: &Lane) -> Result<(Engine, Reservation), RequestError> {
        let Found {
            path,
            entry,
            is_default,
            ..
        } = &lane.model;
        if let Some(entry) = entry {
            let options = FetchOptions {
                offline: self.settings.fetch.offline || !is_default,
                ..self.settings.fetch.clone()
            };
            let (models, total) = (&self.settings.models, entry.bytes);
            let fetched = catalogue::fetch(entry, models, &options, &self.cancel, &mut |event| {
                if let FetchEvent::Fetched(done) | FetchEvent::Checked(done) = event {
                    lane.tell_loading(done, total);
                }
            });
            fetched.map_err(|error| failed(&error))?;
        }
        let files = potluck_model::gguf::files_at(path);
        let lengths = files.iter().filter_map(|file| file.metadata().ok());
        let bytes = lengths.map(|file| file.len()).sum();
        let memory = self.memory_for_weights(lane, bytes)?;
        lane.loading(bytes);
        Ok((self.open(lane)?, memory))
    }

    fn memory_for_weights(&self, lane: &Lane, bytes: u64) -> Result<Reservation, RequestError> {
        loop {
            let no_room = match self.settings.memory.reserve(bytes) {
                Ok(reservation) => return Ok(reservation),
                Err(no_room) => no_room,
            };
            if bytes > no_room.limit || !self.ask_for_room(lane) {
                return Err(RequestError::NoMemory {
                    message: format!("{no_room}: choose a smaller model"),
                });
            }
            lane.pause(MOMENT);
        }
    }

    fn open(&self, lane: &Lane) -> Result<Engine, RequestError> {
        let Found {
            path, is_default, ..
        } = &lane.model;
        let gguf = Gguf::open(path).map_err(|error| failed(&error))?;
        let config = ModelConfig::from_gguf(&gguf).map_err(|error| failed(&error))?;
        let context = self.settings.context(config.context, *is_default);
        let usual = &self.settings.open;
        let options = OpenOptions {
            threads: usual.threads,
            context: context.try_into().ok(),
            template: usual.template.clone().filter(|_| *is_default),
        };
        let opened = open(path, &options).map_err(|error| failed(&error))?;
        Ok(opened.engine)
    }

    /// Has another model unloaded that nobody uses, the longest unused first; whether memory will come
    /// free, of that or of one that is used.
    pub(super) fn ask_for_room(&self, asks: &Lane) -> bool {
        let mut others: Vec<_> = (self.lanes().into_iter())
            .filter(|lane| !std::ptr::eq(&**lane, asks))
            .map(|lane| (lane.load(), lane))
            .collect();
        if others.iter().any(|(load, _lane)| load.is_closed) {
            return true;
        }
        others.sort_by_key(|(load, _lane)| load.used);
        let unloads = others.iter().any(|(_load, lane)| lane.unload());
        unloads || others.iter().any(|(load, _lane)| load.will_free())
    }

    /// Takes no more requests; answers in flight end now or after the grace. Whether they have.
    pub(super) fn stop(&self, grace: Duration) {
        self.cancel.cancel();
        let mut lanes = self.lock();
        lanes.stopping = true;
        let at = Instant::now() + grace;
        lanes.all.iter().for_each(|lane| lane.stop(at));
    }

    /// Waits until all threads have ended.
    pub(super) fn wait(&self) {
        let mut lanes = self.lock();
        while !lanes.all.is_empty() {
            lanes = (self.gone.wait(lanes)).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Closes a lane, so that the thread that prepares ends, too.
struct Closer<'a>(&'a Lane);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.close(&RequestError::Failed {
            message: "the thread that computes has failed: ask again".to_owned(),
        });
    }
}

fn refuse(raw: Raw, error: RequestError) -> Result<(), RequestError> {
    raw.client.fail(error.clone());
    Err(error)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> RequestError {
    RequestError::Failed {
        message: crate::words::of(error),
    }
}
