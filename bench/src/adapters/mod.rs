//! The caches under measurement, one file each, behind one trait. Loops are generic over it, so nothing is dispatched while
//! the clock runs. All but those that fix their own use the same hasher.

mod dashmap;
mod foyer;
mod kind;
mod millpond;
mod mini_moka;
mod moka;
mod mutex_lru;
mod papaya;
mod plain_map;
mod quick_cache;
mod rwlock_map;
mod scc;
mod sharded_lru;
mod stretto;
mod subject;
mod tinyufo;

pub(crate) use kind::{Kind, Visit};
pub(crate) use plain_map::PlainMap;
pub(crate) use subject::Subject;
use subject::shards;
