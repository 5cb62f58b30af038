//! What the queue holds, takes in and hands out.

use std::sync::Arc;

/// What the queue was told to keep to.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Changes in the queue.
    pub(crate) length: usize,
    pub(crate) bytes: u64,
    pub(crate) batch_length: usize,
    pub(crate) batch_bytes: u64,
    /// Ticks that a change waits for company.
    pub(crate) delay: u64,
    /// Batches in flight at once.
    pub(crate) in_flight: usize,
    /// Transient failures after which a change is given up; 0 = never.
    pub(crate) attempts: u32,
    /// Ticks before the first retry, and before later ones at most.
    pub(crate) first_backoff: u64,
    pub(crate) most_backoff: u64,
}

/// Keys and values to be dropped outside the lock.
#[derive(Debug)]
pub(crate) enum Garbage<K, V> {
    Key(#[expect(dead_code, reason = "only to be dropped")] Arc<K>),
    Value(#[expect(dead_code, reason = "only to be dropped")] Arc<V>),
}

pub(crate) type Rubbish<K, V> = Vec<Garbage<K, V>>;

#[derive(Debug)]
pub(super) struct Change<V> {
    /// `None`: delete.
    pub(super) value: Option<Arc<V>>,
    pub(super) bytes: u64,
    /// Of the oldest write in it.
    pub(super) number: u64,
    /// When that was accepted.
    pub(super) since: u64,
    /// How often the store has failed to take it.
    pub(super) attempts: u32,
    pub(super) panics: u32,
    /// Whether it was in a batch: it need not wait for company again.
    pub(super) was_tried: bool,
}

#[derive(Debug)]
pub(super) struct Slot<K, V> {
    pub(super) hash: u64,
    pub(super) key: Arc<K>,
    pub(super) flying: Option<Change<V>>,
    pub(super) next: Option<Change<V>>,
    /// Transient failures of this key in a row.
    pub(super) failures: u32,
    /// When it may be tried again, while it rests.
    pub(super) rests_until: Option<u64>,
    /// The longest batch that it may be in: halved when a batch is refused as a whole.
    pub(super) company: usize,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) coalesced: u64,
    pub(crate) written: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
    pub(crate) batches: u64,
}

/// What became of an attempt to accept a write.
#[derive(Debug)]
pub(crate) enum Accept<K, V> {
    /// `wakes`: the driver has something new to look at.
    Accepted {
        wakes: bool,
        rubbish: Rubbish<K, V>,
    },
    /// No room; handed back.
    Full(Arc<K>, Option<Arc<V>>),
    Closed(Arc<K>, Option<Arc<V>>),
}

/// A change that is in flight now.
pub(crate) type Departed<K, V> = (Arc<K>, Option<Arc<V>>);

#[derive(Debug)]
pub(crate) struct Batch<K, V> {
    pub(crate) id: u64,
    pub(crate) changes: Vec<Departed<K, V>>,
}

/// What the store made of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Written,
    Transient,
    Permanent,
    Panicked,
}

/// What the store made of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// It looked at each of them.
    Each(Vec<Verdict>),
    /// It failed for all together, and nobody knows what was written. Not `Written`.
    Whole(Verdict),
    /// It was not asked to the end.
    Cancelled,
}

/// A change that will not be written. It stays unresolved until [`Queue::reported`].
#[derive(Debug)]
pub(crate) struct Letter<K, V> {
    pub(crate) key: Arc<K>,
    pub(crate) value: Option<Arc<V>>,
    pub(crate) number: u64,
    pub(crate) attempts: u32,
    /// Place in the batch; 0 for what was not in flight.
    pub(crate) place: usize,
}

#[derive(Debug)]
pub(crate) struct Landed<K, V> {
    pub(crate) letters: Vec<Letter<K, V>>,
    pub(crate) rubbish: Rubbish<K, V>,
}
