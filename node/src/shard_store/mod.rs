//! Weights that this device has of others: the shard store.
//!
//! [`ShardStore`] keeps layers of models as they come from peers, piece by piece, each checked by its
//! hash before it is written. [`OwnModels`] is all that this device can compute with and give to
//! others: whole files, and what the store has. [`Keeper`] is the thread that does what the protocol's
//! [`StoreOrder`](potluck_protocol::transfer::StoreOrder)s say.
//!
//! # On disk
//! A folder for each model, in `shards/` of the home, named by the hash of its manifest:
//!
//! | file | what |
//! |---|---|
//! | `manifest` | the manifest's bytes; when it was modified is when the model was last used |
//! | `weights.gguf` | as long as the original, with the kept pieces in their places and holes between |
//! | `pieces` | numbers of the kept pieces, one after the other: object and piece, 4 bytes each |
//! | `checked` | how `weights.gguf` looked when all that `pieces` says was known to be right |
//!
//! # Invariants
//! - Nothing is mapped or given that was not checked: a piece is written and then added to `pieces`.
//!   There is no `checked` while pieces come. If `weights.gguf` does not look as it says when a node
//!   starts, because it was ended in the middle of a transfer or another program wrote into it, all
//!   kept pieces are checked again before anything of it is used, and those that are wrong are
//!   forgotten.
//! - What models take together, with what was promised to those that are being fetched, is within the
//!   quota. The models that were not used for longest make room for others; one that is mapped or
//!   being fetched stays.
//! - A model is removed whole: its folder is renamed first.

mod keeper;
mod offers;
mod own_models;
mod pieces;
mod store;
mod stored_model;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use keeper::Keeper;
pub use own_models::OwnModels;
pub use store::ShardStore;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room, even without all that could be removed.
    #[error(
        "{} MB of weights are more than the {} MB that this device keeps for others: allow more \
         with `potluck up --store`",
        needed.div_ceil(1_000_000), quota / 1_000_000
    )]
    NoRoom {
        /// What is to be kept.
        needed: u64,
        /// What may be.
        quota: u64,
    },
    /// It is not a manifest.
    #[error("the model's manifest is not one: {0}")]
    Manifest(#[from] crate::manifest::Malformed),
    /// The model has no such layer or piece.
    #[error("the model has no such layers: update Potluck on both devices")]
    Unknown,
    /// The system.
    #[error("cannot keep weights in {}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
