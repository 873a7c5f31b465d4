//! Requests of one model whose layers the circle's devices compute.
//!
//! ```text
//! Lane ── prepared ─▶ Split::run ─▶ a thread for each request ─▶ Together ─▶ the circle
//!                         │                    │
//!                       Kept ◀── sessions that have answered
//! ```
//!
//! An answer is written as alone, from the same [`Talk`](super::talk::Talk); only its logits come from
//! elsewhere. So it is the answer that this device alone gives, whatever fails meanwhile (invariants I1
//! and I2).
//!
//! | what | bound |
//! |---|---|
//! | requests answered at once, each on a thread of its own | [`Settings::streams`](super::Settings::streams), and [`PLACES`]: so many sessions a device takes of another; guests leave [`OWNERS_PLACES`] of these free |
//! | time of guests | while the owner is answered, a guest's answer pauses after each token for [`OWNER_SHARE`] times as long as that took |
//! | sessions, kept ones too | [`PLACES`] |
//! | memory | reserved by the devices when a session begins, for the prompt and all tokens it may get; else kept sessions go, or it waits for another answer to end |
//! | kept sessions | [`Settings::kept_bytes`](super::Settings::kept_bytes) of KV caches on all devices together, and [`Settings::idle`](super::Settings::idle); they go first where a session finds no room |
//! | waiting for devices | [`Settings::patience`](super::Settings::patience) until an answer begins, [`LATE_PATIENCE`] in the middle of one |
//! | fetching weights | goes on while some come: a device that gets none for long is given up by its session |

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

/// Sessions that a helper takes of one requester: the stages' own limit.
const PLACES: usize = 16;
/// Sessions that guests leave to the owner.
const OWNERS_PLACES: usize = 2;
/// What the owner gets for a guest's second.
const OWNER_SHARE: u32 = 4;
/// How long an answer waits for devices that it lost.
const LATE_PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at whether answers have ended, clients have gone or others wait.
const MOMENT: Duration = Duration::from_millis(20);
/// How often kept sessions are looked after while nothing is answered.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// The requests of one model that the circle answers, and what is kept of earlier ones.
pub(super) struct Split<'e> {
    engine: &'e Engine,
    ends: &'e Ends,
    lane: &'e Lane,
    shared: &'e Shared,
    circle: &'e Circle,
    path: PathBuf,
    kept: Mutex<Kept<'e>>,
    running: Mutex<BTreeMap<u64, Running>>,
}

/// A request that is answered.
struct Running {
    began: Instant,
    is_guests: bool,
    /// Of its session, once it has one.
    news: Option<News>,
}

/// The place of a request that is answered, until it is dropped.
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
    /// It has no session now.
    fn goes_nowhere(&self) {
        if let Some(running) = self.split.running().get_mut(&self.id) {
            running.news = None;
        }
    }

    /// Its session is this one.
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
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other requests that are being read or answered.
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

    /// The next request that there is a place for. The owner does not wait for guests.
    fn next_ready(&self) -> Option<Ready> {
        let streams = self.shared.settings.streams;
        let (all, owner) = {
            let running = self.running();
            let owner = running.values().filter(|one| !one.is_guests).count();
            (running.len(), owner)
        };
        match all < streams.min(PLACES - OWNERS_PLACES) {
            true => self.lane.next_ready(false),
            false if owner < streams && all < PLACES => self.lane.next_ready(true),
            false => None,
        }
    }

    /// Whether an answer of the owner is read or written.
    fn owner_is_answered(&self) -> bool {
        let running = self.running();
        let mut owner = running.values().filter(|one| !one.is_guests);
        owner.any(|one| one.news.as_ref().is_some_and(News::is_ready))
    }

    /// Answers a request on a thread of its own.
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
        // A request that gets no thread hears that it has failed, as it is dropped.
        let _ = thread::Builder::new()
            .name("potluck-stream".to_owned())
            .spawn_scoped(scope, move || match ready.work {
                Work::Answer(answer) => self.answer(&place, ready.client, *answer),
                Work::Embed(texts) => self.embed(ready.client, texts),
            });
    }

    /// Says how much is answered, and what that takes of this device.
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
