//! The primitives of millpond-cache on one thread: `cargo bench -p millpond-bench --bench cache`.
#![allow(missing_docs, reason = "criterion's macros make a public function")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use millpond_cache::Cache;

const CAPACITY: u64 = 65_536;
const HOT: u64 = 16_384;

/// Spreads small numbers over all 64 bits.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A cache that holds the keys of 0 to `entries`.
fn filled(entries: u64) -> Cache<u64, u64> {
    let cache = Cache::new(CAPACITY);
    for key in 0..entries {
        cache.insert(spread(key), key);
    }
    cache
}

/// Hot keys, round and round, and by the way others that are not there.
fn keys(from: u64) -> impl Iterator<Item = u64> {
    (from..from + HOT).cycle().map(spread)
}

fn reads(criterion: &mut Criterion) {
    let cache = filled(HOT);
    let mut group = criterion.benchmark_group("read");
    group.bench_function("hit", |bencher| {
        let mut keys = keys(0);
        bencher.iter(|| cache.get(&black_box(keys.next())?));
    });
    group.bench_function("hit, by reference", |bencher| {
        let mut keys = keys(0);
        bencher.iter(|| cache.read(&black_box(keys.next())?, |value| *value));
    });
    group.bench_function("hit under one pin", |bencher| {
        let mut keys = keys(0);
        let pin = cache.pin();
        bencher.iter(|| pin.get(&black_box(keys.next())?).copied());
    });
    group.bench_function("miss", |bencher| {
        let mut keys = keys(HOT);
        bencher.iter(|| cache.get(&black_box(keys.next())?));
    });
    group.bench_function("pin and unpin", |bencher| bencher.iter(|| drop(black_box(cache.pin()))));
    group.finish();
}

fn writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    group.bench_function("overwrite", |bencher| {
        let cache = filled(HOT);
        let mut keys = keys(0);
        bencher.iter(|| {
            if let Some(key) = keys.next() {
                cache.insert(black_box(key), key);
            }
        });
    });
    group.bench_function("insert that evicts", |bencher| {
        let cache = filled(2 * CAPACITY);
        let mut next = 2 * CAPACITY;
        bencher.iter(|| {
            cache.insert(black_box(spread(next)), next);
            next += 1;
        });
    });
    group.bench_function("insert and remove", |bencher| {
        let cache = filled(HOT);
        bencher.iter(|| {
            cache.insert(black_box(u64::MAX), 1);
            cache.remove(&black_box(u64::MAX))
        });
    });
    group.bench_function("insert of 1000 into an empty one", |bencher| {
        bencher.iter_batched(
            || Cache::new(CAPACITY),
            |cache| {
                (0..1000).for_each(|key| cache.insert(spread(key), key));
                cache
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! { name = benches; config = settings(); targets = reads, writes }
criterion_main!(benches);
