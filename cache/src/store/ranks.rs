//! A shard under its lock, as its policy ranks what it holds.

use super::locked::Locked;
use crate::policy::{Kind, Parts};

impl<K, V> Locked<'_, K, V> {
    /// The first entries in the order of eviction, or from its end, that `fits` accepts; looks at a few more than it returns.
    pub(crate) fn ranked(&self, hottest: bool, count: usize, fits: impl Fn(u32) -> bool) -> Vec<u32> {
        /// Entries that may not fit, beside one for each that does.
        const MORE: usize = 64;
        let view = self.view();
        let looks = count.saturating_mul(2).saturating_add(MORE);
        let policy = &self.state.policy;
        if hottest {
            policy.hottest(&view).take(looks).filter(|&id| fits(id)).take(count).collect()
        } else {
            policy.coldest(&view).take(looks).filter(|&id| fits(id)).take(count).collect()
        }
    }

    pub(crate) fn parts(&self) -> Parts {
        self.state.policy.parts()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.state.policy.kind()
    }

    /// Entries held.
    pub(crate) fn len(&self) -> usize {
        self.state.policy.len()
    }
}
