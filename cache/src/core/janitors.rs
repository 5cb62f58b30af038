//! What ends with the cache.

use std::any::Any;

use parking_lot::Mutex;

/// Sending halves of channels on which nothing is ever sent: whoever waits on one learns of the cache's end.
#[derive(Debug, Default)]
pub(crate) struct Janitors(Mutex<Vec<Box<dyn Any + Send>>>);

impl Janitors {
    pub(crate) fn add(&self, end: impl Any + Send) {
        self.0.lock().push(Box::new(end));
    }
}
