//! How fast a model runs on this device.

mod guessing;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use potluck_model::Compute;
use potluck_model::bandwidth::read_bandwidth;
use serde::Serialize;

use crate::Cancel;
use crate::engine::{Engine, ModelError, Session, TokenId};
use crate::packed_store::PackingState;
use crate::prompt::{self, PromptError};
use guessing::Guessing;
pub use guessing::GuessingReport;

/// Positions from which on decoding is measured, as far as a session may have them.
pub const POSITIONS: [usize; 3] = [0, 1000, 4000];

/// The most tokens decoded from a position that is not the first.
const FAR_TOKENS: usize = 64;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct BenchOptions {
    /// Tokens of the prompt.
    pub prefill: usize,
    /// Tokens decoded one by one.
    pub decode: usize,
    /// How often; rates are medians.
    pub repetitions: usize,
    /// The most positions of a session.
    pub context: usize,
}

/// What was measured; `bench --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// Median rate of reading a prompt.
    pub prefill_tokens_per_s: f64,
    /// Median rate of decoding one sequence, from its start.
    pub decode_tokens_per_s: f64,
    /// Median rates of decoding further on, where each token attends to more.
    pub decode_at: Vec<DecodeAt>,
    /// Tokens of the prompt.
    pub prefill_tokens: usize,
    /// Tokens decoded.
    pub decode_tokens: usize,
    /// How often each was measured.
    pub repetitions: usize,
    /// Weights read for each decoded token.
    pub bytes_per_token: u64,
    /// This machine's read bandwidth with the same number of threads, measured just after.
    pub read_bandwidth_bytes_per_s: f64,
    /// The share of that bandwidth that decoding used for weights.
    pub bandwidth_share: f64,
    /// What the drafter's guesses give; `null` without a drafter.
    pub drafter: Option<GuessingReport>,
    /// The most memory this process had resident so far, mapped weights included; `null` where
    /// the system does not say.
    pub peak_rss_bytes: Option<u64>,
    /// How the weights were packed before; `null` if they are computed from the model file.
    pub packed: Option<PackingState>,
    /// Threads that computed.
    pub threads: usize,
    /// The instruction set that computed.
    pub isa: String,
}

/// How fast tokens are decoded from a position on.
#[derive(Debug, Clone, Serialize)]
pub struct DecodeAt {
    /// The first one's position, or the second's where it is 0.
    pub position: usize,
    /// How many are decoded.
    pub tokens: usize,
    /// Median rate.
    pub tokens_per_s: f64,
}

/// A measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nothing to measure.
    #[error("nothing to measure: ask for at least one token and one repetition")]
    Nothing,
    /// The tokens do not fit.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
    /// The model failed.
    #[error("the model cannot be measured")]
    Model(#[from] ModelError),
}

/// Measures `engine`. Prefill and decode alternate, so that both see the same conditions; a round
/// before the first that counts brings the weights into memory. `on_round` is told the rounds
/// done.
///
/// # Errors
/// [`BenchError`].
pub fn bench(
    engine: &Engine,
    options: BenchOptions,
    cancel: &Cancel,
    on_round: &mut dyn FnMut(usize),
) -> Result<BenchReport, BenchError> {
    let BenchOptions {
        prefill,
        decode,
        repetitions,
        context,
    } = options;
    if prefill == 0 || decode == 0 || repetitions == 0 {
        return Err(BenchError::Nothing);
    }
    let mut session = engine.new_session()?;
    let longest = prefill.max(decode.saturating_add(1));
    prompt::check_length(longest - 1, session.capacity(), engine.config().context)?;
    let tokens = arbitrary_tokens(longest, engine.config().vocabulary);
    let mut rounds = Rounds {
        engine,
        session: &mut session,
        tokens: &tokens,
        cancel,
    };
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    rounds.prefill(prefill)?;
    rounds.decode(decode)?;
    // Before the bandwidth's own buffer counts, and a cache that only measuring needs.
    let peak_rss_bytes = peak_rss_bytes();
    let context = context.min(engine.config().context);
    let mut far = Far::new(engine, context, decode.min(FAR_TOKENS), cancel)?;
    let mut guessing = Guessing::begin(engine, decode, cancel)?;
    for round in 0..repetitions {
        on_round(round);
        prefills.push(rounds.prefill(prefill)?);
        decodes.push(rounds.decode(decode)?);
        far.round()?;
        guessing.round(round)?;
    }
    on_round(repetitions);
    let compute = Compute::with_isa(engine.isa(), NonZeroUsize::new(engine.threads()));
    let read_bandwidth = read_bandwidth(&compute);
    let rate = |tokens: usize, times| tokens as f64 / median(times).as_secs_f64();
    let decode_rate = rate(decode, decodes);
    let mut decode_at = vec![DecodeAt {
        position: 0,
        tokens: decode,
        tokens_per_s: decode_rate,
    }];
    decode_at.extend(far.rates());
    let bytes_per_token = engine.weight_bytes_per_token();
    Ok(BenchReport {
        prefill_tokens_per_s: rate(prefill, prefills),
        decode_tokens_per_s: decode_rate,
        decode_at,
        prefill_tokens: prefill,
        decode_tokens: decode,
        repetitions,
        bytes_per_token,
        read_bandwidth_bytes_per_s: read_bandwidth,
        bandwidth_share: decode_rate * bytes_per_token as f64 / read_bandwidth,
        drafter: guessing.report(),
        peak_rss_bytes,
        packed: None,
        threads: engine.threads(),
        isa: engine.isa().to_string(),
    })
}

struct Rounds<'a> {
    engine: &'a Engine,
    session: &'a mut Session,
    tokens: &'a [TokenId],
    cancel: &'a Cancel,
}

impl Rounds<'_> {
    /// The time to read `count` tokens at once.
    fn prefill(&mut self, count: usize) -> Result<Duration, BenchError> {
        self.session.truncate(0);
        let start = Instant::now();
        self.read(0..count)?;
        Ok(start.elapsed())
    }

    /// The time to read `count` tokens one by one, after a first.
    fn decode(&mut self, count: usize) -> Result<Duration, BenchError> {
        self.session.truncate(0);
        self.read(0..1)?;
        let start = Instant::now();
        for at in 1..=count {
            self.read(at..at + 1)?;
        }
        Ok(start.elapsed())
    }

    fn read(&mut self, range: std::ops::Range<usize>) -> Result<(), BenchError> {
        read(self.engine, self.session, &self.tokens[range], self.cancel)
    }
}

/// Decoding from positions further on.
struct Far<'a> {
    engine: &'a Engine,
    cancel: &'a Cancel,
    /// None if no position fits.
    session: Option<Session>,
    tokens: Vec<TokenId>,
    /// How many tokens are decoded.
    count: usize,
    /// Positions, and what each round took.
    times: Vec<(usize, Vec<Duration>)>,
}

impl<'a> Far<'a> {
    fn new(
        engine: &'a Engine,
        context: usize,
        count: usize,
        cancel: &'a Cancel,
    ) -> Result<Self, BenchError> {
        let positions = far_positions(context, count);
        let session = match positions.last().map(|most| engine.session(most + count)) {
            None => None,
            // Where there is no room for them, no positions are measured.
            Some(Err(ModelError::OutOfMemory { .. })) => None,
            Some(session) => Some(session?),
        };
        Ok(Self {
            engine,
            cancel,
            session,
            tokens: arbitrary_tokens(Session::REPEATABLE, engine.config().vocabulary),
            count,
            times: positions.into_iter().map(|at| (at, Vec::new())).collect(),
        })
    }

    /// Measures once from each position. Keys and values of those before are copies of a few that
    /// were read: attention takes as long.
    fn round(&mut self) -> Result<(), BenchError> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        session.truncate(0);
        read(self.engine, session, &self.tokens, self.cancel)?;
        for (position, times) in &mut self.times {
            // A layer with a window may have overwritten them.
            let held = session.truncate(Session::REPEATABLE);
            if held < Session::REPEATABLE {
                read(self.engine, session, &self.tokens[held..], self.cancel)?;
            }
            session.repeat(*position)?;
            let start = Instant::now();
            for token in self.tokens.iter().cycle().take(self.count) {
                read(
                    self.engine,
                    session,
                    std::slice::from_ref(token),
                    self.cancel,
                )?;
            }
            times.push(start.elapsed());
        }
        Ok(())
    }

    fn rates(self) -> impl Iterator<Item = DecodeAt> {
        let tokens = self.count;
        let measured = self
            .times
            .into_iter()
            .filter(|(_, times)| !times.is_empty());
        measured.map(move |(position, times)| DecodeAt {
            position,
            tokens,
            tokens_per_s: tokens as f64 / median(times).as_secs_f64(),
        })
    }
}

/// Reads tokens, with the last one's logits.
fn read(
    engine: &Engine,
    session: &mut Session,
    tokens: &[TokenId],
    cancel: &Cancel,
) -> Result<(), BenchError> {
    let mut progress = |_| !cancel.is_cancelled();
    engine
        .prefill(session, tokens, &mut progress, |_| ())?
        .ok_or(BenchError::Cancelled)
}

/// The positions behind the first from which `count` tokens fit into so many.
fn far_positions(context: usize, count: usize) -> Vec<usize> {
    let fits = |&position: &usize| position > 0 && position + count <= context;
    POSITIONS.into_iter().filter(fits).collect()
}

/// Tokens spread over the vocabulary: which ones makes no difference to the work.
fn arbitrary_tokens(count: usize, vocabulary: usize) -> Vec<TokenId> {
    // The step is prime and larger than what vocabularies have as factors.
    (0..count)
        .map(|i| ((i * 7919 + 1000) % vocabulary) as TokenId)
        .collect()
}

/// The middle time; of an even number, the later of the two in the middle.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The most memory this process had resident so far.
fn peak_rss_bytes() -> Option<u64> {
    // proc_pid_status(5): "VmHWM: peak resident set size", in kB. Other systems have no such file.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_measured_time() {
        let times = |seconds: &[u64]| seconds.iter().map(|&s| Duration::from_secs(s)).collect();
        assert_eq!(median(times(&[9, 1, 5])), Duration::from_secs(5));
        assert_eq!(median(times(&[4, 1])), Duration::from_secs(4));
    }

    #[test]
    fn tokens_are_in_the_vocabulary_and_differ() {
        let tokens = arbitrary_tokens(512, 49_152);
        assert!(tokens.iter().all(|&token| token < 49_152));
        let distinct: std::collections::HashSet<_> = tokens.iter().collect();
        assert_eq!(distinct.len(), tokens.len());
    }

    #[test]
    fn decoding_is_measured_from_the_positions_that_fit() {
        assert!(far_positions(1063, 64).is_empty());
        assert_eq!(far_positions(1064, 64), [1000]);
        assert_eq!(far_positions(4096, 64), [1000, 4000]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_takes_memory() {
        assert!(peak_rss_bytes() > Some(1 << 20));
    }
}
