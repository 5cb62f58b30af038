//! A shard under its lock: what a snapshot takes from it and puts back.

use super::locked::{Ends, Locked};

impl<K, V> Locked<'_, K, V> {
    /// Cells and estimates of the entries in one of the policy's places, the youngest first.
    pub(crate) fn in_place(&mut self, place: u8) -> Vec<(u32, u8)> {
        let view = self.view();
        self.state.policy.in_place(&view, place)
    }

    /// Links an entry that was saved. The caller has taken its room and knows that the key is not here.
    pub(crate) fn restore(&mut self, hash: u32, key: K, value: V, weight: u32, ends: Ends, place: u8) -> u32 {
        let id = self.fill(hash, key, value, ends);
        let view = self.view();
        self.state.policy.restore(&view, id, weight, place);
        self.publish(hash, id);
        id
    }

    pub(crate) fn window_share(&self) -> f64 {
        self.state.policy.window_share()
    }

    /// After all entries, before their counts.
    pub(crate) fn warm(&mut self, window: f64) {
        self.state.policy.warm(window);
    }

    pub(crate) fn recount(&mut self, hash: u32, frequency: u8) {
        self.state.policy.recount(hash, frequency);
    }
}
