//! Runs scenarios in parallel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rayon::ThreadPoolBuilder;
use rayon::iter::{ParallelBridge as _, ParallelIterator as _};

use super::grid::in_words;
use super::{Line, Sweep, SweepError};
use crate::report::Summary;
use crate::{Options, run};

/// The result of each run.
pub type Finished = Result<Line, SweepError>;

/// Runs these runs of a sweep on so many threads (0: as many as there are cores), the first ones
/// first. Results come as they are ready; there are no more when all are done, one failed, or `stop`
/// was set and those under way are done.
///
/// # Errors
/// [`SweepError::Threads`].
pub fn start(
    sweep: Arc<Sweep>,
    runs: Vec<usize>,
    threads: usize,
    stop: Arc<AtomicBool>,
) -> Result<Receiver<Finished>, SweepError> {
    let cannot = |error: &dyn std::fmt::Display| SweepError::Threads(error.to_string());
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| cannot(&error))?;
    let (send, receive) = channel();
    let all = move || {
        let _ = runs
            .into_iter()
            .par_bridge()
            .try_for_each_with(send, |send, index| {
                if stop.load(Ordering::Relaxed) {
                    return Err(());
                }
                let finished = one(&sweep, index);
                let failed = finished.is_err();
                match send.send(finished) {
                    Ok(()) if !failed => Ok(()),
                    _ => Err(()),
                }
            });
    };
    let spawned = thread::Builder::new().spawn(move || pool.install(all));
    spawned.map_err(|error| cannot(&error))?;
    Ok(receive)
}

pub(super) fn one(sweep: &Sweep, index: usize) -> Finished {
    let one = sweep.run(index)?;
    let record = run(&one.scenario, &Options::default());
    let record = record.map_err(|why| SweepError::Run {
        index,
        set: in_words(&one.set),
        why: Box::new(why),
    })?;
    Ok(Line::new(sweep, one, Summary::of(&record)))
}
