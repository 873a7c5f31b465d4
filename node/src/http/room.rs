//! The memory that the bodies of requests share.
//!
//! What a body takes beyond a small share that each connection has is taken from the room of its
//! port, and belongs to the request until that has been answered, because the model's queue keeps
//! the texts.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::Fault;

/// Memory of a body that needs no room.
const FREE: usize = 64 << 10;
/// The unit in which room is counted, in bytes.
const UNIT: usize = 1 << 10;

/// The memory that the bodies of one port share.
#[derive(Clone)]
pub(super) struct Room {
    pub(super) free: Arc<Semaphore>,
    pub(super) units: usize,
}

/// The part of a [`Room`] that a request takes. Dropping it gives it back.
pub(super) struct Taken {
    room: Option<Room>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Room for this many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        let units = bytes / UNIT;
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }
}

impl Taken {
    /// Nothing of this room yet; no bounds if there is none.
    pub(super) fn nothing_of(room: Option<Room>) -> Self {
        Self { room, permit: None }
    }

    /// Takes as much as `memory` bytes need, or gives back what they do not.
    ///
    /// # Errors
    /// The room is smaller than that, or others have taken it.
    pub(super) fn resize(&mut self, memory: usize) -> Result<(), Fault> {
        let Some(room) = &self.room else {
            return Ok(());
        };
        let needed = memory.saturating_sub(FREE).div_ceil(UNIT);
        let has = self.permit.as_ref().map_or(0, |has| has.num_permits());
        if needed > room.units {
            return Err(Fault::too_many_values());
        }
        if let Some(less) = has.checked_sub(needed) {
            drop(self.permit.as_mut().and_then(|has| has.split(less)));
            return Ok(());
        }
        let more = u32::try_from(needed - has).unwrap_or(u32::MAX);
        let more = Arc::clone(&room.free).try_acquire_many_owned(more);
        let more = more.map_err(|_| Fault::no_room())?;
        match &mut self.permit {
            Some(has) => has.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}
