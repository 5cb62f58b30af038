//! Where storage, policy and user code meet.
//!
//! - [`budget`]: the bound on the whole cache.
//! - [`read`]: lookups; no lock.
//! - [`write`](self::write): insert, update, remove; one short critical section each.
//! - [`plain`]: the same for inserts into a cache of which nothing else is asked.
//! - [`expire`]: when entries end.
//! - [`maintain`]: removal of the expired, reclamation, invariants.
//! - [`janitors`]: what ends with the cache.
//! - [`later`]: user code that waits until nobody can wait for the call that has it run.
//! - [`clear`]: everything at once.
//! - [`resize`]: another bound at run time.
//! - [`load`]: one load per key at a time; [`held`]: for longer than the call that began it.
//! - [`renew`]: values that are loaded again before they end.
//! - [`stale`]: old values for loads that fail.
//! - [`view`]: what the policy thinks of the entries.
//! - [`tags`](self::tags): entries removed together.
//! - `snapshot`: what is saved of entries, and how they are put back.
//! - [`compute`]: read, decide, write as one step, with the decision outside the lock.
//!
//! **Locks.** A shard's lock, then that shard's flights; never two shards at once. Under them runs no user code but
//! `K: Eq`; hashing, weighing and allocation of the value happen before, listeners and drops after.

pub(crate) mod budget;
pub(crate) mod clear;
mod compute;
pub(crate) mod expire;
pub(crate) mod flights;
mod held;
pub(crate) mod janitors;
pub(crate) mod later;
pub(crate) mod load;
mod maintain;
mod plain;
mod read;
mod renew;
pub(crate) mod resize;
#[cfg(feature = "snapshot")]
pub(crate) mod snapshot;
mod stale;
pub(crate) mod tags;
mod view;
pub(crate) mod write;

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::AtomicBool;

use budget::Budget;
use clear::Waiting;
use flights::Flights;
use janitors::Janitors;

use crate::clock::Ticks;
use crate::counters::Counters;
use crate::expiry::Expiry;
use crate::freshness::Freshness;
use crate::listener::Listener;
use crate::metrics::Published;
use crate::notifications::Outbox;
use crate::policy::Marks;
use crate::store::shards::Shards;

/// Decides what an entry weighs.
pub(crate) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u32 + Send + Sync>;

/// Everything that clones of a cache share.
pub(crate) struct Core<K, V, S> {
    pub(crate) hasher: S,
    pub(crate) shards: Shards<K, V>,
    pub(crate) flights: Box<[Flights<K, V>]>,
    pub(crate) budget: Budget,
    /// What was cleared and still has its room.
    pub(crate) waiting: Waiting,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
    /// Where removals go that somebody receives.
    pub(crate) outbox: Option<Box<dyn Outbox<K, V>>>,
    pub(crate) counters: Option<Counters>,
    pub(crate) published: Published,
    pub(crate) ticks: Ticks,
    /// Ticks, or [`OFF`](expire::OFF).
    pub(crate) time_to_live: u64,
    pub(crate) time_to_idle: u64,
    /// What must be left of an idle time so that a hit need not move its end.
    pub(crate) idle_left: u64,
    /// How hits mark entries, for those that come after.
    pub(crate) marks: Marks,
    /// The part of the time to live that chance may take away; 0 = none.
    pub(crate) jitter: f64,
    /// The user's rule. With one, every entry has a deadline, [`FAR`](crate::store::times::FAR) if it never ends, so that each hit
    /// asks the rule.
    pub(crate) expiry: Option<Box<dyn Expiry<K, V>>>,
    pub(crate) freshness: Freshness<K, V>,
    /// Whether a read has shortened a life: its timer is too late then.
    pub(crate) shortened: AtomicBool,
    pub(crate) name: Option<Box<str>>,
    pub(crate) janitors: Janitors,
    /// No weigher, no expiry, no listener, no statistics: writes have less to do.
    pub(crate) plain: bool,
}

/// A key's hash, computed once: the upper half of the hasher's, multiplied by an odd number, so that every bit depends on
/// many of a weak hasher's bits. The tag is the lowest eight bits, the shard those above, the bucket the uppermost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// Bucket and tag; also what the policy knows of the key.
    #[inline]
    pub(crate) fn part(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    fn full(self) -> u64 {
        self.0
    }

    #[inline]
    fn shard(self) -> usize {
        (self.0 >> 40) as usize
    }
}

impl<K, V, S> Core<K, V, S> {
    /// What is equal hashes alike, whatever its type.
    #[inline]
    #[expect(
        clippy::manual_hash_one,
        reason = "`hash_one` may go by the type, as ahash's on nightly: an `Equivalent` of another type than the key's finds nothing"
    )]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> KeyHash
    where
        S: BuildHasher,
    {
        let mut hasher = self.hasher.build_hasher();
        key.hash(&mut hasher);
        KeyHash(hasher.finish().wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The number of the shard that holds the key.
    #[inline]
    pub(crate) fn shard_index(&self, hash: KeyHash) -> usize {
        self.shards.index(hash.shard())
    }

    pub(crate) fn weigh(&self, key: &K, value: &V) -> u32 {
        self.weigher.as_ref().map_or(1, |weigher| weigher(key, value))
    }
}

impl<K, V, S> std::fmt::Debug for Core<K, V, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("shards", &self.shards.len())
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
