//! The model graph as Burn modules: configuration, loading, forward pass.

mod attention;
mod block;
mod feed_forward;
mod linear;
mod norm;
mod rope;
mod source;
mod step;
mod swap;

pub(crate) use attention::Attention;
pub(crate) use block::Block;
pub(crate) use feed_forward::FeedForward;
pub(crate) use linear::StoredMatrix;
pub(crate) use norm::RmsNorm;
pub(crate) use rope::RopeTables;
pub(crate) use source::{Claims, Source};
pub(crate) use step::{LayerStep, SequenceRows, Stream};
pub(crate) use swap::Swap;
