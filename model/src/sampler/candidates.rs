//! Candidate selection: penalties, top-k, top-p, min-p.

use super::numbers::{exp, greatest};
use super::{History, SamplerError, SamplerSettings};
use crate::tokenizer::TokenId;

/// A token and its logit after penalties.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) token: TokenId,
    pub(super) logit: f32,
}

impl Candidate {
    /// Orders better tokens first; of equal logits, the lower id is better. This is a total order,
    /// because logits are never NaN and both zeros are equal.
    pub(super) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let by_logit = other.logit.partial_cmp(&self.logit);
        by_logit
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(self.token.cmp(&other.token))
    }
}

/// Logits after penalties, without copying the unchanged ones.
pub(super) struct Penalised<'l> {
    logits: &'l [f32],
    // Distinct tokens in ascending order.
    changed: Vec<Candidate>,
}

impl<'l> Penalised<'l> {
    pub(super) fn new(settings: &SamplerSettings, history: History<'_>, logits: &'l [f32]) -> Self {
        let mut recent = Vec::new();
        if settings.repetition_penalty != 1.0 {
            let window = history.tokens.len().min(settings.repetition_window);
            recent.extend_from_slice(&history.tokens[history.tokens.len() - window..]);
            recent.sort_unstable();
            recent.dedup();
        }
        let penalises = settings.presence_penalty != 0.0 || settings.frequency_penalty != 0.0;
        let generated = if penalises { history.generated } else { &[] };
        let bias = settings.logit_bias.as_slice();

        let counted = generated.iter().map(|(token, _)| *token);
        let biased = bias.iter().map(|(token, _)| *token);
        let mut tokens = recent.clone();
        tokens.extend(counted.chain(biased));
        tokens.sort_unstable();
        tokens.dedup();
        let changed = tokens.into_iter().filter_map(|token| {
            let mut logit = *logits.get(token as usize)?;
            if recent.binary_search(&token).is_ok() {
                if logit > 0.0 {
                    logit /= settings.repetition_penalty;
                } else {
                    logit *= settings.repetition_penalty;
                }
            }
            if let Some(count) = value_of(generated, token) {
                logit -= count as f32 * settings.frequency_penalty;
                logit -= settings.presence_penalty;
            }
            logit += value_of(bias, token).unwrap_or(0.0);
            Some(Candidate { token, logit })
        });
        Self {
            logits,
            changed: changed.collect(),
        }
    }

    /// All logits, as runs of consecutive tokens, each with its first token.
    pub(super) fn runs(&self) -> impl Iterator<Item = (TokenId, &[f32])> {
        let before = self.changed.iter().scan(0, |start, changed| {
            let from = std::mem::replace(start, changed.token as usize + 1);
            let run = &self.logits[from..changed.token as usize];
            Some([
                (from as TokenId, run),
                (changed.token, std::slice::from_ref(&changed.logit)),
            ])
        });
        let last = self
            .changed
            .last()
            .map_or(0, |last| last.token as usize + 1);
        before
            .flatten()
            .chain([(last as TokenId, &self.logits[last..])])
    }

    /// The greatest logit.
    pub(super) fn best(&self) -> Result<f32, SamplerError> {
        let mut best = f32::NEG_INFINITY;
        for (_, run) in self.runs() {
            best = best.max(greatest(run).ok_or(SamplerError::NotANumber)?);
        }
        if best == f32::NEG_INFINITY {
            return Err(SamplerError::NoCandidate);
        }
        Ok(best)
    }

    /// The first token with this logit. At least one token must have it.
    pub(super) fn first_of(&self, logit: f32) -> TokenId {
        self.runs()
            .find_map(|(first, run)| {
                let at = run.iter().position(|&other| other == logit)?;
                Some(first + at as TokenId)
            })
            .expect("the logit is that of a token")
    }

    /// Visits all tokens not worse than `last`, in order of their ids.
    pub(super) fn down_to(&self, last: Candidate, mut visit: impl FnMut(Candidate)) {
        self.blocks(|first, block| {
            // When few tokens are considered, most blocks contain none.
            if !any_of(block, |logit| logit >= last.logit) {
                return;
            }
            for (token, &logit) in (first..).zip(block) {
                if logit > last.logit || logit == last.logit && token <= last.token {
                    visit(Candidate { token, logit });
                }
            }
        });
    }

    /// The `count` best tokens, unordered except that the worst is last; fewer if fewer are above
    /// −∞.
    pub(super) fn top(&self, count: usize) -> Vec<Candidate> {
        // Gather twice as many before dropping the worse half, so that each token is handled about
        // once.
        let room = count.saturating_mul(2).min(self.logits.len());
        let mut top: Vec<Candidate> = Vec::with_capacity(room);
        let mut least = f32::NEG_INFINITY;
        self.blocks(|first, block| {
            if !any_of(block, |logit| logit > least) {
                return;
            }
            for (token, &logit) in (first..).zip(block) {
                // An equal logit has a higher id here, so it is worse.
                if logit <= least {
                    continue;
                }
                if top.len() == room {
                    keep_best(&mut top, count);
                    least = top[count - 1].logit;
                    if logit <= least {
                        continue;
                    }
                }
                top.push(Candidate { token, logit });
            }
        });
        keep_best(&mut top, count);
        top
    }

    fn blocks(&self, mut visit: impl FnMut(TokenId, &[f32])) {
        const BLOCK: usize = 32;
        for (first, run) in self.runs() {
            for (block, first) in run.chunks(BLOCK).zip((first..).step_by(BLOCK)) {
                visit(first, block);
            }
        }
    }
}

/// Looks up a token in a list sorted by token.
fn value_of<T: Copy>(list: &[(TokenId, T)], token: TokenId) -> Option<T> {
    let at = list.binary_search_by_key(&token, |(token, _)| *token);
    at.ok().map(|at| list[at].1)
}

fn any_of(block: &[f32], is: impl Fn(f32) -> bool) -> bool {
    // No early exit, so that the compiler can vectorise it.
    block.iter().fold(false, |any, &logit| any | is(logit))
}

/// Keeps the `count` best, unordered except that the worst is last, if there are that many.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if (1..=candidates.len()).contains(&count) {
        candidates.select_nth_unstable_by(count - 1, Candidate::compare);
    }
    candidates.truncate(count);
}

/// The worst token that passes top-k, top-p and min-p; all better ones pass too.
pub(super) fn last_considered(
    settings: &SamplerSettings,
    logits: &Penalised<'_>,
    best: f32,
    scale: f32,
) -> Candidate {
    let mut last = Candidate {
        token: TokenId::MAX,
        logit: f32::NEG_INFINITY,
    };
    if settings.top_k > 0 && settings.top_k < logits.logits.len() {
        let top = logits.top(settings.top_k);
        if top.len() == settings.top_k {
            last = top[top.len() - 1];
        }
    }
    if settings.top_p < 1.0 {
        last = last_of_nucleus(settings.top_p.into(), logits, last, best, scale);
    }
    if settings.min_p > 0.0 {
        let least = best + libm::logf(settings.min_p) / scale;
        if last.logit < least {
            last = Candidate {
                token: TokenId::MAX,
                logit: least,
            };
        }
    }
    last
}

/// The worst token of the smallest set of most likely tokens that reaches this share of the
/// probability of all tokens down to `last`.
///
/// Tokens are sorted into classes of equal or similar probability. The sums of the classes show in
/// which class the share is reached; only that one is sorted.
fn last_of_nucleus(
    share: f64,
    logits: &Penalised<'_>,
    last: Candidate,
    best: f32,
    scale: f32,
) -> Candidate {
    const CLASSES_PER_NAT: f32 = 8.0;
    // Weights are 0 from 87 nats below the best on; the last class has all of those.
    const CLASSES: usize = 87 * CLASSES_PER_NAT as usize + 1;
    let below = |logit: f32| (best - logit) * scale;
    // Monotonic, because each operation is: a worse token is in the same class or a later one.
    let class = |logit: f32| {
        let place = below(logit) * CLASSES_PER_NAT;
        let within = if place < (CLASSES - 1) as f32 {
            place
        } else {
            (CLASSES - 1) as f32
        };
        // Rounds to the nearest integer, faster than a conversion: adding 2²³ leaves it in the low
        // bits.
        const ROUND: f32 = 8_388_608.0;
        ((within + ROUND).to_bits() - ROUND.to_bits()) as usize
    };
    let weight = |logit: f32| f64::from(exp(-below(logit)));

    let mut sums = [0.0_f64; CLASSES];
    logits.down_to(last, |candidate| {
        sums[class(candidate.logit)] += weight(candidate.logit);
    });
    let goal = share * sums.iter().sum::<f64>();
    let mut sum = 0.0;
    let Some(reached) = sums.iter().position(|class_sum| {
        sum += class_sum;
        sum >= goal
    }) else {
        return last;
    };
    let mut sum: f64 = sums[..reached].iter().sum();
    let mut members = Vec::new();
    logits.down_to(last, |candidate| {
        if class(candidate.logit) == reached {
            members.push(candidate);
        }
    });
    members.sort_unstable_by(Candidate::compare);
    let reaching = members.iter().position(|candidate| {
        sum += weight(candidate.logit);
        sum >= goal
    });
    // Summed in another order, the total may be slightly smaller.
    reaching
        .map(|at| members[at])
        .or(members.last().copied())
        .unwrap_or(last)
}
