//! Admission: finds a session with a cached prefix and reserves memory for each request.

use super::{Scheduler, memory_error};
use crate::engine::{ModelError, TokenId};
use crate::serve::RequestError;
use crate::serve::caller::CallerId;
use crate::serve::client::Client;
use crate::serve::pooling::Pooling;
use crate::serve::prefix::{Kept, WORTH, common, kv_bytes};
use crate::serve::running::{Follows, Running};
use crate::serve::talk::Talk;
use crate::serve::work::{Answer, Ready, Work};
use crate::stages::{Reservation, drafter_of_text};

/// There is no memory for a request.
pub(super) enum Short {
    /// Running requests will free some.
    Now,
    /// No other request will free any.
    Ever(RequestError),
}

impl Scheduler<'_> {
    /// Starts queued requests in order, up to the concurrency limit. Returns whether the next one
    /// waits for memory.
    pub(super) fn admit(&mut self) -> bool {
        let mut begun = false;
        let mut lacks_memory = false;
        while let Some(Ready { client, work }) = self.next_ready() {
            if client.is_gone() {
                client.cancelled();
                continue;
            }
            match work {
                Work::Embed(texts) => self.poolings.extend(Pooling::new(client, texts)),
                Work::Answer(answer) => {
                    if let Some(later) = self.begin(client, answer) {
                        self.lane.put_back(later);
                        lacks_memory = true;
                        break;
                    }
                }
            }
            begun = true;
        }
        if begun {
            self.lane.advanced();
        }
        lacks_memory
    }

    /// The next request that may start. Guests only take free places; guests' running requests do
    /// not hold up the owner.
    fn next_ready(&self) -> Option<Ready> {
        let streams = self.shared.settings.streams;
        let (owner, guests) = self.answered();
        let for_anyone = owner + guests < streams;
        self.lane.next_ready(for_anyone, owner < streams)
    }

    /// Starts an answer; returns the request if there is no memory now.
    fn begin(&mut self, client: Client, answer: Box<Answer>) -> Option<Ready> {
        let prompt = answer.prompt.clone();
        let most = prompt.len() + answer.options.max_tokens.max(1) - 1;
        // The logits after the last token are not cached, so that token is always computed.
        let wanted = &prompt[..prompt.len() - 1];
        let of = client.caller.id();
        let ahead = self.ahead(of, wanted);
        let kept = match self.session_for(of, wanted, most, ahead) {
            Ok(kept) => kept,
            Err(Short::Now) => {
                return Some(Ready {
                    client,
                    work: Work::Answer(answer),
                });
            }
            Err(Short::Ever(error)) => {
                client.fail(error);
                return None;
            }
        };
        let cached = kept.session.len();
        let follows = ahead.filter(|ahead| ahead.same >= cached + WORTH);
        if follows.is_none() && client.caller.left() < (prompt.len() - cached) as u64 {
            self.prefixes.keep(kept, self.engine.config());
            client.fail(RequestError::spent());
            return None;
        }
        self.next_id += 1;
        let talk = Talk::new(self.engine, client, *answer);
        let mut running = Running::new(self.next_id, talk, kept, prompt, most);
        if self.shared.settings.drafts {
            let memory = &self.shared.settings.memory;
            running.guess_with(match self.engine.draft_model() {
                Some(model) => drafter_of_text(model, most, memory),
                None => (self.engine.drafter(most), None),
            });
        }
        running.follows = follows;
        if running.follows.is_none() {
            running.talk.start(cached);
        }
        self.running.push(running);
        None
    }

    /// The caller's running request with the longest prefix in common with `wanted`; of equal ones
    /// the one that has processed more.
    fn ahead(&self, of: CallerId, wanted: &[TokenId]) -> Option<Follows> {
        let follow = |running: &Running<'_>| Follows {
            id: running.id,
            same: common(running.tokens(), wanted),
        };
        let read = |running: &Running<'_>| running.session().len();
        let own = (self.running.iter()).filter(|running| running.talk.caller().id() == of);
        let all = own.map(|running| (follow(running), read(running)));
        let best = all.max_by_key(|(follows, read)| (follows.same, *read));
        best.map(|(follows, _read)| follows)
    }

    /// A session that holds the longest available prefix of `wanted`, with memory for `most`
    /// positions.
    fn session_for(
        &mut self,
        of: CallerId,
        wanted: &[TokenId],
        most: usize,
        ahead: Option<Follows>,
    ) -> Result<Kept, Short> {
        let bytes = kv_bytes(self.engine.config(), most);
        let capacity = Running::first_capacity(wanted.len() + 1, most);
        let ahead = ahead.and_then(|Follows { id, same }| {
            let at = self.running.iter().position(|running| running.id == id)?;
            Some((at, self.running[at].session().reach(same)))
        });
        let found = self.prefixes.find(of, wanted);
        if let Some((at, same)) = ahead
            && same >= WORTH
            && found.is_none_or(|(_at, kept)| kept < same)
        {
            let memory = self.reserve(of, bytes)?;
            let session = self.running[at].session().copy_prefix(same, capacity);
            let session = session.map_err(no_memory)?;
            return Ok(Kept {
                of,
                session,
                memory,
            });
        }
        let Some((at, same)) = found else {
            let memory = self.reserve(of, bytes)?;
            let session = self.engine.session(capacity).map_err(no_memory)?;
            return Ok(Kept {
                of,
                session,
                memory,
            });
        };
        let mut kept = self.prefixes.take(at);
        if !kept.is_little_beyond(same)
            && let Ok(memory) = self.reserve(of, bytes)
        {
            let session = kept.session.copy_prefix(same, capacity);
            self.prefixes.put(kept);
            let session = session.map_err(no_memory)?;
            return Ok(Kept {
                of,
                session,
                memory,
            });
        }
        match self.reserve(of, bytes.saturating_sub(kept.memory.bytes())) {
            Ok(more) => kept.memory.join(more),
            Err(short) => {
                self.prefixes.put(kept);
                return Err(short);
            }
        }
        let left = kept.session.truncate(same);
        debug_assert_eq!(left, same, "only what is in reach is found");
        Ok(kept)
    }

    /// Reserves memory for a request, evicting cached prefixes if needed. A guest that runs beside
    /// others leaves as much as a long request of the owner takes, so that the owner need not wait
    /// for a guest.
    pub(super) fn reserve(&mut self, of: CallerId, bytes: u64) -> Result<Reservation, Short> {
        let memory = &self.shared.settings.memory;
        let left = match of.is_guest() && self.is_computing() {
            true => kv_bytes(self.engine.config(), self.engine.context()),
            false => 0,
        };
        loop {
            let no_room = match memory.reserve(bytes + left) {
                Ok(mut reservation) => {
                    drop(reservation.split(left));
                    return Ok(reservation);
                }
                Err(no_room) => no_room,
            };
            let could_have = no_room.available.saturating_add(self.prefixes.bytes());
            if could_have >= bytes && self.prefixes.free_some(self.engine.config()) {
                continue;
            }
            let fits = bytes <= no_room.limit.saturating_sub(self.weight_bytes);
            if fits && (self.is_computing() || self.shared.ask_for_room(self.lane)) {
                return Err(Short::Now);
            }
            return Err(Short::Ever(RequestError::NoMemory {
                message: format!("{no_room}: ask for fewer tokens, or for a smaller model"),
            }));
        }
    }

    /// Lets requests continue from a prefix that they were waiting for another request to process.
    pub(super) fn catch_up(&mut self) {
        for at in 0..self.running.len() {
            let Some(Follows { id, same }) = self.running[at].follows else {
                continue;
            };
            let leader = self.running.iter().position(|running| running.id == id);
            let taken = match leader {
                Some(leader) if self.running[leader].session().len() < same => continue,
                Some(leader) => match self.running.get_disjoint_mut([at, leader]) {
                    Ok([running, leader]) => running.take_up(leader.session(), same),
                    Err(_) => Ok(()),
                },
                // That request ended early. What it processed is cached.
                None => {
                    let running = &mut self.running[at];
                    let wanted = &running.tokens()[..running.tokens().len() - 1];
                    let found = self.prefixes.find(running.talk.caller().id(), wanted);
                    match found.filter(|&(_at, same)| same > running.session().len()) {
                        Some((kept, same)) => running.take_up(self.prefixes.session(kept), same),
                        None => Ok(()),
                    }
                }
            };
            let running = &mut self.running[at];
            running.follows = None;
            // No memory to copy it: the request processes the prefix itself.
            drop(taken);
            let cached = running.session().len();
            running.talk.start(cached);
        }
    }
}

fn no_memory(error: ModelError) -> Short {
    Short::Ever(memory_error(&error))
}
