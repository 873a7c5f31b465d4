//! No device holds more than its owner allows.

use super::Finding;

pub(super) fn check(host: u32, bytes: u64, budget: u64) -> Option<Finding> {
    (bytes > budget).then(|| {
        let words = format!("it holds {bytes} bytes, and its owner allows {budget}");
        Finding::of_device("memory", host, words)
    })
}
