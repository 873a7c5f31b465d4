//! Faults.

use serde::{Deserialize, Serialize};

use super::error::ScenarioError;
use crate::units::Span;

/// What can happen to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Its program ends, and its system closes its connections.
    Kill,
    /// Its program starts again, whether or not it had ended.
    Restart,
    /// It loses power, without closing its connections.
    PowerOff,
    /// It is suspended, as a laptop whose lid is closed.
    Freeze,
    /// It resumes.
    Thaw,
    /// It and another device cannot reach each other.
    Cut,
    /// They can again.
    Heal,
    /// It leaves the reach of all others.
    Leave,
    /// It is back.
    Join,
    /// It computes more slowly, by a factor.
    Slow,
    /// Its app goes to the background, and is suspended some seconds later.
    Background,
    /// Its app returns to the foreground.
    Foreground,
    /// Its owner gets a call and uses the device.
    Call,
    /// The call is over.
    CallEnds,
    /// Something outside heats it, and its system slows it at once.
    Throttle,
    /// The heat ends.
    Cool,
    /// Its storage is faulty: the weights that it gives to others are wrong.
    Spoil,
    /// Its storage is right again.
    Mend,
}

impl FaultKind {
    /// What undoes it.
    pub fn end(self) -> Option<Self> {
        Some(match self {
            Self::Kill | Self::PowerOff => Self::Restart,
            Self::Freeze => Self::Thaw,
            Self::Cut => Self::Heal,
            Self::Leave => Self::Join,
            Self::Slow => Self::Slow,
            Self::Background => Self::Foreground,
            Self::Call => Self::CallEnds,
            Self::Throttle => Self::Cool,
            Self::Spoil => Self::Mend,
            Self::Restart
            | Self::Thaw
            | Self::Heal
            | Self::Join
            | Self::Foreground
            | Self::CallEnds
            | Self::Cool
            | Self::Mend => return None,
        })
    }

    /// Whether it concerns two devices.
    pub fn needs_other(self) -> bool {
        matches!(self, Self::Cut | Self::Heal)
    }
}

/// A fault at a given time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// When.
    pub at: Span,
    /// What.
    pub kind: FaultKind,
    /// The device: a name, `first`, `any`, `each`, or a circle's name for each of its devices.
    pub who: String,
    /// The other device of a cut; default: all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// The factor by which it is slower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<f64>,
    /// The time after which it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
}

impl FaultSpec {
    pub(super) fn check(&self, at: usize) -> Result<(), ScenarioError> {
        let wrong = |field, words: &str| {
            Err(ScenarioError::senseless(
                "fault",
                at,
                field,
                words.to_owned(),
            ))
        };
        if self.times.is_some_and(|t| !(0.01..=10_000.0).contains(&t)) {
            return wrong("times", "from 0.01 to 10000 times slower");
        }
        if self.kind == FaultKind::Slow && self.times.is_none() {
            return wrong("times", "say how many times slower");
        }
        if self.lasts.is_some() && self.kind.end().is_none() {
            return wrong("lasts", "this fault is the end of another, and has none");
        }
        if self.other.is_some() && !self.kind.needs_other() {
            return wrong("other", "only cut and heal are about two devices");
        }
        Ok(())
    }
}

/// Random faults: for each kind the mean time between two on one device, exponentially distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomFaults {
    /// Programs end and start again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill: Option<Span>,
    /// Devices lose their power, and get it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_off: Option<Span>,
    /// Devices are suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Span>,
    /// Two devices cannot reach each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Span>,
    /// Devices leave the reach of all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave: Option<Span>,
    /// Devices are slower, two to twenty times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Span>,
    /// Apps go to the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<Span>,
    /// Owners are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Span>,
    /// Devices are heated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Span>,
    /// The mean duration of each, exponentially distributed.
    pub lasts: Span,
    /// No fault begins after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Span>,
    /// Whether requesters are spared the faults that end their program.
    pub requesters_live: bool,
}

impl Default for RandomFaults {
    fn default() -> Self {
        Self {
            kill: None,
            power_off: None,
            freeze: None,
            cut: None,
            leave: None,
            slow: None,
            background: None,
            call: None,
            throttle: None,
            lasts: Span::seconds(10),
            until: None,
            requesters_live: false,
        }
    }
}

impl RandomFaults {
    /// The kinds that occur, each with its mean time.
    pub fn rates(&self) -> impl Iterator<Item = (FaultKind, Span)> {
        let rates = [
            (FaultKind::Kill, self.kill),
            (FaultKind::PowerOff, self.power_off),
            (FaultKind::Freeze, self.freeze),
            (FaultKind::Cut, self.cut),
            (FaultKind::Leave, self.leave),
            (FaultKind::Slow, self.slow),
            (FaultKind::Background, self.background),
            (FaultKind::Call, self.call),
            (FaultKind::Throttle, self.throttle),
        ];
        let mean = |(kind, every): (FaultKind, Option<Span>)| Some((kind, every?));
        rates
            .into_iter()
            .filter_map(mean)
            .filter(|(_, every)| every.0 > 0)
    }
}
