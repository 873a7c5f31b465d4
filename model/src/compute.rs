//! What operations run on: a device of Burn's, and for the kernels an instruction set and a team of
//! threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use burn::tensor::Device;

use crate::buffers::Buffers;
use crate::cores::Cores;
use crate::kernels::team::Team;
use crate::kernels::{Isa, IsaError};

/// How numbers are rounded and in which order they are added. Parts of one answer must be computed
/// by the same, or it is not the answer that one device gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// The kernels': the same bits on every device that has it.
    Canonical1,
    /// A backend's own, which promises to agree with nobody to the bit.
    Composed,
}

impl Arithmetic {
    /// The name by which devices agree on it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Canonical1 => "canonical-1",
            Self::Composed => "composed",
        }
    }
}

/// The device of Burn's that operations run on, the arithmetic, and the instruction set and threads
/// of kernels. Clones share the threads.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

struct Inner {
    device: Device,
    arithmetic: Arithmetic,
    isa: Isa,
    team: Team,
    buffers: Buffers,
}

impl Compute {
    /// The most threads of a team: more than any processor of a device has, and few enough that
    /// the team's counters hold them.
    pub const MAX_THREADS: usize = 1024;

    /// `threads`, the caller's included (by default as many as this process has cores that help:
    /// small ones beside enough fast ones do not), with the best instruction set of the CPU or the one
    /// `POTLUCK_ISA` names.
    ///
    /// # Errors
    /// `POTLUCK_ISA` names something unknown or missing here.
    pub fn new(threads: Option<NonZeroUsize>) -> Result<Self, IsaError> {
        Ok(Self::with_isa(Isa::detect()?, threads))
    }

    /// As [`Compute::new`] with a chosen instruction set. There are fewer threads, which
    /// [`Compute::threads`] tells, where the system gives no more, and never more than
    /// [`Compute::MAX_THREADS`].
    pub fn with_isa(isa: Isa, threads: Option<NonZeroUsize>) -> Self {
        let cores = Cores::of_this_process();
        let threads = threads
            .or_else(|| NonZeroUsize::new(cores.that_help()))
            .unwrap_or(NonZeroUsize::MIN)
            .min(NonZeroUsize::new(Self::MAX_THREADS).unwrap_or(NonZeroUsize::MIN));
        Self(Arc::new(Inner {
            device: Self::kernel_device(),
            arithmetic: Arithmetic::Canonical1,
            isa,
            team: Team::new(&cores.of_threads(threads)),
            buffers: Buffers::default(),
        }))
    }

    /// Without kernels, on any device of Burn's: every operation is composed of Burn's own. Results
    /// agree with the kernels' to rounding. It is slow, as weights are decoded again for each step.
    pub fn composed(device: Device) -> Self {
        Self(Arc::new(Inner {
            device,
            arithmetic: Arithmetic::Composed,
            isa: Isa::SCALAR,
            team: Team::new(&[]),
            buffers: Buffers::default(),
        }))
    }

    /// The device that the kernels are for: tensors are this process's memory, and a mapped file's
    /// bytes become one without being read.
    pub(crate) fn kernel_device() -> Device {
        Device::flex()
    }

    /// Where tensors are.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// How it computes.
    pub fn arithmetic(&self) -> Arithmetic {
        self.0.arithmetic
    }

    /// Whether operations run with the crate's kernels, which are on [`Self::kernel_device`].
    pub(crate) fn has_kernels(&self) -> bool {
        self.0.arithmetic == Arithmetic::Canonical1
    }

    /// The instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// Threads of the kernels, the caller's included.
    pub fn threads(&self) -> usize {
        self.0.team.threads()
    }

    pub(crate) fn team(&self) -> &Team {
        &self.0.team
    }

    pub(crate) fn buffers(&self) -> &Buffers {
        &self.0.buffers
    }
}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compute")
            .field("device", self.device())
            .field("arithmetic", &self.arithmetic())
            .field("isa", &self.isa())
            .field("threads", &self.threads())
            .finish()
    }
}
