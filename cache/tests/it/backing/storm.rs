//! Everything at once, on several threads: writers, readers, flushes, callers who leave, a store that fails in every way.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use millpond_cache::Cache;
use millpond_cache::backing::{DeadLetter, StoreCache, WriteBehind};
use parking_lot::Mutex;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::{Fake, Plan, SECOND};
use crate::support::{Random, scaled};

const KEYS: u64 = 12;
const WRITERS: u64 = 4;

/// Keys and values that were reported.
type Letters = Arc<Mutex<Vec<(u64, u64)>>>;
type Backed = StoreCache<u64, u64, Arc<Fake>>;

fn chaos(random: &mut Random) -> Plan {
    match random.below(12) {
        0 => Plan::Down,
        1 => Plan::AnswerLost,
        2 => Plan::Refuses,
        3 => Plan::Panics,
        4 => Plan::Partly(vec![(0, false)]),
        5 => Plan::Partly(vec![(0, true), (2, false)]),
        6 => Plan::Hangs,
        _ => Plan::Works,
    }
}

/// Writes growing values to its own keys, leaving some writes half-way, and reads them back. What it knows of: for each key
/// the last value that was accepted.
async fn writer(cache: Backed, letters: Letters, lane: u64, seed: u64, rounds: u64) -> HashMap<u64, u64> {
    let mut random = Random::new(seed);
    let mut last = HashMap::new();
    for round in 1..=rounds {
        let key = lane + WRITERS * random.below(KEYS / WRITERS);
        if random.below(8) == 0 {
            // It may wait for room; if it leaves then, it has done nothing.
            if cache.put(key, round).now_or_never().is_some() {
                last.insert(key, round);
            }
        } else {
            cache.put(key, round).await.unwrap();
            last.insert(key, round);
        }
        // The store may panic while it loads.
        let read = AssertUnwindSafe(cache.get(&key)).catch_unwind().await;
        if let (Some(&value), Ok(Ok(read))) = (last.get(&key), read) {
            // Something older is there only if what is newer was refused, which is reported then.
            let began = Instant::now();
            while read != Some(value) && !letters.lock().contains(&(key, value)) {
                assert!(
                    read < Some(value) && began.elapsed() < 10 * SECOND,
                    "read {read:?}: key {key} is {value}"
                );
                yield_now().await;
            }
        }
        if random.below(50) == 0 {
            yield_now().await;
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_reordered() {
    for seed in 0..scaled(8, 1) {
        let store = Fake::new([]);
        let mut random = Random::new(seed + 100);
        store.plan((0..scaled(150, 10)).map(|_| chaos(&mut random)));
        let letters = Letters::default();
        let log = Arc::clone(&letters);
        let settings = WriteBehind::new(move |letter: DeadLetter<u64, u64, _>| {
            log.lock().push((*letter.key(), *letter.value().expect("nothing is deleted here")));
        });
        let settings = settings
            .max_delay(Duration::from_millis(1))
            .max_batch(5)
            .max_queue(10)
            .backoff(Duration::from_micros(100), Duration::from_millis(2))
            .write_timeout(Duration::from_millis(5));
        let builder = Cache::builder().max_capacity(4).read_through(Arc::clone(&store));
        let cache = builder.load_timeout(Duration::from_millis(5)).write_behind(settings).build().unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|lane| {
                let writer =
                    writer(cache.clone(), Arc::clone(&letters), lane, seed * 10 + lane, scaled(400, 20));
                tokio::spawn(writer)
            })
            .collect();
        let flusher = cache.clone();
        let flushes = tokio::spawn(async move {
            for _ in 0..scaled(20, 2) {
                timeout(60 * SECOND, flusher.flush()).await.unwrap();
            }
        });
        let mut last = HashMap::new();
        for writer in writers {
            last.extend(writer.await.unwrap());
        }
        flushes.await.unwrap();
        timeout(60 * SECOND, cache.close(60 * SECOND)).await.unwrap().unwrap();
        cache.check_invariants();
        let stats = cache.stats();
        assert_eq!(stats.queue_length(), 0);
        assert_eq!(stats.accepted(), stats.coalesced() + stats.written() + stats.dead());
        let letters = letters.lock().clone();
        assert_eq!(stats.dead() as usize, letters.len());
        for (index, letter) in letters.iter().enumerate() {
            assert!(!letters[..index].contains(letter), "{letter:?} was reported twice");
        }
        for (key, value) in last {
            let is_stored = store.value(key) == Some(value);
            assert!(is_stored || letters.contains(&(key, value)), "seed {seed}: {key} = {value} is lost");
        }
        let mut newest = HashMap::new();
        for &(key, value) in &*store.done.lock() {
            let before = newest.insert(key, value);
            assert!(before.is_none_or(|before| before <= value), "seed {seed}: key {key} went back");
        }
        // The plans that were not used.
        store.plans.lock().clear();
        for key in 0..KEYS {
            assert_eq!(cache.get(&key).await.unwrap(), store.value(key), "cache and store disagree");
        }
    }
}
