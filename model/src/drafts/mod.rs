//! Drafts: guesses of the next tokens, so that one pass through the weights gives several tokens.
//!
//! The token at a position is a pure function of the logits, the seed and the position. Therefore a
//! guess is right exactly if it equals the token that is chosen anyway, and drafts change no token
//! of any answer, only the time it takes.

mod asked;
mod average;
mod costs;
mod guesser;
mod head;
mod head_file;
mod head_rows;
#[cfg(test)]
pub(crate) mod head_tests;
mod lookup;
mod rate;
#[cfg(test)]
mod tests;
mod trips;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asked::Asked;
pub use costs::{Planned, StepCosts};
pub(crate) use guesser::{Choice, Guesser};
pub(crate) use head::Base;
pub use head::{DraftHead, HeadOutput};
pub use head_file::{DraftHeadError, HeadFile};
use head_rows::HeadRows;
use rate::Rate;

use crate::sampler::SamplerSettings;
use crate::tokenizer::TokenId;

/// The most guesses that follow a token in a step.
pub const MOST_GUESSES: usize = 7;

/// A chain of guesses that is right less often is not sent to other devices: it costs their time
/// and battery.
const WORTH_SENDING: f32 = 0.1;
/// A chain of guesses is not continued if it is right less often.
const LEAST_CHANCE: f32 = 0.02;
/// If what followed earlier is right as often as this, no other source is asked.
const SURE: f32 = 0.85;

/// How often a looked-up guess is right, by the length of the match, until more is known of the text
/// at hand. Measured on 36 answers of `SmolLM2-135M`, a third of them greedy.
const LOOKUPS_AT_FIRST: [f32; lookup::LONGEST] = [0.2, 0.45, 0.5, 0.75];
/// This counts as so many guesses.
const LOOKUPS_COUNT: f32 = 10.0;
/// How often a computed guess is right, by the probability that its source gives it, in steps of
/// `1 / KINDS`. It counts as [`asked::COUNT`] guesses.
const COMPUTED_AT_FIRST: [f32; KINDS] = [0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.93];
const KINDS: usize = 8;

/// Counts of guessed tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drafts {
    /// Guesses that were computed before it was known whether they are right.
    pub sent: u64,
    /// Those of them that were right.
    pub right: u64,
}

/// Guesses the tokens that follow a text.
///
/// What followed the same tokens earlier in the text is one source. A second one, if there is any,
/// computes its guesses: the model's [`DraftHead`] or a smaller model
/// ([`DraftModel`](crate::DraftModel)). The drafter learns how often each is right. What is done with
/// a guess changes no token, only when the token is known.
#[derive(Debug)]
pub struct Drafter {
    lookups: [Rate; lookup::LONGEST],
    computed: [Rate; KINDS],
    /// Guesses of which it is not known whether they are right, in the order of their positions.
    open: VecDeque<Open>,
    asked: Option<Asked>,
    /// The numbers of tokens and of known ones after which no guess was worth sending: it is not
    /// computed again.
    declined: Option<(usize, usize)>,
    /// Guesses to make in place of its own.
    #[cfg(test)]
    pub(crate) script: Option<Script>,
}

/// Makes guesses of the tokens after a text.
#[cfg(test)]
pub(crate) struct Script(pub(crate) Box<Guessing>);

#[cfg(test)]
type Guessing = dyn FnMut(&[TokenId]) -> Vec<TokenId>;

#[cfg(test)]
impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

#[derive(Debug, Clone, Copy)]
struct Open {
    position: usize,
    /// The guess.
    token: TokenId,
    /// The chance that it is right if those before it are.
    chance: f32,
    looked_up: Option<Candidate>,
    computed: Option<Candidate>,
}

/// One source's guess; its kind is the index of its rate.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: TokenId,
    kind: usize,
}

impl Default for Drafter {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Drafter {
    /// A drafter for one text, with the model's draft head if it has one.
    pub fn new(head: Option<Arc<DraftHead>>) -> Self {
        match head {
            Some(head) => Self::by(Box::new(HeadRows::new(head))),
            None => Self::with(None),
        }
    }

    /// A drafter for one text, with this source.
    pub(crate) fn by(source: Box<dyn Guesser>) -> Self {
        Self::with(Some(Asked::new(source)))
    }

    fn with(asked: Option<Asked>) -> Self {
        let assumed = |share| Rate::assumed(share, LOOKUPS_COUNT);
        Self {
            lookups: LOOKUPS_AT_FIRST.map(assumed),
            computed: COMPUTED_AT_FIRST.map(|share| Rate::assumed(share, asked::COUNT)),
            open: VecDeque::new(),
            asked,
            declined: None,
            #[cfg(test)]
            script: None,
        }
    }

    /// Tells how the tokens from position `from` on are chosen. Computed guesses are chosen in the
    /// same way, with the same noise.
    pub fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        if let Some(asked) = &mut self.asked {
            asked.source.chosen_with(sampling, from);
        }
    }

    /// Whether [`hear`](Self::hear) has a use for hidden states now.
    pub fn listens(&self) -> bool {
        let asked = self.asked.as_ref();
        asked.is_some_and(|asked| !asked.rests() && asked.source.listens())
    }

    /// Takes the final norm of the hidden state, `[d_model]`, that the model computed at `position`.
    /// States that are missing before it are no error.
    pub fn hear(&mut self, position: usize, state: &[f32]) {
        if let Some(asked) = &mut self.asked {
            asked.source.hear(position, state);
        }
    }

    /// Forgets what it knows of the positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.open.clear();
        self.declined = None;
        if let Some(asked) = &mut self.asked {
            asked.source.truncate(len);
        }
    }

    /// The token that may follow `tokens`, of which those from `known` on are guesses themselves,
    /// made here for the same text. `None` if none is likely enough to be sent to other devices.
    pub fn guess(&mut self, tokens: &[TokenId], known: usize) -> Option<TokenId> {
        let at = (tokens.len(), known);
        if self.declined == Some(at) {
            return None;
        }
        self.learn(&tokens[..known]);
        self.drop_from(tokens.len());
        let before: f32 = self.open.iter().map(|open| open.chance).product();
        let pays = self.asked.as_mut().is_some_and(|asked| {
            if asked.went_on(known) {
                asked.trips.forget_guesses();
            }
            let chance = before * asked.chance();
            let pays = chance >= WORTH_SENDING && asked.trips.gain(chance) > 0.0;
            if known == tokens.len() && !pays {
                asked.give_rest();
            }
            pays && !asked.rests()
        });
        let ask = pays && self.catch_up(&tokens[..known]);
        let began = Instant::now();
        let token = self.guess_one(tokens, known, ask)?;
        let open = self.open.back().expect("it was just made");
        let chance = before * open.chance;
        if let (Some(asked), Some(_)) = (&mut self.asked, open.computed) {
            asked.trips.guessed(began.elapsed());
            asked.gained(asked.trips.gain(chance));
        }
        let is_worth = chance >= WORTH_SENDING;
        self.declined = (!is_worth).then_some(at);
        is_worth.then_some(token)
    }

    /// Tells the time from sending a row to other devices to its answer, so that no guesses are
    /// computed that take more time than they spare.
    pub fn trip_took(&mut self, time: Duration) {
        if let Some(asked) = &mut self.asked {
            asked.trips.took(time);
        }
    }

    /// Guesses of the tokens that follow `tokens`, at most `most`: as many as pay in the `planned`
    /// step of this device at its measured costs. Adds them to the step.
    pub fn propose(
        &mut self,
        tokens: &[TokenId],
        most: usize,
        planned: &mut Planned,
        costs: &mut StepCosts,
    ) -> Vec<TokenId> {
        #[cfg(test)]
        if let Some(Script(script)) = &mut self.script {
            let mut guesses = script(tokens);
            guesses.truncate(most);
            return guesses;
        }
        self.learn(tokens);
        let asked = self.asked.as_mut();
        if asked.is_some_and(|asked| asked.went_on(tokens.len())) {
            costs.forget_guesses();
        }
        let most = most.min(MOST_GUESSES);
        let (mut text, mut chances) = (tokens.to_vec(), Vec::new());
        let mut right = 1.0;
        let mut asking = Duration::ZERO;
        let mut ready = None;
        while chances.len() < most && right >= LEAST_CHANCE {
            let pays = self.asked.as_ref().is_some_and(|asked| {
                let (each, share) = (asked.chance().into(), asked.source.share());
                !asked.rests() && costs.may_pay(*planned, &chances, each, share)
            });
            if let Some(asked) = self.asked.as_mut().filter(|_| chances.is_empty() && !pays) {
                asked.give_rest();
            }
            let ask = pays && *ready.get_or_insert_with(|| self.catch_up(tokens));
            let began = Instant::now();
            let Some(token) = self.guess_one(&text, tokens.len(), ask) else {
                break;
            };
            let open = self.open.back().expect("it was just made");
            if open.computed.is_some() {
                costs.guessed(began.elapsed());
                asking += began.elapsed();
            }
            right *= open.chance;
            chances.push(right.into());
            text.push(token);
        }
        let used = costs.worth(*planned, &chances);
        let tokens_more = chances[..used].iter().sum::<f64>();
        if let Some(asked) = self.asked.as_mut().filter(|_| !asking.is_zero()) {
            let one = costs.seconds(planned.rows);
            let more = costs.seconds(planned.rows + used) - one + asking.as_secs_f64();
            asked.gained((tokens_more - more / one) as f32);
        }
        planned.rows += used;
        planned.tokens += tokens_more;
        text.drain(..tokens.len());
        text.truncate(used);
        text
    }

    /// Has the source read what it needs before it guesses; false if it cannot guess now.
    fn catch_up(&mut self, tokens: &[TokenId]) -> bool {
        let asked = self.asked.as_mut();
        asked.is_some_and(|asked| asked.source.catch_up(tokens))
    }

    /// Makes one guess and records it.
    fn guess_one(&mut self, tokens: &[TokenId], known: usize, ask: bool) -> Option<TokenId> {
        self.drop_from(tokens.len());
        let looked_up = lookup::follower(tokens).map(|(same, token)| Candidate {
            token,
            kind: same - 1,
        });
        let chance = |guess: Candidate| self.lookups[guess.kind].of_one();
        let by_lookup = looked_up.map_or(0.0, chance);
        let asked = self.asked.as_mut().filter(|_| ask && by_lookup < SURE);
        let computed = asked.and_then(|asked| asked.source.guess(tokens, known));
        let computed = computed.map(|(token, probability)| Candidate {
            token,
            kind: ((probability * KINDS as f32) as usize).min(KINDS - 1),
        });
        let of_computed = computed.map_or(0.0, |guess| self.computed[guess.kind].of_one());
        let (guess, chance) = match (looked_up, computed) {
            (Some(looked_up), None) => (looked_up, by_lookup),
            (Some(looked_up), Some(_)) if by_lookup >= of_computed => (looked_up, by_lookup),
            (_, Some(computed)) => (computed, of_computed),
            (None, None) => return None,
        };
        self.open.push_back(Open {
            position: tokens.len(),
            token: guess.token,
            chance,
            looked_up,
            computed,
        });
        Some(guess.token)
    }

    /// Drops guesses from this position on, which were not used.
    fn drop_from(&mut self, position: usize) {
        self.open.retain(|open| open.position < position);
    }

    /// Learns from guesses whose outcome is now known.
    fn learn(&mut self, known: &[TokenId]) {
        while let Some(open) = self.open.pop_front_if(|open| open.position < known.len()) {
            let token = known[open.position];
            if let Some(guess) = open.looked_up {
                self.lookups[guess.kind].heard(guess.token == token);
            }
            if let (Some(guess), Some(asked)) = (open.computed, &mut self.asked) {
                self.computed[guess.kind].heard(guess.token == token);
                asked.heard(guess.token == token);
            }
            if open.token != token {
                // Those behind it were made for another text.
                self.open.clear();
            }
        }
    }
}
