//! While its owner needs a device, others get at most a fifth of its time and wait two seconds at most. A
//! device that is about to be suspended takes no stage.

use super::Finding;

const NAME: &str = "owner";

/// Others wait so many times as long as their last step took.
const TIMES: u64 = 4;
/// But not longer than this, in microseconds.
const LONGEST: u64 = 2_000_000;

/// So long after a step with rows of others, that took so long, another begins.
pub(super) fn check(host: u32, waited: u64, took: u64) -> Option<Finding> {
    (waited < (TIMES * took).min(LONGEST)).then(|| {
        let words = format!(
            "it computes for others {waited} µs after a step of theirs that took {took} µs, while its \
             owner needs it"
        );
        Finding::of_device(NAME, host, words)
    })
}

pub(super) fn stage_while_leaving(host: u32) -> Finding {
    let words = "it takes a stage, and is about to be suspended".to_owned();
    Finding::of_device(NAME, host, words)
}
