//! Products with weights, without the rest of the model crate: `loops.py` reads the machine code of
//! this program. Run, it says how fast a product is.
//!
//!     potluck-kernels [POSITIONS [COLUMNS [TYPE…]]]
//!
//! It takes the instruction set that `POTLUCK_ISA` names. Weights are zeros, 24 MB of them.

#[path = "../../../model/src/kernels/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "only products with weights are used here"
)]
mod kernels;
#[path = "../../../model/src/tensor_type.rs"]
#[allow(
    dead_code,
    unfulfilled_lint_expectations,
    reason = "this is no library"
)]
mod tensor_type;

use std::error::Error;
use std::time::Instant;

use kernels::Isa;
use kernels::activations::Activations;
use kernels::linear::linear;
use kernels::packed_format::{GROUP, group_bytes};
use kernels::rows::{Layout, WeightRows};
use kernels::team::Team;
use tensor_type::TensorType;

/// Bytes of weights, and how many products the least time is taken of.
const BYTES: usize = 24 << 20;
const PRODUCTS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let positions = arguments.next().map_or(Ok(1), |a| a.parse())?;
    let columns: usize = arguments.next().map_or(Ok(768), |a| a.parse())?;
    let names: Vec<_> = arguments.collect();
    let isa = Isa::detect()?;
    for tensor_type in TensorType::ALL {
        let wanted = names.is_empty() || names.contains(&tensor_type.to_string());
        let Some(bytes) = group_bytes(tensor_type, columns).filter(|_| wanted) else {
            continue;
        };
        let groups = BYTES / bytes;
        let weights = vec![0; groups * bytes];
        let rows = WeightRows::new(
            tensor_type,
            groups * GROUP,
            columns,
            &weights,
            Layout::Packed,
        );
        let seconds = least_seconds(isa, positions, rows);
        let rate = weights.len() as f64 / seconds / 1e9;
        println!("{tensor_type} {isa} {positions}: {rate:.1} GB/s");
    }
    Ok(())
}

/// The least time of a product on one thread.
fn least_seconds(isa: Isa, positions: usize, w: WeightRows<'_>) -> f64 {
    let team = Team::new(&[1]);
    let x = vec![0.5; positions * w.columns()];
    let mut outputs = [vec![0.0; positions * w.rows()]];
    let mut quantised = Activations::default();
    let mut least = f64::INFINITY;
    for _ in 0..PRODUCTS {
        let start = Instant::now();
        linear(isa, &team, &x, &mut quantised, &[w], &mut outputs);
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}
