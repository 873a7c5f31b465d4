//! Placements that a person writes: `self:0..6,kitchen:6..18,tablet:18..30`.
//!
//! A written placement also says who may compute: a session that cannot continue over it stays within the
//! devices that it names and the requester, which has embedding and head in any case. `,*` at its end lets
//! other devices help then.

use std::cell::RefCell;

use super::candidate::without_headroom;
use super::cost;
use super::devices::Devices;
use super::options::PlacementOptions;
use super::prediction::{Prediction, predict};
use super::shape::{MOST_LAYERS, ModelShape};
use super::stage::{Stage, layer_indices};
use super::text::{Needed, Offered};
use crate::profile::Unwilling;
use crate::{LayerRange, PeerId};

/// Longer texts are refused before they are read.
const MOST_BYTES: usize = 4_096;
/// More stages than any circle has use for.
const MOST_STAGES: usize = 32;

/// A placement that a person wrote, whole and free of overlaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    stages: Vec<ForcedStage>,
    /// Whether others may take over what its devices cannot compute.
    others: bool,
}

/// One of its stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForcedStage {
    /// The device as it was written.
    pub name: String,
    /// What it stands for.
    pub stage: Stage,
}

/// What is wrong with a written placement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForcedError {
    /// Longer than any placement.
    #[error("the placement is too long: name at most {MOST_STAGES} devices in {MOST_BYTES} bytes")]
    TooLong,
    /// Not a name and a range.
    #[error(
        "{part:?} in the placement is no stage: write stages like kitchen:6..18, separated by \
         commas"
    )]
    NotAStage {
        /// What was met.
        part: String,
    },
    /// A range without layers.
    #[error(
        "{name:?} gets no layers by {layers}: name a range such as 6..18, or leave the device out"
    )]
    Empty {
        /// The device.
        name: String,
        /// Its range.
        layers: String,
    },
    /// A name that the lookup does not know.
    #[error(
        "no device is called {name:?}: `potluck peers` lists names and ids, and self is this one"
    )]
    UnknownName {
        /// The name.
        name: String,
    },
    /// A device with two stages.
    #[error("{name:?} is named twice: give each device one range")]
    Repeated {
        /// Its second name.
        name: String,
    },
    /// Layers that no device has.
    #[error("no device gets layers {missing}: ranges follow each other from 0 to {layers}")]
    Gap {
        /// The layers.
        missing: LayerRange,
        /// The model's.
        layers: u32,
    },
    /// Layers that two devices have.
    #[error("{name:?} gets layers {repeated} a second time: ranges follow each other in order")]
    Overlap {
        /// The later device.
        name: String,
        /// The layers.
        repeated: LayerRange,
    },
    /// Layers that the model has not.
    #[error("{name:?} gets layers up to {end}, but the model has {layers}")]
    BeyondTheModel {
        /// The device.
        name: String,
        /// The end of its range.
        end: u32,
        /// The model's layers.
        layers: u32,
    },
    /// A model whose layer count placing does not take.
    #[error(
        "the model has {layers} layers, and placing takes 1 to {most}: choose another model",
        most = MOST_LAYERS
    )]
    LayerCount {
        /// Its layers.
        layers: usize,
    },
    /// A placement that was read for another model.
    #[error("the placement is of {placed} layers, but the model has {layers}")]
    OtherModel {
        /// Layers of the placement.
        placed: u32,
        /// Layers of the model.
        layers: usize,
    },
    /// A device that is not in reach.
    #[error("{name:?} is not in reach: start potluck on it, or leave it out of the placement")]
    NotInReach {
        /// The device.
        name: String,
    },
    /// A device whose owner or heat keeps it from helping.
    #[error("{name:?} cannot help now: {reason}")]
    Unwilling {
        /// The device.
        name: String,
        /// Why.
        reason: Unwilling,
    },
    /// A device without room.
    #[error(
        "{name:?} offers {}, its part of the placement needs {}: give it fewer layers",
        Offered(*offers_bytes), Needed(*needs_bytes)
    )]
    DoesNotFit {
        /// The device.
        name: String,
        /// Its budget.
        offers_bytes: u64,
        /// What its layers need, with headroom, and embedding and head if it is the requester.
        needs_bytes: u64,
    },
    /// A device without a measured speed for its layers, or for the head.
    #[error(
        "{name:?} has no measured speed for the model's formats: run `potluck bench --profile` on \
         it"
    )]
    Unmeasured {
        /// The device.
        name: String,
    },
    /// Neighbours without a measured link.
    #[error(
        "the link from {from:?} to {to:?} is not measured yet: wait some seconds, or order the \
         devices otherwise"
    )]
    LinkUnknown {
        /// Who sends.
        from: String,
        /// Who receives.
        to: String,
    },
}

/// How a person names the device before them.
const SELF: &str = "self";
/// How a person lets others help when the devices of the placement cannot go on.
const OTHERS: &str = "*";

impl Forced {
    /// Reads stages in the order of their layers, which must be all `layers` of the model. What
    /// stands before the last colon of each is looked up. `,*` may follow: others may help.
    ///
    /// # Errors
    /// Anything that is no such placement; see [`ForcedError`].
    pub fn parse(
        text: &str,
        layers: u32,
        lookup: impl Fn(&str) -> Option<PeerId>,
    ) -> Result<Self, ForcedError> {
        if text.len() > MOST_BYTES || text.split(',').count() > MOST_STAGES {
            return Err(ForcedError::TooLong);
        }
        let (text, others) = match text.rsplit_once(',') {
            Some((stages, last)) if last.trim() == OTHERS => (stages, true),
            _ => (text, false),
        };
        let mut stages: Vec<ForcedStage> = Vec::new();
        let mut next = 0;
        for part in text.split(',') {
            let (name, range) = read_part(part)?;
            let unknown = || ForcedError::UnknownName { name: name.clone() };
            let peer = lookup(&name).ok_or_else(unknown)?;
            if stages.iter().any(|other| other.stage.peer == peer) {
                return Err(ForcedError::Repeated { name });
            }
            follows(&name, range, next, layers)?;
            next = range.end();
            let stage = Stage {
                peer,
                layers: range,
            };
            stages.push(ForcedStage { name, stage });
        }
        match LayerRange::new(next, layers) {
            Some(missing) if !missing.is_empty() => Err(ForcedError::Gap { missing, layers }),
            Some(_) | None => Ok(Self { stages, others }),
        }
    }

    /// Checks that a text is a placement of `layers` layers, whatever devices its names are of.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse) but [`ForcedError::UnknownName`].
    pub fn check(text: &str, layers: u32) -> Result<(), ForcedError> {
        // Each name stands for a device of its own.
        let names = RefCell::new(Vec::new());
        let numbered = |name: &str| {
            let mut names = names.borrow_mut();
            let known = names.iter().position(|other| other == name);
            let number = known.unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            let mut key = [0; 32];
            key[..size_of::<usize>()].copy_from_slice(&number.to_le_bytes());
            Some(PeerId::from_public_key(key))
        };
        Self::parse(text, layers, numbered).map(|_| ())
    }

    /// The placement of these stages, named by their devices' ids.
    pub(super) fn of(stages: &[Stage]) -> Self {
        let named = |&stage: &Stage| ForcedStage {
            name: stage.peer.to_string(),
            stage,
        };
        Self {
            stages: stages.iter().map(named).collect(),
            others: false,
        }
    }

    /// Its stages, in the order of their layers.
    pub fn stages(&self) -> &[ForcedStage] {
        &self.stages
    }

    /// Whether devices that it does not name may have layers when it cannot be any more.
    pub fn allows_others(&self) -> bool {
        self.others
    }

    /// What it costs on these devices, if they have room and may help.
    ///
    /// # Errors
    /// A stage that cannot be: see [`ForcedError`].
    pub fn predict(
        &self,
        model: &ModelShape,
        devices: &Devices,
        options: &PlacementOptions,
    ) -> Result<Prediction, ForcedError> {
        let layers = model.layers.len();
        if layers == 0 || layers > MOST_LAYERS {
            return Err(ForcedError::LayerCount { layers });
        }
        let placed = self.stages.last().map_or(0, |last| last.stage.layers.end());
        if u32::try_from(layers) != Ok(placed) {
            return Err(ForcedError::OtherModel { placed, layers });
        }
        self.check_requester(model, devices, options)?;
        for stage in &self.stages {
            check_stage(stage, model, devices, options)?;
        }
        self.check_links(devices)?;
        let stages: Vec<Stage> = self.stages.iter().map(|stage| stage.stage).collect();
        let predicted = predict(model, devices, options, &stages);
        Ok(predicted.expect("speeds and links were checked"))
    }

    /// Embedding and head are the requester's, whether or not it has a stage.
    fn check_requester(
        &self,
        model: &ModelShape,
        devices: &Devices,
        options: &PlacementOptions,
    ) -> Result<(), ForcedError> {
        let name = || self.name_of(devices.requester);
        let profile = devices.profiles.get(&devices.requester);
        let profile = profile.ok_or_else(|| ForcedError::NotInReach { name: name() })?;
        if cost::ends_time(profile, model, cost::Step::from(options)).is_none() {
            return Err(ForcedError::Unmeasured { name: name() });
        }
        let offers_bytes = profile.memory_budget_bytes.value;
        let ends = model.ends_bytes();
        if ends > without_headroom(offers_bytes, options.headroom_percent) {
            return Err(ForcedError::DoesNotFit {
                name: name(),
                offers_bytes,
                needs_bytes: cost::with_headroom(ends, options.headroom_percent),
            });
        }
        Ok(())
    }

    fn check_links(&self, devices: &Devices) -> Result<(), ForcedError> {
        let mut from = devices.requester;
        let ring = self.stages.iter().map(|stage| stage.stage.peer);
        for to in ring.chain([devices.requester]) {
            if from != to && devices.link(from, to).is_none() {
                return Err(ForcedError::LinkUnknown {
                    from: self.name_of(from),
                    to: self.name_of(to),
                });
            }
            from = to;
        }
        Ok(())
    }

    /// The name that was written, or what the requester is called if it has no stage.
    fn name_of(&self, peer: PeerId) -> String {
        let mut stages = self.stages.iter();
        let stage = stages.find(|stage| stage.stage.peer == peer);
        stage.map_or_else(|| SELF.to_owned(), |stage| stage.name.clone())
    }
}

fn check_stage(
    stage: &ForcedStage,
    model: &ModelShape,
    devices: &Devices,
    options: &PlacementOptions,
) -> Result<(), ForcedError> {
    let Stage { peer, layers } = stage.stage;
    let name = || stage.name.clone();
    let profile = devices.profiles.get(&peer);
    let profile = profile.ok_or_else(|| ForcedError::NotInReach { name: name() })?;
    let own = peer == devices.requester;
    if let Some(reason) = devices.unwilling(peer).filter(|_| !own) {
        return Err(ForcedError::Unwilling {
            name: name(),
            reason,
        });
    }
    let mut bytes = if own { model.ends_bytes() } else { 0 };
    for layer in &model.layers[layer_indices(layers)] {
        bytes = bytes.saturating_add(layer.memory_bytes(options.context));
        if cost::layer_time(profile, layer, cost::Step::from(options)).is_none() {
            return Err(ForcedError::Unmeasured { name: name() });
        }
    }
    let offers_bytes = profile.memory_budget_bytes.value;
    if bytes > without_headroom(offers_bytes, options.headroom_percent) {
        return Err(ForcedError::DoesNotFit {
            name: name(),
            offers_bytes,
            needs_bytes: cost::with_headroom(bytes, options.headroom_percent),
        });
    }
    Ok(())
}

fn read_part(part: &str) -> Result<(String, LayerRange), ForcedError> {
    let wrong = || ForcedError::NotAStage {
        part: part.to_owned(),
    };
    let (name, layers) = part.trim().rsplit_once(':').ok_or_else(wrong)?;
    let (first, end) = layers.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let (first, end) = (number(first)?, number(end)?);
    let name = name.trim().to_owned();
    if name.is_empty() {
        return Err(wrong());
    }
    match LayerRange::new(first, end) {
        Some(range) if !range.is_empty() => Ok((name, range)),
        Some(_) | None => Err(ForcedError::Empty {
            name,
            layers: layers.to_owned(),
        }),
    }
}

/// Whether a range begins at layer `next` and ends within the model.
fn follows(name: &str, range: LayerRange, next: u32, layers: u32) -> Result<(), ForcedError> {
    if range.end() > layers {
        return Err(ForcedError::BeyondTheModel {
            name: name.to_owned(),
            end: range.end(),
            layers,
        });
    }
    if let Some(missing) = LayerRange::new(next, range.first())
        && !missing.is_empty()
    {
        return Err(ForcedError::Gap { missing, layers });
    }
    match LayerRange::new(range.first(), next.min(range.end())) {
        Some(repeated) if !repeated.is_empty() => Err(ForcedError::Overlap {
            name: name.to_owned(),
            repeated,
        }),
        Some(_) | None => Ok(()),
    }
}
