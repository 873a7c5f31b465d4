//! The queue of requests to one model's threads.
//!
//! ```text
//! submit → raw → (prepared by one thread) → ready → (taken by the engine's thread, in order)
//! ```

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::caller::{Caller, CallerId, Turns};
use super::models::Found;
use super::pace::Departures;
use super::work::{Raw, Ready};
use super::{RequestError, Update};

/// The queue of one model, and the state of that model that other threads can see.
pub(super) struct Lane {
    pub(super) model: Found,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    raw: VecDeque<Raw>,
    /// The caller of the request that is out of `raw` and not yet in `ready`.
    preparing: Option<CallerId>,
    ready: VecDeque<Ready>,
    turns: Turns,
    /// The number of running requests, and when the oldest began.
    running: usize,
    oldest: Option<Instant>,
    departures: Departures,
    view: View,
    loading_since: Instant,
    loaded: Option<Instant>,
    used: Instant,
    /// Unload as soon as no request is left.
    unwanted: bool,
    /// When running requests must end.
    stop_at: Option<Instant>,
    closed: bool,
}

/// The memory that a model uses, and its load.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct View {
    pub(super) weight_bytes: u64,
    pub(super) kv_bytes: u64,
    pub(super) kept_bytes: u64,
    pub(super) kept_prefixes: usize,
    /// Sessions kept on other devices.
    pub(super) split_kept: usize,
    pub(super) context: usize,
    /// How many of the running requests are guests'.
    pub(super) guests: usize,
    /// The next request has no memory, and nothing that runs here will free any.
    pub(super) is_starved: bool,
}

/// Load of a lane, and whether its model is loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) waiting: usize,
    pub(super) running: usize,
    pub(super) view: View,
    pub(super) is_loaded: bool,
    pub(super) is_closed: bool,
    pub(super) used: Instant,
}

impl Load {
    /// Whether this model will free memory when its current work ends.
    pub(super) fn will_free(&self) -> bool {
        let waits = self.waiting > 0 && self.view.weight_bytes > 0 && !self.view.is_starved;
        self.is_closed || self.running > 0 || waits
    }
}

/// Why a lane does not accept a request.
pub(super) enum NotTaken {
    /// Its threads have ended; the caller must start a new lane.
    Closed(Box<Raw>),
    Busy {
        raw: Box<Raw>,
        error: RequestError,
    },
}

/// Why the idle engine thread woke up.
pub(super) enum Wake {
    /// Requests may be ready.
    Look,
    /// The model is to be unloaded; the lane is closed.
    Unload,
}

impl Lane {
    pub(super) fn new(model: Found) -> Self {
        let now = Instant::now();
        Self {
            model,
            state: Mutex::new(State {
                raw: VecDeque::new(),
                preparing: None,
                ready: VecDeque::new(),
                turns: Turns::default(),
                running: 0,
                oldest: None,
                departures: Departures::default(),
                view: View::default(),
                loading_since: now,
                loaded: None,
                used: now,
                unwanted: false,
                stop_at: None,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request if fewer than `streams + most` are running and queued. Guests' requests do
    /// not count against the owner's; guests get half of the queue.
    pub(super) fn submit(
        &self,
        raw: Box<Raw>,
        streams: usize,
        most: usize,
    ) -> Result<(), NotTaken> {
        let mut state = self.lock();
        if state.closed {
            return Err(NotTaken::Closed(raw));
        }
        let is_guest = raw.client.caller.is_guest();
        let most = if is_guest { most / 2 } else { most };
        let count = |state: &State| match is_guest {
            true => (state.waiting(), state.running),
            false => (state.owner_waiting(), state.owner_running()),
        };
        let (waiting, running) = count(&state);
        if running + waiting >= streams + most {
            state.forget_the_gone();
        }
        let (waiting, running) = count(&state);
        if running + waiting >= streams + most {
            let now = Instant::now();
            let oldest = state.oldest.map_or(Duration::ZERO, |oldest| now - oldest);
            let retry_after = state.departures.next_place(now, running, oldest);
            let error = RequestError::Busy {
                waiting,
                retry_after,
            };
            return Err(NotTaken::Busy { raw, error });
        }
        if running + waiting >= streams {
            raw.client.tell(Update::Waiting { before: waiting });
        }
        if state.loaded.is_none() {
            raw.client.tell(Update::Loading { done: 0, total: 0 });
        }
        state.used = Instant::now();
        // A new request cancels a pending unload.
        state.unwanted = false;
        state.raw.push_back(*raw);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Reports loading progress to all queued requests.
    pub(super) fn tell_loading(&self, done: u64, total: u64) {
        for raw in &self.lock().raw {
            raw.client.tell(Update::Loading { done, total });
        }
    }

    /// Records that memory for the model's weights is reserved.
    pub(super) fn loading(&self, weight_bytes: u64) {
        self.lock().view.weight_bytes = weight_bytes;
    }

    /// Records that the model is loaded.
    pub(super) fn loaded(&self, context: usize) {
        let mut state = self.lock();
        state.loaded = Some(Instant::now());
        state.view.context = context;
    }

    /// Waits for the next request to prepare; `None` once the lane is closed.
    pub(super) fn next_raw(&self) -> Option<Raw> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let callers = state.raw.iter().map(|raw| &raw.client.caller);
            let next = state.turns.next(callers);
            if let Some(mut raw) = next.and_then(|at| state.raw.remove(at)) {
                state.preparing = Some(raw.client.caller.id());
                let from = state.loading_since.max(raw.client.arrived);
                let loaded = state.loaded.unwrap_or(from);
                raw.client.loading = loaded.saturating_duration_since(from);
                return Some(raw);
            }
            state = self.wait(state, None);
        }
    }

    /// Queues the result of preparing the last request; `None` if it failed.
    pub(super) fn prepared(&self, ready: Option<Ready>) {
        let mut state = self.lock();
        state.preparing = None;
        if state.closed {
            drop(state);
            if let Some(Ready { client, .. }) = ready {
                client.fail(RequestError::Stopping);
            }
            return;
        }
        state.ready.extend(ready);
        drop(state);
        self.changed.notify_all();
    }

    /// The next request to run, if there is room for one: for anyone's, or only for the owner's.
    pub(super) fn next_ready(&self, for_anyone: bool, for_owner: bool) -> Option<Ready> {
        if !for_anyone && !for_owner {
            return None;
        }
        let mut state = self.lock();
        let callers = state.ready.iter().map(|ready| &ready.client.caller);
        let next = state.turns.next(callers)?;
        // The owner's requests come first, so `next` is one of them if there is any.
        let is_meant = for_anyone || !state.ready[next].client.caller.is_guest();
        let ready = is_meant.then(|| state.ready.remove(next)).flatten()?;
        state.turns.begun(ready.client.caller.id());
        Some(ready)
    }

    /// Drops requests whose client has gone.
    pub(super) fn forget_the_gone(&self) {
        self.lock().forget_the_gone();
    }

    /// Reports their new position to queued requests.
    pub(super) fn advanced(&self) {
        let state = self.lock();
        let is_owners = |ready: &&Ready| !ready.client.caller.is_guest();
        let owners = state.ready.iter().filter(is_owners);
        let guests = state.ready.iter().filter(|ready| !is_owners(ready));
        for (before, next) in owners.chain(guests).enumerate() {
            next.client.tell(Update::Waiting { before });
        }
    }

    /// Puts back a request that cannot start yet.
    pub(super) fn put_back(&self, ready: Ready) {
        let mut state = self.lock();
        // Smaller requests of other guests do not overtake it.
        state.turns.goes_first(ready.client.caller.id());
        state.ready.push_front(ready);
    }

    /// Records the number of running requests, when the oldest began, and their memory.
    pub(super) fn runs(&self, running: usize, oldest: Option<Instant>, view: View) {
        let mut state = self.lock();
        let now = Instant::now();
        if running > 0 || state.running > 0 {
            state.used = now;
        }
        (state.running, state.oldest, state.view) = (running, oldest, view);
    }

    /// Records that a request ended after running for this long.
    pub(super) fn left(&self, after: Duration) {
        self.lock().departures.left(after);
    }

    /// Waits until a request is ready. If the model was idle for `idle` or is unwanted, closes the
    /// lane and returns [`Wake::Unload`]. Returns after `at_most` at the latest, if set.
    pub(super) fn rest(&self, idle: Duration, at_most: Option<Duration>) -> Wake {
        let until = at_most.map(|time| Instant::now() + time);
        let mut state = self.lock();
        loop {
            if !state.ready.is_empty() {
                return Wake::Look;
            }
            let rests = state.raw.is_empty() && state.preparing.is_none();
            let left = idle.saturating_sub(state.used.elapsed());
            if rests && (left.is_zero() || state.unwanted || state.stop_at.is_some()) {
                state.closed = true;
                drop(state);
                self.changed.notify_all();
                return Wake::Unload;
            }
            let time_left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if time_left.is_some_and(|left| left.is_zero()) {
                return Wake::Look;
            }
            let times = [rests.then_some(left), time_left];
            state = self.wait(state, times.into_iter().flatten().min());
        }
    }

    /// Wakes the thread that is in [`Self::pause`] or [`Self::rest`].
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits for a change, at most for `time`.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.lock();
        drop(self.wait(state, Some(time)));
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match time {
            None => (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.changed.wait_timeout(state, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// When running requests must end, if the lane is stopping.
    pub(super) fn stop_at(&self) -> Option<Instant> {
        self.lock().stop_at
    }

    /// Stops the lane: queued requests fail at once, running ones may continue until `at`.
    pub(super) fn stop(&self, at: Instant) {
        let mut state = self.lock();
        state.stop_at = Some(state.stop_at.map_or(at, |before| before.min(at)));
        let waiting = state.take_waiting();
        drop(state);
        self.changed.notify_all();
        waiting.fail(&RequestError::Stopping);
    }

    /// Unloads the model once no request is left; returns whether it is idle already.
    pub(super) fn unload(&self) -> bool {
        let mut state = self.lock();
        state.unwanted = true;
        let rests = state.waiting() == 0 && state.running == 0 && state.loaded.is_some();
        drop(state);
        self.changed.notify_all();
        rests
    }

    /// Closes the lane; queued requests fail with `error`.
    pub(super) fn close(&self, error: &RequestError) {
        let mut state = self.lock();
        state.closed = true;
        state.running = 0;
        let waiting = state.take_waiting();
        drop(state);
        self.changed.notify_all();
        waiting.fail(error);
    }

    /// A snapshot of the lane's load.
    pub(super) fn load(&self) -> Load {
        let state = self.lock();
        Load {
            waiting: state.waiting(),
            running: state.running,
            view: state.view,
            is_loaded: state.loaded.is_some() && !state.closed,
            is_closed: state.closed,
            used: state.used,
        }
    }
}

/// Requests that have not started.
struct Waiting(VecDeque<Raw>, VecDeque<Ready>);

impl Waiting {
    fn fail(self, error: &RequestError) {
        let raw = self.0.into_iter().map(|raw| raw.client);
        let clients = raw.chain(self.1.into_iter().map(|ready| ready.client));
        clients.for_each(|client| client.fail(error.clone()));
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.raw.len() + usize::from(self.preparing.is_some()) + self.ready.len()
    }

    fn owner_waiting(&self) -> usize {
        let is_owners = |caller: &&Caller| !caller.is_guest();
        let raw = self.raw.iter().map(|raw| &raw.client.caller);
        let ready = self.ready.iter().map(|ready| &ready.client.caller);
        let preparing = self.preparing == Some(CallerId::Owner);
        raw.chain(ready).filter(is_owners).count() + usize::from(preparing)
    }

    fn owner_running(&self) -> usize {
        self.running.saturating_sub(self.view.guests)
    }

    fn take_waiting(&mut self) -> Waiting {
        let (raw, ready) = (&mut self.raw, &mut self.ready);
        Waiting(std::mem::take(raw), std::mem::take(ready))
    }

    /// Drops requests whose client has gone.
    fn forget_the_gone(&mut self) {
        let (raw, ready) = (&mut self.raw, &mut self.ready);
        for _ in 0..raw.len() {
            let Some(next) = raw.pop_front() else { break };
            match next.client.is_gone() {
                true => next.client.cancelled(),
                false => raw.push_back(next),
            }
        }
        for _ in 0..ready.len() {
            let Some(next) = ready.pop_front() else { break };
            match next.client.is_gone() {
                true => next.client.cancelled(),
                false => ready.push_back(next),
            }
        }
    }
}
