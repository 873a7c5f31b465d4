//! The exclusive right to be the node of a home.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::place;
use crate::home::Home;

/// The right to be a home's node, shared with code that may have to give it up.
#[derive(Debug, Clone)]
pub(super) struct Right(Arc<Mutex<Option<Claim>>>);

/// The lock that makes this process the node of a home.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) home: Home,
    /// Whether the socket is served.
    pub(super) served: Option<Arc<AtomicBool>>,
    _lock: File,
}

impl Right {
    pub(super) fn new(claim: Claim) -> Self {
        Self(Arc::new(Mutex::new(Some(claim))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up the right, so that another process can be the home's node.
    pub(super) fn give_up(&self) {
        let claim = self.lock().take();
        drop(claim);
    }
}

impl Claim {
    pub(super) fn new(home: Home, lock: File) -> Self {
        Self {
            home,
            served: None,
            _lock: lock,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(goes_on) = &self.served {
            goes_on.store(false, Ordering::SeqCst);
            // Wakes the thread that accepts connections.
            let _ = place::connect(&self.home);
            place::remove(&self.home);
        }
    }
}
