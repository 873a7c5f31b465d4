//! What the kernels run on: an instruction set and a team of threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::buffers::Buffers;
use crate::kernels::team::Team;
use crate::kernels::{Isa, IsaError};

/// The instruction set and the threads that operations use. Clones share the threads.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

struct Inner {
    isa: Isa,
    team: Team,
    buffers: Buffers,
}

impl Compute {
    /// The most threads of a team: more than any processor of a device has, and few enough that
    /// the team's counters hold them.
    pub const MAX_THREADS: usize = 1024;

    /// `threads`, the caller's included (by default as many as this process may use), with the
    /// best instruction set of the CPU or the one `POTLUCK_ISA` names.
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
        let threads = threads
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
            .min(NonZeroUsize::new(Self::MAX_THREADS).unwrap_or(NonZeroUsize::MIN));
        let team = Team::new(threads);
        Self(Arc::new(Inner {
            isa,
            team,
            buffers: Buffers::default(),
        }))
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// Threads, the caller's included.
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
            .field("isa", &self.isa())
            .field("threads", &self.threads())
            .finish()
    }
}
