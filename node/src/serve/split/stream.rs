//! One request over the circle's devices, from its prompt to the end of its answer.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use super::news::{Lack, News};
use super::session::{Session, refused};
use super::{LATE_PATIENCE, MOMENT, PLACES, Place, Split};
use crate::engine::{Sequence as _, StopReason, TokenId};
use crate::serve::RequestError;
use crate::serve::caller::OWNER_SECONDS;
use crate::serve::client::Client;
use crate::serve::scheduler::failed;
use crate::serve::talk::{Heard, Talk};
use crate::serve::work::Answer;

/// How an attempt to write an answer ended.
enum End {
    Answered(StopReason),
    /// The client has disconnected.
    Cancelled,
    Failed(RequestError),
    /// There was no room for the session, and nothing was computed: try again with another session.
    Again(Again),
}

/// When another session will find room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// At once: an idle session was ended.
    Now,
    /// With a smaller capacity.
    WithLess,
    /// After another answer has ended.
    AfterAnother,
}

/// An answer in progress.
struct Writing<'t, 'e> {
    talk: &'t RefCell<Talk<'e>>,
    /// Tokens of the prompt that the session already held.
    cached: usize,
    has_begun: Cell<bool>,
    /// Whether a smaller session could be begun instead.
    is_roomy: bool,
    /// Other answers that were running when it began.
    others: Vec<u64>,
}

impl Writing<'_, '_> {
    /// Records that prompt processing has begun.
    fn begin(&self, session_is_begun: impl FnOnce()) {
        if !self.has_begun.replace(true) {
            session_is_begun();
            self.talk.borrow_mut().start(self.cached);
        }
    }
}

impl<'e> Split<'e> {
    /// Answers a request.
    pub(super) fn answer(&self, place: &Place<'_, 'e>, client: Client, answer: Answer) {
        let prompt = answer.prompt.clone();
        let most = prompt.len() + answer.options.max_tokens.max(1) - 1;
        let of = client.caller.id();
        let talk = RefCell::new(Talk::new(self.engine, client, answer));
        let end = AssertUnwindSafe(|| self.write_somewhere(place, &talk, &prompt, most));
        // On a panic, dropping `talk` reports the failure to the client.
        let Ok((end, session)) = catch_unwind(end) else {
            return;
        };
        let talk = talk.into_inner();
        if let Some(mut session) = session {
            session.news.tell_nobody();
            self.count(&mut session);
            if let End::Answered(_) = end {
                self.kept().keep(of, session);
            }
        }
        match end {
            End::Answered(reason) => self.lane.left(talk.done(reason)),
            End::Cancelled => talk.cancelled(),
            End::Failed(error) => talk.fail(error),
            // Unreachable: `write_somewhere` retries until there is another end.
            End::Again(_) => talk.cancelled(),
        }
    }

    /// Writes the answer in an idle session or else in a new one. If there is no room, it first
    /// ends idle sessions, then does without room for later turns, and then waits for another
    /// answer to end.
    fn write_somewhere(
        &self,
        place: &Place<'_, 'e>,
        talk: &RefCell<Talk<'e>>,
        prompt: &[TokenId],
        most: usize,
    ) -> (End, Option<Session<'e>>) {
        // The logits after the last token are not cached, so that token is always computed.
        let wanted = &prompt[..prompt.len() - 1];
        let of = talk.borrow().caller().id();
        let mut capacity = self.roomy(most);
        let mut waited_since = None;
        loop {
            let kept = self.kept().take(of, wanted, most);
            let is_roomy = kept.is_none() && capacity > most;
            let mut session = match kept.map_or_else(|| self.open_new(talk, capacity), Ok) {
                Ok(session) => session,
                Err(end) => return (end, None),
            };
            let cached = session.tokens().len();
            if talk.borrow().caller().left() < (prompt.len() - cached) as u64 {
                return (End::Failed(RequestError::spent()), None);
            }
            place.goes_over(&session.news);
            session.news.tell_to(talk.borrow().telling());
            session.news.waited_since(waited_since);
            let writing = Writing {
                talk,
                cached,
                has_begun: Cell::new(false),
                is_roomy,
                others: self.answering(place),
            };
            let again = match self.write(&mut session, &writing, prompt) {
                End::Again(again) => again,
                end => return (end, Some(session)),
            };
            session.news.tell_nobody();
            self.count(&mut session);
            waited_since = session.news.waits_since().or(waited_since);
            drop(session);
            match again {
                Again::Now => {}
                Again::WithLess => capacity = most,
                Again::AfterAnother => {
                    waited_since = None;
                    if let Some(end) = self.await_another(place, &talk.borrow()) {
                        return (end, None);
                    }
                }
            }
        }
    }

    /// Waits until one of the currently running answers has ended. Returns an end if the request
    /// itself has to stop.
    fn await_another(&self, place: &Place<'_, 'e>, talk: &Talk<'e>) -> Option<End> {
        place.goes_nowhere();
        let others = self.answering(place);
        while others.iter().all(|id| self.running().contains_key(id)) && !others.is_empty() {
            if let Some(end) = self.why_stop(talk) {
                return Some(end);
            }
            self.lane.pause(MOMENT);
        }
        None
    }

    /// Begins a session, ending idle ones if there are too many.
    fn open_new(&self, talk: &RefCell<Talk<'e>>, capacity: usize) -> Result<Session<'e>, End> {
        let mut why = None;
        self.circle.await_devices(&mut || {
            why = self.why_stop(&talk.borrow());
            why.is_none()
        });
        if let Some(end) = why {
            return Err(end);
        }
        let running = self.running().len();
        self.kept().shrink_to(PLACES.saturating_sub(running));
        self.open(capacity).map_err(End::Failed)
    }

    /// Processes the prompt and writes the answer to its end.
    fn write(
        &self,
        session: &mut Session<'e>,
        writing: &Writing<'_, 'e>,
        prompt: &[TokenId],
    ) -> End {
        let Session { sequence, news, .. } = &mut *session;
        let mut next = prompt[writing.cached..].to_vec();
        sequence.chosen_with(writing.talk.borrow().sampling(), prompt.len());
        loop {
            let mut why = None;
            let begun = Instant::now();
            let read = sequence.read(
                &next,
                &mut |done| {
                    if news.is_ready() {
                        writing.begin(|| news.begun());
                        writing.talk.borrow().has_read(writing.cached + done);
                    }
                    why = self.why_stop(&writing.talk.borrow());
                    if why.is_none()
                        && let Some(lack) = news.lacks()
                    {
                        why = self.make_room(writing, lack);
                    }
                    if why.is_none() {
                        why = self.why_no_devices(writing, news);
                    }
                    why.is_none()
                },
                |logits| {
                    writing.begin(|| news.begun());
                    writing.talk.borrow_mut().hear(Ok(logits));
                },
            );
            match read {
                Err(error) => return End::Failed(refused(&error)),
                Ok(None) => return why.unwrap_or(End::Cancelled),
                Ok(Some(())) => {}
            }
            let heard = writing.talk.borrow_mut().take_heard();
            match heard {
                Some(Heard::Token(token)) => {
                    next.clear();
                    next.push(token);
                }
                Some(Heard::End(reason)) => return End::Answered(reason),
                Some(Heard::Failed(error)) => return End::Failed(failed(&error)),
                // Logits always produce a result, so this does not happen.
                None => return End::Cancelled,
            }
            if let Some(end) = self.why_stop(&writing.talk.borrow()) {
                return end;
            }
            self.let_owner_go_first(&writing.talk.borrow(), begun.elapsed());
        }
    }

    /// Pauses a guest's answer after a step of this length, while the owner is being answered.
    fn let_owner_go_first(&self, talk: &Talk<'_>, took: Duration) {
        if !talk.caller().is_guest() {
            return;
        }
        let until = Instant::now() + took.saturating_mul(OWNER_SECONDS);
        while Instant::now() < until && self.owner_is_answered() && self.why_stop(talk).is_none() {
            thread::sleep(MOMENT.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Why the answer has to stop, if it has to.
    fn why_stop(&self, talk: &Talk<'_>) -> Option<End> {
        if talk.is_gone() {
            return Some(End::Cancelled);
        }
        self.is_stopping()
            .then_some(End::Failed(RequestError::Stopping))
    }

    /// Whether running answers have to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.lane.stop_at().is_some_and(|at| Instant::now() >= at)
    }

    /// Makes room for a session by ending the least recently used idle one, or all of them if there
    /// is no placement. If nothing was computed yet, the session is begun anew, which is faster
    /// than its own retry.
    fn make_room(&self, writing: &Writing<'_, '_>, lack: Lack) -> Option<End> {
        let mut kept = self.kept();
        let freed = kept.free_one();
        if lack == Lack::Placement {
            kept.shrink_to(0);
        }
        let again = match (freed, writing.is_roomy, lack) {
            (true, ..) => Again::Now,
            (false, true, _) => Again::WithLess,
            (false, false, Lack::Placement) if !writing.others.is_empty() => Again::AfterAnother,
            (false, false, _) => return None,
        };
        (!writing.has_begun.get()).then_some(End::Again(again))
    }

    /// The end for a request that has waited too long for devices.
    fn why_no_devices(&self, writing: &Writing<'_, '_>, news: &News) -> Option<End> {
        let patience = match writing.has_begun.get() {
            true => LATE_PATIENCE,
            false => self.shared.settings.patience,
        };
        let message = news.waits_for(patience)?;
        Some(End::Failed(RequestError::NoDevices { message }))
    }

    fn count(&self, session: &mut Session<'_>) {
        let (drafts, recoveries) = (session.take_drafts(), session.news.take_recoveries());
        self.shared.counters.drafts(drafts);
        self.shared.counters.recovered(recoveries);
    }
}
