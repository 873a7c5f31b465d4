//! The way of requests to one model's threads.
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

/// A model's requests, and what others see of it.
pub(super) struct Lane {
    pub(super) model: Found,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    raw: VecDeque<Raw>,
    /// Whose is taken out of `raw` and not yet in `ready`.
    preparing: Option<CallerId>,
    ready: VecDeque<Ready>,
    turns: Turns,
    /// Requests that are answered, and when the oldest began.
    running: usize,
    oldest: Option<Instant>,
    departures: Departures,
    view: View,
    loading_since: Instant,
    loaded: Option<Instant>,
    used: Instant,
    /// To be unloaded as soon as nobody asks it anything.
    unwanted: bool,
    /// When what runs is to end.
    stop_at: Option<Instant>,
    closed: bool,
}

/// What a model takes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct View {
    pub(super) weight_bytes: u64,
    pub(super) kv_bytes: u64,
    pub(super) kept_bytes: u64,
    pub(super) kept_prefixes: usize,
    /// Sessions that other devices keep.
    pub(super) split_kept: usize,
    pub(super) context: usize,
    /// How many of the requests that are answered are those of guests.
    pub(super) guests: usize,
    /// What waits has no memory, and nothing runs that will free some.
    pub(super) is_starved: bool,
}

/// Requests of a lane, and whether its model is loaded.
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
    /// Whether memory will come free when what is computed here has ended.
    pub(super) fn will_free(&self) -> bool {
        let waits = self.waiting > 0 && self.view.weight_bytes > 0 && !self.view.is_starved;
        self.is_closed || self.running > 0 || waits
    }
}

/// Why a lane does not take a request.
pub(super) enum NotTaken {
    /// Its threads have ended: another one is to be started.
    Closed(Box<Raw>),
    Busy {
        raw: Box<Raw>,
        error: RequestError,
    },
}

/// What the engine's thread does next, if it has nothing to compute.
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

    /// Takes a request, if fewer than so many are answered and wait. The owner's do not count those of
    /// guests; guests have half of the places to wait.
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
        // Who asks wants it.
        state.unwanted = false;
        state.raw.push_back(*raw);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Tells all who wait for the model how far it is.
    pub(super) fn tell_loading(&self, done: u64, total: u64) {
        for raw in &self.lock().raw {
            raw.client.tell(Update::Loading { done, total });
        }
    }

    /// The model has its memory.
    pub(super) fn loading(&self, weight_bytes: u64) {
        self.lock().view.weight_bytes = weight_bytes;
    }

    /// The model is loaded.
    pub(super) fn loaded(&self, context: usize) {
        let mut state = self.lock();
        state.loaded = Some(Instant::now());
        state.view.context = context;
    }

    /// The next request to prepare, once there is one; none if there will be none.
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

    /// What came of the request that was taken out last.
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

    /// The next request to compute; only of the owner, if `owner_only`.
    pub(super) fn next_ready(&self, owner_only: bool) -> Option<Ready> {
        let mut state = self.lock();
        let callers = state.ready.iter().map(|ready| &ready.client.caller);
        let next = state.turns.next(callers)?;
        // If there is one of the owner, it is that.
        let is_meant = !owner_only || !state.ready[next].client.caller.is_guest();
        let ready = is_meant.then(|| state.ready.remove(next)).flatten()?;
        state.turns.begun(ready.client.caller.id());
        Some(ready)
    }

    /// Drops requests that nobody waits for any more.
    pub(super) fn forget_the_gone(&self) {
        self.lock().forget_the_gone();
    }

    /// Tells those who wait that others were begun.
    pub(super) fn advanced(&self) {
        let state = self.lock();
        let is_owners = |ready: &&Ready| !ready.client.caller.is_guest();
        let owners = state.ready.iter().filter(is_owners);
        let guests = state.ready.iter().filter(|ready| !is_owners(ready));
        for (before, next) in owners.chain(guests).enumerate() {
            next.client.tell(Update::Waiting { before });
        }
    }

    /// Puts a request back that cannot be computed yet.
    pub(super) fn put_back(&self, ready: Ready) {
        let mut state = self.lock();
        // Smaller ones of others do not overtake it.
        state.turns.goes_first(ready.client.caller.id());
        state.ready.push_front(ready);
    }

    /// How many are answered now, since when the oldest is, and what they take.
    pub(super) fn runs(&self, running: usize, oldest: Option<Instant>, view: View) {
        let mut state = self.lock();
        let now = Instant::now();
        if running > 0 || state.running > 0 {
            state.used = now;
        }
        (state.running, state.oldest, state.view) = (running, oldest, view);
    }

    /// A request that was answered so long has left.
    pub(super) fn left(&self, after: Duration) {
        self.lock().departures.left(after);
    }

    /// Waits until something is ready, or the model was not used for so long or is unwanted, and closes
    /// the lane then. It looks again after `at_most`, if that is given.
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

    /// Has the thread that pauses or rests look again.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits for a change, or a moment.
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

    /// When what runs is to end, if it is.
    pub(super) fn stop_at(&self) -> Option<Instant> {
        self.lock().stop_at
    }

    /// Ends the lane: what waits fails at once, what runs may go on until then.
    pub(super) fn stop(&self, at: Instant) {
        let mut state = self.lock();
        state.stop_at = Some(state.stop_at.map_or(at, |before| before.min(at)));
        let waiting = state.take_waiting();
        drop(state);
        self.changed.notify_all();
        waiting.fail(&RequestError::Stopping);
    }

    /// Has the model unloaded as soon as nobody asks it anything; whether that is now.
    pub(super) fn unload(&self) -> bool {
        let mut state = self.lock();
        state.unwanted = true;
        let rests = state.waiting() == 0 && state.running == 0 && state.loaded.is_some();
        drop(state);
        self.changed.notify_all();
        rests
    }

    /// Takes no more requests; those that wait fail for this reason.
    pub(super) fn close(&self, error: &RequestError) {
        let mut state = self.lock();
        state.closed = true;
        state.running = 0;
        let waiting = state.take_waiting();
        drop(state);
        self.changed.notify_all();
        waiting.fail(error);
    }

    /// Requests, and what the model takes.
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

/// Requests that nobody has begun to answer.
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

    /// Drops requests that nobody waits for any more.
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
