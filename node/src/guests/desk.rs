//! A running server's guest state: tokens, limits and running answers.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::book::{Guest, GuestBook, GuestError, Stamp, TokenHash};
use super::unix;
use super::usage::{Usage, later_day};
use crate::home::Home;
use crate::serve::{Caller, Tab, day_of, until_next_day};

/// How often usage is saved.
const WRITE: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// The longest retry time given when the exact one is unknown: clients ignore longer ones.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The guests of a running server. It re-reads the guest file when that has changed, at the latest
/// on the next request.
pub(super) struct Desk {
    book: GuestBook,
    usage: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// The version of the file as read; `None` if there was none.
    stamp: Option<Stamp>,
    /// Why all guests are refused, if the file cannot be read.
    damaged: Option<String>,
    seats: BTreeMap<u64, Seat>,
    /// The current day, and the usage saved last, which may include removed guests.
    day: u64,
    written: Usage,
    /// Whether that is on disk.
    is_saved: bool,
    /// Whether this is the server of the home, and not one that waits for another to end.
    has_begun: bool,
    write_at: Instant,
    /// Events for the owner.
    news: Vec<News>,
}

/// A change made by another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    Removed(String),
    Problem(String),
}

/// A guest and its activity.
struct Seat {
    guest: Guest,
    tab: Arc<Tab>,
    seen: Option<u64>,
    /// The times of its requests within the last minute.
    asked: VecDeque<Instant>,
    /// The start times of its running answers.
    answers: Vec<Instant>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// No guest has this token.
    #[error("this token is no guest's of this node")]
    Unknown,
    /// The token has expired.
    #[error("the time of this guest's token is over: ask the owner of this node for another")]
    Over,
}

/// The limit that a guest's request exceeds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    /// Too many requests in a minute.
    #[error("this guest may ask {limit} times a minute: try again in {} s", retry_after.as_secs())]
    TooOften {
        /// Requests per minute.
        limit: u32,
        /// Time until the next request is allowed, in whole seconds.
        retry_after: Duration,
    },
    /// Too many of its answers are still running.
    #[error("this guest may have {limit} answers at the same time: try again when one is done")]
    TooManyAtOnce {
        /// Concurrent answers.
        limit: u32,
        /// The age of the oldest running answer, at least 1 s and at most a minute.
        retry_after: Duration,
    },
    /// A single request asks for more answers than the limit allows at all.
    #[error("this guest may have {limit} answers at the same time: ask for fewer at once")]
    TooManyAnswers {
        /// Concurrent answers.
        limit: u32,
    },
    /// Today's tokens are used up.
    #[error("this guest's {limit} tokens of today are used up: a new day begins in {} min", retry_after.as_secs().div_ceil(60))]
    Spent {
        /// Tokens per day.
        limit: u64,
        /// Time until the guest gets new tokens.
        retry_after: Duration,
    },
}

/// An authenticated request of a guest.
#[derive(Clone)]
pub struct Visit {
    desk: Arc<Desk>,
    tab: Arc<Tab>,
    name: String,
    models: Vec<String>,
}

/// Places for running answers. Dropping it frees them.
pub struct Places {
    desk: Arc<Desk>,
    id: u64,
    begun: Instant,
    count: usize,
}

impl Visit {
    /// The guest as a caller of the service.
    pub fn caller(&self) -> Caller {
        Caller::Guest(Arc::clone(&self.tab))
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The models it may use, as in [`Limits::models`](super::Limits::models).
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// Takes places for `answers` answers of one request.
    ///
    /// # Errors
    /// [`OverLimit`].
    pub fn begin(&self, answers: usize) -> Result<Places, OverLimit> {
        let now = Instant::now();
        let id = self.tab.id();
        let mut state = self.desk.lock();
        if let Some(seat) = state.seats.get_mut(&id) {
            seat.begin(answers, now)?;
        }
        drop(state);
        Ok(Places {
            desk: Arc::clone(&self.desk),
            id,
            begun: now,
            count: answers,
        })
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        let Some(seat) = state.seats.get_mut(&self.id) else {
            return;
        };
        for _ in 0..self.count {
            let begun = seat.answers.iter().position(|&begun| begun == self.begun);
            begun.map(|at| seat.answers.swap_remove(at));
        }
    }
}

impl Seat {
    fn begin(&mut self, answers: usize, now: Instant) -> Result<(), OverLimit> {
        let limits = &self.guest.limits;
        if self.tab.left() == 0 {
            return Err(OverLimit::Spent {
                limit: limits.tokens_a_day,
                retry_after: until_next_day(SystemTime::now()),
            });
        }
        let limit = limits.at_once;
        if answers > limit as usize {
            return Err(OverLimit::TooManyAnswers { limit });
        }
        if self.answers.len() + answers > limit as usize {
            let oldest = self.answers.iter().min();
            let age = oldest.map_or(Duration::ZERO, |&oldest| now - oldest);
            return Err(OverLimit::TooManyAtOnce {
                limit,
                retry_after: whole_seconds(age).min(LONGEST_RETRY),
            });
        }
        let limit = limits.requests_a_minute;
        let is_old = |asked: &Instant| now.saturating_duration_since(*asked) >= MINUTE;
        while self.asked.front().is_some_and(is_old) {
            self.asked.pop_front();
        }
        if self.asked.len() >= limit as usize {
            let free = self.asked.len() - limit as usize;
            let next = self.asked.get(free).map_or(now, |&asked| asked) + MINUTE;
            let retry_after = whole_seconds(next - now);
            return Err(OverLimit::TooOften { limit, retry_after });
        }
        self.asked.push_back(now);
        self.answers.extend((0..answers).map(|_| now));
        Ok(())
    }
}

/// Rounds up to whole seconds, at least one.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs_f64().ceil().max(1.0) as u64)
}

impl Desk {
    pub(super) fn open(home: &Home) -> Self {
        let written = Usage::of(home);
        let desk = Self {
            book: GuestBook::of(home),
            usage: Usage::path(home),
            state: Mutex::new(State {
                stamp: None,
                damaged: None,
                seats: BTreeMap::new(),
                day: written.day(day_of(SystemTime::now())),
                written,
                is_saved: true,
                has_begun: false,
                write_at: Instant::now(),
                news: Vec::new(),
            }),
        };
        desk.follow(&mut desk.lock(), SystemTime::now());
        desk
    }

    /// Starts serving guests. Reads usage again, because another server of this home may have
    /// written it since.
    pub(super) fn begin(&self) {
        let mut state = self.lock();
        let now = SystemTime::now();
        state.written = Usage::read(&self.usage);
        state.day = state.written.day(day_of(now));
        state.has_begun = true;
        state.seats.clear();
        state.stamp = None;
        self.follow(&mut state, now);
    }

    pub(super) fn book(&self) -> &GuestBook {
        &self.book
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Authenticates a guest by token.
    pub(super) fn admit(self: &Arc<Self>, token: &str) -> Result<Visit, NotAdmitted> {
        let hash = TokenHash::of(token);
        let now = SystemTime::now();
        let mut state = self.lock();
        self.follow(&mut state, now);
        let mut seats = state.seats.values_mut();
        let seat = seats.find(|seat| seat.guest.has_token(&hash));
        let seat = seat.ok_or(NotAdmitted::Unknown)?;
        seat.seen = Some(unix(now));
        match seat.guest.limits.is_over(now) {
            true => Err(NotAdmitted::Over),
            false => Ok(Visit {
                desk: Arc::clone(self),
                tab: Arc::clone(&seat.tab),
                name: seat.guest.name.clone(),
                models: seat.guest.limits.models.clone(),
            }),
        }
    }

    /// Checks the file and the clock, and saves usage if that is due. Returns the events since the
    /// last call.
    pub(super) fn look(&self) -> Vec<News> {
        let mut state = self.lock();
        self.follow(&mut state, SystemTime::now());
        let news = std::mem::take(&mut state.news);
        let is_due = state.has_begun && Instant::now() >= state.write_at;
        drop(state);
        if is_due {
            self.write();
        }
        news
    }

    /// Saves usage if it has changed.
    pub(super) fn write(&self) {
        let mut state = self.lock();
        state.write_at = Instant::now() + WRITE;
        let usage = state.usage();
        if state.is_saved && usage == state.written {
            return;
        }
        // Release the lock first: the disk may be slow.
        drop(state);
        match usage.write(&self.usage) {
            Ok(()) => {
                let mut state = self.lock();
                (state.written, state.is_saved) = (usage, true);
            }
            Err(error) => tracing::warn!(why = %error, "what guests used is not written"),
        }
    }

    fn follow(&self, state: &mut State, now: SystemTime) {
        let stamp = self.book.stamp();
        if stamp != state.stamp {
            state.stamp = stamp;
            match self.book.read() {
                Ok(guests) => state.seat(guests),
                Err(error) => {
                    // The file may be whole although it cannot be read now, for example for lack of
                    // file descriptors.
                    if let GuestError::File { .. } = &error {
                        state.stamp = None;
                    }
                    state.close(&crate::words::of(&error));
                }
            }
        }
        let day = later_day(state.day, day_of(now));
        if day > state.day {
            state.seats.values().for_each(|seat| seat.tab.begin_day());
        }
        state.day = day;
        for seat in state.seats.values() {
            seat.tab.set_withdrawn(seat.guest.limits.is_over(now));
        }
    }
}

impl State {
    /// Replaces the guests by these.
    fn seat(&mut self, guests: Vec<Guest>) {
        self.damaged = None;
        let mut before = std::mem::take(&mut self.seats);
        for guest in guests {
            let known = before.remove(&guest.id);
            let seat = match known.filter(|seat| seat.guest.is_same(&guest)) {
                Some(seat) => Seat { guest, ..seat },
                None => {
                    let id = guest.id;
                    let used = self.written.used(id, self.day);
                    Seat {
                        tab: Arc::new(Tab::new(id, used, guest.limits.tokens_a_day)),
                        seen: self.written.seen(id),
                        guest,
                        asked: VecDeque::new(),
                        answers: Vec::new(),
                    }
                }
            };
            seat.tab.set_limit(seat.guest.limits.tokens_a_day);
            self.seats.insert(seat.guest.id, seat);
        }
        for seat in before.into_values() {
            seat.tab.set_withdrawn(true);
            self.news.push(News::Removed(seat.guest.name));
        }
    }

    /// Refuses all guests until the file can be read again.
    fn close(&mut self, why: &str) {
        // What was used since the last write counts when the file can be read again.
        let usage = self.usage();
        if usage != self.written {
            (self.written, self.is_saved) = (usage, false);
        }
        for seat in std::mem::take(&mut self.seats).into_values() {
            seat.tab.set_withdrawn(true);
        }
        if self.damaged.as_deref() != Some(why) {
            self.damaged = Some(why.to_owned());
            self.news.push(News::Problem(why.to_owned()));
        }
    }

    fn usage(&self) -> Usage {
        // While the file cannot be read, keep the usage of all guests.
        let mut usage = match &self.damaged {
            Some(_) => self.written.clone(),
            None => Usage::new(self.day),
        };
        for (&id, seat) in &self.seats {
            usage.note(id, seat.tab.used(), seat.seen);
        }
        usage
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if self.lock().has_begun {
            self.write();
        }
    }
}

#[cfg(test)]
mod tests;
