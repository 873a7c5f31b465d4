//! What pipelines cost beside arithmetic and the way.
//!
//! A model whose layers take next to no time is asked over three placements. With `c` for a request
//! between the program that asks and its node, `s` for a stage and `h` for a hop:
//!
//! ```text
//! on the device itself   c + s
//! on one other           c + s + 2 h
//! on two others          c + 2 s + 3 h
//! ```

use serde_json::Value;

use super::{Answers, Bench, Model, Network, Setup, simulate};

/// Costs that no profile has yet, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Costs {
    /// Handing a step's rows from the program that asks to its node, and the result back.
    pub request_ms: f64,
    /// A stage beyond its layers' arithmetic.
    pub stage_ms: f64,
    /// A hop beyond delay and airtime.
    pub hop_ms: f64,
    /// Opening a model's file for a stage.
    pub opening_ms: f64,
}

/// Bytes on the air of a frame beside its rows: of the frame, Yamux, Noise, TCP, IPv6 and Ethernet.
const HEADERS: usize = 32 + 12 + 18 + 32 + 40 + 14;
/// Values of the light model's rows, of 4 bytes.
const WIDTH: usize = 64;
/// Tokens of an answer.
const TOKENS: u32 = 200;

impl Costs {
    /// Of pipelines of the light model, each asked so many times.
    ///
    /// # Panics
    /// When an answer does not come.
    pub fn of_pipelines(bench: &Bench<'_>, network: Network, times: usize) -> Self {
        let token = |name, placement| {
            let setup = Setup::new(name, network, placement, (16, TOKENS));
            bench.answer(&setup, times).times.token_ms
        };
        let here = token("here", "self:0..6");
        let one = token("one", "kitchen:0..6");
        let two = token("two", "kitchen:0..3,tablet:3..6");
        println!("light pipelines: {here:.3}, {one:.3}, {two:.3} ms a token");
        let hop = (one - here) / 2.0;
        let stage = (two - one - hop).max(0.0);
        let airtime = network.profile().airtime(HEADERS + 4 * WIDTH).as_secs_f64();
        let way = network.delay.as_secs_f64() + 2.0 * airtime;
        Self {
            request_ms: (here - stage).max(0.0),
            stage_ms: stage,
            hop_ms: (hop - way * 1e3).max(0.0),
            opening_ms: 0.0,
        }
    }

    /// With the cost of opening a model, from a question with a short prompt to the device itself:
    /// what its first token takes longer than simulated without.
    #[must_use]
    pub fn with_opening(
        self,
        setup: &Setup,
        answer: &Answers,
        (profile, model): (&Value, &Model),
    ) -> Self {
        let simulated = simulate(setup, model, &hardware(profile, &self), answer.asked());
        let longer = answer.times.first_token_ms - simulated.first_token_ms;
        Self {
            opening_ms: longer.max(0.0),
            ..self
        }
    }
}

/// A profile for the simulator, with costs that no profile has.
///
/// # Panics
/// When nothing was measured.
pub fn hardware(profile: &Value, costs: &Costs) -> String {
    let rate = |name: &str| profile[name].as_u64().expect("it was measured");
    let formats = profile["decode_bytes_per_s"].as_object();
    let decode: Vec<_> = formats
        .into_iter()
        .flatten()
        .map(|(name, rate)| format!("{name} = \"{rate} B/s\""))
        .collect();
    let micros = |ms: f64| format!("\"{} us\"", (ms.max(0.0) * 1e3).round());
    format!(
        "words = \"this machine\"\nsource = \"measured by the fidelity test\"\n\
         memory = \"2 GB\"\nkv_read = \"{} B/s\"\nkv_queries = 4.0\nprefill = \"{} B/s\"\n\
         stage_overhead = {}\nmessage_overhead = {}\nrequester_overhead = {}\nopening = {}\n\
         load = \"100 GB/s\"\ndecode = {{ {} }}\n",
        rate("kv_read_bytes_per_s"),
        rate("prefill_multiply_adds_per_s"),
        micros(costs.stage_ms),
        // Half of it each for who sends and who receives.
        micros(costs.hop_ms / 2.0),
        micros(costs.request_ms),
        micros(costs.opening_ms),
        decode.join(", ")
    )
}
