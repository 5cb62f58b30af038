//! The table of what is in flight in a shard: who joins, and who is detached.

use std::sync::Arc;

use equivalent::Equivalent;
use hashbrown::HashTable;

use super::KeyHash;
use crate::flight::Flight;
use crate::store::locked::Locked;
use crate::store::shard::Detour;
use crate::sync::Mutex;

/// The loads and computes in flight of one shard.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    /// Changes under the shard's lock only, which is why changes ask for it. The shard knows whether it is empty.
    table: Mutex<HashTable<InFlight<K, V>>>,
}

#[derive(Debug)]
struct InFlight<K, V> {
    hash: u64,
    key: Arc<K>,
    flight: Arc<Flight<V>>,
    /// What its value will carry.
    tags: Option<Tags>,
}

/// The tags of a value that is being loaded.
pub(super) type Tags = Arc<[Arc<str>]>;

impl<K, V> Flights<K, V> {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::new(HashTable::new()) }
    }

    /// Whether anything is in flight.
    #[inline]
    fn any(locked: &Locked<'_, K, V>) -> bool {
        locked.has(Detour::Flights)
    }

    /// Tells the shard whether anything is in flight.
    fn note(locked: &Locked<'_, K, V>, table: &HashTable<InFlight<K, V>>) {
        locked.set(Detour::Flights, !table.is_empty());
    }

    /// Keeps a load of this key from storing its result.
    #[inline]
    pub(crate) fn detach<Q: Equivalent<K> + ?Sized>(
        &self,
        locked: &Locked<'_, K, V>,
        hash: KeyHash,
        key: &Q,
    ) {
        if Self::any(locked) {
            if let Some(flight) = self.take(locked, hash, |in_flight| key.equivalent(&in_flight.key)) {
                flight.overtake();
            }
        }
    }

    /// Keeps those from storing their results whose values would carry a tag.
    pub(super) fn detach_tagged(&self, locked: &Locked<'_, K, V>, tag: &str) {
        self.detach_if(locked, |in_flight| {
            in_flight.tags.iter().any(|tags| tags.iter().any(|held| **held == *tag))
        });
    }

    /// Keeps whoever works on the key with this part of its hash from storing a result; once in four billion, somebody else has to work
    /// again, too.
    pub(super) fn detach_part(&self, locked: &Locked<'_, K, V>, part: u32) {
        self.detach_if(locked, |in_flight| KeyHash(in_flight.hash).part() == part);
    }

    fn detach_if(&self, locked: &Locked<'_, K, V>, is: impl Fn(&InFlight<K, V>) -> bool) {
        if !Self::any(locked) {
            return;
        }
        let mut table = self.table.lock();
        // As in `take`, the leaders hold the other handles.
        table.retain(|in_flight| {
            let goes = is(in_flight);
            if goes {
                in_flight.flight.overtake();
            }
            !goes
        });
        Self::note(locked, &table);
    }

    /// Says what the value of this flight will carry, unless it is detached.
    pub(super) fn tag(&self, hash: KeyHash, flight: &Arc<Flight<V>>, tags: &Tags) {
        let mut table = self.table.lock();
        let own = table.find_mut(hash.full(), |in_flight| Arc::ptr_eq(&in_flight.flight, flight));
        if let Some(own) = own {
            own.tags = Some(Arc::clone(tags));
        }
    }

    /// Keeps all loads from storing their results.
    pub(crate) fn detach_all(&self, locked: &Locked<'_, K, V>) {
        if !Self::any(locked) {
            return;
        }
        let mut table = self.table.lock();
        for in_flight in table.iter() {
            in_flight.flight.overtake();
        }
        // As in `take`, the leaders hold the other handles.
        table.clear();
        Self::note(locked, &table);
    }

    /// Removes the flight that `is` picks.
    fn take(
        &self,
        locked: &Locked<'_, K, V>,
        hash: KeyHash,
        is: impl Fn(&InFlight<K, V>) -> bool,
    ) -> Option<Arc<Flight<V>>> {
        let mut table = self.table.lock();
        let entry = table.find_entry(hash.full(), is).ok()?;
        // The leader holds the other handle to key and flight: nothing of the user's is dropped here.
        let (InFlight { flight, .. }, _) = entry.remove();
        Self::note(locked, &table);
        Some(flight)
    }

    /// Removes this very flight; false if a write has detached it.
    pub(super) fn take_own(&self, locked: &Locked<'_, K, V>, hash: KeyHash, flight: &Arc<Flight<V>>) -> bool {
        self.take(locked, hash, |in_flight| Arc::ptr_eq(&in_flight.flight, flight)).is_some()
    }

    /// Whether this very flight is still the key's.
    pub(super) fn holds(&self, hash: KeyHash, flight: &Arc<Flight<V>>) -> bool {
        let table = self.table.lock();
        table.find(hash.full(), |in_flight| Arc::ptr_eq(&in_flight.flight, flight)).is_some()
    }

    /// Joins the flight of this key or starts one.
    pub(super) fn board(
        &self,
        locked: &Locked<'_, K, V>,
        hash: KeyHash,
        key: K,
        is_refresh: bool,
    ) -> Boarded<K, V>
    where
        K: Eq,
    {
        let mut table = self.table.lock();
        if let Some(found) = table.find(hash.full(), |in_flight| *in_flight.key == key) {
            return (Arc::clone(&found.flight), Err(key));
        }
        let key = Arc::new(key);
        let flight = Arc::new(Flight::new(is_refresh));
        let in_flight =
            InFlight { hash: hash.full(), key: Arc::clone(&key), flight: Arc::clone(&flight), tags: None };
        table.insert_unique(hash.full(), in_flight, |in_flight| in_flight.hash);
        Self::note(locked, &table);
        (flight, Ok(key))
    }

    /// Whether the value of this key is being refreshed.
    pub(crate) fn is_refreshing<Q: Equivalent<K> + ?Sized>(&self, hash: KeyHash, key: &Q) -> bool {
        let table = self.table.lock();
        table
            .find(hash.full(), |in_flight| key.equivalent(&in_flight.key))
            .is_some_and(|in_flight| in_flight.flight.is_refresh())
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    pub(crate) fn check_invariants(&self, locked: &Locked<'_, K, V>) {
        let table = self.table.lock();
        assert_eq!(Self::any(locked), !table.is_empty(), "the shard knows of the flights");
        for in_flight in table.iter() {
            assert!(in_flight.flight.outcome().is_none(), "a flight that ended has left the table");
        }
    }
}

/// A flight, and the leader's handle to the key, or the key of one who joined.
pub(super) type Boarded<K, V> = (Arc<Flight<V>>, Result<Arc<K>, K>);
