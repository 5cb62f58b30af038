//! A shared cache in Redis, in front of a store.
//!
//! # Why nothing stale stays
//! Only who holds the lease of a key puts a value there, and only while the lease stands.
//!
//! - A write marks the key before it goes to the store. The mark takes the place of value and lease: a load that read the store
//!   before is refused. While a mark stands nobody gets a lease, so nobody fills.
//! - When the store has answered, the last of those who write the key takes the mark away. Who leases the key after that reads
//!   what was written. Nothing else ever puts a value there: not even a write its own.
//! - If the node dies in between, its mark stays for `write_lease`, and with it the key is empty.
//! - Redis may do late what it was asked for, after the node has given up waiting. A late mark only keeps the key empty for a
//!   while; a late end of a mark removes; a late fill needs its lease, which any later mark or end has taken away.
//! - A write that Redis could not be told of is owed: the node tells it as soon as it answers, and reads nothing from it before.
//!   Other nodes do the same when they hear of such a write ([`RedisTier::doubt`]).
//! - Names have the server's run in them, so an older state that a restart or a failover brings back is not read.

use std::fmt;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::codec::{Codec, Json};
use super::frame::{Held, Kind, Token};
use super::shared::{Shared, Taken};
use super::tier_settings::Tier;
use super::tier_stats::{TierStats, count};
use crate::backing::{Lasting, Store, StoreError, Write, Written};

/// The first and the longest pause between two looks at a key that another node loads.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// A shared cache in Redis or Valkey, in front of a store, and a store itself: nodes that share it load a missing key once.
///
/// A [`StoreCache`](crate::backing::StoreCache) over it is a near cache over a shared one. A load asks Redis; what is missing there
/// is leased by one node, which asks the store and fills Redis, while others wait for a bounded time. A write goes to the store, and the key is
/// empty in Redis meanwhile and afterwards. If Redis fails, all goes on with the store alone, and is counted. See docs/guides/several-nodes.md for
/// what is promised. Needs the feature `redis`.
///
/// [`StoreCache::refresh`](crate::backing::StoreCache::refresh) asks Redis first, too.
///
/// To have the near caches of other nodes forget what was written, put [`Invalidations`](super::Invalidations) around it.
///
/// # Errors
/// Those of the inner store. Redis's own never reach the caller.
///
/// # Cost
/// A round trip to Redis for a load, two more and the store's for a missing key; two for a write.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use millpond_cache::backing::{Store, StoreError, Write, Written};
/// # struct Table;
/// # impl Store<String, u64> for Table {
/// #     type Error = String;
/// #     async fn load(&self, _: &String) -> Result<Option<u64>, StoreError<String>> { Ok(None) }
/// #     async fn write(&self, _: &[Write<String, u64>]) -> Result<Written<String>, StoreError<String>> { Ok(Written::all()) }
/// # }
/// use millpond_cache::Cache;
/// use millpond_cache::nodes::{RedisTier, Tier};
/// use std::time::Duration;
///
/// let shared = RedisTier::new(Table, Tier::new(redis::Client::open("redis://127.0.0.1/")?, "views"));
/// let near = Cache::builder()
///     .max_capacity(10_000)
///     .time_to_live(Duration::from_secs(30))
///     .read_through(shared)
///     .write_through()
///     .build()?;
/// near.put(String::from("KJFK"), 7).await?;
/// println!("{:?}", near.store().stats());
/// # Ok(())
/// # }
/// ```
pub struct RedisTier<St, C = Json> {
    store: St,
    codec: C,
    shared: Arc<Shared>,
}

impl<St> RedisTier<St> {
    /// A tier in front of a store, with values as JSON. Connects when it is first asked.
    pub fn new(store: St, settings: Tier) -> Self {
        Self::with_codec(store, settings, Json)
    }
}

impl<St, C: Codec> RedisTier<St, C> {
    /// A tier with values in another form.
    pub fn with_codec(store: St, settings: Tier, codec: C) -> Self {
        Self { store, codec, shared: Shared::new(settings, C::ID) }
    }

    /// Runs a write of one's own to the store, and keeps Redis from showing an older state of these keys afterwards.
    ///
    /// For writes that [`Store::write`] can't express: under a condition, or of several tables.
    ///
    /// # Cancellation
    /// If it is dropped while the write runs, the keys are not kept in Redis for [`write_lease`](Tier::write_lease).
    pub async fn writing<K: Serialize, T>(&self, keys: &[K], write: impl Future<Output = T>) -> T {
        // What has no name is never there.
        let names: Vec<_> = keys.iter().filter_map(|key| self.codec.encode(key).ok()).collect();
        if names.is_empty() { write.await } else { self.shared.around(names, write).await }
    }

    /// Keeps what Redis has of these keys from being read: another node wrote them, and could not tell Redis.
    ///
    /// For who implements [`Forget`](super::Forget) for caches of one's own. Redis is told at the next read, or a moment later.
    pub fn doubt<K: Serialize>(&self, keys: &[K]) {
        let names: Vec<_> = keys.iter().filter_map(|key| self.codec.encode(key).ok()).collect();
        if !names.is_empty() {
            self.shared.doubt(Some(names));
        }
    }

    /// The same for all keys: Redis loses everything that the tier has there.
    pub fn doubt_all(&self) {
        self.shared.doubt(None);
    }

    /// Whether Redis has been told of all that this node wrote.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.shared.is_settled()
    }

    /// Figures since it was made.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        let shared = &self.shared;
        TierStats { owed: shared.owed(), is_down: shared.is_down(), ..shared.counts.read() }
    }

    /// What Redis failed with last, for a log: it may be over since.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.shared.last_error()
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &St {
        &self.store
    }

    /// What is known of these keys, with the longest time for which it may be kept.
    async fn fetch<K, V>(&self, keys: &[K]) -> Result<Vec<Fetched<V>>, StoreError<St::Error>>
    where
        K: Serialize + Clone + Send + Sync,
        V: Serialize + DeserializeOwned + Send + Sync,
        St: Store<K, V>,
    {
        let mut fetched = Vec::with_capacity(keys.len());
        let (mut asked, mut beside) = (Vec::with_capacity(keys.len()), Vec::new());
        for (index, key) in keys.iter().enumerate() {
            match self.codec.encode(key) {
                Ok(name) => asked.push(Asked { index, name, replaced: Vec::new() }),
                Err(_) => beside.push(index),
            }
        }
        let (until, mut pause, mut has_waited) =
            (Instant::now() + self.shared.settings.wait, PAUSES.0, false);
        loop {
            let mut lease = Lease::of(&self.shared);
            let mut waiting = Vec::new();
            let mut again = false;
            let names: Vec<_> = asked.iter().map(|one| (&one.name[..], &one.replaced[..])).collect();
            let taken = if names.is_empty() {
                Some(Vec::new())
            } else {
                self.shared.take(&names, &lease.token).await
            };
            drop(names);
            match taken {
                None => beside.extend(asked.iter().map(|one| one.index)),
                Some(taken) => {
                    for (mut one, taken) in asked.into_iter().zip(taken) {
                        match self.read(taken) {
                            Seen::Leased => lease.names.push((one.index, one.name)),
                            Seen::Known(value, life) => {
                                count(&self.shared.counts.hits, 1);
                                fetched.push((one.index, value, life));
                            }
                            Seen::Written => {
                                count(&self.shared.counts.beside_writes, 1);
                                beside.push(one.index);
                            }
                            // It changes all the time.
                            Seen::Foreign(_) if !one.replaced.is_empty() => beside.push(one.index),
                            Seen::Foreign(bytes) => {
                                count(&self.shared.counts.foreign, 1);
                                one.replaced = bytes;
                                again = true;
                                waiting.push(one);
                            }
                            Seen::Loading => waiting.push(one),
                        }
                    }
                }
            }
            let is_late = !again && Instant::now() >= until;
            if is_late && !waiting.is_empty() {
                count(&self.shared.counts.gave_up, waiting.len());
                beside.extend(waiting.drain(..).map(|one| one.index));
            }
            self.load_into(keys, &mut beside, lease, &mut fetched).await?;
            if waiting.is_empty() {
                return Ok(fetched);
            }
            asked = waiting;
            if !again {
                if !std::mem::replace(&mut has_waited, true) {
                    count(&self.shared.counts.waits, asked.len());
                }
                sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    /// Asks the store for what is leased, and for what is not to be kept.
    async fn load_into<K, V>(
        &self,
        keys: &[K],
        beside: &mut Vec<usize>,
        mut lease: Lease<'_>,
        fetched: &mut Vec<Fetched<V>>,
    ) -> Result<(), StoreError<St::Error>>
    where
        K: Serialize + Clone + Send + Sync,
        V: Serialize + DeserializeOwned + Send + Sync,
        St: Store<K, V>,
    {
        let places: Vec<usize> =
            beside.drain(..).chain(lease.names.iter().map(|(index, _)| *index)).collect();
        if places.is_empty() {
            return Ok(());
        }
        count(&self.shared.counts.loads, places.len());
        let mut values: Vec<Option<V>> = places.iter().map(|_| None).collect();
        if let [place] = places[..] {
            values[0] = self.store.load(&keys[place]).await?;
        } else {
            let missing: Vec<K> = places.iter().map(|&place| keys[place].clone()).collect();
            for (index, value) in self.store.load_many(&missing).await? {
                if let Some(slot) = values.get_mut(index) {
                    *slot = Some(value);
                }
            }
        }
        let is_beside = places.len() - lease.names.len();
        if lease.names.is_empty() {
            fetched.extend(places.into_iter().zip(values).map(|(place, value)| (place, value, None)));
            return Ok(());
        }
        let mut fills = Vec::with_capacity(lease.names.len());
        for (n, (place, value)) in places.into_iter().zip(values).enumerate() {
            let fill = if n < is_beside { None } else { self.frame(value.as_ref()) };
            fetched.push((place, value, fill.as_ref().map(|(_, life)| *life)));
            if n >= is_beside {
                fills.push((&lease.names[n - is_beside].1[..], fill));
            }
        }
        self.shared.fill(&lease.token, &fills).await;
        drop(fills);
        lease.names.clear();
        Ok(())
    }

    /// As it is put into Redis, unless it is not to be.
    fn frame<V: Serialize>(&self, value: Option<&V>) -> Option<(Vec<u8>, Duration)> {
        let life = self.shared.life(value.is_some());
        if life < Duration::from_millis(1) {
            return None;
        }
        let bytes = match value {
            Some(value) => self.shared.kind.value(&self.codec.encode(value).ok()?),
            None => Kind::nothing(),
        };
        Some((bytes, life))
    }

    fn read<V: DeserializeOwned>(&self, taken: Taken) -> Seen<V> {
        let (bytes, life) = match taken {
            Taken::Leased => return Seen::Leased,
            Taken::Held(bytes, life) => (bytes, life),
        };
        match self.shared.kind.read(&bytes) {
            Held::Nothing => Seen::Known(None, life),
            Held::Leased => Seen::Loading,
            Held::Writing => Seen::Written,
            Held::Value(payload) => match self.codec.decode(payload) {
                Ok(value) => Seen::Known(Some(value), life),
                Err(_) => Seen::Foreign(bytes),
            },
            Held::Foreign => Seen::Foreign(bytes),
        }
    }
}

/// The index of a key, its value, and the longest time to keep it.
type Fetched<V> = (usize, Option<V>, Option<Duration>);

struct Asked {
    index: usize,
    name: Vec<u8>,
    /// What is there and of no use.
    replaced: Vec<u8>,
}

enum Seen<V> {
    Leased,
    Known(Option<V>, Option<Duration>),
    Loading,
    Written,
    Foreign(Vec<u8>),
}

/// The right to fill these names; given back on drop.
struct Lease<'s> {
    shared: &'s Arc<Shared>,
    token: Token,
    names: Vec<(usize, Vec<u8>)>,
}

impl<'s> Lease<'s> {
    fn of(shared: &'s Arc<Shared>) -> Self {
        Self { shared, token: Token::new(), names: Vec::new() }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.names);
        self.shared.release(self.token, names.into_iter().map(|(_, name)| name).collect());
    }
}

impl<K, V, St, C> Store<K, V> for RedisTier<St, C>
where
    K: Serialize + Clone + Send + Sync,
    V: Serialize + DeserializeOwned + Send + Sync,
    St: Store<K, V>,
    C: Codec,
{
    type Error = St::Error;

    async fn load(&self, key: &K) -> Result<Option<V>, StoreError<Self::Error>> {
        Ok(self.load_with_life(key).await?.0)
    }

    async fn load_with_life(&self, key: &K) -> Result<Lasting<V>, StoreError<Self::Error>> {
        let fetched = self.fetch(slice::from_ref(key)).await?;
        Ok(fetched.into_iter().next().map_or((None, None), |(_, value, life)| (value, life)))
    }

    async fn load_many(&self, keys: &[K]) -> Result<Vec<(usize, V)>, StoreError<Self::Error>> {
        let fetched = self.fetch(keys).await?;
        Ok(fetched.into_iter().filter_map(|(index, value, _)| Some((index, value?))).collect())
    }

    async fn write(&self, batch: &[Write<K, V>]) -> Result<Written<Self::Error>, StoreError<Self::Error>> {
        let keys: Vec<&K> = batch.iter().map(Write::key).collect();
        self.writing(&keys, self.store.write(batch)).await
    }

    fn is_settled(&self) -> bool {
        self.shared.is_settled()
    }

    fn doubt(&self, keys: &[K]) {
        Self::doubt(self, keys);
    }

    fn doubt_all(&self) {
        self.shared.doubt(None);
    }
}

impl<St: fmt::Debug, C: fmt::Debug> fmt::Debug for RedisTier<St, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("store", &self.store)
            .field("codec", &self.codec)
            .field("prefix", &self.shared.settings.prefix)
            .finish_non_exhaustive()
    }
}
