//! The model that is in use, for all who look at pictures: replaced in one step, taken over between two pictures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::model::Model;

/// Cheap to clone; all clones are of the same model.
#[derive(Clone)]
pub struct Current(Arc<Inner>);

struct Inner {
    model: Mutex<Model>,
    number: AtomicU64,
    failures: AtomicU64,
}

impl Current {
    /// With its first model.
    pub fn new(model: Model) -> Self {
        Self(Arc::new(Inner { model: Mutex::new(model), number: AtomicU64::new(1), failures: AtomicU64::new(0) }))
    }

    /// The model, with buffers of its own, and its number.
    pub fn get(&self) -> (Model, u64) {
        let model = self.0.model.lock().unwrap_or_else(PoisonError::into_inner);
        (model.again(), self.number())
    }

    /// Which model it is: 1, and one more with each that replaces it.
    pub fn number(&self) -> u64 {
        self.0.number.load(Ordering::Acquire)
    }

    /// Puts another in its place; gives the one before.
    pub fn replace(&self, model: Model) -> Model {
        let mut place = self.0.model.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.failures.store(0, Ordering::Relaxed);
        self.0.number.fetch_add(1, Ordering::AcqRel);
        std::mem::replace(&mut *place, model)
    }

    /// The model with this number has failed on a picture.
    pub fn failed(&self, number: u64) {
        if number == self.number() {
            self.0.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the model that is in use has failed.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }
}
