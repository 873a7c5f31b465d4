//! The bytes that wait to be sent to a peer are bounded.

use super::Finding;

pub(super) fn check(host: u32, bytes: u64, most: u64) -> Option<Finding> {
    (bytes > most).then(|| {
        let words = format!("{bytes} bytes wait for one peer, and {most} may");
        Finding::of_device("queues", host, words)
    })
}
