//! B18, B19: every key and value is dropped once, soon, and outside of all locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use millpond_cache::Cache;

/// Counts itself while it lives.
#[derive(Debug)]
struct Counted(Arc<AtomicIsize>, u64);

impl Counted {
    fn new(count: &Arc<AtomicIsize>, n: u64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count), n)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(self.0.fetch_sub(1, Ordering::SeqCst) > 0, "dropped twice");
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}
impl Eq for Counted {}
impl std::hash::Hash for Counted {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.1.hash(state);
    }
}

struct Number(u64);
impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl equivalent::Equivalent<Counted> for Number {
    fn equivalent(&self, key: &Counted) -> bool {
        self.0 == key.1
    }
}

#[test]
fn b18_removed_entries_are_dropped_by_the_next_maintenance() {
    let (keys, values): (Arc<AtomicIsize>, Arc<AtomicIsize>) = Default::default();
    let cache: Cache<Counted, Counted> = Cache::new(100);
    for n in 0..1000 {
        cache.insert(Counted::new(&keys, n % 300), Counted::new(&values, n));
        if n % 5 == 0 {
            cache.invalidate(&Number(n / 2));
        }
    }
    let live = isize::try_from(cache.entry_count()).unwrap();
    maintain_until(&cache, [&keys, &values], live);
    let pin = cache.pin();
    let kept = (0..300).find_map(|n| pin.get(&Number(n))).expect("something is cached");
    let before = kept.1;
    cache.invalidate_all();
    cache.run_pending_tasks();
    assert!(values.load(Ordering::SeqCst) > 0, "what a pin can see stays");
    assert_eq!(kept.1, before);
    drop(pin);
    maintain_until(&cache, [&keys, &values], 0);
    cache.check_invariants();
}

#[test]
fn b18_garbage_stays_small_without_maintenance() {
    let values = Arc::default();
    let cache: Cache<u64, Counted> = Cache::new(100);
    // Another test's thread may be stopped in the middle of a read, which holds everything back: ask again.
    let began = Instant::now();
    let mut n = 0;
    loop {
        for _ in 0..1000 {
            cache.insert(n, Counted::new(&values, n));
            n += 1;
        }
        let live = values.load(Ordering::SeqCst);
        if n > 10_000 && live <= 200 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{live} values for 100 entries");
    }
}

/// Runs maintenance until it leaves `expected`: other tests' threads may be stopped in the middle of a read.
fn maintain_until<V>(cache: &Cache<Counted, V>, counts: [&AtomicIsize; 2], expected: isize) {
    let began = Instant::now();
    loop {
        cache.run_pending_tasks();
        let left = counts.map(|count| count.load(Ordering::SeqCst));
        if left == [expected; 2] {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{left:?} are left, not {expected}");
    }
}

#[test]
fn b18_dropping_the_cache_drops_everything() {
    let (keys, values) = (Arc::default(), Arc::default());
    let cache: Cache<Counted, Counted> = Cache::builder().build().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, keys, values) = (&cache, &keys, &values);
            scope.spawn(move || {
                for n in 0..3000 {
                    cache.insert(Counted::new(keys, thread * 1000 + n), Counted::new(values, n));
                }
            });
        }
    });
    drop(cache);
    assert_eq!((keys.load(Ordering::SeqCst), values.load(Ordering::SeqCst)), (0, 0));
}

/// B19: a value's drop may use the cache.
#[test]
fn b19_drops_run_outside_the_locks() {
    struct Nosy(Cache<u32, Option<Arc<Nosy>>>, u32);
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.0.get(&self.1);
            self.0.insert(self.1 + 1000, None);
            self.0.invalidate(&(self.1 + 1000));
        }
    }
    let cache: Cache<u32, Option<Arc<Nosy>>> = Cache::new(50);
    for n in 0..500 {
        cache.insert(n, Some(Arc::new(Nosy(cache.clone(), n))));
    }
    cache.invalidate_all();
    cache.run_pending_tasks();
    cache.check_invariants();
}

/// A pin in a thread-local destructor, after the cache's own thread-local is gone.
#[test]
fn b18_pins_work_while_a_thread_ends() {
    struct AtEnd(Cache<u32, u32>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            assert_eq!(self.0.get(&1), Some(1));
            self.0.insert(2, 2);
        }
    }
    thread_local! {
        static AT_END: std::cell::RefCell<Option<AtEnd>> = const { std::cell::RefCell::new(None) };
    }
    let cache: Cache<u32, u32> = Cache::new(10);
    cache.insert(1, 1);
    for first in [true, false] {
        let cache = cache.clone();
        thread::spawn(move || {
            if first {
                AT_END.set(Some(AtEnd(cache.clone())));
            }
            cache.get(&1);
            if !first {
                AT_END.set(Some(AtEnd(cache.clone())));
            }
        })
        .join()
        .unwrap();
    }
    assert_eq!(cache.get(&2), Some(2));
    cache.run_pending_tasks();
    cache.check_invariants();
}
