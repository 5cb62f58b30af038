//! Several nodes: a shared cache behind the near ones, and what keeps the near ones coherent.
//!
//! - [`Invalidations`] over a [`Bus`]: each node tells the others what it writes, and forgets what they write. The bus is Redis
//!   (`RedisBus`, feature `redis`), PostgreSQL (`PostgresBus`, feature `postgres-bus`), or your own.
//! - `RedisTier` (feature `redis`): a cache in Redis or Valkey that all nodes share, in front of the store. It is a
//!   [`Store`](crate::backing::Store) itself, so a [`StoreCache`](crate::backing::StoreCache) is a near cache before it.
//!
//! Each works without the other. docs/guides/several-nodes.md says what they promise, fault by fault.

mod announced;
mod bus;
#[cfg(feature = "redis")]
mod codec;
mod coherence;
mod forget;
#[cfg(feature = "redis")]
mod frame;
mod invalidations;
#[cfg(feature = "redis")]
mod link;
mod listen;
mod message;
#[cfg(feature = "redis")]
mod owed;
#[cfg(feature = "postgres-bus")]
mod postgres_bus;
#[cfg(feature = "redis")]
mod redis_bus;
#[cfg(feature = "redis")]
mod replication;
#[cfg(feature = "redis")]
mod scripts;
#[cfg(feature = "redis")]
mod shared;
mod speaker;
#[cfg(feature = "redis")]
mod tier;
#[cfg(feature = "redis")]
mod tier_settings;
#[cfg(feature = "redis")]
mod tier_stats;

pub use self::announced::{AnnounceError, Announced};
pub use self::bus::{Bus, BusError, Subscription};
#[cfg(feature = "redis")]
pub use self::codec::{Codec, CodecError, Json, Postcard};
pub use self::coherence::{Coherence, CoherenceStats, WhenCut};
pub use self::forget::Forget;
pub use self::invalidations::{CutOff, Invalidations};
#[cfg(feature = "postgres-bus")]
pub use self::postgres_bus::{PostgresBus, PostgresSubscription};
#[cfg(feature = "redis")]
pub use self::redis_bus::{RedisBus, RedisSubscription};
#[cfg(feature = "redis")]
pub use self::tier::RedisTier;
#[cfg(feature = "redis")]
pub use self::tier_settings::Tier;
#[cfg(feature = "redis")]
pub use self::tier_stats::TierStats;
