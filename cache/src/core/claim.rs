//! What loads in flight have said of their tags.
//!
//! A load says its tags when it begins. Who invalidates one counts that first and then goes through the shards; a load stores
//! its value, under the shard's lock, only if nobody counted since it began. So either the value was there before its shard was
//! looked at, and is removed, or it is not stored.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The tags of loads in flight.
#[derive(Debug, Default)]
pub(crate) struct TagLoads(Mutex<HashMap<Arc<str>, Loads, ahash::RandomState>>);

#[derive(Debug, Default)]
struct Loads {
    in_flight: usize,
    invalidations: u64,
}

/// What a load in flight has said about its tags. Ends with it.
pub(crate) struct Claim {
    loads: Arc<TagLoads>,
    tags: Box<[Arc<str>]>,
    /// Of all of them, when the load began.
    invalidations: u64,
}

impl TagLoads {
    /// Keeps loads that will carry this tag from storing their values.
    pub(super) fn invalidate(&self, tag: &str) {
        if let Some(loads) = self.0.lock().get_mut(tag) {
            loads.invalidations += 1;
        }
    }

    /// Tags that are claimed.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Claim {
    pub(super) fn new(loads: &Arc<TagLoads>, tags: &[Arc<str>]) -> Self {
        let mut table = loads.0.lock();
        let mut invalidations = 0;
        for tag in tags {
            let held = table.entry(Arc::clone(tag)).or_default();
            held.in_flight += 1;
            invalidations += held.invalidations;
        }
        drop(table);
        Self { loads: Arc::clone(loads), tags: tags.into(), invalidations }
    }

    /// Whether none of the tags was invalidated since.
    pub(super) fn holds(&self) -> bool {
        let table = self.loads.0.lock();
        // They only grow, and stay while we are in flight.
        self.tags.iter().map(|tag| table[tag].invalidations).sum::<u64>() == self.invalidations
    }

    pub(super) fn tags(&self) -> &[Arc<str>] {
        &self.tags
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.loads.0.lock();
        for tag in &self.tags {
            let Some(held) = table.get_mut(tag) else { continue };
            held.in_flight -= 1;
            if held.in_flight == 0 {
                table.remove(tag);
            }
        }
    }
}
