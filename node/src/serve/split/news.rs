//! State of a session, as observed for the request that it answers.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use potluck_protocol::placement::Prediction;
use potluck_protocol::session::{Cause, SessionEvent};
use potluck_protocol::wire::StageRefusedCode;

use crate::Cancel;
use crate::engine::ModelConfig;
use crate::local::Names;
use crate::serve::Update;
use crate::serve::client::Telling;
use crate::stages::Ends;
use crate::together::Notice;

/// A session counts as without room only after waiting this long: until then the links to newly
/// connected devices are still being measured.
const SURELY: Duration = Duration::from_secs(1);

/// State of a session, shared between the thread that computes and the threads that observe it.
#[derive(Clone)]
pub(super) struct News(Arc<Mutex<Known>>);

struct Known {
    cancel: Cancel,
    telling: Telling,
    /// A placement is open, so rows are being computed.
    is_ready: bool,
    /// Whether prompt processing has begun. Progress of other devices is reported only before.
    has_begun: bool,
    /// Why there is no placement, and since when.
    waits: Option<(String, Instant)>,
    /// When an earlier session of the same request began to wait.
    waited_since: Option<Instant>,
    /// A device has refused for lack of memory or places.
    lacks_room: bool,
    /// A device failed after the request began, and no hidden states have arrived since.
    is_broken: bool,
    /// How often hidden states arrived after a failure.
    recoveries: u64,
    /// The layers on this device.
    layers: Range<usize>,
    sizes: Sizes,
}

/// What a session lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// Room on one device; reported once.
    Room,
    /// Devices, or room on all of them.
    Placement,
}

/// The memory that a session of this capacity needs.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// Bytes of the weights of each layer.
    weights: Arc<[u64]>,
    /// Bytes of the KV cache of each layer.
    kv: Arc<[u64]>,
}

/// The memory that a session uses on this device.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Here {
    pub(super) weight_bytes: u64,
    pub(super) kv_bytes: u64,
}

impl Sizes {
    pub(super) fn new(ends: &Ends, config: &ModelConfig, capacity: usize) -> Self {
        let layers = ends.shape().layers.iter();
        Self {
            weights: layers.map(|layer| layer.memory_bytes(0)).collect(),
            kv: (0..config.layers)
                .map(|layer| config.kv_bytes(layer..layer + 1, capacity))
                .collect(),
        }
    }

    /// Bytes of the KV caches of all layers, on all devices.
    pub(super) fn kv_bytes(&self) -> u64 {
        self.kv.iter().sum()
    }
}

impl News {
    /// The initial state of a session that `cancel` stops.
    pub(super) fn new(cancel: &Cancel, sizes: Sizes) -> Self {
        Self(Arc::new(Mutex::new(Known {
            cancel: cancel.clone(),
            telling: Telling::default(),
            is_ready: false,
            has_begun: false,
            waits: None,
            waited_since: None,
            lacks_room: false,
            is_broken: false,
            recoveries: 0,
            layers: 0..0,
            sizes,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a request, and reports waiting to its client.
    pub(super) fn tell_to(&self, telling: Telling) {
        let mut known = self.lock();
        known.telling = telling;
        known.has_begun = false;
        known.lacks_room = false;
        known.is_broken = false;
    }

    /// Stops reporting to the client, because its request has ended.
    pub(super) fn tell_nobody(&self) {
        self.lock().telling = Telling::default();
    }

    /// Records that prompt processing has begun.
    pub(super) fn begun(&self) {
        self.lock().has_begun = true;
    }

    /// Takes the number of recovered failures since the last call.
    pub(super) fn take_recoveries(&self) -> u64 {
        std::mem::take(&mut self.lock().recoveries)
    }

    /// Whether a placement is open.
    pub(super) fn is_ready(&self) -> bool {
        self.lock().is_ready
    }

    /// What the session lacks that other sessions could free.
    pub(super) fn lacks(&self) -> Option<Lack> {
        let mut known = self.lock();
        let waits = known.waits.as_ref();
        if waits.is_some_and(|(_, since)| since.elapsed() >= SURELY) {
            return Some(Lack::Placement);
        }
        std::mem::take(&mut known.lacks_room).then_some(Lack::Room)
    }

    /// Since when there is no placement.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.lock().waits.as_ref().map(|(_, since)| *since)
    }

    /// Continues the waiting time of an earlier session of the same request.
    pub(super) fn waited_since(&self, since: Option<Instant>) {
        self.lock().waited_since = since;
    }

    /// Why there is no placement, if there has been none for at least `patience`.
    pub(super) fn waits_for(&self, patience: Duration) -> Option<String> {
        let known = self.lock();
        let waits = known.waits.as_ref();
        let (why, _) = waits.filter(|(_, since)| since.elapsed() >= patience)?;
        Some(why.clone())
    }

    /// The session's memory on this device.
    pub(super) fn here(&self) -> Here {
        let known = self.lock();
        let of_layers = |bytes: &[u64]| {
            let here = bytes.get(known.layers.clone());
            here.into_iter().flatten().sum()
        };
        Here {
            weight_bytes: of_layers(&known.sizes.weights),
            kv_bytes: of_layers(&known.sizes.kv),
        }
    }

    /// Bytes of its KV caches on all devices.
    pub(super) fn kv_bytes(&self) -> u64 {
        self.lock().sizes.kv_bytes()
    }

    /// Handles an event.
    pub(super) fn hear(&self, notice: Notice<'_>) {
        let mut known = self.lock();
        match notice {
            Notice::Session(event, names) => known.hear(event, names),
            Notice::NodeLost => known.is_ready = false,
        }
        // Checked on every event: stop computing once the client has disconnected.
        if known.telling.is_gone() {
            known.cancel.cancel();
        }
    }
}

impl Known {
    fn hear(&mut self, event: &SessionEvent, names: &Names) {
        match event {
            SessionEvent::Placed(prediction) => {
                self.waits = None;
                self.layers = layers_here(prediction, names);
            }
            SessionEvent::Ready { .. } => self.is_ready = true,
            SessionEvent::Fetching {
                received_bytes,
                total_bytes,
                ..
            } => self.tell(Update::Loading {
                done: *received_bytes,
                total: *total_bytes,
            }),
            SessionEvent::Waiting(why) => {
                let since = self.waits.take().map(|(_, since)| since);
                let since = since.or(self.waited_since.take());
                self.waits = Some((why.clone(), since.unwrap_or_else(Instant::now)));
                self.tell(Update::Waiting { before: 0 });
            }
            SessionEvent::Broken { cause, .. } => {
                self.is_ready = false;
                // A refusal before the request began has interrupted no answer.
                self.is_broken |= self.has_begun;
                self.lacks_room |= matches!(
                    cause,
                    Cause::Refused {
                        code: StageRefusedCode::Memory | StageRefusedCode::TooManySessions,
                        ..
                    }
                );
            }
            SessionEvent::Answered { hidden, .. } => {
                if !hidden.is_empty() && std::mem::take(&mut self.is_broken) {
                    self.recoveries += 1;
                }
            }
            SessionEvent::RolledBack
            | SessionEvent::Shared { .. }
            | SessionEvent::Leaving { .. }
            // The error that ends the answer contains the same text.
            | SessionEvent::GivenUp(_) => {}
        }
    }

    fn tell(&self, update: Update) {
        if !self.has_begun {
            self.telling.tell(update);
        }
    }
}

/// The layers that a placement gives to this device.
fn layers_here(prediction: &Prediction, names: &Names) -> Range<usize> {
    let mut stages = prediction.stages.iter().map(|placed| placed.stage);
    let here = stages.find(|stage| stage.peer == names.this_device);
    here.map_or(0..0, |stage| {
        stage.layers.first() as usize..stage.layers.end() as usize
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use potluck_protocol::PeerId;

    use super::*;
    use crate::serve::Caller;
    use crate::serve::client::Client;
    use crate::serve::numbers::Counters;

    fn peer(byte: u8) -> PeerId {
        PeerId::from_public_key([byte; 32])
    }

    fn hear(news: &News, event: SessionEvent) {
        let names = Names {
            this_device: peer(1),
            members: BTreeMap::new(),
        };
        news.hear(Notice::Session(&event, &names));
    }

    fn fresh(cancel: &Cancel) -> News {
        let sizes = Sizes {
            weights: [10, 20, 30].into(),
            kv: [7, 7, 3].into(),
        };
        News::new(cancel, sizes)
    }

    fn ready() -> SessionEvent {
        SessionEvent::Ready {
            from: 0,
            prefill_rows: NonZeroU32::MIN,
        }
    }

    fn refused(code: StageRefusedCode) -> SessionEvent {
        SessionEvent::Broken {
            peer: peer(2),
            cause: Cause::Refused {
                code,
                words: String::new(),
                available_bytes: 0,
            },
        }
    }

    #[test]
    fn a_session_without_a_placement_says_since_when_and_why() {
        let news = fresh(&Cancel::new());
        hear(&news, ready());
        assert!(news.is_ready());
        assert_eq!(news.waits_for(Duration::ZERO), None);
        hear(&news, SessionEvent::Waiting("kitchen is away".to_owned()));
        let since = news.waits_since().expect("it waits");
        hear(&news, SessionEvent::Waiting("all are away".to_owned()));
        assert_eq!(news.waits_since(), Some(since));
        let why = news.waits_for(Duration::ZERO);
        assert_eq!(why.as_deref(), Some("all are away"));
        assert_eq!(news.waits_for(Duration::from_secs(60)), None);
        // It has not waited long enough to be sure.
        assert_eq!(news.lacks(), None);
        // Another session of the same request continues the wait.
        let next = fresh(&Cancel::new());
        next.waited_since(Some(since));
        hear(&next, SessionEvent::Waiting("all are away".to_owned()));
        assert_eq!(next.waits_since(), Some(since));
    }

    #[test]
    fn room_that_a_device_lacks_is_told_once_and_other_refusals_are_not() {
        let news = fresh(&Cancel::new());
        for code in [StageRefusedCode::Memory, StageRefusedCode::TooManySessions] {
            hear(&news, refused(code));
            assert_eq!((news.lacks(), news.lacks()), (Some(Lack::Room), None));
        }
        hear(&news, refused(StageRefusedCode::NoWeights));
        assert_eq!(news.lacks(), None);
    }

    #[test]
    fn a_failure_in_an_answer_that_goes_on_is_a_recovery_and_one_before_it_is_none() {
        let news = fresh(&Cancel::new());
        let failed = || SessionEvent::Broken {
            peer: peer(2),
            cause: Cause::Disconnected,
        };
        let answered = |hidden| SessionEvent::Answered {
            start_position: 0,
            hidden,
        };
        hear(&news, failed());
        hear(&news, answered(vec![1]));
        assert_eq!(news.take_recoveries(), 0);
        news.begun();
        for event in [failed(), failed(), answered(Vec::new())] {
            hear(&news, event);
        }
        assert_eq!(news.take_recoveries(), 0);
        hear(&news, answered(vec![1]));
        hear(&news, answered(vec![1]));
        assert_eq!((news.take_recoveries(), news.take_recoveries()), (1, 0));
    }

    #[test]
    fn waiting_and_fetching_are_told_until_the_request_is_read_and_one_who_goes_stops_it() {
        let cancel = Cancel::new();
        let news = fresh(&cancel);
        let (client, mut answering) =
            Client::answering(&Arc::new(Counters::default()), Caller::Owner);
        news.tell_to(client.telling());
        let fetching = |received_bytes| SessionEvent::Fetching {
            peer: peer(2),
            received_bytes,
            total_bytes: 9,
        };
        hear(&news, SessionEvent::Waiting("kitchen is away".to_owned()));
        hear(&news, fetching(4));
        assert!(matches!(
            answering.now(),
            Some(Update::Waiting { before: 0 })
        ));
        assert!(matches!(
            answering.now(),
            Some(Update::Loading { done: 4, total: 9 })
        ));
        news.begun();
        hear(&news, fetching(5));
        assert!(answering.now().is_none());
        assert!(!cancel.is_cancelled());
        drop(answering);
        hear(&news, SessionEvent::RolledBack);
        assert!(cancel.is_cancelled());
        client.cancelled();
    }

    #[test]
    fn a_session_takes_of_this_device_the_layers_that_are_here() {
        let news = fresh(&Cancel::new());
        assert_eq!(news.kv_bytes(), 17);
        news.lock().layers = 1..3;
        let here = news.here();
        assert_eq!((here.weight_bytes, here.kv_bytes), (50, 10));
    }
}
