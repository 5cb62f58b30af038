//! What a cache must offer to be measured, and the loop that drives it.

use crate::trace::Loaded;

/// What a subject is made for.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Entries, or bytes.
    pub capacity: u64,
    /// Which of the two.
    pub byte: bool,
    /// For hashers and policies.
    pub seed: u64,
    /// Shards of Millpond; the default if not given.
    pub shards: Option<usize>,
    /// Keys in the trace.
    pub distinct: usize,
    /// Mean size of a key in bytes; 1 where entries are counted.
    pub mean_size: u64,
}

impl Setup {
    /// A hasher whose choices repeat.
    #[must_use]
    pub fn hasher(&self) -> ahash::RandomState {
        ahash::RandomState::with_seeds(self.seed, 0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, !self.seed)
    }
}

/// One cache under test.
pub trait Access {
    /// A request: true if it hits; if not, the entry is inserted. `size` is 1 unless the cache is bounded in bytes.
    fn access(&mut self, id: u32, size: u32) -> bool;
}

/// Hits among requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Requests that hit.
    pub hits: u64,
    /// Bytes requested.
    pub bytes: u64,
    /// Bytes of requests that hit.
    pub hit_bytes: u64,
}

impl Tally {
    /// Notes a request.
    pub fn count(&mut self, hit: bool, size: u32) {
        self.requests += 1;
        self.hits += u64::from(hit);
        self.bytes += u64::from(size);
        self.hit_bytes += u64::from(hit) * u64::from(size);
    }

    /// In percent.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        100.0 * self.hits as f64 / self.requests.max(1) as f64
    }

    /// In percent.
    #[must_use]
    pub fn byte_hit_ratio(&self) -> f64 {
        100.0 * self.hit_bytes as f64 / self.bytes.max(1) as f64
    }
}

/// Requests between two signs of life.
const TICK: usize = 1 << 14;

/// Runs a trace through a cache.
pub fn drive(mut cache: impl Access, trace: &Loaded, byte: bool, progress: &mut dyn FnMut(u64)) -> Tally {
    let mut tally = Tally::default();
    for (chunk, ids) in trace.ids.chunks(TICK).enumerate() {
        for (i, &id) in ids.iter().enumerate() {
            let size = trace.size(chunk * TICK + i);
            let hit = cache.access(id, if byte { size } else { 1 });
            tally.count(hit, size);
        }
        progress(ids.len() as u64);
    }
    tally
}
