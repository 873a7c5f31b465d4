//! Machines that exchange bytes in memory and in virtual time.

mod any;
mod arithmetic;
mod device;
mod faults;
mod fetching;
mod members;
mod pairing;
mod peers;
mod placing;
mod sequences;
mod sessions;
mod shelf;
mod solo;
mod stalls;
mod standby;
mod talk;
mod weights;

use std::time::Duration;

use device::{Devices, talk};

/// Longer than anything should take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs until a conversation is done, and checks its tokens.
fn finish(world: &mut Devices, node: usize, id: u64) {
    let limit = world.now + LIMIT;
    let done = world.run(limit, |world| talk(world, node, id).is_done());
    let talk = talk(world, node, id);
    assert!(done, "it stands still: {:#?}", talk.events.last());
    assert!(talk.is_right(), "{:?}", talk.events);
}
