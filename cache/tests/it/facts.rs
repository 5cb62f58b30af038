//! What the types promise: handles, threads, unwinding, borrowed lookups, `Debug`.

use std::hash::{BuildHasher, Hash};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread;

use equivalent::Equivalent;
use millpond_cache::{
    BuildError, Cache, CacheBuilder, EntrySelector, Iter, ManualClock, RemovalCause, Stats,
};

fn send_sync<T: Send + Sync>() {}
fn unwind<T: UnwindSafe + RefUnwindSafe>() {}
fn is_static<T: 'static>() {}

/// True for types that are not `T`: the ambiguity of a blanket impl, at run time.
macro_rules! is_not {
    ($type:ty: $trait:ident) => {{
        #[allow(dead_code, reason = "dead exactly where the trait is implemented")]
        trait Fallback {
            const IMPLEMENTS: bool = false;
        }
        impl<T: ?Sized> Fallback for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "dead exactly where the trait is not implemented")]
        impl<T: ?Sized + $trait> Probe<T> {
            const IMPLEMENTS: bool = true;
        }
        !<Probe<$type>>::IMPLEMENTS
    }};
}

#[test]
fn send_sync_and_unwind() {
    send_sync::<Cache<String, Vec<u8>>>();
    send_sync::<CacheBuilder<String, Vec<u8>>>();
    send_sync::<Iter<'_, String, Vec<u8>, ahash::RandomState>>();
    send_sync::<EntrySelector<'_, String, Vec<u8>>>();
    send_sync::<(Stats, RemovalCause, BuildError, ManualClock)>();
    unwind::<Cache<String, Vec<u8>>>();
    is_static::<Cache<String, Vec<u8>>>();
    type Pin<'c> = millpond_cache::PinGuard<'c, u8, u8, ahash::RandomState>;
    assert!(is_not!(Pin<'static>: Send), "a pin belongs to its thread");
    assert!(is_not!(Pin<'static>: Sync));
    type Rc = std::rc::Rc<u8>;
    assert!(is_not!(Cache<u8, Rc>: Send));
    assert!(is_not!(Cache<u8, Rc>: Sync));
    assert!(is_not!(Cache<u8, std::cell::Cell<u8>>: Sync), "readers on two threads would share it");
    assert!(is_not!(Cache<Rc, u8>: Send));
    assert!(!is_not!(Cache<u8, u8>: Send), "the probe itself works");
}

#[test]
fn the_futures_of_loads_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let cache: Cache<u8, u8> = Cache::new(10);
    let load = send(cache.get_or_insert_with_async(1, async { 1 }));
    let fallible = send(cache.try_get_or_insert_with_async(2, async { Err::<u8, _>("no") }));
    assert_eq!(futures::executor::block_on(load), 1);
    assert_eq!(*futures::executor::block_on(fallible).unwrap_err(), "no");
}

#[test]
fn clones_are_handles_to_one_cache() {
    let cache: Cache<u32, u32> = Cache::builder().max_capacity(10).name("twin").build().unwrap();
    let other = cache.clone();
    cache.insert(1, 1);
    assert_eq!(other.get(&1), Some(1));
    assert_eq!(other.name(), Some("twin"));
    assert_eq!(other.max_capacity(), Some(10));
    thread::spawn(move || other.insert(2, 2)).join().unwrap();
    assert_eq!(cache.get(&2), Some(2), "the cache outlives one of its handles");
    assert_eq!(
        format!("{cache:?}"),
        "Cache { name: Some(\"twin\"), entries: 2, weight: 2, max: Some(10), .. }"
    );
}

#[test]
fn values_may_borrow() {
    let text = String::from("lend me");
    let cache: Cache<&str, &str> = Cache::new(10);
    cache.insert(&text[..4], &text[5..]);
    assert_eq!(cache.get("lend"), Some("me"));
}

#[test]
fn lookups_by_an_equivalent_key() {
    #[derive(PartialEq, Eq, Hash)]
    struct Pair(String, u32);
    #[derive(Hash)]
    struct PairRef<'a>(&'a str, u32);
    impl Equivalent<Pair> for PairRef<'_> {
        fn equivalent(&self, key: &Pair) -> bool {
            self.0 == key.0 && self.1 == key.1
        }
    }
    let cache: Cache<Pair, u32> = Cache::new(10);
    cache.insert(Pair("a".into(), 1), 7);
    assert_eq!(cache.get(&PairRef("a", 1)), Some(7));
    assert_eq!(cache.get(&PairRef("a", 2)), None);
    assert_eq!(cache.read(&PairRef("a", 1), |v| *v), Some(7));
    assert_eq!(cache.pin().get(&PairRef("a", 1)), Some(&7));
    assert!(cache.contains_key(&PairRef("a", 1)));
    assert_eq!(cache.remove(&PairRef("a", 1)), Some(7));
    cache.insert(Pair("b".into(), 1), 8);
    cache.invalidate(&PairRef("b", 1));
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn lookups_by_an_equivalent_key_with_a_hasher_that_goes_by_the_type() {
    /// As ahash on a nightly compiler: `hash_one` has ways of its own for some types.
    #[derive(Clone)]
    struct ByType(ahash::RandomState);
    impl BuildHasher for ByType {
        type Hasher = ahash::AHasher;
        fn build_hasher(&self) -> Self::Hasher {
            self.0.build_hasher()
        }
        fn hash_one<T: Hash>(&self, value: T) -> u64 {
            self.0.hash_one(value) ^ std::any::type_name::<T>().len() as u64
        }
    }
    #[derive(Hash)]
    struct Number(u64);
    impl Equivalent<u64> for Number {
        fn equivalent(&self, key: &u64) -> bool {
            self.0 == *key
        }
    }
    let cache: Cache<u64, u64, ByType> =
        Cache::builder().hasher(ByType(ahash::RandomState::new())).build().unwrap();
    (0..100).for_each(|key| cache.insert(key, key));
    assert!((0..100).all(|key| cache.get(&Number(key)) == Some(key)));
}

#[test]
fn unit_and_zero_sized_and_large_and_aligned() {
    let units: Cache<(), ()> = Cache::new(10);
    units.insert((), ());
    assert_eq!((units.get(&()), units.entry_count()), (Some(()), 1));

    let large: Cache<u32, [u64; 2_000]> = Cache::new(20);
    for key in 0..100 {
        large.insert(key, [u64::from(key); 2_000]);
    }
    assert!(large.iter().all(|(key, value)| value.iter().all(|&v| v == u64::from(key))));
    large.check_invariants();

    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(256))]
    struct Aligned(u8);
    let aligned: Cache<u32, Aligned> = Cache::new(20);
    for key in 0..100 {
        aligned.insert(key, Aligned(key as u8));
    }
    let pin = aligned.pin();
    for key in 0..100 {
        if let Some(value) = pin.get(&key) {
            assert_eq!(*value, Aligned(key as u8));
            assert_eq!(std::ptr::from_ref(value) as usize % 256, 0);
        }
    }
}

#[test]
fn arcs_are_shared_not_copied() {
    let cache: Cache<u32, Arc<str>> = Cache::new(10);
    let value: Arc<str> = "shared".into();
    cache.insert(1, Arc::clone(&value));
    assert!(Arc::ptr_eq(&cache.get(&1).unwrap(), &value));
    assert_eq!(Arc::strong_count(&value), 2);
    drop(cache);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn caches_collect_extend_and_iterate() {
    fn fill<T: Extend<(u32, u32)>>(mut cache: T) {
        cache.extend((0..50).map(|n| (n, n)));
    }
    let cache: Cache<u32, u32> = (50..100).map(|n| (n, n)).collect();
    assert_eq!(cache.max_capacity(), None);
    fill(cache.clone());
    cache.extend([(7, 70)]);
    let sum: u32 = (&cache).into_iter().map(|(_, value)| value).sum();
    assert_eq!((cache.entry_count(), sum), (100, 4_950 + 63));
    let bounded: Cache<u32, u32> = Cache::new(10);
    bounded.extend(&cache);
    assert_eq!(bounded.entry_count(), 10);
    assert_eq!(format!("{:?}", bounded.entry(1)), format!("EntrySelector {{ cache: {bounded:?}, .. }}"));
}
