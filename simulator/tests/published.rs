//! Against figures that others published, where the inputs are given; `simulator/FIDELITY.md` says
//! what they are and what the model does not explain.

mod answered;

use std::fs;
use std::path::{Path, PathBuf};

use answered::run;
use potluck_sim::record::Record;

/// Tokens a second of the first answer, but for the first token.
fn rate(record: &Record) -> f64 {
    let gaps: Vec<_> = record.sessions[0].token_gaps_us().collect();
    1e6 * gaps.len() as f64 / gaps.iter().sum::<u64>() as f64
}

/// Tokens a second of all answers, between two seconds of the run.
fn rate_between(record: &Record, from: u64, to: u64) -> f64 {
    let tokens = record.sessions.iter().flat_map(|session| {
        let tokens = session.tokens_at_us.iter();
        tokens.map(|at| session.asked_at_us + at)
    });
    let within = tokens.filter(|at| (from * 1_000_000..to * 1_000_000).contains(at));
    within.count() as f64 / (to - from) as f64
}

#[track_caller]
fn assert_close(simulated: f64, published: f64, tolerance: f64) {
    let error = simulated / published - 1.0;
    println!(
        "published {published}, simulated {simulated:.2}, {:+.1} %",
        100.0 * error
    );
    assert!(error.abs() <= tolerance, "{simulated} is not {published}");
}

/// A profile of 4-bit weights read at so many GB/s, with 1.3 ms a stage.
fn machine(name: &str, gigabytes_per_s: f64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("published-{name}.toml"));
    let text = format!(
        "words = \"{name}\"\nsource = \"a published table\"\nmemory = \"40 GB\"\n\
         decode = {{ \"4-bit\" = \"{gigabytes_per_s} GB/s\" }}\nprefill = \"4000 GOPS\"\n\
         stage_overhead = \"1300 us\"\nrequester_overhead = \"0 us\"\nmessage_overhead = \"0 us\"\n"
    );
    fs::write(&path, text).expect("written");
    path
}

/// What a token reads of a model of 30 billion parameters of which 3 are active: 48 layers of as
/// many parameters as are.
const MIXTURE: &str = r#"{ name = "30b-a3b", layers = 48, d_model = 2048, d_ff = 7096, heads = 32,
    kv_heads = 4, head_dim = 128, vocabulary = 151936, quantisation = "Q4_0", embedding = "Q4_0" }"#;

/// Tokens a second over machines 13 ms apart, of which the second and third are so many times
/// slower than the first.
fn mixture(placement: &str, slower: f64) -> f64 {
    let first = machine(&format!("first-{slower}"), 139.0);
    let other = machine(&format!("other-{slower}"), 139.0 / slower);
    rate(&run(&format!(
        "duration = \"5 min\"\nmodel = {}\n\
         [[device]]\nname = \"a\"\nprofile = {first:?}\n\
         [[device]]\nname = \"b\"\nprofile = {other:?}\n\
         [[device]]\nname = \"c\"\nprofile = {other:?}\n\
         [[network]]\nkind = \"direct\"\ndelay = \"13 ms\"\nrate = \"10000 Mbit/s\"\n\
         [[request]]\nwho = \"a\"\nat = \"5 s\"\nprompt = 16\ntokens = 100\nchoice = \"{placement}\"\n",
        MIXTURE.replace('\n', "")
    )))
}

#[test]
fn a_mixture_over_two_and_three_machines() {
    const TWO: &str = "self:0..41,b:41..48";
    const THREE: &str = "self:0..30,b:30..44,c:44..48";
    assert_close(mixture("alone", 1.0), 68.0, 0.02);
    // With machines as fast as the first a ring is quicker than what was published.
    assert_close(mixture(TWO, 1.0), 21.0, 0.15);
    assert_close(mixture(THREE, 1.0), 12.5, 0.45);
    // The others' speed is not published: if two machines' figure says it, three's follows.
    assert_close(mixture(TWO, 3.5), 21.0, 0.05);
    assert_close(mixture(THREE, 3.5), 12.5, 0.20);
}

#[test]
fn llama_3_8b_on_two_phones() {
    for (phone, published) in [("galaxy-s22", 7.85), ("galaxy-s24", 10.9)] {
        let record = run(&format!(
            "duration = \"1 min\"\nmodel = {{ name = \"llama-3.1-8b\", quantisation = \"Q4_0\" }}\n\
             [[device]]\nprofile = \"{phone}\"\nmemory = \"8 GB\"\n\
             [[request]]\nat = \"1 s\"\nprompt = 8\ntokens = 60\nchoice = \"alone\"\n"
        ));
        assert_close(rate(&record), published, 0.10);
    }
}

/// A phone that answers one short question after the other for so long, of a model of which it gives
/// about 40 tokens a second when it is cool.
fn heated(phone: &str, seconds: u64, d_ff: u32) -> Record {
    run(&format!(
        "duration = \"{seconds} s\"\nmodel = {{ name = \"qwen3-1.7b\", layers = 28, d_model = 2048, \
         d_ff = {d_ff}, heads = 16, kv_heads = 8, head_dim = 128, vocabulary = 151936, \
         quantisation = \"Q4_0\", embedding = \"Q8_0\" }}\n\
         [[device]]\nprofile = \"{phone}\"\n\
         [[request]]\nat = \"1 s\"\nprompt = 8\ntokens = 200\nthink = \"1 ms\"\nchoice = \"alone\"\n"
    ))
}

#[test]
fn galaxy_s25_ultra_gets_hot() {
    let record = heated("galaxy-s25-ultra", 190, 5_504);
    assert_close(rate_between(&record, 2, 12), 37.0, 0.10);
    assert_close(rate_between(&record, 170, 185), 19.0, 0.25);
    let tokens = record
        .sessions
        .iter()
        .map(|session| session.tokens_at_us.len());
    let joules = record.devices[0].joules / tokens.sum::<usize>() as f64;
    assert_close(joules, 0.29, 0.25);
}

#[test]
fn iphone_17_pro_gets_hot() {
    let record = heated("iphone-17-pro", 620, 6_144);
    let (cool, hot) = (
        rate_between(&record, 2, 12),
        rate_between(&record, 560, 600),
    );
    // The model of the published figures is another: what counts is the share that is left.
    assert_close(hot / cool, 18.0 / 48.0, 0.25);
}
