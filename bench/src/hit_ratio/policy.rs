//! Millpond's eviction policy alone, in one shard: what `policy.md` and its figures describe.
//!
//! Slots are the numbers of keys, so there is no map and no key to compare; what is left is the policy.

use millpond_cache::policy::{Activity, Config, Entries, Header, Kind, Policy};

use super::access::{Access, Setup};

/// A policy, and which keys it holds.
#[derive(Debug)]
pub struct Simulation {
    policy: Policy,
    activity: Activity,
    headers: Headers,
    held: Vec<bool>,
    capacity: u64,
}

#[derive(Debug)]
struct Headers(Vec<Header>);

impl Entries for Headers {
    fn header(&self, slot: u32) -> &Header {
        &self.0[slot as usize]
    }
}

impl Simulation {
    /// A policy for a trace with these keys.
    #[must_use]
    pub fn new(setup: Setup, keys: &[u64], kind: Kind) -> Self {
        let hasher = setup.hasher();
        let headers =
            keys.iter().map(|key| Header::new(std::hash::BuildHasher::hash_one(&hasher, key) as u32));
        let config = Config { capacity: setup.capacity, weighted: setup.byte, seed: setup.seed, kind };
        Self {
            policy: Policy::new(config),
            activity: Activity::new(),
            headers: Headers(headers.collect()),
            held: vec![false; keys.len()],
            capacity: setup.capacity,
        }
    }

    fn make_room(&mut self) {
        if self.policy.weight() <= self.capacity {
            self.policy.settle_by_kind(&self.headers);
        }
        while self.policy.weight() > self.capacity {
            let Some(evicted) = self.policy.evict_by_kind(&self.headers) else { break };
            self.held[evicted as usize] = false;
        }
    }
}

impl Access for Simulation {
    fn access(&mut self, id: u32, size: u32) -> bool {
        if self.held[id as usize] {
            self.headers.header(id).touch(&self.activity);
            return true;
        }
        // Heavier than all there is: refused, as the cache does.
        if u64::from(size) <= self.capacity {
            let header = &mut self.headers.0[id as usize];
            *header = Header::new(header.hash);
            self.held[id as usize] = true;
            self.policy.insert_by_kind(&self.headers, &self.activity, id, size);
            self.make_room();
        }
        false
    }
}
