//! Probabilities equal those of an independent float32 model, as recorded in `tests/golden` by
//! `tests/compare/reference.py` with llama.cpp's token ids.

use potluck_model::tokenizer::{SpecialTokens, TokenId};
use potluck_model::{Engine, EngineOptions};
use potluck_tests::model_path;
use serde_json::Value;

/// How far the mean negative log-likelihood may be off, as a share of it.
const NLL_TOLERANCE: f64 = 0.0005;
/// The least share of positions with the same most likely token.
const AGREEMENT: f64 = 0.99;
/// How far one recorded log-probability may be off, in nats. The cause is mostly the KV cache's
/// rounding to f16; with activations rounded to 8 bits instead of 16 it would be some tenths.
const LOGPROB_TOLERANCE: f64 = 0.03;
/// How many of the most likely tokens to ask for: rounding may change the order of the recorded
/// five among others as likely.
const LISTED: usize = 64;

/// One recorded text. All probabilities are natural logarithms.
struct Golden {
    text: String,
    ids: Vec<TokenId>,
    /// Of each token from the second on, the negative log-probability.
    nll: Vec<f64>,
    /// At each position, the five most likely next tokens, best first.
    top5: Vec<Vec<(TokenId, f64)>>,
}

fn golden(file: &str) -> Vec<Golden> {
    let texts: Value = serde_json::from_str(file).expect("the golden file is JSON");
    let of = |text: &Value| Golden {
        text: text["text"].as_str().expect("a text is a string").into(),
        ids: list(&text["ids"], id),
        nll: list(&text["nll"], number),
        top5: list(&text["top5"], |best| {
            list(best, |pair| (id(&pair[0]), number(&pair[1])))
        }),
    };
    list(&texts, of)
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().expect("a list").iter().map(item).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn id(value: &Value) -> TokenId {
    let id = value.as_u64().and_then(|id| id.try_into().ok());
    id.expect("an id is a number")
}

/// What the texts of a model add up to.
#[derive(Debug, Default)]
struct Tally {
    positions: usize,
    agreeing: usize,
    nll: f64,
    golden_nll: f64,
    worst: f64,
}

fn check(model: &str, file: &str) {
    let path = model_path(model);
    let engine = Engine::open(&path, &EngineOptions::default()).expect("the model opens");
    let mut tally = Tally::default();
    for text in golden(file) {
        let ids = engine
            .tokenizer()
            .encode_prompt(&text.text, SpecialTokens::AsText);
        assert_eq!(ids, text.ids, "{model}: {:?}", text.text);
        score(&engine, &text, &mut tally);
    }
    eprintln!("{model}: {tally:?}");
    let off = tally.nll / tally.golden_nll - 1.0;
    assert!(
        off.abs() <= NLL_TOLERANCE,
        "{model}: the mean is off by {off}"
    );
    let agreement = tally.agreeing as f64 / tally.positions as f64;
    assert!(agreement >= AGREEMENT, "{model}: {tally:?}");
    assert!(tally.worst <= LOGPROB_TOLERANCE, "{model}: {tally:?}");
}

fn score(engine: &Engine, text: &Golden, tally: &mut Tally) {
    let mut session = engine.new_session().expect("there is memory");
    let score = engine
        .score(&mut session, &text.ids, LISTED, &mut |_| {})
        .expect("the text is scored");
    assert_eq!(score.logprobs.len(), text.nll.len());
    for (&logprob, nll) in score.logprobs.iter().zip(&text.nll) {
        tally.nll -= f64::from(logprob);
        tally.golden_nll += nll;
        tally.worst = tally.worst.max((f64::from(logprob) + nll).abs());
    }
    assert_eq!(score.top.len(), text.top5.len());
    for (top, golden) in score.top.iter().zip(&text.top5) {
        tally.positions += 1;
        tally.agreeing += usize::from(top[0].0 == golden[0].0);
        for &(token, golden) in golden {
            let found = top.iter().find(|(id, _)| *id == token);
            let &(_, logprob) = found.expect("the best five are among the best of ours");
            tally.worst = tally.worst.max((f64::from(logprob) - golden).abs());
        }
    }
}

#[test]
fn smollm2_gives_the_recorded_probabilities() {
    check("smollm2:135m", include_str!("../golden/smollm2.json"));
}

#[test]
fn gemma3_gives_the_recorded_probabilities() {
    check("gemma3:270m", include_str!("../golden/gemma3.json"));
}
