//! How far sequences can be cut back whose caches are on other devices.

use crate::ModelConfig;
use crate::kv_ring::{ROLL_BACK, Ring};

/// To which lengths a sequence can be cut whose caches are on other devices. It knows only what was
/// sent to them, so it may say less than they hold, but not more.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Of each kind of layer.
    rings: Vec<Ring>,
}

impl Reach {
    /// An empty sequence with room for `capacity` positions.
    pub fn new(config: &ModelConfig, capacity: usize) -> Self {
        let mut rings: Vec<Ring> = Vec::new();
        for attention in &config.attention {
            let ring = Ring::new(attention.window, capacity, ROLL_BACK);
            if !rings.contains(&ring) {
                rings.push(ring);
            }
        }
        Self { rings }
    }

    /// The positions before `end` were sent.
    pub fn sent(&mut self, end: usize) {
        for ring in &mut self.rings {
            ring.appended(end);
        }
    }

    /// All caches are empty, or nothing before is read again.
    pub fn restart(&mut self) {
        self.rings.iter_mut().for_each(Ring::restart);
    }

    /// How many of the first `len` positions need not be computed again: `len`, or none if some layer
    /// may have overwritten what the next position sees.
    pub fn of(&self, len: usize) -> usize {
        match self.rings.iter().all(|ring| ring.holds(len)) {
            true => len,
            false => 0,
        }
    }
}
