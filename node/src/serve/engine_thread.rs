//! The compute thread of a model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::models::Found;
use super::prepare::prepare_all;
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::split::Split;
use super::{Circle, RequestError, Settings};
use crate::catalogue::{self, FetchEvent, FetchOptions};
use crate::drafter::{OpenedDrafter, bytes_of};
use crate::engine::{Engine, Gguf, ModelConfig, OpenOptions, Opened, open};
use crate::stages::{Ends, EndsError, NoRoom, Reservation, UseDrafterError};

/// How often a model that lacks memory checks again whether others have freed some.
const MOMENT: Duration = Duration::from_millis(20);

/// The thread's main function: loads the model, serves requests, and unloads it.
pub(super) fn live(shared: &Shared, lane: &Arc<Lane>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| serve(shared, lane)));
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
    shared.remove(lane);
}

fn serve(shared: &Shared, lane: &Lane) -> Result<(), RequestError> {
    let began = Instant::now();
    fetch(shared, lane)?;
    let circle = shared.settings.circle.as_ref();
    let loaded = |engine: &Engine| {
        let load_ms = began.elapsed().as_millis() as u64;
        tracing::info!(model = lane.model.name, load_ms, "a model is loaded");
        lane.loaded(engine.context());
    };
    match circle.filter(|circle| circle.has_peers()) {
        None => {
            let (opened, memory) = load(shared, lane)?;
            let engine = &opened.engine;
            loaded(engine);
            let _packing = opened.pack(shared.settings.packed.as_ref());
            let scheduler = Scheduler::new(engine, lane, shared, memory.bytes());
            while_prepared(engine, lane, || scheduler.run())?;
        }
        Some(circle) => {
            let (engine, ends) = load_ends(shared, lane, circle)?;
            loaded(&engine);
            let split = Split::new(&engine, &ends, lane, shared, circle);
            while_prepared(&engine, lane, || {
                split.run();
                Ok(())
            })?;
        }
    }
    tracing::info!(model = lane.model.name, "a model is unloaded");
    Ok(())
}

/// Runs `answer` while a second thread prepares requests.
fn while_prepared(
    engine: &Engine,
    lane: &Lane,
    answer: impl FnOnce() -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    thread::scope(|scope| {
        let closer = Closer(lane);
        let prepare = thread::Builder::new()
            .name("potluck-prepare".to_owned())
            .spawn_scoped(scope, || prepare_all(engine, lane));
        prepare.map_err(|error| RequestError::Failed {
            message: format!("the system gives no thread for the model: {error}"),
        })?;
        let served = answer();
        if let Err(error) = &served {
            lane.close(error);
        }
        drop(closer);
        served
    })
}

/// Downloads or verifies the model's file, if it is in the catalogue.
fn fetch(shared: &Shared, lane: &Lane) -> Result<(), RequestError> {
    let Found {
        entry, is_default, ..
    } = &lane.model;
    let Some(entry) = entry else {
        return Ok(());
    };
    let options = FetchOptions {
        offline: shared.settings.fetch.offline || !is_default,
        ..shared.settings.fetch.clone()
    };
    let (models, total) = (&shared.settings.models, entry.bytes);
    let fetched = catalogue::fetch(entry, models, &options, &shared.cancel, &mut |event| {
        if let FetchEvent::Fetched(done) | FetchEvent::Checked(done) = event {
            lane.tell_loading(done, total);
        }
    });
    fetched.map_err(|error| failed(&error))?;
    Ok(())
}

/// Loads a model and its drafter, and reserves memory for their weights.
fn load(shared: &Shared, lane: &Lane) -> Result<(Opened, Reservation), RequestError> {
    let drafter = drafter_of(shared, lane).map_or(0, bytes_of);
    let bytes = bytes_of(&lane.model.path) + drafter;
    let memory = with_room(shared, lane, || Ok(shared.settings.memory.reserve(bytes)))?;
    lane.loading(bytes);
    Ok((open_model(shared, lane)?, memory))
}

/// The drafter of the lane's model: it is given for the default model.
fn drafter_of<'a>(shared: &'a Shared, lane: &Lane) -> Option<&'a Path> {
    let drafter = shared.settings.open.drafter.as_deref();
    drafter.filter(|_| lane.model.is_default && shared.settings.drafts)
}

/// Loads the parts of a model that stay on this device while the circle's devices compute its
/// layers. Answers only use the engine's tokenizer and template; its layers are mapped, but not
/// read unless texts are embedded.
fn load_ends(
    shared: &Shared,
    lane: &Lane,
    circle: &Circle,
) -> Result<(Engine, Ends), RequestError> {
    let engine = open_model(shared, lane)?.engine;
    let Settings { memory, packed, .. } = &*shared.settings;
    let packed = packed.as_ref();
    let mut ends = with_room(shared, lane, || {
        match circle.ends(&lane.model.path, memory, packed) {
            Ok(ends) => Ok(Ok(ends)),
            Err(EndsError::Memory(no_room)) => Ok(Err(no_room)),
            Err(error) => Err(failed(&error)),
        }
    })?;
    if let Some(path) = drafter_of(shared, lane).filter(|_| circle.drafts()) {
        with_room(shared, lane, || {
            match ends.use_drafter(path, &engine, memory, packed) {
                Ok(()) => Ok(Ok(())),
                Err(UseDrafterError::Memory { error, .. }) => Ok(Err(error)),
                Err(error) => Err(failed(&error)),
            }
        })?;
    }
    lane.loading(ends.memory_bytes());
    Ok((engine, ends))
}

/// Calls `take` until it gets its memory, asking other models to make room in between.
fn with_room<T>(
    shared: &Shared,
    lane: &Lane,
    mut take: impl FnMut() -> Result<Result<T, NoRoom>, RequestError>,
) -> Result<T, RequestError> {
    loop {
        let no_room = match take()? {
            Ok(taken) => return Ok(taken),
            Err(no_room) => no_room,
        };
        if no_room.needed > no_room.limit || !shared.ask_for_room(lane) {
            let advice = match drafter_of(shared, lane) {
                Some(_) => "choose a smaller model, or go without a drafter",
                None => "choose a smaller model",
            };
            return Err(RequestError::NoMemory {
                message: format!("{no_room}: {advice}"),
            });
        }
        lane.pause(MOMENT);
    }
}

fn open_model(shared: &Shared, lane: &Lane) -> Result<Opened, RequestError> {
    let Found {
        path, is_default, ..
    } = &lane.model;
    let gguf = Gguf::open(path).map_err(|error| failed(&error))?;
    let config = ModelConfig::from_gguf(&gguf).map_err(|error| failed(&error))?;
    let context = shared.settings.context(config.context, *is_default);
    let usual = &shared.settings.open;
    let circle = shared.settings.circle.as_ref();
    let has_peers = circle.is_some_and(Circle::has_peers);
    let options = OpenOptions {
        threads: usual.threads,
        context: context.try_into().ok(),
        template: usual.template.clone().filter(|_| *is_default),
        // With other devices, the head or the drafter is at the model's ends.
        drafts: shared.settings.drafts && !has_peers,
        drafter: drafter_of(shared, lane)
            .filter(|_| !has_peers)
            .map(Path::to_owned),
    };
    let opened = open(path, &options).map_err(|error| failed(&error))?;
    let model = &lane.model.name;
    if let Some(error) = &opened.head_problem {
        tracing::warn!(model, %error, "guesses are made without a draft head");
    }
    if let Some(words) = opened.drafter.as_ref().and_then(OpenedDrafter::warning) {
        tracing::warn!(model, "{words}");
    }
    Ok(opened)
}

/// Closes the lane on drop, so that the preparing thread ends as well.
struct Closer<'a>(&'a Lane);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.close(&RequestError::Failed {
            message: "the thread that computes has failed: ask again".to_owned(),
        });
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> RequestError {
    RequestError::Failed {
        message: crate::words::of(error),
    }
}
