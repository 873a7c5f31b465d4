//! temporary
use crate::tokenizer::TokenId;
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerSettings {
    pub temperature: f32,
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub repetition_window: usize,
    pub seed: u64,
}
impl Default for SamplerSettings {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 0,
            seed: 0,
        }
    }
}
impl SamplerSettings {
    pub fn greedy() -> Self {
        Self::default()
    }
}
pub struct Sampled {
    pub token: TokenId,
    pub logprob: f32,
}
#[derive(Debug, thiserror::Error)]
#[error("sampler")]
pub struct SamplerError;
pub fn sample(
    _s: &SamplerSettings,
    _p: u64,
    _h: &[TokenId],
    logits: &[f32],
) -> Result<Sampled, SamplerError> {
    let mut best = 0;
    for (i, &l) in logits.iter().enumerate() {
        if l > logits[best] {
            best = i;
        }
    }
    Ok(Sampled {
        token: best as u32,
        logprob: 0.0,
    })
}
fn lse(l: &[f32]) -> f64 {
    let m = l.iter().copied().fold(f32::MIN, f32::max);
    f64::from(m) + l.iter().map(|&x| f64::from(x - m).exp()).sum::<f64>().ln()
}
pub fn logprob_of(l: &[f32], id: TokenId) -> f32 {
    (f64::from(l[id as usize]) - lse(l)) as f32
}
pub fn top_logprobs(l: &[f32], k: usize) -> Vec<(TokenId, f32)> {
    let z = lse(l);
    let mut v: Vec<_> = l
        .iter()
        .enumerate()
        .map(|(i, &x)| (i as u32, (f64::from(x) - z) as f32))
        .collect();
    v.sort_by(|a, b| b.1.total_cmp(&a.1));
    v.truncate(k);
    v
}
