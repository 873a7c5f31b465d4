//! Baseline placements, as other programs make them, to measure the planner against.
//!
//! Both use every device in reach that may help, each with contiguous layers, and never give a device more
//! than it has room for. The requester is first in the ring, which saves them a hop.

use potluck_protocol::PeerId;
use potluck_protocol::placement::{Devices, ModelShape, PlacementOptions, Weights};
use potluck_protocol::profile::Profile;
use serde::{Deserialize, Serialize};

/// A rule by which layers are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// Each device gets layers in proportion to the memory that it has for them, the ones with most
    /// memory first, as exo places shards.
    MemoryProportional,
    /// Devices follow each other by the shortest round trip to one that is not in the ring yet, and
    /// get layers in proportion to their speed.
    RingByRtt,
}

/// Why a rule places nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// All together have no room.
    #[error("the devices in reach have room for {room} of the model's {layers} layers")]
    NoRoom {
        /// Layers that they have room for.
        room: u64,
        /// Layers of the model.
        layers: u64,
    },
}

/// A device of the ring.
struct Part {
    peer: PeerId,
    /// What its share is in proportion to.
    weight: u64,
    /// Layers that it has room for.
    room: u64,
    layers: u64,
}

impl Baseline {
    /// How many layers each device gets, in the order of the ring; those that get none are left out.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn place(
        self,
        devices: &Devices,
        model: &ModelShape,
        options: &PlacementOptions,
    ) -> Result<Vec<(PeerId, u32)>, BaselineError> {
        let willing = devices
            .profiles
            .iter()
            .filter(|(_, p)| p.unwilling().is_none());
        let mut ring: Vec<Part> = willing
            .map(|(&peer, profile)| {
                let memory = memory_for_layers(devices, peer, profile, model, options);
                Part {
                    peer,
                    weight: match self {
                        Self::MemoryProportional => memory,
                        Self::RingByRtt => speed(profile, model),
                    },
                    room: memory / largest_layer(model, options),
                    layers: 0,
                }
            })
            .collect();
        match self {
            // Stable, of PeerIds ascending: the same on every machine.
            Self::MemoryProportional => ring.sort_by_key(|part| std::cmp::Reverse(part.weight)),
            Self::RingByRtt => ring = by_round_trip(devices, ring),
        }
        let requester = ring.iter().position(|part| part.peer == devices.requester);
        ring.rotate_left(requester.unwrap_or(0));
        share(&mut ring, model.layers.len() as u64)?;
        let placed = ring.iter().filter(|part| part.layers > 0);
        Ok(placed.map(|part| (part.peer, part.layers as u32)).collect())
    }
}

/// Bytes of a device's budget for layers: less headroom, and of the requester less embedding and head.
fn memory_for_layers(
    devices: &Devices,
    peer: PeerId,
    profile: &Profile,
    model: &ModelShape,
    options: &PlacementOptions,
) -> u64 {
    let budget = u128::from(profile.memory_budget_bytes.value);
    let usable = budget * 100 / (100 + u128::from(options.headroom_percent));
    let usable = u64::try_from(usable).unwrap_or(u64::MAX);
    match peer == devices.requester {
        true => usable.saturating_sub(model.ends_bytes()),
        false => usable,
    }
}

/// Bytes of the largest layer with its caches, at least one.
fn largest_layer(model: &ModelShape, options: &PlacementOptions) -> u64 {
    let layers = model.layers.iter();
    let bytes = layers.map(|layer| layer.memory_bytes(options.context));
    bytes.max().unwrap_or(1).max(1)
}

/// Bytes a second in the format of most of the first layer; 0 if it was not measured.
fn speed(profile: &Profile, model: &ModelShape) -> u64 {
    let weights = model.layers.first().map(|layer| layer.weights.iter());
    let most = weights
        .into_iter()
        .flatten()
        .max_by_key(|weights| weights.bytes);
    let speed = |weights: &Weights| profile.decode.get(&weights.quantisation);
    most.and_then(speed)
        .map_or(0, |rate| rate.value.units_per_second())
}

/// From the requester on, always the closest that is left; those without a known way are left out.
fn by_round_trip(devices: &Devices, mut left: Vec<Part>) -> Vec<Part> {
    let mut ring: Vec<Part> = Vec::new();
    let mut at = devices.requester;
    loop {
        let away = |part: &Part| match part.peer == at {
            true => Some(std::time::Duration::ZERO),
            false => devices
                .link(at, part.peer)
                .map(|link| link.round_trip.value),
        };
        let known = left.iter().enumerate();
        let known = known.filter_map(|(index, part)| Some((away(part)?, index)));
        let Some((_, closest)) = known.min() else {
            return ring;
        };
        let next = left.remove(closest);
        at = next.peer;
        ring.push(next);
    }
}

/// Gives each so many layers as its weight is of all weights, as far as it has room: one layer after
/// the other to whoever lacks most of its share.
fn share(ring: &mut [Part], layers: u64) -> Result<(), BaselineError> {
    let room: u64 = ring.iter().map(|part| part.room.min(layers)).sum();
    if room < layers {
        return Err(BaselineError::NoRoom { room, layers });
    }
    let all: u128 = ring.iter().map(|part| u128::from(part.weight)).sum();
    for _ in 0..layers {
        // Of share less layers, times the sum of all weights: whole numbers.
        let lacks = |part: &Part| {
            let share = u128::from(part.weight) * u128::from(layers);
            share as i128 - (u128::from(part.layers) * all) as i128
        };
        let with_room = ring.iter_mut().filter(|part| part.layers < part.room);
        // The first of equals.
        let next = with_room.reduce(|best, part| {
            if lacks(part) > lacks(best) {
                part
            } else {
                best
            }
        });
        if let Some(next) = next {
            next.layers += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(parts: &[(u64, u64)]) -> Vec<Part> {
        let part = |(index, &(weight, room)): (usize, &(u64, u64))| Part {
            peer: PeerId::from_public_key([index as u8; 32]),
            weight,
            room,
            layers: 0,
        };
        parts.iter().enumerate().map(part).collect()
    }

    fn shared(parts: &[(u64, u64)], layers: u64) -> Vec<u64> {
        let mut ring = ring(parts);
        share(&mut ring, layers).expect("there is room");
        ring.iter().map(|part| part.layers).collect()
    }

    #[test]
    fn layers_are_in_proportion() {
        assert_eq!(shared(&[(1, 99), (1, 99), (2, 99)], 28), [7, 7, 14]);
        assert_eq!(shared(&[(3, 99), (1, 99)], 30), [23, 7]);
        assert_eq!(shared(&[(5, 99)], 12), [12]);
        // What one has no room for, the others get.
        assert_eq!(shared(&[(9, 4), (1, 99), (1, 99)], 12), [4, 4, 4]);
        assert_eq!(shared(&[(0, 99), (0, 99)], 3), [3, 0]);
    }

    #[test]
    fn what_has_no_room_is_refused_in_words() {
        let refused = share(&mut ring(&[(1, 3), (1, 4)]), 8).expect_err("no room");
        assert!(
            refused.to_string().contains("7 of the model's 8 layers"),
            "{refused}"
        );
        assert!(share(&mut [], 1).is_err());
    }
}
