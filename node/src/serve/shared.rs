//! State shared by all models' threads: settings, model names, counters and the list of lanes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::lane::{Lane, NotTaken};
use super::models::{Found, Models};
use super::numbers::Counters;
use super::work::Raw;
use super::{RequestError, Settings};
use crate::Cancel;

pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) models: Models,
    pub(super) counters: Arc<Counters>,
    lanes: Mutex<Lanes>,
    /// Notified when a lane is removed.
    gone: Condvar,
    /// Cancels downloads when the service stops.
    pub(super) cancel: Cancel,
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

    /// Submits a request to the model's thread. If there is none, starts one that runs `life`.
    pub(super) fn submit(
        self: &Arc<Self>,
        model: Found,
        raw: Raw,
        life: fn(&Self, &Arc<Lane>),
    ) -> Result<(), RequestError> {
        let Settings {
            streams, waiting, ..
        } = *self.settings;
        let mut raw = Box::new(raw);
        let mut lanes = self.lock();
        if lanes.stopping {
            return refuse(raw.client, RequestError::Stopping);
        }
        let same = lanes
            .all
            .iter()
            .filter(|lane| lane.model.path == model.path);
        for lane in same {
            match lane.submit(raw, streams, waiting) {
                Ok(()) => return Ok(()),
                Err(NotTaken::Closed(back)) => raw = back,
                Err(NotTaken::Busy { raw, error }) => return refuse(raw.client, error),
            }
        }
        let lane = Arc::new(Lane::new(model));
        match lane.submit(raw, streams, waiting) {
            Ok(()) => {}
            Err(NotTaken::Closed(raw)) => return refuse(raw.client, RequestError::Stopping),
            Err(NotTaken::Busy { raw, error }) => return refuse(raw.client, error),
        }
        let (of_thread, shared) = (Arc::clone(&lane), Arc::clone(self));
        let thread = thread::Builder::new()
            .name("potluck-engine".to_owned())
            .spawn(move || life(&shared, &of_thread));
        match thread {
            Ok(_runs_alone) => lanes.all.push(lane),
            Err(error) => lane.close(&RequestError::Failed {
                message: format!("the system gives no thread for the model: {error}"),
            }),
        }
        Ok(())
    }

    /// Removes a lane whose thread ends.
    pub(super) fn remove(&self, lane: &Arc<Lane>) {
        self.lock().all.retain(|other| !Arc::ptr_eq(other, lane));
        self.gone.notify_all();
    }

    /// Unloads the least recently used idle model other than `asks`. Returns whether memory will
    /// come free, from that model or from one in use.
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

    /// Refuses new requests and stops all lanes; running answers may continue for `grace`.
    pub(super) fn stop(&self, grace: Duration) {
        self.cancel.cancel();
        let mut lanes = self.lock();
        lanes.stopping = true;
        let at = Instant::now() + grace;
        lanes.all.iter().for_each(|lane| lane.stop(at));
    }

    /// Waits until all lanes are gone.
    pub(super) fn wait(&self) {
        let mut lanes = self.lock();
        while !lanes.all.is_empty() {
            lanes = (self.gone.wait(lanes)).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn refuse(client: Client, error: RequestError) -> Result<(), RequestError> {
    client.fail(error.clone());
    Err(error)
}
