//! The arithmetic: storage formats, SIMD kernels, threads. The only place with `unsafe` code.
//!
//! Every kernel follows one canonical arithmetic, so that its result does not depend on the
//! instruction set, the number of threads, or how many positions are computed together:
//!
//! - **Quantised weights.** Activations are quantised in blocks of 32 to 16 bits
//!   ([`activations`]). The dot product of a block is an exact integer. An output element is one
//!   `f32` accumulator: for ascending blocks `acc = fma(d_w · d_x, float(block_sum), acc)`, then,
//!   for types with a minimum, `acc = fma(m_w, s_x, acc)` with `s_x = d_x · Σx`. Types that scale
//!   each 16 elements (Q6_K, Q3_K, Q2_K, IQ3 and IQ2) take the first step twice a block, and then the
//!   second, if they have a minimum, too.
//! - **Float weights** fold into 16 lanes, `lane[i mod 16] = fma(w_i, x_i, lane)`, then by one
//!   tree: lanes `l` and `l + 8`, `l + 4`, `l + 2`, `l + 1` ([`float`]).
//! - **Norms** fold squares in the same lanes and tree ([`norm`]).
//! - **Attention** folds a score over ascending dimensions and values over ascending positions,
//!   with an online softmax over blocks of 64 absolute positions ([`attention`]).
//! - exp and tanh are ours ([`math`]), sin and cos pure Rust (`libm`).
//!
//! Work is divided across output rows, heads and positions, never across a reduction.
//!
//! Quantised weights are multiplied where the file has them ([`quantised`]) or from a copy whose
//! layout is made for it ([`packed`]); prefill always takes the latter, a group of rows at a time.

pub(crate) mod activations;
pub(crate) mod attention;
mod attention_split;
pub(crate) mod attention_step;
mod attention_tile;
pub(crate) mod cache;
pub(crate) mod codec;
pub(crate) mod dequantise;
pub(crate) mod feed_forward;
pub(crate) mod float;
pub(crate) mod gate;
pub(crate) mod grids;
pub(crate) mod linear;
#[cfg(test)]
mod linear_tests;
mod lost;
pub(crate) mod mapping;
pub(crate) mod math;
mod multiply;
pub(crate) mod norm;
pub(crate) mod packed;
pub(crate) mod packed_format;
mod planes;
pub(crate) mod quantised;
pub(crate) mod rope;
pub(crate) mod rows;
mod shared_slice;
pub(crate) mod simd;
pub(crate) mod softcap;
mod softmax;
mod task;
#[cfg(test)]
mod task_tests;
pub(crate) mod team;
mod values;

mod isa;

pub use isa::{Isa, IsaError};
pub(crate) use shared_slice::SharedSlice;
