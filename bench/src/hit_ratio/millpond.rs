//! The real cache, through its public face.

use millpond_cache::{Admission, Cache};

use super::access::{Access, Setup};

/// A cache of keys; the value is the size.
#[derive(Debug)]
pub struct Millpond(Cache<u32, u32, ahash::RandomState>);

/// Builds one, with so many shards or the default. Admission matters only where bytes are counted.
///
/// # Errors
/// If the cache refuses the setup.
pub fn build(setup: Setup, shards: Option<usize>, admission: Admission) -> anyhow::Result<Millpond> {
    let mut builder = Cache::builder().seed(setup.seed).hasher(setup.hasher());
    if let Some(shards) = shards {
        builder = builder.shards(shards);
    }
    let builder = if setup.byte {
        builder.max_weight(setup.capacity).weigher(|_, size| *size).admission(admission)
    } else {
        builder.max_capacity(setup.capacity)
    };
    Ok(Millpond(builder.build()?))
}

impl Access for Millpond {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.insert(id, size);
        }
        hit
    }
}
