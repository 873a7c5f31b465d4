//! Serving a model whose layers the circle's devices compute.
//!
//! ```text
//! Lane ── prepared ─▶ Split::run ─▶ a thread for each request ─▶ Together ─▶ the circle
//!                         │                    │
//!                       Kept ◀── sessions that have answered
//! ```
//!
//! Answers are written by the same [`Talk`](super::talk::Talk) as on a single device; only the
//! logits come from elsewhere. So the answer equals that of this device alone, whatever fails
//! meanwhile (invariants I1 and I2).
//!
//! | what | bound |
//! |---|---|
//! | requests answered concurrently, each on its own thread | [`Settings::streams`](super::Settings::streams), and [`PLACES`], the sessions that a device accepts from another; guests leave [`OWNERS_PLACES`] of these free |
//! | time of guests | while the owner is being answered, a guest's answer pauses after each token for [`OWNER_SECONDS`](super::caller::OWNER_SECONDS) times as long as the token took |
//! | sessions, including idle ones | [`PLACES`] |
//! | memory | reserved by the devices when a session begins, for the prompt and all tokens it may get; if there is too little, idle sessions are ended, or the request waits for another answer to end |
//! | idle sessions | [`Settings::kept_bytes`](super::Settings::kept_bytes) of KV caches on all devices together, and [`Settings::idle`](super::Settings::idle); ended first when a new session finds no room |
//! | waiting for devices | [`Settings::patience`](super::Settings::patience) before an answer begins, [`LATE_PATIENCE`] after that |
//! | fetching weights | continues while bytes arrive; the session gives up a device that receives none for long |

mod embed;
mod kept;
mod news;
mod session;
mod stream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::circle::Circle;
use super::lane::{Lane, View, Wake};
use super::shared::Shared;
use super::work::{Ready, Work};
use crate::engine::Engine;
use crate::stages::Ends;
use kept::Kept;
use news::News;

/// The most sessions that a device accepts from one requester: the stages' own limit.
const PLACES: usize = 16;
/// Sessions that guests leave free for the owner.
const OWNERS_PLACES: usize = 2;
/// How long a running answer waits for devices that it lost.
const LATE_PATIENCE: Duration = Duration::from_secs(60);
/// How often to check for ended answers, disconnected clients and queued requests.
const MOMENT: Duration = Duration::from_millis(20);
/// How often to check idle sessions while no request is running.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// The requests of one model that the circle answers, and its idle sessions.
pub(super) struct Split<'e> {
    engine: &'e Engine,
    ends: &'e Ends,
    lane: &'e Lane,
    shared: &'e Shared,
    circle: &'e Circle,
    path: PathBuf,
    kept: Mutex<Kept<'e>>,
    running: Mutex<BTreeMap<u64, Running>>,
    /// Locked while a request embeds texts.
    embedding: Mutex<()>,
}

/// A running request.
struct Running {
    began: Instant,
    is_guests: bool,
    /// State of its session, once it has one.
    news: Option<News>,
}

/// A running request's entry in `running`, removed on drop.
struct Place<'s, 'e> {
    split: &'s Split<'e>,
    id: u64,
}

impl Drop for Place<'_, '_> {
    fn drop(&mut self) {
        self.split.running().remove(&self.id);
        self.split.lane.wake();
    }
}

impl Place<'_, '_> {
    /// Records that the request has no session now.
    fn goes_nowhere(&self) {
        if let Some(running) = self.split.running().get_mut(&self.id) {
            running.news = None;
        }
    }

    /// Records the request's session.
    fn goes_over(&self, news: &News) {
        if let Some(running) = self.split.running().get_mut(&self.id) {
            running.news = Some(news.clone());
        }
    }
}

impl<'e> Split<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        ends: &'e Ends,
        lane: &'e Lane,
        shared: &'e Shared,
        circle: &'e Circle,
    ) -> Self {
        Self {
            engine,
            ends,
            lane,
            shared,
            circle,
            path: lane.model.path.clone(),
            kept: Mutex::new(Kept::new(shared.settings.kept_bytes, shared.settings.idle)),
            running: Mutex::default(),
            embedding: Mutex::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other requests whose session is computing.
    fn answering(&self, place: &Place<'_, '_>) -> Vec<u64> {
        let running = self.running();
        let others = running.iter().filter(|(id, running)| {
            let reads = running.news.as_ref().is_some_and(News::is_ready);
            **id != place.id && reads
        });
        others.map(|(id, _)| *id).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept<'e>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers requests until the model is to be unloaded.
    pub(super) fn run(&self) {
        thread::scope(|scope| {
            let mut next_id = 0;
            loop {
                self.lane.forget_the_gone();
                self.kept().look_after();
                self.tell();
                let running = self.running().len();
                if let Some(ready) = self.next_ready() {
                    next_id += 1;
                    self.begin(scope, next_id, ready);
                    self.lane.advanced();
                } else if running > 0 {
                    self.lane.pause(MOMENT);
                } else {
                    let look_after = (self.kept().len() > 0).then_some(LOOK_AFTER);
                    let idle = self.shared.settings.idle;
                    if let Wake::Unload = self.lane.rest(idle, look_after) {
                        return;
                    }
                }
            }
        });
    }

    /// The next request that may start. Guests' requests do not hold up the owner's.
    fn next_ready(&self) -> Option<Ready> {
        let streams = self.shared.settings.streams;
        let (all, owner) = {
            let running = self.running();
            let owner = running.values().filter(|one| !one.is_guests).count();
            (running.len(), owner)
        };
        let for_anyone = all < streams.min(PLACES - OWNERS_PLACES);
        let for_owner = owner < streams && all < PLACES;
        self.lane.next_ready(for_anyone, for_owner)
    }

    /// Whether a request of the owner is computing.
    fn owner_is_answered(&self) -> bool {
        let running = self.running();
        let mut owner = running.values().filter(|one| !one.is_guests);
        owner.any(|one| one.news.as_ref().is_some_and(News::is_ready))
    }

    /// Answers a request on a new thread.
    fn begin<'s>(&'s self, scope: &'s Scope<'s, '_>, id: u64, ready: Ready) {
        if ready.client.is_gone() {
            ready.client.cancelled();
            return;
        }
        let running = Running {
            began: Instant::now(),
            is_guests: ready.client.caller.is_guest(),
            news: None,
        };
        self.running().insert(id, running);
        let place = Place { split: self, id };
        // If no thread can be created, dropping the request reports the failure to its client.
        let _ = thread::Builder::new()
            .name("potluck-stream".to_owned())
            .spawn_scoped(scope, move || match ready.work {
                Work::Answer(answer) => self.answer(&place, ready.client, *answer),
                Work::Embed(texts) => self.embed(ready.client, texts),
            });
    }

    /// Reports the number of running requests and their memory on this device to the lane.
    fn tell(&self) {
        let (layers_bytes, view) = {
            let running = self.running();
            let news = running.values().filter_map(|running| running.news.as_ref());
            let used: Vec<_> = news.map(News::here).collect();
            let kept = self.kept();
            let kept_used = kept.here();
            let most = used.iter().chain(&kept_used).map(|here| here.weight_bytes);
            let kv = |all: &[news::Here]| all.iter().map(|here| here.kv_bytes).sum();
            let view = View {
                kv_bytes: kv(&used),
                kept_bytes: kv(&kept_used),
                split_kept: kept.len(),
                context: self.engine.context(),
                ..View::default()
            };
            (most.max().unwrap_or_default(), view)
        };
        let view = View {
            weight_bytes: self.ends.memory_bytes() + layers_bytes,
            ..view
        };
        let (count, oldest) = {
            let running = self.running();
            (running.len(), running.values().map(|r| r.began).min())
        };
        self.lane.runs(count, oldest, view);
    }
}

#[cfg(test)]
mod tests {
    use potluck_protocol::stage::StageLimits;

    use super::*;

    #[test]
    fn no_more_sessions_are_begun_than_a_helper_takes() {
        assert_eq!(PLACES, StageLimits::default().each);
    }
}
