//! Prints digests of the logits of small synthetic models, to compare one machine with another.
//!
//! A line is a model's name, a digest of its file and one of the bits of every position's logits.
//! The logits are computed on every instruction set this CPU has (or the one that `POTLUCK_ISA`
//! names), by one thread and by two, of all tokens in one step and of one token at a time; that
//! any of these differ ends the program with an error. Standard error says which instruction sets
//! were compared. The output is the same wherever the program runs.

use std::error::Error;
use std::num::NonZeroUsize;

use potluck_model::gguf::Gguf;
use potluck_model::gguf::synth::{Architecture, Matrix, RopeScaling, SynthSpec, TypeMix};
use potluck_model::{Compute, Engine, Isa, TensorType};

/// Enough positions for a second block of attention, and to leave Gemma's sliding window.
const POSITIONS: usize = 70;

fn main() -> Result<(), Box<dyn Error>> {
    let isas = match std::env::var_os("POTLUCK_ISA") {
        Some(_) => vec![Isa::detect()?],
        None => Isa::available(),
    };
    let names: Vec<_> = isas.iter().map(Isa::to_string).collect();
    eprintln!("instruction sets: {}", names.join(" "));
    for spec in specs() {
        let file = spec.to_bytes()?;
        let gguf = Gguf::parse(file.clone())?;
        let logits = logits_every_way(&gguf, &isas).map_err(|e| format!("{}: {e}", spec.name))?;
        println!("{} {:016x} {logits:016x}", spec.name, digest(&file));
    }
    Ok(())
}

/// Every tensor type, architecture and kind of rotary scaling.
fn specs() -> Vec<SynthSpec> {
    let architectures = Architecture::ALL.into_iter().cycle();
    let mut specs: Vec<_> = TensorType::ALL
        .into_iter()
        .zip(architectures)
        .map(|(tensor_type, architecture)| small(architecture, TypeMix::uniform(tensor_type)))
        .collect();
    let mixed = TypeMix::uniform(TensorType::Q4_K)
        .with(Matrix::Embedding, TensorType::Q8_0)
        .with(Matrix::AttnV, TensorType::Q6_K)
        .with(Matrix::FfnUp, TensorType::Q5_0);
    specs.push(SynthSpec {
        name: "llama-mixed-scaled".into(),
        rope_scaling: RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency: 1.0,
            high_frequency: 4.0,
            original_context: 64,
        },
        tied: false,
        ..small(Architecture::Llama, mixed.clone())
    });
    specs.push(SynthSpec {
        name: "gemma3-mixed-scaled".into(),
        rope_scaling: RopeScaling::Linear { factor: 8.0 },
        ..small(Architecture::Gemma3, mixed)
    });
    specs
}

/// A model of which a token takes about a million multiplications.
fn small(architecture: Architecture, types: TypeMix) -> SynthSpec {
    let gemma = architecture == Architecture::Gemma3;
    SynthSpec {
        name: format!("{}-{types}", architecture.name()),
        architecture,
        // One layer in six of Gemma's is global.
        layers: if gemma { 6 } else { 2 },
        d_model: 256,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        d_ff: 256,
        vocabulary: 300,
        context: 128,
        types,
        tied: true,
        seed: 1,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        sliding_window: gemma.then_some(16),
    }
}

/// The digest of the logits, if however they are computed it is the same.
fn logits_every_way(gguf: &Gguf, isas: &[Isa]) -> Result<u64, Box<dyn Error>> {
    let mut first = None;
    for &isa in isas {
        for threads in [1, 2] {
            let compute = Compute::with_isa(isa, NonZeroUsize::new(threads));
            let engine = Engine::from_gguf(gguf, POSITIONS, compute)?;
            for at_once in [POSITIONS, 1] {
                let found = logits(&engine, at_once)?;
                let expected = *first.get_or_insert(found);
                if found != expected {
                    return Err(format!(
                        "{isa}, {threads} threads, {at_once} positions at once: the logits' digest \
                         is {found:016x}, with {} it was {expected:016x}",
                        isas[0]
                    )
                    .into());
                }
            }
        }
    }
    first.ok_or_else(|| "no instruction set to compute with".into())
}

/// The digest of the logits of every position, `at_once` positions a step.
fn logits(engine: &Engine, at_once: usize) -> Result<u64, Box<dyn Error>> {
    let vocabulary = engine.config().vocabulary as u32;
    let tokens: Vec<_> = (0..POSITIONS as u32).map(|i| i * 37 % vocabulary).collect();
    let mut session = engine.new_session()?;
    let mut bytes = Vec::new();
    for tokens in tokens.chunks(at_once) {
        engine.evaluate(&mut session, tokens, &mut |_, logits| {
            bytes.extend(logits.iter().flat_map(|l| l.to_bits().to_le_bytes()));
            Ok(())
        })?;
    }
    Ok(digest(&bytes))
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo).
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
