//! No stage computes rows of an old placement, rows whose predecessors are missing, or rows at a wrong
//! position.

use super::Finding;
use crate::host::Fault;

pub(super) fn check(host: u32, session: Option<usize>, fault: Fault) -> Finding {
    let words = match fault {
        Fault::Gap { held } => format!("rows beyond the {held} that it holds were to be computed"),
        Fault::Stale { made_for, in_force } => {
            format!("rows of placement {made_for} were computed while {in_force} is in force")
        }
        Fault::Misplaced { made_for, came_as } => {
            format!("the row of position {made_for} was computed as that of {came_as}")
        }
    };
    Finding {
        session,
        ..Finding::of_device("epochs", host, words)
    }
}
