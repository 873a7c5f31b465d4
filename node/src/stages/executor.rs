//! The compute thread.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use potluck_model::Compute;
use potluck_protocol::StageId;
use potluck_protocol::stage::{Load, Step};

use super::holdings::{Computed, Holdings};
use super::{Done, MemoryBudget, ModelFiles};

/// The thread that owns the stages of this node; see the module page. Dropping it waits for the
/// current step and frees everything.
///
/// Orders are executed in sequence. The caller has to bound the queue:
/// [`Stages`](potluck_protocol::stage::Stages) orders one step at a time, and at most as many loads
/// as it allows sessions.
#[derive(Debug)]
pub struct StageExecutor {
    /// Taken on drop, which ends the thread.
    orders: Option<Sender<Order>>,
    unwanted: Unwanted,
    thread: Option<JoinHandle<()>>,
}

/// Sessions about to be freed. A step is aborted once all its sessions are in this set.
#[derive(Debug, Clone, Default)]
struct Unwanted(Arc<Mutex<BTreeSet<StageId>>>);

impl Unwanted {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<StageId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The executor's thread has ended and has reported [`Done::Failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that computes has failed: start this node again")]
pub struct Stopped;

#[derive(Debug)]
enum Order {
    Load(Load),
    Compute(Step),
    Free(StageId),
}

impl StageExecutor {
    /// Starts a thread that computes with `compute`, finds models in `files`, and takes memory for
    /// weights and caches from `memory`. It calls `done` once for each load and each step, in
    /// order. Nothing is computed while `done` runs, so `done` must not block.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub fn start(
        compute: Compute,
        files: Box<dyn ModelFiles>,
        memory: MemoryBudget,
        done: Box<dyn Fn(Done) + Send>,
    ) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let unwanted = Unwanted::default();
        let of_thread = unwanted.clone();
        let holdings = Holdings::new(compute, files, memory);
        let thread = thread::Builder::new()
            .name("potluck-stages".to_owned())
            .spawn(move || follow_all(holdings, &inbox, &of_thread, &*done))?;
        Ok(Self {
            orders: Some(orders),
            unwanted,
            thread: Some(thread),
        })
    }

    /// Loads a stage; answered by [`Done::Loaded`].
    ///
    /// # Errors
    /// The thread has failed.
    pub fn load(&self, load: Load) -> Result<(), Stopped> {
        self.order(Order::Load(load))
    }

    /// Computes a step; answered by [`Done::Computed`].
    ///
    /// # Errors
    /// The thread has failed.
    pub fn compute(&self, step: Step) -> Result<(), Stopped> {
        self.order(Order::Compute(step))
    }

    /// Frees a session's caches, and its weights if no other session uses them. There is no report.
    /// A long step whose sessions are all freed is aborted between two layers, and reported as one
    /// that could not be computed.
    ///
    /// # Errors
    /// The thread has failed.
    pub fn free(&self, stage: StageId) -> Result<(), Stopped> {
        self.unwanted.lock().insert(stage);
        self.order(Order::Free(stage))
    }

    fn order(&self, order: Order) -> Result<(), Stopped> {
        let orders = self.orders.as_ref().ok_or(Stopped)?;
        orders.send(order).map_err(|_| Stopped)
    }
}

impl Drop for StageExecutor {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // Panics are caught in the thread, except those of the callback.
            let _ = thread.join();
        }
    }
}

/// The main loop of the thread.
fn follow_all(
    mut holdings: Holdings,
    inbox: &Receiver<Order>,
    unwanted: &Unwanted,
    done: &dyn Fn(Done),
) {
    while let Ok(order) = inbox.recv() {
        // A panic may leave the state half updated, so the thread ends.
        let outcome = catch_unwind(AssertUnwindSafe(|| follow(&mut holdings, unwanted, order)));
        match outcome {
            Ok(Some(report)) => done(report),
            Ok(None) => {}
            Err(_panic) => {
                done(Done::Failed);
                return;
            }
        }
    }
}

fn follow(holdings: &mut Holdings, unwanted: &Unwanted, order: Order) -> Option<Done> {
    match order {
        Order::Load(load) => Some(Done::Loaded {
            stage: load.stage,
            epoch: load.epoch,
            result: holdings.load(&load),
        }),
        Order::Compute(step) => {
            let unwanted = |stage| unwanted.lock().contains(&stage);
            let Computed {
                hidden,
                times,
                overwritten,
            } = holdings.compute(&step, &unwanted);
            Some(Done::Computed {
                number: step.number,
                hidden,
                times,
                overwritten,
            })
        }
        Order::Free(stage) => {
            holdings.free(stage);
            // Later loads of this stage are wanted again.
            unwanted.lock().remove(&stage);
            None
        }
    }
}
