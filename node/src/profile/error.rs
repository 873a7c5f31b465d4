//! Why a device cannot be measured.

use std::io;

use potluck_model::ModelError;
use potluck_model::PackedError;
use potluck_model::gguf::GgufError;
use potluck_model::gguf::synth::SynthError;

/// Nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The weights to measure with could not be made.
    #[error("cannot make the weights to measure with")]
    Weights(#[from] SynthError),
    /// They could not be read.
    #[error("cannot read the weights to measure with")]
    File(#[from] GgufError),
    /// They could not be computed with.
    #[error("cannot compute to measure")]
    Model(#[from] ModelError),
    /// They could not be packed.
    #[error("cannot pack the weights to measure with")]
    Packed(#[from] PackedError),
    /// The system has no more threads.
    #[error("cannot start a thread to measure with")]
    Thread(#[source] io::Error),
    /// A stage failed.
    #[error("a stage that was to be measured failed")]
    Stage,
}
