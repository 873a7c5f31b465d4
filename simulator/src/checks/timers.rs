//! A machine that was woken does not ask to be woken at the same moment again.

use super::Finding;

pub(super) fn woken_for_nothing(host: u32) -> Finding {
    let words = "it was woken, and wants to be woken at the same moment".to_owned();
    Finding::of_device("timers", host, words)
}
