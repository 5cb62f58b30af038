//! The bound on the whole cache, in entries or in weight.
//!
//! Room is taken before an entry becomes visible and given back after one is unlinked, so the sum over all shards never
//! exceeds the bound, at no instant and for no observer. In the steady state a write evicts in its own shard what it
//! needs and never writes the shared counter.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct Budget {
    max: u64,
    used: CachePadded<AtomicU64>,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self { max, used: CachePadded::new(AtomicU64::new(0)) }
    }

    #[inline]
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    #[inline]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn room(&self) -> u64 {
        self.max.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Takes `amount` if all of it is free.
    #[inline]
    pub(crate) fn try_take(&self, amount: u64) -> bool {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let Some(next) = used.checked_add(amount).filter(|&next| next <= self.max) else { return false };
            match self.used.compare_exchange_weak(used, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(current) => used = current,
            }
        }
    }

    #[inline]
    pub(crate) fn give(&self, amount: u64) {
        if amount > 0 {
            let before = self.used.fetch_sub(amount, Ordering::AcqRel);
            debug_assert!(before >= amount, "more given back than was taken");
        }
    }
}
