//! How fast a model runs on this device.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use potluck_model::Compute;
use potluck_model::bandwidth::read_bandwidth;
use serde::Serialize;

use crate::Cancel;
use crate::engine::{Engine, ModelError, Session, TokenId};
use crate::packed_store::PackingState;
use crate::prompt::{self, PromptError};

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct BenchOptions {
    /// Tokens of the prompt.
    pub prefill: usize,
    /// Tokens decoded one by one.
    pub decode: usize,
    /// How often; rates are medians.
    pub repetitions: usize,
}

/// What was measured; `bench --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// Median rate of reading a prompt.
    pub prefill_tokens_per_s: f64,
    /// Median rate of decoding one sequence.
    pub decode_tokens_per_s: f64,
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
    for round in 0..repetitions {
        on_round(round);
        prefills.push(rounds.prefill(prefill)?);
        decodes.push(rounds.decode(decode)?);
    }
    on_round(repetitions);
    // Before the bandwidth's own buffer counts.
    let peak_rss_bytes = peak_rss_bytes();
    let compute = Compute::with_isa(engine.isa(), NonZeroUsize::new(engine.threads()));
    let read_bandwidth = read_bandwidth(&compute);
    let rate = |tokens: usize, times| tokens as f64 / median(times).as_secs_f64();
    let decode_rate = rate(decode, decodes);
    let bytes_per_token = engine.weight_bytes_per_token();
    Ok(BenchReport {
        prefill_tokens_per_s: rate(prefill, prefills),
        decode_tokens_per_s: decode_rate,
        prefill_tokens: prefill,
        decode_tokens: decode,
        repetitions,
        bytes_per_token,
        read_bandwidth_bytes_per_s: read_bandwidth,
        bandwidth_share: decode_rate * bytes_per_token as f64 / read_bandwidth,
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
        let tokens = &self.tokens[range];
        let mut progress = |_| !self.cancel.is_cancelled();
        self.engine
            .prefill(self.session, tokens, &mut progress, |_| ())?
            .ok_or(BenchError::Cancelled)
    }
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
    #[cfg(target_os = "linux")]
    fn this_process_takes_memory() {
        assert!(peak_rss_bytes() > Some(1 << 20));
    }
}
