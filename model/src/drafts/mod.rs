//! Drafts: guesses of the next tokens, so that one pass through the weights gives several tokens.
//!
//! The token at a position is a pure function of the logits, the seed and the position. Therefore a
//! guess is right exactly if it equals the token that is chosen anyway, and drafts change no token
//! of any answer, only the time it takes.

mod costs;
mod head;
mod head_file;
mod head_rows;
#[cfg(test)]
pub(crate) mod head_tests;
mod lookup;
mod rate;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use costs::{Planned, StepCosts};
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
/// If what followed earlier is right as often as this, a draft head is not asked.
const SURE: f32 = 0.85;

/// How often a looked-up guess is right, by the length of the match, until more is known of the text
/// at hand. Measured on 36 answers of `SmolLM2-135M`, a third of them greedy.
const LOOKUPS_AT_FIRST: [f32; lookup::LONGEST] = [0.2, 0.45, 0.5, 0.75];
/// This counts as so many guesses.
const LOOKUPS_COUNT: f32 = 10.0;
/// How often a draft head's guess is right, by the probability that it gives it, in steps of
/// `1 / HEAD_KINDS`.
const HEAD_AT_FIRST: [f32; HEAD_KINDS] = [0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.93];
const HEAD_KINDS: usize = 8;
const HEAD_COUNT: f32 = 12.0;
/// How often a head's guess is right, of any probability.
const RATE_AT_FIRST: f32 = 0.6;

/// The gain of asking a draft head, in steps with one row, is averaged over about this many steps.
const GAIN_STEPS: f32 = 12.0;
/// The gain that is assumed at first.
const GAIN_AT_FIRST: f32 = 0.15;
/// When a head does not pay, it is tried again after so many tokens, then after twice as many.
const REST: usize = 64;
const LONGEST_REST: usize = 1024;

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
/// It has two sources: what followed the same tokens earlier in the text, and a model's
/// [`DraftHead`] if there is one. It learns how often each is right. What is done with a guess
/// changes no token, only when the token is known.
#[derive(Debug)]
pub struct Drafter {
    lookups: [Rate; lookup::LONGEST],
    head_rates: [Rate; HEAD_KINDS],
    /// Guesses of which it is not known whether they are right, in the order of their positions.
    open: VecDeque<Open>,
    head: Option<Asked>,
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

/// A draft head, and whether asking it pays.
#[derive(Debug)]
struct Asked {
    rows: HeadRows,
    /// The share of guesses that are right, of any kind.
    rate: Rate,
    /// The average gain, in steps with one row.
    gain: f32,
    /// Do not ask it for this many tokens after `seen`.
    rest: usize,
    seen: usize,
    next_rest: usize,
    /// The last step with its guesses, to be judged when their outcome is known.
    last: Option<Step>,
}

/// A step whose guesses came from a draft head.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// The number of tokens before it.
    known: usize,
    guesses: usize,
    /// What guesses and rows cost, in steps with one row.
    cost: f32,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    position: usize,
    /// The guess.
    token: TokenId,
    /// The chance that it is right if those before it are.
    chance: f32,
    looked_up: Option<Candidate>,
    by_head: Option<Candidate>,
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
        let assumed = |share| Rate::assumed(share, LOOKUPS_COUNT);
        Self {
            lookups: LOOKUPS_AT_FIRST.map(assumed),
            head_rates: HEAD_AT_FIRST.map(|share| Rate::assumed(share, HEAD_COUNT)),
            open: VecDeque::new(),
            head: head.map(|head| Asked {
                rows: HeadRows::new(head),
                rate: Rate::assumed(RATE_AT_FIRST, HEAD_COUNT),
                gain: GAIN_AT_FIRST,
                rest: 0,
                seen: 0,
                next_rest: REST,
                last: None,
            }),
            #[cfg(test)]
            script: None,
        }
    }

    /// Tells how the tokens from position `from` on are chosen. A draft head's guesses are chosen in
    /// the same way, with the same noise.
    pub fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        if let Some(head) = &mut self.head {
            head.rows.chosen_with(sampling, from);
        }
    }

    /// Whether [`hear`](Self::hear) has a use for hidden states now.
    pub fn listens(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.rest == 0)
    }

    /// Takes the final norm of the hidden state, `[d_model]`, that the model computed at `position`.
    /// States that are missing before it are no error.
    pub fn hear(&mut self, position: usize, state: &[f32]) {
        if let Some(head) = &mut self.head {
            head.rows.hear(position, state);
        }
    }

    /// Forgets what it knows of the positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.open.clear();
        if let Some(head) = &mut self.head {
            head.rows.truncate(len);
            head.last = None;
        }
    }

    /// The token that may follow `tokens`, of which those from `known` on are guesses themselves,
    /// made here for the same text. `None` if none is likely enough to be sent to other devices.
    pub fn guess(&mut self, tokens: &[TokenId], known: usize) -> Option<TokenId> {
        self.learn(&tokens[..known]);
        let token = self.guess_one(tokens, known, true)?;
        let right: f32 = self.open.iter().map(|open| open.chance).product();
        (right >= WORTH_SENDING).then_some(token)
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
        self.judge(tokens.len());
        let most = most.min(MOST_GUESSES);
        let (mut text, mut chances) = (tokens.to_vec(), Vec::new());
        let mut right = 1.0;
        let (mut asked, mut asking) = (0, Duration::ZERO);
        while chances.len() < most && right >= LEAST_CHANCE {
            let ask = self.head.as_ref().is_some_and(|head| {
                head.rest == 0 && costs.may_pay(*planned, &chances, head.rate.of_one().into())
            });
            if let Some(head) = self.head.as_mut().filter(|_| chances.is_empty() && !ask) {
                head.give_rest();
            }
            let began = Instant::now();
            let Some(token) = self.guess_one(&text, tokens.len(), ask) else {
                break;
            };
            let open = self.open.back().expect("it was just made");
            if open.by_head.is_some() {
                asked += 1;
                asking += began.elapsed();
            }
            right *= open.chance;
            chances.push(right.into());
            text.push(token);
        }
        costs.guessed(asked, asking);
        let count = costs.worth(*planned, &chances);
        if let Some(head) = self.head.as_mut().filter(|_| asked > 0) {
            let one = costs.seconds(planned.rows);
            let more = costs.seconds(planned.rows + count) - one + asking.as_secs_f64();
            head.last = Some(Step {
                known: tokens.len(),
                guesses: count,
                cost: (more / one) as f32,
            });
        }
        planned.rows += count;
        planned.tokens += chances[..count].iter().sum::<f64>();
        text.drain(..tokens.len());
        text.truncate(count);
        text
    }

    /// Makes one guess and records it.
    fn guess_one(&mut self, tokens: &[TokenId], known: usize, ask: bool) -> Option<TokenId> {
        // Guesses beyond were not used.
        self.open.retain(|open| open.position < tokens.len());
        let looked_up = lookup::follower(tokens).map(|(same, token)| Candidate {
            token,
            kind: same - 1,
        });
        let chance = |guess: Candidate| self.lookups[guess.kind].of_one();
        let by_lookup = looked_up.map_or(0.0, chance);
        let head = self.head.as_mut().filter(|_| ask && by_lookup < SURE);
        let by_head = head.and_then(|head| head.rows.guess(tokens, known));
        let by_head = by_head.map(|(token, probability)| Candidate {
            token,
            kind: ((probability * HEAD_KINDS as f32) as usize).min(HEAD_KINDS - 1),
        });
        let of_head = by_head.map_or(0.0, |guess| self.head_rates[guess.kind].of_one());
        let (guess, chance) = match (looked_up, by_head) {
            (Some(looked_up), None) => (looked_up, by_lookup),
            (Some(looked_up), Some(_)) if by_lookup >= of_head => (looked_up, by_lookup),
            (_, Some(by_head)) => (by_head, of_head),
            (None, None) => return None,
        };
        self.open.push_back(Open {
            position: tokens.len(),
            token: guess.token,
            chance,
            looked_up,
            by_head,
        });
        Some(guess.token)
    }

    /// Learns from guesses whose outcome is now known.
    fn learn(&mut self, known: &[TokenId]) {
        while let Some(open) = self.open.pop_front_if(|open| open.position < known.len()) {
            let token = known[open.position];
            if let Some(guess) = open.looked_up {
                self.lookups[guess.kind].heard(guess.token == token);
            }
            if let (Some(guess), Some(head)) = (open.by_head, &mut self.head) {
                self.head_rates[guess.kind].heard(guess.token == token);
                head.rate.heard(guess.token == token);
            }
            if open.token != token {
                // Those behind it were made for another text.
                self.open.clear();
            }
        }
    }

    /// Updates whether asking the draft head pays, now that `known` tokens are.
    fn judge(&mut self, known: usize) {
        let Some(head) = &mut self.head else {
            return;
        };
        head.rest = head.rest.saturating_sub(known.saturating_sub(head.seen));
        head.seen = known;
        let Some(step) = head.last else {
            return;
        };
        // Tokens are read one by one; the step's are known once one follows that it did not give.
        let gained = known.saturating_sub(step.known + 1).min(step.guesses);
        head.last = None;
        head.gain += (gained as f32 - step.cost - head.gain) / GAIN_STEPS;
        if head.gain < 0.0 {
            head.give_rest();
        } else if head.gain > GAIN_AT_FIRST {
            head.next_rest = REST;
        }
    }
}

impl Asked {
    /// Does not ask the head for a while. Then it is tried again as if little were known of it.
    fn give_rest(&mut self) {
        if self.rest == 0 {
            self.rest = self.next_rest;
            self.next_rest = (2 * self.next_rest).min(LONGEST_REST);
            self.gain = GAIN_AT_FIRST / 2.0;
            self.rate = Rate::assumed(RATE_AT_FIRST, HEAD_COUNT / 3.0);
        }
    }
}
