//! The thread that keeps and gives weights.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use potluck_protocol::transfer::{StoreAnswer, StoreOrder};

use super::OwnModels;

/// Does the protocol's orders one after the other on a thread of its own, so that neither disks nor
/// hashes hold up the network. Dropping it waits for the one that is being done.
#[derive(Debug)]
pub struct Keeper {
    /// Taken when dropped, which ends the thread.
    orders: Option<Sender<StoreOrder>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread. `answer` is called on it, in the order of the orders.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(
        models: OwnModels,
        answer: impl Fn(StoreAnswer) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("potluck-store".to_owned())
            .spawn(move || {
                for order in inbox {
                    if let Some(answered) = models.follow(order) {
                        answer(answered);
                    }
                }
            })?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Has an order done. How many may wait is for the caller to bound.
    pub fn order(&self, order: StoreOrder) {
        if let Some(orders) = &self.orders {
            // It ends only by a fault of this program, and then nothing is kept or given.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, was printed.
            let _ = thread.join();
        }
    }
}
