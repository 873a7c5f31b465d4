//! Only members of a circle receive its data.

use super::Finding;

const NAME: &str = "privacy";

/// Which hosts are paired.
#[derive(Debug)]
pub(super) struct Privacy {
    /// The circle of each host.
    circles: Vec<u32>,
}

impl Privacy {
    pub(super) fn new(circles: Vec<u32>) -> Self {
        Self { circles }
    }

    pub(super) fn check(&self, from: u32, to: u32) -> Option<Finding> {
        let circle = |host: u32| self.circles.get(host as usize);
        (circle(from) != circle(to)).then(|| {
            let words = format!("it received bytes of device {from}, of another circle");
            Finding::of_device(NAME, to, words)
        })
    }
}

pub(super) fn stranger(host: u32) -> Finding {
    let words = "it sent to a device of no circle of its own".to_owned();
    Finding::of_device(NAME, host, words)
}
