//! A part of a model that another thread may exchange between two steps.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that is read as it is at that moment, and replaced as a whole.
#[derive(Debug)]
pub(crate) struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The present value, which stays alive while it is used.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value by another, and returns it.
    pub(crate) fn replace(&self, value: Arc<T>) -> Arc<T> {
        let mut here = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut here, value)
    }
}
